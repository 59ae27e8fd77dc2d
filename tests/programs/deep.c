/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 -fno-optimize-sibling-calls */
/* Loses a connection as many calls deep as the argument says. */
#include <sqlite3.h>
#include <stdlib.h>

__attribute__((noinline)) static int deeper(int more)
{
    sqlite3 *db;
    if (more > 0)
        return deeper(more - 1) + 1;
    sqlite3_open(":memory:", &db);
    return 0;
}

int main(int count, char **arguments)
{
    return deeper(count > 1 ? atoi(arguments[1]) : 300) == 0;
}
