/* SPDX-License-Identifier: Apache-2.0 */
/* The summary: verdict first, then findings with a fix, notes in a line, what was seen, the page, the exit status. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../row.h"
#include "../words.h"
#include "render.h"
#include "terminal_writer.h"

enum { LABEL = 7, DETAILED_MAX = 8, LISTED_MAX = 30, UNDECIDED_MAX = 6, UNSEEN_MAX = 5, TITLE_COLUMNS_MAX = 56 };

struct summary {
    struct terminal terminal;
    const struct rendering *rendering;
    sqlite3 *db;
    char *directory; /* paths below it are shown without it; NULL: none */
    bool failed;
    int64_t leaks, errors, warnings, notes, undecided, failing, unobserved;
    char *verdict, *reason;
    int status;
};

static void formatted(struct summary *summary, enum terminal_colour colour, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void formatted(struct summary *summary, enum terminal_colour colour, const char *format, ...)
{
    char *line = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&line, format, arguments) >= 0) {
        terminal_text(&summary->terminal, colour, line);
        free(line);
    }
    va_end(arguments);
}

static void labelled(struct summary *summary, enum terminal_colour colour, const char *label)
{
    terminal_padded(&summary->terminal, colour, label, LABEL);
}

static void line_ended(struct summary *summary)
{
    terminal_line_ended(&summary->terminal);
}

/* A detail below a finding, on lines of its own. */
static void detailed(struct summary *summary, const char *text)
{
    terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
    terminal_wrapped(&summary->terminal, text, LABEL);
    line_ended(summary);
}

static const char *ending(int64_t count)
{
    return count == 1 ? "" : "s";
}

static int64_t counted_by(struct summary *summary, const char *sql)
{
    return integer_selected(summary->db, sql, 0);
}

/* --- places ---------------------------------------------------------------------------------------------------------- */

static const char *path_shown(const struct summary *summary, const char *path)
{
    size_t length = summary->directory != NULL ? strlen(summary->directory) : 0;
    bool below = length > 1 && strncmp(path, summary->directory, length) == 0 && path[length] == '/';
    return below ? path + length + 1 : path;
}

/* From columns function, file, line, module; allocated, NULL without memory. */
static char *place_shown(const struct summary *summary, sqlite3_stmt *statement, int column)
{
    const char *function = text_of(statement, column), *file = text_of(statement, column + 1);
    const char *module = text_of(statement, column + 3);
    char *place = NULL;
    int rc;

    if (*file != '\0' && integer_of(statement, column + 2) > 0)
        rc = asprintf(&place, "%s:%" PRId64 " %s", path_shown(summary, file), integer_of(statement, column + 2),
                      function);
    else if (*file != '\0')
        rc = asprintf(&place, "%s %s", path_shown(summary, file), function);
    else if (*function == '\0')
        rc = asprintf(&place, "%s", "(no stack)");
    else
        rc = asprintf(&place, "%s%s%s", function, *module != '\0' ? " in " : "", path_shown(summary, module));
    return rc < 0 ? NULL : place;
}

static void stack_named(struct summary *summary, const char *what, int64_t stack)
{
    sqlite3_stmt *statement = prepared(summary->db, "SELECT where_function, where_file, where_line, where_module "
                                                    "FROM stack WHERE id = ?1");
    if (statement == NULL || stack == 0) {
        sqlite3_finalize(statement);
        return;
    }
    begun_with(statement, integer(stack));
    if (row_fetched(statement, &summary->failed)) {
        char *place = place_shown(summary, statement, 0);
        formatted(summary, COLOUR_NONE, "%s%s at %s", summary->terminal.column > LABEL ? ", " : "", what,
                  place != NULL ? place : "?");
        free(place);
    }
    sqlite3_finalize(statement);
}

/* --- findings -------------------------------------------------------------------------------------------------------- */

enum {
    COLUMN_ID,
    COLUMN_RULE,
    COLUMN_SEVERITY,
    COLUMN_COUNT,
    COLUMN_AT_LEAST,
    COLUMN_TITLE,
    COLUMN_EVIDENCE,
    COLUMN_PLACE,
    COLUMN_FIX = COLUMN_PLACE + 4,
    COLUMN_KIND,
    COLUMN_STACK,
    COLUMN_CLOSED,
    COLUMN_BEGIN,
    COLUMN_USED,
    COLUMN_TARGET,
};
#define FINDINGS_QUERY                                                                                                 \
    "SELECT finding.id, rule, finding.severity, count, at_least, finding.title, evidence, where_function, where_file," \
    "       where_line, where_module, rule.fix, kind, stack, closed_stack, begin_stack, used_stack, target "           \
    "FROM finding JOIN rule ON rule.id = finding.rule WHERE suppressed IS NULL AND "

