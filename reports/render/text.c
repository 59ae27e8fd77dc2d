/* SPDX-License-Identifier: Apache-2.0 */
/* The summary: verdict first, then findings with a fix, notes in a line, what was seen, the page, the exit status. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../row.h"
#include "../words.h"
#include "text_summary.h"

enum { UNSEEN_MAX = 5 };

/* --- the first line ------------------------------------------------------------------------------------------------------ */

/* "419 SQLAlchemy sessions and 96 PostgreSQL connections": the kinds that matter most, at most three. What a session checks
 * out is counted with it, unless connections were used without one. */
static void kinds_said(struct summary *summary)
{
    sqlite3_stmt *statement = prepared(
        summary->db,
        "WITH total AS (SELECT kind, sum(opened) AS opened FROM kind_count WHERE opened > 0 GROUP BY kind),"
        "     told AS (SELECT * FROM total WHERE NOT (kind = 'sqlalchemy.checkout' AND opened <= coalesce("
        "                  (SELECT opened FROM total AS session WHERE session.kind = 'sqlalchemy.session'), 0))) "
        "SELECT opened, coalesce(CASE opened WHEN 1 THEN noun ELSE plural END, told.kind), count(*) OVER () "
        "FROM told LEFT JOIN kind ON kind.name = told.kind "
        "ORDER BY coalesce(cheap, 0), told.kind <> 'sqlalchemy.session', told.kind NOT LIKE '%.connection',"
        "         told.kind = 'sqlalchemy.engine', opened DESC LIMIT 3");
    struct words words;

    for (int64_t i = 0; row_fetched(statement, &summary->failed); i++) {
        int64_t last = integer_of(statement, 2) < 3 ? integer_of(statement, 2) : 3;
        formatted(summary, COLOUR_NONE, "%s%s %s",
                  i == 0          ? ""
                  : i + 1 == last ? " and "
                                  : ", ",
                  number_said(&words, integer_of(statement, 0)), text_of(statement, 1));
    }
    sqlite3_finalize(statement);
}

/* An engine stands as long as its program, and a session without a transaction holds nothing. */
static void counts_said(struct summary *summary)
{
    struct words words;
    int64_t kept = counted_by(summary, "SELECT sum(handles) FROM handle JOIN site ON site.id = root_site "
                                       "WHERE site.kind = 'sqlalchemy.engine' AND handle.kind <> 'sqlalchemy.engine'");
    int64_t harmless = counted_by(summary, "SELECT sum(handles) FROM handle WHERE kind = 'sqlalchemy.engine' OR "
                                           "(kind = 'sqlalchemy.session' AND NOT in_transaction)");
    int64_t open = counted_by(summary, "SELECT sum(open) FROM kind_count") - kept - harmless;

    kinds_said(summary);
    if (open <= 0)
        formatted(summary, COLOUR_NONE, " opened, all closed");
    else
        formatted(summary, COLOUR_NONE, " opened; %s still open at the end", number_said(&words, open));
    if (kept > 0)
        formatted(summary, COLOUR_NONE, " (%s kept by pools)", number_said(&words, kept));
}

/* "2 leaks", after what separates it from what was said before. */
static void amount_said(struct summary *summary, const char *separator, int64_t count, const char *what)
{
    struct words words;
    formatted(summary, COLOUR_NONE, "%s%s %s%s", separator, number_said(&words, count), what, ending(count));
}

static void findings_counted(struct summary *summary)
{
    int64_t others = summary->errors - summary->leaks;

    if (summary->leaks > 0)
        amount_said(summary, "", summary->leaks, "leak");
    if (others > 0)
        amount_said(summary, summary->leaks > 0 ? " and " : "", others, "error");
    if (summary->errors > 0)
        formatted(summary, COLOUR_NONE, " in your code");
    if (summary->warnings > 0)
        amount_said(summary, summary->errors > 0 ? ", " : "", summary->warnings, "warning");
    if (summary->errors + summary->warnings == 0)
        amount_said(summary, "", summary->notes, "note");
}

static void undecided_counted(struct summary *summary)
{
    struct words words;
    int64_t handles = counted_by(summary, "SELECT sum(count) FROM finding WHERE undecided AND suppressed IS NULL");
    bool running = counted_by(summary, "SELECT count(*) FROM process WHERE ended = 'running' AND open > 0") > 0;

    formatted(summary, COLOUR_NONE,
              running ? "%s handle%s open now" : "%s handle%s still open; could not tell leaked from referenced",
              number_said(&words, handles), ending(handles));
}

