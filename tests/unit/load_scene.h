/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scene of the loader's tests: a directory of traces, a database, and what was said on stderr.
 *
 *     built_handle(scene->made, connection_site(scene->made));     arrange: a trace
 *     loaded(scene);                                               act
 *     assert_selected(scene, "SELECT count(*) FROM handle", "1");  assert
 */
#ifndef UNCLOSED_TESTS_LOAD_SCENE_H
#define UNCLOSED_TESTS_LOAD_SCENE_H

#include <dlfcn.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after those it needs */
#include <cmocka.h>

#include "database.h"
#include "load.h"
#include "place.h"
#include "symbols.h"
#include "trace_builder.c"

#define OFTEN __attribute__((unused)) static /* not every test program uses all of it */

struct scene {
    char directory[32], path[64];
    struct trace_builder *made;
    sqlite3 *db;
    unsigned loaded;
    char said[4096];
};

OFTEN int scene_set(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    *state = scene;
    strcpy(scene->directory, "/tmp/unclosed-load.XXXXXX");
    if (!mkdtemp(scene->directory))
        return -1;
    snprintf(scene->path, sizeof(scene->path), "%s/app.trace", scene->directory);
    scene->made = builder_begun();
    scene->db = database_created(":memory:");
    return scene->db ? 0 : -1;
}

OFTEN int scene_struck(void **state)
{
    struct scene *scene = *state;
    char command[64];

    database_closed(scene->db);
    builder_freed(scene->made);
    snprintf(command, sizeof(command), "rm -rf %s", scene->directory);
    free(scene);
    return system(command);
}

OFTEN int all_loaded(struct scene *scene, const char *const *paths, size_t count)
{
    struct symbol_options symbols = {0};
    struct code_rules code = {0};
    struct load_options options = {.paths = paths, .count = count, .symbols = &symbols, .code = &code};
    FILE *words = tmpfile();
    int real = dup(2), result;

    fflush(stderr);
    dup2(fileno(words), 2);
    result = traces_loaded(scene->db, &options, &scene->loaded);
    fflush(stderr);
    dup2(real, 2);
    close(real);
    rewind(words);
    scene->said[fread(scene->said, 1, sizeof(scene->said) - 1, words)] = '\0';
    fclose(words);
    return result;
}

OFTEN int path_loaded(struct scene *scene, const char *path)
{
    return all_loaded(scene, &path, 1);
}

/* Writes the scene's trace and loads it, without a word. */
OFTEN void loaded(struct scene *scene)
{
    trace_written(scene->made, scene->path);
    assert_int_equal(path_loaded(scene, scene->path), 0);
    assert_string_equal(scene->said, "");
    assert_int_equal(scene->loaded, 1);
}

OFTEN int64_t number(struct scene *scene, const char *sql)
{
    return integer_selected(scene->db, sql, -1);
}

/* All that a query gives, columns and rows separated by blanks; NULL as "-". */
OFTEN void assert_selected(struct scene *scene, const char *sql, const char *expected)
{
    sqlite3_stmt *statement = prepared(scene->db, sql);
    char found[4096] = "";
    size_t length = 0;

    while (row_fetched(statement, NULL))
        for (int column = 0; column < sqlite3_column_count(statement); column++) {
            const char *cell = (const char *)sqlite3_column_text(statement, column);
            length +=
                (size_t)snprintf(found + length, sizeof(found) - length, "%s%s", length ? " " : "", cell ? cell : "-");
        }
    sqlite3_finalize(statement);
    assert_string_equal(found, expected);
}

OFTEN uint32_t connection_site(struct trace_builder *made)
{
    return built_site(made, KIND_SQLITE3_CONNECTION, STACK_OTHER);
}

OFTEN uint32_t own_module(struct trace_builder *made)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

    assert_true(length > 0);
    path[length] = '\0';
    return built_module_of_file(made, path); /* without a build-id its names would not be believed */
}

/* A frame just behind the beginning of a function of this test. */
OFTEN uint32_t frame_in(struct trace_builder *made, void *function)
{
    Dl_info place;

    assert_true(dladdr(function, &place));
    return built_frame(made, own_module(made), (uint64_t)((char *)function - (char *)place.dli_fbase) + 4);
}

__attribute__((noinline)) void leaf_of_test(void);
void leaf_of_test(void)
{
    __asm__ volatile("nop; nop; nop; nop; nop; nop");
}

__attribute__((noinline)) void caller_of_test(void);
void caller_of_test(void)
{
    __asm__ volatile("nop; nop; nop; nop; nop; nop; nop");
}

OFTEN void site_with(struct scene *scene, const uint32_t *frames, size_t count)
{
    built_handle(scene->made,
                 built_site(scene->made, KIND_SQLITE3_CONNECTION, built_stack(scene->made, frames, count)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set, scene_struck)

#endif
