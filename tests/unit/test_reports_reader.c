/* SPDX-License-Identifier: Apache-2.0 */
/* The trace reader: what it gives back, and what it refuses without being hurt. */
#include <errno.h>
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

#include "trace_builder.c"
#include "trace_reader.h"

struct scene {
    char directory[32], path[64];
    struct trace_builder *made;
    struct trace trace;
};

static int scene_set(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    *state = scene;
    strcpy(scene->directory, "/tmp/unclosed-reader.XXXXXX");
    if (!mkdtemp(scene->directory))
        return -1;
    snprintf(scene->path, sizeof(scene->path), "%s/app.1.2.trace", scene->directory);
    scene->made = builder_begun();
    scene->trace.fd = -1;
    return 0;
}

static int scene_struck(void **state)
{
    struct scene *scene = *state;

    trace_closed(&scene->trace);
    builder_freed(scene->made);
    unlink(scene->path);
    rmdir(scene->directory);
    free(scene);
    return 0;
}

static enum trace_opening opened(struct scene *scene)
{
    return trace_opened(&scene->trace, AT_FDCWD, scene->path, true);
}

static enum trace_opening written_and_opened(struct scene *scene)
{
    trace_written(scene->made, scene->path);
    return opened(scene);
}

/* The trace as bytes, changed at `offset` of its header, and opened. */
static enum trace_opening opened_with(struct scene *scene, size_t offset, const void *bytes, size_t size)
{
    size_t whole;
    unsigned char *trace = trace_laid_out(scene->made, &whole);

    memcpy(trace + offset, bytes, size);
    bytes_written(scene->path, trace, whole);
    free(trace);
    return opened(scene);
}

#define OPENED_WITH(scene, member, value)                                         \
    opened_with(scene, offsetof(struct trace_header, member), &(uint64_t){value}, \
                sizeof(((struct trace_header *)0)->member))

static void assert_warned(const struct scene *scene, const char *words)
{
    if (!strstr(scene->trace.warning, words))
        fail_msg("\"%s\" does not say \"%s\"", scene->trace.warning, words);
}

/* --- what is there ------------------------------------------------------------------------------------------------------ */

static void records_are_given_back(void **state)
{
    struct scene *scene = *state;
    uint32_t module = built_module(scene->made, "/srv/app"), frame = built_frame(scene->made, module, 0x1234);
    struct trace_module record;
    struct trace_frame frame_record;

    assert_int_equal(written_and_opened(scene), TRACE_OPENED);

    assert_string_equal(scene->trace.warning, "");
    assert_int_equal(scene->trace.process.pid, 4242);
    assert_true(trace_record(&scene->trace, TABLE_MODULE, module, &record));
    assert_string_equal(trace_text(&scene->trace, record.path), "/srv/app");
    assert_true(trace_record(&scene->trace, TABLE_FRAME, frame, &frame_record));
    assert_int_equal(frame_record.offset, 0x1234);
}

static bool number_collected(void *context, uint32_t number, const void *record)
{
    uint32_t *sum = context;

    (void)record;
    *sum = *sum * 10 + number;
    return true;
}

static void published_records_are_walked_in_order(void **state)
{
    struct scene *scene = *state;
    uint32_t walked = 0;

    for (int i = 0; i < 4; i++)
        built_site(scene->made, KIND_SQLITE3_CONNECTION, STACK_OTHER);
    ((struct trace_site *)built_at(scene->made, TABLE_SITE, 3))->ready = 0;
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);

    trace_walked(&scene->trace, TABLE_SITE, number_collected, &walked);

    assert_int_equal(walked, 124);
}

static bool end_collected(void *context, uint32_t number, const void *record)
{
    (void)record;
    *(uint32_t *)context = number;
    return true;
}

