/* SPDX-License-Identifier: Apache-2.0 */
/* What is found in a run, and what is not: the rules as examples. */
#include "run_case.h"

#include <sys/stat.h>
#include <unistd.h>

#define TEST(name) static void name(void **state)
#define TOLD     \
    (void)state; \
    struct run_case run = run_told()

/* --- open handles ---------------------------------------------------------------------------------------------------- */

TEST(without_a_pointer_it_is_leaked)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "lose", "reference='none', handles=10");
    judge(&run);
    assert_found(&run, "leaked error 10");
    assert_string_equal(queried(&run, "SELECT title FROM finding"), "SQLite connection never closed");
    assert_evidence(&run, "no pointer to it was left in memory when exit began; opened 10 times here, closed 0");
    run_forgotten(&run);
}

TEST(with_a_pointer_it_is_a_note)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "main", "reference='found', handles=3");
    judge(&run);
    assert_found(&run, "open-at-exit note 3");
    run_forgotten(&run);
}

TEST(a_live_threads_handle_is_in_use)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "worker", "reference='thread'");
    judge(&run);
    assert_found(&run, "in-use-at-termination note 1");
    run_forgotten(&run);
}

TEST(a_handle_that_is_being_closed_is_in_use)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "worker", "reference='none', closing=1");
    judge(&run);
    assert_found(&run, "in-use-at-termination note 1");
    run_forgotten(&run);
}

TEST(of_a_killed_process_nobody_can_tell)
{
    TOLD;
    process(&run, 1, "ended='signal', end_status=9, end_words='signal 9', scan='not-run'");
    handle(&run, 1, "serve", "reference='not-looked', handles=1000");
    judge(&run);
    assert_found(&run, "in-use-at-termination note 1000");
    assert_evidence(&run, "still open; could not tell leaked from referenced: killed by signal 9");
    assert_evidence(&run, "only grew");
    assert_string_equal(queried(&run, "SELECT undecided FROM finding"), "1");
    run_forgotten(&run);
}

TEST(a_killed_process_that_closes_now_and_then_did_not_only_grow)
{
    TOLD;
    process(&run, 1, "ended='killed', end_words='killed', scan='not-run'");
    handle(&run, 1, "serve", "reference='not-looked', handles=10");
    sql(&run, "UPDATE site SET closed = 1, opened = 11");
    judge(&run);
    assert_null(strstr(queried(&run, "SELECT evidence FROM finding"), "only grew"));
    run_forgotten(&run);
}

TEST(without_a_search_at_exit_nobody_can_tell)
{
    TOLD;
    process(&run, 1, "ended='exit', scan='not-run', scan_reason='it ended by _exit'");
    handle(&run, 1, "give_up", "reference='not-looked', handles=5");
    judge(&run);
    assert_found(&run, "open-at-exit note 5");
    assert_evidence(&run, "could not tell leaked from referenced: it ended by _exit");
    assert_string_equal(queried(&run, "SELECT undecided FROM finding"), "1");
    run_forgotten(&run);
}

TEST(a_search_that_gave_up_still_proves_what_it_proved)
{
    TOLD;
    process(&run, 1, "ended='exit', scan='gave-up', scan_reason='it took more than 2 s'");
    handle(&run, 1, "lose", "reference='none'");
    handle(&run, 1, "other", "reference='uncertain', handles=2");
    judge(&run);
    assert_found(&run, "leaked error 1; open-at-exit note 2");
    assert_string_equal(queried(&run, "SELECT group_concat(rule) FROM finding WHERE at_least"), "leaked");
    run_forgotten(&run);
}

TEST(of_a_process_that_runs_handles_are_open_now)
{
    TOLD;
    process(&run, 1, "ended='running', end_words='running', scan='not-run'");
    handle(&run, 1, "serve", "reference='not-looked', handles=3");
    handle(&run, 1, "drain", "reference='none'");
    judge(&run);
    assert_found(&run, "in-use-at-termination note 3; in-use-at-termination note 1");
    const char *words = queried(&run, "SELECT group_concat(title || ' ' || evidence) FROM finding");
    assert_non_null(strstr(words, "SQLite connection open now"));
    assert_null(strstr(words, "leaked"));
    assert_null(strstr(words, "exit"));
    run_forgotten(&run);
}

