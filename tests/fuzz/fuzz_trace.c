/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a trace: read, loaded into a database in memory, named. Seeds are built here, into the first corpus
 * directory of the command line, so that they always have the layout of today.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/trace_builder.c"
#include "database.h"
#include "load.h"
#include "place.h"
#include "symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

const char *__asan_default_options(void)
{
    return "malloc_context_size=3"; /* half the time went into stacks of allocations */
}

static void seed_written(const char *directory, const char *name, struct trace_builder *made)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    trace_written(made, path);
    builder_freed(made);
}

static void seeds_written(const char *directory)
{
    struct trace_builder *running = builder_of_everything();

    seed_written(directory, "seed-everything", builder_of_everything());
    seed_written(directory, "seed-python", builder_of_python());
    seed_written(directory, "seed-many", builder_of_many("/bin/true", 100, 3, 5));
    built_process(running)->end = END_NONE; /* … as it may be, so that records are read twice */
    built_process(running)->pid_namespace = 1;
    running->tables[TABLE_TIMELINE].count = 0;
    seed_written(directory, "seed-running", running);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (int i = 1; i < *argc; i++) {
        DIR *directory = (*argv)[i][0] == '-' ? NULL : opendir((*argv)[i]);
        if (!directory)
            continue;
        closedir(directory);
        seeds_written((*argv)[i]);
        break;
    }
    stderr = fopen("/dev/null", "we"); /* a warning for each input is right, and tells nothing here */
    return stderr ? 0 : 1;
}

/* Flipped bits mostly make a header that is refused. References are what can lead astray: small numbers, aligned. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint32_t number = seed % 7 == 0 ? seed * 2654435761u : seed / 7 % 40;
    size_t from = seed % 5 ? sizeof(struct trace_header) : 0, at;

    if (seed % 3 == 0 || size < from + 8)
        return LLVMFuzzerMutate(data, size, max_size);
    at = from + (seed / 11 * 2654435761u % (size - from)) / 4 * 4;
    if (at + 4 <= size)
        memcpy(data + at, &number, sizeof(number));
    return size;
}

/* The same database for all inputs, emptied: making one takes ten times as long as reading a small trace. */
static sqlite3 *database_emptied(void)
{
    static sqlite3 *db;
    static char *emptying;
    sqlite3_stmt *tables;

    if (!db) {
        db = database_created(":memory:");
        tables =
            prepared(db, "SELECT group_concat('DELETE FROM ' || name, ';') FROM sqlite_schema WHERE type = 'table'");
        required(row_fetched(tables, NULL), "tables");
        emptying = strdup((const char *)sqlite3_column_text(tables, 0));
        sqlite3_finalize(tables);
    }
    required(executed(db, emptying), "emptied");
    return db;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("trace", MFD_CLOEXEC);
    sqlite3 *db = database_emptied();
    struct symbol_options symbols = {0};
    struct code_rules code = {0};
    unsigned loaded;
    char path[32];
    const char *paths[] = {path};

    required(fd >= 0 && write(fd, data, size) == (ssize_t)size, "memfd");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    traces_loaded(db, &(struct load_options){.paths = paths, .count = 1, .symbols = &symbols, .code = &code}, &loaded);
    close(fd);
    return 0;
}
