/* SPDX-License-Identifier: Apache-2.0 */
#include "handles.h"

#include <string.h>

enum { LONGEST_LINE = 8 };
#define IDLE_NOTED 5000000000u /* ns */

const uint8_t kind_traits[KIND_LIMIT] = {
#define KIND(id, name, noun, plural, parent, traits) [KIND_##id] = traits,
#include <unclosed/kinds.def>
#undef KIND
};

/* --- the index: buckets of chains ------------------------------------------------------------------------------------ */

struct bucket {
    _Atomic uint32_t *head; /* NULL: no storage, so nothing can be in it */
    uint32_t shard;
};

static inline struct bucket bucket_of(enum kind kind, uintptr_t address)
{
    uint64_t hash = hash_mixed(address >> 4, kind);
    return (struct bucket){index_slot(TABLE_INDEX_HANDLE, hash), hash % LOCK_SHARDS};
}

/* The place that refers to the handle, or to the chain's end. */
static inline _Atomic uint32_t *place_in(const struct bucket *bucket, enum kind kind, uintptr_t address)
{
    _Atomic uint32_t *place = bucket->head;
    for (uint32_t slot; (slot = atomic_load_explicit(place, memory_order_relaxed)) != 0;) {
        struct trace_handle *handle = handle_at(slot);
        if (handle->address == address && handle->kind == kind)
            break;
        place = (_Atomic uint32_t *)&handle->next;
    }
    return place;
}

static inline void linked(const struct bucket *bucket, uint32_t slot)
{
    handle_at(slot)->next = atomic_load_explicit(bucket->head, memory_order_relaxed);
    atomic_store_explicit(bucket->head, slot, memory_order_release);
}

static inline uint32_t unlinked(const struct bucket *bucket, enum kind kind, uintptr_t address)
{
    _Atomic uint32_t *place = place_in(bucket, kind, address);
    uint32_t slot = atomic_load_explicit(place, memory_order_relaxed);
    if (slot)
        atomic_store_explicit(place, handle_at(slot)->next, memory_order_relaxed);
    return slot;
}

static inline uint32_t looked_up(enum kind kind, uintptr_t address)
{
    struct bucket bucket = bucket_of(kind, address);
    if (!address || !bucket.head)
        return 0;
    locked(&shim.handle_locks[bucket.shard]);
    uint32_t slot = atomic_load_explicit(place_in(&bucket, kind, address), memory_order_relaxed);
    unlocked(&shim.handle_locks[bucket.shard]);
    return slot;
}

uint32_t handle_found(enum kind kind, uintptr_t address)
{
    return looked_up(kind, address);
}

/* Under the shard's lock. */
static uint32_t slot_allotted(uint32_t shard)
{
    uint32_t slot = shim.free_handles[shard];
    if (slot)
        shim.free_handles[shard] = handle_at(slot)->next;
    else
        slot = record_claimed(TABLE_HANDLE, LOSS_HANDLES);
    return slot;
}

