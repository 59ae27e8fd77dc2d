/* SPDX-License-Identifier: Apache-2.0 */
/* What people and programs get to read of a Python program: its stacks, its pools, and what was not seen. */
#include "render_case.h"

#define TEST(name) static void name(void **state)
#define TOLD     \
    (void)state; \
    struct run_case run = run_told()

enum visibility { SHOWN, HIDDEN };

static void frame(struct run_case *run, const char *of, int position, const char *function, const char *file,
                  const char *owner, enum visibility visibility)
{
    bool is_python = file != NULL;

    sql(run, "INSERT INTO frame (type) VALUES ('%s')", is_python ? "python" : "native");
    long long id = (long long)sqlite3_last_insert_rowid(run->db);
    sql(run,
        "INSERT INTO symbol (frame, level, function, file, line, module, language, owner) "
        "VALUES (%lld, 0, '%s', nullif('%s', ''), %d, nullif('%s', ''), '%s', '%s')",
        id, function, is_python ? file : "", is_python ? 42 : 0, is_python ? "" : "/usr/bin/python3.11",
        is_python ? "python" : "c", owner);
    sql(run, "INSERT INTO stack_frame (stack, position, frame, hidden) VALUES (%lld, %d, %lld, %d)",
        (long long)stack(run, of), position, id, visibility);
}

/* list_orders < 5 frames of starlette < serve < the interpreter: a session that nobody closed, for GET /orders. */
static void session_told(struct run_case *run)
{
    static const char starlette[] = "/srv/venv/lib/python3.11/site-packages/starlette/routing.py";

    process(run, 1, "ended='exit', directory='/srv/shop', python='3.11.2', python_frames=1, python_adapted=1");
    int64_t session = handle_of(run, 1, "sqlalchemy.session", "list_orders", "in_transaction=1");
    owned_by(run, session, owner(run, "request", "GET /orders", "ended_at=1030000000000"));
    sql(run, "UPDATE stack SET where_file = '/srv/shop/app/orders.py', where_language = 'python'");
    frame(run, "list_orders", 0, "list_orders", "/srv/shop/app/orders.py", "user", SHOWN);
    for (int i = 1; i <= 5; i++)
        frame(run, "list_orders", i, "Route.handle", starlette, "third-party", SHOWN);
    frame(run, "list_orders", 6, "_PyEval_Vector", NULL, "system", HIDDEN);
    frame(run, "list_orders", 7, "serve", "/srv/shop/main.py", "user", SHOWN);
    frame(run, "list_orders", 8, "Py_BytesMain", NULL, "system", HIDDEN);
    sql(run, "INSERT INTO kind_count VALUES (1, 'sqlalchemy.session', 419, 418, 1, 5)");
    sql(run, "INSERT INTO kind_count VALUES (1, 'sqlalchemy.checkout', 419, 418, 1, 5)");
    sql(run, "INSERT INTO kind_count VALUES (1, 'libpq.connection', 96, 96, 0, 5)");
    sql(run, "UPDATE process SET opened = 934, closed = 932, open = 2");
}

/* Two sessions that GET /orders left behind, and one at work, when the pool ran empty. */
static void exhaustion_told(struct run_case *run)
{
    int64_t trouble = incident(run, "pool-exhausted", "waits",
                               "count=214, last_at=1460000000000, owner_label='GET /slow', "
                               "message='QueuePool limit reached (Background on this error at: x)'");

    for (int i = 0; i < 2; i++)
        holder(run, trouble, "sqlalchemy.checkout", "list_orders",
               "owner_label='GET /orders', owner_ended_at=1030000000000, in_transaction=1, last_sql='SELECT ?', "
               "last_used_at=1025000000000");
    holder(run, trouble, "sqlalchemy.checkout", "export", "owner_label='GET /export', last_sql='COPY x'");
}

/* --- JSON ------------------------------------------------------------------------------------------------------------- */

