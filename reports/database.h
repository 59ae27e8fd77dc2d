/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run database: made, opened, and written to in whole rows.
 *
 *     struct insert site = insert_prepared(db, "site", "id process kind stack");
 *     INSERTED(&site, integer(7), integer(1), text("sqlite3.connection"), nothing());
 *     …
 *     return insert_finished(&site);
 *
 * Every function that fails prints one line on stderr ("unclosed: error: report.db: …: database or disk is full").
 * An insert that failed prints once, ignores all later rows, and insert_finished() tells: no need to check each row.
 * One thread at a time.
 */
#ifndef UNCLOSED_REPORTS_DATABASE_H
#define UNCLOSED_REPORTS_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new, empty run database with the schema in it. A file at `path` is replaced (unlinked, never followed or written
 * through); ":memory:" is one that nobody else sees. It is written without a journal: half a database is no database,
 * make it under another name and rename it. NULL after a message. */
sqlite3 *database_created(const char *path);

/* An existing run database, read-only. NULL after a message: no such file, not one of ours, a newer schema. */
sqlite3 *database_opened(const char *path);

/* What an existing run database holds, in memory and with today's schema, to be judged again. NULL after a message. */
sqlite3 *database_copied(const char *path);

/* Is the file at `path` a run database? Quiet; false also when there is no such file. Never blocks on a FIFO. */
bool is_run_database(const char *path);

/* Frees it. NULL is fine. */
void database_closed(sqlite3 *db);

/* Runs statements that give no rows. False after a message. */
bool executed(sqlite3 *db, const char *sql);

/* NULL after a message. */
sqlite3_stmt *prepared(sqlite3 *db, const char *sql);

/* The next row of a query: true if there is one. At the end, or after a message, false; *failed (may be NULL) tells
 * which, and is left alone when nothing failed. */
bool row_fetched(sqlite3_stmt *statement, bool *failed);

/* The one integer that a query gives; `otherwise` if it gives no row or NULL, and after a message. */
int64_t integer_selected(sqlite3 *db, const char *sql, int64_t otherwise);

/* --- values -------------------------------------------------------------------------------------------------------- */

struct value {
    const char *text; /* with VALUE_TEXT; must live until the row is in */
    int64_t integer;
    enum { VALUE_NULL, VALUE_INTEGER, VALUE_TEXT } type;
};

static inline struct value integer(int64_t number)
{
    return (struct value){.type = VALUE_INTEGER, .integer = number};
}

/* NULL becomes NULL. Valid UTF-8 please. */
static inline struct value text(const char *characters)
{
    return (struct value){.type = characters ? VALUE_TEXT : VALUE_NULL, .text = characters};
}

static inline struct value nothing(void)
{
    return (struct value){.type = VALUE_NULL};
}

/* A reference: 0 becomes NULL. */
static inline struct value reference(int64_t id)
{
    return id ? integer(id) : nothing();
}

/* A count that does not fit (a damaged trace) becomes the highest one that does. */
static inline struct value counted(uint64_t count)
{
    return integer(count > INT64_MAX ? INT64_MAX : (int64_t)count);
}

/* --- rows ------------------------------------------------------------------------------------------------------------- */

struct insert {
    sqlite3_stmt *statement; /* NULL: it failed, or was finished */
    bool failed;
};

/* INSERT INTO table (columns); `columns` are separated by blanks. */
struct insert insert_prepared(sqlite3 *db, const char *table, const char *columns);

/* The same, but a row whose key is there already is passed over. */
struct insert insert_unless_there_prepared(sqlite3 *db, const char *table, const char *columns);

/* The same, but a row whose key is there already is replaced. */
struct insert insert_replacing_prepared(sqlite3 *db, const char *table, const char *columns);

/* One row; as many values as there are columns. */
void row_inserted(struct insert *insert, const struct value *values, size_t count);

#define INSERTED(insert, ...)                                 \
    row_inserted(insert, (const struct value[]){__VA_ARGS__}, \
                 sizeof((const struct value[]){__VA_ARGS__}) / sizeof(struct value))

/* Frees it; true if all rows went in. */
bool insert_finished(struct insert *insert);

#endif
