/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unclosed/secrets.h>

#include "../row.h"
#include "../source.h"
#include "../words.h"
#include "html_page.h"
#include "render.h"

enum { FULL_MAX = 200, SHORT_MAX = 3000, SOURCE_AROUND = 1 };

void fact_written(struct page *page, const char *term, const char *value)
{
    if (*value == '\0')
        return;
    html_element(&page->html, "dt", term);
    html_element(&page->html, "dd", value);
}

enum {
    COLUMN_ID,
    COLUMN_RULE,
    COLUMN_SEVERITY,
    COLUMN_KIND,
    COLUMN_COUNT,
    COLUMN_AT_LEAST,
    COLUMN_TITLE,
    COLUMN_EVIDENCE,
    COLUMN_FUNCTION,
    COLUMN_FILE,
    COLUMN_LINE,
    COLUMN_MODULE,
    COLUMN_STACK,
    COLUMN_CLOSED,
    COLUMN_BEGIN,
    COLUMN_USED,
    COLUMN_TARGET,
    COLUMN_OLDEST,
    COLUMN_P50,
    COLUMN_P99,
    COLUMN_LONGEST,
    COLUMN_FIX,
    COLUMN_WRONG,
    COLUMN_RIGHT,
    COLUMN_SUPPRESSED,
    COLUMN_PHRASE,
};
#define FINDINGS_QUERY                                                                                              \
    "SELECT finding.id, rule, finding.severity, kind, count, at_least, finding.title, evidence, where_function,"    \
    "       where_file, where_line, where_module, stack, closed_stack, begin_stack, used_stack, target, oldest_ns," \
    "       held_p50_ns, held_p99_ns, held_max_ns, rule.fix, rule.wrong, rule.right, suppressed, rule.phrase "      \
    "FROM finding JOIN rule ON rule.id = finding.rule WHERE "
#define LOUD "finding.severity IN ('error', 'warning') AND suppressed IS NULL"

/* --- source --------------------------------------------------------------------------------------------- */

static void source_written(struct page *page, const char *path, int64_t line)
{
    struct html *html = &page->html;
    char number[16], shown[2048];

    if (page->options->no_source || *path == '\0' || line <= 0 || line > 100000000)
        return;
    int first = line > SOURCE_AROUND ? (int)line - SOURCE_AROUND : 1;
    struct source_lines *lines =
        source_lines_read(page->options->sysroot, path, first, (int)line + SOURCE_AROUND, page->run_started);
    if (lines != NULL && lines->count > 0) {
        html_open(html, "pre", {"class", "source"});
        for (int i = 0; i < lines->count; i++) {
            html_open(html, "span", {"class", lines->first + i == line ? "here" : NULL});
            snprintf(number, sizeof number, "%6d  ", lines->first + i);
            html_text(html, number);
            secrets_hidden(lines->text[i], true, shown, sizeof shown);
            html_text(html, shown);
            html_close(html);
            html_text(html, "\n");
        }
        html_close(html);
        if (lines->state == SOURCE_CHANGED)
            html_element(html, "p", "This file was changed after the run began; the lines may not be those that ran.",
                         {"class", "quiet"});
    }
    free(lines);
}

/* --- one finding -------------------------------------------------------------------------------------------------------- */

/* "a, b, c and 4 more" from a query of texts that belong to a finding. */
static void list_written(struct page *page, const char *term, const char *sql, const char *finding)
{
    sqlite3_stmt *statement = prepared(page->db, sql);
    char *list = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&list, &size);

    if (statement != NULL && out != NULL) {
        begun_with(statement, text(finding));
        for (int i = 0; row_fetched(statement, &page->failed); i++)
            fprintf(out, "%s%s", i > 0 ? ", " : "", text_of(statement, 0));
    }
    sqlite3_finalize(statement);
    if (out != NULL && fclose(out) == 0)
        fact_written(page, term, list);
    free(list);
}

