/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owners: threads, tasks, requests, tests. Bounded by what is open: an owner that ended and holds nothing gives its slot
 * back, unless a fact or an incident tells of it.
 *
 * An owner's id is slot + (serial << 24), so that a stale id is noticed.
 */
#include <string.h>

#include "handles.h"
#include "owners.h"

enum { SLOT_BITS = 24 };

static struct trace_owner *owner_at(uint32_t slot)
{
    return record_of(TABLE_OWNER, slot);
}

/* 0: it is over and forgotten, or was never there. */
static uint32_t slot_of(uint64_t id)
{
    uint32_t slot = id & ((1u << SLOT_BITS) - 1);
    if (!slot || slot >= atomic_load(&shim.trace.header->tables[TABLE_OWNER].used) ||
        slot >= shim.trace.table[TABLE_OWNER].capacity)
        return 0;
    struct trace_owner *owner = owner_at(slot);
    return atomic_load_explicit(&owner->state, memory_order_acquire) == RECORD_READY && owner->id == id ? slot : 0;
}

static void freed_if_done(uint32_t slot)
{
    struct trace_owner *owner = owner_at(slot);
    locked(&shim.owner_lock);
    if (atomic_load(&owner->state) == RECORD_READY && atomic_load(&owner->ended) && atomic_load(&owner->handles) == 0) {
        atomic_store(&owner->state, RECORD_FREE);
        owner->next = shim.free_owner;
        shim.free_owner = slot;
    }
    unlocked(&shim.owner_lock);
}

uint64_t owner_began(enum trace_owner_kind kind, const char *label, uint64_t parent)
{
    uint32_t text = target_interned(label); /* "GET /orders?token=…" */
    uint64_t now = time_now();
    locked(&shim.owner_lock);
    uint32_t slot = shim.free_owner;
    if (slot)
        shim.free_owner = owner_at(slot)->next;
    unlocked(&shim.owner_lock);
    if (!slot)
        slot = record_claimed(TABLE_OWNER, LOSS_OWNERS);
    if (!slot || slot >> SLOT_BITS)
        return 0;
    struct trace_owner *owner = owner_at(slot);
    memset((char *)owner + sizeof(owner->state), 0, sizeof(*owner) - sizeof(owner->state));
    owner->kind = (uint16_t)kind;
    owner->id = slot | (atomic_fetch_add(&shim.next_owner, 1) + 1) << SLOT_BITS;
    owner->label = text;
    owner->parent = parent ? slot_of(parent) : 0;
    owner->began = now;
    owner->thread = thread_id(now);
    atomic_store_explicit(&owner->state, RECORD_READY, memory_order_release);
    return owner->id;
}

void owner_ended(uint64_t id, const char *reason)
{
    uint32_t slot = slot_of(id);
    if (!slot)
        return;
    atomic_store(&owner_at(slot)->end_reason, target_interned(reason));
    atomic_store(&owner_at(slot)->ended, time_now());
    freed_if_done(slot);
}

/* Read without a lock: a string number is one word. */
void owner_labelled(uint64_t id, const char *label)
{
    uint32_t slot = slot_of(id);
    if (slot)
        atomic_store_explicit((_Atomic uint32_t *)&owner_at(slot)->label, target_interned(label), memory_order_release);
}

uint32_t owner_of_thread(void)
{
    return thread.owner ? slot_of(thread.owner) : 0;
}

void owner_gained(uint32_t slot)
{
    if (slot)
        atomic_fetch_add(&owner_at(slot)->handles, 1);
}

void owner_lost(uint32_t slot)
{
    if (slot && atomic_fetch_sub(&owner_at(slot)->handles, 1) == 1)
        freed_if_done(slot);
}

void owner_changed(uint32_t handle, uint64_t id)
{
    uint32_t slot = id ? slot_of(id) : 0;
    owner_gained(slot);
    owner_lost(atomic_exchange(&handle_at(handle)->owner, slot));
}
