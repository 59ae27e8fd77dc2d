/* SPDX-License-Identifier: Apache-2.0 */
/* What is found of sessions and connections in a run of a Python program, and what is not: who closed them, whose they
 * were, how their transactions stood. */
#include "python_case.h"

/* --- closed by the garbage collector ------------------------------------------------------------------------------- */

TEST(sessions_left_to_the_collector_are_an_error)
{
    TOLD;
    ended(&run, SESSION, "work", "explicit", 26, "");
    ended(&run, SESSION, "work", "gc", 11, "GET /orders");
    sql(&run, "UPDATE stack SET where_language = 'python'");
    judge(&run);
    assert_found(&run, "closed-by-gc error 11");
    assert_string_equal(queried(&run, "SELECT title FROM finding"), "Session left to the garbage collector");
    assert_evidence(&run, "never closed; Python's garbage collector did it, up to 3.1 s after its last use; "
                          "next time it may be too late; opened 37 times here, closed 26");
    assert_string_equal(queried(&run, "SELECT kind || ' ' || label || ' ' || count FROM finding_label"),
                        "request GET /orders 11");
    run_forgotten(&run);
}

TEST(collected_handles_are_counted_also_when_the_ring_has_forgotten_them)
{
    TOLD;
    ended(&run, SESSION, "work", "gc", 9, "");
    ended(&run, SESSION, "work", "gc", 3, "GET /orders");
    sql(&run, "DELETE FROM closed_handle WHERE owner_label IS NULL");
    judge(&run);
    assert_found(&run, "closed-by-gc error 12");
    assert_string_equal(queried(&run, "SELECT group_concat(label || ' ' || count) FROM finding_label"),
                        "GET /orders 3");
    run_forgotten(&run);
}

TEST(once_and_outside_of_a_request_it_is_a_warning)
{
    TOLD;
    ended(&run, SESSION, "work", "gc", 1, "");
    JUDGED("closed-by-gc warning 1");
}

TEST(once_in_a_request_it_is_an_error)
{
    TOLD;
    ended(&run, SESSION, "work", "gc", 1, "GET /orders");
    JUDGED("closed-by-gc error 1");
}

TEST(a_scripts_own_connections_are_a_warning_and_a_requests_an_error)
{
    TOLD;
    ended(&run, SQLITE, "count", "gc", 20, "");
    ended(&run, POSTGRESQL, "serve", "gc", 20, "GET /");
    JUDGED("closed-by-gc error 20; closed-by-gc warning 20");
}

TEST(a_scripts_connections_that_piled_up_are_an_error)
{
    TOLD;
    ended(&run, SQLITE, "count", "gc", 20, "");
    sql(&run, "UPDATE site SET peak = 12");
    JUDGED("closed-by-gc error 20");
}

TEST(engines_statements_and_closed_sessions_need_no_collector)
{
    TOLD;
    ended(&run, ENGINE, "engine", "gc", 3, "");
    ended(&run, "sqlite3.statement", "prepare", "gc", 100, "");
    ended(&run, SESSION, "work", "explicit", 100, "GET /");
    ended(&run, SQLITE, "connect", "with-parent", 3, "");
    JUDGED("");
}

/* Sessions of one place and thread, opened 1 s apart; each was used once. */
static void sessions_kept(struct run_case *run, int count, int thread)
{
    for (int i = 0; i < count; i++) {
        int64_t id = handle_of(run, 1, SESSION, "work", "in_transaction=1, reference='found'");
        sql(run, "UPDATE handle SET opened_at = %lld, last_used_at = %lld, thread = %d WHERE id = %lld",
            1040000000000 + i * 1000000000ll, 1040100000000 + i * 1000000000ll, thread, (long long)id);
    }
}

TEST(what_the_collector_has_not_come_to_is_counted_with_what_it_has)
{
    TOLD;
    sessions_kept(&run, 6, 7);
    ended(&run, SESSION, "work", "gc", 4, "");
    judge(&run);
    assert_found(&run, "closed-by-gc error 10");
    assert_evidence(
        &run, "never closed; it was still open up to 19 s after its last use, when its thread had gone on to newer "
              "ones");
    run_forgotten(&run);
}

