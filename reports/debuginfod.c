/* SPDX-License-Identifier: Apache-2.0 */
#include "debuginfod.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct debuginfod {
    void *library;
    void *client; /* NULL: not there, or given up */
    int (*find)(void *client, const unsigned char *build_id, int build_id_length, char **path);
    void (*end)(void *client);
};

struct debuginfod *debuginfod_opened(void)
{
    struct debuginfod *server = calloc(1, sizeof *server);
    if (!server)
        return NULL;
    server->library = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!server->library)
        return server;
    void *(*begin)(void) = (void *(*)(void))dlsym(server->library, "debuginfod_begin");
    server->find =
        (int (*)(void *, const unsigned char *, int, char **))dlsym(server->library, "debuginfod_find_debuginfo");
    server->end = (void (*)(void *))dlsym(server->library, "debuginfod_end");
    if (begin && server->find && server->end)
        server->client = begin();
    return server;
}

static void given_up(struct debuginfod *server)
{
    if (server->client)
        server->end(server->client);
    server->client = NULL;
}

/* The library stays loaded: libcurl and its own libraries do not like to go. */
void debuginfod_closed(struct debuginfod *server)
{
    if (server)
        given_up(server);
    free(server);
}

char *debuginfod_found(struct debuginfod *server, const uint8_t *build_id, size_t build_id_size)
{
    char *path = NULL;
    if (!server->client || build_id_size == 0)
        return NULL;
    int fd = server->find(server->client, build_id, (int)build_id_size, &path);
    if (fd >= 0) {
        close(fd);
        return path;
    }
    if (fd != -ENOENT)
        given_up(server);
    return NULL;
}