static void slot_freed(uint32_t slot)
{
    struct trace_handle *handle = handle_at(slot);
    uint32_t shard = hash_mixed(handle->address >> 4, handle->kind) % LOCK_SHARDS;
    atomic_store_explicit(&handle->state, HANDLE_FREE, memory_order_release);
    locked(&shim.handle_locks[shard]);
    handle->next = shim.free_handles[shard];
    shim.free_handles[shard] = slot;
    unlocked(&shim.handle_locks[shard]);
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */

static void open_failure_noted(enum kind kind, uint32_t site, uint32_t stack, uint32_t target, bool handle_left,
                               const struct opening *opening)
{
    atomic_fetch_add_explicit(&site_at(site)->failed, 1, memory_order_relaxed);
    fact_noted(&(struct trace_fact){.type = FACT_OPEN_FAILED,
                                    .kind = (uint16_t)kind,
                                    .flags = handle_left ? FACT_HANDLE_LEFT : 0,
                                    .site = site,
                                    .stack = stack,
                                    .target = target,
                                    .code = opening->code,
                                    .function = string_interned(opening->function)});
}

/* Every field but `state` and `next`, one by one: it costs less than clearing them all first. */
static inline void handle_filled(struct trace_handle *handle, enum kind kind, uintptr_t address, uint32_t site,
                                 uint32_t target, uint32_t owner, uint64_t now, const struct opening *opening)
{
    uint32_t id = thread_id(now);
    handle->kind = (uint16_t)kind;
    handle->copy = (uint16_t)opening->copy;
    handle->address = address;
    handle->generation = counted(&shim.generation, 1) + 1;
    handle->site = site;
    atomic_init(&handle->flags,
                (opening->failed ? HANDLE_FAILED_OPEN : 0u) | (opening->connecting ? HANDLE_CONNECTING : 0u));
    handle->opened = now;
    atomic_init(&handle->last_used, now);
    handle->thread = id;
    atomic_init(&handle->last_thread, id);
    memcpy(handle->thread_name, thread.name, sizeof(handle->thread_name));
    handle->target = target;
    handle->parent = 0;
    handle->parent_generation = 0;
    atomic_init(&handle->owner, owner);
    atomic_init(&handle->details, 0);
    atomic_init(&handle->close_stack, 0);
    atomic_init(&handle->close_result, 0);
    atomic_init(&handle->close_time, 0);
    atomic_init(&handle->transaction, 0);
    atomic_init(&handle->reference, 0);
    handle->changes = opening->changes;
    handle->children = 0;
    handle->next_sibling = handle->previous_sibling = 0;
    handle->failed_code = (uint32_t)opening->code;
    handle->zombie = 0;
}

uint32_t handle_opened(enum kind kind, uintptr_t address, uint32_t stack, const struct opening *opening)
{
    uint64_t now = is_cheap(kind) ? time_now_coarse() : time_now();
    uint32_t site = site_of(kind, stack);
    uint32_t target = opening->target ? target_interned(opening->target) : opening->target_text;
    if (site && opening->failed)
        open_failure_noted(kind, site, stack, target, address != 0, opening);
    if (!address)
        return 0;
    struct bucket bucket = bucket_of(kind, address);
    if (unlikely(!site || !bucket.head)) {
        lost(LOSS_HANDLES);
        closed_forgotten(kind, address);
        return 0;
    }
    uint32_t owner = unlikely(may_be_owned(kind)) ? owner_taken(kind) : 0;
    locked(&shim.handle_locks[bucket.shard]);
    uint32_t replaced = unlinked(&bucket, kind, address);
    uint32_t slot = slot_allotted(bucket.shard);
    if (slot) {
        struct trace_handle *handle = handle_at(slot);
        handle_filled(handle, kind, address, site, target, owner, now, opening);
        if (opening->parent) /* before anybody can find it, and end it */
            child_added(opening->parent, slot);
        linked(&bucket, slot);
        atomic_store_explicit(&handle->state, HANDLE_OPEN, memory_order_release);
    }
    unlocked(&shim.handle_locks[bucket.shard]);
    if (replaced)
        handle_finished(replaced, ENDED_REPLACED);
    if (unlikely(!slot)) {
        closed_forgotten(kind, address);
        owner_lost(owner);
        return 0;
    }
    open_counted(site_at(site), kind, now, target);
    return slot;
}

/* --- closing -------------------------------------------------------------------------------------------------------------- */

/* Closed, for its program: whoever uses or closes it now meets a closed handle. */
static inline bool is_zombie(uint32_t slot)
{
    return atomic_load_explicit(&handle_at(slot)->flags, memory_order_relaxed) & HANDLE_ZOMBIE;
}

uint32_t handle_closing(enum kind kind, uintptr_t address, uint32_t stack)
{
    struct bucket bucket = bucket_of(kind, address);
    if (!address || !bucket.head)
        return 0;
    locked(&shim.handle_locks[bucket.shard]);
    _Atomic uint32_t *place = place_in(&bucket, kind, address);
    uint32_t slot = atomic_load_explicit(place, memory_order_relaxed);
    if (slot && unlikely(is_zombie(slot))) {
        slot = 0;
    } else if (slot) {
        struct trace_handle *handle = handle_at(slot);
        atomic_store_explicit(place, handle->next, memory_order_relaxed);
        atomic_store_explicit(&handle->close_stack, stack, memory_order_relaxed);
        atomic_store_explicit(&handle->state, HANDLE_CLOSING, memory_order_release);
    }
    unlocked(&shim.handle_locks[bucket.shard]);
    return slot;
}

static void returned_to_index(uint32_t slot, uint32_t flag, int code)
{
    struct trace_handle *handle = handle_at(slot);
    struct bucket bucket = bucket_of(handle->kind, handle->address);
    atomic_fetch_or(&handle->flags, flag);
    atomic_store(&handle->close_result, code);
    atomic_store(&handle->close_time, time_now());
    locked(&shim.handle_locks[bucket.shard]);
    linked(&bucket, slot);
    atomic_store_explicit(&handle->state, HANDLE_OPEN, memory_order_release);
    unlocked(&shim.handle_locks[bucket.shard]);
}

void handle_close_refused(uint32_t slot, int code, const char *function)
{
    struct trace_fact fact = fact_about(FACT_CLOSE_FAILED, handle_at(slot));
    fact.stack = handle_at(slot)->close_stack;
    fact.code = code;
    fact.function = string_interned(function);
    fact_noted(&fact);
    returned_to_index(slot, HANDLE_CLOSE_FAILED, code);
}

/* A child that its parent frees, or a zombie whose last child is gone: still in the index, unless another thread was faster. */
static void taken_and_finished(uint32_t slot, uint64_t generation, enum trace_ended how)
{
    struct trace_handle *handle = handle_at(slot);
    struct bucket bucket = bucket_of(handle->kind, handle->address);
    locked(&shim.handle_locks[bucket.shard]);
    _Atomic uint32_t *place = place_in(&bucket, handle->kind, handle->address);
    bool taken = atomic_load_explicit(place, memory_order_relaxed) == slot && handle->generation == generation;
    if (taken) {
        atomic_store_explicit(place, handle->next, memory_order_relaxed);
        atomic_store_explicit(&handle->state, HANDLE_CLOSING, memory_order_release);
    }
    unlocked(&shim.handle_locks[bucket.shard]);
    if (taken)
        handle_finished(slot, how);
}

void handle_made_zombie(uint32_t slot, const char *function, enum trace_ended how)
{
    uint64_t generation = handle_at(slot)->generation;
    struct trace_fact fact = fact_about(FACT_ZOMBIE, handle_at(slot));
    fact.stack = handle_at(slot)->close_stack;
    fact.function = string_interned(function);
    fact_noted(&fact);
    handle_at(slot)->zombie = (uint32_t)how;
    closed_remembered(handle_at(slot), how, time_now());
    returned_to_index(slot, HANDLE_ZOMBIE, 0);
    if (children_alive(slot) == 0) /* the last one was closed in between */
        taken_and_finished(slot, generation, how);
}

static void earlier_trouble_resolved(const struct trace_handle *handle)
{
    uint32_t flags = atomic_load(&handle->flags);
    if (flags & (HANDLE_CLOSE_FAILED | HANDLE_ZOMBIE)) {
        struct trace_fact fact = fact_about(FACT_CLOSE_LATER_DONE, handle);
        fact.stack = handle->close_stack;
        fact_noted(&fact);
    }
    if (flags & HANDLE_FAILED_OPEN) {
        struct trace_fact fact = fact_about(FACT_OPEN_FAILED_CLOSED, handle);
        fact.stack = handle->close_stack;
        fact_noted(&fact);
    }
}

void handle_finished(uint32_t slot, enum trace_ended how)
{
    struct trace_handle *handle = handle_at(slot);
    uint64_t now = is_cheap(handle->kind) ? time_now_coarse() : time_now();
    if (unlikely(atomic_load_explicit(&handle->flags, memory_order_relaxed)))
        earlier_trouble_resolved(handle);
    uint64_t generation;
    for (uint32_t child; handle->children && (child = child_taken(slot, &generation)) != 0;)
        if (is_transaction(handle_at(child)->kind))
            taken_and_finished(child, generation, ENDED_WITH_PARENT);
    if (how == ENDED_GC && owner_has_ended(handle->owner)) {
        /* A driver's connection that others used afterwards was kept for them, by a thread say, and went with it. */
        bool was_kept = handle->kind < KIND_SQLALCHEMY_ENGINE && !owner_has_left(handle);
        how = was_kept ? ENDED_WITH_PARENT : ENDED_OWNER_GONE;
    }
    uint32_t parent = parent_of(slot);
    uint64_t parent_generation = handle->parent_generation;
    if (parent)
        child_removed(slot);
    if (!is_zombie(slot)) /* remembered when it was closed */
        closed_remembered(handle, how, now);
    if (handle->owner)
        owner_lost(handle->owner);
    if (handle->details)
        details_dropped(handle);
    close_counted(site_at(handle->site), handle->kind, now, now > handle->opened ? now - handle->opened : 0, how);
    slot_freed(slot);
    if (parent && is_zombie(parent) && children_alive(parent) == 0)
        taken_and_finished(parent, parent_generation, (enum trace_ended)handle_at(parent)->zombie);
}

uint32_t handle_in_use(enum kind kind, uintptr_t address)
{
    uint32_t slot = looked_up(kind, address);
    return slot && likely(!is_zombie(slot)) ? slot : 0;
}

/* A use of a child is a use of its parent: who steps a statement uses its connection, and the session above it. One that
 * was used meanwhile has told of it itself, or was not idle. */
struct idle handle_touched(uint32_t slot)
{
    uint64_t now = time_now_coarse();
    uint32_t id = thread_id(now);
    struct idle idle = {0};
    for (unsigned steps = 0; slot && steps < LONGEST_LINE; steps++, slot = parent_of(slot)) {
        struct trace_handle *handle = handle_at(slot);
        uint64_t before = atomic_load_explicit(&handle->last_used, memory_order_relaxed);
        atomic_store_explicit(&handle->last_used, now, memory_order_relaxed);
        atomic_store_explicit(&handle->last_thread, id, memory_order_relaxed);
        if (unlikely(now > before + IDLE_NOTED || idle.slot) &&
            atomic_load_explicit(&handle->flags, memory_order_relaxed) & HANDLE_IN_TRANSACTION)
            idle = now > before + IDLE_NOTED ? (struct idle){slot, now - before} : (struct idle){0};
    }
    return idle;
}
