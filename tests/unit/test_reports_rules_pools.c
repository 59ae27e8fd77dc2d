/* SPDX-License-Identifier: Apache-2.0 */
/* What is found of pools and locks in a run, and what is not: who waited for whom, how long, and what was made too often. */
#include "python_case.h"

/* --- time ---------------------------------------------------------------------------------------------------------------------- */

TEST(a_connection_held_long_is_a_warning)
{
    TOLD;
    ended(&run, CHECKOUT, "execute", "explicit", 40, "GET /export");
    int64_t where = site(&run, 1, CHECKOUT, "execute");
    sql(&run, "UPDATE site SET held_max_ns = 63000000000");
    sql(&run, "INSERT INTO hold_time VALUES (%lld, 50, 32000000000, 46000000000, 2), (%lld, 20, 1000, 2000, 38)",
        (long long)where, (long long)where);
    judge(&run);
    assert_found(&run, "held-long note 2");
    assert_evidence(&run, "given back after 1m03s; it was at work meanwhile");
    char setting[120];
    snprintf(setting, sizeof setting, "kind='" SESSION "', code=41000, begin_stack=%lld",
             (long long)stack(&run, "execute"));
    fact(&run, 1, "idle-in-transaction", "commit_it", setting);
    judge(&run);
    assert_found(&run, "held-long warning 2; idle-in-transaction warning 1");
    assert_evidence(&run, "given back after 1m03s, of which nothing was done with it for 41 s");
    run_forgotten(&run);
}

TEST(the_time_that_is_allowed_can_be_set)
{
    TOLD;
    sql(&run, "UPDATE setting SET value = 90.5");
    ended(&run, CHECKOUT, "execute", "explicit", 40, "GET /export");
    sql(&run, "UPDATE site SET held_max_ns = 63000000000");
    JUDGED("");
}

TEST(a_connection_that_is_held_is_told_in_place_of_its_session)
{
    TOLD;
    still_runs(&run);
    session_at_work(&run, "last_used_at=1053000000000");
    judge(&run);
    assert_found(&run, "idle-in-transaction warning 1; held-long note 1");
    sql(&run, "UPDATE handle SET last_used_at = 1053000000000");
    judge(&run);
    assert_found(&run, "held-long warning 1; idle-in-transaction warning 1");
    assert_evidence(&run, "held for 1m00s by now, not used for the last 7.0 s");
    run_forgotten(&run);
}

TEST(sessions_engines_and_connections_of_nobody_may_live_long)
{
    TOLD;
    ended(&run, SESSION, "work", "explicit", 1, "GET /export");
    ended(&run, ENGINE, "engine", "explicit", 1, "");
    ended(&run, POSTGRESQL, "listen", "explicit", 1, "task listener");
    sql(&run, "UPDATE site SET held_max_ns = 630000000000");
    sql(&run, "UPDATE closed_handle SET closed_at = opened_at + 630000000000");
    handle_of(&run, 1, POSTGRESQL, "singleton", "reference='found'");
    handle_of(&run, 1, ENGINE, "engine", "reference='found'");
    JUDGED("open-at-exit note 1; open-at-exit note 1");
}

TEST(a_connection_that_a_request_holds_long_is_a_warning)
{
    TOLD;
    ended(&run, POSTGRESQL, "connect", "explicit", 3, "GET /export");
    sql(&run, "UPDATE closed_handle SET closed_at = opened_at + 63000000000");
    judge(&run);
    assert_found(&run, "held-long warning 3");
    assert_string_equal(queried(&run, "SELECT label || ' ' || count FROM finding_label"), "GET /export 3");
    run_forgotten(&run);
}

/* --- pools ------------------------------------------------------------------------------------------------------------------ */

