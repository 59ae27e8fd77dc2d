/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -pthread -O1 */
/* Eight threads at once: each loses 5 connections and closes 1,000. */
#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>

enum { THREADS = 8 };

__attribute__((noinline)) static void forget(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
}

static void *works(void *barrier)
{
    sqlite3 *db;
    pthread_setname_np(pthread_self(), "worker");
    pthread_barrier_wait(barrier);
    for (int i = 0; i < 1000; i++) {
        if (i % 200 == 0)
            forget();
        sqlite3_open(":memory:", &db);
        sqlite3_close(db);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, works, &barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}
