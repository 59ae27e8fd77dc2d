/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spans.h: which of many address ranges holds an address.
 *
 * Add all, sort once, then ask: one binary search. Not thread-safe.
 */
#ifndef UNCLOSED_REPORTS_SPANS_H
#define UNCLOSED_REPORTS_SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    uint64_t low, high; /* [low, high) */
    uint64_t reach;     /* highest `high` up to here, after sorting */
    uint32_t rank;      /* of equal ranges the lowest rank answers */
    uint32_t payload;   /* the owner's index */
};

struct spans { /* all zero: empty */
    struct span *list;
    size_t count, room;
};

/* False: out of memory. An empty range is not added, and that is no failure. */
bool span_added(struct spans *spans, uint64_t low, uint64_t high, uint32_t rank, uint32_t payload);
void spans_sorted(struct spans *spans);
/* The smallest range that holds `address`, NULL if none does. */
const struct span *span_found(const struct spans *spans, uint64_t address);
void spans_freed(struct spans *spans); /* leaves them empty */

#endif
