/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outcome of a run in one word, its exit status, and why it is that (DESIGN §7).
 *
 *     findings at or above --fail-on                      23, or --exitcode
 *     something could not be observed, or a required
 *     kind was not seen                                   24, unless --allow-unobserved (for the former)
 *     else                                                 0
 *     under `run` the program's own status comes first if it is not 0 and no signal that was expected ended it
 */
#ifndef UNCLOSED_REPORTS_VERDICT_H
#define UNCLOSED_REPORTS_VERDICT_H

#include <sqlite3.h>
#include <stdbool.h>

#include "options.h"
#include "report.h"

struct verdict {
    const char *word; /* 'error' 'warning' 'note' 'clean' 'nothing' 'unobserved' */
    int exit_status;
    char reason[512]; /* of the exit status, in words */
};

/* Judges the findings in `db` and fills its table `verdict`. False after a message. */
bool verdict_reached(sqlite3 *db, const struct report_options *options, const struct run_outcome *program,
                     struct verdict *verdict);

#endif
