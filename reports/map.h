/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map from numbers to numbers, for renumbering: {0} is an empty one. Key and value may be anything, but the value 0
 * is "not there". Linear probing, doubles when two thirds are full.
 */
#ifndef UNCLOSED_REPORTS_MAP_H
#define UNCLOSED_REPORTS_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_entry {
    uint64_t key, value;
};

struct map {
    struct map_entry *entries;
    size_t size, used; /* size: a power of two, or 0 */
};

/* The value for `key`, 0: none. */
uint64_t map_value(const struct map *map, uint64_t key);

/* `value` (not 0) for `key` from now on. Ends the program with a message when memory is out. */
void map_set(struct map *map, uint64_t key, uint64_t value);

/* Empty again, memory given back. */
void map_freed(struct map *map);

/* Memory or the end: prints a line and exits with status 25. The command has nothing better to do. */
void *memory(size_t size); /* zero-filled */
void *memory_resized(void *old, size_t count, size_t size);

_Noreturn void memory_exhausted(void); /* for those who asked elsewhere */

/* Room for one more element of a list that holds `count`; a list doubles. */
#define ROOM_FOR_ONE(list, count)                                                      \
    do {                                                                               \
        if (((count) & ((count)-1)) == 0)                                              \
            (list) = memory_resized((list), (count) ? (count)*2 : 1, sizeof(*(list))); \
    } while (0)

/* A good 64-bit mix of two numbers, for keys made of several. */
static inline uint64_t mixed(uint64_t seed, uint64_t number)
{
    uint64_t value = (seed ^ number) * 0x9e3779b97f4a7c15u;

    value ^= value >> 29;
    value *= 0xbf58476d1ce4e5b9u;
    return value ^ (value >> 32);
}

/* FNV-1a with a seed to go on from; the first time MAP_SEED. */
#define MAP_SEED 0xcbf29ce484222325u
uint64_t bytes_hashed(uint64_t seed, const void *bytes, size_t size);
uint64_t text_hashed(uint64_t seed, const char *text); /* NULL: as "" */

#endif
