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

/* Of the connection, too: what is still open at the end is judged by it. A savepoint's rollback makes it whole again. */
static void failure_seen(struct trace_handle *connection, struct trace_handle *transaction, bool failed)
{
    if (failed) {
        atomic_fetch_or(&connection->flags, HANDLE_TX_FAILED);
        if (transaction)
            atomic_fetch_or(&transaction->flags, HANDLE_TX_FAILED);
    } else {
        atomic_fetch_and(&connection->flags, ~(uint32_t)HANDLE_TX_FAILED);
        if (transaction)
            atomic_fetch_and(&transaction->flags, ~(uint32_t)HANDLE_TX_FAILED);
    }
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
    uint32_t number = kind ? transaction_of(slot) : 0;
    struct trace_handle *transaction = number ? handle_at(number) : NULL;
    if (state->wrote)
        atomic_fetch_or(transaction ? &transaction->flags : &connection->flags, HANDLE_WROTE);
    if (state->failed != (bool)(flags & HANDLE_TX_FAILED))
        failure_seen(connection, transaction, state->failed);
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
    fact.begin_stack = site_at(begun->site)->stack;
    fact.stack = stack;
    fact.function = string_interned(function);
    fact_noted(&fact);
}
