/* SPDX-License-Identifier: Apache-2.0 */
#include "capture.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "stack_memo.h"
#include "unwinder.h"

static _Atomic(const struct unwinder *) chosen = &unwinder_libgcc;

static const struct unwinder *unwinder_chosen(void)
{
    return atomic_load_explicit(&chosen, memory_order_relaxed);
}

bool frame_added(struct walk *walk, uintptr_t pc, struct frame_rule *rule)
{
    struct native_stack *stack = walk->stack;
    if (stack->count == walk->depth_limit) {
        walk->end = WALK_TRUNCATED;
        return false;
    }
    unsigned frame = stack->count++;
    stack->pc[frame] = pc;
    *rule = is_interrupted(stack, frame) ? frame_rule_at(pc) : frame_rule_of_call(pc);
    if (rule->kind == FRAME_OUTERMOST || rule->kind == FRAME_WITHOUT_TABLE) {
        walk->end = rule->kind == FRAME_OUTERMOST ? WALK_COMPLETE : WALK_TRUNCATED;
        return false;
    }
    if (rule->kind == FRAME_OF_SIGNAL && stack->count < CAPTURE_DEPTH_MAX)
        stack->interrupted[stack->count / 64] |= UINT64_C(1) << (stack->count % 64);
    return true;
}

/* --- walking by rules ------------------------------------------------------------------------------------------------ */

struct position {
    const struct caller *from;
    struct stack_evidence *evidence;
    uintptr_t stack_pointer;
    uintptr_t frame_pointer;
    uintptr_t frame_pointer_saved_at; /* 0: frame_pointer is its value */
    bool frame_pointer_is_callers;    /* never saved so far */
};

READS_THE_STACK static inline uintptr_t word_read(struct position *at, uintptr_t address)
{
    uintptr_t value = *(const stack_word *)address;
    evidence_added(at->evidence, at->from, address, value);
    return value;
}

/* Most saved frame pointers are never needed, and what is not needed is no evidence. */
static uintptr_t frame_pointer_needed(struct position *at)
{
    if (at->frame_pointer_saved_at != 0) {
        at->frame_pointer = word_read(at, at->frame_pointer_saved_at);
        at->frame_pointer_saved_at = 0;
    } else if (at->frame_pointer_is_callers) {
        at->evidence->frame_pointer_used = true;
    }
    return at->frame_pointer;
}

static void frame_pointer_is_at(struct position *at, uintptr_t address)
{
    at->frame_pointer_saved_at = address;
    at->frame_pointer_is_callers = false;
}

static bool is_further_out(const struct position *at, uintptr_t address)
{
    return address > at->stack_pointer && address % sizeof(uintptr_t) == 0;
}

/* The stack pointer of the next frame outward; 0: none that could be right. */
static inline uintptr_t frame_left(struct position *at, struct frame_rule rule)
{
    uintptr_t base = rule.kind == FRAME_BY_STACK_POINTER ? at->stack_pointer : frame_pointer_needed(at);
    uintptr_t cfa = base + (uintptr_t)(intptr_t)rule.cfa_offset;
    if (rule.kind == FRAME_REALIGNED) {
        if (!is_further_out(at, base) || !is_further_out(at, cfa))
            return 0;
        cfa = word_read(at, cfa);
        frame_pointer_is_at(at, base);
    } else if (rule.frame_pointer_offset != 0) {
        frame_pointer_is_at(at, cfa + (uintptr_t)(intptr_t)rule.frame_pointer_offset);
    }
    return is_further_out(at, cfa) ? cfa : 0;
}

static bool is_simple(struct frame_rule rule)
{
    return rule.kind == FRAME_BY_STACK_POINTER || rule.kind == FRAME_BY_FRAME_POINTER || rule.kind == FRAME_REALIGNED;
}

enum walked { WALKED, WALKED_BUT_FORGETTABLE, NOT_WALKED };

static enum walked walk_ended(struct native_stack *stack, enum frame_kind outermost)
{
    stack->truncated = outermost != FRAME_OUTERMOST;
    if (outermost == FRAME_DIFFICULT || outermost == FRAME_OF_SIGNAL)
        return NOT_WALKED;
    return outermost == FRAME_WITHOUT_TABLE ? WALKED_BUT_FORGETTABLE : WALKED;
}

