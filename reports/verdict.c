/* SPDX-License-Identifier: Apache-2.0 */
#include "verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "row.h"

struct outcome {
    int64_t found[SEVERITY_ERROR + 1]; /* findings of each severity that count */
    int64_t unobserved;                /* processes */
    int64_t opened;
    char missing[160]; /* first kind that was required and not seen, "" : none */
};

static bool findings_counted(sqlite3 *db, struct outcome *outcome)
{
    bool failed = false;
    sqlite3_stmt *statement = prepared(
        db, "SELECT severity, count(*) FROM finding WHERE suppressed IS NULL AND baseline = 'new' GROUP BY severity");
    enum severity severity;

    while (row_fetched(statement, &failed))
        if (severity_named(text_of(statement, 0), false, &severity))
            outcome->found[severity] = integer_of(statement, 1);
    sqlite3_finalize(statement);
    return statement != NULL && !failed;
}

/* A kind is meant by its name, or by its library alone: "libpq" is any of libpq's. */
static bool required_kinds_looked_for(sqlite3 *db, const struct string_list *kinds, struct outcome *outcome)
{
    bool failed = false;
    sqlite3_stmt *statement = prepared(db, "SELECT coalesce(sum(opened), 0) FROM kind_count "
                                           "WHERE kind = ?1 OR substr(kind, 1, length(?1) + 1) = ?1 || '.'");

    for (size_t i = 0; statement != NULL && i < kinds->count && outcome->missing[0] == '\0'; i++) {
        begun_with(statement, text(kinds->items[i]));
        if (row_fetched(statement, &failed) && integer_of(statement, 0) == 0)
            snprintf(outcome->missing, sizeof outcome->missing, "%s", kinds->items[i]);
    }
    sqlite3_finalize(statement);
    return statement != NULL && !failed;
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

/* The status that findings ask for, whatever a program's own was; the verdict's word with it. */
static int findings_judged(const struct outcome *outcome, const struct report_options *options, struct verdict *verdict)
{
    enum severity worst = SEVERITY_ERROR;
    while (worst > SEVERITY_OFF && outcome->found[worst] == 0)
        worst--;
    bool blind = outcome->unobserved > 0 && !options->allow_unobserved;
    size_t size = sizeof verdict->reason;
    int64_t failing = 0;
    for (enum severity each = SEVERITY_ERROR; each >= options->fail_on && each > SEVERITY_OFF; each--)
        failing += outcome->found[each];

    if (failing > 0) {
        verdict->word = severity_name(worst);
        snprintf(verdict->reason, size, "%" PRId64 " finding%s at or above --fail-on=%s", failing, plural(failing),
                 severity_name(options->fail_on));
        return options->findings_status;
    }
    if (outcome->missing[0] != '\0') {
        verdict->word = "unobserved";
        snprintf(verdict->reason, size, "no %s was seen, which --require asks for", outcome->missing);
        return STATUS_UNOBSERVED;
    }
    if (blind) {
        verdict->word = "unobserved";
        snprintf(verdict->reason, size,
                 "%" PRId64 " process%s could not be observed completely; "
                 "--allow-unobserved to accept that",
                 outcome->unobserved, outcome->unobserved == 1 ? "" : "es");
        return STATUS_UNOBSERVED;
    }
    verdict->word = worst > SEVERITY_OFF ? severity_name(worst) : outcome->opened > 0 ? "clean" : "nothing";
    snprintf(verdict->reason, size, "nothing at or above --fail-on=%s", severity_name(options->fail_on));
    return 0;
}

/* Whatever the findings come to: people look for this first. */
static void exhaustion_mentioned(sqlite3 *db, struct verdict *verdict)
{
    int64_t times = integer_selected(db, "SELECT sum(count) FROM incident WHERE rule = 'pool-exhausted'", 0);
    size_t length = strlen(verdict->reason), room = sizeof verdict->reason - length;

    if (times == 1)
        snprintf(verdict->reason + length, room, "; a connection pool ran empty");
    else if (times > 1)
        snprintf(verdict->reason + length, room, "; a connection pool ran empty %" PRId64 " times", times);
}

static void program_considered(struct verdict *verdict, const struct report_options *options,
                               const struct run_outcome *program, int findings_status)
{
    bool its_own = options->status_from == STATUS_FROM_PROGRAM ||
                   (options->status_from == STATUS_FROM_BOTH && program->exit_status != 0 && !program->signal_expected);
    char findings[sizeof verdict->reason];

    verdict->exit_status = its_own ? program->exit_status : findings_status;
    memcpy(findings, verdict->reason, sizeof findings);
    if (!its_own)
        snprintf(verdict->reason, sizeof verdict->reason, "%.300s (%.80s itself: %d)", findings, program->name,
                 program->exit_status);
    else if (program->signal != 0)
        snprintf(verdict->reason, sizeof verdict->reason, "of %.80s itself, ended by signal %d; findings alone: %d",
                 program->name, program->signal, findings_status);
    else
        snprintf(verdict->reason, sizeof verdict->reason, "of %.80s itself; findings alone: %d", program->name,
                 findings_status);
}

bool verdict_reached(sqlite3 *db, const struct report_options *options, const struct run_outcome *program,
                     struct verdict *verdict)
{
    struct outcome outcome = {0};

    if (!findings_counted(db, &outcome) || !required_kinds_looked_for(db, &options->required_kinds, &outcome))
        return false;
    outcome.unobserved = integer_selected(db, "SELECT count(*) FROM process WHERE NOT observed OR dropped > 0", 0);
    outcome.opened = integer_selected(db, "SELECT sum(opened) FROM kind_count", 0);
    verdict->exit_status = findings_judged(&outcome, options, verdict);
    exhaustion_mentioned(db, verdict);
    if (program != NULL)
        program_considered(verdict, options, program, verdict->exit_status);

    if (!executed(db, "DELETE FROM verdict"))
        return false;
    struct insert insert = insert_prepared(db, "verdict", "verdict exit_status exit_reason");
    INSERTED(&insert, text(verdict->word), integer(verdict->exit_status), text(verdict->reason));
    return insert_finished(&insert);
}
