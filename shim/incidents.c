/* SPDX-License-Identifier: Apache-2.0 */
/* Moments of trouble: who held what just then. The first ones in full, then only counted. */
#include <string.h>

#include "handles.h"
#include "owners.h"

enum { HOLDERS_EACH = 256 };

static bool holder_noted(uint32_t slot)
{
    const struct trace_handle *handle = handle_at(slot);
    uint32_t number = record_claimed(TABLE_HOLDER, LOSS_INCIDENTS);
    if (!number)
        return false;
    struct trace_holder *holder = record_of(TABLE_HOLDER, number);
    uint32_t owner = atomic_load(&handle->owner), transaction = transaction_of(slot);
    holder->site = handle->site;
    holder->generation = handle->generation;
    holder->opened = handle->opened;
    holder->last_used = atomic_load(&handle->last_used);
    holder->thread = handle->thread;
    if (owner) {
        const struct trace_owner *who = record_of(TABLE_OWNER, owner);
        holder->owner_label = owner_label(owner, true);
        holder->owner_ended = atomic_load(&who->ended);
    }
    if (transaction)
        holder->transaction_stack = site_at(handle_at(transaction)->site)->stack;
    holder->last_sql = detail_value(slot, DETAIL_LAST_SQL);
    holder->kind = handle->kind;
    holder->flags = atomic_load(&handle->flags);
    atomic_store_explicit(&holder->ready, 1, memory_order_release);
    return true;
}

static bool counted_with_the_like(uint32_t rule, uint32_t stack, uint64_t now)
{
    uint64_t used = atomic_load(&shim.trace.header->tables[TABLE_INCIDENT].used);
    uint64_t capacity = shim.trace.table[TABLE_INCIDENT].capacity;
    for (uint64_t i = 1; i < used && i < capacity; i++) {
        struct trace_incident *incident = record_of(TABLE_INCIDENT, i);
        if (atomic_load(&incident->state) != RECORD_READY || incident->rule != rule || incident->stack != stack)
            continue;
        atomic_fetch_add(&incident->count, 1);
        atomic_store(&incident->last, now);
        return true;
    }
    return false;
}

void incident_noted(const char *rule, enum kind kind, const char *target, const char *text, uint64_t waited,
                    uint32_t stack)
{
    uint64_t now = time_now();
    uint32_t rule_text = string_interned(rule);
    if (counted_with_the_like(rule_text, stack, now))
        return;
    uint32_t number = record_claimed(TABLE_INCIDENT, LOSS_INCIDENTS);
    if (!number)
        return;
    struct trace_incident *incident = record_of(TABLE_INCIDENT, number);
    incident->rule = rule_text;
    incident->at = now;
    incident->waited = waited;
    incident->stack = stack;
    incident->thread = thread_id(now);
    incident->owner = owner_of_thread();
    owner_gained(incident->owner); /* for good: it tells of it */
    incident->target = target_interned(target);
    incident->text = target_interned(text);
    incident->first_holder = (uint32_t)atomic_load(&shim.trace.header->tables[TABLE_HOLDER].used);
    uint64_t used = atomic_load(&shim.trace.header->tables[TABLE_HANDLE].used);
    uint64_t capacity = shim.trace.table[TABLE_HANDLE].capacity;
    for (uint64_t slot = 1; slot < used && slot < capacity && incident->holder_count < HOLDERS_EACH; slot++) {
        const struct trace_handle *handle = handle_at((uint32_t)slot);
        if (atomic_load(&handle->state) != HANDLE_FREE && handle->kind == kind)
            incident->holder_count += holder_noted((uint32_t)slot);
    }
    atomic_store(&incident->count, 1);
    atomic_store(&incident->last, now);
    atomic_store_explicit(&incident->state, RECORD_READY, memory_order_release);
}
