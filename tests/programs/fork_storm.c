/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -pthread */
/* Threads open and close while the main thread forks; every tenth child has a lease of its own and loses another. Says how
 * many leases the threads had. Children use unclosed.h only: SQLite itself may hang after a fork beside its threads. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unclosed/unclosed.h>
#include <unistd.h>

enum { THREADS = 4 };

static unclosed_kind_id lease;
static atomic_bool enough;
static atomic_ulong leases;

static void *opens_and_closes(void *mine)
{
    while (!enough) {
        sqlite3 *db;
        sqlite3_open(":memory:", &db);
        unclosed_opened(lease, mine);
        leases++;
        sqlite3_close(db);
        unclosed_closed(lease, mine, UNCLOSED_EXPLICIT);
    }
    return NULL;
}

static void in_the_child(int number, char *slots)
{
    alarm(20); /* a child that hangs dies of this, and is counted */
    if (number % 10 == 0) {
        unclosed_opened(lease, slots);
        unclosed_closed(lease, slots, UNCLOSED_EXPLICIT);
        unclosed_opened(lease, slots + 1);
    }
    _exit(0);
}

int main(int count, char **arguments)
{
    static char slots[THREADS + 2];
    pthread_t threads[THREADS];
    int forks = count > 1 ? atoi(arguments[1]) : 1000, failed = 0;
    lease = unclosed_kind("storm.lease", NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, opens_and_closes, &slots[i]);
    for (int i = 0; i < forks; i++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            in_the_child(i, slots + THREADS);
        waitpid(child, &status, 0);
        failed += status != 0;
    }
    enough = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%d: %lu leases, %d children failed\n", getpid(), (unsigned long)leases, failed);
}
