/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -pthread */
/*
 * SQLite work, in rounds (rounds.h).
 *
 *     bench_sqlite open|statement OPERATIONS [THREADS]
 *
 * open: sqlite3_open(":memory:") and sqlite3_close.  statement: prepare, step and finalize `select 1`.
 */
#include <sqlite3.h>
#include <string.h>

#include "rounds.h"

static sqlite3 *database;

static void opened_and_closed(void)
{
    sqlite3 *db;
    required(sqlite3_open(":memory:", &db) == SQLITE_OK);
    required(sqlite3_close(db) == SQLITE_OK);
}

static void selected_one(void)
{
    sqlite3_stmt *statement;
    required(sqlite3_prepare_v2(database, "select 1", -1, &statement, NULL) == SQLITE_OK);
    required(sqlite3_step(statement) == SQLITE_ROW);
    required(sqlite3_finalize(statement) == SQLITE_OK);
}

int main(int count, char **arguments)
{
    required(count >= 3);
    required(sqlite3_open(":memory:", &database) == SQLITE_OK);
    rounds_measured(strcmp(arguments[1], "open") == 0 ? opened_and_closed : selected_one, atol(arguments[2]),
                    count > 3 ? atoi(arguments[3]) : 0);
    required(sqlite3_close(database) == SQLITE_OK);
    return 0;
}
