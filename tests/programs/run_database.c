/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 */
/* Opens databases: `close` and closes it; `lose N`; `lose-and-wait`; `lose-and-die`; `daemon` loses one in the background. */
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sqlite3 *opened(void)
{
    sqlite3 *database = NULL;
    sqlite3_open(":memory:", &database);
    return database;
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "close";
    int times = count > 2 ? atoi(arguments[2]) : 1;
    if (strcmp(what, "close") == 0)
        return sqlite3_close(opened());
    if (strcmp(what, "daemon") == 0 && daemon(0, 0) != 0)
        return 1;
    for (int i = 0; i < times; i++)
        opened();
    if (strcmp(what, "daemon") == 0)
        usleep(500000);
    if (strcmp(what, "daemon") == 0 || strcmp(what, "lose-and-die") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(what, "lose-and-wait") == 0) {
        puts("ready");
        fflush(stdout);
        pause();
    }
    return 0;
}
