/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the page share: html.c (the whole, facts, tables), html_incidents.c, html_findings.c, html_stack.c. */
#ifndef UNCLOSED_REPORTS_HTML_PAGE_H
#define UNCLOSED_REPORTS_HTML_PAGE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "../options.h"
#include "html_writer.h"
#include "paths.h"

struct page {
    struct html html;
    sqlite3 *db;
    const struct report_options *options;
    sqlite3_stmt *frames;
    struct directories directories;
    int64_t run_started;
    bool failed;
};

/* A term and what it is, inside a <dl>; nothing for "". */
void fact_written(struct page *page, const char *term, const char *value);

/*
 * Errors and warnings, notes folded. The worst 200 in full, then up to 3,000 in one line each, then how many more there
 * are: a page has to stay small enough to be opened.
 */
void findings_written(struct page *page);

/* What went wrong at a moment, and who held what then: at most 5 bands. */
void incidents_written(struct page *page);

/* A title and a stack below it, frames of libraries folded; nothing for 0. */
void stack_written(struct page *page, const char *title, int64_t stack);

#endif
