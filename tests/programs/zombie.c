/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* sqlite3_close_v2 while a statement lives, then what the first argument says; the statement is finalized in the end. */
#include <sqlite3.h>
#include <stddef.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

NOINLINE static int close_it(sqlite3 *db)
{
    int rc = sqlite3_close_v2(db);
    __asm__ volatile("");
    return rc;
}

NOINLINE static int close_again(sqlite3 *db)
{
    int rc = sqlite3_close_v2(db);
    __asm__ volatile("");
    return rc;
}

NOINLINE static int use_it(sqlite3 *db)
{
    int rc = sqlite3_exec(db, "select 1", NULL, NULL, NULL);
    __asm__ volatile("");
    return rc;
}

int main(int count, char **arguments)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    const char *what = count > 1 ? arguments[1] : "";
    sqlite3_open(":memory:", &db);
    sqlite3_prepare_v2(db, "select 1", -1, &statement, NULL);
    close_it(db);
    sqlite3_step(statement); /* as it should be */
    if (strcmp(what, "close") == 0)
        close_again(db);
    else if (strcmp(what, "use") == 0)
        use_it(db);
    return sqlite3_finalize(statement) != SQLITE_OK;
}
