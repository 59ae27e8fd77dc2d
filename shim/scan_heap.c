/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of malloc's memory comes from glibc 2.26 to 2.41, malloc/malloc.c and malloc/arena.c (64 bits), and is
 * believed only where a whole region agrees with it. A region that does not agree is ordinary memory: a root.
 */
#include "scan_private.h"

enum {
    FLAG_PREVIOUS_IN_USE = 1,
    FLAG_MAPPED = 2,
    CHUNK_MIN = 32,
    UNIT = 16,
    PAGE = 4096,
    UNITS_A_PAGE = PAGE / UNIT,
    TCACHE_BINS = 64,
    TCACHE_CHUNK = 0x290, /* tcache_perthread_struct: uint16_t counts[64], void *entries[64] */
    FAST_BINS = 10,
    ARENA_FAST_BINS = 0x10, /* malloc_state: fastbinsY, top, next, and its size */
    ARENA_TOP = 0x60,
    ARENA_SIZE = MAIN_ARENA_SIZE,
    TCACHES_MAX = 16384,
    LIST_MAX = 1 << 20,
    CHUNKS_A_LOOK = 1 << 16, /* at the clock */
};
#define ARENA_HEAP_MAX ((uintptr_t)64 << 20)

static uintptr_t word_at(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

static uintptr_t size_of(uintptr_t chunk)
{
    return word_at(chunk + 8) & ~(uintptr_t)7;
}

static uintptr_t unit_of(const struct heap_region *region, uintptr_t address)
{
    return (address - (region->start + 8)) / UNIT;
}

static uintptr_t chunk_at(const struct heap_region *region, uintptr_t unit)
{
    return region->start + unit * UNIT;
}

static bool bit_is_set(const uint64_t *bits, uintptr_t unit)
{
    return bits[unit / 64] >> (unit % 64) & 1;
}

static void bit_set(uint64_t *bits, uintptr_t unit)
{
    bits[unit / 64] |= (uint64_t)1 << (unit % 64);
}

/* --- from an address to its chunk ------------------------------------------------------------------------------------- */

static struct heap_region *region_of(const struct heap *heap, uintptr_t address)
{
    size_t low = 0, high = heap->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (heap->regions[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < heap->count && heap->regions[low].start <= address ? &heap->regions[low] : NULL;
}

/* The last chunk in use that begins at or before the unit: searched in its page only, the page knows the rest. */
static uintptr_t chunk_before(const struct heap_region *region, uintptr_t unit)
{
    uintptr_t page = unit / UNITS_A_PAGE, word = unit / 64;
    uint64_t bits = region->starts[word] & (~(uint64_t)0 >> (63 - unit % 64));
    while (!bits && word > page * (UNITS_A_PAGE / 64))
        bits = region->starts[--word];
    if (bits)
        return chunk_at(region, word * 64 + 63 - (uintptr_t)__builtin_clzll(bits));
    uintptr_t covering = region->covering[page];
    return covering && bit_is_set(region->starts, covering - 1) ? chunk_at(region, covering - 1) : 0;
}

static uintptr_t chunk_in(const struct heap_region *region, uintptr_t address)
{
    if (!region || address < region->start + CHUNK_HEADER)
        return 0;
    uintptr_t chunk = region->starts ? chunk_before(region, unit_of(region, address)) : region->start;
    return chunk && address >= chunk + CHUNK_HEADER && address < chunk_end(chunk) ? chunk : 0;
}

uintptr_t heap_chunk_of(const struct heap *heap, uintptr_t address)
{
    return chunk_in(region_of(heap, address), address);
}

bool heap_contains(const struct heap *heap, uintptr_t address)
{
    return region_of(heap, address) != NULL;
}

void heap_chunk_holds_handle(struct heap *heap, uintptr_t chunk)
{
    struct heap_region *region = region_of(heap, chunk);
    if (region->starts)
        bit_set(region->holders, unit_of(region, chunk + 8));
    else
        region->holder = true;
}

bool heap_chunk_is_marked(const struct heap *heap, uintptr_t chunk)
{
    const struct heap_region *region = region_of(heap, chunk);
    return region->starts ? bit_is_set(region->marks, unit_of(region, chunk + 8)) : region->marked;
}

uintptr_t heap_chunk_marked(struct heap *heap, uintptr_t address)
{
    struct heap_region *region = region_of(heap, address);
    uintptr_t chunk = chunk_in(region, address);
    if (!chunk)
        return 0;
    if (!region->starts) {
        uintptr_t fresh = region->marked ? 0 : chunk + (region->holder ? CHUNK_HOLDS_HANDLE : 0);
        region->marked = true;
        return fresh;
    }
    uintptr_t unit = unit_of(region, chunk + 8);
    if (bit_is_set(region->marks, unit))
        return 0;
    bit_set(region->marks, unit);
    return chunk + (bit_is_set(region->holders, unit) ? CHUNK_HOLDS_HANDLE : 0);
}

size_t heap_chunk_limit(const struct heap *heap)
{
    size_t limit = 1;
    for (size_t i = 0; i < heap->count; i++)
        limit += heap->regions[i].starts ? (heap->regions[i].end - heap->regions[i].start) / CHUNK_MIN : 1;
    return limit;
}

/* --- walking ------------------------------------------------------------------------------------------------------------ */

static bool looks_like_tcache(uintptr_t chunk)
{
    const uint16_t *counts = (const uint16_t *)(chunk + CHUNK_HEADER);
    const uintptr_t *entries = (const uintptr_t *)(chunk + CHUNK_HEADER + TCACHE_BINS * sizeof(uint16_t));
    bool any = false;
    for (int bin = 0; bin < TCACHE_BINS; bin++) {
        if ((counts[bin] == 0) != (entries[bin] == 0) || entries[bin] % UNIT)
            return false;
        any = any || counts[bin];
    }
    return any;
}

static void chunk_in_use(struct heap *heap, struct heap_region *region, uintptr_t chunk, uintptr_t size)
{
    uintptr_t unit = unit_of(region, chunk + 8), last = unit + size / UNIT - 1;
    bit_set(region->starts, unit);
    for (uintptr_t page = unit / UNITS_A_PAGE + 1; page <= last / UNITS_A_PAGE; page++)
        region->covering[page] = (uint32_t)unit + 1;
    if (size == TCACHE_CHUNK && heap->tcache_count < TCACHES_MAX && looks_like_tcache(chunk))
        heap->tcaches[heap->tcache_count++] = chunk;
}

/*
 * Goes from chunk to chunk up to the top chunk, which ends where the region ends, or to a fencepost (size 16 or 0), which
 * stands where malloc had to go on elsewhere. Returns where malloc's memory ends, 0 if this is none; `*top` too.
 */
static uintptr_t region_walked(struct copy *copy, struct heap_region *region, uintptr_t *top)
{
    unsigned chunks = 0;
    uintptr_t chunk = region->start;
    *top = 0;
    while (chunk + CHUNK_HEADER <= region->end) {
        uintptr_t head = word_at(chunk + 8), size = head & ~(uintptr_t)7;
        if ((size == UNIT || size == 0) && (head & FLAG_PREVIOUS_IN_USE) && chunk > region->start)
            return chunk + CHUNK_HEADER;
        if (size < CHUNK_MIN || size % UNIT || size > region->end - chunk || (head & FLAG_MAPPED))
            return 0;
        if (chunk + size == region->end) {
            *top = chunk;
            return region->end;
        }
        if (region->end - chunk - size < CHUNK_HEADER)
            return 0;
        if (word_at(chunk + size + 8) & FLAG_PREVIOUS_IN_USE)
            chunk_in_use(&copy->heap, region, chunk, size);
        chunk += size;
        if (++chunks % CHUNKS_A_LOOK == 0 && time_is_over(copy))
            return 0;
    }
    return 0;
}

static bool region_has_books(struct heap_region *region)
{
    uintptr_t units = (region->end - region->start) / UNIT;
    size_t bits = (units / 64 + 1) * sizeof(uint64_t);
    if (units >= UINT32_MAX)
        return false;
    region->starts = copy_memory(bits);
    region->marks = copy_memory(bits);
    region->holders = copy_memory(bits);
    region->covering = copy_memory((units / UNITS_A_PAGE + 2) * sizeof(uint32_t));
    return region->starts && region->marks && region->holders && region->covering;
}

static void region_added(struct heap *heap, struct heap_region region)
{
    if (heap->count == heap->capacity)
        return;
    heap->regions[heap->count++] = region;
    if (heap->count == 1 || region.start < heap->low)
        heap->low = region.start;
    if (region.end > heap->high)
        heap->high = region.end;
}

/* False: not malloc's after all, or caught in the middle of a change. */
static bool region_found(struct copy *copy, uintptr_t start, uintptr_t end, uintptr_t *top)
{
    struct heap_region region = {.start = start, .end = end};
    size_t tcaches = copy->heap.tcache_count;
    uintptr_t known_end = region_has_books(&region) ? region_walked(copy, &region, top) : 0;
    if (!known_end || copy->heap.count == copy->heap.capacity) {
        copy->heap.tcache_count = tcaches;
        copy->unsettled = true;
        return false;
    }
    region.end = known_end;
    region_added(&copy->heap, region);
    return true;
}

/* --- finding -------------------------------------------------------------------------------------------------------------- */

static void main_heap_found(struct copy *copy, const struct mapping *mapping)
{
    uintptr_t top = 0;
    if (!region_found(copy, mapping->start, mapping->end, &top))
        return;
    range_excluded(copy, mapping->start, copy->heap.regions[copy->heap.count - 1].end);
    if (top)
        copy->heap.main_top = top;
}

struct heap_info {
    uintptr_t arena;
    uintptr_t previous;
    uintptr_t size;
    uintptr_t writable_size;
};

/* 2.35 made the header longer: the arena, which follows it in the arena's first heap, tells how long. */
static bool heap_info_is_sound(const struct heap_info *info, uintptr_t start, uintptr_t end)
{
    uintptr_t header = info->arena % ARENA_HEAP_MAX;
    return info->size >= PAGE && info->size % PAGE == 0 && info->size <= info->writable_size &&
           info->writable_size <= ARENA_HEAP_MAX && info->size <= end - start && info->previous % ARENA_HEAP_MAX == 0 &&
           header >= sizeof(*info) && header <= 2 * sizeof(*info) &&
           (info->previous == 0) == (info->arena - header == start);
}

/* At an address that is a multiple of 64 MiB. Returns where the memory that belongs to it ends, 0: this is none. */
static uintptr_t arena_heap_found(struct copy *copy, const struct mapping *mapping, uintptr_t start)
{
    struct heap_info info;
    if (memory_read(copy, start, &info, sizeof(info)) != sizeof(info) ||
        !heap_info_is_sound(&info, start, mapping->end))
        return 0;
    bool is_first = info.previous == 0;
    uintptr_t chunk = start + info.arena % ARENA_HEAP_MAX + (is_first ? ARENA_SIZE : 0), top;
    if (!region_found(copy, (chunk + UNIT - 1) & ~(uintptr_t)(UNIT - 1), start + info.size, &top))
        return 0;
    if (is_first && copy->heap.arena_count < sizeof(copy->heap.arenas) / sizeof(*copy->heap.arenas))
        copy->heap.arenas[copy->heap.arena_count++] = info.arena;
    uintptr_t end = start + info.writable_size < mapping->end ? start + info.writable_size : mapping->end;
    range_excluded(copy, start, end);
    return end;
}

/* A chunk with a mapping of its own: whole pages, and nothing in the first word (memalign would leave its offset there). */
static uintptr_t mapped_chunk_found(struct copy *copy, uintptr_t start, uintptr_t end)
{
    uintptr_t head[2];
    if (copy->heap.count == copy->heap.capacity || memory_read(copy, start, head, sizeof(head)) != sizeof(head))
        return 0;
    uintptr_t size = head[1] & ~(uintptr_t)7;
    if (head[0] != 0 || (head[1] & 7) != FLAG_MAPPED || size < PAGE || size % copy->page_size || size > end - start)
        return 0;
    region_added(&copy->heap, (struct heap_region){.start = start, .end = start + size});
    range_excluded(copy, start, start + size);
    return start + size;
}

/* The kernel joins neighbouring mappings: one may begin with chunks of their own and hold arenas further on. */
static void heaps_found_in(struct copy *copy, const struct mapping *mapping)
{
    uintptr_t at = mapping->start;
    bool something_begins_here = true;
    while (at < mapping->end) {
        uintptr_t found = at % ARENA_HEAP_MAX == 0 ? arena_heap_found(copy, mapping, at) : 0;
        if (!found && something_begins_here)
            found = mapped_chunk_found(copy, at, mapping->end);
        something_begins_here = found != 0;
        at = found ? found : (at + ARENA_HEAP_MAX) & ~(ARENA_HEAP_MAX - 1);
    }
}

bool heaps_found(struct copy *copy)
{
    struct heap *heap = &copy->heap;
    heap->capacity = copy->mapping_count * 4 + 65536;
    heap->regions = copy_memory(heap->capacity * sizeof(*heap->regions));
    heap->tcaches = copy_memory(TCACHES_MAX * sizeof(*heap->tcaches));
    if (!heap->regions || !heap->tcaches)
        return false;
    for (size_t i = 0; i < copy->mapping_count && !time_is_over(copy); i++) {
        const struct mapping *mapping = &copy->mappings[i];
        if (mapping->kind == MAPPING_BREAK && mapping->writable)
            main_heap_found(copy, mapping);
        else if (mapping->kind == MAPPING_ANONYMOUS && mapping->writable && mapping->end - mapping->start <= RANGE_MAX)
            heaps_found_in(copy, mapping);
    }
    return true;
}

/* In a fresh arena all bins are empty, and an empty bin points to itself; some always are. */
uintptr_t main_arena_at(const struct heap *heap, const uintptr_t *words, size_t count, uintptr_t address)
{
    enum { TOP = ARENA_TOP / 8, BINS = TOP + 2, BIN_COUNT = 127, EMPTY_AT_LEAST = 16 };
    for (size_t i = TOP; heap->main_top && i - TOP + ARENA_SIZE / 8 < count; i++) {
        if (words[i] != heap->main_top)
            continue;
        uintptr_t arena = address + (i - TOP) * 8;
        int empty = 0;
        for (uintptr_t bin = 0; bin < BIN_COUNT; bin++)
            empty += words[i - TOP + BINS + 2 * bin] == arena + ARENA_TOP + 2 * 8 * bin;
        if (empty >= EMPTY_AT_LEAST)
            return arena;
    }
    return 0;
}

/* --- caches of freed chunks -------------------------------------------------------------------------------------------------- */

/* 0: not a chunk in use of that size, so not a link of such a list either. */
static uintptr_t listed_chunk(const struct heap *heap, uintptr_t user, uintptr_t size)
{
    if (user % UNIT)
        return 0;
    uintptr_t chunk = heap_chunk_of(heap, user);
    return chunk && chunk + CHUNK_HEADER == user && size_of(chunk) == size ? chunk : 0;
}

static void chunk_left_out(struct heap *heap, uintptr_t chunk)
{
    struct heap_region *region = region_of(heap, chunk);
    uintptr_t unit = unit_of(region, chunk + 8);
    if (region->starts)
        region->starts[unit / 64] &= ~((uint64_t)1 << (unit % 64));
}

/*
 * Links are stored plainly before 2.32, later as (address of the link >> 12) ^ link. `bias` is what a link lacks to the
 * user's bytes: 0 in caches, 16 in fast bins.
 */
struct free_list {
    uintptr_t first;
    uintptr_t size;
    uintptr_t bias;
};

static uintptr_t link_after(const struct heap *heap, const struct free_list *list, uintptr_t chunk)
{
    uintptr_t place = chunk + CHUNK_HEADER, stored = word_at(place), revealed = stored ^ (place >> 12);
    return revealed && !listed_chunk(heap, revealed + list->bias, list->size) ? stored : revealed;
}

/* -1: not a list of freed chunks, or one that just changes. */
static long list_length(const struct heap *heap, const struct free_list *list)
{
    long length = 0;
    for (uintptr_t link = list->first; link; length++) {
        uintptr_t chunk = listed_chunk(heap, link + list->bias, list->size);
        if (!chunk || length == LIST_MAX)
            return -1;
        link = link_after(heap, list, chunk);
    }
    return length;
}

static void list_left_out(struct heap *heap, const struct free_list *list, long length)
{
    uintptr_t link = list->first;
    while (length-- > 0) {
        uintptr_t chunk = listed_chunk(heap, link + list->bias, list->size);
        link = link_after(heap, list, chunk);
        chunk_left_out(heap, chunk);
    }
}

static void fast_bins_left_out(struct heap *heap, uintptr_t arena)
{
    for (uintptr_t bin = 0; bin < FAST_BINS; bin++) {
        uintptr_t first = word_at(arena + ARENA_FAST_BINS + bin * 8);
        struct free_list list = {first, CHUNK_MIN + bin * UNIT, CHUNK_HEADER};
        list_left_out(heap, &list, list_length(heap, &list));
    }
}

static void tcache_left_out(struct heap *heap, uintptr_t tcache)
{
    const uint16_t *counts = (const uint16_t *)(tcache + CHUNK_HEADER);
    const uintptr_t *entries = (const uintptr_t *)(tcache + CHUNK_HEADER + TCACHE_BINS * sizeof(uint16_t));
    for (uintptr_t bin = 0; bin < TCACHE_BINS; bin++) {
        struct free_list list = {entries[bin], CHUNK_MIN + bin * UNIT, 0};
        long length = list_length(heap, &list);
        if (length == counts[bin])
            list_left_out(heap, &list, length);
    }
}

void freed_chunks_left_out(struct heap *heap, uintptr_t main_arena)
{
    for (size_t i = 0; i < heap->tcache_count; i++)
        tcache_left_out(heap, heap->tcaches[i]);
    for (size_t i = 0; i < heap->arena_count; i++)
        fast_bins_left_out(heap, heap->arenas[i]);
    if (main_arena)
        fast_bins_left_out(heap, main_arena);
}
