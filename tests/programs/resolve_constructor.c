/* SPDX-License-Identifier: Apache-2.0 */
/* build: shared -pthread */
/* Linked with a client library. Its constructor waits, inside dlopen, for a thread that opens a handle for the first time. */
#include <pthread.h>
#include <stdio.h>

struct sqlite3;
int sqlite3_open(const char *file, struct sqlite3 **db);
int sqlite3_close(struct sqlite3 *db);

static void *opens(void *unused)
{
    struct sqlite3 *db;
    (void)unused;
    puts(sqlite3_open("file", &db) == 0 && sqlite3_close(db) == 0 ? "opened in a constructor" : "failed");
    return NULL;
}

__attribute__((constructor)) static void waits(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, opens, NULL) == 0)
        pthread_join(thread, NULL);
}