static void large_tables_are_walked_in_pieces_to_their_end(void **state)
{
    struct scene *scene = *state;
    uint32_t site = built_site(scene->made, KIND_SQLITE3_CONNECTION, STACK_OTHER), last = 0;

    for (int i = 0; i < 20000; i++)
        built_handle(scene->made, site);
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);

    trace_walked(&scene->trace, TABLE_HANDLE, end_collected, &last);

    assert_int_equal(last, 20000);
}

static void longer_records_of_a_later_version_are_read_for_their_beginning(void **state)
{
    struct scene *scene = *state;
    struct trace_table table;
    struct trace_module record;
    size_t size, at;
    unsigned char *laid_out, *bytes;

    built_module(scene->made, "/a");
    built_module(scene->made, "/b");
    laid_out = trace_laid_out(scene->made, &size);
    bytes = calloc(1, size + 3 * 80);
    memcpy(bytes, laid_out, size);
    free(laid_out);
    at = offsetof(struct trace_header, tables) + TABLE_MODULE * sizeof(table);
    memcpy(&table, bytes + at, sizeof(table));
    for (int i = 0; i < 3; i++)
        memcpy(bytes + size + i * 80, bytes + table.offset + i * sizeof(record), sizeof(record));
    table.record_size = 80;
    table.offset = size;
    memcpy(bytes + at, &table, sizeof(table));
    bytes_written(scene->path, bytes, size + 3 * 80);
    free(bytes);
    assert_int_equal(opened(scene), TRACE_OPENED);

    assert_true(trace_record(&scene->trace, TABLE_MODULE, 2, &record));

    assert_string_equal(trace_text(&scene->trace, record.path), "/b");
}

static void times_become_calendar_times(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(written_and_opened(scene), TRACE_OPENED);

    assert_int_equal(trace_calendar(&scene->trace, BUILT_AT(1.5)), BUILT_REALTIME + 1500000000);
    assert_int_equal(trace_calendar(&scene->trace, BUILT_MONOTONIC - 1), BUILT_REALTIME - 1);
    assert_int_equal(trace_calendar(&scene->trace, 0), 0);
    assert_int_equal(trace_calendar(&scene->trace, UINT64_MAX), INT64_MAX);
}

static void kinds_have_names(void **state)
{
    struct scene *scene = *state;
    uint32_t name = built_string(scene->made, "myapp.lease");
    struct trace_kind *kind = built_record(scene->made, TABLE_KIND, NULL);

    kind->kind = KIND_DECLARED + 3;
    kind->name = name;
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);

    assert_string_equal(trace_kind_name(&scene->trace, KIND_LIBPQ_RESULT), "libpq.result");
    assert_string_equal(trace_kind_name(&scene->trace, KIND_DECLARED + 3), "myapp.lease");
    assert_string_equal(trace_kind_name(&scene->trace, 90), "unknown.kind-90");
    assert_string_equal(trace_kind_name(&scene->trace, 60000), "unknown.kind-0");
}

/* --- text ------------------------------------------------------------------------------------------------------------------ */

static void assert_text_read(struct scene *scene, const char *given, const char *expected)
{
    uint32_t string = built_string(scene->made, given);

    trace_closed(&scene->trace);
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);
    assert_string_equal(trace_text(&scene->trace, string), expected);
}

