/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 */
/* Linked with the real SQLite; closes through a function pointer. Built by test_resolve.py in other ways: -no-pie, -z now, -z lazy, stripped. */
#include <sqlite3.h>
#include <stdio.h>

int main(void)
{
    int (*volatile close)(sqlite3 *) = sqlite3_close;
    sqlite3 *db;
    sqlite3_stmt *statement;
    if (sqlite3_open(":memory:", &db) || sqlite3_prepare_v2(db, "select 6 * 7", -1, &statement, NULL) ||
        sqlite3_step(statement) != SQLITE_ROW)
        return 1;
    printf("%d\n", sqlite3_column_int(statement, 0));
    return sqlite3_finalize(statement) || close(db);
}