TEST(after_exec_it_is_a_note)
{
    TOLD;
    process(&run, 1, "ended='exec', end_words='exec', scan='not-run'");
    handle(&run, 1, "start", "reference='not-looked'");
    judge(&run);
    assert_found(&run, "in-use-at-termination note 1");
    assert_evidence(&run, "it became another program (exec)");
    run_forgotten(&run);
}

TEST(what_was_lost_before_a_crash_in_exit_is_leaked)
{
    TOLD;
    process(&run, 1, "ended='signal', end_words='signal 11', scan='complete'");
    handle(&run, 1, "lose", "reference='none'");
    judge(&run);
    assert_found(&run, "leaked error 1");
    run_forgotten(&run);
}

TEST(what_the_program_ignores_is_ignored)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "lose", "reference='none', ignored=1");
    judge(&run);
    assert_found(&run, "");
    run_forgotten(&run);
}

TEST(a_connections_transaction_is_no_handle)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    int64_t connection = handle(&run, 1, "main", "reference='found'");
    child_of(&run, connection, "sqlite3.transaction", "begin", "reference='none'");
    judge(&run);
    assert_found(&run, "open-at-exit note 1");
    run_forgotten(&run);
}

TEST(a_wide_site_is_a_lower_bound_when_some_looked_referenced)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "lose", "reference='none', handles=9");
    handle(&run, 1, "lose", "reference='found'");
    judge(&run);
    assert_found(&run, "leaked error 9; open-at-exit note 1");
    assert_string_equal(queried(&run, "SELECT at_least FROM finding WHERE rule = 'leaked'"), "1");
    run_forgotten(&run);
}

/* --- failed opens ------------------------------------------------------------------------------------------------------- */

TEST(a_failed_open_has_to_be_closed_too)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "try", "reference='none', failed_open=1, failed_code=14, target='/nowhere/x.db'");
    judge(&run);
    assert_found(&run, "failed-open-not-closed error 1");
    assert_evidence(&run, "SQLITE_CANTOPEN (14)");
    assert_string_equal(queried(&run, "SELECT target FROM finding"), "/nowhere/x.db");
    run_forgotten(&run);
}

TEST(a_program_that_gives_up_and_exits_has_lost_nothing)
{
    TOLD;
    process(&run, 1, "ended='exit', end_status=1, end_words='exit 1'");
    handle(&run, 1, "main", "reference='found', failed_open=1");
    judge(&run);
    assert_found(&run, "open-at-exit note 1");
    run_forgotten(&run);
}

TEST(a_failed_open_of_a_killed_process_is_a_note)
{
    TOLD;
    process(&run, 1, "ended='killed', end_words='killed', scan='not-run'");
    handle(&run, 1, "try", "reference='not-looked', failed_open=1");
    judge(&run);
    assert_found(&run, "in-use-at-termination note 1");
    run_forgotten(&run);
}

/* --- closes that failed --------------------------------------------------------------------------------------------------- */

TEST(a_refused_close_that_was_dropped_names_close_and_children)
{
    TOLD;
    char setting[120];
    process(&run, 1, "ended='exit'");
    snprintf(setting, sizeof setting, "reference='none', close_refused=1, close_result=5, close_stack=%lld",
             (long long)stack(&run, "close_it"));
    int64_t connection = handle(&run, 1, "open_it", setting);
    child_of(&run, connection, "sqlite3.statement", "prepare_it", "reference='none'");
    judge(&run);
    assert_found(&run, "close-failed error 1");
    assert_evidence(&run, "refused with SQLITE_BUSY (5)");
    assert_string_equal(
        queried(&run, "SELECT stack.where_function FROM stack JOIN finding ON stack.id = finding.stack"), "open_it");
    assert_string_equal(queried(&run, "SELECT stack.where_function FROM stack JOIN finding ON stack.id = closed_stack"),
                        "close_it");
    assert_string_equal(queried(&run, "SELECT kind || ' ' || count || ' ' || where_function FROM finding_child "
                                      "JOIN stack ON stack.id = stack"),
                        "sqlite3.statement 1 prepare_it");
    run_forgotten(&run);
}