TEST(an_empty_pool_tells_who_held_it)
{
    TOLD;
    int64_t trouble = incident(&run, "pool-exhausted", "serve",
                               "count=214, last_at=1055000000000, "
                               "owner_label='GET /users'");
    for (int i = 0; i < 11; i++)
        holder(&run, trouble, CHECKOUT, "list_orders", "owner_label='GET /orders', owner_ended_at=1030000000000");
    holder(&run, trouble, CHECKOUT, "export", "owner_label='GET /export'");
    judge(&run);
    assert_found(&run, "pool-exhausted error 214");
    assert_evidence(
        &run, "waited 30 s in vain; 12 connections were out: 11 at app/server.c:42 list_orders (GET /orders, which "
              "had ended, held for up to 30 s), 1 at app/server.c:42 export (GET /export, at work, held for 30 s); "
              "214 times in 5.0 s");
    assert_string_equal(queried(&run, "SELECT where_function FROM finding"), "serve");
    assert_string_equal(queried(&run, "SELECT label FROM finding_label"), "GET /users");
    run_forgotten(&run);
}

TEST(a_pool_emptied_by_what_was_never_closed_is_exhausted)
{
    TOLD;
    int64_t trouble = incident(&run, "pool-exhausted", "serve", "count=1");
    holder(&run, trouble, CHECKOUT, "execute", "owner_label='GET /orders'");
    ended(&run, CHECKOUT, "execute", "with-parent", 3, "GET /orders");
    ended(&run, SESSION, "work", "gc", 3, "GET /orders");
    JUDGED("pool-exhausted error 1; closed-by-gc error 3");
}

TEST(a_pool_emptied_by_the_thread_that_asks_is_exhausted)
{
    TOLD;
    int64_t trouble = incident(&run, "pool-exhausted", "main", "thread=7");
    for (int i = 0; i < 15; i++)
        holder(&run, trouble, CHECKOUT, "execute", "thread=7");
    judge(&run);
    assert_found(&run, "pool-exhausted error 1");
    assert_evidence(&run, "the very thread that asked");
    run_forgotten(&run);
}

TEST(a_pool_whose_connections_are_elsewhere_is_exhausted)
{
    TOLD;
    incident(&run, "pool-exhausted", "main", "thread=7");
    judge(&run);
    assert_found(&run, "pool-exhausted warning 1");
    assert_evidence(&run, "nobody in this process held one");
    run_forgotten(&run);
}

TEST(threads_that_wait_for_threads_are_no_leak)
{
    TOLD;
    int64_t trouble = incident(&run, "pool-exhausted", "serve", "count=3, owner_label='GET /slow'");
    for (int i = 0; i < 5; i++)
        holder(&run, trouble, CHECKOUT, "execute", "owner_label='GET /slow'");
    ended(&run, CHECKOUT, "execute", "explicit", 100, "GET /slow");
    judge(&run);
    assert_found(&run, "pool-starved warning 3");
    assert_evidence(&run, "waited 30 s in vain, 3 times; all 5 were at work: 5 at app/server.c:42 execute "
                          "(GET /slow, held for up to 30 s)");
    run_forgotten(&run);
}

TEST(the_cause_of_an_incident_comes_before_other_errors)
{
    TOLD;
    int64_t request = owner(&run, "request", "GET /", "ended_at=1032000000000");
    owned_by(&run, session_at_work(&run, "last_used_at=1030000000000"), request);
    sql(&run, "UPDATE handle SET generation = 77 WHERE kind = '" CHECKOUT "'");
    handle(&run, 1, "lose", "reference='none', handles=50");
    int64_t trouble = incident(&run, "pool-exhausted", "serve", "count=1");
    holder(&run, trouble, CHECKOUT, "other", "generation=77, owner_ended_at=1032000000000");
    JUDGED("pool-exhausted error 1; owner-gone error 1; leaked error 50");
}

static void nested_checkout_noticed(struct run_case *run)
{
    char setting[160];
    snprintf(setting, sizeof setting, "kind='" CHECKOUT "', function='nested-checkout', site=%lld, opened_stack=%lld",
             (long long)site(run, 1, CHECKOUT, "first"), (long long)stack(run, "first"));
    fact(run, 1, "noticed", "second", setting);
}

