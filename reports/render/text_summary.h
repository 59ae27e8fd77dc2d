/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the summary share: text.c (the whole, verdict, what was seen), text_findings.c, text_incidents.c. */
#ifndef UNCLOSED_REPORTS_TEXT_SUMMARY_H
#define UNCLOSED_REPORTS_TEXT_SUMMARY_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "paths.h"
#include "render.h"
#include "terminal_writer.h"

enum { LABEL = 7 }; /* columns: "error", "also", … */

struct summary {
    struct terminal terminal;
    const struct rendering *rendering;
    sqlite3 *db;
    struct directories directories;
    bool failed;
    int64_t leaks, errors, warnings, notes, undecided, failing, unobserved;
    int64_t half_seen; /* Python programs and adapters that tell of something they could not see */
    char *verdict, *reason;
    int status;
};

void formatted(struct summary *summary, enum terminal_colour colour, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void labelled(struct summary *summary, enum terminal_colour colour, const char *label);
void line_ended(struct summary *summary);
void detailed(struct summary *summary, const char *text); /* below a finding, on lines of its own */
const char *ending(int64_t count);                        /* "" or "s" */
int64_t counted_by(struct summary *summary, const char *sql);

/* From columns function, file, line, module: "app/orders.py:42 list_orders". Allocated, NULL without memory. */
char *place_shown(const struct summary *summary, sqlite3_stmt *statement, int column);

/* text_findings.c: the findings of a choice, the first few with details, and how many more there are. */
enum finding_choice { FINDINGS_LOUD, FINDINGS_UNDECIDED, FINDINGS_NOTES };
void findings_said(struct summary *summary, enum finding_choice choice);
void notes_counted(struct summary *summary);

/* text_incidents.c: the pool that ran empty, and who held its connections. Nothing where that did not happen. */
void incidents_said(struct summary *summary);

#endif
