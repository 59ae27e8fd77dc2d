/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* A child does with its parent's connection what the argument says; the parent goes on and closes it. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((noinline)) static void in_the_child(sqlite3 *db, const char *what)
{
    if (strcmp(what, "close") == 0)
        sqlite3_close(db);
    if (strcmp(what, "use") == 0)
        sqlite3_exec(db, "SELECT 1", NULL, NULL, NULL);
    if (strcmp(what, "own") == 0) { /* and nothing with the parent's */
        sqlite3 *own;
        sqlite3_open(":memory:", &own);
        sqlite3_close(own);
    }
    _exit(0);
}

int main(int count, char **arguments)
{
    sqlite3 *db;
    int status;
    (void)count;
    sqlite3_open(":memory:", &db);
    pid_t child = fork();
    if (child == 0)
        in_the_child(db, arguments[1]);
    printf("%d %d\n", getpid(), child);
    waitpid(child, &status, 0);
    sqlite3_exec(db, "SELECT 1", NULL, NULL, NULL);
    return sqlite3_close(db) != SQLITE_OK || status != 0;
}
