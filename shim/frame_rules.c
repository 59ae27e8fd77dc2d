/* SPDX-License-Identifier: Apache-2.0 */
#include "frame_rules.h"

enum { PLACES = 1 << FRAME_RULES_BITS, PROBES = 8 };

struct frame_rule_place frame_rules[PLACES];
/* Set after a rule is stored: a flush that finds it false has nothing to clear. */
static _Atomic bool something_is_kept;

/* Addresses without table are not kept: a module may be loaded there without any other being unloaded. */
static void rule_kept(struct frame_rule_place *place, uintptr_t return_address, struct frame_rule rule)
{
    uintptr_t there = 0;
    uint64_t word;
    if (rule.kind == FRAME_WITHOUT_TABLE)
        return;
    if (!atomic_compare_exchange_strong(&place->return_address, &there, return_address) && there != return_address)
        return;
    memcpy(&word, &rule, sizeof word);
    atomic_store(&place->rule, word);
    atomic_store(&something_is_kept, true);
}

/* No call leads to the first byte of a function: such an address was put there by hand, as by makecontext (whose
 * __start_context has tables like any other function), and is the stack's end. */
static struct frame_rule rule_computed(uintptr_t return_address)
{
    struct frame_rule rule = frame_rule_at(return_address - 1);
    if (rule.kind == FRAME_WITHOUT_TABLE && frame_rule_at(return_address).kind != FRAME_WITHOUT_TABLE)
        rule.kind = FRAME_OUTERMOST;
    return rule;
}

struct frame_rule frame_rule_searched(uintptr_t return_address)
{
    struct frame_rule_place *place = NULL;
    unsigned home = frame_rule_home(return_address);
    for (unsigned probe = 0; probe < PROBES && !place; probe++) {
        struct frame_rule_place *candidate = &frame_rules[(home + probe) % PLACES];
        uintptr_t there = atomic_load_explicit(&candidate->return_address, memory_order_relaxed);
        if (there == 0 || there == return_address)
            place = candidate;
    }
    struct frame_rule rule = {.kind = FRAME_UNKNOWN};
    if (place)
        rule = frame_rule_in_place(place, return_address);
    if (rule.kind != FRAME_UNKNOWN)
        return rule;
    rule = rule_computed(return_address);
    if (place)
        rule_kept(place, return_address, rule);
    return rule;
}

void frame_rules_forgotten(void)
{
    if (!atomic_exchange(&something_is_kept, false))
        return;
    for (unsigned i = 0; i < PLACES; i++)
        if (atomic_load_explicit(&frame_rules[i].rule, memory_order_relaxed) != 0)
            atomic_store_explicit(&frame_rules[i].rule, 0, memory_order_relaxed);
}
