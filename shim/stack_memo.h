/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks seen before, with the evidence: every word of memory that the walk depended on, in the order in which it read
 * them.
 *
 *     return address 0x…1a2b, stack pointer 0x…e0  ->  [sp+24] = 0x…88f1, [sp+16] = 0x…f120, [sp+88] = 0x…1d90  -> id 57
 *
 * A word is looked at only if all words before it still hold; so only places are read that a walk would read now, and
 * the memory of stacks that are gone is never touched. The caller's frame pointer is evidence too, if the walk used it.
 *
 * One table for all threads: a set is taken by one compare-and-swap, and a set that is taken is passed by (a miss).
 * Nothing is allocated and nothing belongs to a thread.
 */
#ifndef UNCLOSED_SHIM_STACK_MEMO_H
#define UNCLOSED_SHIM_STACK_MEMO_H

#include "capture.h"

/* Reads other functions' stack frames on purpose. */
#define READS_THE_STACK __attribute__((no_sanitize("address", "undefined")))
typedef uintptr_t __attribute__((may_alias)) stack_word;

enum { STACK_EVIDENCE_MAX = 192 };

struct stack_evidence {
    uint32_t count; /* > STACK_EVIDENCE_MAX: too much to be remembered */
    bool frame_pointer_used;
    int32_t place[STACK_EVIDENCE_MAX]; /* words from the caller's stack pointer */
    uintptr_t value[STACK_EVIDENCE_MAX];
};

/* The walk has read `value` at this address. */
static inline void evidence_added(struct stack_evidence *evidence, const struct caller *from, uintptr_t address,
                                  uintptr_t value)
{
    intptr_t place = (intptr_t)(address - from->stack_pointer) / (intptr_t)sizeof(uintptr_t);
    if (place != (int32_t)place)
        evidence->count = STACK_EVIDENCE_MAX;
    if (evidence->count < STACK_EVIDENCE_MAX) {
        evidence->place[evidence->count] = (int32_t)place;
        evidence->value[evidence->count] = value;
    }
    evidence->count += evidence->count <= STACK_EVIDENCE_MAX;
}

/* What a stack's id depends on besides the stack. */
struct memo_terms {
    uint64_t epoch;
    uint64_t depth_limit;
    uint64_t forgotten; /* memo_forgotten_count() from before the walk */
};
__attribute__((hot)) uint32_t memo_forgotten_count(void);

/* The remembered id; 0: none. */
__attribute__((hot)) uint32_t stack_remembered(const struct caller *from, const struct memo_terms *terms);

/* Best effort. id is not 0. */
void stack_memorized(const struct caller *from, const struct memo_terms *terms, const struct stack_evidence *evidence,
                     uint32_t id);

void memo_forgotten(void);

#endif