static void facts_written(struct page *page, sqlite3_stmt *finding)
{
    struct words words, longest;
    char held[128];
    const char *id = text_of(finding, COLUMN_ID);

    html_open(&page->html, "dl");
    fact_written(page, "Rule", text_of(finding, COLUMN_RULE));
    fact_written(page, "Kind", text_of(finding, COLUMN_KIND));
    fact_written(page, "Target", text_of(finding, COLUMN_TARGET));
    if (integer_of(finding, COLUMN_OLDEST) > 0)
        fact_written(page, "Open for up to", duration_said(&words, integer_of(finding, COLUMN_OLDEST)));
    if (!is_null(finding, COLUMN_P50)) {
        snprintf(held, sizeof held, "%.40s in the middle, %.40s at most",
                 duration_said(&words, integer_of(finding, COLUMN_P50)),
                 duration_said(&longest, integer_of(finding, COLUMN_LONGEST)));
        fact_written(page, "Those closed were open", held);
    }
    list_written(page, "Processes",
                 "SELECT 'pid ' || pid || ' (' || counted(count) || ')' FROM finding_process "
                 "JOIN process ON process.id = process WHERE finding = ?1 ORDER BY count DESC LIMIT 10",
                 id);
    list_written(page, "Threads",
                 "SELECT coalesce(name || ' (' || thread || ')', thread) FROM finding_thread "
                 "WHERE finding = ?1 ORDER BY thread LIMIT 10",
                 id);
    list_written(page, "Requests",
                 "SELECT label FROM finding_label WHERE finding = ?1 AND kind = 'request' "
                 "ORDER BY count DESC LIMIT 10",
                 id);
    list_written(page, "Tests",
                 "SELECT label FROM finding_label WHERE finding = ?1 AND kind = 'test' "
                 "ORDER BY count DESC LIMIT 10",
                 id);
    list_written(page, "Tasks",
                 "SELECT label FROM finding_label WHERE finding = ?1 AND kind = 'task' "
                 "ORDER BY count DESC LIMIT 10",
                 id);
    list_written(page, "The oldest",
                 "SELECT replace(key, '_', ' ') || ': ' || value FROM finding_detail WHERE finding = ?1 ORDER BY key",
                 id);
    fact_written(page, "Suppressed by", text_of(finding, COLUMN_SUPPRESSED));
    html_close(&page->html);
}

static void fix_written(struct page *page, sqlite3_stmt *finding)
{
    struct html *html = &page->html;
    char *fix = filled_in(text_of(finding, COLUMN_FIX), "handle", text_of(finding, COLUMN_KIND));

    html_open(html, "p");
    html_element(html, "strong", "Fix: ");
    html_text(html, fix != NULL ? fix : text_of(finding, COLUMN_FIX));
    html_close(html);
    free(fix);
    if (is_null(finding, COLUMN_WRONG) && is_null(finding, COLUMN_RIGHT))
        return;
    html_open(html, "details");
    html_element(html, "summary", "Example");
    if (!is_null(finding, COLUMN_WRONG)) {
        html_element(html, "h4", "Wrong");
        html_element(html, "pre", text_of(finding, COLUMN_WRONG));
    }
    if (!is_null(finding, COLUMN_RIGHT)) {
        html_element(html, "h4", "Right");
        html_element(html, "pre", text_of(finding, COLUMN_RIGHT));
    }
    html_close(html);
}

static void children_written(struct page *page, const char *finding)
{
    sqlite3_stmt *statement = prepared(page->db, "SELECT counted(count) || ' ' || coalesce(CASE count WHEN 1 THEN noun "
                                                 "ELSE plural END, finding_child.kind), stack "
                                                 "FROM finding_child LEFT JOIN kind ON kind.name = finding_child.kind "
                                                 "WHERE finding = ?1 ORDER BY count DESC LIMIT 10");
    char title[200];

    if (statement != NULL)
        begun_with(statement, text(finding));
    while (row_fetched(statement, &page->failed)) {
        snprintf(title, sizeof title, "Under it: %.150s, opened at", text_of(statement, 0));
        stack_written(page, title, integer_of(statement, 1));
    }
    sqlite3_finalize(statement);
}

static void heading_written(struct page *page, sqlite3_stmt *finding)
{
    struct html *html = &page->html;
    struct words words;
    char place[32];

    html_open(html, "h3");
    html_element(html, "span", text_of(finding, COLUMN_SEVERITY), {"class", "word"});
    html_text(html, integer_of(finding, COLUMN_AT_LEAST) ? " at least " : " ");
    html_text(html, number_said(&words, integer_of(finding, COLUMN_COUNT)));
    html_text(html, "× ");
    html_text(html, text_of(finding, COLUMN_TITLE));
    html_close(html);
    html_open(html, "p", {"class", "where"});
    if (!is_null(finding, COLUMN_FILE)) {
        html_open(html, "code");
        html_text(html, path_shown(&page->directories, text_of(finding, COLUMN_FILE)));
        if (integer_of(finding, COLUMN_LINE) > 0) {
            snprintf(place, sizeof place, ":%" PRId64, integer_of(finding, COLUMN_LINE));
            html_text(html, place);
        }
        html_close(html);
        html_text(html, " in ");
    }
    html_element(html, "code", is_null(finding, COLUMN_FUNCTION) ? "(no stack)" : text_of(finding, COLUMN_FUNCTION));
    html_close(html);
}

