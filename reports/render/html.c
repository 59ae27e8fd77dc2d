/* SPDX-License-Identifier: Apache-2.0 */
/* The page: verdict, facts, what was not seen, findings worst first, tables. Readable without scripts; it has none. */
#include "html_page.h"

#include <stdlib.h>
#include <string.h>

#include "../embedded.h"
#include "../row.h"
#include "../sha256.h"
#include "../words.h"
#include "render.h"

enum { UNSEEN_MAX = 50 };

static const char *style_sheet(void)
{
    for (const struct embedded_file *file = embedded_files; file->name != NULL; file++)
        if (strcmp(file->name, "page/page.css") == 0)
            return file->text;
    return "";
}

/* --- the verdict in words ------------------------------------------------------------------------------------------ */

/* "; the connection pool ran empty at 14:02:11Z": the effect, after the cause. */
static void exhaustion_said(struct page *page, FILE *out)
{
    int64_t at = integer_selected(page->db, "SELECT min(at) FROM incident WHERE rule = 'pool-exhausted'", 0);
    struct words words;

    if (at != 0)
        fprintf(out, "; the connection pool ran empty at %s", clock_said(&words, at));
}

/* "10× SQLite connection never closed: app.c:42 lose; and 2 more errors or warnings" */
static bool worst_said(struct page *page, FILE *out)
{
    sqlite3_stmt *worst = prepared(page->db, "SELECT count, title, where_function, where_file, where_line, at_least,"
                                             "       count(*) OVER () - 1, rule FROM finding "
                                             "WHERE severity IN ('error', 'warning') AND suppressed IS NULL "
                                             "ORDER BY severity, rule = 'pool-exhausted', position LIMIT 1");
    bool there = row_fetched(worst, &page->failed);

    if (there) {
        struct words number, place;
        int64_t more = integer_of(worst, 6);
        fprintf(out, "%s%s× %s", integer_of(worst, 5) ? "at least " : "", number_said(&number, integer_of(worst, 0)),
                text_of(worst, 1));
        if (!is_null(worst, 2))
            fprintf(out, ": %s", place_said(&place, text_of(worst, 3), integer_of(worst, 4), text_of(worst, 2)));
        if (strcmp(text_of(worst, 7), "pool-exhausted") != 0)
            exhaustion_said(page, out);
        if (more > 0)
            fprintf(out, "; and %s more error%s or warning%s", number_said(&number, more), more == 1 ? "" : "s",
                    more == 1 ? "" : "s");
    }
    sqlite3_finalize(worst);
    return there;
}

/* What the page says first, in its title and its heading. Allocated. */
static char *verdict_said(struct page *page, const char *verdict, const char *watched)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct words opened, open;

    if (out == NULL)
        return NULL;
    number_said(&opened, integer_selected(page->db, "SELECT sum(opened) FROM kind_count", 0));
    number_said(&open, integer_selected(page->db, "SELECT sum(open) FROM kind_count", 0));
    if (worst_said(page, out))
        ;
    else if (strcmp(verdict, "unobserved") == 0)
        fprintf(out, "Unobserved: not everything could be seen, so nothing can be called clean");
    else if (strcmp(verdict, "nothing") == 0)
        fprintf(out, "Nothing to judge: no handle of a watched library was opened (looked for %s)", watched);
    else if (integer_selected(page->db, "SELECT count(*) FROM finding WHERE undecided", 0) > 0)
        fprintf(out, "Undecided: %s of %s handles still open; could not tell leaked from referenced", open.text,
                opened.text);
    else if (strcmp(open.text, "0") == 0)
        fprintf(out, "Clean: %s handles opened, all closed", opened.text);
    else
        fprintf(out, "Clean: %s handles opened, %s still open at the end and none of them lost", opened.text,
                open.text);
    return fclose(out) == 0 ? text : (free(text), NULL);
}

