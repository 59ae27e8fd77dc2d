/* SPDX-License-Identifier: Apache-2.0 */
/* From traces to rows of the run database. */
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
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

/* --- the scene: a directory of traces, a database, and what was said on stderr ---------------------------------------- */

struct scene {
    char directory[32], path[64];
    struct trace_builder *made;
    sqlite3 *db;
    unsigned loaded;
    char said[4096];
};

static int scene_set(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    strcpy(scene->directory, "/tmp/unclosed-load.XXXXXX");
    if (!mkdtemp(scene->directory))
        return -1;
    snprintf(scene->path, sizeof(scene->path), "%s/app.trace", scene->directory);
    scene->made = builder_begun();
    scene->db = database_created(":memory:");
    *state = scene;
    return scene->db ? 0 : -1;
}

static int scene_struck(void **state)
{
    struct scene *scene = *state;
    char command[64];

    database_closed(scene->db);
    builder_freed(scene->made);
    snprintf(command, sizeof(command), "rm -rf %s", scene->directory);
    free(scene);
    return system(command);
}

static int all_loaded(struct scene *scene, const char *const *paths, size_t count)
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

static int path_loaded(struct scene *scene, const char *path)
{
    return all_loaded(scene, &path, 1);
}

/* Writes the scene's trace and loads it, without a word. */
static void loaded(struct scene *scene)
{
    trace_written(scene->made, scene->path);
    assert_int_equal(path_loaded(scene, scene->path), 0);
    assert_string_equal(scene->said, "");
    assert_int_equal(scene->loaded, 1);
}

static int64_t number(struct scene *scene, const char *sql)
{
    return integer_selected(scene->db, sql, -1);
}

/* All that a query gives, columns and rows separated by blanks; NULL as "-". */
static void assert_selected(struct scene *scene, const char *sql, const char *expected)
{
    sqlite3_stmt *statement = prepared(scene->db, sql);
    char found[4096] = "";
    size_t length = 0;

    while (row_fetched(statement, NULL))
        for (int column = 0; column < sqlite3_column_count(statement); column++) {
            const char *cell = (const char *)sqlite3_column_text(statement, column);
            length += (size_t)snprintf(found + length, sizeof(found) - length, "%s%s", length ? " " : "",
                                       cell ? cell : "-");
        }
    sqlite3_finalize(statement);
    assert_string_equal(found, expected);
}

static uint32_t connection_site(struct trace_builder *made)
{
    return built_site(made, KIND_SQLITE3_CONNECTION, STACK_OTHER);
}

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
    assert_selected(scene, "SELECT key, value FROM detail JOIN handle ON handle.id = detail.handle "
                           "WHERE kind = 'sqlite3.connection'", "tenant acme");
    assert_selected(scene, "SELECT kind, how, generation FROM closed_handle", "sqlite3.connection explicit 77");
    assert_selected(scene, "SELECT rule, message, waited_ns FROM incident", "pool-exhausted QueuePool limit reached 30000000000");
    assert_selected(scene, "SELECT kind, stack = (SELECT stack FROM site WHERE id = holder.site) FROM holder",
                    "sqlite3.connection 1");
    assert_selected(scene, "SELECT group_concat(type) FROM (SELECT type FROM fact ORDER BY count)",
                    "closed-twice,used-after-close,close-failed,close-later-done,zombie,open-failed,open-failed-closed,"
                    "closed-in-transaction,closed-elsewhere,used-elsewhere,parent-closed-first,busy,unresolved");
    assert_int_equal(number(scene, "SELECT count(*) FROM fact WHERE opened_stack = stack AND wrote AND NOT unwinding"), 13);
}

