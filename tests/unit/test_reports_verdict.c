/* SPDX-License-Identifier: Apache-2.0 */
/* The outcome in one word, and the exit status. */
#include "run_case.h"

#include "verdict.h"

enum { NO_PROGRAM = -1 };

/* What a run was like, and what it should come to; numbers that are not said are 0. */
struct outcome_case {
    const char *why;
    int errors, warnings, notes, opened, dropped;
    bool unobserved;
    /* options */
    enum severity fail_on; /* SEVERITY_OFF: the default */
    int findings_status;   /* 0: the default */
    enum exit_status_from status_from;
    bool allow_unobserved;
    const char *required;
    /* the program */
    int program, signal;
    bool signal_expected;
    /* expected */
    const char *verdict;
    int status;
};

static void findings_told(struct run_case *run, const char *severity, int count)
{
    for (int i = 0; i < count; i++)
        sql(run,
            "INSERT INTO finding (id, rule, severity, kind, count, title, evidence, position)"
            " VALUES ('%s%d', 'r', '%s', 'k', 1, 't', 'e', %d)",
            severity, i, severity, i);
}

static void judge_case(const struct outcome_case *expected)
{
    struct run_case run = run_told();
    struct verdict verdict;
    const char *required[] = {expected->required, NULL};
    const struct run_outcome program = {.name = "pytest",
                                        .exit_status = expected->program,
                                        .signal = expected->signal,
                                        .signal_expected = expected->signal_expected};

    process(&run, 1, expected->unobserved ? "observed=0, unobserved_reason='statically linked'" : "observed=1");
    sql(&run, "UPDATE process SET dropped = %d", expected->dropped);
    sql(&run, "INSERT INTO kind_count VALUES (1, 'sqlite3.connection', %d, 0, 0, 0)", expected->opened);
    findings_told(&run, "error", expected->errors);
    findings_told(&run, "warning", expected->warnings);
    findings_told(&run, "note", expected->notes);
    if (expected->fail_on != SEVERITY_OFF)
        run.options.fail_on = expected->fail_on;
    if (expected->findings_status != 0)
        run.options.findings_status = expected->findings_status;
    run.options.status_from = expected->status_from;
    run.options.allow_unobserved = expected->allow_unobserved;
    if (expected->required != NULL)
        run.options.required_kinds = (struct string_list){required, 1};

    assert_true(verdict_reached(run.db, &run.options, expected->program == NO_PROGRAM ? NULL : &program, &verdict));
    if (strcmp(verdict.word, expected->verdict) != 0 || verdict.exit_status != expected->status)
        fail_msg("%s: expected %s %d, got %s %d (%s)", expected->why, expected->verdict, expected->status, verdict.word,
                 verdict.exit_status, verdict.reason);
    assert_string_equal(queried(&run, "SELECT verdict FROM verdict"), verdict.word);
    assert_true(verdict.reason[0] != '\0');
    run_forgotten(&run);
}

#define JUDGED(...) judge_case(&(struct outcome_case){__VA_ARGS__})

static void a_report_is_judged_by_its_findings(void **state)
{
    (void)state;
    JUDGED("clean", .opened = 5, .program = NO_PROGRAM, .verdict = "clean", .status = 0);
    JUDGED("nothing was used", .program = NO_PROGRAM, .verdict = "nothing", .status = 0);
    JUDGED("an error", .errors = 1, .notes = 3, .opened = 5, .program = NO_PROGRAM, .verdict = "error", .status = 23);
    JUDGED("a warning does not fail", .warnings = 1, .opened = 5, .program = NO_PROGRAM, .verdict = "warning",
           .status = 0);
    JUDGED("a note does not fail", .notes = 1, .opened = 5, .program = NO_PROGRAM, .verdict = "note", .status = 0);
}

static void what_fails_can_be_chosen(void **state)
{
    (void)state;
    JUDGED("on warning", .warnings = 1, .fail_on = SEVERITY_WARNING, .program = NO_PROGRAM, .verdict = "warning",
           .status = 23);
    JUDGED("on note", .notes = 1, .fail_on = SEVERITY_NOTE, .program = NO_PROGRAM, .verdict = "note", .status = 23);
    JUDGED("never", .errors = 1, .fail_on = SEVERITY_NEVER, .program = NO_PROGRAM, .verdict = "error", .status = 0);
    JUDGED("another status", .errors = 1, .findings_status = 7, .program = NO_PROGRAM, .verdict = "error", .status = 7);
}

static void what_was_not_seen_is_not_clean(void **state)
{
    (void)state;
    JUDGED("unobserved", .unobserved = true, .program = NO_PROGRAM, .verdict = "unobserved", .status = 24);
    JUDGED("records lost", .dropped = 1, .opened = 9, .program = NO_PROGRAM, .verdict = "unobserved", .status = 24);
    JUDGED("findings come first", .errors = 1, .unobserved = true, .program = NO_PROGRAM, .verdict = "error",
           .status = 23);
    JUDGED("a warning does not hide it", .warnings = 1, .unobserved = true, .program = NO_PROGRAM,
           .verdict = "unobserved", .status = 24);
    JUDGED("allowed", .unobserved = true, .allow_unobserved = true, .opened = 5, .program = NO_PROGRAM,
           .verdict = "clean", .status = 0);
}