static void other_stacks_said(struct summary *summary, sqlite3_stmt *finding)
{
    const char *rule = text_of(finding, COLUMN_RULE);

    if (is_null(finding, COLUMN_CLOSED) && is_null(finding, COLUMN_USED) && is_null(finding, COLUMN_BEGIN))
        return;
    terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
    stack_named(summary, "opened", integer_of(finding, COLUMN_STACK));
    stack_named(summary, "transaction begun", integer_of(finding, COLUMN_BEGIN));
    stack_named(summary, strcmp(rule, "close-failed") == 0 ? "close tried" : "closed",
                integer_of(finding, COLUMN_CLOSED));
    stack_named(summary, strcmp(rule, "closed-twice") == 0 ? "closed again" : "used", integer_of(finding, COLUMN_USED));
    line_ended(summary);
}

static void children_said(struct summary *summary, const char *finding)
{
    sqlite3_stmt *statement = prepared(
        summary->db,
        "SELECT count, CASE count WHEN 1 THEN noun ELSE plural END, where_function, where_file, where_line, "
        "where_module "
        "FROM finding_child LEFT JOIN stack ON stack.id = finding_child.stack"
        "     LEFT JOIN kind ON kind.name = finding_child.kind WHERE finding = ?1 ORDER BY count DESC LIMIT 3");
    if (statement != NULL)
        begun_with(statement, text(finding));
    while (row_fetched(statement, &summary->failed)) {
        struct words words;
        char *place = place_shown(summary, statement, 2);
        terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
        formatted(summary, COLOUR_NONE, "under it: %s %s opened at %s", number_said(&words, integer_of(statement, 0)),
                  text_of(statement, 1), place != NULL ? place : "?");
        line_ended(summary);
        free(place);
    }
    sqlite3_finalize(statement);
}

static void labels_said(struct summary *summary, const char *finding)
{
    sqlite3_stmt *statement = prepared(
        summary->db, "SELECT kind, label, count(*) OVER (PARTITION BY kind) FROM finding_label WHERE finding = ?1 "
                     "AND kind IN ('test', 'request') ORDER BY kind, count DESC, label");
    char last[16] = "";

    if (statement != NULL)
        begun_with(statement, text(finding));
    while (row_fetched(statement, &summary->failed)) {
        const char *kind = text_of(statement, 0);
        int64_t more = integer_of(statement, 2) - 1;
        if (strcmp(kind, last) == 0)
            continue;
        snprintf(last, sizeof last, "%s", kind);
        terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
        formatted(summary, COLOUR_NONE, "in %s", text_of(statement, 1));
        if (more > 0)
            formatted(summary, COLOUR_NONE, " and %" PRId64 " more %s%s", more, kind, ending(more));
        line_ended(summary);
    }
    sqlite3_finalize(statement);
}

static void fix_said(struct summary *summary, sqlite3_stmt *finding)
{
    char *fix = filled_in(text_of(finding, COLUMN_FIX), "handle", text_of(finding, COLUMN_KIND)), *line = NULL;

    if (fix != NULL && asprintf(&line, "fix: %s (unclosed explain %s)", fix, text_of(finding, COLUMN_RULE)) >= 0)
        detailed(summary, line);
    free(line);
    free(fix);
}

struct columns {
    unsigned rule, count, title;
};

static void finding_headed(struct summary *summary, sqlite3_stmt *finding, const struct columns *columns)
{
    const char *severity = text_of(finding, COLUMN_SEVERITY);
    char *place = place_shown(summary, finding, COLUMN_PLACE);
    char count[48];
    struct words words;

    snprintf(count, sizeof count, "%s%s×", integer_of(finding, COLUMN_AT_LEAST) ? "≥" : "",
             number_said(&words, integer_of(finding, COLUMN_COUNT)));
    if (strcmp(severity, "error") == 0)
        labelled(summary, COLOUR_RED, "error");
    else if (strcmp(severity, "warning") == 0)
        labelled(summary, COLOUR_YELLOW, "warn");
    else
        labelled(summary, COLOUR_CYAN, "note");
    terminal_padded(&summary->terminal, COLOUR_NONE, text_of(finding, COLUMN_RULE), columns->rule + 1);
    terminal_padded(&summary->terminal, COLOUR_BOLD, count, columns->count + 2);
    terminal_padded(&summary->terminal, COLOUR_NONE, text_of(finding, COLUMN_TITLE), columns->title);
    terminal_text(&summary->terminal, COLOUR_NONE, "  ");
    terminal_text(&summary->terminal, COLOUR_BOLD, place != NULL ? place : "?");
    line_ended(summary);
    free(place);
}