TEST(sessions_that_their_thread_passed_over_are_never_closed)
{
    TOLD;
    sessions_kept(&run, 15, 7);
    JUDGED("closed-by-gc error 15");
}

TEST(of_a_killed_process_the_last_session_may_be_in_use)
{
    TOLD;
    killed(&run);
    sessions_kept(&run, 3, 7);
    sql(&run, "UPDATE handle SET last_used_at = 1059900000000 WHERE id = 3");
    JUDGED("closed-by-gc error 2; in-use-at-termination note 1");
}

TEST(a_session_for_each_thread_is_not_passed_over)
{
    TOLD;
    for (int thread = 1; thread <= 5; thread++)
        sessions_kept(&run, 1, thread);
    sql(&run, "UPDATE handle SET last_used_at = 1059900000000");
    JUDGED("open-at-exit note 5");
}

TEST(a_tasks_session_waits_for_its_task)
{
    TOLD;
    killed(&run);
    sessions_kept(&run, 3, 7);
    int64_t task = owner(&run, "task", "work", "id=9");
    for (int i = 1; i <= 3; i++)
        owned_by(&run, i, task);
    sql(&run, "UPDATE handle SET last_used_at = 1056000000000");
    JUDGED("in-use-at-termination note 3");
}

TEST(the_interpreters_shutdown_is_a_note)
{
    TOLD;
    ended(&run, SQLITE, "connect", "finalization", 2, "");
    sql(&run, "UPDATE closed_handle SET last_used_at = 1000500000000");
    ended(&run, SESSION, "main", "finalization", 1, "");
    ended(&run, ENGINE, "engine", "finalization", 1, "");
    ended(&run, "sqlite3.statement", "prepare", "finalization", 10, "");
    JUDGED("closed-by-shutdown note 2; closed-by-shutdown note 1");
}

/* --- owners that are gone ---------------------------------------------------------------------------------------------- */

TEST(a_session_whose_request_has_ended_is_one_error)
{
    TOLD;
    killed(&run);
    owned_by(&run, session_at_work(&run, "last_used_at=1030000000000"),
             owner(&run, "request", "GET /orders", "ended_at=1032000000000, end_reason='exception ValueError'"));
    judge(&run);
    assert_found(&run, "owner-gone error 1");
    assert_string_equal(queried(&run, "SELECT title FROM finding"), "Session never closed");
    assert_evidence(&run, "GET /orders ended by an exception (ValueError); its connection was still checked out "
                          "(28 s before the process's last event)");
    assert_string_equal(queried(&run, "SELECT group_concat(kind) FROM (SELECT * FROM finding_child ORDER BY kind)"),
                        POSTGRESQL "," CHECKOUT);
    run_forgotten(&run);
}

TEST(of_a_process_that_runs_it_is_said_now)
{
    TOLD;
    still_runs(&run);
    owned_by(&run, session_at_work(&run, "last_used_at=1030000000000"),
             owner(&run, "request", "GET /orders", "ended_at=1032000000000, end_reason='returned'"));
    judge(&run);
    assert_found(&run, "owner-gone error 1");
    assert_evidence(&run, "GET /orders ended; its connection is still checked out (28 s ago)");
    run_forgotten(&run);
}

TEST(a_request_that_goes_on_has_its_session)
{
    TOLD;
    killed(&run);
    owned_by(&run, session_at_work(&run, "last_used_at=1059000000000"), owner(&run, "request", "GET /orders", "id=5"));
    sql(&run, "UPDATE handle SET opened_at = 1059000000000");
    JUDGED("in-use-at-termination note 1");
}

