/* SPDX-License-Identifier: Apache-2.0 */
#include "database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "embedded.h"

enum {
    APPLICATION_ID = 0x756e636c, /* "uncl", at byte 68 of every SQLite file */
    APPLICATION_ID_AT = 68,
    SCHEMA_VERSION = 1,
};

static void complained(sqlite3 *db)
{
    const char *path = db ? sqlite3_db_filename(db, "main") : NULL;

    fprintf(stderr, "unclosed: error: run database%s%s: %s\n", path && *path ? " " : "", path && *path ? path : "",
            db ? sqlite3_errmsg(db) : "out of memory");
}

bool executed(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    complained(db);
    return false;
}

sqlite3_stmt *prepared(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        complained(db);
    return statement;
}

bool row_fetched(sqlite3_stmt *statement, bool *failed)
{
    int result = statement ? sqlite3_step(statement) : SQLITE_MISUSE;

    if (result == SQLITE_ROW)
        return true;
    if (result == SQLITE_DONE)
        return false;
    if (statement)
        complained(sqlite3_db_handle(statement));
    if (failed)
        *failed = true;
    return false;
}

int64_t integer_selected(sqlite3 *db, const char *sql, int64_t otherwise)
{
    sqlite3_stmt *statement = prepared(db, sql);

    if (row_fetched(statement, NULL) && sqlite3_column_type(statement, 0) != SQLITE_NULL)
        otherwise = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return otherwise;
}

/* --- files ---------------------------------------------------------------------------------------------------------- */

static const char *schema_text(void)
{
    for (const struct embedded_file *file = embedded_files; file->name; file++)
        if (strcmp(file->name, "schema.sql") == 0)
            return file->text;
    return NULL;
}

static bool schema_made(sqlite3 *db)
{
    char identity[100];
    const char *schema = schema_text();

    snprintf(identity, sizeof(identity), "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION_ID,
             SCHEMA_VERSION);
    if (!schema) {
        fprintf(stderr, "unclosed: error: this build lacks its schema.sql; rebuild it\n");
        return false;
    }
    return executed(db, "PRAGMA page_size=8192; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; "
                        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-32768; PRAGMA temp_store=MEMORY") &&
           executed(db, identity) && executed(db, "BEGIN") && executed(db, schema) && executed(db, "COMMIT");
}

static sqlite3 *opened_with(const char *path, int flags)
{
    sqlite3 *db = NULL;

    if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK)
        return db;
    fprintf(stderr, "unclosed: error: run database %s: %s\n", path, db ? sqlite3_errmsg(db) : "out of memory");
    sqlite3_close(db);
    return NULL;
}

sqlite3 *database_created(const char *path)
{
    sqlite3 *db;

    if (strcmp(path, ":memory:") != 0 && unlink(path) != 0 && errno != ENOENT) {
        fprintf(stderr, "unclosed: error: run database %s: cannot replace it: %s\n", path, strerror(errno));
        return NULL;
    }
    db = opened_with(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW);
    if (db && !schema_made(db)) {
        database_closed(db);
        return NULL;
    }
    return db;
}

bool is_run_database(const char *path)
{
    static const unsigned char id[] = {0x75, 0x6e, 0x63, 0x6c};
    unsigned char head[APPLICATION_ID_AT + sizeof(id)];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    bool is_one = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                  pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
                  memcmp(head, "SQLite format 3", sizeof("SQLite format 3")) == 0 &&
                  memcmp(head + APPLICATION_ID_AT, id, sizeof(id)) == 0;

    if (fd >= 0)
        close(fd);
    return is_one;
}

sqlite3 *database_opened(const char *path)
{
    sqlite3 *db;

    if (access(path, R_OK) != 0) {
        fprintf(stderr, "unclosed: error: %s: %s\n", path, strerror(errno));
        return NULL;
    }
    if (!is_run_database(path)) {
        fprintf(stderr, "unclosed: error: %s is not a run database (report.db)\n", path);
        return NULL;
    }
    db = opened_with(path, SQLITE_OPEN_READONLY);
    if (db && executed(db, "PRAGMA trusted_schema=OFF") &&
        integer_selected(db, "PRAGMA user_version", 0) > SCHEMA_VERSION) {
        fprintf(stderr, "unclosed: error: %s was written by a newer version of unclosed\n", path);
        database_closed(db);
        return NULL;
    }
    return db;
}

void database_closed(sqlite3 *db)
{
    sqlite3_close(db);
}

/* --- rows ------------------------------------------------------------------------------------------------------------- */

static struct insert insert_made(sqlite3 *db, const char *verb, const char *table, const char *columns)
{
    struct insert insert = {NULL, true};
    char *names = sqlite3_mprintf("%s", columns), *marks = sqlite3_mprintf("?"), *sql;

    for (char *blank = names ? strchr(names, ' ') : NULL; blank; blank = strchr(blank, ' ')) {
        *blank = ',';
        marks = sqlite3_mprintf("%z,?", marks);
    }
    sql = sqlite3_mprintf("%s INTO %s(%s) VALUES(%s)", verb, table, names, marks);
    if (names && marks && sql)
        insert.statement = prepared(db, sql);
    insert.failed = !insert.statement;
    sqlite3_free(sql);
    sqlite3_free(marks);
    sqlite3_free(names);
    return insert;
}

struct insert insert_prepared(sqlite3 *db, const char *table, const char *columns)
{
    return insert_made(db, "INSERT", table, columns);
}

struct insert insert_unless_there_prepared(sqlite3 *db, const char *table, const char *columns)
{
    return insert_made(db, "INSERT OR IGNORE", table, columns);
}

struct insert insert_replacing_prepared(sqlite3 *db, const char *table, const char *columns)
{
    return insert_made(db, "INSERT OR REPLACE", table, columns);
}

static int value_bound(sqlite3_stmt *statement, int position, const struct value *value)
{
    switch (value->type) {
    case VALUE_INTEGER:
        return sqlite3_bind_int64(statement, position, value->integer);
    case VALUE_TEXT:
        return sqlite3_bind_text(statement, position, value->text, -1, SQLITE_STATIC);
    case VALUE_NULL:
        break;
    }
    return sqlite3_bind_null(statement, position);
}

void row_inserted(struct insert *insert, const struct value *values, size_t count)
{
    sqlite3_stmt *statement = insert->statement;

    if (insert->failed)
        return;
    if ((size_t)sqlite3_bind_parameter_count(statement) != count) {
        fprintf(stderr, "unclosed: error: %zu values for: %s\n", count, sqlite3_sql(statement));
        insert->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (value_bound(statement, (int)i + 1, &values[i]) != SQLITE_OK)
            insert->failed = true;
    if (insert->failed || sqlite3_step(statement) != SQLITE_DONE) {
        complained(sqlite3_db_handle(statement));
        insert->failed = true;
    }
    sqlite3_reset(statement);
}

bool insert_finished(struct insert *insert)
{
    sqlite3_finalize(insert->statement);
    insert->statement = NULL;
    return !insert->failed;
}