static void text_becomes_valid_utf8(void **state)
{
    struct scene *scene = *state;

    assert_text_read(scene, "naïve 日本 🗄", "naïve 日本 🗄");
    assert_text_read(scene, "control \x1b[2J\t stays", "control \x1b[2J\t stays");
    assert_text_read(scene, "caf\xe9!", "caf\xef\xbf\xbd!");
    assert_text_read(scene, "cut \xe6\x97", "cut \xef\xbf\xbd\xef\xbf\xbd");
    assert_text_read(scene, "overlong \xc0\xaf", "overlong \xef\xbf\xbd\xef\xbf\xbd");
    assert_text_read(scene, "surrogate \xed\xa0\x80", "surrogate \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_text_read(scene, "beyond \xf4\x90\x80\x80", "beyond \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

static void bytes_that_are_no_text_come_whole(void **state)
{
    struct scene *scene = *state;
    uint32_t table = built_bytes(scene->made, "\x80\0\xff\0!", 5);
    size_t length = 0;

    assert_int_equal(written_and_opened(scene), TRACE_OPENED);

    assert_memory_equal(trace_bytes(&scene->trace, table, &length), "\x80\0\xff\0!", 5);
    assert_int_equal(length, 5);
    assert_string_equal(trace_text(&scene->trace, table), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!");
}

static void strings_that_reach_out_of_their_table_are_none(void **state)
{
    struct scene *scene = *state;
    uint32_t long_one = built_string(scene->made, "long"), last;

    ((struct trace_string *)built_at(scene->made, TABLE_STRING, long_one))->length = 4096;
    last = built_string(scene->made, "last one");
    ((struct trace_string *)built_at(scene->made, TABLE_STRING, last))->length = 4095;
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);

    assert_null(trace_text(&scene->trace, 0));
    assert_null(trace_text(&scene->trace, long_one));
    assert_null(trace_text(&scene->trace, last));
    assert_null(trace_text(&scene->trace, last + 2));
    assert_null(trace_text(&scene->trace, UINT32_MAX));
}

/* --- what cannot be read ------------------------------------------------------------------------------------------------------ */

static void foreign_files_are_no_traces(void **state)
{
    struct scene *scene = *state;

    bytes_written(scene->path, "#!/bin/sh\n", 10);
    assert_int_equal(opened(scene), TRACE_NONE);
    assert_warned(scene, "not a trace");
    trace_closed(&scene->trace);

    bytes_written(scene->path, "", 0);
    assert_int_equal(opened(scene), TRACE_NONE);
    trace_closed(&scene->trace);

    assert_int_equal(trace_opened(&scene->trace, AT_FDCWD, "/nonexistent", true), TRACE_NONE);
    assert_warned(scene, strerror(ENOENT));
}

static void nothing_but_a_regular_file_is_opened(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(trace_opened(&scene->trace, AT_FDCWD, scene->directory, true), TRACE_NONE);
    assert_warned(scene, "not a regular file");
    trace_closed(&scene->trace);

    assert_int_equal(mkfifo(scene->path, 0600), 0);
    assert_int_equal(opened(scene), TRACE_NONE); /* and does not wait for a writer */
    assert_warned(scene, "not a regular file");
    trace_closed(&scene->trace);

    assert_int_equal(trace_opened(&scene->trace, AT_FDCWD, "/dev/zero", true), TRACE_NONE);
}

static void links_are_followed_only_on_request(void **state)
{
    struct scene *scene = *state;
    char link[80];

    trace_written(scene->made, scene->path);
    snprintf(link, sizeof(link), "%s.link", scene->path);
    assert_int_equal(symlink(scene->path, link), 0);

    assert_int_equal(trace_opened(&scene->trace, AT_FDCWD, link, false), TRACE_NONE);
    trace_closed(&scene->trace);
    assert_int_equal(trace_opened(&scene->trace, AT_FDCWD, link, true), TRACE_OPENED);
    unlink(link);
}

static void headers_that_we_do_not_understand_are_named(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(OPENED_WITH(scene, layout, TRACE_LAYOUT + 1), TRACE_UNREADABLE);
    assert_warned(scene, "layout 2");
    trace_closed(&scene->trace);

    assert_int_equal(OPENED_WITH(scene, byte_order, 0x04030201), TRACE_UNREADABLE);
    assert_warned(scene, "other byte order");
    trace_closed(&scene->trace);

    assert_int_equal(OPENED_WITH(scene, table_count, 7), TRACE_UNREADABLE);
    assert_warned(scene, "header is damaged");
}

static void a_trace_made_ahead_is_empty(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(OPENED_WITH(scene, ready, 0), TRACE_EMPTY);
    trace_closed(&scene->trace);

    built_process(scene->made)->ready = 0;

    assert_int_equal(written_and_opened(scene), TRACE_EMPTY);
}

static void a_cut_trace_is_read_up_to_the_cut(void **state)
{
    struct scene *scene = *state;
    struct trace_module record;
    struct trace_site site;

    built_module(scene->made, "/srv/app");
    built_site(scene->made, KIND_SQLITE3_CONNECTION, STACK_OTHER);
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);
    assert_int_equal(truncate(scene->path, (off_t)scene->trace.header.tables[TABLE_SITE].offset + 500), 0);
    trace_closed(&scene->trace);

    assert_int_equal(opened(scene), TRACE_OPENED);

    assert_warned(scene, "cut at");
    assert_true(trace_record(&scene->trace, TABLE_MODULE, 1, &record));
    assert_false(trace_record(&scene->trace, TABLE_SITE, 1, &site));
    trace_closed(&scene->trace);

    assert_int_equal(truncate(scene->path, sizeof(struct trace_header) - 1), 0);
    assert_int_equal(opened(scene), TRACE_UNREADABLE);
    assert_warned(scene, "cut inside its header");
}

static void a_trace_that_is_cut_while_it_is_read_gives_less(void **state)
{
    struct scene *scene = *state;
    struct trace_module record;
    uint32_t walked = 0;

    built_module(scene->made, "/srv/app");
    built_site(scene->made, KIND_SQLITE3_CONNECTION, STACK_OTHER);
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);
    scene->trace.live = true;

    assert_int_equal(truncate(scene->path, 0), 0);

    assert_false(trace_record(&scene->trace, TABLE_MODULE, 1, &record));
    assert_true(trace_walked(&scene->trace, TABLE_SITE, number_collected, &walked));
    assert_int_equal(walked, 0);
}