TEST(a_tasks_request_is_named_too)
{
    TOLD;
    int64_t request = owner(&run, "request", "POST /orders", "ended_at=1020000000000");
    int64_t task = owner(&run, "task", "send_mail", "ended_at=1030000000000");
    sql(&run, "UPDATE owner SET parent = %lld WHERE id = %lld", (long long)request, (long long)task);
    sql(&run, "UPDATE owner SET parent = %lld WHERE id = %lld", (long long)task, (long long)request);
    owned_by(&run, session_at_work(&run, "last_used_at=1029000000000, handles=2"), task);
    judge(&run);
    assert_found(&run, "owner-gone error 2");
    assert_evidence(&run, "task send_mail ended; its connection was still checked out (oldest 30 s before");
    assert_string_equal(queried(&run, "SELECT group_concat(kind || ' ' || label || ' ' || count) FROM "
                                      "(SELECT * FROM finding_label ORDER BY kind)"),
                        "request POST /orders 2,task send_mail 2");
    run_forgotten(&run);
}

TEST(a_task_that_outlives_its_request_has_its_session)
{
    TOLD;
    int64_t request = owner(&run, "request", "POST /orders", "ended_at=1020000000000");
    int64_t task = owner(&run, "task", "send_mail", "id=50");
    sql(&run, "UPDATE owner SET parent = %lld WHERE id = 50", (long long)request);
    killed(&run);
    owned_by(&run, session_at_work(&run, "last_used_at=1059500000000"), task);
    sql(&run, "UPDATE handle SET opened_at = 1055000000000");
    JUDGED("in-use-at-termination note 1");
}

TEST(who_was_collected_meanwhile_is_counted_with_those_that_are_open)
{
    TOLD;
    killed(&run);
    ended(&run, SESSION, "work", "gc", 7, "GET /orders");
    int64_t request = owner(&run, "request", "GET /orders", "ended_at=1032000000000");
    owned_by(&run, session_at_work(&run, "last_used_at=1030000000000, handles=4"), request);
    judge(&run);
    assert_found(&run, "owner-gone error 11");
    assert_string_equal(queried(&run, "SELECT title FROM finding"), "Session never closed");
    assert_string_equal(queried(&run, "SELECT label || ' ' || count FROM finding_label"), "GET /orders 11");
    assert_evidence(&run, "garbage collector");
    assert_evidence(&run, "still checked out");
    run_forgotten(&run);
}

TEST(what_was_held_long_and_given_back_is_not_counted_with_those_that_were_not)
{
    TOLD;
    killed(&run);
    ended(&run, CHECKOUT, "execute", "explicit", 40, "GET /export");
    sql(&run, "UPDATE site SET held_max_ns = 63000000000");
    int64_t request = owner(&run, "request", "GET /orders", "ended_at=1032000000000");
    owned_by(&run, handle_of(&run, 1, CHECKOUT, "execute", "last_used_at=1030000000000, reference='found'"), request);
    JUDGED("owner-gone error 1; held-long note 1");
}

TEST(what_was_collected_after_its_owners_end_is_the_owners)
{
    TOLD;
    ended(&run, SESSION, "work", "explicit", 26, "GET /orders");
    ended(&run, SESSION, "work", "owner-gone", 9, "GET /orders");
    ended(&run, SESSION, "work", "owner-gone", 2, "");
    sql(&run, "DELETE FROM closed_handle WHERE owner_label IS NULL");
    judge(&run);
    assert_found(&run, "owner-gone error 11");
    assert_evidence(&run, "GET /orders had ended; the garbage collector closed it, up to 3.1 s after its last use");
    assert_evidence(&run, "opened 37 times here, closed 26");
    assert_string_equal(queried(&run, "SELECT label || ' ' || count FROM finding_label"), "GET /orders 9");
    run_forgotten(&run);
}

TEST(what_only_the_shutdown_gave_back_had_lost_its_owner)
{
    TOLD;
    ended(&run, SESSION, "work", "finalization", 4, "GET /orders");
    ended(&run, SESSION, "main", "finalization", 1, "");
    sql(&run, "UPDATE closed_handle SET owner_left = owner_label IS NOT NULL");
    judge(&run);
    assert_found(&run, "owner-gone error 4; closed-by-shutdown note 1");
    assert_evidence(&run,
                    "GET /orders had ended; only the interpreter's shutdown closed it, up to 3.1 s after its last use");
    run_forgotten(&run);
}

