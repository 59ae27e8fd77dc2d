/* SPDX-License-Identifier: Apache-2.0 */
/* What is found in a run of a Python program, and what is not: sessions, their owners, pools. */
#include "run_case.h"

#define TEST(name) static void name(void **state)
#define TOLD                          \
    (void)state;                      \
    struct run_case run = run_told(); \
    process(&run, 1, "ended='exit'")
#define SESSION "sqlalchemy.session"
#define CHECKOUT "sqlalchemy.checkout"
#define ENGINE "sqlalchemy.engine"
#define SQLITE "sqlite3.connection"
#define POSTGRESQL "libpq.connection"
#define JUDGED(expected)          \
    judge(&run);                  \
    assert_found(&run, expected); \
    run_forgotten(&run)

static void killed(struct run_case *run)
{
    sql(run, "UPDATE process SET ended='signal', end_status=9, end_words='signal 9', scan='not-run'");
}

static void still_runs(struct run_case *run)
{
    sql(run, "UPDATE process SET ended='running', end_words='running', scan='not-run'");
}

/* A session in a transaction, its checkout and its connection, opened at "work". */
static int64_t session_at_work(struct run_case *run, const char *settings)
{
    int64_t session = handle_of(run, 1, SESSION, "work", "in_transaction=1, reference='found'");
    sql(run, "UPDATE handle SET %s WHERE id = %lld", settings, (long long)session);
    int64_t checkout = child_of(run, session, CHECKOUT, "execute", "reference='found', last_used_at=1060000000000");
    child_of(run, checkout, POSTGRESQL, "connect", "in_transaction=1, pooled=1, reference='found'");
    return session;
}

/* --- closed by the garbage collector ------------------------------------------------------------------------------- */

TEST(sessions_left_to_the_collector_are_an_error)
{
    TOLD;
    sql(&run, "UPDATE stack SET where_language = 'python'");
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
    assert_evidence(&run,
                    "waited 30 s in vain; 12 were held: 11 at app/server.c:42 list_orders (GET /orders, which had "
                    "ended, up to 30 s), 1 at app/server.c:42 export (GET /export, at work, up to 30 s); "
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
                          "(GET /slow, up to 30 s)");
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

TEST(pools_pollers_long_ones_and_sqlite_are_no_churn)
{
    TOLD;
    ended(&run, SQLITE, "serve", "explicit", 500, "");
    ended(&run, POSTGRESQL, "recycle", "explicit", 50, "");
    passes_through(&run, "recycle", "/venv/site-packages/sqlalchemy/pool/base.py", "third-party");
    ended(&run, POSTGRESQL, "few", "explicit", 19, "");
    ended(&run, POSTGRESQL, "served", "explicit", 9, "GET /");
    ended(&run, POSTGRESQL, "dropped", "gc", 30, "");
    times_told(&run, 10);
    ended(&run, POSTGRESQL, "poll", "explicit", 30, "");
    sql(&run, "UPDATE site SET first_at = 0, last_at = 1800000000000 WHERE opened = 30 AND ended_explicit = 30");
    ended(&run, POSTGRESQL, "batch", "explicit", 40, "");
    sql(&run, "UPDATE site SET first_at = 0, last_at = 1000000000, held_p50_ns = 2000000000 WHERE opened = 40");
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
        cmocka_unit_test(each_ended_thread_left_its_own_connection),
        cmocka_unit_test(a_thread_that_filled_a_pool_and_ended_left_nothing_behind),
        cmocka_unit_test(what_another_thread_used_last_is_not_abandoned),
        cmocka_unit_test(a_close_on_its_way_has_a_moment),
        cmocka_unit_test(a_lost_handle_of_an_ended_request_is_one_finding),
        cmocka_unit_test(a_session_used_after_close_begins_anew),
        cmocka_unit_test(a_session_closed_again_by_another_function_is_an_error_all_the_same),
        cmocka_unit_test(a_function_may_go_on_with_its_own_session),
        cmocka_unit_test(a_failed_transaction_that_is_used_names_its_statement),
        cmocka_unit_test(what_the_session_says_its_connection_need_not_repeat),
        cmocka_unit_test(a_transaction_that_failed_and_stayed_is_an_error),
        cmocka_unit_test(a_rollback_may_be_on_its_way),
        cmocka_unit_test(a_transaction_that_lay_idle_is_a_warning),
        cmocka_unit_test(a_transaction_that_lies_idle_now_is_a_warning),
        cmocka_unit_test(idle_without_a_transaction_or_for_a_moment_is_nothing),
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
        cmocka_unit_test(pools_pollers_long_ones_and_sqlite_are_no_churn),
        cmocka_unit_test(connections_put_by_one_after_the_other_are_growing),
        cmocka_unit_test(growing_is_said_of_killed_processes_too),
        cmocka_unit_test(a_pool_uses_its_connections_again),
        cmocka_unit_test(a_connection_for_each_thread_is_no_growth),
        cmocka_unit_test(a_pool_opened_at_once_is_no_growth),
        cmocka_unit_test(what_closes_now_and_then_is_no_growth_nor_are_pools_and_tests),
        cmocka_unit_test(a_severity_that_is_asked_for_holds_for_all_that_a_rule_finds),
        cmocka_unit_test(a_rule_that_is_off_outranks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
