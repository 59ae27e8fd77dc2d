/* SPDX-License-Identifier: Apache-2.0 */
/* From traces to rows of the run database: stacks of Python programs, merged of a native and a Python part. */
#include "load_scene.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Native functions are where they are in a module that has no names: "m+0x10". */
static uint32_t native(struct scene *scene, uint64_t offset, uint32_t flags)
{
    struct trace_builder *made = scene->made;

    return built_flagged(made, built_frame(made, built_module(made, "/srv/m"), offset), flags);
}

static uint32_t eval(struct scene *scene)
{
    return native(scene, 0xe0, FRAME_EVAL);
}

static uint32_t python(struct scene *scene, const char *file, const char *function)
{
    return built_python_frame(scene->made, file, function, 1);
}

static uint32_t entry(struct scene *scene, const char *file, const char *function)
{
    return built_flagged(scene->made, python(scene, file, function), FRAME_ENTRY);
}

static uint32_t cut(struct scene *scene)
{
    uint32_t frame = built_frame(scene->made, 0, 0);

    ((struct trace_frame *)built_at(scene->made, TABLE_FRAME, frame))->type = FRAME_TRUNCATED;
    return frame;
}

struct part {
    uint32_t frames[16];
    size_t count;
};
#define PART(...) ((struct part){{__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)})

static uint32_t mixed_stack(struct scene *scene, struct part python_part, struct part native_part, uint32_t flags)
{
    uint32_t outer = built_stack(scene->made, native_part.frames, native_part.count);

    return built_mixed(scene->made, built_stack(scene->made, python_part.frames, python_part.count), outer, flags);
}

static void load_at(struct scene *scene, uint32_t stack)
{
    built_handle(scene->made, built_site(scene->made, KIND_SQLITE3_CONNECTION, stack));
    loaded(scene);
}

static void assert_frames(struct scene *scene, const char *expected)
{
    assert_selected(scene,
                    "SELECT function FROM stack_frame JOIN symbol USING (frame) JOIN site ON site.stack = "
                    "stack_frame.stack ORDER BY position",
                    expected);
}

static void assert_shown(struct scene *scene, const char *expected)
{
    assert_selected(scene,
                    "SELECT function FROM stack_frame JOIN symbol USING (frame) JOIN site ON site.stack = "
                    "stack_frame.stack WHERE NOT hidden ORDER BY position",
                    expected);
}

/* --- merging ------------------------------------------------------------------------------------------------------------------- */

static void each_call_of_the_loop_gives_way_to_its_frames(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(python(scene, "/srv/a.py", "orders"), entry(scene, "/srv/a.py", "handler"),
                                   python(scene, "/srv/a.py", "serve"), entry(scene, "/srv/a.py", "<module>"));
    struct part native_part =
        PART(native(scene, 0x10, 0), eval(scene), native(scene, 0x20, 0), eval(scene), native(scene, 0x30, 0));

    load_at(scene, mixed_stack(scene, python_part, native_part, 0));

    assert_frames(scene, "m+0x10 orders handler m+0x20 serve <module> m+0x30");
    assert_selected(scene, "SELECT depth, truncated, approximate FROM stack JOIN site ON site.stack = stack.id",
                    "7 0 0");
}

static void up_to_3_10_each_frame_is_a_call_of_its_own(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "/srv/a.py", "inner"), entry(scene, "/srv/a.py", "outer"));
    struct part native_part =
        PART(eval(scene), native(scene, 0x20, 0), eval(scene), native(scene, 0x30, 0), native(scene, 0x40, 0));

    load_at(scene, mixed_stack(scene, python_part, native_part, 0));

    assert_frames(scene, "inner m+0x20 outer m+0x30 m+0x40");
}

static void a_python_part_alone_is_all_there_is(void **state)
{
    struct scene *scene = *state;
    uint32_t frames[] = {python(scene, "/srv/a.py", "inner"), entry(scene, "/srv/a.py", "outer"),
                         entry(scene, "/srv/a.py", "<module>")};

    load_at(scene, built_mixed(scene->made, built_stack(scene->made, frames, 3), 0, 0));

    assert_frames(scene, "inner outer <module>");
    assert_selected(scene, "SELECT approximate FROM stack JOIN site ON site.stack = stack.id", "0");
}

