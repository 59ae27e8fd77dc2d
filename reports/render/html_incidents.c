/* SPDX-License-Identifier: Apache-2.0 */
/* Bands on top of the page: the moment of trouble, and who held what then. */
#include <inttypes.h>
#include <string.h>

#include "../row.h"
#include "../words.h"
#include "html_page.h"

enum { BANDS_MAX = 5, ROWS_MAX = 40 };

enum {
    INCIDENT_ID,
    INCIDENT_RULE,
    INCIDENT_AT,
    INCIDENT_WAITED,
    INCIDENT_COUNT,
    INCIDENT_LAST,
    INCIDENT_PID,
    INCIDENT_PROGRAM,
    INCIDENT_OWNER,
    INCIDENT_TARGET,
    INCIDENT_MESSAGE,
    INCIDENT_FUNCTION,
    INCIDENT_FILE,
    INCIDENT_LINE,
    INCIDENT_STACK,
    INCIDENT_HOLDERS,
    INCIDENT_OTHERS,
};
static const char incidents_query[] =
    "SELECT incident.id, rule, at, waited_ns, count, last_at, pid, coalesce(executable, command, '?'), owner_label,"
    "       incident.target, message, where_function, where_file, where_line, incident.stack,"
    "       (SELECT count(*) FROM holder WHERE holder.incident = incident.id), count(*) OVER () "
    "FROM incident JOIN process ON process.id = incident.process LEFT JOIN stack ON stack.id = incident.stack "
    "ORDER BY rule <> 'pool-exhausted', at, incident.id LIMIT 5";

/* Columns as in the table, then the state. */
static const char holders_query[] =
    "SELECT counted(count(*)), CASE state WHEN 'owner-gone' THEN 'never closed' WHEN 'never-closed' THEN 'never closed'"
    "                                     WHEN 'idle-in-transaction' THEN 'idle in transaction'"
    "                                     WHEN 'busy' THEN 'at work' ELSE state END,"
    "       where_file, where_line, where_function, coalesce(owner_label, '') ||"
    "           CASE WHEN max(abandoned_ns) IS NOT NULL"
    "                THEN (CASE WHEN owner_label IS NULL THEN 'its owner was' ELSE ',' END) ||"
    "                     ' over for ' || duration(max(abandoned_ns)) ELSE '' END,"
    "       duration(max(age_ns)), duration(max(unused_ns)) ||"
    "           CASE WHEN max(in_transaction) THEN ', in a transaction' ELSE '' END, max(last_sql),"
    "       state IN ('owner-gone', 'never-closed') AS is_lost, count(*) "
    "FROM holder_then LEFT JOIN stack ON stack.id = holder_then.stack WHERE incident = ?1 "
    "GROUP BY holder_then.stack, state, owner_label ORDER BY is_lost DESC, count(*) DESC, max(age_ns) DESC";

static void title_written(struct page *page, sqlite3_stmt *incident, const char *element)
{
    const char *rule = text_of(incident, INCIDENT_RULE);
    int64_t holders = integer_of(incident, INCIDENT_HOLDERS);
    struct words at;
    char title[240];

    clock_said(&at, integer_of(incident, INCIDENT_AT));
    if (strcmp(rule, "pool-exhausted") == 0 && holders > 0)
        snprintf(title, sizeof title, "Pool exhausted at %.20s: who held the %" PRId64 " connection%s", at.text,
                 holders, holders == 1 ? "" : "s");
    else if (strcmp(rule, "pool-exhausted") == 0)
        snprintf(title, sizeof title, "Pool exhausted at %.20s; nobody in this process held a connection", at.text);
    else if (strcmp(rule, "blocking-transaction") == 0)
        snprintf(title, sizeof title, "Database locked at %.20s: who was in a transaction", at.text);
    else
        snprintf(title, sizeof title, "%.80s at %.20s", rule, at.text);
    html_element(&page->html, element, title);
}

