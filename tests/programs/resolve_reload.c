/* SPDX-License-Identifier: Apache-2.0 */
/* build: -pthread */
/*
 * resolve_reload ROUNDS PLUGIN LIBRARY…: one thread per library loads it, opens and closes through dlsym, unloads it, and starts again, at addresses
 * that change; meanwhile another opens and closes through the plugin. Prints how many handles came from the wrong library.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct sqlite3 {
    const char *maker;
};
typedef int (*open_function)(const char *file, struct sqlite3 **db);
typedef int (*close_function)(struct sqlite3 *db);

static int rounds;
static atomic_int wrong, right;
static atomic_bool finished;

static void opened_and_closed(open_function open, close_function close, const char *expected)
{
    struct sqlite3 *db = NULL;
    const bool fits = open("file", &db) == 0 && db && strstr(expected, db->maker) && close(db) == 0;
    atomic_fetch_add(fits ? &right : &wrong, 1);
}

static void *reloading(void *path)
{
    unsigned seed = (unsigned)strlen(path);
    for (int i = 0; i < rounds; ++i) {
        const size_t size = 4096 * (1 + (size_t)rand_r(&seed) % 512);
        void *gap = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        open_function open = (open_function)dlsym(library, "sqlite3_open");
        close_function close = (close_function)dlsym(library, "sqlite3_close");
        if (open != (open_function)dlsym(library, "sqlite3_open"))
            atomic_fetch_add(&wrong, 1);
        for (int k = 0; k < 10; ++k)
            opened_and_closed(open, close, path);
        munmap(gap, size);
        dlclose(library);
    }
    return NULL;
}

static void *staying(void *path)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    open_function open = (open_function)dlsym(plugin, "plugin_open");
    close_function close = (close_function)dlsym(plugin, "plugin_tail_close");
    while (!atomic_load(&finished))
        opened_and_closed(open, close, path);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[8], stays;
    rounds = argc > 3 ? atoi(argv[1]) : 0;
    if (argc < 4 || argc > 11 || pthread_create(&stays, NULL, staying, argv[2]))
        return 2;
    for (int i = 3; i < argc; ++i) {
        if (pthread_create(&threads[i - 3], NULL, reloading, argv[i]))
            return 2;
    }
    for (int i = 3; i < argc; ++i)
        pthread_join(threads[i - 3], NULL);
    atomic_store(&finished, true);
    pthread_join(stays, NULL);
    printf("wrong: %d\n", atomic_load(&wrong));
    return atomic_load(&right) == 0;
}
