/* SPDX-License-Identifier: Apache-2.0 */
/* From traces to rows of the run database: processes, files, and every table once. */
#include "load_scene.h"

/* --- every table --------------------------------------------------------------------------------------------------------- */

static void everything_finds_its_table(void **state)
{
    struct scene *scene = *state;

    builder_freed(scene->made);
    scene->made = builder_of_everything();
    loaded(scene);

    assert_selected(scene, "SELECT pid, parent_pid, executable, command, host, capture FROM process",
                    "4242 1 /usr/bin/true true --quietly built libunwind");
    assert_selected(scene, "SELECT name, count FROM loss", "details 2");
    assert_selected(scene, "SELECT opened, closed, open, dropped, observed, warning FROM process", "5 3 2 2 1 -");
    assert_selected(scene, "SELECT name, path, copy FROM library", "sqlite3 /usr/lib/libsqlite3.so.0 1");
    assert_selected(scene, "SELECT kind, opened, closed, open, peak FROM kind_count ORDER BY kind",
                    "myapp.lease 3 3 0 0 sqlite3.connection 1 0 1 1 sqlite3.statement 1 0 1 1");
    assert_selected(scene, "SELECT noun, plural FROM kind WHERE name IN ('myapp.lease', 'libpq.result') ORDER BY name",
                    "PostgreSQL result PostgreSQL results myapp.lease handle myapp.lease handles");
    assert_selected(scene, "SELECT kind, label, end_reason FROM owner", "request GET /orders exception ValueError");
    assert_selected(scene,
                    "SELECT key, value FROM detail JOIN handle ON handle.id = detail.handle "
                    "WHERE kind = 'sqlite3.connection'",
                    "tenant acme");
    assert_selected(scene, "SELECT kind, how, generation FROM closed_handle", "sqlite3.connection explicit 77");
    assert_selected(scene, "SELECT rule, message, waited_ns FROM incident",
                    "pool-exhausted QueuePool limit reached 30000000000");
    assert_selected(scene, "SELECT kind, stack = (SELECT stack FROM site WHERE id = holder.site) FROM holder",
                    "sqlite3.connection 1");
    assert_selected(
        scene, "SELECT group_concat(type) FROM (SELECT type FROM fact ORDER BY count)",
        "closed-twice,used-after-close,close-failed,close-later-done,zombie,open-failed,open-failed-closed,"
        "closed-in-transaction,closed-elsewhere,used-elsewhere,parent-closed-first,busy,unresolved,idle-in-transaction,"
        "used-while-failed,noticed");
    assert_int_equal(number(scene, "SELECT count(*) FROM fact WHERE opened_stack = stack AND wrote AND NOT unwinding"),
                     FACT_TYPE_COUNT - 1);
}

static void all_built_in_kinds_are_known(void **state)
{
    struct scene *scene = *state;

    loaded(scene);

    assert_int_equal(number(scene, "SELECT count(*) FROM kind"), KIND_BUILT_IN_COUNT - 1);
    assert_selected(scene, "SELECT noun, parent, cheap FROM kind WHERE name = 'lmdb.cursor'",
                    "LMDB cursor lmdb.transaction 1");
}

static void times_are_calendar_times(void **state)
{
    struct scene *scene = *state;

    built_handle(scene->made, connection_site(scene->made))->opened = BUILT_AT(2);
    loaded(scene);

    assert_int_equal(number(scene, "SELECT started_at FROM process"), BUILT_REALTIME);
    assert_int_equal(number(scene, "SELECT ended_at FROM process"), BUILT_REALTIME + 60000000000);
    assert_int_equal(number(scene, "SELECT opened_at FROM handle"), BUILT_REALTIME + 2000000000);
}

static void the_timeline_leaves_out_what_did_not_change(void **state)
{
    struct scene *scene = *state;

    builder_freed(scene->made);
    scene->made = builder_of_everything(); /* 5 open, still 5, none */
    loaded(scene);

    assert_selected(scene, "SELECT (at - started_at) / 1000000000, peak FROM timeline, process", "0 5 4 0");
}