static void finding_detailed(struct summary *summary, sqlite3_stmt *finding, bool with_fix)
{
    detailed(summary, text_of(finding, COLUMN_EVIDENCE));
    other_stacks_said(summary, finding);
    children_said(summary, text_of(finding, COLUMN_ID));
    labels_said(summary, text_of(finding, COLUMN_ID));
    if (*text_of(finding, COLUMN_TARGET) != '\0') {
        terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
        formatted(summary, COLOUR_NONE, "target: %s", text_of(finding, COLUMN_TARGET));
        line_ended(summary);
    }
    if (with_fix)
        fix_said(summary, finding);
}

static struct columns columns_measured(struct summary *summary, const char *query, unsigned most)
{
    struct columns columns = {0};
    sqlite3_stmt *finding = prepared(summary->db, query);

    for (unsigned i = 0; i < most && row_fetched(finding, &summary->failed); i++) {
        struct words words;
        unsigned rule = terminal_columns(text_of(finding, COLUMN_RULE));
        unsigned title = terminal_columns(text_of(finding, COLUMN_TITLE));
        unsigned count = terminal_columns(number_said(&words, integer_of(finding, COLUMN_COUNT))) + 1 +
                         (integer_of(finding, COLUMN_AT_LEAST) != 0);
        columns.rule = rule > columns.rule ? rule : columns.rule;
        columns.count = count > columns.count ? count : columns.count;
        columns.title = title > columns.title && title <= TITLE_COLUMNS_MAX ? title : columns.title;
    }
    sqlite3_finalize(finding);
    return columns;
}

/* The findings of a query, the first few with details, and how many more there are. */
static void findings_said(struct summary *summary, const char *query, unsigned details, unsigned most, const char *what)
{
    struct columns columns = columns_measured(summary, query, most);
    sqlite3_stmt *finding = prepared(summary->db, query);
    char fixed[80] = "";
    int64_t number = 0;

    while (row_fetched(finding, &summary->failed)) {
        if (number++ >= most)
            continue;
        finding_headed(summary, finding, &columns);
        if (number > details || strcmp(text_of(finding, COLUMN_SEVERITY), "warning") == 0)
            continue;
        bool is_new = strcmp(fixed, text_of(finding, COLUMN_RULE)) != 0;
        finding_detailed(summary, finding, is_new && strcmp(text_of(finding, COLUMN_SEVERITY), "error") == 0);
        snprintf(fixed, sizeof fixed, "%s", text_of(finding, COLUMN_RULE));
    }
    sqlite3_finalize(finding);
    if (number > most) {
        terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
        formatted(summary, COLOUR_NONE, "… and %" PRId64 " more %s", number - most, what);
        line_ended(summary);
    }
}

static void notes_counted(struct summary *summary)
{
    sqlite3_stmt *statement = prepared(
        summary->db,
        "SELECT sum(count), CASE WHEN coalesce(where_owner, 'user') <> 'user' THEN 'in third-party code'"
        "                        ELSE replace(rule, '-', ' ') END AS words "
        "FROM finding WHERE severity = 'note' AND NOT undecided AND suppressed IS NULL GROUP BY words ORDER BY 1 DESC");
    int64_t suppressed = counted_by(summary, "SELECT count(*) FROM finding WHERE suppressed IS NOT NULL");
    const char *separator = "";
    struct words words;

    while (row_fetched(statement, &summary->failed)) {
        if (*separator == '\0')
            labelled(summary, COLOUR_CYAN, "also");
        formatted(summary, COLOUR_NONE, "%s%s %s", separator, number_said(&words, integer_of(statement, 0)),
                  text_of(statement, 1));
        separator = ", ";
    }
    if (suppressed > 0) {
        if (*separator == '\0')
            labelled(summary, COLOUR_CYAN, "also");
        formatted(summary, COLOUR_NONE, "%s%s suppressed", separator, number_said(&words, suppressed));
    }
    if (*separator != '\0')
        formatted(summary, COLOUR_NONE, " (notes: nothing wrong by themselves)");
    if (*separator != '\0' || suppressed > 0)
        line_ended(summary);
    sqlite3_finalize(statement);
}

