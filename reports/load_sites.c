/* SPDX-License-Identifier: Apache-2.0 */
/* Tables site, hold_time and closed_handle. */
#include "loading.h"

/* --- hold times ---------------------------------------------------------------------------------------------------------- */

/* 1 µs times the square root of 2 to the power of `halves`. */
static int64_t half_octaves(unsigned halves)
{
    return halves % 2 ? (int64_t)((1414213562ull << halves / 2) / 1000000) : (int64_t)(1000ull << halves / 2);
}

/* Bucket 0 is below 1 µs, then two buckets an octave: b covers [2^((b-1)/2), 2^(b/2)) µs. */
static int64_t bucket_low(unsigned bucket)
{
    return bucket ? half_octaves(bucket - 1) : 0;
}

static int64_t bucket_high(unsigned bucket)
{
    return half_octaves(bucket);
}

static void hold_times_loaded(struct subject *subject, int64_t id, const struct trace_site *site)
{
    for (unsigned bucket = 0; bucket < TRACE_HOLD_BUCKETS; bucket++)
        if (site->held[bucket])
            INSERTED(&subject->loading->inserts.hold_time, integer(id), integer(bucket), integer(bucket_low(bucket)),
                     integer(bucket_high(bucket)), counted(site->held[bucket]));
}

/* The hold time that `share` of the closed handles did not exceed, evenly spread inside a bucket. */
static struct value hold_time_of(const struct trace_site *site, double share)
{
    double total = 0, before = 0;
    int64_t longest = site->held_max > INT64_MAX ? INT64_MAX : (int64_t)site->held_max;

    for (unsigned bucket = 0; bucket < TRACE_HOLD_BUCKETS; bucket++)
        total += site->held[bucket];
    for (unsigned bucket = 0; bucket < TRACE_HOLD_BUCKETS; bucket++) {
        double count = site->held[bucket], low = (double)bucket_low(bucket), high = (double)bucket_high(bucket);
        if (count > 0 && before + count >= share * total) {
            double within = low + (high - low) * (share * total - before) / count;
            return integer(longest && within > (double)longest ? longest : (int64_t)within);
        }
        before += count;
    }
    return nothing();
}

/* --- sites ------------------------------------------------------------------------------------------------------------------ */

static void site_noted(struct subject *subject, uint32_t number, uint32_t kind, int64_t stack)
{
    ROOM_FOR_ONE(subject->sites, subject->site_count);
    subject->sites[subject->site_count++] = (struct loaded_site){number, kind, stack};
}

static bool site_visited(void *context, uint32_t number, const void *record)
{
    struct subject *subject = context;
    const struct trace_site *site = record;
    int64_t id = subject->site_base + number, stack = stack_of(subject, site->stack);

    if (number == 0 || site->kind == KIND_NONE || site->kind >= KIND_LIMIT) {
        subject->trace->damaged++;
        return true;
    }
    site_noted(subject, number, site->kind, stack);
    INSERTED(&subject->loading->inserts.site, integer(id), integer(subject->process), kind_value(subject, site->kind),
             reference(stack), trace_text_value(subject, site->first_target), counted(site->opened),
             counted(site->closed), counted(site->failed), counted(site->open), counted(site->peak),
             moment(subject, site->first), moment(subject, site->last), moment(subject, site->peak_time),
             counted(site->ended[ENDED_EXPLICIT]), counted(site->ended[ENDED_GC]),
             counted(site->ended[ENDED_FINALIZATION]), counted(site->ended[ENDED_INVALIDATED]),
             counted(site->ended[ENDED_DETACHED]), counted(site->ended[ENDED_OWNER_GONE]),
             counted(site->ended[ENDED_WITH_PARENT]), counted(site->ended[ENDED_REPLACED]), hold_time_of(site, 0.5),
             hold_time_of(site, 0.99), site->held_max ? counted(site->held_max) : nothing());
    hold_times_loaded(subject, id, site);
    return true;
}

void sites_loaded(struct subject *subject)
{
    trace_walked(subject->trace, TABLE_SITE, site_visited, subject);
}

const struct loaded_site *site_loaded(const struct subject *subject, uint32_t number)
{
    size_t low = 0, high = subject->site_count;

    if (number && number <= high && subject->sites[number - 1].number == number)
        return &subject->sites[number - 1];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (subject->sites[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < subject->site_count && subject->sites[low].number == number ? &subject->sites[low] : NULL;
}

struct value site_value(const struct subject *subject, uint32_t number)
{
    return site_loaded(subject, number) ? integer(subject->site_base + number) : nothing();
}

/* --- handles whose site was lost --------------------------------------------------------------------------------------------- */

int64_t siteless_id(const struct subject *subject, unsigned kind)
{
    uint32_t highest = subject->site_count ? subject->sites[subject->site_count - 1].number : 0;

    return subject->site_base + highest + 1 + (kind < KIND_LIMIT ? kind : 0);
}

void siteless_loaded(struct subject *subject)
{
    struct value none = integer(0);

    for (unsigned kind = 0; kind < KIND_LIMIT; kind++)
        if (subject->siteless[kind])
            INSERTED(&subject->loading->inserts.site, integer(siteless_id(subject, kind)), integer(subject->process),
                     kind_value(subject, kind), reference(stack_of(subject, STACK_OTHER)), nothing(),
                     counted(subject->siteless[kind]), none, none, counted(subject->siteless[kind]),
                     counted(subject->siteless[kind]), nothing(), nothing(), nothing(), none, none, none, none, none,
                     none, none, none, nothing(), nothing(), nothing());
}

/* --- closed handles ------------------------------------------------------------------------------------------------------------ */

static const char *const ended_names[ENDED_COUNT] = {
    [ENDED_NOT] = "unknown",
    [ENDED_EXPLICIT] = "explicit",
    [ENDED_GC] = "gc",
    [ENDED_FINALIZATION] = "finalization",
    [ENDED_INVALIDATED] = "invalidated",
    [ENDED_DETACHED] = "detached",
    [ENDED_OWNER_GONE] = "owner-gone",
    [ENDED_WITH_PARENT] = "with-parent",
    [ENDED_REPLACED] = "replaced",
};

static bool closed_visited(void *context, uint32_t number, const void *record)
{
    struct subject *subject = context;
    const struct trace_closed *closed = record;

    (void)number;
    INSERTED(&subject->loading->inserts.closed_handle, integer(subject->process), kind_value(subject, closed->kind),
             integer((int64_t)closed->address), counted(closed->generation), site_value(subject, closed->site),
             reference(stack_of(subject, closed->close_stack)), moment(subject, closed->opened),
             moment(subject, closed->closed), text(closed->how < ENDED_COUNT ? ended_names[closed->how] : "unknown"),
             trace_text_value(subject, closed->target), trace_text_value(subject, closed->owner_label),
             integer(closed->flags & HANDLE_IN_TRANSACTION ? 1 : 0), moment(subject, closed->last_used),
             reference(closed->opened_thread), integer(closed->flags & HANDLE_OWNER_LEFT ? 1 : 0));
    return true;
}

void closed_handles_loaded(struct subject *subject)
{
    trace_walked(subject->trace, TABLE_CLOSED, closed_visited, subject);
}