TEST(a_second_connection_is_a_warning)
{
    TOLD;
    nested_checkout_noticed(&run);
    judge(&run);
    assert_found(&run, "nested-checkout warning 1");
    assert_evidence(&run, "the first one was taken at app/server.c:42 first");
    assert_string_equal(queried(&run, "SELECT where_function FROM finding"), "second");
    run_forgotten(&run);
}

TEST(a_first_connection_that_was_forgotten_is_not_nested)
{
    TOLD;
    nested_checkout_noticed(&run);
    ended(&run, CHECKOUT, "first", "with-parent", 3, "");
    JUDGED("");
}

TEST(a_first_connection_whose_taker_goes_on_is_nested)
{
    TOLD;
    nested_checkout_noticed(&run);
    ended(&run, CHECKOUT, "first", "with-parent", 3, "");
    passes_through(&run, "second", "/srv/app/server.c", "user");
    sql(&run, "UPDATE symbol SET function = 'first', line = 42");
    judge(&run);
    assert_found(&run, "");
    sql(&run, "UPDATE symbol SET line = 45");
    JUDGED("nested-checkout warning 1");
}

TEST(a_pool_that_locked_itself_is_an_error)
{
    TOLD;
    nested_checkout_noticed(&run);
    int64_t trouble = incident(&run, "pool-exhausted", "second", "owner_label='GET /'");
    holder(&run, trouble, CHECKOUT, "first", "owner_label='GET /x'");
    JUDGED("nested-checkout error 1; pool-starved warning 1");
}

TEST(what_another_rule_noticed_is_not_a_nested_checkout)
{
    TOLD;
    fact(&run, 1, "noticed", "second", "kind='" CHECKOUT "', function='something-else'");
    JUDGED("");
}

/* --- locks -------------------------------------------------------------------------------------------------------------------- */

static void writer_blocks(struct run_case *run, const char *settings)
{
    char where[400];
    int64_t trouble = incident(run, "blocking-transaction", "log_it", "target='app.db', waited_ns=0");
    snprintf(where, sizeof where, "in_transaction=1, transaction_stack=%lld, last_sql='INSERT INTO t', %s",
             (long long)stack(run, "begin_it"), settings);
    holder(run, trouble, SQLITE, "open_it", where);
    holder(run, trouble, SQLITE, "bystander", "in_transaction=0");
}

TEST(a_session_closed_before_its_commit_has_lost_its_writes)
{
    TOLD;
    fact(&run, 1, "noticed", "close_it", "kind='" SESSION "', function='closed-in-transaction'");
    judge(&run);
    assert_found(&run, "closed-in-transaction warning 1");
    assert_string_equal(queried(&run, "SELECT title || ' at ' || where_function FROM finding"),
                        "SQLAlchemy session closed with unsaved writes at close_it");
    run_forgotten(&run);
}

TEST(a_writer_at_work_is_a_warning)
{
    TOLD;
    writer_blocks(&run, "last_used_at=1049999900000");
    judge(&run);
    assert_found(&run, "blocking-transaction warning 1");
    assert_evidence(&run, "app/server.c:42 log_it was locked out; it was at work; last statement: INSERT INTO t");
    assert_string_equal(queried(&run, "SELECT where_function FROM finding"), "begin_it");
    run_forgotten(&run);
}

TEST(a_writer_that_lay_idle_is_an_error)
{
    TOLD;
    writer_blocks(&run, "last_used_at=1038000000000");
    judge(&run);
    assert_found(&run, "blocking-transaction error 1");
    assert_evidence(&run, "nothing had been done in the transaction for 12 s");
    run_forgotten(&run);
}

TEST(a_writer_whose_request_had_ended_is_an_error)
{
    TOLD;
    writer_blocks(&run, "owner_label='POST /a', owner_ended_at=1049999000000");
    judge(&run);
    assert_found(&run, "blocking-transaction error 1");
    assert_evidence(&run, "POST /a had ended before");
    run_forgotten(&run);
}

