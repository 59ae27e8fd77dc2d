/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a `run` leaves its results.
 *
 *     unclosed-report/            made if it is not there
 *         .gitignore              "*"; in a directory that held something else before: only our own names
 *         .unclosed-run           says that a run made this, locked while one uses it: "pid 4711", then the files it left
 *         traces/                 0700; as root 01733, so that what drops its privileges can still leave a trace
 *             rollcall            made beforehand, with room for the first 256 processes
 *             NAME.PID.START.trace
 *         index.html  report.db   written by reported(), as other formats are
 *         run.PID/                of a `run` inside this run that asked for no directory of its own
 *
 * A new run takes away what the last one left and touches nothing else. A directory that no run made is accepted unless
 * one of the names traces, index.html and report.db is taken in it.
 */
#ifndef UNCLOSED_REPORTS_DIRECTORY_H
#define UNCLOSED_REPORTS_DIRECTORY_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct run_directory {
    char path[PATH_MAX];   /* absolute */
    char traces[PATH_MAX]; /* absolute */
    int lock;              /* fd, close-on-exec; -1: none */
};

/*
 * The directory's name from a pattern: %n → name, %p → pid, %% → %. False: another % in it, or too long; a message went
 * to stderr.
 */
bool directory_named(const char *pattern, const char *name, pid_t pid, char directory[PATH_MAX]);

/*
 * Makes `wanted` (NULL: unclosed-report) ready for a run, emptied of what the last one left. `outer_traces` is the traces
 * directory of a run that we are inside of, or NULL: where our default would be that run's directory, ours goes inside.
 *
 * Where it cannot be written to (read-only, full, forbidden) a fresh directory below $TMPDIR takes its place, and a line
 * on stderr says so: a missing report is no reason to keep a program from running.
 *
 * False, after a message: it is in use by another run, is no directory, holds something of those names that no run made,
 * or there is no place to write to at all. Nothing was changed then.
 */
bool directory_prepared(struct run_directory *directory, const char *wanted, const char *outer_traces);

/* A file of this name (no slash) will be written into the directory: it is the next run's to take away. */
void directory_will_hold(struct run_directory *directory, const char *name);

/* Gives up the lock. */
void directory_released(struct run_directory *directory);

#endif
