/* SPDX-License-Identifier: Apache-2.0 */
/* build: shared */
/* A module with a database library built in, which it exports and calls through its own import slots, as a wheel does. */
#include <stdlib.h>

typedef struct sqlite3 sqlite3;

int sqlite3_open(const char *name, sqlite3 **db)
{
    (void)name;
    *db = malloc(64);
    return 0;
}

int sqlite3_close(sqlite3 *db)
{
    free(db);
    return 0;
}

void module_used(void)
{
    sqlite3 *db;
    for (int i = 0; i < 3; i++)
        sqlite3_open("orders.db", &db);
    sqlite3_close(db);
}