static void headline_said(struct summary *summary)
{
    const char *loaded = "SELECT count(*) FROM library";

    terminal_text(&summary->terminal, COLOUR_NONE, "unclosed: ");
    if (summary->failing > 0) {
        terminal_text(&summary->terminal, COLOUR_RED, "FAILED");
        formatted(summary, COLOUR_NONE, " - ");
        findings_counted(summary);
    } else if (strcmp(summary->verdict, "unobserved") == 0) {
        terminal_text(&summary->terminal, COLOUR_YELLOW, "UNOBSERVED");
        formatted(summary, COLOUR_NONE, " - what was not seen cannot be called clean");
    } else if (summary->errors + summary->warnings > 0) {
        terminal_text(&summary->terminal, COLOUR_YELLOW, "FOUND");
        formatted(summary, COLOUR_NONE, " - ");
        findings_counted(summary);
        formatted(summary, COLOUR_NONE, " (not failing: --fail-on=%s)",
                  severity_name(summary->rendering->options->fail_on));
    } else if (strcmp(summary->verdict, "nothing") == 0) {
        terminal_text(&summary->terminal, COLOUR_CYAN, "NOTHING TO JUDGE");
        formatted(summary, COLOUR_NONE,
                  counted_by(summary, loaded) > 0
                      ? " - a watched library was loaded, but nothing was opened (looked for %s)"
                      : " - no watched library was used (looked for %s)",
                  summary->rendering->watched);
    } else if (summary->undecided > 0) {
        terminal_text(&summary->terminal, COLOUR_YELLOW, "UNDECIDED");
        formatted(summary, COLOUR_NONE, " - ");
        undecided_counted(summary);
    } else {
        terminal_text(&summary->terminal, COLOUR_GREEN, "OK");
        formatted(summary, COLOUR_NONE, " - ");
        counts_said(summary);
    }
    line_ended(summary);
}

/* --- what was seen ------------------------------------------------------------------------------------------------------- */

static void seen_said(struct summary *summary)
{
    int64_t processes = counted_by(summary, "SELECT count(*) FROM process WHERE opened > 0");

    if (processes == 0)
        return;
    labelled(summary, COLOUR_FAINT, "seen");
    kinds_said(summary);
    formatted(summary, COLOUR_NONE, " opened in %" PRId64 " process%s; ", processes, processes == 1 ? "" : "es");
    if (summary->unobserved == 0 && summary->half_seen > 0)
        formatted(summary, COLOUR_NONE, "not all of it was seen");
    else if (summary->unobserved == 0)
        formatted(summary, COLOUR_NONE, "nothing unobserved");
    else
        formatted(summary, COLOUR_NONE, "%" PRId64 " process%s not seen completely", summary->unobserved,
                  summary->unobserved == 1 ? "" : "es");
    line_ended(summary);
}

/* pid, program, label, words, and how many processes more the same is true of. */
static const char unseen_query[] =
    "WITH gap (process, pid, program, label, words) AS ("
    "    SELECT id, pid, coalesce(executable, command, '?'), 'unseen', coalesce(unobserved_reason, 'could not be "
    "watched')"
    "    FROM process WHERE NOT observed"
    "    UNION ALL SELECT id, pid, coalesce(executable, command, '?'), 'unseen', python_problem"
    "    FROM process WHERE observed AND python_problem IS NOT NULL"
    "    UNION ALL SELECT process.id, pid, coalesce(executable, command, '?'), 'unseen', name || ': ' || problem"
    "    FROM adapter JOIN process ON process.id = process WHERE problem IS NOT NULL"
    "    UNION ALL SELECT id, pid, coalesce(executable, command, '?'), 'lost',"
    "        counted(dropped) || ' records could not be kept (' || coalesce((SELECT group_concat(count || ' ' || name, "
    "', ')"
    "        FROM loss WHERE loss.process = process.id AND count > 0), '?') || ')'"
    "    FROM process WHERE observed AND dropped > 0) "
    "SELECT min(pid), program, label, words, count(*) - 1, count(*) OVER () FROM gap "
    "GROUP BY program, label, words ORDER BY label DESC, min(process)";