TEST(a_zombie_is_a_failed_close_also_while_something_points_to_it)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "open_it", "reference='found', zombie=1");
    judge(&run);
    assert_found(&run, "close-failed error 1");
    run_forgotten(&run);
}

TEST(a_killed_process_might_have_closed_it_later)
{
    TOLD;
    process(&run, 1, "ended='signal', end_words='signal 9', scan='not-run'");
    handle(&run, 1, "open_it", "reference='not-looked', close_refused=1");
    judge(&run);
    assert_found(&run, "in-use-at-termination note 1");
    assert_evidence(&run, "its last close was refused");
    run_forgotten(&run);
}

TEST(a_refused_close_that_succeeded_later_is_nothing)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    fact(&run, 1, "close-failed", "close_it", "code=5");
    fact(&run, 1, "close-later-done", "close_it", "code=0");
    judge(&run);
    assert_found(&run, "");
    run_forgotten(&run);
}

/* --- parents and children --------------------------------------------------------------------------------------------------- */

TEST(a_leaked_connection_lists_what_goes_with_it)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    int64_t connection = handle(&run, 1, "lose", "reference='none', handles=4");
    int64_t backup = child_of(&run, connection, "sqlite3.backup", "copy", "reference='none', handles=4");
    child_of(&run, backup, "sqlite3.statement", "prepare_it", "reference='none', handles=8");
    judge(&run);
    assert_found(&run, "leaked error 4");
    assert_string_equal(queried(&run, "SELECT group_concat(kind || ' ' || count) FROM (SELECT * FROM finding_child "
                                      "ORDER BY count)"),
                        "sqlite3.backup 4,sqlite3.statement 8");
    run_forgotten(&run);
}

TEST(a_kept_connections_statements_are_kept_with_it)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    int64_t connection = handle(&run, 1, "main", "reference='found'");
    child_of(&run, connection, "sqlite3.statement", "cached", "reference='found', handles=128");
    judge(&run);
    assert_found(&run, "open-at-exit note 1");
    run_forgotten(&run);
}

TEST(a_lost_statement_of_a_kept_connection_is_leaked)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    int64_t connection = handle(&run, 1, "main", "reference='found'");
    child_of(&run, connection, "sqlite3.statement", "prepare_it", "reference='none'");
    judge(&run);
    assert_found(&run, "leaked error 1; open-at-exit note 1");
    assert_string_equal(queried(&run, "SELECT count(*) FROM finding_child"), "0");
    run_forgotten(&run);
}

TEST(a_lost_result_is_a_warning)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle_of(&run, 1, "libpq.result", "ask", "reference='none', handles=2");
    judge(&run);
    assert_found(&run, "result-not-freed warning 2");
    run_forgotten(&run);
}

TEST(a_result_of_a_leaked_connection_is_part_of_it)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    int64_t connection = handle_of(&run, 1, "libpq.connection", "lose", "reference='none'");
    child_of(&run, connection, "libpq.result", "ask", "reference='none'");
    judge(&run);
    assert_found(&run, "leaked error 1");
    run_forgotten(&run);
}

/* --- facts ----------------------------------------------------------------------------------------------------------------------- */

static const char three_stacks[] =
    "SELECT o.where_function || ' ' || c.where_function || ' ' || u.where_function || ' at ' || finding.where_function "
    "FROM finding JOIN stack AS o ON o.id = finding.stack JOIN stack AS c ON c.id = closed_stack "
    "JOIN stack AS u ON u.id = used_stack";

TEST(use_after_close_has_three_stacks)
{
    TOLD;
    process(&run, 1, "ended='signal', end_words='signal 11', scan='not-run'");
    fact(&run, 1, "used-after-close", "use_it", "count=2");
    judge(&run);
    assert_found(&run, "used-after-close error 2");
    assert_string_equal(queried(&run, three_stacks), "open_it close_it use_it at use_it");
    assert_evidence(&run, "given to sqlite3_exec() 3.0 s after it had been closed");
    run_forgotten(&run);
}

TEST(a_double_close_has_three_stacks)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    fact(&run, 1, "closed-twice", "close_again", "count=1");
    judge(&run);
    assert_found(&run, "closed-twice error 1");
    assert_string_equal(queried(&run, three_stacks), "open_it close_it close_again at close_again");
    run_forgotten(&run);
}

