/* SPDX-License-Identifier: Apache-2.0 */
#include "python.h"

#include "../intern.h"
#include "code.h"
#include "native_marks.h"
#include "objects.h"
#include "part.h"

/* --- which interpreter ---------------------------------------------------------------------------------------------------- */

static void trace_told(void)
{
    uint32_t version, flags = interpreters_described(&version);
    struct trace_process *process = record_of(TABLE_PROCESS, 0);
    if (!flags)
        return;
    process->python_version = version;
    atomic_fetch_or_explicit(&process->python, flags, memory_order_release);
}

static void loops_marked(void)
{
    for (unsigned i = 0; i < atomic_load(&interpreter_count); i++)
        if (atomic_load(&interpreters[i].is_loaded) && interpreters[i].loop_start)
            function_marked(interpreters[i].loop_start, FRAME_EVAL);
}

/* Modules are numbered in the order in which stacks went through them. */
static _Atomic uint32_t latest_module;

void python_looked_for(uint32_t module)
{
    uint32_t latest = atomic_load_explicit(&latest_module, memory_order_relaxed);
    if (likely(module <= latest) || !atomic_compare_exchange_strong(&latest_module, &latest, module))
        return;
    if (!interpreters_looked_for())
        return;
    loops_marked();
    trace_told();
}

bool python_is_present(void)
{
    uint32_t version;
    if (interpreters_looked_for())
        loops_marked();
    return interpreters_described(&version) != 0;
}

void python_recording_began(bool forked)
{
    if (forked) {
        interpreters_forked();
        codes_forked();
        parts_forked();
        marks_forked();
    }
    atomic_store(&latest_module, 0);
    if (interpreters_looked_for())
        loops_marked();
    trace_told();
}

void python_modules_unloading(void)
{
    interpreters_unloading();
}

void python_modules_unloaded(bool something_was_unloaded)
{
    interpreters_unloaded();
    if (!something_was_unloaded)
        return;
    marks_checked();
    loops_marked();
}

bool python_is_finalizing(void)
{
    for (unsigned i = 0; i < atomic_load_explicit(&interpreter_count, memory_order_acquire); i++)
        if (atomic_load(&interpreters[i].is_loaded) &&
            word_at(interpreters[i].runtime, interpreters[i].layout.finalizing) != 0)
            return true;
    return false;
}

/* --- stacks of both parts --------------------------------------------------------------------------------------------------- */

static const struct trace_stack *node_at(uint32_t stack)
{
    return record_of(TABLE_STACK, stack);
}

static const struct trace_frame *frame_of(const struct trace_stack *node)
{
    return record_of(TABLE_FRAME, node->frame);
}

static bool is_native(const struct trace_frame *frame)
{
    return frame->type == FRAME_NATIVE || frame->type == FRAME_NATIVE_EXACT;
}

/* Between the innermost call of the loop and us. */
static bool has_destructor_inside(uint32_t native)
{
    for (; native; native = node_at(native)->parent) {
        const struct trace_frame *frame = frame_of(node_at(native));
        if (!is_native(frame))
            continue;
        if (frame->flags & (FRAME_EVAL | FRAME_DESTRUCTOR))
            return !(frame->flags & FRAME_EVAL);
    }
    return false;
}

/* What was said last, for pairs of parts. Read without lock, and believed only if the node itself agrees. */
enum { MIXED_KNOWN = 4096 };
static _Atomic uint32_t mixed_known[MIXED_KNOWN];

static bool is_mixture_of(uint32_t stack, uint32_t native, uint32_t python)
{
    if (!stack || stack >= atomic_load_explicit(&shim.trace.header->tables[TABLE_STACK].used, memory_order_relaxed))
        return false;
    const struct trace_stack *node = node_at(stack);
    const struct trace_frame *frame = frame_of(node);
    return atomic_load_explicit(&node->ready, memory_order_acquire) && node->parent == native &&
           frame->type == FRAME_MIXED && frame->offset == python;
}

uint32_t stack_mixed(uint32_t native, const struct python_part *part)
{
    _Atomic uint32_t *known = &mixed_known[hash_mixed(native, part->stack) % MIXED_KNOWN];
    uint32_t stack = atomic_load_explicit(known, memory_order_relaxed);
    if (likely(is_mixture_of(stack, native, part->stack)))
        return stack;
    uint32_t flags = part->approximate ? MIXED_APPROXIMATE : 0;
    if (part->in_destructor || (is_a_destructor_known() && has_destructor_inside(native)))
        flags |= MIXED_IN_DESTRUCTOR;
    stack = node_interned(
        native, frame_interned((struct trace_frame){.type = FRAME_MIXED, .flags = flags, .offset = part->stack}));
    if (stack)
        atomic_store_explicit(known, stack, memory_order_relaxed);
    return stack;
}

bool is_in_destructor(uint32_t stack)
{
    if (!stack)
        return false;
    const struct trace_frame *frame = frame_of(node_at(stack));
    if (frame->type == FRAME_MIXED)
        return frame->flags & MIXED_IN_DESTRUCTOR;
    return is_a_destructor_known() && has_destructor_inside(stack);
}