static void python_frames_without_a_call_of_the_loop_are_kept(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "/srv/a.py", "one"), entry(scene, "/srv/a.py", "two"));
    struct part native_part = PART(native(scene, 0x10, 0), eval(scene), native(scene, 0x20, 0));

    load_at(scene, mixed_stack(scene, python_part, native_part, 0));

    assert_frames(scene, "m+0x10 one m+0x20 two");
    assert_selected(scene, "SELECT approximate FROM stack JOIN site ON site.stack = stack.id", "1");
}

static void calls_of_the_loop_without_python_frames_are_kept(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "/srv/a.py", "one"));
    struct part native_part = PART(eval(scene), native(scene, 0x20, 0), eval(scene));

    load_at(scene, mixed_stack(scene, python_part, native_part, 0));

    assert_frames(scene, "one m+0x20 m+0xe0");
    assert_selected(scene, "SELECT approximate FROM stack JOIN site ON site.stack = stack.id", "1");
}

static void a_native_part_that_was_cut_does_not_cut_the_python_part(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "/srv/a.py", "one"), entry(scene, "/srv/a.py", "two"));
    struct part native_part = PART(native(scene, 0x10, 0), eval(scene), native(scene, 0x20, 0), cut(scene));

    load_at(scene, mixed_stack(scene, python_part, native_part, 0));

    assert_frames(scene, "m+0x10 one m+0x20 two");
    assert_selected(scene, "SELECT truncated, approximate FROM stack JOIN site ON site.stack = stack.id", "0 0");
}

static void a_python_part_that_was_cut_says_so(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(python(scene, "/srv/a.py", "one"), cut(scene));
    struct part native_part = PART(eval(scene), native(scene, 0x20, 0));

    load_at(scene, mixed_stack(scene, python_part, native_part, MIXED_APPROXIMATE));

    assert_selected(scene, "SELECT truncated, approximate FROM stack JOIN site ON site.stack = stack.id", "1 1");
    assert_shown(scene, "one (outer frames are missing)");
}

static void equal_mergers_are_one_stack(void **state)
{
    struct scene *scene = *state;
    uint32_t frame = entry(scene, "/srv/a.py", "one"), loop = eval(scene);
    uint32_t first = mixed_stack(scene, PART(frame), PART(loop), 0);
    uint32_t second = mixed_stack(scene, PART(frame), PART(loop), MIXED_APPROXIMATE);

    built_handle(scene->made, built_site(scene->made, KIND_SQLITE3_CONNECTION, first));
    load_at(scene, second);

    assert_selected(scene, "SELECT count(DISTINCT site.stack), approximate FROM site JOIN stack ON stack.id = stack",
                    "1 1");
}

static void a_call_of_the_loop_whose_frame_is_gone_shows_nothing(void **state)
{
    struct scene *scene = *state;
    uint32_t gone = built_flagged(scene->made, entry(scene, "/srv/a.py", "gone"), FRAME_ENTRY);
    struct part python_part = PART(gone, entry(scene, "/srv/a.py", "caller"));
    struct part native_part = PART(native(scene, 0x10, 0), eval(scene), native(scene, 0x20, 0), eval(scene));
    uint32_t alone = built_stack(scene->made, python_part.frames, 2);

    ((struct trace_frame *)built_at(scene->made, TABLE_FRAME, gone))->module = 0;
    built_site(scene->made, KIND_SQLITE3_CONNECTION, built_mixed(scene->made, alone, 0, 0));
    built_site(scene->made, KIND_SQLITE3_CONNECTION, mixed_stack(scene, python_part, native_part, 0));
    loaded(scene);

    assert_frames(scene, "caller m+0x10 m+0x20 caller");
    assert_int_equal(number(scene, "SELECT sum(approximate) FROM stack"), 0);
}

static void a_stack_of_nothing_but_frames_that_are_gone_is_a_mark(void **state)
{
    struct scene *scene = *state;
    uint32_t gone = built_flagged(scene->made, entry(scene, "/srv/a.py", "gone"), FRAME_ENTRY);

    ((struct trace_frame *)built_at(scene->made, TABLE_FRAME, gone))->module = 0;
    load_at(scene, built_mixed(scene->made, built_stack(scene->made, &gone, 1), 0, 0));

    assert_frames(scene, "(not recorded)");
}

/* --- hostile traces ------------------------------------------------------------------------------------------------------------ */