TEST(json_leaves_out_what_is_hidden)
{
    TOLD;
    session_told(&run);
    char *json = rendered(&run, &json_renderer);

    assert_string_equal(from_json(&run, json, "$.findings[0].rule"), "owner-gone");
    assert_string_equal(from_json(&run, json, "$.findings[0].stack[0].function"), "list_orders");
    assert_string_equal(from_json(&run, json, "$.findings[0].stack[0].language"), "python");
    assert_string_equal(from_json(&run, json, "$.findings[0].stack[6].function"), "serve");
    assert_string_equal(from_json(&run, json, "$.findings[0].stack[7]"), "");
    assert_string_equal(from_json(&run, json, "$.findings[0].requests[0]"), "GET /orders");
    assert_string_equal(from_json(&run, json, "$.findings[0].where.language"), "python");
    free(json);
    run_forgotten(&run);
}

TEST(json_tells_of_python_and_its_adapters)
{
    TOLD;
    session_told(&run);
    sql(&run, "INSERT INTO library VALUES (1, 'libpq', '/usr/lib/libpq.so.5', 1)");
    sql(&run, "INSERT INTO adapter VALUES (1, 'sqlalchemy', '2.0.45', 'its pool was replaced')");
    sql(&run, "UPDATE process SET python_problem = 'native view only: started with -I'");
    char *json = rendered(&run, &json_renderer);

    assert_string_equal(from_json(&run, json, "$.processes[0].python"), "3.11.2");
    assert_string_equal(from_json(&run, json, "$.processes[0].watched"), "[\"libpq\",\"sqlalchemy\"]");
    assert_string_equal(from_json(&run, json, "$.processes[0].adapters[0].version"), "2.0.45");
    assert_string_equal(from_json(&run, json, "$.processes[0].unwatched[0]"), "native view only: started with -I");
    assert_string_equal(from_json(&run, json, "$.processes[0].unwatched[1]"), "sqlalchemy: its pool was replaced");
    free(json);
    run_forgotten(&run);
}

TEST(json_has_incidents_with_who_held_what)
{
    TOLD;
    session_told(&run);
    exhaustion_told(&run);
    char *json = rendered(&run, &json_renderer);

    assert_string_equal(from_json(&run, json, "$.incidents[0].rule"), "pool-exhausted");
    assert_string_equal(from_json(&run, json, "$.incidents[0].waited_s"), "30.0");
    assert_string_equal(from_json(&run, json, "$.incidents[0].count"), "214");
    assert_string_equal(from_json(&run, json, "$.incidents[0].owner"), "GET /slow");
    assert_string_equal(from_json(&run, json, "$.incidents[0].where.function"), "waits");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[0].state"), "owner-gone");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[0].where.function"), "list_orders");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[0].owner"), "GET /orders");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[0].owner_ended"), "1970-01-01T00:17:10.000Z");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[0].in_transaction"), "1");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[0].age_s"), "30.0");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[0].last_sql"), "SELECT ?");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[2].state"), "busy");
    assert_string_equal(from_json(&run, json, "$.incidents[0].holders[3]"), "");
    free(json);
    run_forgotten(&run);
}

/* --- the summary -------------------------------------------------------------------------------------------------------- */

TEST(the_summary_shows_the_way_through_the_users_code)
{
    TOLD;
    session_told(&run);
    char *text = rendered(&run, &text_renderer);

    assert_has(text, "Session never closed  app/orders.py:42 list_orders\n");
    assert_has(text, "stack: list_orders app/orders.py:42 < serve main.py:42 (and 5 library frames)\n");
    assert_has(text, "in GET /orders\n");
    free(text);
    run_forgotten(&run);
}

TEST(the_summary_counts_sessions_and_connections)
{
    TOLD;
    session_told(&run);
    char *text = rendered(&run, &text_renderer);

    assert_has(text,
               "seen   419 SQLAlchemy sessions and 96 PostgreSQL connections opened in 1 process; nothing unobserved");
    free(text);
    run_forgotten(&run);
}

