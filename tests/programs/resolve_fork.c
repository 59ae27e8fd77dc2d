/* SPDX-License-Identifier: Apache-2.0 */
/* build: -pthread */
/*
 * resolve_fork ROUNDS PLUGIN LIBRARY: forks while other threads load and unload the library; each child opens and closes through the plugin for
 * the first time, and must neither hang nor fail.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct sqlite3;
typedef int (*open_function)(const char *file, struct sqlite3 **db);
typedef int (*close_function)(struct sqlite3 *db);

static atomic_bool finished;

static void *loading(void *path)
{
    while (!atomic_load(&finished)) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        dlclose(library);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    int failed = 0;
    if (argc < 4)
        return 2;
    void *plugin = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    open_function open = (open_function)dlsym(plugin, "plugin_open");
    close_function close = (close_function)dlsym(plugin, "plugin_tail_close");
    for (int i = 0; i < 2; ++i)
        pthread_create(&threads[i], NULL, loading, argv[3]);
    for (int i = atoi(argv[1]); i > 0; --i) {
        struct sqlite3 *db = NULL;
        int status = 0;
        const pid_t child = fork();
        if (child == 0) {
            alarm(10);
            _exit(open("file", &db) == 0 && close(db) == 0 ? 0 : 1);
        }
        waitpid(child, &status, 0);
        failed += status != 0;
    }
    atomic_store(&finished, true);
    for (int i = 0; i < 2; ++i)
        pthread_join(threads[i], NULL);
    printf("failed: %d\n", failed);
    return 0;
}
