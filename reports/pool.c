/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 64 * 1024, FIRST_SLOTS = 256 };

struct block {
    struct block *next;
    alignas(max_align_t) char bytes[];
};

struct slot {
    uint64_t hash;
    struct pool_entry *entry;
};

struct pool {
    struct block *blocks;
    char *free;
    size_t left;
    struct slot *slots;
    size_t slot_count, used; /* slot_count is a power of two, at least half of it is free */
};

struct pool *pool_opened(void)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->slots = calloc(FIRST_SLOTS, sizeof *pool->slots);
    if (!pool->slots) {
        free(pool);
        return NULL;
    }
    pool->slot_count = FIRST_SLOTS;
    return pool;
}

void pool_closed(struct pool *pool)
{
    if (!pool)
        return;
    for (struct block *block = pool->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(pool->slots);
    free(pool);
}

static char *block_added(struct pool *pool, size_t size)
{
    struct block *block = calloc(1, sizeof *block + size);
    if (!block)
        return NULL;
    block->next = pool->blocks;
    pool->blocks = block;
    return block->bytes;
}

void *pool_memory(struct pool *pool, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (size > BLOCK_SIZE / 4)
        return block_added(pool, size);
    if (size > pool->left) {
        char *bytes = block_added(pool, BLOCK_SIZE);
        if (!bytes)
            return NULL;
        pool->free = bytes;
        pool->left = BLOCK_SIZE;
    }
    void *memory = pool->free;
    pool->free += size;
    pool->left -= size;
    return memory;
}

/* FNV-1a, with its weak low bits mixed at the end because the table is a power of two. */
static uint64_t hash_of(const void *key, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (const unsigned char *byte = key, *end = byte + size; byte < end; byte++)
        hash = (hash ^ *byte) * 1099511628211u;
    return hash ^ hash >> 29;
}

static struct slot *slot_of(struct slot *slots, size_t count, uint64_t hash, const void *key, size_t size)
{
    for (size_t i = hash;; i++) {
        struct slot *slot = &slots[i & (count - 1)];
        if (!slot->entry)
            return slot;
        if (slot->hash == hash && slot->entry->size == size && memcmp(slot->entry->key, key, size) == 0)
            return slot;
    }
}

static int table_doubled(struct pool *pool)
{
    size_t count = pool->slot_count * 2;
    struct slot *old = pool->slots, *slots = calloc(count, sizeof *slots);
    if (!slots)
        return -1;
    for (const struct slot *slot = old; slot < old + pool->slot_count; slot++)
        if (slot->entry)
            *slot_of(slots, count, slot->hash, slot->entry->key, slot->entry->size) = *slot;
    pool->slots = slots;
    pool->slot_count = count;
    free(old);
    return 0;
}

struct pool_entry *pool_entry(struct pool *pool, const void *key, size_t size)
{
    uint64_t hash = hash_of(key, size);
    struct slot *slot = slot_of(pool->slots, pool->slot_count, hash, key, size);
    if (slot->entry)
        return slot->entry;
    if (pool->used + 1 > pool->slot_count / 2) {
        if (table_doubled(pool) != 0)
            return NULL;
        slot = slot_of(pool->slots, pool->slot_count, hash, key, size);
    }
    struct pool_entry *entry = pool_memory(pool, sizeof *entry + size + 1);
    if (!entry)
        return NULL;
    entry->size = size;
    memcpy(entry->key, key, size);
    *slot = (struct slot){hash, entry};
    pool->used++;
    return entry;
}

const char *pool_text(struct pool *pool, const char *text)
{
    if (!text)
        return NULL;
    struct pool_entry *entry = pool_entry(pool, text, strlen(text));
    return entry ? entry->key : NULL;
}
