/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a loaded run database to results: judge, render every format, say the outcome on stderr, choose the exit status.
 * Shared by `unclosed report`, `unclosed run` and the reporter of bare use.
 *
 *     struct loading loading;
 *     loading_prepared(&loading, &options, paths, count);
 *     traces_loaded(db, &loading.load, &loaded);
 *     return reported(db, &options, "unclosed-report", &outcome);
 */
#ifndef UNCLOSED_REPORTS_REPORT_H
#define UNCLOSED_REPORTS_REPORT_H

#include <sqlite3.h>
#include <stdbool.h>

#include "load.h"
#include "options.h"
#include "place.h"
#include "symbols.h"

/* How the program under `run` ended. */
struct run_outcome {
    const char *name;     /* what people call it: "pytest" */
    int exit_status;      /* as the shell gives it: 128+n for a signal */
    int signal;           /* that ended it, 0: none */
    bool signal_expected; /* `run` forwarded it, or --expect-signal names it: findings decide */
};

/* What traces_loaded() wants to know, from the options; points into `options` and `paths`, and into itself. */
struct loading {
    struct symbol_options symbols;
    struct code_rules code;
    struct load_options load;
};
void loading_prepared(struct loading *loading, const struct report_options *options, const char *const *paths,
                      size_t count);

/*
 * Can these options be used: are all rules whole, and is every rule there that --rule names? False after a message.
 * For `run`, to ask before it starts a program.
 */
bool options_usable(const struct report_options *options);

/*
 * Judges `db` (filled by traces_loaded) with the rules in force, writes what `options` ask for and prints the summary on
 * stderr. `program` is NULL where none was run. Findings of an earlier judgement are replaced. Table `run` gets its row
 * if it has none; `run` puts it there beforehand to tell of its command.
 *
 * `directory` is where formats without a file of their own go, and report.db and the page if options->writes_page; it
 * must exist then, and is NULL otherwise. Every file is written beside its place and renamed, so that a reader never
 * meets half of one. `db` may lie anywhere, also in memory: report.db is a copy.
 *
 * Returns the exit status for the command (DESIGN §7): the program's own, 23, 24 or 0; where that would be 0,
 * STATUS_NO_REPORT if a result could not be written (after a message); STATUS_USAGE if options are not usable.
 */
int reported(sqlite3 *db, const struct report_options *options, const char *directory,
             const struct run_outcome *program);

/* `unclosed report` and `unclosed explain`: whole commands, argv[0] being their name; return the exit status. */
int command_report(int argc, char **argv);
int command_explain(int argc, char **argv);

/* `unclosed run`: reports/run.c. */
int command_run(int argc, char **argv);

#endif