static void references_that_lead_forward_lead_nowhere(void **state)
{
    struct scene *scene = *state;
    uint32_t loop = eval(scene), frame = entry(scene, "/srv/a.py", "one");
    uint32_t stack = mixed_stack(scene, PART(frame), PART(loop), 0);
    struct trace_stack *node = built_at(scene->made, TABLE_STACK, stack);

    ((struct trace_frame *)built_at(scene->made, TABLE_FRAME, node->frame))->offset = stack; /* itself */
    load_at(scene, stack);

    assert_frames(scene, "(not recorded) m+0xe0");
}

static void references_beyond_the_table_lead_nowhere(void **state)
{
    struct scene *scene = *state;
    uint32_t stack = mixed_stack(scene, PART(entry(scene, "/srv/a.py", "one")), PART(eval(scene)), 0);
    struct trace_stack *node = built_at(scene->made, TABLE_STACK, stack);

    ((struct trace_frame *)built_at(scene->made, TABLE_FRAME, node->frame))->offset = 0x100000001;
    load_at(scene, stack);

    assert_frames(scene, "(not recorded) m+0xe0");
}

static void a_mixed_stack_in_a_mixed_stack_is_no_more_than_a_mark(void **state)
{
    struct scene *scene = *state;
    uint32_t inner = mixed_stack(scene, PART(entry(scene, "/srv/a.py", "one")), PART(eval(scene)), 0);

    load_at(scene, built_mixed(scene->made, inner, built_stack(scene->made, PART(eval(scene)).frames, 1), 0));

    assert_frames(scene, "(not recorded) m+0xe0");
}

/* --- what is shown, and where it points ------------------------------------------------------------------------------------- */

static void native_frames_show_below_the_last_python_frame_only(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "/srv/a.py", "orders"), entry(scene, "/srv/a.py", "<module>"));
    struct part native_part =
        PART(native(scene, 0x10, 0), eval(scene), native(scene, 0x20, 0), eval(scene), native(scene, 0x30, 0));

    load_at(scene, mixed_stack(scene, python_part, native_part, 0));

    assert_shown(scene, "m+0x10 orders <module>");
}

static void frames_of_the_interpreter_never_show(void **state)
{
    struct scene *scene = *state;
    struct trace_builder *made = scene->made;
    uint32_t interpreter = built_frame(made, built_module(made, "/usr/bin/python3.11"), 0x10);
    struct part python_part = PART(entry(scene, "/srv/a.py", "orders"));

    load_at(scene, mixed_stack(scene, python_part, PART(native(scene, 0x10, 0), interpreter, eval(scene)), 0));

    assert_shown(scene, "m+0x10 orders");
}

static void frames_of_the_interpreter_show_where_there_is_nothing_else(void **state)
{
    struct scene *scene = *state;
    struct trace_builder *made = scene->made;
    uint32_t frame = built_frame(made, built_module(made, "/usr/bin/python3.11"), 0x10);

    load_at(scene, built_stack(made, &frame, 1));

    assert_shown(scene, "python3.11+0x10");
}

static void frames_of_our_adapter_are_hidden_with_what_they_called(void **state)
{
    struct scene *scene = *state;
    struct part python_part =
        PART(python(scene, "/opt/unclosed/python/_unclosed/alchemy.py", "checked_out"),
             entry(scene, "/opt/unclosed/python/_unclosed/hooks.py", "harmless"),
             entry(scene, "/venv/lib/python3.11/site-packages/sqlalchemy/pool/base.py", "Pool.connect"),
             entry(scene, "/srv/app/orders.py", "list_orders"));
    struct part native_part = PART(native(scene, 0x10, 0), eval(scene), native(scene, 0x20, 0), eval(scene),
                                   native(scene, 0x30, 0), eval(scene));

    load_at(scene, mixed_stack(scene, python_part, native_part, 0));

    assert_shown(scene, "Pool.connect list_orders");
    assert_selected(scene, "SELECT where_function, where_file, where_owner FROM stack JOIN site ON stack.id = stack",
                    "list_orders /srv/app/orders.py user");
}