TEST(unsaved_writes_of_a_collected_connection_are_blamed_on_their_beginning)
{
    TOLD;
    char setting[120];
    ended(&run, SQLITE, "open_it", "gc", 1, "");
    sql(&run, "UPDATE closed_handle SET generation = 12");
    snprintf(setting, sizeof setting, "wrote=1, generation=12, begin_stack=%lld", (long long)stack(&run, "begin_it"));
    fact(&run, 1, "closed-in-transaction", "somewhere", setting);
    judge(&run);
    assert_string_equal(queried(&run, "SELECT where_function || ': ' || evidence FROM finding "
                                      "WHERE rule = 'closed-in-transaction'"),
                        "begin_it: left to the garbage collector with a transaction open that had changed rows; "
                        "it was begun at app/server.c:42 begin_it");
    assert_found(&run, "closed-in-transaction warning 1; closed-by-gc warning 1");
    run_forgotten(&run);
}

/* --- again and again ---------------------------------------------------------------------------------------------------------- */

static void times_told(struct run_case *run, int seconds)
{
    sql(run,
        "UPDATE site SET first_at = 1000000000000, last_at = 1000000000000 + %d * 1000000000, held_p50_ns = 5000000",
        seconds);
}

TEST(an_engine_for_each_request_is_churn)
{
    TOLD;
    ended(&run, ENGINE, "serve", "gc", 5, "GET /orders");
    times_told(&run, 3);
    judge(&run);
    assert_found(&run, "connection-churn warning 5");
    assert_evidence(&run, "an engine, that is a pool of its own, 5 times in 3.0 s");
    run_forgotten(&run);
}

TEST(engines_whose_connections_stay_are_an_error)
{
    TOLD;
    killed(&run);
    for (int i = 0; i < 20; i++)
        child_of(&run, handle_of(&run, 1, ENGINE, "serve", "reference='not-looked'"), POSTGRESQL, "connect",
                 "reference='not-looked', pooled=1, handles=2");
    ended(&run, ENGINE, "serve", "gc", 20, "GET /orders");
    times_told(&run, 3);
    judge(&run);
    assert_found(&run, "connection-churn error 40; in-use-at-termination note 20");
    assert_evidence(&run, "20 of them are still there, with 40 connections that nobody uses");
    run_forgotten(&run);
}

TEST(engines_that_are_thrown_away_are_churn)
{
    TOLD;
    ended(&run, ENGINE, "ask", "gc", 12, "");
    times_told(&run, 3);
    JUDGED("connection-churn warning 12");
}

/* Twelve engines, made 1 s apart, each with a connection; the last use of each is `used` ms after it was made. */
static void engines_made(struct run_case *run, int used)
{
    for (int i = 0; i < 12; i++) {
        int64_t engine = handle_of(run, 1, ENGINE, "ask", "reference='found'");
        child_of(run, engine, SQLITE, "connect", "reference='found', pooled=1");
        sql(run, "UPDATE handle SET opened_at = %lld, last_used_at = %lld WHERE id = %lld",
            1040000000000 + i * 1000000000ll, 1040000000000 + i * 1000000000ll + used * 1000000ll, (long long)engine);
    }
    times_told(run, 12);
}

TEST(engines_that_are_not_used_again_are_churn_though_they_are_there)
{
    TOLD;
    engines_made(&run, 100);
    JUDGED("connection-churn warning 12; open-at-exit note 12");
}

TEST(an_engine_for_each_of_several_databases_is_no_churn)
{
    TOLD;
    engines_made(&run, 15000);
    JUDGED("open-at-exit note 12");
}

TEST(a_few_engines_are_no_churn_nor_are_those_of_tests)
{
    TOLD;
    ended(&run, ENGINE, "tenants", "finalization", 12, "");
    ended(&run, ENGINE, "again", "gc", 4, "GET /");
    ended(&run, ENGINE, "fixture", "explicit", 200, "tests/test_a.py::test_b");
    passes_through(&run, "fixture", "/venv/site-packages/_pytest/fixtures.py", "third-party");
    times_told(&run, 3);
    JUDGED("");
}

