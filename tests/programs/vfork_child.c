/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 */
/* vfork children, which share their parent's memory, end and exec in a loop beside an open connection. With an argument
 * the program is killed right after one of them ended. */
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int count, char **arguments)
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
    if (count > 1) {
        if ((child = vfork()) == 0) {
            if (arguments[1][0] == 'e')
                execl("/bin/true", "true", (char *)NULL);
            _exit(0);
        }
        raise(SIGKILL);
    }
    sqlite3_close(db);
    exit(failed);
}