static void frames_that_lead_to_our_extension_module_are_hidden(void **state)
{
    struct scene *scene = *state;
    struct trace_builder *made = scene->made;
    uint32_t ours = built_frame(made, built_module(made, "/opt/unclosed/python/_unclosed/_native.so"), 0x10);
    struct part python_part = PART(entry(scene, "/srv/app/orders.py", "list_orders"));
    struct part native_part = PART(ours, native(scene, 0x10, 0), eval(scene), native(scene, 0x20, 0));

    load_at(scene, mixed_stack(scene, python_part, native_part, 0));

    assert_shown(scene, "list_orders");
}

static void our_sitecustomize_is_known_by_the_adapter_beside_it(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "/srv/python/_unclosed/hooks.py", "begun"),
                                   entry(scene, "/srv/python/sitecustomize.py", "<module>"),
                                   entry(scene, "/srv/other/python/sitecustomize.py", "<module>"));

    load_at(scene, built_mixed(scene->made, built_stack(scene->made, python_part.frames, 3), 0, 0));

    assert_selected(scene,
                    "SELECT file FROM stack_frame JOIN symbol USING (frame) JOIN site USING (stack) "
                    "WHERE NOT hidden ORDER BY position",
                    "/srv/other/python/sitecustomize.py");
}

static void a_stack_of_nothing_but_hidden_frames_is_shown(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "/srv/python/_unclosed/hooks.py", "begun"));

    load_at(scene, mixed_stack(scene, python_part, PART(native(scene, 0x10, 0), eval(scene)), 0));

    assert_shown(scene, "m+0x10 begun");
}

static void where_is_the_line_of_the_innermost_user_frame(void **state)
{
    struct scene *scene = *state;
    struct trace_builder *made = scene->made;
    static const unsigned char locations[] = {0xea, 2, 0xea, 4}; /* 6 bytes on line 42, 6 on line 44 */
    uint32_t table = built_bytes(made, locations, sizeof locations), user = python(scene, "/srv/a.py", "A.open");
    uint32_t frames[] = {entry(scene, "/usr/lib/python3.11/sqlite3/dbapi2.py", "connect"), user};
    struct trace_frame *frame = built_at(made, TABLE_FRAME, user);
    struct trace_code *code = built_at(made, TABLE_CODE, frame->module);

    frame->offset = 8;
    code->first_line = 41;
    code->line_table = table;
    load_at(scene, built_mixed(made, built_stack(made, frames, 2), 0, 0));

    assert_selected(scene,
                    "SELECT where_function, where_file, where_line, where_language, where_owner "
                    "FROM stack JOIN site ON stack.id = stack",
                    "A.open /srv/a.py 44 python user");
}

static void a_long_line_table_is_read(void **state)
{
    struct scene *scene = *state;
    static unsigned char locations[60000];
    uint32_t frame = entry(scene, "/srv/a.py", "long"), table;

    for (size_t i = 0; i < sizeof locations; i += 2)
        memcpy(locations + i, (unsigned char[]){0xe8, 2}, 2); /* 2 bytes each, one line on */
    table = built_bytes(scene->made, locations, sizeof locations);
    ((struct trace_frame *)built_at(scene->made, TABLE_FRAME, frame))->offset = 59998;
    ((struct trace_code *)built_at(scene->made, TABLE_CODE, 1))->line_table = table;
    load_at(scene, built_mixed(scene->made, built_stack(scene->made, &frame, 1), 0, 0));

    assert_selected(scene, "SELECT where_line FROM stack JOIN site ON stack.id = stack", "30001");
}

static void a_file_is_relative_to_where_the_process_was(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "./tools/load.py", "load"), entry(scene, "app.py", "<module>"),
                                   entry(scene, "<frozen runpy>", "_run_code"));

    built_process(scene->made)->directory = built_string(scene->made, "/srv/shop");
    load_at(scene, built_mixed(scene->made, built_stack(scene->made, python_part.frames, 3), 0, 0));

    assert_selected(scene,
                    "SELECT file, owner FROM stack_frame JOIN symbol USING (frame) JOIN site USING (stack) "
                    "ORDER BY position",
                    "/srv/shop/tools/load.py user /srv/shop/app.py user <frozen runpy> system");
}

