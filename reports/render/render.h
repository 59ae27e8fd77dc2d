/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A renderer turns a judged run database into one output format. It reads the database (tables `finding`, `verdict`
 * and what they refer to) and nothing else; adding one is a file here and a line in the list in render.c.
 */
#ifndef UNCLOSED_REPORTS_RENDER_H
#define UNCLOSED_REPORTS_RENDER_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "../options.h"

/* What a renderer may need to know besides the database. */
struct rendering {
    sqlite3 *db;
    FILE *out; /* buffered; a write error is found by the caller through ferror() */
    const struct report_options *options;
    const char *page;    /* path of the HTML page if one is made, NULL: none */
    const char *watched; /* libraries that are looked for: "sqlite3, libpq" */
    bool colour;         /* text only: a terminal that wants it */
    unsigned width;      /* text only: columns, 0: as long as it takes */
};

/*
 * Frames of a stack, innermost first: bind the stack's id as parameter 1, then fetch rows. Columns of each row:
 */
enum {
    FRAME_FUNCTION,
    FRAME_FILE,
    FRAME_LINE,
    FRAME_MODULE,
    FRAME_LANGUAGE,
    FRAME_OWNER,
    FRAME_INLINED,
    FRAME_TYPE,
    FRAME_HIDDEN, /* stack_frame.hidden: not shown unless asked for */
};
sqlite3_stmt *frames_prepared(sqlite3 *db);

struct renderer {
    const char *name;      /* as in --format */
    const char *file_name; /* usual name of its output */
    const char *about;     /* one line */
    /* Returns true if everything could be read from the database; false after a message on stderr. */
    bool (*rendered)(const struct rendering *rendering);
};

extern const struct renderer text_renderer, html_renderer, json_renderer;

/* The renderer of that name (`length` bytes), or NULL. */
const struct renderer *renderer_named(const char *name, size_t length);

/* "text, html, json" */
const char *renderer_names(void);

#endif