TEST(unsaved_writes_are_a_warning)
{
    TOLD;
    char setting[80];
    process(&run, 1, "ended='exit'");
    snprintf(setting, sizeof setting, "wrote=1, close_stack=NULL, begin_stack=%lld", (long long)stack(&run, "begin"));
    fact(&run, 1, "closed-in-transaction", "close_it", setting);
    judge(&run);
    assert_found(&run, "closed-in-transaction warning 1");
    assert_evidence(&run, "it was begun at app/server.c:42 begin");
    assert_string_equal(queried(&run, "SELECT where_function FROM finding"), "close_it");
    run_forgotten(&run);
}

TEST(nothing_is_unsaved_after_reads_exceptions_and_errors)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    fact(&run, 1, "closed-in-transaction", "close_it", "wrote=0");
    fact(&run, 1, "closed-in-transaction", "close_it", "wrote=1, unwinding=1");
    fact(&run, 1, "closed-in-transaction", "close_it", "wrote=1, tx_failed=1");
    judge(&run);
    assert_found(&run, "");
    run_forgotten(&run);
}

/* --- findings ----------------------------------------------------------------------------------------------------------------- */

TEST(equal_stacks_of_several_processes_are_one_finding)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    process(&run, 2, "ended='exit'");
    handle(&run, 1, "lose", "reference='none', handles=2");
    handle(&run, 2, "lose", "reference='none', handles=3");
    judge(&run);
    assert_found(&run, "leaked error 5");
    assert_evidence(&run, "opened 5 times here, closed 0");
    assert_string_equal(queried(&run, "SELECT group_concat(process || ':' || count) FROM finding_process"), "1:2,2:3");
    run_forgotten(&run);
}

TEST(a_findings_id_knows_neither_lines_nor_counts)
{
    char ids[3][17];
    for (int i = 0; i < 3; i++) {
        void **state = NULL;
        TOLD;
        process(&run, 1, "ended='exit'");
        handle_of(&run, 1, i < 2 ? "sqlite3.connection" : "libpq.connection", "lose",
                  i == 0 ? "handles=1" : "handles=9");
        sql(&run, "UPDATE stack SET where_line = %d, where_file = '/elsewhere/%d.c'", i, i);
        judge(&run);
        snprintf(ids[i], sizeof ids[i], "%.16s", queried(&run, "SELECT id FROM finding"));
        run_forgotten(&run);
    }
    (void)state;
    assert_int_equal(strlen(ids[0]), 16);
    assert_string_equal(ids[0], ids[1]);
    assert_string_not_equal(ids[0], ids[2]);
}

TEST(third_party_code_makes_notes)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "lose", "reference='none'");
    sql(&run, "UPDATE stack SET where_owner = 'third-party'");
    judge(&run);
    assert_found(&run, "leaked note 1");
    run_forgotten(&run);
}

TEST(a_program_without_debug_information_is_the_users_own)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "server+0x1234", "reference='none'");
    sql(&run, "UPDATE stack SET where_file = NULL, where_line = NULL");
    judge(&run);
    assert_found(&run, "leaked error 1");
    run_forgotten(&run);
}

TEST(without_a_stack_it_is_still_found)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "lose", "reference='none', stack=NULL");
    sql(&run, "UPDATE site SET stack = NULL");
    judge(&run);
    assert_found(&run, "leaked error 1");
    run_forgotten(&run);
}

TEST(lost_records_make_counts_lower_bounds)
{
    TOLD;
    process(&run, 1, "ended='exit', dropped=17");
    handle(&run, 1, "lose", "reference='none'");
    judge(&run);
    assert_string_equal(queried(&run, "SELECT at_least FROM finding"), "1");
    assert_evidence(&run, "lower bound");
    run_forgotten(&run);
}

TEST(worst_first_then_incidents_then_counts)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "kept", "reference='found', handles=1000");
    handle(&run, 1, "many", "reference='none', handles=50");
    handle(&run, 1, "few", "reference='none', handles=2");
    handle_of(&run, 1, "libpq.result", "ask", "reference='none', handles=90");
    sql(&run, "INSERT INTO holder (incident, site) VALUES (1, %lld)",
        (long long)site(&run, 1, "sqlite3.connection", "few"));
    judge(&run);
    assert_found(&run, "leaked error 2; leaked error 50; result-not-freed warning 90; open-at-exit note 1000");
    run_forgotten(&run);
}

