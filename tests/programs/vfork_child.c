/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 */
/* vfork children, which share their parent's memory, end and exec in a loop beside an open connection. */
#include <fcntl.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(void)
{
    static sqlite3 *db;
    int status;
    volatile int failed = 0;
    pid_t child;
    sqlite3_open(":memory:", &db);
    for (int i = 0; i < 50; i++) {
        if ((child = vfork()) == 0)
            _exit(0);
        waitpid(child, &status, 0);
        failed += status != 0;
        if ((child = vfork()) == 0) {
            execl("/nonexistent", "nonexistent", (char *)NULL);
            _Exit(0);
        }
        waitpid(child, &status, 0);
        failed += status != 0;
        if ((child = vfork()) == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(1);
        }
        waitpid(child, &status, 0);
        failed += status != 0;
        if (posix_spawn(&child, "/bin/true", NULL, NULL, (char *[]){"true", NULL}, environ) != 0)
            return 2;
        waitpid(child, &status, 0);
        failed += status != 0;
    }
    sqlite3_close(db);
    exit(failed);
}