TEST(connections_kept_to_the_end_for_threads_that_are_gone_are_theirs)
{
    TOLD;
    ended(&run, SQLITE, "local", "finalization", 9, "");
    ended(&run, SQLITE, "filled", "finalization", 9, "");
    ended(&run, POSTGRESQL, "pooled", "finalization", 9, "");
    passes_through(&run, "pooled", "/venv/site-packages/psycopg_pool/pool.py", "third-party");
    sql(&run, "UPDATE closed_handle SET owner_left = 1, thread = rowid");
    sql(&run, "UPDATE closed_handle SET thread = 7 WHERE site = %lld", (long long)site(&run, 1, SQLITE, "filled"));
    JUDGED("owner-gone error 9; closed-by-shutdown note 9; closed-by-shutdown note 9");
}

TEST(what_is_used_after_its_owners_end_is_somebody_elses)
{
    TOLD;
    int64_t request = owner(&run, "request", "GET /", "ended_at=1032000000000");
    owned_by(&run, handle_of(&run, 1, POSTGRESQL, "connect", "reference='found', last_used_at=1040000000000"), request);
    owned_by(&run, handle_of(&run, 1, POSTGRESQL, "connect", "reference='found', last_used_at=1041000000000"), request);
    JUDGED("open-at-exit note 2");
}

TEST(a_connection_made_on_first_use_may_be_a_singleton)
{
    TOLD;
    int64_t request = owner(&run, "request", "GET /", "ended_at=1032000000000");
    owned_by(&run, handle_of(&run, 1, POSTGRESQL, "connect", "reference='found', last_used_at=1031000000000"), request);
    JUDGED("open-at-exit note 1");
}

TEST(connections_of_ended_requests_are_no_singletons)
{
    TOLD;
    int64_t request = owner(&run, "request", "GET /", "ended_at=1032000000000");
    for (int i = 0; i < 3; i++)
        owned_by(&run, handle_of(&run, 1, POSTGRESQL, "connect", "reference='found', last_used_at=1031000000000"),
                 request);
    JUDGED("owner-gone error 3");
}

TEST(what_a_pool_opened_for_a_request_stays_in_the_pool)
{
    TOLD;
    int64_t request = owner(&run, "request", "GET /", "ended_at=1032000000000");
    passes_through(&run, "connect", "/usr/lib/python3/dist-packages/psycopg2/pool.py", "third-party");
    for (int i = 0; i < 3; i++)
        owned_by(&run, handle_of(&run, 1, POSTGRESQL, "connect", "reference='found', last_used_at=1031000000000"),
                 request);
    JUDGED("open-at-exit note 3");
}

TEST(an_idle_connection_of_the_pool_and_its_engine_are_one_note)
{
    TOLD;
    int64_t request = owner(&run, "request", "GET /", "ended_at=1032000000000");
    int64_t engine = handle_of(&run, 1, ENGINE, "engine", "reference='found', last_used_at=1031000000000");
    int64_t connection = child_of(&run, engine, POSTGRESQL, "connect", "reference='found', pooled=1, handles=5");
    owned_by(&run, engine, request);
    owned_by(&run, connection, request);
    JUDGED("open-at-exit note 1");
}

TEST(an_engine_of_a_killed_process_leaves_nothing_undecided)
{
    TOLD;
    killed(&run);
    handle_of(&run, 1, ENGINE, "engine", "reference='not-looked'");
    judge(&run);
    assert_found(&run, "in-use-at-termination note 1");
    assert_string_equal(queried(&run, "SELECT undecided FROM finding"), "0");
    run_forgotten(&run);
}