static void all_built_in_kinds_are_known(void **state)
{
    struct scene *scene = *state;

    loaded(scene);

    assert_int_equal(number(scene, "SELECT count(*) FROM kind"), KIND_BUILT_IN_COUNT - 1);
    assert_selected(scene, "SELECT noun, parent, cheap FROM kind WHERE name = 'lmdb.cursor'", "LMDB cursor lmdb.transaction 1");
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
    scene->made = builder_of_everything();      /* 5 open, still 5, none */
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
    record->held[41] = 1;       /* [2^20, 2^20.5) µs */
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
    char line[1024] = "", *rest = line;

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

/* --- stacks ------------------------------------------------------------------------------------------------------------------ */

/* Fills in the build-id of this program, without which its names are not believed. */
static int build_id_noted(struct dl_phdr_info *program, size_t size, void *context)
{
    struct trace_module *module = context;
    (void)size;

    for (int i = 0; i < program->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &program->dlpi_phdr[i];
        const char *at = (const char *)(program->dlpi_addr + segment->p_vaddr), *end = at + segment->p_memsz;

        while (segment->p_type == PT_NOTE && at < end) {
            const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
            const char *contents = at + sizeof(*note) + (note->n_namesz + 3) / 4 * 4;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_descsz <= TRACE_BUILD_ID_MAX) {
                memcpy(module->build_id, contents, note->n_descsz);
                module->build_id_size = note->n_descsz;
            }
            at = contents + (note->n_descsz + 3) / 4 * 4;
        }
    }
    return 1;           /* the program itself comes first */
}

static uint32_t own_module(struct trace_builder *made)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    uint32_t module;

    assert_true(length > 0);
    path[length] = '\0';
    module = built_module(made, path);
    dl_iterate_phdr(build_id_noted, built_at(made, TABLE_MODULE, module));
    return module;
}

/* A frame just behind the beginning of a function of this test. */
static uint32_t frame_in(struct trace_builder *made, void *function)
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

int main(void);
void _start(void);

static uint32_t driver_frame(struct trace_builder *made, uint64_t offset)
{
    return built_frame(made, built_module(made, "/usr/lib/x86_64-linux-gnu/libsqlite3.so.0"), offset);
}

static void site_with(struct scene *scene, const uint32_t *frames, size_t count)
{
    built_handle(scene->made, built_site(scene->made, KIND_SQLITE3_CONNECTION, built_stack(scene->made, frames, count)));
}

static void a_stack_is_named_and_points_at_the_users_code(void **state)
{
    struct scene *scene = *state;
    struct trace_builder *made = scene->made;
    uint32_t frames[] = {driver_frame(made, 0x10), frame_in(made, leaf_of_test), frame_in(made, main)};

    site_with(scene, frames, 3);
    loaded(scene);

    assert_selected(scene, "SELECT where_function, where_language, where_owner, depth, truncated FROM stack",
                    "leaf_of_test c user 3 0");
    assert_selected(scene, "SELECT position, function, owner FROM stack_frame JOIN symbol USING (frame) ORDER BY position",
                    "0 libsqlite3.so.0+0x10 driver 1 leaf_of_test user 2 main user");
    assert_selected(scene, "SELECT DISTINCT state FROM module WHERE path NOT LIKE '%sqlite%'", "matches");
}

static void python_frames_have_names(void **state)
{
    struct scene *scene = *state;
    uint32_t frame = built_python_frame(scene->made, "/srv/app/orders.py", "Orders.list", 42);

    site_with(scene, &frame, 1);
    loaded(scene);

    assert_selected(scene, "SELECT type, where_function, where_file, where_line, where_language FROM stack, frame",
                    "python Orders.list /srv/app/orders.py 42 python");
}

static void equal_stacks_of_two_processes_are_one(void **state)
{
    struct scene *scene = *state;
    struct trace_builder *other = builder_begun();
    uint32_t frames[] = {driver_frame(scene->made, 0x10), frame_in(scene->made, leaf_of_test)};
    char path[80];

    site_with(scene, frames, 2);
    trace_written(scene->made, scene->path);
    frame_in(other, caller_of_test);            /* so that the numbers differ */
    site_with(&(struct scene){.made = other},
              (uint32_t[]){driver_frame(other, 0x10), frame_in(other, leaf_of_test)}, 2);
    snprintf(path, sizeof(path), "%s/other.trace", scene->directory);
    trace_written(other, path);
    builder_freed(other);
    assert_int_equal(path_loaded(scene, scene->directory), 0);

    assert_selected(scene, "SELECT count(*), count(DISTINCT process), count(DISTINCT stack) FROM site", "2 2 1");
    assert_int_equal(number(scene, "SELECT count(*) FROM stack"), 1);
    assert_int_equal(number(scene, "SELECT count(*) FROM frame"), 2);
}

