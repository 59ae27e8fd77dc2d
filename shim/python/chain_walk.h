/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk along a chain of frames, as a template: what is done with each frame is put into the loop, and so are the
 * offsets, which are constants where a version is known. Two things are done: chain.c keeps the frames, part.c compares them
 * with others.
 */
#ifndef UNCLOSED_SHIM_PYTHON_CHAIN_WALK_H
#define UNCLOSED_SHIM_PYTHON_CHAIN_WALK_H

#include "chain.h"
#include "objects.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The frame number `index`, innermost first. False: the walk is over. */
typedef bool chain_visitor(void *context, unsigned index, uintptr_t code, uintptr_t place);

/* enum _frameowner, pycore_frame.h: from this on frames stand for a call of the loop, and have no code (3.12 and later). */
enum { OWNED_BY_INTERPRETER = 3 };

/* In 3.14 the reference to the code is tagged in its lowest bits. */
static const uintptr_t CODE_TAG = 7;

ALWAYS_INLINE uintptr_t frame_objects_visited(const struct python_layout *layout, uintptr_t frame, unsigned limit,
                                              chain_visitor *visit, void *context)
{
    for (unsigned index = 0; frame && index < limit; index++, frame = word_at(frame, layout->previous)) {
        int32_t instruction = number_at(frame, layout->place); /* -1: before the first one */
        uintptr_t place = instruction > 0 ? (uintptr_t)instruction * layout->index_unit : 0;
        if (!visit(context, index, word_at(frame, layout->code), place | CHAIN_ENTRY))
            break;
    }
    return frame;
}

ALWAYS_INLINE uintptr_t frames_with_entry_visited(const struct python_layout *layout, uintptr_t frame, unsigned limit,
                                                  chain_visitor *visit, void *context)
{
    for (unsigned index = 0; frame && index < limit; index++, frame = word_at(frame, layout->previous)) {
        uintptr_t place = word_at(frame, layout->place) | (byte_at(frame, layout->entry) & CHAIN_ENTRY);
        if (!visit(context, index, word_at(frame, layout->code), place))
            break;
    }
    return frame;
}

/* Whether a frame ends its call of the loop is told by what comes next. A call without frames is one of code 0. */
ALWAYS_INLINE uintptr_t frames_with_c_stack_visited(const struct python_layout *layout, uintptr_t frame, unsigned limit,
                                                    chain_visitor *visit, void *context)
{
    unsigned index = 0;
    while (frame && index < limit) {
        uintptr_t code = 0, place = CHAIN_ENTRY, next = word_at(frame, layout->previous);
        if (byte_at(frame, layout->owner) < OWNED_BY_INTERPRETER) {
            code = word_at(frame, layout->code) & ~CODE_TAG;
            place = word_at(frame, layout->place);
            if (next && byte_at(next, layout->owner) >= OWNED_BY_INTERPRETER) {
                place |= CHAIN_ENTRY;
                next = word_at(next, layout->previous);
            }
        }
        if (!visit(context, index++, code, place))
            break;
        frame = next;
    }
    return frame;
}

/* Calls visit() for each frame, at most `limit`. Returns the frame at which it stopped: 0 at the end of the chain. */
ALWAYS_INLINE uintptr_t chain_visited(const struct python_layout *layout, uintptr_t frame, unsigned limit,
                                      chain_visitor *visit, void *context)
{
    switch (layout->version >> 16) {
    case 0x0309:
        return frame_objects_visited(&layout_3_9, frame, limit, visit, context);
    case 0x030a:
        return frame_objects_visited(&layout_3_10, frame, limit, visit, context);
    case 0x030b:
        return frames_with_entry_visited(&layout_3_11, frame, limit, visit, context);
    case 0x030c:
        return frames_with_c_stack_visited(&layout_3_12, frame, limit, visit, context);
    default:
        return frames_with_c_stack_visited(layout, frame, limit, visit, context);
    }
}

#endif
