/* SPDX-License-Identifier: Apache-2.0 */
#include "stack_memo.h"

#include <stdatomic.h>
#include <string.h>

enum { MEMO_SETS = 512, MEMO_WAYS = 2 };

struct memory {
    uintptr_t return_address, stack_pointer, frame_pointer;
    struct memo_terms terms;
    uint32_t id; /* 0: empty */
    uint32_t count;
    bool frame_pointer_used;
};

static struct memo_set {
    _Atomic bool taken;
    uint8_t oldest;
    struct memory memories[MEMO_WAYS];
    int32_t places[MEMO_WAYS][STACK_EVIDENCE_MAX];
    uintptr_t values[MEMO_WAYS][STACK_EVIDENCE_MAX];
} memo[MEMO_SETS] __attribute__((aligned(64)));

static _Atomic uint32_t forgotten_count;

static struct memo_set *set_taken(const struct caller *from)
{
    uint64_t key = (from->return_address ^ (from->stack_pointer << 20)) * UINT64_C(0x9e3779b97f4a7c15);
    struct memo_set *set = &memo[(key >> 40) % MEMO_SETS];
    return atomic_exchange_explicit(&set->taken, true, memory_order_acquire) ? NULL : set;
}

static void set_given_back(struct memo_set *set)
{
    atomic_store_explicit(&set->taken, false, memory_order_release);
}

static bool is_same_terms(const struct memo_terms *one, const struct memo_terms *other)
{
    return one->epoch == other->epoch && one->depth_limit == other->depth_limit && one->forgotten == other->forgotten;
}

static bool is_same_place(const struct memory *memory, const struct caller *from)
{
    return memory->return_address == from->return_address && memory->stack_pointer == from->stack_pointer;
}

READS_THE_STACK static bool evidence_holds(const struct memory *memory, const int32_t *places, const uintptr_t *values)
{
    const stack_word *stack = (const stack_word *)memory->stack_pointer;
    for (uint32_t i = 0; i < memory->count; i++)
        if (stack[places[i]] != values[i])
            return false;
    return true;
}

static uint32_t id_of(const struct memo_set *set, unsigned way, const struct caller *from,
                      const struct memo_terms *terms)
{
    const struct memory *memory = &set->memories[way];
    bool applies = memory->id != 0 && is_same_place(memory, from) && is_same_terms(&memory->terms, terms) &&
                   (!memory->frame_pointer_used || memory->frame_pointer == from->frame_pointer);
    return applies && evidence_holds(memory, set->places[way], set->values[way]) ? memory->id : 0;
}

uint32_t stack_remembered(const struct caller *from, const struct memo_terms *terms)
{
    uint32_t id = 0;
    struct memo_set *set = set_taken(from);
    if (!set)
        return 0;
    for (unsigned way = 0; way < MEMO_WAYS && id == 0; way++)
        id = id_of(set, way, from, terms);
    set_given_back(set);
    return id;
}

void stack_memorized(const struct caller *from, const struct memo_terms *terms, const struct stack_evidence *evidence,
                     uint32_t id)
{
    struct memo_set *set = evidence->count <= STACK_EVIDENCE_MAX ? set_taken(from) : NULL;
    if (!set)
        return;
    unsigned way = set->oldest;
    set->oldest = (uint8_t)((way + 1) % MEMO_WAYS);
    set->memories[way] = (struct memory){.return_address = from->return_address,
                                         .stack_pointer = from->stack_pointer,
                                         .frame_pointer = from->frame_pointer,
                                         .terms = *terms,
                                         .id = id,
                                         .count = evidence->count,
                                         .frame_pointer_used = evidence->frame_pointer_used};
    memcpy(set->places[way], evidence->place, evidence->count * sizeof evidence->place[0]);
    memcpy(set->values[way], evidence->value, evidence->count * sizeof evidence->value[0]);
    set_given_back(set);
}

uint32_t memo_forgotten_count(void)
{
    return atomic_load_explicit(&forgotten_count, memory_order_acquire);
}

void memo_forgotten(void)
{
    atomic_fetch_add(&forgotten_count, 1);
}