static void without_user_code_python_says_more_than_an_extension(void **state)
{
    struct scene *scene = *state;
    struct trace_builder *made = scene->made;
    uint32_t extension = built_module(made, "/usr/lib/python3.11/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so");
    struct part python_part = PART(entry(scene, "/usr/lib/python3.11/sqlite3/dbapi2.py", "connect"),
                                   entry(scene, "/venv/lib/python3.11/site-packages/coverage/sqldata.py", "open"));

    load_at(scene,
            mixed_stack(scene, python_part, PART(built_frame(made, extension, 0x10), eval(scene), eval(scene)), 0));

    assert_selected(scene, "SELECT where_function, where_owner FROM stack JOIN site ON stack.id = stack",
                    "open third-party");
}

static void a_comprehension_belongs_to_its_function(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(entry(scene, "/srv/a.py", "load.<locals>.<listcomp>"),
                                   entry(scene, "/srv/a.py", "load"), entry(scene, "/srv/a.py", "<module>"));

    load_at(scene, built_mixed(scene->made, built_stack(scene->made, python_part.frames, 3), 0, 0));

    assert_selected(scene, "SELECT where_function FROM stack JOIN site ON stack.id = stack", "load");
}

/* --- whose code ------------------------------------------------------------------------------------------------------------- */

static void a_console_script_is_known_by_what_is_installed_beside_it(void **state)
{
    struct scene *scene = *state;
    struct part python_part =
        PART(entry(scene, "/srv/venv/lib/python3.11/site-packages/uvicorn/main.py", "main"),
             entry(scene, "/srv/venv/bin/uvicorn", "<module>"), entry(scene, "/srv/shop/bin/worker", "<module>"));

    load_at(scene, built_mixed(scene->made, built_stack(scene->made, python_part.frames, 3), 0, 0));

    assert_selected(scene,
                    "SELECT owner FROM stack_frame JOIN symbol USING (frame) JOIN site USING (stack) "
                    "ORDER BY position",
                    "third-party third-party user");
}

static void code_made_of_text_is_the_place_only_without_a_file(void **state)
{
    struct scene *scene = *state;
    struct part with_file =
        PART(built_python_frame(scene->made, "<string>", "inner", 5), entry(scene, "/srv/a.py", "outer"));
    struct part without = PART(built_python_frame(scene->made, "<string>", "create_engine", 1),
                               built_python_frame(scene->made, "<string>", "setup", 3),
                               built_python_frame(scene->made, "<string>", "<module>", 1));
    uint32_t stack = built_stack(scene->made, with_file.frames, 2);

    built_site(scene->made, KIND_SQLITE3_CONNECTION, built_mixed(scene->made, stack, 0, 0));
    load_at(scene, built_mixed(scene->made, built_stack(scene->made, without.frames, 3), 0, 0));

    assert_selected(scene,
                    "SELECT where_function, where_file, where_owner FROM stack JOIN site ON stack.id = stack "
                    "ORDER BY site.id",
                    "outer /srv/a.py user setup <string> user");
}

static void code_that_a_library_wrote_is_the_librarys(void **state)
{
    struct scene *scene = *state;
    struct part python_part = PART(built_python_frame(scene->made, "<sqlalchemy generated _go() wrapper>", "_go", 4),
                                   built_python_frame(scene->made, "<attrs generated init app.Order>", "__init__", 2),
                                   built_python_frame(scene->made, "<string>", "__create_fn__.<locals>.__init__", 3),
                                   built_python_frame(scene->made, "<stdin>", "<module>", 1));

    load_at(scene, built_mixed(scene->made, built_stack(scene->made, python_part.frames, 4), 0, 0));

    assert_selected(scene,
                    "SELECT owner FROM stack_frame JOIN symbol USING (frame) JOIN site USING (stack) "
                    "ORDER BY position",
                    "third-party third-party third-party user");
}

/* --- fingerprints ------------------------------------------------------------------------------------------------------------ */

