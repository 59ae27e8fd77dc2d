/* SPDX-License-Identifier: Apache-2.0 */
/* What a judged run reads like in one output format. */
#ifndef UNCLOSED_TESTS_RENDER_CASE_H
#define UNCLOSED_TESTS_RENDER_CASE_H

#include "run_case.h"

#include "render/render.h"
#include "verdict.h"

__attribute__((noinline, unused)) static char *rendered_with(struct run_case *run, const struct renderer *renderer,
                                                             struct rendering rendering)
{
    char *text = NULL;
    size_t size = 0;
    struct verdict verdict;

    judge(run);
    assert_true(verdict_reached(run->db, &run->options, NULL, &verdict));
    rendering.db = run->db;
    rendering.options = &run->options;
    rendering.watched = "sqlite3, libpq";
    rendering.out = open_memstream(&text, &size);
    assert_non_null(rendering.out);
    assert_true(renderer->rendered(&rendering));
    assert_int_equal(fclose(rendering.out), 0);
    return text;
}

static inline char *rendered(struct run_case *run, const struct renderer *renderer)
{
    return rendered_with(run, renderer, (struct rendering){0});
}

static inline void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("'%s' is not in:\n%.4000s", part, text);
}

static inline void assert_has_not(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        fail_msg("'%s' is in:\n%.4000s", part, text);
}

/* A value out of a JSON text, found by SQLite's own parser; it must be valid. */
static inline const char *from_json(struct run_case *run, const char *json, const char *path)
{
    static char value[4096];
    sqlite3_stmt *statement =
        prepared(run->db, "SELECT CASE WHEN json_valid(?1) THEN json_extract(?1, ?2) ELSE 'INVALID' END");

    begun_with(statement, text(json));
    sqlite3_bind_text(statement, 2, path, -1, SQLITE_TRANSIENT);
    assert_true(row_fetched(statement, NULL));
    snprintf(value, sizeof value, "%s", text_of(statement, 0));
    sqlite3_finalize(statement);
    return value;
}

#endif