static void impossible_tables_are_left_out(void **state)
{
    struct scene *scene = *state;
    size_t at = offsetof(struct trace_header, tables) + TABLE_MODULE * sizeof(struct trace_table);
    struct trace_table wrong[] = {
        {TABLE_MODULE, 8, 8192, 10, 10},  /* records too short */
        {TABLE_MODULE, 75, 8192, 10, 10}, /* … of a size that no struct has */
        {TABLE_MODULE, 72, 8193, 10, 10}, /* unaligned */
        {TABLE_MODULE, 72, 0, 10, 10},    /* over the header */
        {TABLE_FRAME, 72, 8192, 10, 10},  /* another's */
        {TABLE_MODULE, 0, 8192, 10, 10},
    };
    struct trace_module record;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(opened_with(scene, at, &wrong[i], sizeof(wrong[i])), TRACE_OPENED);
        assert_warned(scene, "its module table");
        assert_false(trace_record(&scene->trace, TABLE_MODULE, 1, &record));
        trace_closed(&scene->trace);
    }
}

static void tables_reach_no_further_than_the_file(void **state)
{
    struct scene *scene = *state;
    size_t at = offsetof(struct trace_header, tables) + TABLE_SITE * sizeof(struct trace_table);
    struct trace_table beyond[] = {
        {TABLE_SITE, 416, 8192, UINT64_MAX, UINT64_MAX},
        {TABLE_SITE, 416, UINT64_MAX - 7, 1 << 20, 1 << 20},
        {TABLE_SITE, 416, (uint64_t)1 << 62, 1 << 20, 1 << 20},
    };
    struct trace_site record;
    uint32_t walked = 0;

    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        assert_int_equal(opened_with(scene, at, &beyond[i], sizeof(beyond[i])), TRACE_OPENED);
        assert_false(trace_record(&scene->trace, TABLE_SITE, UINT64_MAX / 416, &record));
        assert_false(trace_record(&scene->trace, TABLE_SITE, UINT32_MAX, &record));
        assert_true(trace_walked(&scene->trace, TABLE_SITE, end_collected, &walked));
        trace_closed(&scene->trace);
    }
}