static void head_written(struct page *page, const char *heading)
{
    struct html *html = &page->html;
    char digest[SHA256_BASE64], policy[160];
    const char *style = style_sheet();

    snprintf(policy, sizeof policy, "default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'",
             sha256_in_base64(style, strlen(style), digest));
    html_open(html, "head");
    html_void(html, "meta", {"charset", "utf-8"});
    html_void(html, "meta", {"http-equiv", "Content-Security-Policy"}, {"content", policy});
    html_void(html, "meta", {"name", "viewport"}, {"content", "width=device-width, initial-scale=1"});
    html_void(html, "meta", {"name", "referrer"}, {"content", "no-referrer"});
    html_open(html, "title");
    html_text(html, heading);
    html_text(html, " – unclosed");
    html_close(html);
    html_style(html, style);
    html_close(html);
}

/* --- facts and what was not seen ------------------------------------------------------------------------------------ */

static void facts_written(struct page *page)
{
    sqlite3_stmt *run =
        prepared(page->db, "SELECT host, label, command, tool_version, made_at,"
                           "       (SELECT count(*) FROM process WHERE opened > 0), (SELECT count(*) FROM process),"
                           "       (SELECT min(started_at) FROM process),"
                           "       (SELECT max(coalesce(ended_at, seen_until_at)) - min(started_at) FROM process),"
                           "       (SELECT group_concat(words, ', ') FROM (SELECT counted(sum(opened)) || ' ' || "
                           "coalesce(CASE sum(opened) WHEN 1 THEN noun ELSE plural END, kind) AS words"
                           "           FROM kind_count LEFT JOIN kind ON kind.name = kind_count.kind WHERE opened > 0"
                           "           GROUP BY kind_count.kind ORDER BY sum(opened) DESC)),"
                           "       (SELECT exit_status || ': ' || exit_reason FROM verdict) FROM run");
    struct words words;
    char processes[80];

    if (row_fetched(run, &page->failed)) {
        html_open(&page->html, "dl");
        snprintf(processes, sizeof processes, "%lld, of which %lld opened something", (long long)integer_of(run, 6),
                 (long long)integer_of(run, 5));
        fact_written(page, "Program", text_of(run, 2));
        fact_written(page, "Label", text_of(run, 1));
        fact_written(page, "Host", text_of(run, 0));
        fact_written(page, "Started", is_null(run, 7) ? "" : time_said(&words, integer_of(run, 7)));
        fact_written(page, "Duration", is_null(run, 8) ? "" : duration_said(&words, integer_of(run, 8)));
        fact_written(page, "Processes", processes);
        fact_written(page, "Handles opened", is_null(run, 9) ? "none" : text_of(run, 9));
        fact_written(page, "Exit status", text_of(run, 10));
        html_close(&page->html);
    }
    sqlite3_finalize(run);
}

/* Program, pid, words, and how many processes more the same is true of. */
static const char unseen_query[] =
    "WITH gap (process, pid, program, words, place) AS ("
    "    SELECT id, pid, coalesce(executable, command, '?'), coalesce(unobserved_reason, 'could not be watched'), 0"
    "    FROM process WHERE NOT observed"
    "    UNION ALL SELECT id, pid, coalesce(executable, command, '?'), python_problem, 1"
    "    FROM process WHERE observed AND python_problem IS NOT NULL"
    "    UNION ALL SELECT process.id, pid, coalesce(executable, command, '?'), name || ': ' || problem, 2"
    "    FROM adapter JOIN process ON process.id = process WHERE problem IS NOT NULL"
    "    UNION ALL SELECT id, pid, coalesce(executable, command, '?'), counted(dropped) || ' records could not be "
    "kept: '"
    "        || coalesce((SELECT group_concat(count || ' ' || name, ', ') FROM loss"
    "                     WHERE loss.process = process.id AND count > 0), '?'), 3"
    "    FROM process WHERE observed AND dropped > 0"
    "    UNION ALL SELECT id, pid, coalesce(executable, command, '?'), warning, 4"
    "    FROM process WHERE observed AND dropped = 0 AND warning IS NOT NULL) "
    "SELECT program, min(pid), words, count(*) - 1 FROM gap GROUP BY program, words, place "
    "ORDER BY place, min(process) LIMIT 50";

