/* SPDX-License-Identifier: Apache-2.0 */
/* Source lines for the page: what is shown, and what must never be opened or shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source.h"

static char directory[] = "/tmp/unclosed-source-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static const char *written(const char *name, const char *bytes, size_t size)
{
    const char *path = path_of(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static struct source_lines *lines_of(const char *name, const char *text, int first, int last)
{
    struct source_lines *lines = source_lines_read(NULL, written(name, text, strlen(text)), first, last, 0);
    assert_non_null(lines);
    return lines;
}

static void assert_not_shown(const char *path, enum source_state state)
{
    struct source_lines *lines = source_lines_read(NULL, path, 1, 10, 0);
    assert_non_null(lines);
    assert_int_equal(lines->state, state);
    assert_int_equal(lines->count, 0);
    assert_null(source_line(lines, 1));
    free(lines);
}

static void lines_come_with_their_numbers(void **state)
{
    (void)state;
    struct source_lines *lines = lines_of("a.c", "one\ntwo\r\n\tthree\nfour\n", 2, 3);

    assert_int_equal(lines->state, SOURCE_FOUND);
    assert_int_equal(lines->count, 2);
    assert_null(source_line(lines, 1));
    assert_string_equal(source_line(lines, 2), "two");
    assert_string_equal(source_line(lines, 3), "\tthree");
    assert_null(source_line(lines, 4));
    free(lines);
}

static void lines_beyond_the_end_do_not_exist(void **state)
{
    (void)state;
    struct source_lines *lines = lines_of("short.c", "one\nlast without an end", 2, 99999);

    assert_int_equal(lines->count, 1);
    assert_string_equal(source_line(lines, 2), "last without an end");
    free(lines);
    lines = lines_of("short.c", "one\n", 7, 3);
    assert_int_equal(lines->count, 0);
    free(lines);
}

static void a_file_modified_since_the_run_says_so(void **state)
{
    (void)state;
    const char *path = written("changed.py", "pass\n", 5);
    struct timespec times[2] = {{1000, 500}, {1000, 500}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    struct source_lines *before = source_lines_read(NULL, path, 1, 1, 1000000000499);
    struct source_lines *at = source_lines_read(NULL, path, 1, 1, 1000000000500);

    assert_int_equal(before->state, SOURCE_CHANGED);
    assert_string_equal(source_line(before, 1), "pass");
    assert_int_equal(at->state, SOURCE_FOUND);
    free(before);
    free(at);
}

static void what_is_not_utf8_or_would_drive_a_terminal_is_replaced(void **state)
{
    (void)state;
    struct source_lines *lines =
        lines_of("latin.c", "na\xefve \x1b[31m \xc3\xa9 \xed\xa0\x80 \xe2\x80\xae!\nend\xe2\x82\n", 1, 2);

    assert_string_equal(source_line(lines, 1),
                        "na\xef\xbf\xbdve \xef\xbf\xbd[31m \xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "
                        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!");
    assert_string_equal(source_line(lines, 2), "end\xef\xbf\xbd\xef\xbf\xbd");
    free(lines);
}

static void long_lines_are_cut_and_counted_as_one(void **state)
{
    (void)state;
    static char text[20000];
    memset(text, 'x', sizeof text - 1);
    strcpy(text + 15000, "\nsecond\n");
    struct source_lines *lines = lines_of("long.js", text, 1, 2);

    assert_int_equal(strlen(source_line(lines, 1)), 400 + strlen("…"));
    assert_string_equal(source_line(lines, 2), "second");
    free(lines);
}

static void a_missing_or_relative_path_is_missing(void **state)
{
    (void)state;
    assert_not_shown(path_of("nowhere.c"), SOURCE_MISSING);
    assert_not_shown("Makefile.c", SOURCE_MISSING);
    assert_not_shown("", SOURCE_MISSING);
}

static void what_is_no_source_file_is_never_opened(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path_of("fifo.c"), 0600), 0);
    assert_int_equal(mkdir(path_of("directory.c"), 0700), 0);
    alarm(10);
    assert_not_shown(path_of("fifo.c"), SOURCE_NOT_TEXT);
    assert_not_shown(path_of("directory.c"), SOURCE_NOT_TEXT);
    assert_not_shown("/dev/zero", SOURCE_NOT_TEXT);
    alarm(0);
    assert_not_shown(written("binary.c", "a\0b\nc\n", 6), SOURCE_NOT_TEXT);
}

static void secrets_are_not_source_code_whatever_links_to_them(void **state)
{
    (void)state;
    char key[256];
    snprintf(key, sizeof key, "%s", written("id_rsa", "secret\n", 7));
    assert_int_equal(symlink(key, path_of("innocent.c")), 0);

    assert_not_shown(key, SOURCE_NOT_TEXT);
    assert_not_shown(path_of("innocent.c"), SOURCE_NOT_TEXT);
}

static void a_sysroot_is_put_before_the_path(void **state)
{
    (void)state;
    written("rooted.rs", "fn main() {}\n", 13);
    struct source_lines *lines = source_lines_read(directory, "/rooted.rs", 1, 1, 0);

    assert_string_equal(source_line(lines, 1), "fn main() {}");
    free(lines);
}

static void a_huge_file_does_not_take_long(void **state)
{
    (void)state;
    const char *path = written("huge.c", "first\n", 6);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    alarm(10);
    struct source_lines *lines = source_lines_read(NULL, path, 1, 1, 0);
    assert_string_equal(source_line(lines, 1), "first");
    free(lines);
    assert_not_shown(path, SOURCE_NOT_TEXT);
    alarm(0);
}

static int directory_made(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int directory_removed(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_with_their_numbers),
        cmocka_unit_test(lines_beyond_the_end_do_not_exist),
        cmocka_unit_test(a_file_modified_since_the_run_says_so),
        cmocka_unit_test(what_is_not_utf8_or_would_drive_a_terminal_is_replaced),
        cmocka_unit_test(long_lines_are_cut_and_counted_as_one),
        cmocka_unit_test(a_missing_or_relative_path_is_missing),
        cmocka_unit_test(what_is_no_source_file_is_never_opened),
        cmocka_unit_test(secrets_are_not_source_code_whatever_links_to_them),
        cmocka_unit_test(a_sysroot_is_put_before_the_path),
        cmocka_unit_test(a_huge_file_does_not_take_long),
    };
    return cmocka_run_group_tests_name("source", tests, directory_made, directory_removed);
}