static void holes_cost_nothing(void **state)
{
    struct scene *scene = *state;
    size_t at = offsetof(struct trace_header, tables) + TABLE_HANDLE * sizeof(struct trace_table);
    struct trace_table table = {TABLE_HANDLE, sizeof(struct trace_handle), 1 << 20, UINT32_MAX, UINT32_MAX};
    uint32_t walked = 0;

    trace_written(scene->made, scene->path);
    int fd = open(scene->path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &table, sizeof(table), (off_t)at), sizeof(table));
    assert_int_equal(pwrite(fd, &(uint32_t){HANDLE_OPEN}, 4, (1 << 20) + 50000000 * (off_t)sizeof(struct trace_handle)),
                     4);
    assert_int_equal(ftruncate(fd, (off_t)32 << 30), 0);
    close(fd);
    assert_int_equal(opened(scene), TRACE_OPENED);

    trace_walked(&scene->trace, TABLE_HANDLE, end_collected, &walked);

    assert_int_equal(walked, 50000000);
}

/* --- a process that runs ---------------------------------------------------------------------------------------------------------- */

static void module_published(struct scene *scene)
{
    const struct trace_table *table = &scene->trace.header.tables[TABLE_MODULE];
    int fd = open(scene->path, O_RDWR | O_CLOEXEC);
    uint32_t ready = 1;

    assert_int_equal(pwrite(fd, &ready, sizeof(ready), (off_t)(table->offset + 2 * (uint64_t)table->record_size)), 4);
    close(fd);
}

static void what_was_published_meanwhile_is_found(void **state)
{
    struct scene *scene = *state;
    struct trace_module record;

    built_module(scene->made, "/early");
    built_module(scene->made, "/late");
    ((struct trace_module *)built_at(scene->made, TABLE_MODULE, 2))->ready = 0;
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);
    scene->trace.live = true;
    assert_false(trace_record(&scene->trace, TABLE_MODULE, 2, &record));

    module_published(scene);

    assert_true(trace_record(&scene->trace, TABLE_MODULE, 2, &record));
    assert_string_equal(trace_text(&scene->trace, record.path), "/late");
}

static void a_timeline_in_the_middle_of_a_merge_is_left_out(void **state)
{
    struct scene *scene = *state;
    struct trace_timeline *made = built_record(scene->made, TABLE_TIMELINE, NULL), timeline;

    made->start = 1;
    made->width = 1;
    made->version = 7;
    assert_int_equal(written_and_opened(scene), TRACE_OPENED);

    assert_true(trace_timeline(&scene->trace, &timeline)); /* at rest: it ended there, take what is there */
    scene->trace.live = true;
    assert_false(trace_timeline(&scene->trace, &timeline));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set, scene_struck)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_are_given_back),
        TEST(published_records_are_walked_in_order),
        TEST(large_tables_are_walked_in_pieces_to_their_end),
        TEST(longer_records_of_a_later_version_are_read_for_their_beginning),
        TEST(times_become_calendar_times),
        TEST(kinds_have_names),
        TEST(text_becomes_valid_utf8),
        TEST(bytes_that_are_no_text_come_whole),
        TEST(strings_that_reach_out_of_their_table_are_none),
        TEST(foreign_files_are_no_traces),
        TEST(nothing_but_a_regular_file_is_opened),
        TEST(links_are_followed_only_on_request),
        TEST(headers_that_we_do_not_understand_are_named),
        TEST(a_trace_made_ahead_is_empty),
        TEST(a_cut_trace_is_read_up_to_the_cut),
        TEST(a_trace_that_is_cut_while_it_is_read_gives_less),
        TEST(impossible_tables_are_left_out),
        TEST(tables_reach_no_further_than_the_file),
        TEST(holes_cost_nothing),
        TEST(what_was_published_meanwhile_is_found),
        TEST(a_timeline_in_the_middle_of_a_merge_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
