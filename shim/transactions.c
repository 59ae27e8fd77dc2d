/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: handles of their own, children of what they run on and found by its address, so that where one began is
 * a site like any other. What has no kind of transaction (a checkout: its session has it) only gets the flags.
 */
#include "handles.h"

bool is_transaction(unsigned kind)
{
    return kind == KIND_SQLITE3_TRANSACTION || kind == KIND_LIBPQ_TRANSACTION || kind == KIND_MYSQL_TRANSACTION ||
           kind == KIND_ODBC_TRANSACTION || kind == KIND_SQLALCHEMY_TRANSACTION;
}

enum kind kind_of_transaction(unsigned connection)
{
    switch (connection) {
    case KIND_SQLITE3_CONNECTION:
        return KIND_SQLITE3_TRANSACTION;
    case KIND_LIBPQ_CONNECTION:
        return KIND_LIBPQ_TRANSACTION;
    case KIND_MYSQL_CONNECTION:
        return KIND_MYSQL_TRANSACTION;
    case KIND_ODBC_CONNECTION:
        return KIND_ODBC_TRANSACTION;
    case KIND_SQLALCHEMY_SESSION:
        return KIND_SQLALCHEMY_TRANSACTION;
    default:
        return KIND_NONE;
    }
}

uint32_t transaction_of(uint32_t slot)
{
    const struct trace_handle *connection = handle_at(slot);
    if (!atomic_load_explicit(&connection->transaction, memory_order_relaxed))
        return 0;
    return handle_found(kind_of_transaction(connection->kind), connection->address);
}

static void transaction_begun(enum kind kind, uint32_t slot, const struct transaction_state *state,
                              const struct caller *caller)
{
    struct trace_handle *connection = handle_at(slot);
    if (kind) {
        struct opening opening = {
            .parent = slot, .copy = connection->copy, .changes = state->changes, .target_text = connection->target};
        uint32_t transaction = handle_opened(kind, connection->address, stack_here(caller), &opening);
        if (!transaction)
            return;
        atomic_store(&connection->transaction, transaction);
    }
    atomic_fetch_or(&connection->flags, HANDLE_IN_TRANSACTION);
}

static void transaction_ended(enum kind kind, struct trace_handle *connection)
{
    atomic_fetch_and(&connection->flags, ~(uint32_t)(HANDLE_IN_TRANSACTION | HANDLE_TX_FAILED));
    atomic_store(&connection->transaction, 0);
    uint32_t transaction = kind ? handle_closing(kind, connection->address, 0) : 0;
    if (transaction)
        handle_finished(transaction, ENDED_EXPLICIT);
}

/* A session's statement is its checkout's, and so is a connection's. */
uint32_t last_sql_of(uint32_t slot)
{
    uint32_t text = detail_value(slot, DETAIL_LAST_SQL), checkout = 0;
    if (!text)
        checkout = child_of_kind(slot, KIND_SQLALCHEMY_CHECKOUT);
    if (!text && !checkout)
        checkout = parent_of(slot);
    return text || !checkout ? text : detail_value(checkout, DETAIL_LAST_SQL);
}

/* The connection is marked, too: what is still open at the end is judged by it. Where it happened is kept as close_stack,
 * which a transaction does not use otherwise. */
static void transaction_failed(uint32_t slot, uint32_t transaction, const struct caller *caller)
{
    atomic_fetch_or(&handle_at(slot)->flags, HANDLE_TX_FAILED);
    if (!transaction)
        return;
    uint32_t sql = last_sql_of(slot);
    atomic_store(&handle_at(transaction)->close_stack, stack_here(caller));
    if (sql)
        detail_stored(transaction, DETAIL_FAILED_SQL, sql);
    atomic_fetch_or(&handle_at(transaction)->flags, HANDLE_TX_FAILED);
}

/* By a rollback to a savepoint. */
static void transaction_recovered(uint32_t slot, uint32_t transaction)
{
    atomic_fetch_and(&handle_at(slot)->flags, ~(uint32_t)HANDLE_TX_FAILED);
    if (transaction)
        atomic_fetch_and(&handle_at(transaction)->flags, ~(uint32_t)HANDLE_TX_FAILED);
}

void transaction_seen(enum kind kind, uint32_t slot, const struct transaction_state *state, const struct caller *caller)
{
    struct trace_handle *connection = handle_at(slot);
    uint32_t flags = atomic_load_explicit(&connection->flags, memory_order_relaxed);
    bool was_open = flags & HANDLE_IN_TRANSACTION;
    if (likely(!was_open && !state->open))
        return;
    if (!state->open) {
        transaction_ended(kind, connection);
        return;
    }
    if (!was_open)
        transaction_begun(kind, slot, state, caller);
    bool had_failed = flags & HANDLE_TX_FAILED;
    if (!state->wrote && state->failed == had_failed)
        return;
    uint32_t transaction = kind ? transaction_of(slot) : 0;
    if (state->wrote)
        atomic_fetch_or(&handle_at(transaction ? transaction : slot)->flags, HANDLE_WROTE);
    if (state->failed && !had_failed)
        transaction_failed(slot, transaction, caller);
    else if (had_failed && !state->failed)
        transaction_recovered(slot, transaction);
}

static uint32_t begin_stack_of(uint32_t transaction)
{
    return transaction ? site_at(handle_at(transaction)->site)->stack : 0;
}

void idle_noted(const struct idle *idle, uint32_t stack, const char *function)
{
    uint64_t milliseconds = idle->time / 1000000;
    struct trace_fact fact = fact_about(FACT_IDLE_IN_TRANSACTION, handle_at(idle->slot));
    fact.begin_stack = begin_stack_of(transaction_of(idle->slot));
    fact.stack = stack;
    fact.code = milliseconds < INT32_MAX ? (int32_t)milliseconds : INT32_MAX;
    fact.function = string_interned(function);
    fact_noted(&fact);
}

void use_while_failed_noted(uint32_t slot, uint32_t stack, const char *function)
{
    uint32_t transaction = transaction_of(slot);
    struct trace_fact fact = fact_about(FACT_USED_WHILE_FAILED, handle_at(slot));
    fact.begin_stack = begin_stack_of(transaction);
    if (transaction) {
        fact.close_stack = atomic_load(&handle_at(transaction)->close_stack);
        fact.text = detail_value(transaction, DETAIL_FAILED_SQL);
    }
    fact.stack = stack;
    fact.function = string_interned(function);
    fact_noted(&fact);
}

void transaction_cut(uint32_t slot, bool wrote, uint32_t stack, const char *function)
{
    struct trace_handle *connection = handle_at(slot);
    uint32_t transaction = transaction_of(slot);
    if (!transaction)
        return;
    struct trace_handle *begun = handle_at(transaction);
    struct trace_fact fact = fact_about(FACT_CLOSED_IN_TRANSACTION, connection);
    uint32_t flags = atomic_load(&begun->flags);
    fact.flags = (wrote || (flags & HANDLE_WROTE) ? FACT_WROTE : 0u) | (flags & HANDLE_TX_FAILED ? FACT_TX_FAILED : 0u);
    fact.begin_stack = begin_stack_of(transaction);
    fact.stack = stack;
    fact.function = string_interned(function);
    fact_noted(&fact);
}