static void circumstances_written(struct page *page, sqlite3_stmt *incident)
{
    struct html *html = &page->html;
    const char *file = text_of(incident, INCIDENT_FILE), *owner = text_of(incident, INCIDENT_OWNER);
    struct words words;
    char text[160];

    html_open(html, "p");
    html_element(html, "code", path_end(text_of(incident, INCIDENT_PROGRAM), 1));
    snprintf(text, sizeof text, " (pid %" PRId64 ") waited %.40s", integer_of(incident, INCIDENT_PID),
             duration_said(&words, integer_of(incident, INCIDENT_WAITED)));
    html_text(html, text);
    if (!is_null(incident, INCIDENT_FUNCTION)) {
        html_text(html, " at ");
        html_element(html, "code",
                     place_said(&words, path_shown(&page->directories, file), integer_of(incident, INCIDENT_LINE),
                                text_of(incident, INCIDENT_FUNCTION)));
    }
    if (*owner != '\0') {
        html_text(html, ", for ");
        html_element(html, "strong", owner);
    }
    if (integer_of(incident, INCIDENT_COUNT) > 1) {
        snprintf(text, sizeof text, "; %" PRId64 " times until ", integer_of(incident, INCIDENT_COUNT));
        html_text(html, text);
        html_text(html, clock_said(&words, integer_of(incident, INCIDENT_LAST)));
    }
    html_text(html, ".");
    html_close(html);
    if (*text_of(incident, INCIDENT_MESSAGE) != '\0')
        html_element(html, "p", text_of(incident, INCIDENT_MESSAGE), {"class", "quiet"});
    if (*text_of(incident, INCIDENT_TARGET) != '\0')
        html_element(html, "p", text_of(incident, INCIDENT_TARGET), {"class", "path"});
}

static void holder_written(struct page *page, sqlite3_stmt *holder)
{
    struct html *html = &page->html;
    bool is_lost = integer_of(holder, 9) != 0;
    struct words place;

    html_open(html, "tr", {"class", is_lost ? "lost" : NULL});
    html_element(html, "td", text_of(holder, 0), {"class", "number"});
    html_open(html, "td");
    html_element(html, is_lost ? "strong" : "span", text_of(holder, 1), {"class", is_lost ? "word error" : NULL});
    html_close(html);
    html_element(html, "td",
                 is_null(holder, 4) ? "(no stack)"
                                    : place_said(&place, path_shown(&page->directories, text_of(holder, 2)),
                                                 integer_of(holder, 3), text_of(holder, 4)),
                 {"class", "path"});
    for (int column = 5; column <= 7; column++)
        html_element(html, "td", text_of(holder, column));
    html_element(html, "td", text_of(holder, 8), {"class", "sql path"});
    html_close(html);
}

static void holders_written(struct page *page, sqlite3_stmt *incident)
{
    static const char *const titles[] = {"Connections", "State",      "Opened at", "For",
                                         "Held for",    "Unused for", "Last SQL"};
    sqlite3_stmt *holder = prepared(page->db, holders_query);
    struct html *html = &page->html;
    int64_t rest = integer_of(incident, INCIDENT_HOLDERS);
    char more[80];

    html_open(html, "div", {"class", "scroll"}, {"tabindex", "0"}, {"role", "region"}, {"aria-label", "Who held them"});
    html_open(html, "table");
    html_open(html, "thead");
    html_open(html, "tr");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        html_element(html, "th", titles[i], {"scope", "col"}, {"class", i == 0 ? "number" : NULL});
    html_close(html);
    html_close(html);
    html_open(html, "tbody");
    if (holder != NULL)
        begun_with(holder, integer(integer_of(incident, INCIDENT_ID)));
    for (int i = 0; i < ROWS_MAX && row_fetched(holder, &page->failed); i++) {
        holder_written(page, holder);
        rest -= integer_of(holder, 10);
    }
    sqlite3_finalize(holder);
    for (int element = 0; element < 3; element++) /* tbody, table, div */
        html_close(html);
    if (rest > 0) {
        snprintf(more, sizeof more, "%" PRId64 " more at other places; report.db has them all.", rest);
        html_element(html, "p", more, {"class", "quiet"});
    }
}

static void band_written(struct page *page, sqlite3_stmt *incident)
{
    circumstances_written(page, incident);
    if (integer_of(incident, INCIDENT_HOLDERS) > 0)
        holders_written(page, incident);
    html_open(&page->html, "details");
    html_element(&page->html, "summary", "Who waited");
    stack_written(page, "Asked for at", integer_of(incident, INCIDENT_STACK));
    html_close(&page->html);
}

/* The first of its sort is open, those after it are folded. */
void incidents_written(struct page *page)
{
    sqlite3_stmt *incident = prepared(page->db, incidents_query);
    char more[80], before[80] = "";
    int64_t others = 0;

    while (row_fetched(incident, &page->failed)) {
        bool is_first = strcmp(before, text_of(incident, INCIDENT_RULE)) != 0;
        html_open(&page->html, is_first ? "section" : "details", {"class", "incident"});
        title_written(page, incident, is_first ? "h2" : "summary");
        band_written(page, incident);
        html_close(&page->html);
        snprintf(before, sizeof before, "%s", text_of(incident, INCIDENT_RULE));
        others = integer_of(incident, INCIDENT_OTHERS) - BANDS_MAX;
    }
    sqlite3_finalize(incident);
    if (others > 0) {
        snprintf(more, sizeof more, "%" PRId64 " more moments of trouble are in report.db and the JSON.", others);
        html_element(&page->html, "p", more, {"class", "quiet"});
    }
}