static void hold_times_tell_their_distribution(void **state)
{
    struct scene *scene = *state;
    uint32_t site = connection_site(scene->made);
    struct trace_site *record = built_at(scene->made, TABLE_SITE, site);

    record->opened = 101;
    record->closed = 101;
    record->held[0] = 100;
    record->held[41] = 1; /* [2^20, 2^20.5) µs */
    record->held_max = 1200000000;
    loaded(scene);

    assert_selected(scene, "SELECT bucket, low_ns, high_ns, count FROM hold_time",
                    "0 0 1000 100 41 1048576000 1482910399 1");
    assert_int_equal(number(scene, "SELECT held_p50_ns FROM site"), 505);
    assert_int_equal(number(scene, "SELECT held_max_ns FROM site"), 1200000000);
}

/* --- how a process ended ----------------------------------------------------------------------------------------------------- */

static void an_end_mark_tells_the_end(void **state)
{
    struct scene *scene = *state;

    built_process(scene->made)->end_status = 3;
    loaded(scene);

    assert_selected(scene, "SELECT ended, end_status, end_words, scan, scan_reason FROM process",
                    "exit 3 exit 3 complete -");
}

static void exec_is_an_end_of_its_own(void **state)
{
    struct scene *scene = *state;

    built_process(scene->made)->end = END_EXEC;
    built_process(scene->made)->scan = SCAN_NOT_RUN;
    loaded(scene);

    assert_selected(scene, "SELECT ended, end_status, end_words, scan, scan_reason FROM process",
                    "exec - exec not-run it became another program");
}

static void without_end_mark(struct scene *scene)
{
    built_process(scene->made)->end = END_NONE;
    built_process(scene->made)->ended = 0;
    built_process(scene->made)->last_event = BUILT_AT(7);
    built_process(scene->made)->scan = SCAN_NOT_RUN;
}

static void without_end_mark_it_was_killed(void **state)
{
    struct scene *scene = *state;

    without_end_mark(scene);
    loaded(scene);

    assert_selected(scene, "SELECT ended, end_status, end_words, ended_at, scan_reason FROM process",
                    "killed - killed - it was killed before its exit began");
    assert_int_equal(number(scene, "SELECT seen_until_at FROM process"), BUILT_REALTIME + 7000000000);
}

static uint64_t own_start_ticks(void)
{
    FILE *file = fopen("/proc/self/stat", "re");
    char line[1024] = "", *rest;

    assert_non_null(fgets(line, sizeof(line), file));
    fclose(file);
    rest = strrchr(line, ')') + 1;
    for (int field = 3; field < 22; field++)
        rest = strchr(rest + 1, ' ');
    return strtoull(rest, NULL, 10);
}

static void unless_it_is_still_there(void **state)
{
    struct scene *scene = *state;

    without_end_mark(scene);
    built_process(scene->made)->pid = getpid();
    built_process(scene->made)->start_ticks = own_start_ticks();
    loaded(scene);

    assert_selected(scene, "SELECT ended, end_words, scan_reason FROM process", "running running it is still running");
    assert_true(number(scene, "SELECT seen_until_at FROM process") > (int64_t)BUILT_REALTIME);
}

static void a_pid_that_was_given_to_another_is_not_it(void **state)
{
    struct scene *scene = *state;

    without_end_mark(scene);
    built_process(scene->made)->pid = getpid();
    built_process(scene->made)->start_ticks = own_start_ticks() - 1;
    loaded(scene);

    assert_selected(scene, "SELECT ended FROM process", "killed");
}

static void on_another_machine_nobody_knows(void **state)
{
    struct scene *scene = *state;

    without_end_mark(scene);
    memset(built_process(scene->made)->boot_id, 0xab, 16);
    loaded(scene);

    assert_selected(scene, "SELECT ended, end_words FROM process", "unknown unknown");
}

static void in_a_pid_namespace_of_its_own_the_outer_pid_counts(void **state)
{
    struct scene *scene = *state;

    without_end_mark(scene);
    built_process(scene->made)->pid = 1;
    built_process(scene->made)->pid_namespace = 1;
    built_process(scene->made)->outer_pid = getpid();
    built_process(scene->made)->start_ticks = own_start_ticks();
    loaded(scene);

    assert_selected(scene, "SELECT ended FROM process", "running");
}