TEST(each_ended_thread_left_its_own_connection)
{
    TOLD;
    for (int i = 1; i <= 3; i++) {
        char settings[120];
        snprintf(settings, sizeof settings, "ended_at=1040000000000, thread=%d", 100 + i);
        int64_t thread = owner(&run, "thread", "Thread-1", settings);
        snprintf(settings, sizeof settings, "reference='found', last_used_at=1030000000000, thread=%d, last_thread=%d",
                 100 + i, 100 + i);
        owned_by(&run, handle_of(&run, 1, POSTGRESQL, "connect", settings), thread);
    }
    judge(&run);
    assert_found(&run, "owner-gone error 3");
    assert_evidence(&run, "thread Thread-1 ended; its PostgreSQL connection was still open (oldest 20 s before");
    run_forgotten(&run);
}

TEST(what_a_thread_has_lost_is_leaked)
{
    TOLD;
    for (int i = 1; i <= 3; i++) {
        char settings[120];
        snprintf(settings, sizeof settings, "ended_at=1040000000000, thread=%d", 100 + i);
        int64_t thread = owner(&run, "thread", "server", settings);
        snprintf(settings, sizeof settings, "reference='none', last_used_at=1030000000000, thread=%d, last_thread=%d",
                 100 + i, 100 + i);
        owned_by(&run, handle(&run, 1, "lose", settings), thread);
    }
    JUDGED("leaked error 3");
}

TEST(a_thread_that_filled_a_pool_and_ended_left_nothing_behind)
{
    TOLD;
    int64_t thread = owner(&run, "thread", "filler", "ended_at=1040000000000, thread=101");
    for (int i = 0; i < 15; i++)
        owned_by(&run, handle_of(&run, 1, POSTGRESQL, "connect", "reference='found', thread=101, last_thread=101"),
                 thread);
    JUDGED("open-at-exit note 15");
}

TEST(what_another_thread_used_last_is_not_abandoned)
{
    TOLD;
    int64_t thread = owner(&run, "thread", "opener", "ended_at=1040000000000, thread=101");
    owned_by(&run,
             handle_of(&run, 1, POSTGRESQL, "connect",
                       "in_transaction=1, reference='found', thread=101, "
                       "last_thread=7, last_used_at=1039000000000"),
             thread);
    JUDGED("idle-in-transaction warning 1");
}

TEST(a_close_on_its_way_has_a_moment)
{
    TOLD;
    still_runs(&run);
    owned_by(&run, session_at_work(&run, "opened_at=1059000000000, last_used_at=1059990000000"),
             owner(&run, "request", "GET /", "ended_at=1059990000000"));
    sql(&run, "UPDATE handle SET opened_at = 1059000000000");
    JUDGED("in-use-at-termination note 1");
}

TEST(a_lost_handle_of_an_ended_request_is_one_finding)
{
    TOLD;
    int64_t request = owner(&run, "request", "GET /", "ended_at=1032000000000");
    owned_by(&run, handle_of(&run, 1, SQLITE, "lose", "reference='none', in_transaction=1, handles=2"), request);
    JUDGED("owner-gone error 2");
}

/* --- used after close ----------------------------------------------------------------------------------------------------- */

static void session_reused(struct run_case *run, const char *function)
{
    char setting[120];
    snprintf(setting, sizeof setting, "kind='" SESSION "', site=%lld", (long long)site(run, 1, SESSION, "open_it"));
    fact(run, 1, "used-after-close", function, setting);
}

TEST(a_session_used_after_close_begins_anew)
{
    TOLD;
    session_reused(&run, "use_it");
    ended(&run, SESSION, "use_it", "gc", 1, "");
    judge(&run);
    assert_string_equal(queried(&run, "SELECT title FROM finding WHERE rule = 'used-after-close'"),
                        "Session used after it was closed");
    assert_evidence(&run, "used 3.0 s after it was closed at app/server.c:42 close_it: it silently began a new "
                          "transaction that nobody closed");
    assert_found(&run, "used-after-close error 1; closed-by-gc warning 1");
    run_forgotten(&run);
}

