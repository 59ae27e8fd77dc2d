/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for a terminal, or a log that is looked at in one. What comes from a program (names, paths, commands) is shown,
 * never obeyed: control characters, bytes that are not UTF-8, and characters that reverse the direction of a line are
 * written as \xNN or \uNNNN.
 */
#ifndef UNCLOSED_REPORTS_TERMINAL_WRITER_H
#define UNCLOSED_REPORTS_TERMINAL_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum terminal_colour { COLOUR_NONE, COLOUR_RED, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_CYAN, COLOUR_BOLD, COLOUR_FAINT };

struct terminal {
    FILE *out;
    bool colour;
    unsigned width;  /* columns; 0: lines are never broken */
    unsigned column; /* where we are on this line */
};

/* Text as it is, without breaking it. */
void terminal_text(struct terminal *terminal, enum terminal_colour colour, const char *text);

/* The same, followed by blanks up to `columns` columns from where the text began. */
void terminal_padded(struct terminal *terminal, enum terminal_colour colour, const char *text, unsigned columns);

/* Text broken between words where the line is full; following lines are indented by `indent`. */
void terminal_wrapped(struct terminal *terminal, const char *text, unsigned indent);

void terminal_line_ended(struct terminal *terminal);

/* How many columns a text takes when written. */
unsigned terminal_columns(const char *text);

#endif
