/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of stack capture compare with: the stack that libgcc's unwinder sees, and a table of interned stacks.
 */
#ifndef UNCLOSED_TESTS_STACK_REFERENCE_H
#define UNCLOSED_TESTS_STACK_REFERENCE_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "capture.h"

/* --- what libgcc says ------------------------------------------------------------------------------------------------- */

struct reference {
    const struct caller *from;
    struct native_stack stack;
    bool is_beyond_own_frames;
};

static _Unwind_Reason_Code frame_noted(struct _Unwind_Context *context, void *data)
{
    struct reference *reference = data;
    struct native_stack *stack = &reference->stack;
    int interrupted;
    uintptr_t pc = _Unwind_GetIPInfo(context, &interrupted);
    if (pc == reference->from->return_address && _Unwind_GetCFA(context) == reference->from->stack_pointer)
        reference->is_beyond_own_frames = true;
    if (!reference->is_beyond_own_frames || pc == 0)
        return _URC_NO_REASON;
    stack->interrupted[stack->count / 64] |= (uint64_t)(interrupted != 0) << (stack->count % 64);
    stack->pc[stack->count++] = pc;
    return stack->count < CAPTURE_DEPTH_MAX ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void stack_referred(const struct caller *from, struct reference *reference)
{
    *reference = (struct reference){.from = from};
    _Unwind_Backtrace(frame_noted, reference);
}

static bool is_same_stack(const struct native_stack *one, const struct native_stack *other)
{
    return one->count == other->count && memcmp(one->pc, other->pc, one->count * sizeof one->pc[0]) == 0 &&
           memcmp(one->interrupted, other->interrupted, sizeof one->interrupted) == 0;
}

/* --- interning -------------------------------------------------------------------------------------------------------- */

enum { STACKS_MAX = 1 << 14 };

static struct {
    pthread_mutex_t lock;
    uint32_t count;
    struct native_stack *stacks[STACKS_MAX];
} interned = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct native_stack *copy_of(const struct native_stack *stack)
{
    size_t size = offsetof(struct native_stack, pc) + stack->count * sizeof stack->pc[0];
    return memcpy(malloc(size), stack, size);
}

/* context: counts the calls. The id is the place in the table + 1. */
static uint32_t stack_interned(const struct native_stack *stack, void *context)
{
    uint64_t hash = stack->truncated;
    ++*(uint64_t *)context;
    for (unsigned i = 0; i < stack->count; i++)
        hash = (hash ^ stack->pc[i]) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> 40) % STACKS_MAX;
    pthread_mutex_lock(&interned.lock);
    while (interned.stacks[at] &&
           !(is_same_stack(interned.stacks[at], stack) && interned.stacks[at]->truncated == stack->truncated))
        at = (at + 1) % STACKS_MAX;
    if (!interned.stacks[at]) {
        interned.stacks[at] = copy_of(stack);
        interned.count++;
    }
    pthread_mutex_unlock(&interned.lock);
    return at + 1;
}

static const struct native_stack *stack_of(uint32_t id)
{
    return interned.stacks[id - 1];
}

#endif