static void finding_written(struct page *page, sqlite3_stmt *finding)
{
    struct html *html = &page->html;
    const char *rule = text_of(finding, COLUMN_RULE);
    char anchor[32];

    snprintf(anchor, sizeof anchor, "finding-%.20s", text_of(finding, COLUMN_ID));
    html_open(html, "article", {"id", anchor}, {"class", text_of(finding, COLUMN_SEVERITY)});
    heading_written(page, finding);
    source_written(page, text_of(finding, COLUMN_FILE), integer_of(finding, COLUMN_LINE));
    html_element(html, "p", text_of(finding, COLUMN_EVIDENCE), {"class", "evidence"});
    fix_written(page, finding);
    stack_written(page, strcmp(rule, "pool-exhausted") == 0 ? "Asked for at" : "Opened at",
                  integer_of(finding, COLUMN_STACK));
    stack_written(page, "Transaction begun at", integer_of(finding, COLUMN_BEGIN));
    stack_written(page, strcmp(rule, "close-failed") == 0 ? "Close tried at" : "Closed at",
                  integer_of(finding, COLUMN_CLOSED));
    stack_written(page, strcmp(rule, "closed-twice") == 0 ? "Closed again at" : "Used at",
                  integer_of(finding, COLUMN_USED));
    children_written(page, text_of(finding, COLUMN_ID));
    facts_written(page, finding);
    html_close(html);
}

/* --- all findings --------------------------------------------------------------------------------------------------------- */

static void line_written(struct page *page, sqlite3_stmt *finding)
{
    struct html *html = &page->html;
    struct words words;

    html_open(html, "tr");
    html_element(html, "td", text_of(finding, COLUMN_SEVERITY));
    html_element(html, "td", number_said(&words, integer_of(finding, COLUMN_COUNT)), {"class", "number"});
    html_element(html, "td", text_of(finding, COLUMN_TITLE));
    html_element(html, "td",
                 place_said(&words, path_shown(&page->directories, text_of(finding, COLUMN_FILE)),
                            integer_of(finding, COLUMN_LINE), text_of(finding, COLUMN_FUNCTION)),
                 {"class", "path"});
    html_close(html);
}

static void lines_begun(struct page *page)
{
    static const char *const titles[] = {"Severity", "Count", "What", "Where"};
    struct html *html = &page->html;

    html_element(html, "h3", "More, one line each");
    html_open(html, "div", {"class", "scroll"}, {"tabindex", "0"}, {"role", "region"}, {"aria-label", "More findings"});
    html_open(html, "table");
    html_open(html, "thead");
    html_open(html, "tr");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        html_element(html, "th", titles[i], {"scope", "col"}, {"class", i == 1 ? "number" : NULL});
    html_close(html);
    html_close(html);
    html_open(html, "tbody");
}

/* Returns how many there were. */
static int64_t findings_listed(struct page *page, const char *query)
{
    sqlite3_stmt *finding = prepared(page->db, query);
    int64_t number = 0;
    struct words words;
    char rest[120];

    while (row_fetched(finding, &page->failed)) {
        if (++number <= FULL_MAX)
            finding_written(page, finding);
        if (number == FULL_MAX + 1)
            lines_begun(page);
        if (number > FULL_MAX && number <= FULL_MAX + SHORT_MAX)
            line_written(page, finding);
    }
    sqlite3_finalize(finding);
    if (number > FULL_MAX) {
        html_close(&page->html);
        html_close(&page->html);
        html_close(&page->html);
    }
    if (number > FULL_MAX + SHORT_MAX) {
        snprintf(rest, sizeof rest, "%.40s more are not on this page; report.db and the JSON have them all.",
                 number_said(&words, number - FULL_MAX - SHORT_MAX));
        html_element(&page->html, "p", rest);
    }
    return number;
}

/* Notes are folded away, unless they are what there is to look at: handles of which nobody can tell. */
static void notes_written(struct page *page)
{
    struct html *html = &page->html;
    struct words words;
    int64_t notes = integer_selected(page->db, "SELECT count(*) FROM finding WHERE NOT (" LOUD ")", 0);
    bool undecided = integer_selected(page->db, "SELECT count(*) FROM finding WHERE undecided", 0) > 0;
    char title[200];

    if (notes == 0)
        return;
    snprintf(title, sizeof title, "%.40s note%s: nothing wrong by %s", number_said(&words, notes),
             notes == 1 ? "" : "s", notes == 1 ? "itself" : "themselves");
    html_open(html, "section");
    html_element(html, "h2", "Notes");
    html_open(html, "details", {undecided ? "open" : NULL, ""});
    html_element(html, "summary", title);
    findings_listed(page, FINDINGS_QUERY "NOT (" LOUD ") ORDER BY NOT undecided, finding.position");
    html_close(html);
    html_close(html);
}

void findings_written(struct page *page)
{
    html_open(&page->html, "section");
    html_element(&page->html, "h2", "Findings");
    if (findings_listed(page, FINDINGS_QUERY LOUD " ORDER BY finding.position") == 0)
        html_element(&page->html, "p", "No error and no warning.");
    html_close(&page->html);
    notes_written(page);
}
