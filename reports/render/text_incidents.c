/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     unclosed: POOL EXHAUSTED at 14:02:11Z in gunicorn (pid 9), waited 30 s; 214 times until 14:09:40Z
 *     who held the 15 connections at 14:02:11Z
 *       11  never closed  app/orders.py:42 list_orders  GET /orders, over since 4m12s
 *           last SQL: SELECT … FROM orders WHERE id = ?
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../row.h"
#include "../words.h"
#include "text_summary.h"

enum { HOLDERS_MAX = 8, STATE_COLUMNS = 21, SQL_BYTES = 100 };

static const char incident_query[] =
    "SELECT incident.id, at, waited_ns, (SELECT sum(count) FROM incident WHERE rule = 'pool-exhausted'),"
    "       (SELECT max(last_at) FROM incident WHERE rule = 'pool-exhausted'), pid, coalesce(executable, command, '?'),"
    "       message, (SELECT count(*) FROM holder WHERE holder.incident = incident.id), target "
    "FROM incident JOIN process ON process.id = incident.process WHERE rule = 'pool-exhausted' ORDER BY at LIMIT 1";

/* Columns 0…3 are a place. */
static const char holders_query[] =
    "SELECT where_function, where_file, where_line, where_module, count(*), state, owner_label, max(abandoned_ns),"
    "       max(age_ns), max(unused_ns), max(in_transaction), max(last_sql), count(*) OVER () "
    "FROM holder_then LEFT JOIN stack ON stack.id = holder_then.stack WHERE incident = ?1 "
    "GROUP BY holder_then.stack, state, owner_label "
    "ORDER BY state NOT IN ('owner-gone', 'never-closed'), count(*) DESC, max(age_ns) DESC";

static const char *state_said(const char *state)
{
    static const struct {
        const char *state, *words;
    } known[] = {{"owner-gone", "never closed"},
                 {"never-closed", "never closed"},
                 {"idle-in-transaction", "idle in transaction"},
                 {"busy", "at work"}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(state, known[i].state) == 0)
            return known[i].words;
    return state;
}

/* "GET /orders, over for 4m12s; idle in transaction for 4m11s" */
static void circumstances_said(struct summary *summary, sqlite3_stmt *holder)
{
    const char *state = text_of(holder, 5), *label = text_of(holder, 6);
    struct words words;

    if (*label != '\0')
        formatted(summary, COLOUR_NONE, "  %s", label);
    if (strcmp(state, "owner-gone") == 0)
        formatted(summary, COLOUR_NONE, "%s over for %s", *label != '\0' ? "," : "  its owner",
                  duration_said(&words, integer_of(holder, 7)));
    else
        formatted(summary, COLOUR_NONE, "%s held for %s", *label != '\0' ? "," : " ",
                  duration_said(&words, integer_of(holder, 8)));
    if (integer_of(holder, 10) && strcmp(state, "busy") != 0 && !is_null(holder, 9))
        formatted(summary, COLOUR_NONE, ", idle in transaction for %s", duration_said(&words, integer_of(holder, 9)));
}

/* Whole characters only. */
static int shown_length(const char *sql)
{
    size_t length = strlen(sql);

    if (length <= SQL_BYTES)
        return (int)length;
    for (length = SQL_BYTES; length > 0 && ((unsigned char)sql[length] & 0xc0) == 0x80;)
        length--;
    return (int)length;
}

static void holder_said(struct summary *summary, sqlite3_stmt *holder)
{
    char *place = place_shown(summary, holder, 0), count[24];
    bool is_lost = strcmp(state_said(text_of(holder, 5)), "never closed") == 0;

    snprintf(count, sizeof count, "%4" PRId64 "  ", integer_of(holder, 4));
    terminal_padded(&summary->terminal, COLOUR_BOLD, count, LABEL);
    terminal_padded(&summary->terminal, is_lost ? COLOUR_RED : COLOUR_NONE, state_said(text_of(holder, 5)),
                    STATE_COLUMNS);
    terminal_text(&summary->terminal, COLOUR_BOLD, place != NULL ? place : "?");
    circumstances_said(summary, holder);
    line_ended(summary);
    if (!is_null(holder, 11) && is_lost) {
        const char *sql = text_of(holder, 11);
        terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
        formatted(summary, COLOUR_NONE, "last SQL: %.*s%s", shown_length(sql), sql, sql[shown_length(sql)] ? "…" : "");
        line_ended(summary);
    }
    free(place);
}

static void holders_said(struct summary *summary, int64_t incident, int64_t count, int64_t at)
{
    sqlite3_stmt *holder = prepared(summary->db, holders_query);
    struct words words;
    int64_t rest = count;

    if (count == 0) {
        formatted(summary, COLOUR_NONE, "nobody in this process held a connection at %s", clock_said(&words, at));
    } else {
        formatted(summary, COLOUR_NONE, "who held the %" PRId64 " connection%s at %s", count, ending(count),
                  clock_said(&words, at));
    }
    line_ended(summary);
    if (holder != NULL)
        begun_with(holder, integer(incident));
    for (int i = 0; i < HOLDERS_MAX && row_fetched(holder, &summary->failed); i++) {
        rest -= integer_of(holder, 4);
        holder_said(summary, holder);
    }
    sqlite3_finalize(holder);
    if (rest > 0) {
        formatted(summary, COLOUR_NONE, "  … and %" PRId64 " at other places", rest);
        line_ended(summary);
    }
}

/* SQLAlchemy's goes on with where to read about it. */
static void message_said(struct summary *summary, const char *message, const char *target)
{
    size_t length = strcspn(message, "\n");
    const char *background = strstr(message, " (Background on this error");
    char *line;

    if (background != NULL && (size_t)(background - message) < length)
        length = (size_t)(background - message);
    if (asprintf(&line, "%.*s%s%s", (int)length, message, length > 0 && *target != '\0' ? "; " : "", target) < 0)
        return;
    if (*line != '\0')
        detailed(summary, line);
    free(line);
}

void incidents_said(struct summary *summary)
{
    sqlite3_stmt *incident = prepared(summary->db, incident_query);
    struct words words;

    if (row_fetched(incident, &summary->failed)) {
        terminal_text(&summary->terminal, COLOUR_NONE, "unclosed: ");
        terminal_text(&summary->terminal, COLOUR_RED, "POOL EXHAUSTED");
        formatted(summary, COLOUR_NONE, " at %s in %s", clock_said(&words, integer_of(incident, 1)),
                  path_end(text_of(incident, 6), 1));
        formatted(summary, COLOUR_NONE, " (pid %" PRId64 "), waited %s", integer_of(incident, 5),
                  duration_said(&words, integer_of(incident, 2)));
        if (integer_of(incident, 3) > 1)
            formatted(summary, COLOUR_NONE, "; %" PRId64 " times until %s", integer_of(incident, 3),
                      clock_said(&words, integer_of(incident, 4)));
        line_ended(summary);
        message_said(summary, text_of(incident, 7), text_of(incident, 9));
        holders_said(summary, integer_of(incident, 0), integer_of(incident, 8), integer_of(incident, 1));
    }
    sqlite3_finalize(incident);
}