TEST(judging_again_gives_the_same)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    int64_t connection = handle(&run, 1, "lose", "reference='none'");
    child_of(&run, connection, "sqlite3.statement", "prepare_it", "reference='none'");
    judge(&run);
    judge(&run);
    assert_found(&run, "leaked error 1");
    assert_string_equal(queried(&run, "SELECT count(*) FROM finding_child"), "1");
    run_forgotten(&run);
}

/* --- the rules' texts --------------------------------------------------------------------------------------------------------- */

static const char good_rule[] =
    "-- SPDX-License-Identifier: Apache-2.0\n"
    "-- id: my-rule\n-- severity: warning\n-- title: {noun} of mine\n-- phrase: a phrase\n"
    "-- explain: first line\n--   second line\n--\n--   another paragraph\n-- fix: call {close}\n"
    "-- wrong:\n--     if (x)\n--         leak();\n-- right:\n--     ok();\n"
    "SELECT 1 AS process, 'my.kind' AS kind, 5 AS count;\n";

static bool parses(const char *text, char problem[400])
{
    struct rule rule;
    struct rule_set set = {.rules = malloc(sizeof rule), .count = 1};
    bool good = rule_parsed(&rule, "test", text, problem, 400);
    set.rules[0] = rule;
    rules_freed(&set);
    return good;
}

TEST(a_rules_block_is_prose_and_snippets)
{
    (void)state;
    char problem[400];
    struct rule rule;
    assert_true(rule_parsed(&rule, "test", good_rule, problem, sizeof problem));
    assert_string_equal(rule.id, "my-rule");
    assert_int_equal(rule.severity, SEVERITY_WARNING);
    assert_string_equal(rule.explain, "first line second line\n\nanother paragraph");
    assert_string_equal(rule.wrong, "if (x)\n    leak();");
    assert_null(rule.misleads);
    struct rule_set set = {.rules = malloc(sizeof rule), .count = 1};
    set.rules[0] = rule;
    rules_freed(&set);
}

TEST(a_rule_that_is_not_whole_is_refused_with_the_reason)
{
    (void)state;
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"-- id: a\nSELECT 1", "lacks '-- severity"},
        {"-- id: a\n-- id: b\nSELECT 1", "line 2: 'id' is there twice"},
        {"-- id: a\n-- sevrity: error\nSELECT 1", "line 2: not one of the keys"},
        {"-- id: A rule\n-- severity: error\n-- title: t\n-- phrase: p\n-- explain: e\n-- fix: f\nSELECT 1", "use a-z"},
        {"-- id: a\n-- severity: bad\n-- title: t\n-- phrase: p\n-- explain: e\n-- fix: f\nSELECT 1", "severity 'bad'"},
        {"SELECT 1", "lacks '-- id"},
        {"", "lacks '-- id"},
        {"--", "lacks '-- id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char problem[400] = "";
        assert_false(parses(cases[i].text, problem));
        if (strstr(problem, cases[i].problem) == NULL)
            fail_msg("'%s' gave: %s", cases[i].text, problem);
    }
}

TEST(every_built_in_rule_explains_itself)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    judge(&run);
    assert_string_equal(queried(&run, "SELECT group_concat(id || ' ' || severity, ', ') FROM rule"),
                        "blocking-transaction warning, close-failed error, closed-by-gc error, "
                        "closed-by-shutdown note, closed-in-transaction warning, closed-twice error, "
                        "connection-churn warning, failed-open-not-closed error, growing error, held-long warning, "
                        "idle-in-transaction warning, in-use-at-termination note, leaked error, "
                        "nested-checkout warning, no-rollback-after-error error, open-at-exit note, owner-gone error, "
                        "pool-exhausted error, pool-starved warning, result-not-freed warning, used-across-fork error, "
                        "used-after-close error");
    assert_string_equal(queried(&run,
                                "SELECT count(*) FROM rule WHERE wrong IS NULL OR right IS NULL OR misleads IS NULL "
                                "OR length(explain) < 100"),
                        "0");
    run_forgotten(&run);
}

