/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that travel inside the command: every reports/… file that ends in .sql, .css, .js, .svg or .html.
 *
 * The build makes the table (make/embed); adding or removing such a file is all it takes. Constant, any thread.
 */
#ifndef UNCLOSED_EMBEDDED_H
#define UNCLOSED_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *name; /* below reports/: "schema.sql", "rules/leaked.sql", "page/page.css" */
    const char *text; /* NUL-terminated */
    size_t size;      /* bytes, without the NUL */
};

/* Sorted by name (bytes); ends with an entry whose name is NULL. */
extern const struct embedded_file embedded_files[];

#endif