/* --- the first line ------------------------------------------------------------------------------------------------------ */

/* "419 SQLAlchemy sessions and 96 PostgreSQL connections": the kinds that matter most, at most three. */
static void kinds_said(struct summary *summary)
{
    sqlite3_stmt *statement = prepared(
        summary->db, "SELECT sum(opened) AS total, coalesce(CASE sum(opened) WHEN 1 THEN noun ELSE plural END, kind),"
                     "       count(*) OVER () FROM kind_count LEFT JOIN kind ON kind.name = kind_count.kind "
                     "WHERE opened > 0 GROUP BY kind_count.kind ORDER BY coalesce(cheap, 0), total DESC LIMIT 3");
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

static void counts_said(struct summary *summary)
{
    struct words words;
    int64_t open = counted_by(summary, "SELECT sum(open) FROM kind_count");

    kinds_said(summary);
    if (open == 0)
        formatted(summary, COLOUR_NONE, " opened, all closed");
    else
        formatted(summary, COLOUR_NONE, " opened; %s still open at the end", number_said(&words, open));
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
    if (summary->unobserved == 0)
        formatted(summary, COLOUR_NONE, "nothing unobserved");
    else
        formatted(summary, COLOUR_NONE, "%" PRId64 " process%s not seen completely", summary->unobserved,
                  summary->unobserved == 1 ? "" : "es");
    line_ended(summary);
}

static void unseen_said(struct summary *summary)
{
    sqlite3_stmt *statement = prepared(
        summary->db,
        "SELECT pid, coalesce(executable, command, '?'), observed, unobserved_reason, dropped,"
        "       (SELECT group_concat(count || ' ' || name, ', ') FROM loss WHERE process = process.id AND count > 0) "
        "FROM process WHERE NOT observed OR dropped > 0 ORDER BY observed, id");
    struct words words;

    for (int64_t i = 0; row_fetched(statement, &summary->failed); i++) {
        if (i >= UNSEEN_MAX)
            continue;
        labelled(summary, COLOUR_YELLOW, integer_of(statement, 2) ? "lost" : "unseen");
        formatted(summary, COLOUR_NONE, "%s (pid %" PRId64 "): ", text_of(statement, 1), integer_of(statement, 0));
        if (!integer_of(statement, 2))
            terminal_wrapped(&summary->terminal, is_null(statement, 3) ? "could not be watched" : text_of(statement, 3),
                             LABEL);
        else
            formatted(summary, COLOUR_NONE, "%s records could not be kept (%s)",
                      number_said(&words, integer_of(statement, 4)), text_of(statement, 5));
        line_ended(summary);
    }
    sqlite3_finalize(statement);
    if (summary->unobserved > UNSEEN_MAX) {
        terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
        formatted(summary, COLOUR_NONE, "… and %" PRId64 " more", summary->unobserved - UNSEEN_MAX);
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
    summary->directory =
        text_selected(summary, "SELECT directory FROM process WHERE directory <> '' ORDER BY id LIMIT 1", NULL);
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
        headline_said(&summary);
        findings_said(&summary, FINDINGS_QUERY "finding.severity IN ('error', 'warning') ORDER BY finding.position",
                      DETAILED_MAX, LISTED_MAX, "errors and warnings");
        findings_said(&summary, FINDINGS_QUERY "finding.severity = 'note' AND undecided ORDER BY finding.position",
                      UNDECIDED_MAX, UNDECIDED_MAX, "places with handles still open");
        if (rendering->options->fail_on == SEVERITY_NOTE)
            findings_said(&summary,
                          FINDINGS_QUERY "finding.severity = 'note' AND NOT undecided ORDER BY finding.position",
                          DETAILED_MAX, LISTED_MAX, "notes");
        notes_counted(&summary);
        if (summary.errors + summary.warnings + summary.undecided + summary.unobserved > 0)
            seen_said(&summary);
        unseen_said(&summary);
        results_said(&summary);
    } else {
        summary.failed = true;
    }
    free(summary.directory);
    free(summary.verdict);
    free(summary.reason);
    return !summary.failed;
}

const struct renderer text_renderer = {"text", "report.txt", "for people, in a terminal", text_rendered};
