/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last handles that were closed, and what a close or use of something that is not open means:
 *     closed here before                           -> closed twice, used after close
 *     open in the parent when it forked us         -> closed or used elsewhere
 *     neither                                      -> the library's own, or opened out of sight: only counted
 */
#include <string.h>
#include <time.h>

#include "handles.h"
#include "owners.h"

static uint64_t place_of(enum kind kind, uintptr_t address, uint64_t capacity)
{
    return hash_mixed(address >> 4, kind + 0x9e37u) & (capacity - 1);
}

void closed_remembered(const struct trace_handle *handle, enum trace_ended how, uint64_t now)
{
    unsigned class = is_cheap(handle->kind);
    uint64_t place = place_of(handle->kind, handle->address, shim.trace.table[TABLE_INDEX_CLOSED].capacity);
    _Atomic uint32_t *slot = index_slot(TABLE_INDEX_CLOSED, place);
    spinlock *lock = &shim.intern_locks[TABLE_CLOSED];
    locked(lock);
    uint32_t number = class * TRACE_RING + shim.closed_next[class]++ % TRACE_RING;
    struct trace_table *table = &shim.trace.header->tables[TABLE_CLOSED];
    uint64_t offset = table->offset + (uint64_t)number * table->record_size;
    if (slot && (has_storage(offset) || storage_added(offset, table->record_size))) {
        struct trace_closed *closed = record_of(TABLE_CLOSED, number);
        atomic_store_explicit(&closed->state, RECORD_FREE, memory_order_relaxed);
        atomic_thread_fence(memory_order_release);
        closed->kind = handle->kind;
        closed->how = (uint16_t)how;
        closed->address = handle->address;
        closed->generation = handle->generation;
        closed->site = handle->site;
        closed->close_stack = handle->close_stack;
        closed->opened = handle->opened;
        closed->closed = now;
        closed->opened_thread = handle->thread;
        closed->closed_thread = thread.id;
        closed->target = handle->target;
        closed->copy = handle->copy;
        closed->flags = atomic_load_explicit(&handle->flags, memory_order_relaxed);
        if (unlikely(handle->owner && owner_has_left(handle)))
            closed->flags |= HANDLE_OWNER_LEFT;
        closed->owner_label = unlikely(handle->owner) ? owner_label(handle->owner, false) : 0;
        closed->last_used = atomic_load_explicit(&handle->last_used, memory_order_relaxed);
        atomic_store_explicit(&closed->state, RECORD_READY, memory_order_release);
        atomic_store_explicit(slot, number + 1, memory_order_release);
        __builtin_prefetch(closed + 1, 1);
    }
    unlocked(lock);
}

void closed_forgotten(enum kind kind, uintptr_t address)
{
    uint64_t place = place_of(kind, address, shim.trace.table[TABLE_INDEX_CLOSED].capacity);
    _Atomic uint32_t *slot = (_Atomic uint32_t *)shim.trace.table[TABLE_INDEX_CLOSED].base + place;
    struct trace_closed closed;
    if (closed_recalled(&shim.trace, kind, address, &closed))
        atomic_store_explicit(slot, 0, memory_order_release);
}

bool closed_recalled(const struct trace_map *map, enum kind kind, uintptr_t address, struct trace_closed *closed)
{
    uint64_t place = place_of(kind, address, map->table[TABLE_INDEX_CLOSED].capacity);
    const unsigned char *slot = map->table[TABLE_INDEX_CLOSED].base + place * sizeof(uint32_t);
    if (!atomic_load_explicit(&map->granules[(uint64_t)(slot - map->base) / TRACE_GRANULE], memory_order_relaxed))
        return false;
    uint32_t number = atomic_load_explicit((const _Atomic uint32_t *)slot, memory_order_acquire);
    if (!number || number > 2 * TRACE_RING)
        return false;
    const struct trace_closed *record = (const void *)(map->table[TABLE_CLOSED].base + (number - 1) * sizeof(*closed));
    bool was_ready = atomic_load_explicit(&record->state, memory_order_acquire) == RECORD_READY;
    memcpy(closed, record, sizeof(*closed));
    atomic_thread_fence(memory_order_acquire);
    bool is_whole = was_ready && atomic_load_explicit(&record->state, memory_order_relaxed) == RECORD_READY &&
                    record->generation == closed->generation;
    return is_whole && closed->kind == kind && closed->address == address;
}

