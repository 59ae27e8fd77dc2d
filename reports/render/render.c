/* SPDX-License-Identifier: Apache-2.0 */
#include "render.h"

#include <string.h>

#include "../database.h"

static const struct renderer *const renderers[] = {&text_renderer, &html_renderer, &json_renderer};
enum { RENDERER_COUNT = sizeof renderers / sizeof renderers[0] };

const struct renderer *renderer_named(const char *name, size_t length)
{
    for (size_t i = 0; i < RENDERER_COUNT; i++)
        if (strlen(renderers[i]->name) == length && memcmp(renderers[i]->name, name, length) == 0)
            return renderers[i];
    return NULL;
}

const char *renderer_names(void)
{
    static char names[RENDERER_COUNT * 16];

    if (names[0] == '\0') {
        for (size_t i = 0; i < RENDERER_COUNT; i++) {
            strcat(names, i > 0 ? ", " : "");
            strcat(names, renderers[i]->name);
        }
    }
    return names;
}

sqlite3_stmt *frames_prepared(sqlite3 *db)
{
    return prepared(
        db,
        "SELECT coalesce(symbol.function, CASE frame.type WHEN 'truncated' THEN '(the stack goes on, but could not be "
        "followed)' ELSE '(unknown)' END), symbol.file, symbol.line, coalesce(symbol.module, module.path),"
        "       coalesce(symbol.language, CASE frame.type WHEN 'python' THEN 'python' ELSE 'c' END),"
        "       coalesce(symbol.owner, 'system'), coalesce(symbol.inlined, 0), frame.type,"
        "       stack_frame.hidden "
        "FROM stack_frame JOIN frame ON frame.id = stack_frame.frame"
        "     LEFT JOIN symbol ON symbol.frame = frame.id LEFT JOIN module ON module.id = frame.module "
        "WHERE stack_frame.stack = ?1 ORDER BY stack_frame.position, symbol.level");
}