static void unseen_written(struct page *page)
{
    struct html *html = &page->html;
    sqlite3_stmt *gap = prepared(page->db, unseen_query);
    char name[96];
    int rows = 0;

    for (; row_fetched(gap, &page->failed); rows++) {
        if (rows == 0) {
            html_open(html, "section");
            html_element(html, "h2", "Not seen");
            html_open(html, "ul");
        }
        html_open(html, "li");
        html_element(html, "code", text_of(gap, 0));
        if (integer_of(gap, 3) > 0)
            snprintf(name, sizeof name, " (pid %lld and %lld more): ", (long long)integer_of(gap, 1),
                     (long long)integer_of(gap, 3));
        else
            snprintf(name, sizeof name, " (pid %lld): ", (long long)integer_of(gap, 1));
        html_text(html, name);
        html_text(html, text_of(gap, 2));
        html_close(html);
    }
    if (rows > 0) {
        html_close(html);
        if (rows == UNSEEN_MAX)
            html_element(html, "p", "Only the first 50 are listed; report.db has them all.");
        html_close(html);
    }
    sqlite3_finalize(gap);
}

/* --- tables ------------------------------------------------------------------------------------------------------------- */

struct column {
    const char *title;
    bool is_number;
};

static void table_begun(struct page *page, const char *title, const struct column *columns)
{
    struct html *html = &page->html;

    html_open(html, "section");
    html_element(html, "h2", title);
    html_open(html, "div", {"class", "scroll"}, {"tabindex", "0"}, {"role", "region"}, {"aria-label", title});
    html_open(html, "table");
    html_open(html, "thead");
    html_open(html, "tr");
    for (; columns->title != NULL; columns++)
        html_element(html, "th", columns->title, {"scope", "col"}, {"class", columns->is_number ? "number" : NULL});
    html_close(html);
    html_close(html);
    html_open(html, "tbody");
}

static void table_ended(struct page *page, int64_t rows, int64_t all)
{
    struct words words;
    char rest[120];

    html_close(&page->html);
    html_close(&page->html);
    html_close(&page->html);
    if (all > rows) {
        snprintf(rest, sizeof rest, "%.40s more are not listed here; report.db has them all.",
                 number_said(&words, all - rows));
        html_element(&page->html, "p", rest, {"class", "quiet"});
    }
    html_close(&page->html);
}

/* The rows of a query, column by column; text that names a place is set like code. Returns how many. */
static int64_t rows_written(struct page *page, sqlite3_stmt *rows, const struct column *columns, int place)
{
    int64_t count = 0;

    for (; row_fetched(rows, &page->failed); count++) {
        html_open(&page->html, "tr");
        for (int i = 0; columns[i].title != NULL; i++)
            html_element(&page->html, "td", text_of(rows, i),
                         {"class", columns[i].is_number ? "number"
                                   : i == place         ? "path"
                                                        : NULL});
        html_close(&page->html);
    }
    return count;
}

static void sites_written(struct page *page)
{
    static const struct column columns[] = {
        {"Kind", false},  {"Opened at", false},   {"Opened", true}, {"Closed", true},  {"Open", true}, {"Peak", true},
        {"Failed", true}, {"Held, median", true}, {"99 %", true},   {"Longest", true}, {NULL, false}};
    sqlite3_stmt *rows = prepared(
        page->db,
        "SELECT kind, coalesce(place(where_file, where_line, where_function), '(no stack)'), sum(opened), sum(closed),"
        "       sum(open), max(peak), sum(failed), duration(max(held_p50_ns)), duration(max(held_p99_ns)),"
        "       duration(max(held_max_ns)) "
        "FROM site LEFT JOIN stack ON stack.id = site.stack GROUP BY kind, site.stack "
        "ORDER BY sum(open) DESC, sum(opened) DESC LIMIT 1000");
    int64_t all = integer_selected(page->db, "SELECT count(*) FROM (SELECT 1 FROM site GROUP BY kind, stack)", 0);

    if (all > 0) {
        table_begun(page, "Where handles were opened", columns);
        table_ended(page, rows_written(page, rows, columns, 1), all);
    }
    sqlite3_finalize(rows);
}

