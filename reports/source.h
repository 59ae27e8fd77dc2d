/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h: a few lines of a source file, fit to be shown.
 *
 * Paths come from traces and debug information, which are not trusted, and reports are passed around: only regular
 * files whose name, symbolic links resolved, ends like source code (.c .cpp .py .rs …) are read, so that no trace can
 * put somebody's private key on a page. Not more than 32 MiB of a file are looked at. Reading never blocks.
 */
#ifndef UNCLOSED_REPORTS_SOURCE_H
#define UNCLOSED_REPORTS_SOURCE_H

#include <stdint.h>

enum source_state {
    SOURCE_FOUND,
    SOURCE_CHANGED,  /* lines are given, but the file was modified after `not_after`: say so beside them */
    SOURCE_MISSING,  /* no such file, or it may not be read */
    SOURCE_NOT_TEXT, /* not a regular file, not named like source code, or binary */
};

struct source_lines {
    enum source_state state;
    int first; /* number of text[0], from 1 */
    int count; /* 0 if the file has no such lines or could not be read */
    /* Valid UTF-8 without line ends; what is not UTF-8 and control characters except tabs are U+FFFD; a line of more
     * than 400 bytes ends in "…". */
    const char *text[];
};

/*
 * Lines first…last (from 1; at most 1,000), those that exist. sysroot: put before the path, NULL: none. not_after: start
 * of the run in ns since 1970, 0: unknown. A relative path is missing: nobody knows relative to what.
 * Free with free(). NULL: out of memory only.
 */
struct source_lines *source_lines_read(const char *sysroot, const char *path, int first, int last, int64_t not_after);

/* The text of that line, NULL if it is not among them. */
const char *source_line(const struct source_lines *lines, int number);

#endif
