/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that appears whole or not at all: written under a fresh name in the same directory, then renamed.
 *
 *     struct output output;
 *     if (output_begun(&output, "page.html")) {
 *         fputs("…", output.file);
 *         good = output_finished(&output, true);
 *     }
 */
#ifndef UNCLOSED_REPORTS_OUTPUT_H
#define UNCLOSED_REPORTS_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

struct output {
    FILE *file;
    char *path, *temporary; /* temporary NULL: written where it belongs (stdout, a device, a pipe) */
};

/* `path` "-" is stdout. What is no regular file (/dev/null, a FIFO) is written to directly. False after a message. */
bool output_begun(struct output *output, const char *path);

/* Puts it in its place if `good` and if all could be written, else removes it. False after a message, or if not good. */
bool output_finished(struct output *output, bool good);

/* A fresh empty file beside `path`, made for the caller alone; its name is allocated. NULL after a message. */
char *output_reserved(const char *path);

/* Renames what was reserved to `path` (or removes it, if not good), with the permissions a new file gets; frees the name. */
bool output_placed(char *temporary, const char *path, bool good);

#endif
