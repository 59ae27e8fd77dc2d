/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `unclosed run`: the pieces of it that others may want; the command itself is command_run() in report.h.
 */
#ifndef UNCLOSED_REPORTS_RUN_H
#define UNCLOSED_REPORTS_RUN_H

#include <limits.h>
#include <stdbool.h>

/* What goes into the environment of the command. Strings may be NULL: not given. */
struct injection {
    const char *shim;       /* absolute path of libunclosed.so */
    bool address_sanitizer; /* the command needs AddressSanitizer's shared runtime */
    const char *traces;     /* directory */
    const char *run;        /* name of this run */
    const char *label, *max_size, *depth, *only, *skip;
};

/* libunclosed.so beside our own executable, in ../lib/unclosed, or where it was to be installed. False after a message:
 * it is in none of them, or its path cannot stand in LD_PRELOAD. */
bool shim_located(char shim[PATH_MAX]);

/*
 * A copy of `environment` in which LD_PRELOAD and UNCLOSED_OPTIONS are as the injection wants them, and all else as it
 * was: other preloads stay, behind the shim; options that were there stay unless the injection has its own.
 *
 * AddressSanitizer's shared runtime refuses to start behind a preload unless ASAN_OPTIONS tells it not to mind. That is
 * added where the command needs it, and wherever the variable, or a preload of that runtime, shows that such programs are
 * about. Preloading the runtime ahead of the shim would do as well for that one program, but every child would run under
 * it, too, and fail because of its own harmless leaks [measured: perl, bash].
 *
 * Allocated, as are those strings; the others are shared. For one use by exec, so nobody frees it.
 */
char **environment_with(char *const *environment, const struct injection *injection);

#endif
