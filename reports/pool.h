/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h: memory that lives as long as its pool, and one table of keys in it.
 *
 * Nothing is freed singly. Not thread-safe. Every function returns NULL when out of memory.
 */
#ifndef UNCLOSED_REPORTS_POOL_H
#define UNCLOSED_REPORTS_POOL_H

#include <stddef.h>

struct pool;

struct pool *pool_opened(void);
void pool_closed(struct pool *pool); /* NULL is fine */

/* Zeroed memory, aligned for any object. */
void *pool_memory(struct pool *pool, size_t size);

/* A key, once. `value` is NULL at first and belongs to the caller; the entry never moves. */
struct pool_entry {
    void *value;
    size_t size;
    char key[]; /* a 0 byte follows */
};
struct pool_entry *pool_entry(struct pool *pool, const void *key, size_t size);

/* The text as it is kept in `pool`, the same pointer for equal texts. NULL for NULL. */
const char *pool_text(struct pool *pool, const char *text);

#endif