TEST(a_close_by_a_task_of_the_librarys_own_names_no_line)
{
    TOLD;
    session_reused(&run, "use_it");
    passes_through(&run, "close_it", "/srv/app/server.c", "user");
    passes_through(&run, "close_it", "/usr/lib/python3.11/asyncio/base_events.py", "system");
    judge(&run);
    assert_evidence(&run, "used 3.0 s after it was closed at app/server.c:42 close_it: it");
    sql(&run, "UPDATE stack_frame SET position = 9 - position");
    judge(&run);
    assert_evidence(&run, "used 3.0 s after it was closed: it");
    run_forgotten(&run);
}

TEST(a_session_closed_again_by_another_function_is_an_error_all_the_same)
{
    TOLD;
    session_reused(&run, "use_it");
    ended(&run, SESSION, "use_it", "explicit", 1, "");
    judge(&run);
    assert_found(&run, "used-after-close error 1");
    assert_evidence(&run, "which was ended later");
    run_forgotten(&run);
}

TEST(a_function_may_go_on_with_its_own_session)
{
    TOLD;
    session_reused(&run, "use_it");
    ended(&run, SESSION, "use_it", "explicit", 5, "");
    sql(&run, "UPDATE stack SET where_function = 'loop'");
    JUDGED("used-after-close note 1");
}

/* --- transactions ------------------------------------------------------------------------------------------------------------ */

TEST(a_failed_transaction_that_is_used_names_its_statement)
{
    TOLD;
    char setting[160];
    snprintf(setting, sizeof setting, "kind='" SESSION "', begin_stack=%lld, text='INSERT INTO orders'",
             (long long)stack(&run, "begin_it"));
    fact(&run, 1, "used-while-failed", "use_it", setting);
    judge(&run);
    assert_found(&run, "no-rollback-after-error error 1");
    assert_evidence(&run, "the statement that failed: INSERT INTO orders; begun at app/server.c:42 begin_it");
    assert_string_equal(queried(&run, "SELECT where_function FROM finding"), "use_it");
    run_forgotten(&run);
}

TEST(what_a_child_does_with_its_parents_connection_is_an_error)
{
    TOLD;
    process(&run, 2, "ended='exit'");
    sql(&run, "UPDATE process SET ended_at = 9000000000");
    fact(&run, 2, "used-elsewhere", "use_it", "kind='" POSTGRESQL "', other_process=1, other_pid=1, first_at=1000");
    fact(&run, 2, "closed-elsewhere", "close_it", "kind='" POSTGRESQL "', other_process=1, other_pid=1, first_at=1000");
    fact(&run, 2, "closed-elsewhere", "shut_down", "kind='sqlite3.connection', other_process=1, other_pid=1");
    JUDGED("used-across-fork error 1; used-across-fork error 1");
}

TEST(a_daemon_takes_its_parents_connection_along)
{
    TOLD;
    process(&run, 2, "ended='exit'");
    sql(&run, "UPDATE process SET ended_at = id * 900000000");
    fact(&run, 2, "used-elsewhere", "use_it", "kind='" POSTGRESQL "', other_process=1, other_pid=1, first_at=1000");
    JUDGED("used-across-fork note 1");
}

TEST(what_the_session_says_its_connection_need_not_repeat)
{
    TOLD;
    fact(&run, 1, "used-while-failed", "use_it", "kind='" SESSION "'");
    fact(&run, 1, "used-while-failed", "use_below", "kind='" POSTGRESQL "'");
    fact(&run, 1, "idle-in-transaction", "use_it", "kind='" SESSION "', code=6000");
    fact(&run, 1, "idle-in-transaction", "use_below", "kind='" POSTGRESQL "', code=6000");
    passes_through(&run, "use_below", "/venv/site-packages/sqlalchemy/engine/default.py", "third-party");
    JUDGED("no-rollback-after-error error 1; idle-in-transaction warning 1");
}

TEST(a_transaction_that_failed_and_stayed_is_an_error)
{
    TOLD;
    session_at_work(&run, "tx_failed=1, last_used_at=1030000000000");
    sql(&run, "INSERT INTO detail SELECT id, 'last_sql', 'INSERT INTO orders' FROM handle WHERE kind = '" SESSION "'");
    sql(&run, "UPDATE handle SET opened_at = 1040000000000 WHERE kind = '" CHECKOUT "'");
    judge(&run);
    assert_found(&run, "no-rollback-after-error error 1");
    assert_evidence(&run, "open until the end; last statement: INSERT INTO orders");
    run_forgotten(&run);
}

