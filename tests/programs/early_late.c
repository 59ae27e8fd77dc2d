/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* Opened before main by a constructor, closed after exit has begun: by an atexit handler and by a destructor. With an
 * argument a third is opened in the destructor, and lost. */
#include <sqlite3.h>
#include <stdlib.h>

static sqlite3 *for_handler, *for_destructor;
static int loses;

__attribute__((constructor(101))) static void before_main(void)
{
    sqlite3_open(":memory:", &for_handler);
    sqlite3_open(":memory:", &for_destructor);
}

static void at_exit(void)
{
    sqlite3_close(for_handler);
}

__attribute__((destructor(101))) static void after_exit(void)
{
    sqlite3 *lost;
    sqlite3_close(for_destructor);
    if (loses)
        sqlite3_open(":memory:", &lost);
}

int main(int count, char **arguments)
{
    (void)arguments;
    loses = count > 1;
    atexit(at_exit);
}
