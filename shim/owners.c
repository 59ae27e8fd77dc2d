/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owners: threads, tasks, requests, tests. Bounded by what is open: an owner that has ended gives its slot back when
 * nothing holds it any more: an open handle, an owner that it is the parent of, a fact or an incident that tells of it.
 *
 * An owner's id is slot + (serial << 24), so that a stale id is noticed.
 */
#include "owners.h"

#include <string.h>

#include "handles.h"

enum { SLOT_BITS = 24, LONGEST_CHAIN = 8 };

static struct trace_owner *owner_at(uint32_t slot)
{
    return record_of(TABLE_OWNER, slot);
}

static bool is_there(const struct trace_owner *owner, uint64_t id)
{
    return atomic_load(&owner->state) == RECORD_READY && owner->id == id;
}

/* 0: it is over and forgotten, or was never there. */
static uint32_t slot_of(uint64_t id)
{
    uint32_t slot = id & ((1u << SLOT_BITS) - 1);
    if (!slot || slot >= atomic_load(&shim.trace.header->tables[TABLE_OWNER].used) ||
        slot >= shim.trace.table[TABLE_OWNER].capacity)
        return 0;
    return is_there(owner_at(slot), id) ? slot : 0;
}

/* Who takes hold counts first and looks then, who frees does it the other way round: one of them sees the other. */
static uint32_t freed_if_done(uint32_t slot)
{
    struct trace_owner *owner = owner_at(slot);
    uint32_t parent = 0;
    locked(&shim.owner_lock);
    if (atomic_load(&owner->state) == RECORD_READY && atomic_load(&owner->ended)) {
        atomic_store(&owner->state, RECORD_FREE);
        if (atomic_load(&owner->handles) == 0) {
            parent = owner->parent;
            owner->next = shim.free_owner;
            shim.free_owner = slot;
        } else {
            atomic_store(&owner->state, RECORD_READY);
        }
    }
    unlocked(&shim.owner_lock);
    return parent;
}

void owner_lost(uint32_t slot)
{
    while (slot && atomic_fetch_sub(&owner_at(slot)->handles, 1) == 1)
        slot = freed_if_done(slot);
}

bool owner_has_ended(uint32_t slot)
{
    return slot && atomic_load(&owner_at(slot)->ended) != 0;
}

bool owner_has_left(const struct trace_handle *handle)
{
    uint32_t slot = atomic_load(&handle->owner);
    uint64_t ended = slot ? atomic_load(&owner_at(slot)->ended) : 0;
    return ended && atomic_load(&handle->last_used) <= ended;
}

void owner_gained(uint32_t slot)
{
    if (slot)
        atomic_fetch_add(&owner_at(slot)->handles, 1);
}

static uint32_t held(uint64_t id)
{
    uint32_t slot = slot_of(id);
    if (!slot)
        return 0;
    owner_gained(slot);
    if (is_there(owner_at(slot), id))
        return slot;
    owner_lost(slot);
    return 0;
}

/* A task of a task of a request is the request's: so chains stay short, also where each task starts the next for ever. */
static uint32_t parent_held(enum trace_owner_kind kind, uint64_t id)
{
    uint32_t slot = held(id);
    while (slot && owner_at(slot)->kind <= kind && owner_at(slot)->parent) {
        uint32_t above = owner_at(slot)->parent; /* which it holds */
        owner_gained(above);
        owner_lost(slot);
        slot = above;
    }
    return slot;
}

uint64_t owner_began(enum trace_owner_kind kind, const char *label, uint64_t parent)
{
    uint32_t text = target_interned(label); /* "GET /orders?token=…" */
    uint64_t now = time_now();
    uint32_t above = parent ? parent_held(kind, parent) : 0;
    locked(&shim.owner_lock);
    uint32_t slot = shim.free_owner;
    if (slot)
        shim.free_owner = owner_at(slot)->next;
    unlocked(&shim.owner_lock);
    if (!slot)
        slot = record_claimed(TABLE_OWNER, LOSS_OWNERS);
    if (!slot || slot >> SLOT_BITS) {
        owner_lost(above);
        return 0;
    }
    struct trace_owner *owner = owner_at(slot); /* all but `handles`: somebody may just be letting go */
    owner->kind = (uint16_t)kind;
    owner->id = slot | (atomic_fetch_add(&shim.next_owner, 1) + 1) << SLOT_BITS;
    owner->label = text;
    owner->parent = above;
    owner->began = now;
    atomic_store(&owner->ended, 0);
    atomic_store(&owner->end_reason, 0);
    owner->thread = thread_id(now);
    owner->next = 0;
    atomic_store(&owner->state, RECORD_READY);
    return owner->id;
}

void owner_ended(uint64_t id, const char *reason)
{
    uint32_t text = target_interned(reason), slot = held(id);
    if (!slot)
        return;
    uint64_t not_yet = 0;
    if (atomic_compare_exchange_strong(&owner_at(slot)->ended, &not_yet, time_now()))
        atomic_store(&owner_at(slot)->end_reason, text);
    owner_lost(slot);
}

/* Read without a lock: a string's number is one word. */
void owner_labelled(uint64_t id, const char *label)
{
    uint32_t text = target_interned(label), slot = held(id);
    if (slot)
        atomic_store((_Atomic uint32_t *)&owner_at(slot)->label, text);
    owner_lost(slot);
}

uint32_t owner_label(uint32_t slot, bool of_threads)
{
    uint32_t first = 0;
    for (unsigned steps = 0; slot && steps < LONGEST_CHAIN; steps++) {
        struct trace_owner *owner = owner_at(slot);
        uint32_t label = atomic_load((_Atomic uint32_t *)&owner->label);
        if (label && owner->kind >= OWNER_REQUEST)
            return label;
        if (!first && (of_threads || owner->kind != OWNER_THREAD))
            first = label;
        slot = owner->parent;
    }
    return first;
}

uint32_t owner_taken(enum kind kind)
{
    if (thread.owner)
        return held(thread.owner);
    if (is_cheap(kind))
        return 0;
    if (!thread.own_owner)
        thread_owner_began();
    return thread.own_owner ? held(thread.own_owner) : 0;
}

uint32_t owner_of_thread(void)
{
    uint64_t id = thread.owner ? thread.owner : thread.epoch == shim.epoch ? thread.own_owner : 0;
    return id ? slot_of(id) : 0;
}

void owner_changed(uint32_t handle, uint64_t id)
{
    owner_lost(atomic_exchange(&handle_at(handle)->owner, id ? held(id) : 0));
}