static enum walked stack_walked_by_rules(const struct caller *from, unsigned depth_limit, struct native_stack *stack,
                                         struct stack_evidence *evidence)
{
    struct position at = {.from = from,
                          .evidence = evidence,
                          .stack_pointer = from->stack_pointer,
                          .frame_pointer = from->frame_pointer,
                          .frame_pointer_is_callers = true};
    uintptr_t pc = from->return_address;
    while (stack->count < depth_limit) {
        stack->pc[stack->count++] = pc;
        struct frame_rule rule = frame_rule_of_call(pc);
        if (!is_simple(rule))
            return walk_ended(stack, rule.kind);
        if (stack->count == depth_limit)
            break;
        uintptr_t cfa = frame_left(&at, rule);
        if (cfa == 0)
            return walk_ended(stack, FRAME_WITHOUT_TABLE);
        pc = word_read(&at, cfa + (uintptr_t)((intptr_t)rule.return_address_offset * (intptr_t)sizeof(uintptr_t)));
        at.stack_pointer = cfa;
    }
    return walk_ended(stack, FRAME_UNKNOWN);
}

/* --- capture --------------------------------------------------------------------------------------------------------- */

static void stack_emptied(struct native_stack *stack)
{
    stack->count = 0;
    stack->truncated = false;
    memset(stack->interrupted, 0, sizeof stack->interrupted);
}

static struct walk walk_begun(struct native_stack *stack, unsigned depth_limit)
{
    stack_emptied(stack);
    return (struct walk){.stack = stack, .depth_limit = depth_limit, .end = WALK_FAILED};
}

static void stack_unwound(const struct caller *from, struct native_stack *stack, unsigned depth_limit)
{
    const struct unwinder *unwinder = unwinder_chosen();
    struct walk walk = walk_begun(stack, depth_limit);
    unwinder->walk(from, &walk);
    if (walk.end == WALK_FAILED && unwinder != &unwinder_libgcc) {
        walk = walk_begun(stack, depth_limit);
        unwinder_libgcc.walk(from, &walk);
    }
    stack->truncated = walk.end != WALK_COMPLETE;
}

__attribute__((noinline)) static uint32_t stack_captured_anew(const struct caller *from, const struct memo_terms *terms,
                                                              stack_interner *intern, void *context)
{
    struct native_stack stack;
    struct stack_evidence evidence;
    stack_emptied(&stack);
    evidence.count = 0;
    evidence.frame_pointer_used = false;
    enum walked walked = stack_walked_by_rules(from, terms->depth_limit, &stack, &evidence);
    if (walked == NOT_WALKED && addresses_can_be_found())
        stack_unwound(from, &stack, terms->depth_limit);

    uint32_t id = intern(&stack, context);
    if (walked == WALKED && id != 0)
        stack_memorized(from, terms, &evidence, id);
    return id;
}

uint32_t capture_stack(const struct caller *from, unsigned depth_limit, uint64_t epoch, stack_interner *intern,
                       void *context)
{
    struct memo_terms terms = {.epoch = epoch,
                               .depth_limit = depth_limit < CAPTURE_DEPTH_MAX ? depth_limit : CAPTURE_DEPTH_MAX,
                               .forgotten = memo_forgotten_count()};
    uint32_t id = stack_remembered(from, &terms);
    return id ? id : stack_captured_anew(from, &terms, intern, context);
}

/* --- life ------------------------------------------------------------------------------------------------------------ */

static bool is_same_stack(const struct native_stack *one, const struct native_stack *other)
{
    return one->count == other->count && memcmp(one->pc, other->pc, one->count * sizeof one->pc[0]) == 0;
}

void capture_started(void)
{
    const struct caller from = CALLER_OF_THIS_FUNCTION();
    struct native_stack by_libunwind, by_libgcc;
    struct walk libgcc = walk_begun(&by_libgcc, CAPTURE_DEPTH_MAX);
    struct walk libunwind = walk_begun(&by_libunwind, CAPTURE_DEPTH_MAX);
    unwinder_libgcc.walk(&from, &libgcc);
    unwinder_libunwind.walk(&from, &libunwind);
    bool agree =
        libunwind.end != WALK_FAILED && libunwind.end == libgcc.end && is_same_stack(&by_libunwind, &by_libgcc);
    atomic_store(&chosen, agree ? &unwinder_libunwind : &unwinder_libgcc);
}

void capture_forked(bool parent_had_threads)
{
    if (!parent_had_threads)
        return;
    loader_lock_avoided();
    atomic_store(&chosen, &unwinder_libgcc);
}

void capture_sealed(void)
{
    atomic_store(&chosen, &unwinder_libgcc);
}

void capture_modules_unloaded(void)
{
    frame_rules_forgotten();
    memo_forgotten();
    if (unwinder_chosen()->forget)
        unwinder_chosen()->forget();
}

const char *capture_method(void)
{
    return unwinder_chosen()->name;
}