/* Of a stack of these Python frames (innermost first, "file function"), in a database of its own. */
static void fingerprint_of(char fingerprint[32], const char *const *frames, size_t count, bool has_native)
{
    struct scene *scene;
    uint32_t numbers[16];
    struct part native_part;
    sqlite3_stmt *statement;

    scene_set((void **)&scene);
    for (size_t i = 0; i < count; i++) {
        char file[128];
        snprintf(file, sizeof file, "%.*s", (int)strcspn(frames[i], " "), frames[i]);
        numbers[i] = entry(scene, file, strchr(frames[i], ' ') + 1);
    }
    native_part = has_native ? PART(native(scene, 0x77, 0), eval(scene)) : PART(eval(scene));
    load_at(scene, built_mixed(scene->made, built_stack(scene->made, numbers, count),
                               has_native ? built_stack(scene->made, native_part.frames, native_part.count) : 0, 0));
    statement = prepared(scene->db, "SELECT fingerprint FROM stack JOIN site ON stack.id = stack");
    assert_true(row_fetched(statement, NULL));
    snprintf(fingerprint, 32, "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    assert_int_equal(scene_struck((void **)&scene), 0);
}

static void fingerprints_survive_another_python_and_other_libraries(void **state)
{
    static const char *const of_3_11[] = {"/v/lib/python3.11/site-packages/sqlalchemy/orm/session.py Session.__init__",
                                          "/srv/1/orders.py load.<locals>.<listcomp>", "/srv/1/orders.py load",
                                          "/usr/lib/python3.11/threading.py Thread.run"};
    static const char *const of_3_12[] = {"/v/lib/python3.12/site-packages/sqlalchemy/orm/session.py Session.open",
                                          "/srv/2/orders.py load"};
    static const char *const other[] = {"/srv/1/orders.py store"};
    char first[32], second[32];
    (void)state;

    fingerprint_of(first, of_3_11, COUNT(of_3_11), false);
    fingerprint_of(second, of_3_12, COUNT(of_3_12), false);
    assert_string_equal(first, second);

    fingerprint_of(second, other, COUNT(other), false);
    assert_string_not_equal(first, second);
}

static void fingerprints_tell_users_extensions(void **state)
{
    static const char *const frames[] = {"/srv/1/orders.py load"};
    char first[32], second[32];
    (void)state;

    fingerprint_of(first, frames, 1, false);
    fingerprint_of(second, frames, 1, true);
    assert_string_not_equal(first, second);
}

static void third_party_stacks_are_told_apart(void **state)
{
    static const char *const one[] = {"/v/site-packages/a/a.py open", "/usr/lib/python3.11/threading.py Thread.run"};
    static const char *const other[] = {"/v/site-packages/b/b.py open", "/usr/lib/python3.11/threading.py Thread.run"};
    char first[32], second[32];
    (void)state;

    fingerprint_of(first, one, 2, false);
    fingerprint_of(second, other, 2, false);
    assert_string_not_equal(first, second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_call_of_the_loop_gives_way_to_its_frames),
        TEST(up_to_3_10_each_frame_is_a_call_of_its_own),
        TEST(a_python_part_alone_is_all_there_is),
        TEST(python_frames_without_a_call_of_the_loop_are_kept),
        TEST(calls_of_the_loop_without_python_frames_are_kept),
        TEST(a_native_part_that_was_cut_does_not_cut_the_python_part),
        TEST(a_python_part_that_was_cut_says_so),
        TEST(equal_mergers_are_one_stack),
        TEST(a_call_of_the_loop_whose_frame_is_gone_shows_nothing),
        TEST(a_stack_of_nothing_but_frames_that_are_gone_is_a_mark),
        TEST(references_that_lead_forward_lead_nowhere),
        TEST(references_beyond_the_table_lead_nowhere),
        TEST(a_mixed_stack_in_a_mixed_stack_is_no_more_than_a_mark),
        TEST(native_frames_show_below_the_last_python_frame_only),
        TEST(frames_of_the_interpreter_never_show),
        TEST(frames_of_the_interpreter_show_where_there_is_nothing_else),
        TEST(frames_of_our_adapter_are_hidden_with_what_they_called),
        TEST(frames_that_lead_to_our_extension_module_are_hidden),
        TEST(our_sitecustomize_is_known_by_the_adapter_beside_it),
        TEST(a_stack_of_nothing_but_hidden_frames_is_shown),
        TEST(where_is_the_line_of_the_innermost_user_frame),
        TEST(a_long_line_table_is_read),
        TEST(a_file_is_relative_to_where_the_process_was),
        TEST(without_user_code_python_says_more_than_an_extension),
        TEST(a_comprehension_belongs_to_its_function),
        TEST(a_console_script_is_known_by_what_is_installed_beside_it),
        TEST(code_made_of_text_is_the_place_only_without_a_file),
        TEST(code_that_a_library_wrote_is_the_librarys),
        TEST(fingerprints_survive_another_python_and_other_libraries),
        TEST(fingerprints_tell_users_extensions),
        TEST(third_party_stacks_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