/* --- a user's own rules --------------------------------------------------------------------------------------------------------- */

static char directory[64];

static int entered(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/unclosed-rules-XXXXXX");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int left(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/rule.sql", directory);
    unlink(path);
    return rmdir(directory);
}

/* A run whose --rules directory holds one rule with that query. */
static struct run_case run_with_rule(const char *id, const char *query)
{
    static const char *directories[] = {directory, NULL};
    struct run_case run = run_told();
    char path[128];
    snprintf(path, sizeof path, "%s/rule.sql", directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "-- id: %s\n-- severity: warning\n-- title: {noun} of mine\n-- phrase: p\n-- explain: e\n-- fix: f\n%s\n",
            id, query);
    assert_int_equal(fclose(file), 0);
    run.options.rule_directories = (struct string_list){directories, 1};
    process(&run, 1, "ended='exit'");
    return run;
}

TEST(a_users_rule_adds_findings)
{
    (void)state;
    struct run_case run =
        run_with_rule("long", "SELECT handle.id AS handle, 'open for ' || duration(1500000000) AS evidence"
                              " FROM open_handle AS handle WHERE standing = 'referenced'");
    handle(&run, 1, "main", "reference='found'");
    judge(&run);
    assert_found(&run, "long warning 1; open-at-exit note 1");
    assert_evidence(&run, "open for 1.5 s");
    run_forgotten(&run);
}

TEST(a_rule_is_told_instead_of_those_that_it_outranks)
{
    (void)state;
    struct run_case run =
        run_with_rule("long\n-- outranks: leaked open-at-exit",
                      "SELECT handle.id AS handle FROM open_handle AS handle WHERE kind LIKE '%.blob'");
    int64_t connection = handle(&run, 1, "main", "reference='found'");
    child_of(&run, connection, "sqlite3.blob", "read_it", "reference='none'");
    handle(&run, 1, "other", "reference='found'");
    judge(&run);
    assert_found(&run, "long warning 1; open-at-exit note 1");
    assert_string_equal(queried(&run, "SELECT where_function FROM finding WHERE severity = 'note'"), "other");
    run_forgotten(&run);
}

TEST(a_rule_needs_no_handle_to_point_to)
{
    (void)state;
    struct run_case run = run_with_rule("mine", "SELECT 1 AS process, 'my.kind' AS kind, 5 AS count");
    judge(&run);
    assert_found(&run, "mine warning 5");
    run_forgotten(&run);
}

TEST(a_users_rule_replaces_a_built_in_one)
{
    (void)state;
    struct run_case run = run_with_rule("leaked", "SELECT handle.id AS handle FROM handle WHERE reference = 'none'");
    handle(&run, 1, "lose", "reference='none'");
    judge(&run);
    assert_found(&run, "leaked warning 1");
    run_forgotten(&run);
}

TEST(rules_may_only_read)
{
    (void)state;
    static const char *const queries[] = {
        "DELETE FROM handle",
        "INSERT INTO finding (id) VALUES (1)",
        "ATTACH '/tmp/unclosed-rule-wrote-this.db' AS x",
        "PRAGMA user_version = 7",
        "CREATE TEMP TABLE x (a)",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT 1 AS count; DELETE FROM handle",
        "SELECT 1 AS count; SELECT 2 AS count",
        "",
    };
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        struct run_case run = run_with_rule("mine", queries[i]);
        if (judged(&run))
            fail_msg("was not refused: %s", queries[i]);
        run_forgotten(&run);
    }
}

TEST(a_column_that_nobody_understands_is_refused)
{
    (void)state;
    struct run_case run = run_with_rule("mine", "SELECT 1 AS handel");
    assert_false(judged(&run));
    run_forgotten(&run);
}

TEST(the_severity_of_a_rule_can_be_set)
{
    TOLD;
    struct rule_setting settings[] = {{"leaked", SEVERITY_WARNING}, {"open-at-exit", SEVERITY_OFF}};
    run.options.rules = settings;
    run.options.rule_count = 2;
    process(&run, 1, "ended='exit'");
    handle(&run, 1, "lose", "reference='none'");
    handle(&run, 1, "main", "reference='found'");
    judge(&run);
    assert_found(&run, "leaked warning 1");
    run_forgotten(&run);
}

