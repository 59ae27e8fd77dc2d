/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of sites and kinds, and the timeline. */
#include "handles.h"

static void raised(_Atomic uint64_t *highest, uint64_t value)
{
    uint64_t known = atomic_load_explicit(highest, memory_order_relaxed);
    while (value > known &&
           !atomic_compare_exchange_weak_explicit(highest, &known, value, memory_order_relaxed, memory_order_relaxed))
        ;
}

static void raised32(_Atomic uint32_t *highest, uint32_t value)
{
    uint32_t known = atomic_load_explicit(highest, memory_order_relaxed);
    while (value > known &&
           !atomic_compare_exchange_weak_explicit(highest, &known, value, memory_order_relaxed, memory_order_relaxed))
        ;
}

static inline void counted32(_Atomic uint32_t *counter, uint32_t number)
{
    if (is_alone())
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + number,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(counter, number, memory_order_relaxed);
}

/* --- timeline ------------------------------------------------------------------------------------------------------ */

static void buckets_merged(struct trace_timeline *timeline)
{
    atomic_fetch_add(&timeline->version, 1);
    for (unsigned i = 0; i < TRACE_BUCKETS; i++) {
        struct trace_bucket merged = {0};
        for (unsigned half = 0; i < TRACE_BUCKETS / 2 && half < 2; half++) {
            struct trace_bucket *from = &timeline->buckets[2 * i + half];
            for (unsigned kind = 0; kind < TIMELINE_KINDS; kind++)
                if (from->peak[kind] > merged.peak[kind])
                    merged.peak[kind] = from->peak[kind];
            merged.touched |= from->touched;
            merged.opened += from->opened;
            merged.closed += from->closed;
        }
        timeline->buckets[i] = merged;
    }
    atomic_store(&timeline->width, timeline->width * 2);
    atomic_fetch_add(&timeline->version, 1);
}

static struct trace_bucket *bucket_at(struct trace_timeline *timeline, uint64_t now)
{
    uint64_t since = now > timeline->start ? now - timeline->start : 0;
    uint64_t number;
    while ((number = since / atomic_load_explicit(&timeline->width, memory_order_relaxed)) >= TRACE_BUCKETS) {
        locked(&shim.timeline_lock);
        if (since / timeline->width >= TRACE_BUCKETS)
            buckets_merged(timeline);
        unlocked(&shim.timeline_lock);
    }
    return &timeline->buckets[number];
}

static void timeline_noted(enum kind kind, uint64_t now, uint64_t before, uint64_t after)
{
    struct trace_bucket *bucket = bucket_at(record_of(TABLE_TIMELINE, 0), now);
    unsigned column = (unsigned)kind < TIMELINE_DECLARED ? (unsigned)kind : TIMELINE_DECLARED;
    raised32(&bucket->peak[column], (uint32_t)(before > after ? before : after));
    atomic_store_explicit(&bucket->touched, 1, memory_order_relaxed);
    counted32(before > after ? &bucket->closed : &bucket->opened, 1);
}

/* --- sites ------------------------------------------------------------------------------------------------------------- */

static unsigned hold_bucket(uint64_t held)
{
    uint64_t microseconds = held / 1000;
    if (microseconds == 0)
        return 0;
    if (microseconds >> 32)
        return TRACE_HOLD_BUCKETS - 1;
    unsigned octave = 63 - (unsigned)__builtin_clzll(microseconds);
    unsigned upper_half = microseconds * microseconds >= 1ull << (2 * octave + 1);
    unsigned bucket = 1 + 2 * octave + upper_half;
    return bucket < TRACE_HOLD_BUCKETS ? bucket : TRACE_HOLD_BUCKETS - 1;
}

static void event_noted(uint64_t now)
{
    struct trace_process *process = record_of(TABLE_PROCESS, 0);
    atomic_store_explicit(&process->last_event, now, memory_order_relaxed);
    if (unlikely(atomic_load_explicit(&process->end, memory_order_relaxed) != END_NONE))
        atomic_store(&process->end, END_NONE); /* it was not the end: a vfork child's exit, an exec that failed */
}

void open_counted(struct trace_site *site, enum kind kind, uint64_t now, uint32_t target)
{
    struct trace_header *header = shim.trace.header;
    if (counted(&site->opened, 1) == 0) {
        site->first_target = target;
        atomic_store(&site->first, now);
    }
    atomic_store_explicit(&site->last, now, memory_order_relaxed);
    uint64_t open = counted(&site->open, 1) + 1;
    if (open > atomic_load_explicit(&site->peak, memory_order_relaxed)) {
        raised(&site->peak, open);
        atomic_store_explicit(&site->peak_time, now, memory_order_relaxed);
    }
    counted(&header->opened[kind], 1);
    uint64_t before = counted(&header->open[kind], 1);
    raised(&header->peak[kind], before + 1);
    if (!is_cheap(kind))
        timeline_noted(kind, now, before, before + 1);
    event_noted(now);
}

void close_counted(struct trace_site *site, enum kind kind, uint64_t now, uint64_t held, enum trace_ended how)
{
    struct trace_header *header = shim.trace.header;
    counted(&site->closed, 1);
    counted(&site->open, (uint64_t)-1);
    counted(&site->ended[how], 1);
    raised(&site->held_max, held);
    counted32(&site->held[hold_bucket(held)], 1);
    counted(&header->closed[kind], 1);
    uint64_t before = counted(&header->open[kind], (uint64_t)-1);
    if (!is_cheap(kind))
        timeline_noted(kind, now, before, before - 1);
    event_noted(now);
}
