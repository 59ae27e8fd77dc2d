/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does what its arguments say, one line of output each. Modules and handles are numbered from 0 in the order of appearance.
 *
 *     load:PATH global:PATH   dlopen, RTLD_LOCAL or RTLD_GLOBAL        unload:MODULE
 *     open:MODULE tail-open:MODULE pointer-open:MODULE                  through the module's functions (resolve_plugin.c)
 *     tail-close:MODULE:HANDLE pointer-close:MODULE:HANDLE
 *     dlsym-open:MODULE dlsym-close:MODULE:HANDLE dlvsym-open:MODULE    straight into the module
 *     same:MODULE:MODULE      does dlsym give the same sqlite3_open for both?
 *     self default next       is there a sqlite3_open in dlopen(NULL), RTLD_DEFAULT, RTLD_NEXT?
 *     errors                  does a look-up that fails say so?
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sqlite3 {
    const char *maker;
};
typedef int (*open_function)(const char *file, struct sqlite3 **db);
typedef int (*close_function)(struct sqlite3 *db);

static void *modules[64];
static struct sqlite3 *handles[64];
static size_t module_count, handle_count;

static void *function_of(const char *module, const char *name)
{
    void *function = dlsym(modules[atoi(module)], name);
    if (!function) {
        printf("no %s\n", name);
        exit(1);
    }
    return function;
}

static void loaded(const char *path, int flags)
{
    modules[module_count] = dlopen(path, RTLD_NOW | flags);
    puts(modules[module_count++] ? "loaded" : dlerror());
}

static void opened(open_function open)
{
    struct sqlite3 *db = NULL;
    errno = 77;
    const int result = open ? open("file", &db) : -1;
    if (!db)
        printf("failed %d\n", result);
    else
        printf("opened by %s%s\n", db->maker, errno == 77 ? "" : ", errno changed");
    handles[handle_count++] = db;
}

static void closed(const char *argument, close_function close)
{
    const char *handle = strchr(argument, ':') + 1;
    puts(close(handles[atoi(handle)]) == 0 ? "closed" : "not its own");
}

static void said_whether(bool is_so)
{
    puts(is_so ? "yes" : "no");
}

static bool same(const char *argument)
{
    return function_of(argument, "sqlite3_open") == function_of(strchr(argument, ':') + 1, "sqlite3_open");
}

static void errors(void)
{
    dlerror();
    void *missing = dlsym(RTLD_DEFAULT, "sqlite3_nothing");
    const char *message = dlerror();
    printf("%s, %s\n", missing ? "found" : "not found",
           message && strstr(message, "sqlite3_nothing") ? "named" : "not named");
}

static void done(const char *verb, const char *argument)
{
    if (strcmp(verb, "load") == 0)
        loaded(argument, RTLD_LOCAL);
    else if (strcmp(verb, "global") == 0)
        loaded(argument, RTLD_GLOBAL);
    else if (strcmp(verb, "unload") == 0)
        puts(dlclose(modules[atoi(argument)]) == 0 ? "unloaded" : "not unloaded");
    else if (strcmp(verb, "open") == 0)
        opened((open_function)function_of(argument, "plugin_open"));
    else if (strcmp(verb, "tail-open") == 0)
        opened((open_function)function_of(argument, "plugin_tail_open"));
    else if (strcmp(verb, "pointer-open") == 0)
        opened(((open_function(*)(void))function_of(argument, "plugin_open_function"))());
    else if (strcmp(verb, "dlsym-open") == 0)
        opened((open_function)function_of(argument, "sqlite3_open"));
    else if (strcmp(verb, "dlvsym-open") == 0)
        opened((open_function)dlvsym(modules[atoi(argument)], "sqlite3_open", "ANY"));
    else if (strcmp(verb, "tail-close") == 0)
        closed(argument, (close_function)function_of(argument, "plugin_tail_close"));
    else if (strcmp(verb, "pointer-close") == 0)
        closed(argument, ((close_function(*)(void))function_of(argument, "plugin_close_function"))());
    else if (strcmp(verb, "dlsym-close") == 0)
        closed(argument, (close_function)function_of(argument, "sqlite3_close"));
    else if (strcmp(verb, "same") == 0)
        said_whether(same(argument));
    else if (strcmp(verb, "self") == 0)
        said_whether(dlsym(dlopen(NULL, RTLD_NOW), "sqlite3_open") != NULL);
    else if (strcmp(verb, "default") == 0)
        said_whether(dlsym(RTLD_DEFAULT, "sqlite3_open") != NULL);
    else if (strcmp(verb, "next") == 0)
        said_whether(dlsym(RTLD_NEXT, "sqlite3_open") != NULL);
    else
        errors();
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; ++i) {
        char *argument = strchr(argv[i], ':');
        if (argument)
            *argument++ = '\0';
        done(argv[i], argument);
    }
    return 0;
}
