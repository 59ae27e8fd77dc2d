/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* A closed connection is closed again (`close`) or used (`exec`, `prepare`, `step`); then `crash` crashes for sure. */
#include <sqlite3.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

NOINLINE static sqlite3 *open_it(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
    return db;
}

NOINLINE static void close_it(sqlite3 *db)
{
    sqlite3_close(db); /* first close */
}

NOINLINE static void close_again(sqlite3 *db)
{
    sqlite3_close(db); /* second close */
}

NOINLINE static void exec_it(sqlite3 *db)
{
    sqlite3_exec(db, "SELECT 1", NULL, NULL, NULL); /* use */
}

NOINLINE static void prepare_it(sqlite3 *db)
{
    sqlite3_stmt *statement;
    sqlite3_prepare_v2(db, "SELECT 1", -1, &statement, NULL);
}

int main(int count, char **arguments)
{
    const char *what = arguments[1];
    sqlite3 *db = open_it();
    close_it(db);
    if (strcmp(what, "close") == 0)
        close_again(db);
    else if (strcmp(what, "exec") == 0)
        exec_it(db);
    else
        prepare_it(db);
    if (count > 2)
        *(volatile int *)0 = 1;
    return 0;
}