TEST(a_connection_to_a_server_for_each_request_is_churn)
{
    TOLD;
    ended(&run, POSTGRESQL, "serve", "explicit", 20, "GET /orders");
    times_told(&run, 10);
    judge(&run);
    assert_found(&run, "connection-churn warning 20");
    assert_evidence(&run, "a connection to the server 20 times in 10 s, each for 5 ms or so");
    run_forgotten(&run);
}

TEST(a_script_that_connects_again_and_again_is_churn)
{
    TOLD;
    ended(&run, POSTGRESQL, "ask", "explicit", 20, "");
    sql(&run, "UPDATE stack SET where_language = 'python'");
    times_told(&run, 10);
    JUDGED("connection-churn warning 20");
}

TEST(pools_pollers_long_ones_and_sqlite_are_no_churn)
{
    TOLD;
    ended(&run, SQLITE, "serve", "explicit", 500, "");
    ended(&run, POSTGRESQL, "recycle", "explicit", 50, "");
    passes_through(&run, "recycle", "/venv/site-packages/sqlalchemy/pool/base.py", "third-party");
    ended(&run, POSTGRESQL, "tool", "explicit", 200, "");
    ended(&run, POSTGRESQL, "few", "explicit", 19, "");
    ended(&run, POSTGRESQL, "served", "explicit", 9, "GET /");
    ended(&run, POSTGRESQL, "dropped", "gc", 30, "");
    times_told(&run, 10);
    ended(&run, POSTGRESQL, "poll", "explicit", 30, "");
    sql(&run, "UPDATE site SET first_at = 0, last_at = 1800000000000 WHERE opened = 30 AND ended_explicit = 30");
    ended(&run, POSTGRESQL, "batch", "explicit", 40, "");
    sql(&run, "UPDATE site SET first_at = 0, last_at = 1000000000, held_p50_ns = 2000000000 WHERE opened = 40");
    sql(&run, "UPDATE stack SET where_language = 'python' WHERE where_function <> 'tool'");
    JUDGED("closed-by-gc warning 30");
}

/* Twelve connections, opened 2 s apart; the last use of each is `used` ms after its opening. */
static void one_after_the_other(struct run_case *run, int used, const char *settings)
{
    for (int i = 0; i < 12; i++) {
        int64_t opened = 1010000000000 + i * 2000000000ll;
        int64_t id = handle_of(run, 1, POSTGRESQL, "remember", "reference='found', last_thread=7");
        sql(run, "UPDATE handle SET opened_at = %lld, last_used_at = %lld WHERE id = %lld", (long long)opened,
            (long long)(opened + used * 1000000ll), (long long)id);
        sql(run, "UPDATE handle SET %s WHERE id = %lld", settings, (long long)id);
    }
    sql(run, "UPDATE site SET first_at = 1010000000000, last_at = 1032000000000");
}

TEST(connections_put_by_one_after_the_other_are_growing)
{
    TOLD;
    one_after_the_other(&run, 100, "thread=7");
    judge(&run);
    assert_found(&run, "growing error 12");
    assert_evidence(&run, "one after the other in 22 s, none used again once there was a newer one; "
                          "opened 12 times here, closed 0");
    run_forgotten(&run);
}

TEST(growing_is_said_of_killed_processes_too)
{
    TOLD;
    killed(&run);
    one_after_the_other(&run, 100, "reference='not-looked'");
    JUDGED("growing error 12");
}

TEST(a_pool_uses_its_connections_again)
{
    TOLD;
    one_after_the_other(&run, 100, "thread=7");
    sql(&run, "UPDATE handle SET last_used_at = 1059000000000 WHERE id = 3");
    JUDGED("open-at-exit note 12");
}

