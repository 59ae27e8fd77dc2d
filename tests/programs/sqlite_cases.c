/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* One way of leaving things behind in SQLite for each first argument. */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

static sqlite3 *volatile kept;

static void done(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        exit(1);
}

NOINLINE static sqlite3 *opened(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db); /* opened */
    done(db, "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(100))");
    return db;
}

NOINLINE static void forget_statements(sqlite3 *db, int count)
{
    for (int i = 0; i < count; i++) {
        sqlite3_stmt *volatile statement;
        sqlite3_prepare_v2(db, "SELECT * FROM t", -1, (sqlite3_stmt **)&statement, NULL); /* prepared */
        sqlite3_step(statement);
    }
}

NOINLINE static void forget_failed(const char *name)
{
    sqlite3 *volatile db;
    sqlite3_open(name, (sqlite3 **)&db); /* failed */
}

NOINLINE static void forget_connection_with_statements(void)
{
    forget_statements(opened(), 3);
}

NOINLINE static void begin(sqlite3 *db)
{
    done(db, "BEGIN"); /* begun */
}

NOINLINE static void finish(sqlite3 *db)
{
    sqlite3_close(db); /* closed */
    __asm__ volatile("");
}

NOINLINE static void wait_in_vain(sqlite3 *db, const char *sql)
{
    sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static void every_way_to_prepare(sqlite3 *db)
{
    sqlite3_stmt *statements[6];
    sqlite3_prepare(db, "SELECT 1", -1, &statements[0], NULL);
    sqlite3_prepare_v2(db, "SELECT 1", -1, &statements[1], NULL);
    sqlite3_prepare_v3(db, "SELECT 1", -1, 0, &statements[2], NULL);
    sqlite3_prepare16(db, u"SELECT 1", -1, &statements[3], NULL);
    sqlite3_prepare16_v2(db, u"SELECT 1", -1, &statements[4], NULL);
    sqlite3_prepare16_v3(db, u"SELECT 1", -1, 0, &statements[5], NULL);
    for (int i = 0; i < 6; i++)
        sqlite3_finalize(statements[i]);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    sqlite3 *db = opened(), *other;
    sqlite3_blob *blob;
    if (strcmp(what, "failed") == 0) {
        forget_failed("/nonexistent/directory/shop.db");
    } else if (strcmp(what, "failed-closed") == 0) {
        sqlite3_open("/nonexistent/directory/shop.db", &other);
        sqlite3_close(other);
    } else if (strcmp(what, "statements") == 0) {
        kept = db;
        forget_statements(db, 3);
        return 0;
    } else if (strcmp(what, "connection-with-statements") == 0) {
        forget_connection_with_statements();
    } else if (strcmp(what, "wrote") == 0) {
        begin(db);
        done(db, "INSERT INTO t VALUES (2)");
        finish(db);
        return 0;
    } else if (strcmp(what, "read") == 0) {
        begin(db);
        done(db, "SELECT * FROM t");
        finish(db);
        return 0;
    } else if (strcmp(what, "committed") == 0) {
        begin(db);
        done(db, "INSERT INTO t VALUES (2); COMMIT");
        finish(db);
        return 0;
    } else if (strcmp(what, "prepare") == 0) {
        every_way_to_prepare(db);
    } else if (strcmp(what, "open") == 0) {
        sqlite3_open16(u":memory:", &other);
        sqlite3_close_v2(other);
        sqlite3_open_v2(":memory:", &other, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
        sqlite3_close(other);
        sqlite3_close(NULL);
        sqlite3_finalize(NULL);
    } else if (strcmp(what, "blob") == 0) {
        sqlite3_blob_open(db, "main", "t", "a", 1, 0, &blob);
        sqlite3_blob_close(blob);
    } else if (strcmp(what, "backup") == 0) {
        sqlite3_open(":memory:", &other);
        sqlite3_backup *backup = sqlite3_backup_init(other, "main", db, "main");
        sqlite3_backup_step(backup, -1);
        sqlite3_backup_finish(backup);
        sqlite3_close(other);
    } else if (strcmp(what, "blob-in-the-way") == 0) {
        sqlite3_blob_open(db, "main", "t", "a", 1, 0, &blob);
    } else if (strcmp(what, "busy") == 0) {
        sqlite3_open("busy.db", &other);
        sqlite3_close(db);
        sqlite3_open("busy.db", &db);
        done(db, "CREATE TABLE IF NOT EXISTS t (a); BEGIN EXCLUSIVE");
        wait_in_vain(other, "INSERT INTO t VALUES (1)");
        done(db, "ROLLBACK");
        sqlite3_close(other);
    } else {
        return 2;
    }
    sqlite3_close(db);
    return 0;
}
