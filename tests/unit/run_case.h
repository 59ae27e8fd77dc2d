/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run, told in a few lines, for tests of what is made of it:
 *
 *     struct run_case run = run_told();
 *     process(&run, 1, "ended='exit', scan='complete'");
 *     handle(&run, 1, "lose", "reference='none', handles=10");
 *     judge(&run);
 *     assert_found(&run, "leaked error 10");
 *
 * A process is 1, 2, …; a place is a function's name: its stack, and for each process and kind a site. What is not said
 * is ordinary: a connection of sqlite3, opened by code of the user's own.
 */
#ifndef RUN_CASE_H
#define RUN_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "database.h"
#include "findings.h"
#include "row.h"
#include "rules.h"
#include "words.h"

struct run_case {
    sqlite3 *db;
    struct report_options options;
};

static inline void sql(struct run_case *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void sql(struct run_case *run, const char *format, ...)
{
    va_list arguments;
    char *statement;

    va_start(arguments, format);
    assert_true(vasprintf(&statement, format, arguments) >= 0);
    va_end(arguments);
    if (!executed(run->db, statement))
        fail_msg("in: %s", statement);
    free(statement);
}

static inline struct run_case run_told(void)
{
    struct run_case run = {.db = database_created(":memory:")};

    assert_non_null(run.db);
    options_defaulted(&run.options);
    sql(&run, "INSERT INTO run (schema_version, tool_version, made_at) VALUES (1, 'test', 0)");
    sql(&run, "INSERT INTO setting VALUES ('held_seconds', 30)");
#define KIND(id, name, noun, plural, parent, traits) \
    sql(&run, "INSERT OR IGNORE INTO kind VALUES ('%s', '%s', '%s', NULL, %d)", name, noun, plural, (int)(traits));
#define NONE 0
#define KIND_CHEAP 1u
#include <unclosed/kinds.def>
#undef KIND
#undef NONE
#undef KIND_CHEAP
    return run;
}

static inline void run_forgotten(struct run_case *run)
{
    database_closed(run->db);
}

static inline void process(struct run_case *run, int id, const char *settings)
{
    sql(run,
        "INSERT INTO process (id, pid, executable, started_at, seen_until_at, ended, end_status, end_words, scan)"
        " VALUES (%d, 100 + %d, '/srv/app/server', 1000000000000, 1060000000000, 'exit', 0, 'exit 0', 'complete')",
        id, id);
    sql(run, "UPDATE process SET %s WHERE id = %d", settings, id);
}

/* The stack whose innermost frame is that function of server.c, line 42 unless changed. */
static inline int64_t stack(struct run_case *run, const char *function)
{
    char query[200];

    sql(run,
        "INSERT INTO stack (depth, where_function, where_file, where_line, where_module, where_language, where_owner,"
        "                   fingerprint)"
        " SELECT 2, '%s', '/srv/app/server.c', 42, '/srv/app/server', 'c', 'user', '%s<main'"
        " WHERE NOT EXISTS (SELECT 1 FROM stack WHERE where_function = '%s')",
        function, function, function);
    snprintf(query, sizeof query, "SELECT id FROM stack WHERE where_function = '%s'", function);
    return integer_selected(run->db, query, 0);
}

static inline int64_t site(struct run_case *run, int process_id, const char *kind, const char *function)
{
    char query[200];
    int64_t opened_at = stack(run, function);

    sql(run,
        "INSERT INTO site (process, kind, stack, opened, closed, failed, open, peak)"
        " SELECT %d, '%s', %lld, 0, 0, 0, 0, 0"
        " WHERE NOT EXISTS (SELECT 1 FROM site WHERE process = %d AND kind = '%s' AND stack = %lld)",
        process_id, kind, (long long)opened_at, process_id, kind, (long long)opened_at);
    snprintf(query, sizeof query, "SELECT id FROM site WHERE process = %d AND kind = '%s' AND stack = %lld", process_id,
             kind, (long long)opened_at);
    return integer_selected(run->db, query, 0);
}

/* An open handle; settings as in UPDATE. Returns its id. */
static inline int64_t handle_of(struct run_case *run, int process_id, const char *kind, const char *function,
                                const char *settings)
{
    int64_t where = site(run, process_id, kind, function);

    sql(run,
        "INSERT INTO handle (process, site, kind, stack, opened_at, thread, thread_name, root_site, root_reference,"
        "                    reference) "
        "SELECT process, id, kind, stack, 1000000000000, 7, 'main', id, 'none', 'none' FROM site WHERE id = %lld",
        (long long)where);
    int64_t id = sqlite3_last_insert_rowid(run->db);
    sql(run, "UPDATE handle SET %s WHERE id = %lld", settings, (long long)id);
    sql(run, "UPDATE handle SET root_reference = reference WHERE id = %lld AND NOT is_child", (long long)id);
    sql(run,
        "UPDATE site SET opened = opened + (SELECT handles FROM handle WHERE id = %lld),"
        "                open = open + (SELECT handles FROM handle WHERE id = %lld) WHERE id = %lld",
        (long long)id, (long long)id, (long long)where);
    return id;
}

static inline int64_t handle(struct run_case *run, int process_id, const char *function, const char *settings)
{
    return handle_of(run, process_id, "sqlite3.connection", function, settings);
}

/* An open handle under another one. */
static inline int64_t child_of(struct run_case *run, int64_t parent, const char *kind, const char *function,
                               const char *settings)
{
    char query[80];
    snprintf(query, sizeof query, "SELECT process FROM handle WHERE id = %lld", (long long)parent);
    int64_t id = handle_of(run, (int)integer_selected(run->db, query, 0), kind, function, settings);
    sql(run,
        "UPDATE handle SET (parent, is_child, root_site, root_reference) ="
        " (SELECT id, 1, root_site, root_reference FROM handle WHERE id = %lld) WHERE id = %lld",
        (long long)parent, (long long)id);
    return id;
}

/* Something odd that happened: opened in "open_it", first closed in "close_it", and now in `function`. */
static inline void fact(struct run_case *run, int process_id, const char *type, const char *function,
                        const char *settings)
{
    sql(run,
        "INSERT INTO fact (process, type, kind, site, stack, opened_stack, close_stack, wrote, handle_left, unwinding,"
        "                  tx_failed, count, first_at, closed_at, function)"
        " VALUES (%d, '%s', 'sqlite3.connection', %lld, %lld, %lld, %lld, 0, 0, 0, 0, 1, 5000000000, 2000000000,"
        "         'sqlite3_exec')",
        process_id, type, (long long)site(run, process_id, "sqlite3.connection", "open_it"),
        (long long)stack(run, function), (long long)stack(run, "open_it"), (long long)stack(run, "close_it"));
    sql(run, "UPDATE fact SET %s WHERE id = (SELECT max(id) FROM fact)", settings);
}

/* Whom handles belong to, in process 1: "request", "GET /orders", and settings as in UPDATE. Returns its id. */
static inline int64_t owner(struct run_case *run, const char *kind, const char *label, const char *settings)
{
    sql(run, "INSERT INTO owner (process, kind, label, began_at, thread) VALUES (1, '%s', '%s', 1000000000000, 7)",
        kind, label);
    int64_t id = sqlite3_last_insert_rowid(run->db);
    sql(run, "UPDATE owner SET %s WHERE id = %lld", settings, (long long)id);
    return id;
}

/* This open handle belongs to that owner. */
static inline void owned_by(struct run_case *run, int64_t handle_id, int64_t owner_id)
{
    sql(run,
        "UPDATE handle SET (owner, owner_ended_at) = (SELECT id, ended_at FROM owner WHERE id = %lld) WHERE id = %lld",
        (long long)owner_id, (long long)handle_id);
}

/* Handles of process 1 that were opened in `function` and have ended: "gc", 11. */
static inline void ended(struct run_case *run, const char *kind, const char *function, const char *how, int count,
                         const char *label)
{
    int64_t where = site(run, 1, kind, function);
    char column[40];

    snprintf(column, sizeof column, "ended_%s", how);
    for (char *at = column; *at != '\0'; at++)
        if (*at == '-')
            *at = '_';
    sql(run, "UPDATE site SET opened = opened + %d, closed = closed + %d, %s = %s + %d WHERE id = %lld", count, count,
        column, column, count, (long long)where);
    for (int i = 0; i < count; i++)
        sql(run,
            "INSERT INTO closed_handle (process, kind, site, how, opened_at, closed_at, owner_label)"
            " VALUES (1, '%s', %lld, '%s', 1000000000000, 1003100000000, nullif('%s', ''))",
            kind, (long long)where, how, label);
}

/* A moment of trouble in process 1, met in `function`; settings as in UPDATE. Returns its id. */
static inline int64_t incident(struct run_case *run, const char *rule, const char *function, const char *settings)
{
    sql(run,
        "INSERT INTO incident (process, rule, at, waited_ns, stack, thread, count, last_at)"
        " VALUES (1, '%s', 1050000000000, 30000000000, %lld, 9, 1, 1050000000000)",
        rule, (long long)stack(run, function));
    int64_t id = sqlite3_last_insert_rowid(run->db);
    sql(run, "UPDATE incident SET %s WHERE id = %lld", settings, (long long)id);
    return id;
}

/* … and one handle, opened in `function`, that was held then. */
static inline void holder(struct run_case *run, int64_t incident_id, const char *kind, const char *function,
                          const char *settings)
{
    sql(run,
        "INSERT INTO holder (incident, site, kind, stack, opened_at, last_used_at, thread, generation)"
        " VALUES (%lld, %lld, '%s', %lld, 1020000000000, 1050000000000, 7, 1000)",
        (long long)incident_id, (long long)site(run, 1, kind, function), kind, (long long)stack(run, function));
    sql(run, "UPDATE holder SET %s WHERE rowid = last_insert_rowid()", settings);
}

/* A frame of the stack of `function`: a file on the way there, and whose code it is. */
static inline void passes_through(struct run_case *run, const char *function, const char *file, const char *whose)
{
    sql(run, "INSERT INTO frame (type) VALUES ('python')");
    int64_t frame = sqlite3_last_insert_rowid(run->db);
    sql(run,
        "INSERT INTO symbol (frame, level, function, file, line, language, owner)"
        " VALUES (%lld, 0, 'f', '%s', 1, 'python', '%s')",
        (long long)frame, file, whose);
    sql(run,
        "INSERT INTO stack_frame (stack, position, frame) SELECT %lld, 1 + coalesce(max(position), 0), %lld"
        " FROM stack_frame WHERE stack = %lld",
        (long long)stack(run, function), (long long)frame, (long long)stack(run, function));
}

/* Runs the rules in force; false if that is refused. */
static inline bool judged(struct run_case *run)
{
    struct rule_set rules;
    bool good = rules_read(&rules, &run->options) && words_registered(run->db) == SQLITE_OK &&
                rules_run(run->db, &rules) && findings_made(run->db);
    rules_freed(&rules);
    return good;
}

static inline void judge(struct run_case *run)
{
    assert_true(judged(run));
}

/* The first value of a query, as text; valid until the next call. */
static inline const char *queried(struct run_case *run, const char *query)
{
    static char value[65536];
    sqlite3_stmt *statement = prepared(run->db, query);

    assert_non_null(statement);
    snprintf(value, sizeof value, "%s", row_fetched(statement, NULL) ? text_of(statement, 0) : "");
    sqlite3_finalize(statement);
    return value;
}

/* "rule severity count; …" in order of presentation. */
static inline void assert_found(struct run_case *run, const char *expected)
{
    assert_string_equal(queried(run,
                                "SELECT coalesce(group_concat(line, '; '), '') FROM (SELECT rule || ' ' || severity"
                                " || ' ' || count AS line FROM finding ORDER BY position)"),
                        expected);
}

static inline void assert_evidence(struct run_case *run, const char *part)
{
    const char *evidence = queried(run, "SELECT evidence FROM finding ORDER BY position");
    if (strstr(evidence, part) == NULL)
        fail_msg("'%s' is not in: %s", part, evidence);
}

#endif
