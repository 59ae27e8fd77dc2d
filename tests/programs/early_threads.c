/* SPDX-License-Identifier: Apache-2.0 */
/* build: shared -lsqlite3 -lpthread */
/* A library whose constructor, which runs before the shim's, starts threads that all open and close a database at once. */
#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>

enum { THREADS = 4 };

static pthread_barrier_t together;

static void *work(void *unused)
{
    sqlite3 *db;
    pthread_barrier_wait(&together);
    sqlite3_open(":memory:", &db);
    sqlite3_close(db);
    return unused;
}

__attribute__((constructor)) static void threads_started(void)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}