/* --- several processes ------------------------------------------------------------------------------------------------------------ */

static void a_child_knows_whom_it_was_forked_from(void **state)
{
    struct scene *scene = *state;
    struct trace_builder *child = builder_begun();
    struct trace_fact *fact;
    char path[80];

    site_with(scene, (uint32_t[]){frame_in(scene->made, leaf_of_test)}, 1);
    trace_written(scene->made, scene->path);
    built_process(child)->pid = 4300;
    built_process(child)->start_ticks = 5;
    built_process(child)->started = BUILT_AT(5);
    built_process(child)->forked_from = 4242;
    built_process(child)->forked_start_ticks = 1;
    built_process(child)->fork_generation = 17;
    fact = built_record(child, TABLE_FACT, NULL);
    fact->type = FACT_CLOSED_ELSEWHERE;
    fact->kind = KIND_SQLITE3_CONNECTION;
    fact->other_pid = 4242;
    fact->other_site = 1;
    snprintf(path, sizeof(path), "%s/a-child.trace", scene->directory); /* read before its parent */
    trace_written(child, path);
    builder_freed(child);
    assert_int_equal(path_loaded(scene, scene->directory), 0);

    assert_selected(scene,
                    "SELECT child.fork_generation, parent.pid FROM process AS child JOIN process AS parent "
                    "ON parent.id = child.forked_from",
                    "17 4242");
    assert_selected(scene,
                    "SELECT here.pid, there.pid, other_pid, where_function, site.process = there.id FROM fact "
                    "JOIN process AS here ON here.id = fact.process JOIN process AS there ON there.id = other_process "
                    "JOIN stack ON stack.id = opened_stack JOIN site ON site.id = fact.site",
                    "4300 4242 4242 leaf_of_test 1");
}

static void images_of_one_process_are_told_apart_by_time(void **state)
{
    struct scene *scene = *state;
    static const double started[] = {0, 10, 20};
    char path[80];

    for (int image = 0; image < 4; image++) { /* three of pid 4242, exec after exec, and a child of the second */
        struct trace_builder *made = builder_begun();
        built_process(made)->started = image < 3 ? BUILT_AT(started[image]) : BUILT_AT(15);
        built_process(made)->command = built_string(made, (const char *[]){"first", "second", "third", "child"}[image]);
        built_process(made)->pid = image < 3 ? 4242 : 4300;
        built_process(made)->forked_from = image < 3 ? 0 : 4242;
        built_process(made)->forked_start_ticks = image < 3 ? 0 : 1;
        snprintf(path, sizeof(path), "%s/%d.trace", scene->directory, image);
        trace_written(made, path);
        builder_freed(made);
    }
    assert_int_equal(path_loaded(scene, scene->directory), 0);

    assert_selected(
        scene, "SELECT parent.command FROM process AS child JOIN process AS parent ON parent.id = child.forked_from",
        "second");
}

/* --- files -------------------------------------------------------------------------------------------------------------------- */