TEST(a_connection_for_each_thread_is_no_growth)
{
    TOLD;
    one_after_the_other(&run, 100, "thread=id, last_thread=id");
    JUDGED("open-at-exit note 12");
}

TEST(a_pool_opened_at_once_is_no_growth)
{
    TOLD;
    one_after_the_other(&run, 100, "thread=7");
    sql(&run, "UPDATE site SET last_at = first_at + 500000000");
    JUDGED("open-at-exit note 12");
}

TEST(what_closes_now_and_then_is_no_growth_nor_are_pools_and_tests)
{
    TOLD;
    one_after_the_other(&run, 100, "thread=7");
    passes_through(&run, "remember", "/srv/app/pool.c", "user");
    judge(&run);
    assert_found(&run, "open-at-exit note 12");
    sql(&run, "DELETE FROM stack_frame; UPDATE site SET closed = 1, opened = 13");
    JUDGED("open-at-exit note 12");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_held_long_is_a_warning),
        cmocka_unit_test(the_time_that_is_allowed_can_be_set),
        cmocka_unit_test(a_connection_that_is_held_is_told_in_place_of_its_session),
        cmocka_unit_test(sessions_engines_and_connections_of_nobody_may_live_long),
        cmocka_unit_test(a_connection_that_a_request_holds_long_is_a_warning),
        cmocka_unit_test(an_empty_pool_tells_who_held_it),
        cmocka_unit_test(a_pool_emptied_by_what_was_never_closed_is_exhausted),
        cmocka_unit_test(a_pool_emptied_by_the_thread_that_asks_is_exhausted),
        cmocka_unit_test(a_pool_whose_connections_are_elsewhere_is_exhausted),
        cmocka_unit_test(threads_that_wait_for_threads_are_no_leak),
        cmocka_unit_test(the_cause_of_an_incident_comes_before_other_errors),
        cmocka_unit_test(a_second_connection_is_a_warning),
        cmocka_unit_test(a_first_connection_that_was_forgotten_is_not_nested),
        cmocka_unit_test(a_first_connection_whose_taker_goes_on_is_nested),
        cmocka_unit_test(a_pool_that_locked_itself_is_an_error),
        cmocka_unit_test(what_another_rule_noticed_is_not_a_nested_checkout),
        cmocka_unit_test(a_session_closed_before_its_commit_has_lost_its_writes),
        cmocka_unit_test(a_writer_at_work_is_a_warning),
        cmocka_unit_test(a_writer_that_lay_idle_is_an_error),
        cmocka_unit_test(a_writer_whose_request_had_ended_is_an_error),
        cmocka_unit_test(unsaved_writes_of_a_collected_connection_are_blamed_on_their_beginning),
        cmocka_unit_test(an_engine_for_each_request_is_churn),
        cmocka_unit_test(engines_whose_connections_stay_are_an_error),
        cmocka_unit_test(engines_that_are_thrown_away_are_churn),
        cmocka_unit_test(engines_that_are_not_used_again_are_churn_though_they_are_there),
        cmocka_unit_test(an_engine_for_each_of_several_databases_is_no_churn),
        cmocka_unit_test(a_few_engines_are_no_churn_nor_are_those_of_tests),
        cmocka_unit_test(a_connection_to_a_server_for_each_request_is_churn),
        cmocka_unit_test(a_script_that_connects_again_and_again_is_churn),
        cmocka_unit_test(pools_pollers_long_ones_and_sqlite_are_no_churn),
        cmocka_unit_test(connections_put_by_one_after_the_other_are_growing),
        cmocka_unit_test(growing_is_said_of_killed_processes_too),
        cmocka_unit_test(a_pool_uses_its_connections_again),
        cmocka_unit_test(a_connection_for_each_thread_is_no_growth),
        cmocka_unit_test(a_pool_opened_at_once_is_no_growth),
        cmocka_unit_test(what_closes_now_and_then_is_no_growth_nor_are_pools_and_tests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