TEST(the_severity_of_a_rule_that_is_not_there_cannot)
{
    TOLD;
    struct rule_setting settings[] = {{"leeked", SEVERITY_OFF}};
    run.options.rules = settings;
    run.options.rule_count = 1;
    assert_false(judged(&run));
    run_forgotten(&run);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_pointer_it_is_leaked),
        cmocka_unit_test(with_a_pointer_it_is_a_note),
        cmocka_unit_test(a_live_threads_handle_is_in_use),
        cmocka_unit_test(a_handle_that_is_being_closed_is_in_use),
        cmocka_unit_test(of_a_killed_process_nobody_can_tell),
        cmocka_unit_test(a_killed_process_that_closes_now_and_then_did_not_only_grow),
        cmocka_unit_test(without_a_search_at_exit_nobody_can_tell),
        cmocka_unit_test(a_search_that_gave_up_still_proves_what_it_proved),
        cmocka_unit_test(of_a_process_that_runs_handles_are_open_now),
        cmocka_unit_test(after_exec_it_is_a_note),
        cmocka_unit_test(what_was_lost_before_a_crash_in_exit_is_leaked),
        cmocka_unit_test(what_the_program_ignores_is_ignored),
        cmocka_unit_test(a_connections_transaction_is_no_handle),
        cmocka_unit_test(a_wide_site_is_a_lower_bound_when_some_looked_referenced),
        cmocka_unit_test(a_failed_open_has_to_be_closed_too),
        cmocka_unit_test(a_program_that_gives_up_and_exits_has_lost_nothing),
        cmocka_unit_test(a_failed_open_of_a_killed_process_is_a_note),
        cmocka_unit_test(a_refused_close_that_was_dropped_names_close_and_children),
        cmocka_unit_test(a_zombie_is_a_failed_close_also_while_something_points_to_it),
        cmocka_unit_test(a_killed_process_might_have_closed_it_later),
        cmocka_unit_test(a_refused_close_that_succeeded_later_is_nothing),
        cmocka_unit_test(a_leaked_connection_lists_what_goes_with_it),
        cmocka_unit_test(a_kept_connections_statements_are_kept_with_it),
        cmocka_unit_test(a_lost_statement_of_a_kept_connection_is_leaked),
        cmocka_unit_test(a_lost_result_is_a_warning),
        cmocka_unit_test(a_result_of_a_leaked_connection_is_part_of_it),
        cmocka_unit_test(use_after_close_has_three_stacks),
        cmocka_unit_test(a_double_close_has_three_stacks),
        cmocka_unit_test(unsaved_writes_are_a_warning),
        cmocka_unit_test(nothing_is_unsaved_after_reads_exceptions_and_errors),
        cmocka_unit_test(equal_stacks_of_several_processes_are_one_finding),
        cmocka_unit_test(a_findings_id_knows_neither_lines_nor_counts),
        cmocka_unit_test(third_party_code_makes_notes),
        cmocka_unit_test(a_program_without_debug_information_is_the_users_own),
        cmocka_unit_test(without_a_stack_it_is_still_found),
        cmocka_unit_test(lost_records_make_counts_lower_bounds),
        cmocka_unit_test(worst_first_then_incidents_then_counts),
        cmocka_unit_test(judging_again_gives_the_same),
        cmocka_unit_test(a_rules_block_is_prose_and_snippets),
        cmocka_unit_test(a_rule_that_is_not_whole_is_refused_with_the_reason),
        cmocka_unit_test(every_built_in_rule_explains_itself),
        cmocka_unit_test(a_users_rule_adds_findings),
        cmocka_unit_test(a_rule_is_told_instead_of_those_that_it_outranks),
        cmocka_unit_test(a_rule_needs_no_handle_to_point_to),
        cmocka_unit_test(a_users_rule_replaces_a_built_in_one),
        cmocka_unit_test(rules_may_only_read),
        cmocka_unit_test(a_column_that_nobody_understands_is_refused),
        cmocka_unit_test(the_severity_of_a_rule_can_be_set),
        cmocka_unit_test(the_severity_of_a_rule_that_is_not_there_cannot),
    };
    return cmocka_run_group_tests(tests, entered, left);
}
