/* SPDX-License-Identifier: Apache-2.0 */
/* From traces to rows of the run database: open handles, their parents, and rows for many. */
#include "load_scene.h"

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
    scene->made = builder_of_many("/proc/self/exe", 30000, 1000, 4);
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

    built_child(scene, statements, 3);                                  /* 1: of a parent with a higher number */
    built_child(scene, blobs, 1);                                       /* 2: of 1 */
    built_handle(scene->made, connections)->reference = REFERENCE_NONE; /* 3 */
    built_child(scene, statements, 3);                                  /* 4 */
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

    built_handle(scene->made, connections); /* in the slot that the parent had */
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
    built_child(scene, site, 4); /* its own parent */
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

    assert_selected(scene,
                    "SELECT in_transaction, wrote, where_function, (transaction_began_at - started_at) / 1000000000 "
                    "FROM handle JOIN stack ON stack.id = transaction_stack, process",
                    "1 1 leaf_of_test 3");
}

static void handles_of_a_full_site_table_are_not_lost(void **state)
{
    struct scene *scene = *state;
    struct trace_handle *handle = built_handle(scene->made, connection_site(scene->made));

    handle->site = 0;
    handle = built_handle(scene->made, 1);
    handle->site = 12345;
    loaded(scene);

    assert_selected(
        scene,
        "SELECT site.kind, site.open, count(*), where_function FROM handle JOIN site ON site.id = handle.site "
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
