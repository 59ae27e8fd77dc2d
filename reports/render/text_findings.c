/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../row.h"
#include "../words.h"
#include "text_summary.h"

enum { STACK_FRAMES_MAX = 4, DETAILED_MAX = 8, LISTED_MAX = 30, UNDECIDED_MAX = 6, TITLE_COLUMNS_MAX = 56 };

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

static const struct {
    const char *query;
    unsigned details, most;
    const char *what;
} choices[] = {
    [FINDINGS_LOUD] = {FINDINGS_QUERY "finding.severity IN ('error', 'warning') ORDER BY finding.position",
                       DETAILED_MAX, LISTED_MAX, "errors and warnings"},
    [FINDINGS_UNDECIDED] = {FINDINGS_QUERY "finding.severity = 'note' AND undecided ORDER BY finding.position",
                            UNDECIDED_MAX, UNDECIDED_MAX, "places with handles still open"},
    [FINDINGS_NOTES] = {FINDINGS_QUERY "finding.severity = 'note' AND NOT undecided ORDER BY finding.position",
                        DETAILED_MAX, LISTED_MAX, "notes"},
};

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
                     "AND kind IN ('test', 'request', 'task') ORDER BY kind, count DESC, label");
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

/* What it held: "oldest: objects: 3, unsaved: 2 new". */
static void details_said(struct summary *summary, const char *finding)
{
    sqlite3_stmt *statement =
        prepared(summary->db, "SELECT group_concat(replace(key, '_', ' ') || ': ' || value, ', ') FROM "
                              "(SELECT key, value FROM finding_detail WHERE finding = ?1 ORDER BY key)");
    if (statement != NULL)
        begun_with(statement, text(finding));
    if (row_fetched(statement, &summary->failed) && !is_null(statement, 0)) {
        terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
        formatted(summary, COLOUR_NONE, "the oldest: %s", text_of(statement, 0));
        line_ended(summary);
    }
    sqlite3_finalize(statement);
}

/* Of a Python program, the user's frames tell the way to the place: "list_orders orders.py:42 < handler api.py:7 < (14
 * library frames)". A single one is the place itself. */
static void stack_said(struct summary *summary, int64_t stack)
{
    sqlite3_stmt *frame = stack != 0 ? frames_prepared(summary->db) : NULL;
    int64_t users = 0, libraries = 0;
    char *line = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&line, &size);

    if (frame != NULL)
        begun_with(frame, integer(stack));
    while (frame != NULL && out != NULL && row_fetched(frame, &summary->failed)) {
        bool is_python = strcmp(text_of(frame, FRAME_LANGUAGE), "python") == 0;
        bool is_user = is_python && strcmp(text_of(frame, FRAME_OWNER), "user") == 0;
        libraries += is_python && !is_user && !integer_of(frame, FRAME_HIDDEN);
        if (is_user && ++users <= STACK_FRAMES_MAX)
            fprintf(out, "%s%s %s:%" PRId64, users > 1 ? " < " : "stack: ", text_of(frame, FRAME_FUNCTION),
                    path_shown(&summary->directories, text_of(frame, FRAME_FILE)), integer_of(frame, FRAME_LINE));
    }
    sqlite3_finalize(frame);
    if (out != NULL && users > STACK_FRAMES_MAX)
        fprintf(out, " < %" PRId64 " more", users - STACK_FRAMES_MAX);
    if (out != NULL && libraries > 0)
        fprintf(out, " (and %" PRId64 " library frame%s)", libraries, ending(libraries));
    if (out != NULL && fclose(out) == 0 && users > 1)
        detailed(summary, line);
    free(line);
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
    stack_said(summary, integer_of(finding, COLUMN_STACK));
    other_stacks_said(summary, finding);
    children_said(summary, text_of(finding, COLUMN_ID));
    labels_said(summary, text_of(finding, COLUMN_ID));
    details_said(summary, text_of(finding, COLUMN_ID));
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

void findings_said(struct summary *summary, enum finding_choice choice)
{
    const char *query = choices[choice].query;
    unsigned details = choices[choice].details, most = choices[choice].most;
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
        formatted(summary, COLOUR_NONE, "… and %" PRId64 " more %s", number - most, choices[choice].what);
        line_ended(summary);
    }
}

void notes_counted(struct summary *summary)
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
