/* SPDX-License-Identifier: Apache-2.0 */
/* Facts: one record for each distinct combination, then only counted. */
#include <string.h>

#include "handles.h"
#include "intern.h"

static bool fact_is(uint32_t number, const void *key_)
{
    const struct trace_fact *key = key_, *fact = record_of(TABLE_FACT, number);
    return fact->type == key->type && fact->kind == key->kind && fact->flags == key->flags && fact->site == key->site &&
           fact->close_stack == key->close_stack && fact->begin_stack == key->begin_stack &&
           fact->stack == key->stack && fact->other_site == key->other_site && fact->other_pid == key->other_pid &&
           (fact->type != FACT_NOTICED || fact->function == key->function);
}

static uint32_t fact_added(const void *key_)
{
    uint32_t number = record_claimed(TABLE_FACT, LOSS_FACTS);
    if (number) {
        struct trace_fact *fact = record_of(TABLE_FACT, number);
        memcpy((char *)fact + sizeof(fact->ready), (const char *)key_ + sizeof(fact->ready),
               sizeof(*fact) - sizeof(fact->ready));
        fact->first = time_now();
        fact->thread = thread_id(fact->first);
        owner_gained(fact->owner); /* for good: it tells of it */
        atomic_store_explicit(&fact->ready, 1, memory_order_release);
    }
    return number;
}

struct trace_fact fact_about(enum trace_fact_type type, const struct trace_handle *handle)
{
    return (struct trace_fact){.type = (uint16_t)type,
                               .kind = handle->kind,
                               .site = handle->site,
                               .generation = handle->generation,
                               .opened = handle->opened,
                               .target = handle->target,
                               .owner = handle->owner};
}

static void code_raised(struct trace_fact *fact, int32_t code)
{
    _Atomic int32_t *highest = (_Atomic int32_t *)&fact->code;
    int32_t known = atomic_load(highest);
    while (code > known && !atomic_compare_exchange_weak(highest, &known, code))
        ;
}

void fact_noted(const struct trace_fact *key)
{
    static const struct interning facts = {TABLE_INDEX_FACT, LOSS_FACTS, fact_is, fact_added};
    uint64_t hash = hash_mixed((uint64_t)key->type << 32 | key->kind << 16 | key->flags, key->site);
    hash = hash_mixed(hash, (uint64_t)key->close_stack << 32 | key->begin_stack);
    hash = hash_mixed(hash, (uint64_t)key->stack << 32 | key->other_site);
    uint32_t number = interned(&facts, key, hash);
    if (!number)
        return;
    struct trace_fact *fact = record_of(TABLE_FACT, number);
    if (key->type == FACT_IDLE_IN_TRANSACTION)
        code_raised(fact, key->code);
    atomic_fetch_add_explicit(&fact->count, 1, memory_order_relaxed);
    atomic_store_explicit(&fact->last, time_now_coarse(), memory_order_relaxed);
}

void rule_noticed(const char *rule, enum kind kind, uintptr_t address, const char *text, uint32_t stack)
{
    struct trace_fact fact = {.type = FACT_NOTICED, .kind = (uint16_t)kind};
    struct trace_closed closed;
    uint32_t slot = handle_found(kind, address);
    if (slot) {
        fact = fact_about(FACT_NOTICED, handle_at(slot));
    } else if (closed_recalled(&shim.trace, kind, address, &closed)) {
        fact.site = closed.site;
        fact.generation = closed.generation;
        fact.opened = closed.opened;
        fact.closed = closed.closed;
        fact.target = closed.target;
    }
    if (!fact.owner)
        fact.owner = owner_of_thread();
    fact.stack = stack;
    fact.function = string_interned(rule);
    fact.text = target_interned(text);
    fact_noted(&fact);
}