/* The last column is there if Python was: "3.11.2; sqlalchemy 2.0.45" */
static void processes_written(struct page *page)
{
    struct column columns[] = {
        {"Pid", true},     {"Parent", true}, {"Program", false}, {"Command", false}, {"Lasted", true},
        {"Ended", false},  {"Opened", true}, {"Closed", true},   {"Open", true},     {"Search for pointers", false},
        {"Python", false}, {NULL, false}};
    sqlite3_stmt *rows = prepared(
        page->db,
        "SELECT pid, parent_pid, executable, command, duration(coalesce(ended_at, seen_until_at) - started_at), "
        "end_words,"
        "       opened, closed, open, CASE scan WHEN 'complete' THEN 'complete' ELSE coalesce(scan_reason, scan) END,"
        "       python || coalesce('; ' || (SELECT group_concat(coalesce(name || ' ' || version, name), ', ')"
        "                                   FROM adapter WHERE adapter.process = process.id), '')"
        "              || coalesce('; ' || python_problem, '') "
        "FROM process ORDER BY opened = 0, started_at, id LIMIT 500");
    int64_t all = integer_selected(page->db, "SELECT count(*) FROM process", 0);

    if (integer_selected(page->db, "SELECT count(*) FROM process WHERE python IS NOT NULL", 0) == 0)
        columns[sizeof columns / sizeof columns[0] - 2] = (struct column){NULL, false};
    if (all > 0) {
        table_begun(page, "Processes", columns);
        table_ended(page, rows_written(page, rows, columns, 2), all);
    }
    sqlite3_finalize(rows);
}

/* --- all of it --------------------------------------------------------------------------------------------------------- */

static void body_written(struct page *page, const char *verdict, const char *heading)
{
    struct html *html = &page->html;

    html_open(html, "body");
    html_open(html, "header", {"class", verdict});
    html_open(html, "p", {"class", "quiet"});
    html_text(html, "unclosed: ");
    html_element(html, "span", verdict, {"class", "word"});
    html_close(html);
    html_element(html, "h1", heading);
    facts_written(page);
    html_close(html);
    html_open(html, "main");
    incidents_written(page);
    unseen_written(page);
    findings_written(page);
    sites_written(page);
    processes_written(page);
    html_close(html);
    html_open(html, "footer", {"class", "quiet"});
    html_element(html, "p",
                 "Counts are lower bounds where records were lost. `unclosed explain RULE` tells what a rule "
                 "means; everything on this page is in report.db (SQLite), too.");
    html_close(html);
    html_close(html);
}

static bool html_rendered(const struct rendering *rendering)
{
    struct page page = {
        .db = rendering->db,
        .options = rendering->options,
        .frames = frames_prepared(rendering->db),
        .directories = directories_read(rendering->db),
        .run_started = integer_selected(rendering->db, "SELECT min(started_at) FROM process", 0),
    };
    sqlite3_stmt *verdict = prepared(rendering->db, "SELECT verdict FROM verdict");

    if (row_fetched(verdict, &page.failed)) {
        char *heading = verdict_said(&page, text_of(verdict, 0), rendering->watched);
        html_begun(&page.html, rendering->out);
        head_written(&page, heading != NULL ? heading : text_of(verdict, 0));
        body_written(&page, text_of(verdict, 0), heading != NULL ? heading : text_of(verdict, 0));
        html_close(&page.html);
        free(heading);
    }
    sqlite3_finalize(verdict);
    sqlite3_finalize(page.frames);
    directories_freed(&page.directories);
    return !page.failed;
}

const struct renderer html_renderer = {"html", "index.html", "a page for people", html_rendered};
