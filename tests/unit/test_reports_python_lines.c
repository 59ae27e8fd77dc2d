/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of instructions, from the line tables of CPython 3.9 to 3.14. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* */
#include <cmocka.h>

#include "python_line_tables.h"
#include "python_lines.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

static struct python_line_table of_known(const struct known_table *known)
{
    return (struct python_line_table){known->python_version, known->first_line, (const unsigned char *)known->bytes,
                                      known->size};
}

static int line(uint32_t version, uint32_t first_line, const void *bytes, size_t size, uint64_t offset)
{
    return python_line(&(struct python_line_table){version, first_line, bytes, size}, offset);
}

/* --- tables that interpreters made ------------------------------------------------------------------------------------------ */

static void assert_all_lines(const struct known_table *known)
{
    struct python_line_table table = of_known(known);
    uint32_t offset = 0;

    for (const struct known_lines *span = known->lines; span->end; span++)
        for (; offset < span->end; offset++)
            if (python_line(&table, offset) != span->line)
                fail_msg("%s of %x, byte %u: line %d, not %d", known->function, known->python_version, offset,
                         span->line, python_line(&table, offset));
}

static void every_instruction_has_the_line_that_the_interpreter_says(void **state)
{
    unsigned versions = 0;
    (void)state;

    for (size_t i = 0; i < COUNT(known_tables); i++) {
        versions |= 1u << (known_tables[i].python_version >> 16 & 255);
        assert_all_lines(&known_tables[i]);
    }
    assert_int_equal(versions, 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13);
}

/* --- what tables may hold ------------------------------------------------------------------------------------------------------- */

static void without_a_table_it_is_the_first_line(void **state)
{
    (void)state;

    assert_int_equal(line(0x030b00f0, 42, NULL, 0, 20), 42);
    assert_int_equal(line(0, 42, NULL, 0, 20), 42);
    assert_int_equal(line(0x030b00f0, 0, NULL, 0, 20), 0);
    assert_int_equal(line(0x030b00f0, UINT32_MAX, NULL, 0, 20), 0);
}

static void behind_the_table_it_is_the_first_line(void **state)
{
    static const unsigned char ranges[] = {6, 1}, locations[] = {0xea, 2}; /* 3 code units, one line on */
    (void)state;

    assert_int_equal(line(0x030a00f0, 10, ranges, 2, 5), 11);
    assert_int_equal(line(0x030a00f0, 10, ranges, 2, 6), 10);
    assert_int_equal(line(0x030b00f0, 10, locations, 2, 5), 11);
    assert_int_equal(line(0x030b00f0, 10, locations, 2, 6), 10);
    assert_int_equal(line(0x030b00f0, 10, locations, 2, UINT64_MAX), 10);
}

static void before_3_10_the_last_line_goes_on(void **state)
{
    static const unsigned char steps[] = {6, 1, 8, 2};
    (void)state;

    assert_int_equal(line(0x030900f0, 10, steps, 4, 5), 10);
    assert_int_equal(line(0x030900f0, 10, steps, 4, 13), 11);
    assert_int_equal(line(0x030900f0, 10, steps, 4, 100000), 13);
}

static void instructions_without_a_line_have_that_of_the_one_before(void **state)
{
    static const unsigned char ranges[] = {4, 3, 4, 128}, locations[] = {0xe9, 6, 0xf9};
    (void)state;

    assert_int_equal(line(0x030a00f0, 10, ranges, 4, 6), 13);
    assert_int_equal(line(0x030d00f0, 10, locations, 3, 6), 13);
}

static void lines_may_go_far_and_back(void **state)
{
    /* 3.11's long form: svarint 1000, end line, column, end column; then no columns: svarint -999 */
    static const unsigned char locations[] = {0xf0, 0x50, 0x1f, 0, 1, 1, 0xe8, 0x4f, 0x1f};
    (void)state;

    assert_int_equal(line(0x030c00f0, 10, locations, sizeof locations, 0), 1010);
    assert_int_equal(line(0x030c00f0, 10, locations, sizeof locations, 2), 11);
}

static void a_table_that_is_nonsense_gives_some_line(void **state)
{
    static const unsigned char cut[] = {0xf0}, endless[] = {0xf0, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f};
    static const unsigned char below[] = {0xe8, 0x3f}; /* line -21 */
    (void)state;

    assert_int_equal(line(0x030b00f0, 10, cut, 1, 0), 10);
    assert_int_equal(line(0x030b00f0, 10, endless, sizeof endless, 0), 10);
    assert_int_equal(line(0x030b00f0, 10, below, 2, 0), 10);
    assert_int_equal(line(0x030900f0, 10, cut, 1, 0), 10);
    assert_int_equal(line(0x030a00f0, 10, cut, 1, 0), 10);
}

static void any_bytes_are_walked_to_their_end(void **state)
{
    static const uint32_t versions[] = {0x030900f0, 0x030a00f0, 0x030b00f0, 0x030e00f0};
    unsigned char *bytes = malloc(65535); /* so that a sanitizer sees a step too far */
    uint32_t noise = 1;
    (void)state;

    for (int i = 0; i < 65535; i++)
        bytes[i] = (unsigned char)((noise = noise * 1664525u + 1013904223u) >> 24);
    for (size_t size = 1; size <= 65535; size = size * 3 + 1)
        for (size_t i = 0; i < COUNT(versions); i++)
            for (uint64_t offset = 0; offset < 4000; offset += 331)
                assert_true(line(versions[i], 7, bytes, size, offset) > 0);
    free(bytes);
}

