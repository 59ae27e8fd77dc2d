/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -pthread -O1 */
/* At exit the only pointer to a connection is where the first argument says. */
#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static __thread sqlite3 *volatile in_tls;
static void *volatile in_global;
static sem_t ready;

static sqlite3 *opened(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
    return db;
}

static void *waits_with_it_in_tls(void *unused)
{
    in_tls = opened();
    sem_post(&ready);
    pause();
    return unused;
}

static void *waits_with_it_on_its_stack(void *unused)
{
    sqlite3 *volatile here = opened();
    sem_post(&ready);
    pause();
    return here ? unused : NULL;
}

/* Never calls again, so that the pointer stays in its register; what the opening left on the stack is wiped. */
static void *runs_with_it_in_a_register(void *unused)
{
    register uintptr_t kept __asm__("r12") = (uintptr_t)opened();
    __asm__ volatile("" : "+r"(kept));
    sem_post(&ready);
    volatile char *below = __builtin_frame_address(0);
    for (int i = 512; i < 30000; i++)
        below[-i] = 0;
    for (;;)
        __asm__ volatile("pause" : "+r"(kept));
    return unused;
}

static void started(void *(*body)(void *))
{
    pthread_t thread;
    sem_init(&ready, 0, 0);
    pthread_create(&thread, NULL, body, NULL);
    sem_wait(&ready);
}

int main(int count, char **arguments)
{
    const char *where = count > 1 ? arguments[1] : "";
    if (strcmp(where, "tls") == 0) {
        in_tls = opened();
    } else if (strcmp(where, "thread-tls") == 0) {
        started(waits_with_it_in_tls);
    } else if (strcmp(where, "thread-stack") == 0) {
        started(waits_with_it_on_its_stack);
    } else if (strcmp(where, "thread-register") == 0) {
        started(runs_with_it_in_a_register);
    } else if (strcmp(where, "main-stack") == 0) {
        sqlite3 *volatile here = opened();
        exit(here == NULL);
    } else if (strcmp(where, "heap-chain") == 0) {
        for (int i = 0; i < 10; i++) {
            void **link = malloc(64);
            link[3] = i ? in_global : opened();
            in_global = link;
        }
    } else if (strcmp(where, "interior") == 0) {
        in_global = (char *)opened() + 8;
    } else if (strcmp(where, "mapping") == 0) {
        sqlite3 **page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        page[100] = opened();
    } else if (strcmp(where, "tagged") == 0) {
        in_global = (void *)((uintptr_t)opened() | (uintptr_t)7 << 56);
    } else if (strcmp(where, "lost-chain") == 0) {
        void **link = malloc(64);
        link[3] = opened();
        __asm__ volatile("" : : "r"(link) : "memory");
    } else {
        return 2;
    }
}
