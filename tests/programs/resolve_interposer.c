/* SPDX-License-Identifier: Apache-2.0 */
/* build: shared */
/* Another preload that wraps an opening function, and one that also answers dlsym if built with -DANSWERS_DLSYM. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct sqlite3;
typedef int (*open_function)(const char *file, struct sqlite3 **db);

int sqlite3_open(const char *file, struct sqlite3 **db);

int sqlite3_open(const char *file, struct sqlite3 **db)
{
    static int depth;
    const open_function next = (open_function)dlsym(RTLD_NEXT, "sqlite3_open");
    puts("interposed");
    if (!next || ++depth > 3)
        return 1;
    const int result = next(file, db);
    --depth;
    return result;
}

#ifdef ANSWERS_DLSYM
void *dlsym(void *handle, const char *name)
{
    static void *(*real)(void *, const char *);
    if (!real)
        real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    void *found = handle != RTLD_NEXT && strcmp(name, "sqlite3_open") == 0 ? (void *)sqlite3_open : real(handle, name);
    __asm__ volatile("" ::: "memory"); /* not a tail call: the real one is to see us */
    return found;
}
#endif
