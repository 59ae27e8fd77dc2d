/* SPDX-License-Identifier: Apache-2.0 */
/* From traces to rows of the run database: stacks, names and fingerprints. */
#include "load_scene.h"

/* --- stacks ------------------------------------------------------------------------------------------------------------------ */

int main(void);
void _start(void);

static uint32_t driver_frame(struct trace_builder *made, uint64_t offset)
{
    return built_frame(made, built_module(made, "/usr/lib/x86_64-linux-gnu/libsqlite3.so.0"), offset);
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
    assert_selected(scene,
                    "SELECT position, function, owner FROM stack_frame JOIN symbol USING (frame) ORDER BY position",
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
    frame_in(other, caller_of_test); /* so that the numbers differ */
    site_with(&(struct scene){.made = other}, (uint32_t[]){driver_frame(other, 0x10), frame_in(other, leaf_of_test)},
              2);
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
    assert_selected(scene, "SELECT type FROM stack_frame JOIN frame ON id = frame ORDER BY position",
                    "native truncated");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stack_is_named_and_points_at_the_users_code),
        TEST(python_frames_have_names),
        TEST(equal_stacks_of_two_processes_are_one),
        TEST(a_stack_that_was_cut_says_so),
        TEST(endless_stacks_end),
        TEST(fingerprints_survive_what_changes_no_function),
        TEST(fingerprints_do_without_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
