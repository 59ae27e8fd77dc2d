/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces into the run database: what is in the files, and names for it; no judgement.
 *
 * Fills every table that comes from traces (process … timeline, see schema.sql). `run`, `rule`, `finding` and `verdict`
 * are others'. Traces are not trusted: whatever is in them, the outcome is rows, warnings, or both.
 */
#ifndef UNCLOSED_REPORTS_LOAD_H
#define UNCLOSED_REPORTS_LOAD_H

#include <sqlite3.h>
#include <stddef.h>

struct symbol_options; /* reports/symbols.h */
struct code_rules;     /* reports/place.h */

struct load_options {
    /* Trace files, directories of them, or the directory of a `run` (the traces are in its traces/). In a directory
     * everything that is no trace is passed over in silence; symbolic links in it are not followed. */
    const char *const *paths;
    size_t count;
    const struct symbol_options *symbols;
    const struct code_rules *code;
};

/*
 * Loads all of them, in one transaction. *loaded: traces that gave a process row, whole or in part.
 * Each trouble is one line on stderr, "unclosed: warning: …", and those that concern a process are in process.warning.
 * Returns 0; or -1 after a message, if the database failed (it is of no use then), or if no trace was loaded and a path
 * is there no file, no directory, or no trace. A directory without traces is no failure (*loaded is 0): perhaps nothing
 * was opened. A trace that is given twice is read once.
 */
int traces_loaded(sqlite3 *db, const struct load_options *options, unsigned *loaded);

#endif
