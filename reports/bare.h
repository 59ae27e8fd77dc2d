/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reporter of bare use, which the shim starts when a program has ended:
 *
 *     unclosed bare --dir DIR --trace DIR/NAME.PID.START.trace [--fail-on SEVERITY] [--keep N] [--held SECONDS]
 *
 * Makes NAME.PID.START.html beside the trace and keeps the newest N such pairs in DIR (default 20; traces of programs that
 * still run are always kept). A short program without findings leaves nothing behind, neither files nor words; notes are
 * for the page only, the summary on stderr is for warnings, errors and what could not be observed.
 *
 * Exit status: 23 or 24 as `unclosed report` if --fail-on was given, else 0; 2 and 25 as everywhere.
 */
#ifndef UNCLOSED_REPORTS_BARE_H
#define UNCLOSED_REPORTS_BARE_H

int command_bare(int argc, char **argv);

#endif
