/* SPDX-License-Identifier: Apache-2.0 */
#include "terminal_writer.h"

#include <string.h>

#include "characters.h"

/* Writes one character to `out` unless that is NULL; returns its length in `text`, adds to *columns. */
static size_t character_written(FILE *out, const char *text, unsigned *columns)
{
    size_t length = utf8_length(text);
    char escape[16];

    if (length > 0 && !is_treacherous(character_at(text, length))) {
        if (out != NULL)
            fwrite(text, 1, length, out);
        *columns += 1;
        return length;
    }
    character_escaped(text, length, escape);
    if (out != NULL)
        fputs(escape, out);
    *columns += (unsigned)strlen(escape);
    return length > 0 ? length : 1;
}

unsigned terminal_columns(const char *text)
{
    unsigned columns = 0;
    while (*text != '\0')
        text += character_written(NULL, text, &columns);
    return columns;
}

void terminal_text(struct terminal *terminal, enum terminal_colour colour, const char *text)
{
    static const char *const codes[] = {"", "\033[1;31m", "\033[1;32m", "\033[33m", "\033[36m", "\033[1m", "\033[2m"};
    bool coloured = terminal->colour && colour != COLOUR_NONE;

    if (coloured)
        fputs(codes[colour], terminal->out);
    while (*text != '\0')
        text += character_written(terminal->out, text, &terminal->column);
    if (coloured)
        fputs("\033[0m", terminal->out);
}

void terminal_padded(struct terminal *terminal, enum terminal_colour colour, const char *text, unsigned columns)
{
    unsigned end = terminal->column + columns;

    terminal_text(terminal, colour, text);
    for (; terminal->column < end; terminal->column++)
        putc(' ', terminal->out);
}

void terminal_line_ended(struct terminal *terminal)
{
    putc('\n', terminal->out);
    terminal->column = 0;
}

static void word_written(struct terminal *terminal, const char *word, size_t length, bool first, unsigned indent)
{
    unsigned columns = 0;

    for (const char *at = word; at < word + length;)
        at += character_written(NULL, at, &columns);
    if (!first && terminal->width > indent && terminal->column + 1 + columns > terminal->width) {
        terminal_line_ended(terminal);
        terminal_padded(terminal, COLOUR_NONE, "", indent);
    } else if (!first) {
        terminal_text(terminal, COLOUR_NONE, " ");
    }
    for (const char *at = word; at < word + length;)
        at += character_written(terminal->out, at, &terminal->column);
}

void terminal_wrapped(struct terminal *terminal, const char *text, unsigned indent)
{
    bool first = true;

    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        if (length > 0) {
            word_written(terminal, text, length, first, indent);
            first = false;
        }
        text += length + strspn(text + length, " ");
    }
}
