/* SPDX-License-Identifier: Apache-2.0 */
#include "text_summary.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "../row.h"

void formatted(struct summary *summary, enum terminal_colour colour, const char *format, ...)
{
    char *line = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&line, format, arguments) >= 0) {
        terminal_text(&summary->terminal, colour, line);
        free(line);
    }
    va_end(arguments);
}

void labelled(struct summary *summary, enum terminal_colour colour, const char *label)
{
    terminal_padded(&summary->terminal, colour, label, LABEL);
}

void line_ended(struct summary *summary)
{
    terminal_line_ended(&summary->terminal);
}

void detailed(struct summary *summary, const char *text)
{
    terminal_padded(&summary->terminal, COLOUR_NONE, "", LABEL);
    terminal_wrapped(&summary->terminal, text, LABEL);
    line_ended(summary);
}

const char *ending(int64_t count)
{
    return count == 1 ? "" : "s";
}

int64_t counted_by(struct summary *summary, const char *sql)
{
    return integer_selected(summary->db, sql, 0);
}

char *place_shown(const struct summary *summary, sqlite3_stmt *statement, int column)
{
    const char *function = text_of(statement, column), *file = text_of(statement, column + 1);
    const char *module = text_of(statement, column + 3);
    char *place = NULL;
    int rc;

    if (*file != '\0' && integer_of(statement, column + 2) > 0)
        rc = asprintf(&place, "%s:%" PRId64 " %s", path_shown(&summary->directories, file),
                      integer_of(statement, column + 2), function);
    else if (*file != '\0')
        rc = asprintf(&place, "%s %s", path_shown(&summary->directories, file), function);
    else if (*function == '\0')
        rc = asprintf(&place, "%s", "(no stack)");
    else
        rc = asprintf(&place, "%s%s%s", function, *module != '\0' ? " in " : "",
                      path_shown(&summary->directories, module));
    return rc < 0 ? NULL : place;
}