TEST(what_pools_keep_is_not_open)
{
    TOLD;
    process(&run, 1, "ended='exit', python='3.11.2', python_frames=1, python_adapted=1");
    int64_t engine = handle_of(&run, 1, "sqlalchemy.engine", "make", "reference='found'");
    child_of(&run, engine, "libpq.connection", "connect", "reference='found', pooled=1");
    handle_of(&run, 1, "sqlalchemy.session", "idle", "reference='found'");
    sql(&run, "INSERT INTO kind_count VALUES (1, 'sqlalchemy.engine', 1, 0, 1, 1), (1, 'libpq.connection', 1, 0, 1, 1),"
              " (1, 'sqlalchemy.session', 7, 6, 1, 1)");
    sql(&run, "UPDATE process SET opened = 9");
    char *text = rendered(&run, &text_renderer);

    assert_has(text, "unclosed: OK - 7 SQLAlchemy sessions, 1 PostgreSQL connection and 1 SQLAlchemy engine opened, "
                     "all closed (1 kept by pools)\n");
    free(text);
    run_forgotten(&run);
}

TEST(what_was_not_seen_of_python_is_said_once_for_all_workers)
{
    TOLD;
    session_told(&run);
    process(&run, 2, "python_problem='native view only: started with -I'");
    process(&run, 3, "python_problem='native view only: started with -I'");
    sql(&run, "INSERT INTO adapter VALUES (1, 'sqlalchemy', '2.0.45', 'its pool was replaced')");
    char *text = rendered(&run, &text_renderer);

    assert_has(text, "unseen /srv/app/server (pid 102 and 1 more): native view only: started with -I\n");
    assert_has(text, "unseen /srv/app/server (pid 101): sqlalchemy: its pool was replaced\n");
    assert_has(text, "; not all of it was seen\n");
    free(text);
    run_forgotten(&run);
}

TEST(the_pool_that_ran_empty_comes_first)
{
    TOLD;
    session_told(&run);
    exhaustion_told(&run);
    char *text = rendered(&run, &text_renderer);

    assert_int_equal(
        strncmp(text, "unclosed: POOL EXHAUSTED at 00:17:30Z in server (pid 101), waited 30 s; 214 times until ", 87),
        0);
    assert_has(text, "       QueuePool limit reached\n");
    assert_has(text, "who held the 3 connections at 00:17:30Z\n");
    assert_has(text, "   2   never closed         app/orders.py:42 list_orders  GET /orders, over for 20 s, idle in "
                     "transaction for 25 s\n       last SQL: SELECT ?\n");
    assert_has(text, "   1   at work");
    assert_true(strstr(text, "POOL EXHAUSTED") < strstr(text, "unclosed: FAILED"));
    free(text);
    run_forgotten(&run);
}

TEST(long_sql_is_cut_between_characters)
{
    TOLD;
    char sql_text[400] = "", *text;

    session_told(&run);
    exhaustion_told(&run);
    for (int i = 0; i < 99; i++)
        strcat(sql_text, "ä");
    sql(&run, "UPDATE holder SET last_sql = 'x%s'", sql_text);
    text = rendered(&run, &text_renderer);

    assert_has(text, "ää…\n");
    assert_has_not(text, "\\x");
    free(text);
    run_forgotten(&run);
}

/* --- the page ----------------------------------------------------------------------------------------------------------- */

TEST(the_page_folds_library_frames_and_hides_the_interpreter)
{
    TOLD;
    session_told(&run);
    char *page = rendered(&run, &html_renderer);

    assert_has(page, "<summary>5 library frames (starlette)</summary>");
    assert_has(page, "<summary>2 interpreter frames are not shown: the whole stack</summary>");
    assert_has(page, "app/orders.py:42");
    assert_has_not(page, "<span class=\"path\">/srv/shop/app/orders.py");
    assert_true(strstr(page, "2 interpreter frames") < strstr(page, "Py_BytesMain"));
    free(page);
    run_forgotten(&run);
}

TEST(a_few_library_frames_are_not_folded)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "lose", "reference='none'");
    for (int i = 0; i < 3; i++)
        frame(&run, "lose", i, "inside", "/venv/lib/python3.11/site-packages/x/y.py", "third-party", SHOWN);
    frame(&run, "lose", 3, "lose", "/srv/app/a.py", "user", SHOWN);
    char *page = rendered(&run, &html_renderer);

    assert_has_not(page, "library frames");
    assert_has_not(page, "not shown");
    free(page);
    run_forgotten(&run);
}

