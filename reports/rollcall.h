/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `run` knows beyond the traces: who answered the roll call, who was started and never answered, and how those
 * ended whose parent `run` was. Completes the rows of table `process`:
 *
 *   no end mark in its trace, but `run` saw it end         ended, end_status, end_words
 *   started, never answered, and uses a watched library    a row of its own with observed = 0 and why, with what to do
 *   answered, but has a copy of a library built in         observed = 0 (an interpreter: warning) for what was not seen
 *   answered that it cannot record                         observed = 0 and the shim's words
 *   answered, is Python, and our adapters did not start    python_problem: what was not seen and why
 *   answered and opened nothing                            no row: that is most of a shell script's processes
 *
 * Several processes of one program that were unseen for one reason are one row, which says how many.
 */
#ifndef UNCLOSED_REPORTS_ROLLCALL_H
#define UNCLOSED_REPORTS_ROLLCALL_H

#include <sqlite3.h>
#include <stdbool.h>

#include "supervise.h"

/* `db` has been filled by traces_loaded from the directory `traces`; `command` is the file that was executed. False
 * after a message: the database failed. A roll call that is not there or damaged counts as far as it can be read. */
bool rollcall_compared(sqlite3 *db, const char *traces, const char *command, const struct supervised *supervised);

#endif
