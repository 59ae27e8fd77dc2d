/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of a run: made, emptied of what the last run left and of nothing else, never shared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "directory.h"

static char place[64];

static int entered(void **state)
{
    (void)state;
    strcpy(place, "/tmp/unclosed-directory-XXXXXX");
    return mkdtemp(place) && chdir(place) == 0 ? 0 : -1;
}

static int left(void **state)
{
    (void)state;
    char command[160];
    snprintf(command, sizeof(command), "chmod -R u+w %s; rm -rf %s", place, place);
    return chdir("/") || system(command);
}

static void written(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char *content(const char *name)
{
    static char text[256];
    FILE *file = fopen(name, "r");
    if (!file)
        return NULL;
    text[fread(text, 1, sizeof(text) - 1, file)] = 0;
    fclose(file);
    return text;
}

static bool is_there(const char *name)
{
    return access(name, F_OK) == 0;
}

static void prepared_and_released(const char *wanted)
{
    struct run_directory directory;
    assert_true(directory_prepared(&directory, wanted, NULL));
    directory_released(&directory);
}

static void name_and_pid_are_filled_in(void **state)
{
    (void)state;
    char name[PATH_MAX];
    assert_true(directory_named("out/%n.%p-100%%", "pytest", 42, name));
    assert_string_equal(name, "out/pytest.42-100%");
    assert_false(directory_named("out-%x", "pytest", 42, name));
    assert_false(directory_named("out-%", "pytest", 42, name));
    assert_false(directory_named("", "pytest", 42, name));
}

static void fresh_directory_is_private_to_git_and_ready_for_traces(void **state)
{
    (void)state;
    struct run_directory directory;
    struct stat status;
    char expected[128];
    assert_true(directory_prepared(&directory, "a/b/c", NULL));
    snprintf(expected, sizeof(expected), "%s/a/b/c/traces", place);
    assert_string_equal(directory.traces, expected);
    assert_string_equal(content("a/b/c/.gitignore"), "*\n");
    assert_int_equal(stat("a/b/c/traces", &status), 0);
    assert_int_equal(status.st_mode & 07777, geteuid() ? 0700 : 01733);
    assert_int_equal(stat("a/b/c/traces/rollcall", &status), 0);
    assert_int_equal(status.st_size, 0);
    assert_int_equal(status.st_mode & 0777, geteuid() ? 0600 : 0622);
    directory_released(&directory);
}

static void what_the_last_run_left_is_taken_away_and_nothing_else(void **state)
{
    (void)state;
    struct run_directory directory;
    assert_true(directory_prepared(&directory, NULL, NULL));
    directory_will_hold(&directory, "report.json");
    directory_released(&directory);
    written("unclosed-report/index.html", "old");
    written("unclosed-report/report.db", "old");
    written("unclosed-report/report.json", "old");
    written("unclosed-report/traces/app.7.99.trace", "old");
    written("unclosed-report/notes.txt", "mine");
    written("unclosed-report/traces/notes.txt", "mine");
    written("unclosed-report/other.json", "mine");

    prepared_and_released(NULL);

    assert_false(is_there("unclosed-report/index.html"));
    assert_false(is_there("unclosed-report/report.db"));
    assert_false(is_there("unclosed-report/report.json"));
    assert_false(is_there("unclosed-report/traces/app.7.99.trace"));
    assert_string_equal(content("unclosed-report/notes.txt"), "mine");
    assert_string_equal(content("unclosed-report/traces/notes.txt"), "mine");
    assert_string_equal(content("unclosed-report/other.json"), "mine");
}

static void directory_with_other_things_in_it_keeps_them_visible(void **state)
{
    (void)state;
    assert_int_equal(mkdir("site", 0777), 0);
    written("site/main.c", "mine");
    prepared_and_released("site");
    assert_string_equal(content("site/main.c"), "mine");
    assert_non_null(strstr(content("site/.gitignore"), "/traces/\n"));
    assert_null(strchr(content("site/.gitignore"), '*'));
}

static void names_that_no_run_made_are_not_replaced(void **state)
{
    (void)state;
    struct run_directory directory;
    assert_int_equal(mkdir("site", 0777), 0);
    written("site/index.html", "mine");
    assert_false(directory_prepared(&directory, "site", NULL));
    assert_string_equal(content("site/index.html"), "mine");
    assert_false(is_there("site/.unclosed-run"));
}

static void two_runs_do_not_share(void **state)
{
    (void)state;
    struct run_directory first, second;
    assert_true(directory_prepared(&first, NULL, NULL));
    written("unclosed-report/traces/app.7.99.trace", "in use");
    assert_false(directory_prepared(&second, NULL, NULL));
    assert_true(is_there("unclosed-report/traces/app.7.99.trace"));
    directory_released(&first);
    prepared_and_released(NULL);
}

static void run_inside_a_run_has_a_place_inside_its_directory(void **state)
{
    (void)state;
    struct run_directory outer, inner;
    char expected[128];
    assert_true(directory_prepared(&outer, NULL, NULL));
    assert_true(directory_prepared(&inner, NULL, outer.traces));
    snprintf(expected, sizeof(expected), "%s/unclosed-report/run.%ld", place, (long)getpid());
    assert_string_equal(inner.path, expected);
    written("unclosed-report/report.db", "outer");
    directory_released(&inner);
    directory_released(&outer);

    prepared_and_released(NULL);

    assert_false(is_there(expected));
}

static void file_in_the_way_is_refused(void **state)
{
    (void)state;
    struct run_directory directory;
    written("file", "mine");
    assert_false(directory_prepared(&directory, "file", NULL));
    assert_false(directory_prepared(&directory, "file/below", NULL));
    assert_string_equal(content("file"), "mine");
}

static void place_that_cannot_be_written_to_is_replaced_by_a_temporary_one(void **state)
{
    (void)state;
    struct run_directory directory;
    setenv("TMPDIR", place, 1);
    assert_true(directory_prepared(&directory, "/proc/unclosed", NULL));
    unsetenv("TMPDIR");
    assert_memory_equal(directory.path, place, strlen(place));
    assert_true(is_there(directory.traces));
    directory_released(&directory);
}

static void links_are_not_followed_out_of_the_directory(void **state)
{
    (void)state;
    prepared_and_released(NULL);
    assert_int_equal(mkdir("elsewhere", 0777), 0);
    written("elsewhere/precious.trace", "mine");
    assert_int_equal(unlink("unclosed-report/traces/rollcall"), 0);
    assert_int_equal(rmdir("unclosed-report/traces"), 0);
    assert_int_equal(symlink("../elsewhere", "unclosed-report/traces"), 0);
    struct run_directory directory;
    setenv("TMPDIR", place, 1);
    if (directory_prepared(&directory, NULL, NULL))
        directory_released(&directory);
    unsetenv("TMPDIR");
    assert_string_equal(content("elsewhere/precious.trace"), "mine");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, entered, left)
    const struct CMUnitTest tests[] = {
        TEST(name_and_pid_are_filled_in),
        TEST(fresh_directory_is_private_to_git_and_ready_for_traces),
        TEST(what_the_last_run_left_is_taken_away_and_nothing_else),
        TEST(directory_with_other_things_in_it_keeps_them_visible),
        TEST(names_that_no_run_made_are_not_replaced),
        TEST(two_runs_do_not_share),
        TEST(run_inside_a_run_has_a_place_inside_its_directory),
        TEST(file_in_the_way_is_refused),
        TEST(place_that_cannot_be_written_to_is_replaced_by_a_temporary_one),
        TEST(links_are_not_followed_out_of_the_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