/* --- inherited by fork ------------------------------------------------------------------------------------------------- */

/* CLOCK_MONOTONIC of the fork, 10 ms early at most. 0: unknown. */
static uint64_t fork_time(void)
{
    struct timespec boot, monotonic;
    if (!shim.start_ticks || clock_gettime(CLOCK_BOOTTIME, &boot) != 0 ||
        clock_gettime(CLOCK_MONOTONIC, &monotonic) != 0)
        return 0;
    int64_t suspended = (boot.tv_sec - monotonic.tv_sec) * 1000000000 + (boot.tv_nsec - monotonic.tv_nsec);
    int64_t started = (int64_t)(shim.start_ticks * 10000000) - suspended;
    return started > 10000000 ? (uint64_t)started - 10000000 : 0;
}

/* The parent goes on opening and closing while we look: bounded steps, copies, and nothing is trusted. */
static bool inherited_found(enum kind kind, uintptr_t address, uint32_t *site, uint64_t *generation)
{
    const struct trace_map *map = &shim.inherited;
    if (!map->base || !map->header || !atomic_load(&map->header->ready))
        return false;
    const struct mapped_table *index = &map->table[TABLE_INDEX_HANDLE], *handles = &map->table[TABLE_HANDLE];
    uint64_t hash = hash_mixed(address >> 4, kind) & (index->capacity - 1);
    const unsigned char *head = index->base + hash * sizeof(uint32_t);
    if (!atomic_load(&map->granules[(uint64_t)(head - map->base) / TRACE_GRANULE]))
        return false;
    uint32_t slot = atomic_load((const _Atomic uint32_t *)head);
    for (int steps = 0; slot && slot < handles->capacity && steps < 1000; steps++) {
        const unsigned char *record = handles->base + (uint64_t)slot * handles->record_size;
        if (!atomic_load(&map->granules[(uint64_t)(record - map->base) / TRACE_GRANULE]))
            return false;
        const struct trace_handle *handle = (const struct trace_handle *)record;
        if (handle->address == address && handle->kind == kind && handle->generation <= shim.fork_generation &&
            atomic_load(&handle->state) != HANDLE_FREE) {
            *site = handle->site;
            *generation = handle->generation;
            return true;
        }
        slot = handle->next;
    }
    struct trace_closed closed;
    uint64_t forked = fork_time();
    if (!forked || !closed_recalled(map, kind, address, &closed) || closed.generation > shim.fork_generation ||
        closed.closed < forked)
        return false;
    *site = closed.site;
    *generation = closed.generation;
    return true;
}

static bool stranger_explained(enum kind kind, uintptr_t address, struct trace_fact *fact, bool is_close)
{
    struct trace_closed closed;
    if (closed_recalled(&shim.trace, kind, address, &closed)) {
        fact->type = is_close ? FACT_CLOSED_TWICE : FACT_USED_AFTER_CLOSE;
        fact->site = closed.site;
        fact->close_stack = closed.close_stack;
        fact->generation = closed.generation;
        fact->opened = closed.opened;
        fact->closed = closed.closed;
        fact->target = closed.target;
        return true;
    }
    if (!inherited_found(kind, address, &fact->other_site, &fact->generation))
        return false;
    fact->type = is_close ? FACT_CLOSED_ELSEWHERE : FACT_USED_ELSEWHERE;
    fact->other_pid = shim.inherited_pid;
    return true;
}

void stranger_closed(enum kind kind, uintptr_t address, uint32_t stack, const char *function)
{
    struct trace_fact fact = {.kind = (uint16_t)kind, .stack = stack};
    if (!address)
        return;
    if (!stranger_explained(kind, address, &fact, true)) {
        atomic_fetch_add_explicit(&shim.trace.header->unknown_closes, 1, memory_order_relaxed);
        return;
    }
    fact.function = string_interned(function);
    fact_noted(&fact);
}

void stranger_used(enum kind kind, uintptr_t address, const struct caller *caller, const char *function)
{
    struct trace_fact fact = {.kind = (uint16_t)kind};
    if (!address || !stranger_explained(kind, address, &fact, false))
        return;
    fact.stack = stack_here(caller);
    fact.function = string_interned(function);
    fact_noted(&fact);
}