TEST(a_rollback_may_be_on_its_way)
{
    TOLD;
    still_runs(&run);
    session_at_work(&run, "tx_failed=1, opened_at=1059000000000, last_used_at=1059900000000");
    sql(&run, "UPDATE handle SET opened_at = 1059000000000");
    JUDGED("in-use-at-termination note 1");
}

TEST(a_transaction_that_lay_idle_is_a_warning)
{
    TOLD;
    char setting[160];
    snprintf(setting, sizeof setting, "kind='" SESSION "', begin_stack=%lld, code=31000, count=2",
             (long long)stack(&run, "begin_it"));
    fact(&run, 1, "idle-in-transaction", "commit_it", setting);
    judge(&run);
    assert_found(&run, "idle-in-transaction warning 2");
    assert_evidence(&run, "nothing was done in it for up to 31 s; begun at app/server.c:42 begin_it");
    run_forgotten(&run);
}

TEST(a_transaction_that_lies_idle_now_is_a_warning)
{
    TOLD;
    still_runs(&run);
    int64_t session = session_at_work(&run, "opened_at=1040000000000, last_used_at=1050000000000");
    sql(&run, "UPDATE handle SET transaction_stack = %lld WHERE id = %lld", (long long)stack(&run, "begin_it"),
        (long long)session);
    sql(&run, "UPDATE handle SET opened_at = 1040000000000");
    judge(&run);
    assert_found(&run, "idle-in-transaction warning 1");
    assert_evidence(&run, "nothing has been done in it for 10 s; begun at app/server.c:42 begin_it");
    run_forgotten(&run);
}

TEST(idle_without_a_transaction_or_for_a_moment_is_nothing)
{
    TOLD;
    killed(&run);
    handle_of(&run, 1, SESSION, "main", "reference='found', last_used_at=1001000000000");
    handle_of(&run, 1, POSTGRESQL, "singleton", "reference='found', last_used_at=1001000000000");
    handle_of(&run, 1, POSTGRESQL, "kept", "reference='found', in_transaction=1, pooled=1, last_used_at=1001000000000");
    handle_of(&run, 1, POSTGRESQL, "busy", "reference='found', in_transaction=1, last_used_at=1056000000000");
    judge(&run);
    assert_string_equal(queried(&run, "SELECT count(*) FROM finding WHERE severity <> 'note'"), "0");
    run_forgotten(&run);
}

/* --- which rule is told ---------------------------------------------------------------------------------------------------- */

TEST(a_severity_that_is_asked_for_holds_for_all_that_a_rule_finds)
{
    TOLD;
    struct rule_setting settings[] = {{"closed-by-gc", SEVERITY_NOTE}};
    run.options.rules = settings;
    run.options.rule_count = 1;
    ended(&run, SESSION, "work", "gc", 1, "");
    ended(&run, SESSION, "serve", "gc", 2, "");
    JUDGED("closed-by-gc note 2; closed-by-gc note 1");
}