static void unseen_said(struct summary *summary)
{
    sqlite3_stmt *gap = prepared(summary->db, unseen_query);
    int64_t count = 0;

    for (; row_fetched(gap, &summary->failed); count++) {
        if (count >= UNSEEN_MAX)
            continue;
        labelled(summary, COLOUR_YELLOW, text_of(gap, 2));
        formatted(summary, COLOUR_NONE, "%s (pid %" PRId64, text_of(gap, 1), integer_of(gap, 0));
        if (integer_of(gap, 4) > 0)
            formatted(summary, COLOUR_NONE, " and %" PRId64 " more", integer_of(gap, 4));
        formatted(summary, COLOUR_NONE, "): ");
        terminal_wrapped(&summary->terminal, text_of(gap, 3), LABEL);
        line_ended(summary);
    }
    sqlite3_finalize(gap);
    if (count > UNSEEN_MAX) {
        terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
        formatted(summary, COLOUR_NONE, "… and %" PRId64 " more", count - UNSEEN_MAX);
        line_ended(summary);
    }
}

static void results_said(struct summary *summary)
{
    bool plain = summary->status == 0 && strcmp(summary->verdict, "unobserved") != 0;

    if (summary->rendering->page != NULL) {
        labelled(summary, COLOUR_FAINT, "page");
        formatted(summary, COLOUR_NONE, "%s", summary->rendering->page);
        line_ended(summary);
    }
    if (plain && summary->failing == 0)
        return;
    labelled(summary, COLOUR_FAINT, "exit");
    formatted(summary, COLOUR_NONE, "%d: %s", summary->status, summary->reason);
    line_ended(summary);
}

/* --- all of it --------------------------------------------------------------------------------------------------------- */

static char *text_selected(struct summary *summary, const char *sql, int *number)
{
    sqlite3_stmt *statement = prepared(summary->db, sql);
    char *text = NULL;

    if (row_fetched(statement, &summary->failed)) {
        text = is_null(statement, 0) ? NULL : strdup(text_of(statement, 0));
        if (number != NULL)
            *number = (int)integer_of(statement, 1);
    }
    sqlite3_finalize(statement);
    return text;
}

#define COUNTING "SELECT count(*) FROM finding WHERE suppressed IS NULL AND baseline = 'new' AND "

static void totals_counted(struct summary *summary)
{
    static const char *const at_least[] = {[SEVERITY_NOTE] = COUNTING "1",
                                           [SEVERITY_WARNING] = COUNTING "severity IN ('warning', 'error')",
                                           [SEVERITY_ERROR] = COUNTING "severity = 'error'",
                                           [SEVERITY_NEVER] = COUNTING "0"};

    summary->leaks =
        counted_by(summary, COUNTING
                   "severity = 'error' AND rule IN "
                   "('leaked', 'failed-open-not-closed', 'close-failed', 'owner-gone', 'closed-by-gc', 'growing')");
    summary->errors = counted_by(summary, COUNTING "severity = 'error'");
    summary->warnings = counted_by(summary, COUNTING "severity = 'warning'");
    summary->notes = counted_by(summary, COUNTING "severity = 'note'");
    summary->undecided = counted_by(summary, COUNTING "undecided");
    summary->failing = counted_by(summary, at_least[summary->rendering->options->fail_on]);
    summary->unobserved = counted_by(summary, "SELECT count(*) FROM process WHERE NOT observed OR dropped > 0");
    summary->half_seen = counted_by(summary, "SELECT (SELECT count(*) FROM process WHERE python_problem IS NOT NULL) + "
                                             "(SELECT count(*) FROM adapter WHERE problem IS NOT NULL)");
    summary->directories = directories_read(summary->db);
    summary->verdict = text_selected(summary, "SELECT verdict, exit_status FROM verdict", &summary->status);
    summary->reason = text_selected(summary, "SELECT exit_reason FROM verdict", NULL);
}

static bool text_rendered(const struct rendering *rendering)
{
    struct summary summary = {
        .terminal = {.out = rendering->out, .colour = rendering->colour, .width = rendering->width},
        .rendering = rendering,
        .db = rendering->db};

    totals_counted(&summary);
    if (summary.verdict != NULL && summary.reason != NULL) {
        incidents_said(&summary);
        headline_said(&summary);
        findings_said(&summary, FINDINGS_LOUD);
        findings_said(&summary, FINDINGS_UNDECIDED);
        if (rendering->options->fail_on == SEVERITY_NOTE)
            findings_said(&summary, FINDINGS_NOTES);
        notes_counted(&summary);
        if (summary.errors + summary.warnings + summary.undecided + summary.unobserved > 0)
            seen_said(&summary);
        unseen_said(&summary);
        results_said(&summary);
    } else {
        summary.failed = true;
    }
    directories_freed(&summary.directories);
    free(summary.verdict);
    free(summary.reason);
    return !summary.failed;
}

const struct renderer text_renderer = {"text", "report.txt", "for people, in a terminal", text_rendered};
