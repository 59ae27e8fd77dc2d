/* SPDX-License-Identifier: Apache-2.0 */
#include "map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

void memory_exhausted(void)
{
    fprintf(stderr, "unclosed: error: out of memory\n");
    exit(STATUS_NO_REPORT);
}

void *memory_resized(void *old, size_t count, size_t size)
{
    void *new = reallocarray(old, count, size);

    if (!new &&count && size)
        memory_exhausted();
    return new;
}

void *memory(size_t size)
{
    void *new = calloc(1, size ? size : 1);

    if (!new)
        memory_exhausted();
    return new;
}

/* Where `key` is, or would go. */
static struct map_entry *place_of(const struct map *map, uint64_t key)
{
    size_t mask = map->size - 1, place = mixed(0, key) & mask;

    while (map->entries[place].value && map->entries[place].key != key)
        place = (place + 1) & mask;
    return &map->entries[place];
}

uint64_t map_value(const struct map *map, uint64_t key)
{
    return map->size ? place_of(map, key)->value : 0;
}

static void map_grown(struct map *map)
{
    struct map larger = {.size = map->size ? map->size * 2 : 64, .used = map->used};

    larger.entries = memory(larger.size * sizeof(*larger.entries));
    for (size_t i = 0; i < map->size; i++)
        if (map->entries[i].value)
            *place_of(&larger, map->entries[i].key) = map->entries[i];
    free(map->entries);
    *map = larger;
}

void map_set(struct map *map, uint64_t key, uint64_t value)
{
    struct map_entry *entry;

    if (map->used * 3 >= map->size * 2)
        map_grown(map);
    entry = place_of(map, key);
    map->used += entry->value == 0;
    *entry = (struct map_entry){key, value};
}

void map_freed(struct map *map)
{
    free(map->entries);
    *map = (struct map){0};
}

uint64_t bytes_hashed(uint64_t seed, const void *bytes, size_t size)
{
    for (const unsigned char *byte = bytes, *end = byte + size; byte < end; byte++)
        seed = (seed ^ *byte) * 0x100000001b3u;
    return seed;
}

uint64_t text_hashed(uint64_t seed, const char *text)
{
    return bytes_hashed(seed, text ? text : "", text ? strlen(text) : 0);
}