static void a_kind_can_be_required(void **state)
{
    (void)state;
    JUDGED("seen", .opened = 5, .required = "sqlite3.connection", .program = NO_PROGRAM, .verdict = "clean",
           .status = 0);
    JUDGED("its library", .opened = 5, .required = "sqlite3", .program = NO_PROGRAM, .verdict = "clean", .status = 0);
    JUDGED("not seen", .opened = 5, .required = "libpq.connection", .program = NO_PROGRAM, .verdict = "unobserved",
           .status = 24);
    JUDGED("no part of a name", .opened = 5, .required = "sqlite", .program = NO_PROGRAM, .verdict = "unobserved",
           .status = 24);
    JUDGED("allowing what is unobserved does not help", .opened = 5, .required = "libpq.connection",
           .allow_unobserved = true, .program = NO_PROGRAM, .verdict = "unobserved", .status = 24);
}

static void a_programs_own_status_comes_first(void **state)
{
    (void)state;
    JUDGED("both fail", .errors = 1, .program = 1, .verdict = "error", .status = 1);
    JUDGED("it succeeds", .errors = 1, .program = 0, .verdict = "error", .status = 23);
    JUDGED("it alone fails", .opened = 1, .program = 3, .verdict = "clean", .status = 3);
    JUDGED("killed", .errors = 1, .program = 137, .signal = 9, .verdict = "error", .status = 137);
    JUDGED("a signal that was expected", .errors = 1, .program = 143, .signal = 15, .signal_expected = true,
           .verdict = "error", .status = 23);
    JUDGED("a signal that was expected, and clean", .opened = 1, .program = 143, .signal = 15, .signal_expected = true,
           .verdict = "clean", .status = 0);
}

static void one_of_them_can_decide_alone(void **state)
{
    (void)state;
    JUDGED("the program", .errors = 1, .status_from = STATUS_FROM_PROGRAM, .program = 0, .verdict = "error",
           .status = 0);
    JUDGED("the findings", .errors = 1, .status_from = STATUS_FROM_FINDINGS, .program = 1, .verdict = "error",
           .status = 23);
    JUDGED("the findings, clean", .opened = 1, .status_from = STATUS_FROM_FINDINGS, .program = 1, .verdict = "clean",
           .status = 0);
}

static void suppressed_and_known_findings_do_not_count(void **state)
{
    (void)state;
    struct run_case run = run_told();
    struct verdict verdict;

    process(&run, 1, "observed=1");
    sql(&run, "INSERT INTO kind_count VALUES (1, 'sqlite3.connection', 2, 0, 2, 2)");
    findings_told(&run, "error", 2);
    sql(&run, "UPDATE finding SET suppressed = 'leaked:*' WHERE id = 'error0'");
    sql(&run, "UPDATE finding SET baseline = 'known' WHERE id = 'error1'");
    assert_true(verdict_reached(run.db, &run.options, NULL, &verdict));
    assert_string_equal(verdict.word, "clean");
    assert_int_equal(verdict.exit_status, 0);
    run_forgotten(&run);
}

static void the_reason_names_program_and_option(void **state)
{
    (void)state;
    struct run_case run = run_told();
    struct verdict verdict;

    process(&run, 1, "observed=1");
    findings_told(&run, "error", 2);
    assert_true(verdict_reached(run.db, &run.options, &(struct run_outcome){.name = "pytest"}, &verdict));
    assert_string_equal(verdict.reason, "2 findings at or above --fail-on=error (pytest itself: 0)");
    run_forgotten(&run);
}

static void a_pool_that_ran_empty_is_mentioned(void **state)
{
    (void)state;
    struct run_case run = run_told();
    struct verdict verdict;

    process(&run, 1, "observed=1");
    assert_true(verdict_reached(run.db, &run.options, NULL, &verdict));
    assert_string_equal(verdict.reason, "nothing at or above --fail-on=error");
    incident(&run, "blocking-transaction", "serve", "count=9");
    incident(&run, "pool-exhausted", "serve", "count=1");
    assert_true(verdict_reached(run.db, &run.options, NULL, &verdict));
    assert_string_equal(verdict.reason, "nothing at or above --fail-on=error; a connection pool ran empty");
    incident(&run, "pool-exhausted", "list", "count=213");
    findings_told(&run, "error", 2);
    assert_true(verdict_reached(run.db, &run.options, &(struct run_outcome){.name = "pytest"}, &verdict));
    assert_string_equal(verdict.reason, "2 findings at or above --fail-on=error; a connection pool ran empty 214 times "
                                        "(pytest itself: 0)");
    run_forgotten(&run);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_is_judged_by_its_findings),
        cmocka_unit_test(what_fails_can_be_chosen),
        cmocka_unit_test(what_was_not_seen_is_not_clean),
        cmocka_unit_test(a_kind_can_be_required),
        cmocka_unit_test(a_programs_own_status_comes_first),
        cmocka_unit_test(one_of_them_can_decide_alone),
        cmocka_unit_test(suppressed_and_known_findings_do_not_count),
        cmocka_unit_test(the_reason_names_program_and_option),
        cmocka_unit_test(a_pool_that_ran_empty_is_mentioned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
