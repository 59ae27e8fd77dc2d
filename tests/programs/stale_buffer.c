/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 */
/* Where a closed connection was, stdout's buffer gets its memory and the next connection its address: one is lost. */
#include <sqlite3.h>
#include <stdio.h>

static int opened(void)
{
    sqlite3 *db;
    sqlite3_stmt *query;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK)
        return -1;
    if (sqlite3_prepare_v2(db, "select count(*) from sqlite_schema where 1", -1, &query, NULL) != SQLITE_OK)
        return -1;
    sqlite3_step(query);
    sqlite3_finalize(query);
    sqlite3_close(db);
    return 0;
}

static int forgotten(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
    return 0; /* lost */
}

int main(void)
{
    printf("%d\n", opened());
    printf("%d\n", forgotten());
    return 0;
}