TEST(a_rule_that_is_off_outranks_nothing)
{
    TOLD;
    struct rule_setting settings[] = {
        {"owner-gone", SEVERITY_OFF}, {"held-long", SEVERITY_OFF}, {"idle-in-transaction", SEVERITY_OFF}};
    run.options.rules = settings;
    run.options.rule_count = 3;
    int64_t request = owner(&run, "request", "GET /", "ended_at=1032000000000");
    owned_by(&run, session_at_work(&run, "last_used_at=1030000000000"), request);
    JUDGED("open-at-exit note 1");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_left_to_the_collector_are_an_error),
        cmocka_unit_test(collected_handles_are_counted_also_when_the_ring_has_forgotten_them),
        cmocka_unit_test(once_and_outside_of_a_request_it_is_a_warning),
        cmocka_unit_test(once_in_a_request_it_is_an_error),
        cmocka_unit_test(a_scripts_own_connections_are_a_warning_and_a_requests_an_error),
        cmocka_unit_test(a_scripts_connections_that_piled_up_are_an_error),
        cmocka_unit_test(engines_statements_and_closed_sessions_need_no_collector),
        cmocka_unit_test(what_the_collector_has_not_come_to_is_counted_with_what_it_has),
        cmocka_unit_test(sessions_that_their_thread_passed_over_are_never_closed),
        cmocka_unit_test(of_a_killed_process_the_last_session_may_be_in_use),
        cmocka_unit_test(a_session_for_each_thread_is_not_passed_over),
        cmocka_unit_test(a_tasks_session_waits_for_its_task),
        cmocka_unit_test(the_interpreters_shutdown_is_a_note),
        cmocka_unit_test(a_session_whose_request_has_ended_is_one_error),
        cmocka_unit_test(of_a_process_that_runs_it_is_said_now),
        cmocka_unit_test(a_request_that_goes_on_has_its_session),
        cmocka_unit_test(a_tasks_request_is_named_too),
        cmocka_unit_test(a_task_that_outlives_its_request_has_its_session),
        cmocka_unit_test(who_was_collected_meanwhile_is_counted_with_those_that_are_open),
        cmocka_unit_test(what_was_held_long_and_given_back_is_not_counted_with_those_that_were_not),
        cmocka_unit_test(what_was_collected_after_its_owners_end_is_the_owners),
        cmocka_unit_test(what_only_the_shutdown_gave_back_had_lost_its_owner),
        cmocka_unit_test(connections_kept_to_the_end_for_threads_that_are_gone_are_theirs),
        cmocka_unit_test(what_is_used_after_its_owners_end_is_somebody_elses),
        cmocka_unit_test(a_connection_made_on_first_use_may_be_a_singleton),
        cmocka_unit_test(connections_of_ended_requests_are_no_singletons),
        cmocka_unit_test(what_a_pool_opened_for_a_request_stays_in_the_pool),
        cmocka_unit_test(an_idle_connection_of_the_pool_and_its_engine_are_one_note),
        cmocka_unit_test(an_engine_of_a_killed_process_leaves_nothing_undecided),
        cmocka_unit_test(each_ended_thread_left_its_own_connection),
        cmocka_unit_test(what_a_thread_has_lost_is_leaked),
        cmocka_unit_test(a_thread_that_filled_a_pool_and_ended_left_nothing_behind),
        cmocka_unit_test(what_another_thread_used_last_is_not_abandoned),
        cmocka_unit_test(a_close_on_its_way_has_a_moment),
        cmocka_unit_test(a_lost_handle_of_an_ended_request_is_one_finding),
        cmocka_unit_test(a_session_used_after_close_begins_anew),
        cmocka_unit_test(a_close_by_a_task_of_the_librarys_own_names_no_line),
        cmocka_unit_test(a_session_closed_again_by_another_function_is_an_error_all_the_same),
        cmocka_unit_test(a_function_may_go_on_with_its_own_session),
        cmocka_unit_test(a_failed_transaction_that_is_used_names_its_statement),
        cmocka_unit_test(what_a_child_does_with_its_parents_connection_is_an_error),
        cmocka_unit_test(a_daemon_takes_its_parents_connection_along),
        cmocka_unit_test(what_the_session_says_its_connection_need_not_repeat),
        cmocka_unit_test(a_transaction_that_failed_and_stayed_is_an_error),
        cmocka_unit_test(a_rollback_may_be_on_its_way),
        cmocka_unit_test(a_transaction_that_lay_idle_is_a_warning),
        cmocka_unit_test(a_transaction_that_lies_idle_now_is_a_warning),
        cmocka_unit_test(idle_without_a_transaction_or_for_a_moment_is_nothing),
        cmocka_unit_test(a_severity_that_is_asked_for_holds_for_all_that_a_rule_finds),
        cmocka_unit_test(a_rule_that_is_off_outranks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
