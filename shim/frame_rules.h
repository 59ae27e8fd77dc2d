/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of the places that stacks have gone through: one table for all threads, without locks.
 *
 *     return address 0x…1a2b -> {FRAME_BY_STACK_POINTER, cfa +32}
 *
 * A place in the table belongs to one address for ever and only its rule is cleared, so no reader can take one address's
 * rule for another's. A full neighbourhood costs time, not truth.
 */
#ifndef UNCLOSED_SHIM_FRAME_RULES_H
#define UNCLOSED_SHIM_FRAME_RULES_H

#include <stdatomic.h>
#include <string.h>

#include "eh_frame.h"

enum { FRAME_RULES_BITS = 15 };

struct frame_rule_place {
    _Atomic uintptr_t return_address; /* 0: free */
    _Atomic uint64_t rule;            /* struct frame_rule; 0: FRAME_UNKNOWN */
};
extern struct frame_rule_place frame_rules[1 << FRAME_RULES_BITS] __attribute__((visibility("hidden")));

static inline unsigned frame_rule_home(uintptr_t return_address)
{
    return (unsigned)((return_address * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - FRAME_RULES_BITS));
}

/* The rule that a place has for this address; FRAME_UNKNOWN if none. */
static inline struct frame_rule frame_rule_in_place(const struct frame_rule_place *place, uintptr_t return_address)
{
    struct frame_rule rule = {.kind = FRAME_UNKNOWN};
    uint64_t word = atomic_load_explicit(&place->rule, memory_order_relaxed);
    if (atomic_load_explicit(&place->return_address, memory_order_relaxed) == return_address)
        memcpy(&rule, &word, sizeof rule);
    return rule;
}

struct frame_rule frame_rule_searched(uintptr_t return_address);

/* The rule at the call that will return to this address. Never waits. */
static inline struct frame_rule frame_rule_of_call(uintptr_t return_address)
{
    struct frame_rule rule = frame_rule_in_place(&frame_rules[frame_rule_home(return_address)], return_address);
    return rule.kind != FRAME_UNKNOWN ? rule : frame_rule_searched(return_address);
}

/* A module has been unloaded: another one may come to its addresses. */
void frame_rules_forgotten(void);

#endif