TEST(the_page_begins_with_who_held_the_connections)
{
    TOLD;
    session_told(&run);
    exhaustion_told(&run);
    char *page = rendered(&run, &html_renderer);

    assert_has(page, "<h2>Pool exhausted at 00:17:30Z: who held the 3 connections</h2>");
    assert_has(page, "for <strong>GET /slow</strong>; 214 times until 00:24:20Z");
    assert_has(page, "never closed");
    assert_has(page, "GET /orders, over for 20 s");
    assert_has(page, "SELECT ?");
    assert_has(page, "; the connection pool ran empty at 00:17:30Z");
    assert_true(strstr(page, "Pool exhausted at") < strstr(page, "<h2>Findings</h2>"));
    free(page);
    run_forgotten(&run);
}

TEST(later_incidents_are_folded)
{
    TOLD;
    session_told(&run);
    exhaustion_told(&run);
    incident(&run, "pool-exhausted", "waits_too", "at=1070000000000");
    char *page = rendered(&run, &html_renderer);

    assert_has(page, "<details class=\"incident\"><summary>Pool exhausted at 00:17:50Z; nobody in this process held a "
                     "connection</summary>");
    free(page);
    run_forgotten(&run);
}

TEST(the_page_tells_of_python_where_there_is_some)
{
    TOLD;
    session_told(&run);
    sql(&run, "INSERT INTO adapter VALUES (1, 'sqlalchemy', '2.0.45', NULL)");
    process(&run, 2, "python='3.12.1', python_problem='native view only: started with -I'");
    char *page = rendered(&run, &html_renderer);

    assert_has(page, ">Python</th>");
    assert_has(page, ">3.11.2; sqlalchemy 2.0.45<");
    assert_has(page, ">3.12.1; native view only: started with -I<");
    assert_has(page, "<h2>Not seen</h2>");
    free(page);
    run_forgotten(&run);
}

TEST(the_page_says_nothing_of_python_where_there_is_none)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    char *page = rendered(&run, &html_renderer);

    assert_has_not(page, ">Python</th>");
    free(page);
    run_forgotten(&run);
}

TEST(hostile_labels_and_sql_are_inert)
{
    TOLD;
    session_told(&run);
    exhaustion_told(&run);
    sql(&run, "UPDATE holder SET last_sql = '</td><script>alert(1)</script>', owner_label = '<img src=x>'");
    sql(&run, "UPDATE incident SET message = '<script>', target = '\"><script>', owner_label = '<b>'");
    sql(&run, "UPDATE symbol SET file = '/v/site-packages/<script>/x.py' WHERE owner = 'third-party'");
    sql(&run, "INSERT INTO adapter VALUES (1, '<i>', '<script>', '<script>')");
    char *page = rendered(&run, &html_renderer);

    assert_has_not(page, "<script");
    assert_has_not(page, "<img");
    assert_has_not(page, "<i>");
    free(page);
    run_forgotten(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_leaves_out_what_is_hidden),
        cmocka_unit_test(json_tells_of_python_and_its_adapters),
        cmocka_unit_test(json_has_incidents_with_who_held_what),
        cmocka_unit_test(the_summary_shows_the_way_through_the_users_code),
        cmocka_unit_test(the_summary_counts_sessions_and_connections),
        cmocka_unit_test(what_pools_keep_is_not_open),
        cmocka_unit_test(what_was_not_seen_of_python_is_said_once_for_all_workers),
        cmocka_unit_test(the_pool_that_ran_empty_comes_first),
        cmocka_unit_test(long_sql_is_cut_between_characters),
        cmocka_unit_test(the_page_folds_library_frames_and_hides_the_interpreter),
        cmocka_unit_test(a_few_library_frames_are_not_folded),
        cmocka_unit_test(the_page_begins_with_who_held_the_connections),
        cmocka_unit_test(later_incidents_are_folded),
        cmocka_unit_test(the_page_tells_of_python_where_there_is_some),
        cmocka_unit_test(the_page_says_nothing_of_python_where_there_is_none),
        cmocka_unit_test(hostile_labels_and_sql_are_inert),
    };
    return cmocka_run_group_tests_name("render python", tests, NULL, NULL);
}