static void a_run_directory_has_its_traces_below(void **state)
{
    struct scene *scene = *state;
    char path[96];

    snprintf(path, sizeof(path), "%s/traces", scene->directory);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/traces/app.1.2.trace", scene->directory);
    trace_written(scene->made, path);
    snprintf(path, sizeof(path), "%s/traces/rollcall", scene->directory);
    bytes_written(path, "roll", 4);
    snprintf(path, sizeof(path), "%s/traces/fifo.trace", scene->directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(path_loaded(scene, scene->directory), 0);

    assert_int_equal(scene->loaded, 1);
    assert_selected(scene, "SELECT trace FROM process", "app.1.2.trace");
}

static void a_trace_that_is_given_twice_counts_once(void **state)
{
    struct scene *scene = *state;
    const char *paths[] = {scene->path, scene->directory, scene->path};

    trace_written(scene->made, scene->path);
    assert_int_equal(all_loaded(scene, paths, 3), 0);

    assert_int_equal(scene->loaded, 1);
    assert_int_equal(number(scene, "SELECT count(*) FROM process"), 1);
}

static void a_trace_of_a_later_version_is_a_process_not_observed(void **state)
{
    struct scene *scene = *state;
    size_t size;
    unsigned char *bytes = trace_laid_out(scene->made, &size);

    bytes[offsetof(struct trace_header, layout)] = 9;
    bytes_written(scene->path, bytes, size);
    free(bytes);
    assert_int_equal(path_loaded(scene, scene->path), 0);

    assert_non_null(strstr(scene->said, "unclosed: warning: "));
    assert_non_null(strstr(scene->said, "layout 9"));
    assert_selected(scene, "SELECT observed, ended, instr(unobserved_reason, 'layout 9') > 0 FROM process",
                    "0 unknown 1");
}

static void what_is_no_trace_is_passed_over_with_a_warning(void **state)
{
    struct scene *scene = *state;
    char path[80];
    const char *paths[] = {scene->path, path};

    trace_written(scene->made, scene->path);
    snprintf(path, sizeof(path), "%s/notes.txt", scene->directory);
    bytes_written(path, "notes", 5);
    assert_int_equal(all_loaded(scene, paths, 2), 0);

    assert_int_equal(scene->loaded, 1);
    assert_non_null(strstr(scene->said, "notes.txt: not a trace"));
}

static void a_trace_that_holds_nothing_yet_is_no_process(void **state)
{
    struct scene *scene = *state;

    built_process(scene->made)->ready = 0;
    trace_written(scene->made, scene->path);

    assert_int_equal(path_loaded(scene, scene->directory), 0);
    assert_string_equal(scene->said, "");
    assert_int_equal(path_loaded(scene, scene->path), 0);
    assert_non_null(strstr(scene->said, "nothing was recorded in it"));
    assert_int_equal(number(scene, "SELECT count(*) FROM process"), 0);
}

static void nothing_at_all_is_an_error(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(path_loaded(scene, "/nonexistent/trace"), -1);
    assert_non_null(strstr(scene->said, "No such file"));
    assert_non_null(strstr(scene->said, "unclosed: error: no trace could be read"));
}

static void an_empty_directory_is_none(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(path_loaded(scene, scene->directory), 0);
    assert_int_equal(scene->loaded, 0);
    assert_string_equal(scene->said, "");
}

/* --- the database itself --------------------------------------------------------------------------------------------------------- */

static void a_database_is_recognised_and_replaced(void **state)
{
    struct scene *scene = *state;
    char path[80], link[80];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/report.db", scene->directory);
    snprintf(link, sizeof(link), "%s/link.db", scene->directory);
    bytes_written(path, "precious", 8);
    assert_false(is_run_database(path));
    assert_int_equal(symlink(path, link), 0);

    db = database_created(link); /* the link goes, what it leads to stays */
    assert_non_null(db);
    database_closed(db);

    assert_false(is_run_database(path));
    assert_true(is_run_database(link));
    db = database_opened(link);
    assert_non_null(db);
    assert_int_equal(integer_selected(db, "SELECT count(*) FROM process", -1), 0);
    database_closed(db);
    assert_false(is_run_database(scene->directory));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everything_finds_its_table),
        TEST(all_built_in_kinds_are_known),
        TEST(times_are_calendar_times),
        TEST(the_timeline_leaves_out_what_did_not_change),
        TEST(hold_times_tell_their_distribution),
        TEST(an_end_mark_tells_the_end),
        TEST(exec_is_an_end_of_its_own),
        TEST(without_end_mark_it_was_killed),
        TEST(unless_it_is_still_there),
        TEST(a_pid_that_was_given_to_another_is_not_it),
        TEST(on_another_machine_nobody_knows),
        TEST(in_a_pid_namespace_of_its_own_the_outer_pid_counts),
        TEST(a_child_knows_whom_it_was_forked_from),
        TEST(images_of_one_process_are_told_apart_by_time),
        TEST(a_run_directory_has_its_traces_below),
        TEST(a_trace_that_is_given_twice_counts_once),
        TEST(a_trace_of_a_later_version_is_a_process_not_observed),
        TEST(what_is_no_trace_is_passed_over_with_a_warning),
        TEST(a_trace_that_holds_nothing_yet_is_no_process),
        TEST(nothing_at_all_is_an_error),
        TEST(an_empty_directory_is_none),
        TEST(a_database_is_recognised_and_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
