/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -pthread -O1 */
/* Five connections are lost, then the program ends in the way that its argument says. */
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int opened;

__attribute__((noinline)) static void forget(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
    opened++;
}

static void *kills_when_there_are_many(void *unused)
{
    while (opened < 3000)
        ;
    kill(getpid(), SIGKILL);
    return unused;
}

/* Says "x" after each open, so that what was said tells how many there were. */
static void leak_until_killed(void)
{
    pthread_t killer;
    pthread_create(&killer, NULL, kills_when_there_are_many, NULL);
    for (;;) {
        forget();
        if (write(1, "x", 1) != 1)
            _exit(1);
    }
}

static void *ends_after_main(void *unused)
{
    pthread_join(*(pthread_t *)unused, NULL);
    forget();
    return NULL;
}

int main(int count, char **arguments)
{
    const char *how = arguments[1];
    if (strcmp(how, "kill-in-loop") == 0)
        leak_until_killed();
    for (int i = 0; i < 5; i++)
        forget();
    if (strcmp(how, "_exit") == 0)
        _exit(0);
    if (strcmp(how, "_Exit") == 0)
        _Exit(0);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(0);
    if (strcmp(how, "exit") == 0)
        exit(0);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "term") == 0)
        raise(SIGTERM);
    if (strcmp(how, "kill") == 0)
        raise(SIGKILL);
    if (strcmp(how, "exec") == 0)
        execl("/bin/true", "true", (char *)NULL);
    if (strcmp(how, "exec-self") == 0)
        execv("/proc/self/exe", (char *[]){arguments[0], "_exit", NULL});
    if (strcmp(how, "exec-fails") == 0)
        return execl("/nonexistent", "nonexistent", (char *)NULL) == 0;
    if (strcmp(how, "pthread_exit") == 0) {
        static pthread_t first, last;
        first = pthread_self();
        pthread_create(&last, NULL, ends_after_main, &first);
        pthread_exit(NULL);
    }
    return count > 2;
}