static void a_stack_that_was_cut_says_so(void **state)
{
    struct scene *scene = *state;
    uint32_t cut = built_frame(scene->made, 0, 0);

    ((struct trace_frame *)built_at(scene->made, TABLE_FRAME, cut))->type = FRAME_TRUNCATED;
    site_with(scene, (uint32_t[]){frame_in(scene->made, leaf_of_test), cut}, 2);
    loaded(scene);

    assert_selected(scene, "SELECT truncated, where_function FROM stack", "1 leaf_of_test");
    assert_selected(scene, "SELECT type FROM stack_frame JOIN frame ON id = frame ORDER BY position", "native truncated");
}

static void endless_stacks_end(void **state)
{
    struct scene *scene = *state;
    uint32_t *frames = calloc(20000, sizeof(*frames)), frame = frame_in(scene->made, leaf_of_test), ring;

    for (int i = 0; i < 20000; i++)
        frames[i] = frame;
    site_with(scene, frames, 20000);
    ring = built_stack(scene->made, (uint32_t[]){frame}, 1);
    ((struct trace_stack *)built_at(scene->made, TABLE_STACK, ring))->parent = ring;
    built_site(scene->made, KIND_SQLITE3_STATEMENT, ring);
    free(frames);
    loaded(scene);

    assert_selected(scene, "SELECT depth, truncated FROM stack ORDER BY depth", "1 1 4097 1");
}

