/* SPDX-License-Identifier: Apache-2.0 */
#include "spans.h"

#include <stdlib.h>

/* A corrupt file may hold a million ranges inside each other; an honest one nests a few. */
enum { MOST_STEPS = 256 };

bool span_added(struct spans *spans, uint64_t low, uint64_t high, uint32_t rank, uint32_t payload)
{
    if (low >= high)
        return true;
    if (spans->count == spans->room) {
        size_t room = spans->room ? spans->room * 2 : 64;
        struct span *list = reallocarray(spans->list, room, sizeof *list);
        if (!list)
            return false;
        spans->list = list;
        spans->room = room;
    }
    spans->list[spans->count++] = (struct span){low, high, high, rank, payload};
    return true;
}

static int span_order(const void *left, const void *right)
{
    const struct span *a = left, *b = right;
    if (a->low != b->low)
        return a->low < b->low ? -1 : 1;
    if (a->high != b->high)
        return a->high < b->high ? 1 : -1;
    if (a->rank != b->rank)
        return a->rank < b->rank ? 1 : -1;
    return a->payload < b->payload ? 1 : a->payload > b->payload ? -1 : 0;
}

void spans_sorted(struct spans *spans)
{
    if (spans->count == 0)
        return;
    qsort(spans->list, spans->count, sizeof *spans->list, span_order);
    uint64_t reach = 0;
    for (size_t i = 0; i < spans->count; i++) {
        if (spans->list[i].high > reach)
            reach = spans->list[i].high;
        spans->list[i].reach = reach;
    }
}

/* How many ranges begin at or below `address`. */
static size_t begun(const struct spans *spans, uint64_t address)
{
    size_t low = 0, high = spans->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (spans->list[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct span *span_found(const struct spans *spans, uint64_t address)
{
    const struct span *best = NULL;
    size_t i = begun(spans, address);
    for (int steps = 0; i-- > 0 && spans->list[i].reach > address && steps < MOST_STEPS; steps++) {
        const struct span *span = &spans->list[i];
        if (address < span->high && (!best || span->high - span->low < best->high - best->low))
            best = span;
    }
    return best;
}

void spans_freed(struct spans *spans)
{
    free(spans->list);
    *spans = (struct spans){0};
}
