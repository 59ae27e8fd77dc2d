/* SPDX-License-Identifier: Apache-2.0 */
/* Parents and children among open handles: a list in each parent, under the parent's family lock. */
#include "handles.h"

static spinlock *family_lock(uint32_t parent)
{
    return &shim.family_locks[parent % LOCK_SHARDS];
}

/* Read without a lock, to know which one to take. */
static _Atomic uint32_t *parent_in(struct trace_handle *handle)
{
    return (_Atomic uint32_t *)&handle->parent;
}

uint32_t parent_of(uint32_t child)
{
    return atomic_load_explicit(parent_in(handle_at(child)), memory_order_relaxed);
}

void child_added(uint32_t parent, uint32_t child)
{
    struct trace_handle *above = handle_at(parent), *handle = handle_at(child);
    locked(family_lock(parent));
    if (handle->parent == parent || atomic_load_explicit(&above->state, memory_order_relaxed) == HANDLE_FREE) {
        unlocked(family_lock(parent));
        return; /* another thread was faster: it has it, or has closed it */
    }
    handle->parent_generation = above->generation;
    handle->previous_sibling = 0;
    handle->next_sibling = above->children;
    if (above->children)
        handle_at(above->children)->previous_sibling = child;
    above->children = child;
    atomic_store_explicit(parent_in(handle), parent, memory_order_relaxed);
    unlocked(family_lock(parent));
}

/* Under the lock of its parent. */
static void unlinked(uint32_t child)
{
    struct trace_handle *handle = handle_at(child), *above = handle_at(handle->parent);
    if (handle->previous_sibling)
        handle_at(handle->previous_sibling)->next_sibling = handle->next_sibling;
    else
        above->children = handle->next_sibling;
    if (handle->next_sibling)
        handle_at(handle->next_sibling)->previous_sibling = handle->previous_sibling;
    atomic_store_explicit(parent_in(handle), 0, memory_order_relaxed);
    handle->next_sibling = handle->previous_sibling = 0;
}

/* The parent may end in another thread at the same time, and orphan it first. */
void child_removed(uint32_t child)
{
    uint32_t parent = parent_of(child);
    if (!parent)
        return;
    locked(family_lock(parent));
    if (handle_at(child)->parent == parent)
        unlinked(child);
    unlocked(family_lock(parent));
}

uint32_t child_taken(uint32_t parent, uint64_t *generation)
{
    locked(family_lock(parent));
    uint32_t child = handle_at(parent)->children;
    if (child && handle_at(child)->parent != parent) /* never so; but if it were, this would never end */
        child = handle_at(parent)->children = 0;
    if (child) {
        *generation = handle_at(child)->generation;
        unlinked(child);
    }
    unlocked(family_lock(parent));
    return child;
}

uint32_t child_of_kind(uint32_t parent, enum kind kind)
{
    locked(family_lock(parent));
    uint32_t child = handle_at(parent)->children;
    while (child && handle_at(child)->parent == parent && handle_at(child)->kind != kind)
        child = handle_at(child)->next_sibling;
    if (child && handle_at(child)->parent != parent)
        child = 0;
    unlocked(family_lock(parent));
    return child;
}

unsigned children_alive(uint32_t parent)
{
    unsigned count = 0;
    locked(family_lock(parent));
    for (uint32_t child = handle_at(parent)->children; child && handle_at(child)->parent == parent;
         child = handle_at(child)->next_sibling)
        count += handle_at(child)->kind != KIND_SQLITE3_TRANSACTION && handle_at(child)->kind != KIND_SQLITE3_SESSION;
    unlocked(family_lock(parent));
    return count;
}