/* --- the interpreters that are here -------------------------------------------------------------------------------------------- */

/* For each code object of some modules: version, first line, table, and the line of each instruction. */
static const char program[] =
    "import sys, types, argparse, asyncio.base_events, contextlib, dataclasses, json.decoder, typing\n"
    "def codes(code):\n"
    "    yield code\n"
    "    for constant in code.co_consts:\n"
    "        if isinstance(constant, types.CodeType):\n"
    "            yield from codes(constant)\n"
    "def lines(code):\n"
    "    lines = [None] * (len(code.co_code) // 2)\n"
    "    if sys.version_info < (3, 10):\n"
    "        from ctypes import py_object, pythonapi\n"
    "        return [pythonapi.PyCode_Addr2Line(py_object(code), 2 * i) for i in range(len(lines))]\n"
    "    for start, end, line in code.co_lines():\n"
    "        for i in range(start // 2, min(end // 2, len(lines))):\n"
    "            lines[i] = line\n"
    "    last = code.co_firstlineno\n"
    "    for i, line in enumerate(lines):\n"
    "        lines[i] = last = line or (last if line is None else code.co_firstlineno)\n"
    "    return lines\n"
    "for module in argparse, asyncio.base_events, contextlib, dataclasses, json.decoder, typing:\n"
    "    with open(module.__file__, encoding='utf-8') as source:\n"
    "        for code in codes(compile(source.read(), module.__file__, 'exec')):\n"
    "            table = code.co_linetable if sys.version_info >= (3, 10) else code.co_lnotab\n"
    "            print(sys.hexversion, code.co_firstlineno, table.hex() or '-', *lines(code))\n";

static size_t unhexed(const char *digits, unsigned char *bytes)
{
    size_t size = 0;
    unsigned byte;

    for (; sscanf(digits + 2 * size, "%2x", &byte) == 1; size++)
        bytes[size] = (unsigned char)byte;
    return size;
}

/* One line of what the program printed; returns how many instructions it has. */
static int64_t assert_lines_of(char *printed)
{
    char *rest, *version = strtok_r(printed, " ", &rest), *first = strtok_r(NULL, " ", &rest);
    char *digits = strtok_r(NULL, " ", &rest), *word;
    unsigned char *bytes = malloc(strlen(digits) / 2 + 1);
    struct python_line_table table = {(uint32_t)strtoul(version, NULL, 10), (uint32_t)strtoul(first, NULL, 10), bytes,
                                      unhexed(digits, bytes)};
    int64_t count = 0;

    for (; (word = strtok_r(NULL, " \n", &rest)); count++)
        if (python_line(&table, (uint64_t)count * 2) != atoi(word))
            fail_msg("version %x, function in line %u, byte %d: line %s, not %d", table.python_version,
                     table.first_line, (int)count * 2, word, python_line(&table, (uint64_t)count * 2));
    free(bytes);
    return count;
}

/* Instructions whose lines an interpreter and we agree about; 0 where there is no such interpreter. */
static int64_t instructions_compared(const char *python)
{
    char command[sizeof program + 256], *printed = NULL;
    int64_t count = 0;
    size_t size = 0;
    FILE *output;

    snprintf(command, sizeof command, "'%s' -I -W ignore -c \"%s\" 2>/dev/null", python, program);
    output = popen(command, "r");
    assert_non_null(output);
    while (getline(&printed, &size, output) > 0)
        count += assert_lines_of(printed);
    free(printed);
    pclose(output);
    return count;
}

static void the_systems_python_agrees_about_the_standard_library(void **state)
{
    const char *python = getenv("PYTHON") ? getenv("PYTHON") : "python3";
    int64_t count = instructions_compared(python);
    (void)state;

    if (!count)
        skip();
    assert_true(count > 10000);
}

static void so_do_other_versions_that_are_installed(void **state)
{
    static const char *const names[] = {"python3.9",  "python3.10", "python3.11",
                                        "python3.12", "python3.13", "python3.14"};
    int64_t count = 0;
    char pattern[512];
    glob_t found;
    (void)state;

    for (size_t i = 0; i < COUNT(names); i++)
        count += instructions_compared(names[i]);
    snprintf(pattern, sizeof pattern, "%s/.pyenv/versions/3.*/bin/python", getenv("HOME") ? getenv("HOME") : "");
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            count += instructions_compared(found.gl_pathv[i]);
        globfree(&found);
    }
    if (!count)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_has_the_line_that_the_interpreter_says),
        cmocka_unit_test(without_a_table_it_is_the_first_line),
        cmocka_unit_test(behind_the_table_it_is_the_first_line),
        cmocka_unit_test(before_3_10_the_last_line_goes_on),
        cmocka_unit_test(instructions_without_a_line_have_that_of_the_one_before),
        cmocka_unit_test(lines_may_go_far_and_back),
        cmocka_unit_test(a_table_that_is_nonsense_gives_some_line),
        cmocka_unit_test(any_bytes_are_walked_to_their_end),
        cmocka_unit_test(the_systems_python_agrees_about_the_standard_library),
        cmocka_unit_test(so_do_other_versions_that_are_installed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
