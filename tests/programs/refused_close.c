/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* A connection is closed while a statement of it is alive: `close` is refused, `close_v2` leaves a zombie; with `later`
 * the statement is finalized afterwards, and the close repeated where it was refused. */
#include <sqlite3.h>
#include <string.h>

__attribute__((noinline)) static sqlite3_stmt *prepare(sqlite3 *db)
{
    sqlite3_stmt *statement;
    sqlite3_prepare_v2(db, "SELECT 1", -1, &statement, NULL); /* prepared */
    return statement;
}

__attribute__((noinline)) static int give_up(sqlite3 *db)
{
    return sqlite3_close(db); /* refused */
}

__attribute__((noinline)) static int give_up_v2(sqlite3 *db)
{
    return sqlite3_close_v2(db); /* zombie */
}

int main(int count, char **arguments)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
    sqlite3_stmt *statement = prepare(db);
    int refused = strcmp(arguments[1], "close") == 0 ? give_up(db) : give_up_v2(db);
    if (count > 2) {
        sqlite3_finalize(statement);
        if (refused)
            return sqlite3_close(db);
    }
    return 0;
}