/* Fingerprint of a stack of these frames, in a database of its own. */
static void fingerprint_of(char fingerprint[32], uint32_t (*frames_made)(struct trace_builder *, uint32_t *))
{
    struct scene *scene;
    uint32_t frames[16];
    sqlite3_stmt *statement;

    scene_set((void **)&scene);
    site_with(scene, frames, frames_made(scene->made, frames));
    loaded(scene);
    statement = prepared(scene->db, "SELECT fingerprint FROM stack");
    assert_true(row_fetched(statement, NULL));
    snprintf(fingerprint, 32, "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    assert_int_equal(scene_struck((void **)&scene), 0);
}

static uint32_t plain_frames(struct trace_builder *made, uint32_t *frames)
{
    frames[0] = driver_frame(made, 0x10);
    frames[1] = frame_in(made, leaf_of_test);
    frames[2] = frame_in(made, caller_of_test);
    frames[3] = frame_in(made, main);
    return 4;
}

/* Another version of the driver, another line of the function, recursion, and a start-up that has names. */
static uint32_t frames_of_another_day(struct trace_builder *made, uint32_t *frames)
{
    frames[0] = driver_frame(made, 0x999);
    frames[1] = driver_frame(made, 0x777);
    frames[2] = frame_in(made, (char *)leaf_of_test + 1);
    frames[3] = frame_in(made, caller_of_test);
    frames[4] = frame_in(made, (char *)caller_of_test + 1);
    frames[5] = frame_in(made, main);
    frames[6] = built_frame(made, built_module(made, "/lib/x86_64-linux-gnu/libc.so.6"), 0x5);
    frames[7] = frame_in(made, _start);
    return 8;
}

static uint32_t frames_the_other_way(struct trace_builder *made, uint32_t *frames)
{
    frames[0] = driver_frame(made, 0x10);
    frames[1] = frame_in(made, caller_of_test);
    frames[2] = frame_in(made, leaf_of_test);
    frames[3] = frame_in(made, main);
    return 4;
}

static uint32_t nameless_frames(struct trace_builder *made, uint32_t *frames)
{
    frames[0] = driver_frame(made, 0x10);
    frames[1] = built_frame(made, built_module(made, "/srv/app/libbilling.so.1.2"), 0x1000);
    frames[2] = built_frame(made, built_module(made, "/srv/app/server"), 0x2000);
    return 3;
}

static uint32_t nameless_frames_of_a_rebuild(struct trace_builder *made, uint32_t *frames)
{
    frames[0] = built_frame(made, built_module(made, "/opt/app/libbilling.so.1.3"), 0x1234);
    frames[1] = built_frame(made, built_module(made, "/opt/app/libbilling.so.1.3"), 0x1300);
    frames[2] = built_frame(made, built_module(made, "/opt/app/server"), 0x2345);
    return 3;
}

static uint32_t driver_frames_only(struct trace_builder *made, uint32_t *frames)
{
    frames[0] = driver_frame(made, 0x10);
    return 1;
}

static void fingerprints_survive_what_changes_no_function(void **state)
{
    char first[32], second[32];
    (void)state;

    fingerprint_of(first, plain_frames);
    fingerprint_of(second, frames_of_another_day);
    assert_string_equal(first, second);
    assert_int_equal(strlen(first), 16);

    fingerprint_of(second, frames_the_other_way);
    assert_string_not_equal(first, second);
}

static void fingerprints_do_without_names(void **state)
{
    char first[32], second[32];
    (void)state;

    fingerprint_of(first, nameless_frames);
    fingerprint_of(second, nameless_frames_of_a_rebuild);
    assert_string_equal(first, second);

    fingerprint_of(second, driver_frames_only);
    assert_string_not_equal(first, second);
}

/* --- handles ------------------------------------------------------------------------------------------------------------------ */

static void built_handles(struct scene *scene, uint32_t site, int count)
{
    for (int i = 0; i < count; i++)
        built_handle(scene->made, site)->opened = BUILT_AT(10) - (uint64_t)i;
}

static void a_few_equal_handles_are_rows(void **state)
{
    struct scene *scene = *state;

    built_handles(scene, connection_site(scene->made), 64);
    loaded(scene);

    assert_selected(scene, "SELECT count(*), sum(handles), max(handles) FROM handle", "64 64 1");
}

static void many_equal_handles_are_one_row_with_the_oldest(void **state)
{
    struct scene *scene = *state;

    built_handles(scene, connection_site(scene->made), 1000);
    loaded(scene);

    assert_selected(scene, "SELECT handles, generation FROM handle", "1000 1000");
}

static void handles_that_rules_tell_apart_stay_apart(void **state)
{
    struct scene *scene = *state;
    uint32_t site = connection_site(scene->made);

    for (int i = 0; i < 100; i++) {
        built_handle(scene->made, site)->reference = REFERENCE_NONE;
        built_handle(scene->made, site)->reference = REFERENCE_FOUND;
        built_handle(scene->made, site)->flags = HANDLE_FAILED_OPEN;
        built_handle(scene->made, site)->opened = BUILT_AT(40);
    }
    loaded(scene);

    assert_selected(scene, "SELECT reference, failed_open, handles FROM handle ORDER BY 1, 2, 3",
                    "found 0 100 found 0 100 found 1 100 none 0 100");
}

static void threads_stay_apart_while_they_are_few(void **state)
{
    struct scene *scene = *state;
    uint32_t site = connection_site(scene->made);

    for (uint32_t i = 0; i < 200; i++)
        built_handle(scene->made, site)->thread = 7 + i % 2;
    loaded(scene);

    assert_selected(scene, "SELECT thread, handles FROM handle ORDER BY thread", "7 100 8 100");
}

static void very_many_handles_are_few_rows(void **state)
{
    struct scene *scene = *state;

    builder_freed(scene->made);
    scene->made = builder_of_many("/srv/app/server", 30000, 1000, 4);
    loaded(scene);

    assert_selected(scene, "SELECT count(*), sum(handles) FROM handle", "1000 30000");
}

static struct trace_handle *built_child(struct scene *scene, uint32_t site, uint32_t parent)
{
    struct trace_handle *child = built_handle(scene->made, site);

    child->parent = parent;
    child->parent_generation = parent;
    return child;
}

static void children_belong_to_the_outermost_open_ancestor(void **state)
{
    struct scene *scene = *state;
    uint32_t connections = connection_site(scene->made);
    uint32_t statements = built_site(scene->made, KIND_SQLITE3_STATEMENT, STACK_OTHER);
    uint32_t blobs = built_site(scene->made, KIND_SQLITE3_BLOB, STACK_OTHER);

    built_child(scene, statements, 3);                          /* 1: of a parent with a higher number */
    built_child(scene, blobs, 1);                               /* 2: of 1 */
    built_handle(scene->made, connections)->reference = REFERENCE_NONE;         /* 3 */
    built_child(scene, statements, 3);                          /* 4 */
    loaded(scene);

    assert_selected(scene, "SELECT id, parent, is_child, root_site, root_reference FROM handle ORDER BY id",
                    "1 3 1 1 none 2 1 1 1 none 3 - 0 1 none 4 3 1 1 none");
    assert_selected(scene, "SELECT root_site, kind, site, handles FROM child ORDER BY kind",
                    "1 sqlite3.blob 3 1 1 sqlite3.statement 2 2");
}

static void a_child_whose_parent_was_closed_stands_alone(void **state)
{
    struct scene *scene = *state;
    uint32_t connections = connection_site(scene->made);

    built_handle(scene->made, connections);                     /* in the slot that the parent had */
    built_child(scene, connections, 1)->parent_generation = 99;
    loaded(scene);

    assert_selected(scene, "SELECT parent, is_child FROM handle ORDER BY id", "- 0 - 0");
}

static void a_ring_of_parents_is_cut(void **state)
{
    struct scene *scene = *state;
    uint32_t site = connection_site(scene->made);

    built_child(scene, site, 2);
    built_child(scene, site, 3);
    built_child(scene, site, 1);
    built_child(scene, site, 4);                                /* its own parent */
    built_child(scene, site, 3);
    loaded(scene);

    assert_selected(scene, "SELECT count(*), sum(is_child) FROM handle", "5 3");
}

static void a_long_chain_of_parents_has_one_root(void **state)
{
    struct scene *scene = *state;
    uint32_t site = connection_site(scene->made);

    for (uint32_t i = 1; i <= 100000; i++)
        built_child(scene, site, i + 1);
    loaded(scene);

    assert_int_equal(number(scene, "SELECT sum(handles) FROM handle WHERE NOT is_child"), 1);
}

static void a_connection_knows_its_transaction(void **state)
{
    struct scene *scene = *state;
    uint32_t connections = connection_site(scene->made), transaction;
    uint32_t begin = built_stack(scene->made, (uint32_t[]){frame_in(scene->made, leaf_of_test)}, 1);
    struct trace_handle *handle;

    transaction = built_site(scene->made, KIND_SQLITE3_TRANSACTION, begin);
    handle = built_handle(scene->made, connections);
    handle->flags = HANDLE_IN_TRANSACTION;
    handle->transaction = 2;
    handle = built_child(scene, transaction, 1);
    handle->flags = HANDLE_WROTE;
    handle->opened = BUILT_AT(3);
    loaded(scene);

    assert_selected(scene, "SELECT in_transaction, wrote, where_function, (transaction_began_at - started_at) / 1000000000 "
                           "FROM handle JOIN stack ON stack.id = transaction_stack, process", "1 1 leaf_of_test 3");
}

static void handles_of_a_full_site_table_are_not_lost(void **state)
{
    struct scene *scene = *state;
    struct trace_handle *handle = built_handle(scene->made, connection_site(scene->made));

    handle->site = 0;
    handle = built_handle(scene->made, 1);
    handle->site = 12345;
    loaded(scene);

    assert_selected(scene, "SELECT site.kind, site.open, count(*), where_function FROM handle JOIN site ON site.id = handle.site "
                           "JOIN stack ON stack.id = site.stack GROUP BY site.id",
                    "sqlite3.connection 2 2 (not recorded)");
}

static void senseless_records_are_left_out_and_counted(void **state)
{
    struct scene *scene = *state;
    uint32_t site = connection_site(scene->made);

    built_handle(scene->made, site)->state = 77;
    built_handle(scene->made, site)->kind = 5000;
    ((struct trace_fact *)built_record(scene->made, TABLE_FACT, NULL))->type = 99;
    trace_written(scene->made, scene->path);
    assert_int_equal(path_loaded(scene, scene->path), 0);

    assert_selected(scene, "SELECT warning FROM process", "3 damaged records were left out");
    assert_int_equal(number(scene, "SELECT count(*) FROM handle"), 0);
}

static void chains_of_details_end(void **state)
{
    struct scene *scene = *state;
    uint32_t key, ring;
    struct trace_detail *detail;

    built_handle(scene->made, connection_site(scene->made))->details = 1;
    key = built_string(scene->made, "key");
    detail = built_record(scene->made, TABLE_DETAIL, &ring);
    detail->handle = 1;
    detail->generation = 1;
    detail->key = detail->value = key;
    detail->next = ring;
    loaded(scene);

    assert_int_equal(number(scene, "SELECT count(*) FROM detail"), 64);
}

static void holders_belong_to_one_incident(void **state)
{
    struct scene *scene = *state;

    for (int i = 0; i < 3; i++) {
        struct trace_incident *incident = built_record(scene->made, TABLE_INCIDENT, NULL);
        incident->first_holder = 1;
        incident->holder_count = UINT32_MAX;
    }
    for (int i = 0; i < 10; i++)
        built_record(scene->made, TABLE_HOLDER, NULL);
    loaded(scene);

    assert_int_equal(number(scene, "SELECT count(*) FROM holder"), 10);
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
    snprintf(path, sizeof(path), "%s/a-child.trace", scene->directory);         /* read before its parent */
    trace_written(child, path);
    builder_freed(child);
    assert_int_equal(path_loaded(scene, scene->directory), 0);

    assert_selected(scene, "SELECT child.fork_generation, parent.pid FROM process AS child JOIN process AS parent "
                           "ON parent.id = child.forked_from", "17 4242");
    assert_selected(scene, "SELECT here.pid, there.pid, other_pid, where_function, site.process = there.id FROM fact "
                           "JOIN process AS here ON here.id = fact.process JOIN process AS there ON there.id = other_process "
                           "JOIN stack ON stack.id = opened_stack JOIN site ON site.id = fact.site",
                    "4300 4242 4242 leaf_of_test 1");
}

static void images_of_one_process_are_told_apart_by_time(void **state)
{
    struct scene *scene = *state;
    static const double started[] = {0, 10, 20};
    char path[80];

    for (int image = 0; image < 4; image++) {                   /* three of pid 4242, exec after exec, and a child of the second */
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

    assert_selected(scene, "SELECT parent.command FROM process AS child JOIN process AS parent ON parent.id = child.forked_from",
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
    assert_selected(scene, "SELECT observed, ended, instr(unobserved_reason, 'layout 9') > 0 FROM process", "0 unknown 1");
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

    db = database_created(link);                /* the link goes, what it leads to stays */
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set, scene_struck)

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
        TEST(a_stack_is_named_and_points_at_the_users_code),
        TEST(python_frames_have_names),
        TEST(equal_stacks_of_two_processes_are_one),
        TEST(a_stack_that_was_cut_says_so),
        TEST(endless_stacks_end),
        TEST(fingerprints_survive_what_changes_no_function),
        TEST(fingerprints_do_without_names),
        TEST(a_few_equal_handles_are_rows),
        TEST(many_equal_handles_are_one_row_with_the_oldest),
        TEST(handles_that_rules_tell_apart_stay_apart),
        TEST(threads_stay_apart_while_they_are_few),
        TEST(very_many_handles_are_few_rows),
        TEST(children_belong_to_the_outermost_open_ancestor),
        TEST(a_child_whose_parent_was_closed_stands_alone),
        TEST(a_ring_of_parents_is_cut),
        TEST(a_long_chain_of_parents_has_one_root),
        TEST(a_connection_knows_its_transaction),
        TEST(handles_of_a_full_site_table_are_not_lost),
        TEST(senseless_records_are_left_out_and_counted),
        TEST(chains_of_details_end),
        TEST(holders_belong_to_one_incident),
        TEST(a_child_knows_whom_it_was_forked_from),
        TEST(images_of_one_process_are_told_apart_by_time),
        TEST(a_run_directory_has_its_traces_below),
        TEST(a_trace_that_is_given_twice_counts_once),
        TEST(a_trace_of_a_later_version_is_a_process_not_observed),
        TEST(what_is_no_trace_is_passed_over_with_a_warning),
        TEST(nothing_at_all_is_an_error),
        TEST(an_empty_directory_is_none),
        TEST(a_database_is_recognised_and_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
