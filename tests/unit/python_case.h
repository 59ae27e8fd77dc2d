/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run of a Python program, told in a few lines: what tests of its rules add to run_case.h.
 *
 *     TEST(once_in_a_request_it_is_an_error)
 *     {
 *         TOLD;
 *         ended(&run, SESSION, "work", "gc", 1, "GET /orders");
 *         JUDGED("closed-by-gc error 1");
 *     }
 */
#ifndef PYTHON_CASE_H
#define PYTHON_CASE_H

#include "run_case.h"

#define TEST(name) static void name(void **state)

/* `run`: process 1 ended by exit. */
#define TOLD                          \
    (void)state;                      \
    struct run_case run = run_told(); \
    process(&run, 1, "ended='exit'")

/* The last line of a test. */
#define JUDGED(expected)          \
    judge(&run);                  \
    assert_found(&run, expected); \
    run_forgotten(&run)

#define SESSION "sqlalchemy.session"
#define CHECKOUT "sqlalchemy.checkout"
#define ENGINE "sqlalchemy.engine"
#define SQLITE "sqlite3.connection"
#define POSTGRESQL "libpq.connection"

static inline void killed(struct run_case *run)
{
    sql(run, "UPDATE process SET ended='signal', end_status=9, end_words='signal 9', scan='not-run'");
}

static inline void still_runs(struct run_case *run)
{
    sql(run, "UPDATE process SET ended='running', end_words='running', scan='not-run'");
}

/* A session in a transaction, its checkout and its connection, opened at "work". */
static inline int64_t session_at_work(struct run_case *run, const char *settings)
{
    int64_t session = handle_of(run, 1, SESSION, "work", "in_transaction=1, reference='found'");
    sql(run, "UPDATE handle SET %s WHERE id = %lld", settings, (long long)session);
    int64_t checkout = child_of(run, session, CHECKOUT, "execute", "reference='found', last_used_at=1060000000000");
    child_of(run, checkout, POSTGRESQL, "connect", "in_transaction=1, pooled=1, reference='found'");
    return session;
}

#endif
