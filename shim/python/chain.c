/* SPDX-License-Identifier: Apache-2.0 */
#include "chain.h"

#include "objects.h"

/* enum _frameowner, pycore_frame.h: from this on frames stand for a call of the loop, and have no code (3.12 and later). */
enum { OWNED_BY_INTERPRETER = 3, CODE_UNIT = 2 };

/* In 3.14 the reference to the code is tagged in its lowest bits. */
static const uintptr_t TAG = 7;

static inline void frame_noted(struct python_chain *chain, uintptr_t code, uintptr_t place)
{
    chain->frames[chain->count++] = (struct chain_frame){code, place};
    chain->hash += (code ^ (place & ~(uintptr_t)CHAIN_ENTRY) * 31) * UINT64_C(0x9e3779b97f4a7c15);
}

static void frame_objects_walked(const struct python_layout *layout, uintptr_t frame, unsigned limit,
                                 struct python_chain *chain)
{
    for (; frame && chain->count < limit; frame = word_at(frame, layout->previous)) {
        int32_t index = number_at(frame, layout->place); /* -1: before the first instruction */
        uintptr_t place = index > 0 ? (uintptr_t)index * layout->index_unit : 0;
        frame_noted(chain, word_at(frame, layout->code), (place & ~(uintptr_t)CHAIN_ENTRY) | CHAIN_ENTRY);
    }
    chain->is_cut = frame != 0;
}

static void frames_with_entry_walked(const struct python_layout *layout, uintptr_t frame, unsigned limit,
                                     struct python_chain *chain)
{
    for (; frame && chain->count < limit; frame = word_at(frame, layout->previous))
        frame_noted(chain, word_at(frame, layout->code),
                    word_at(frame, layout->place) | (byte_at(frame, layout->entry) & CHAIN_ENTRY));
    chain->is_cut = frame != 0;
}

static void frames_with_c_stack_walked(const struct python_layout *layout, uintptr_t frame, unsigned limit,
                                       struct python_chain *chain)
{
    bool is_new_call = true;
    for (; frame; frame = word_at(frame, layout->previous)) {
        if (byte_at(frame, layout->owner) < OWNED_BY_INTERPRETER) {
            if (chain->count == limit)
                break;
            frame_noted(chain, word_at(frame, layout->code) & ~TAG, word_at(frame, layout->place));
            is_new_call = false;
        } else if (!is_new_call) {
            chain->frames[chain->count - 1].place |= CHAIN_ENTRY;
            is_new_call = true;
        } else if (chain->count < limit) {
            frame_noted(chain, 0, CHAIN_ENTRY);
        }
    }
    chain->is_cut = frame != 0;
}

void chain_walked(const struct python_layout *layout, uintptr_t frame, unsigned limit, struct python_chain *chain)
{
    chain->count = 0;
    chain->hash = 0;
    if (layout->frames == FRAMES_WITH_ENTRY)
        frames_with_entry_walked(layout, frame, limit, chain);
    else if (layout->frames == FRAMES_WITH_C_STACK)
        frames_with_c_stack_walked(layout, frame, limit, chain);
    else
        frame_objects_walked(layout, frame, limit, chain);
}

static bool offset_within(uintptr_t place, uintptr_t begin, uintptr_t size, uint32_t *offset)
{
    *offset = (uint32_t)(place - begin);
    return begin != 0 && place - begin < size;
}

/* Free-threaded 3.14: each thread may run a copy of the bytecode (_PyCodeArray: how many, then a pointer to each). */
static bool offset_in_copies(uintptr_t copies, uintptr_t place, uintptr_t size, uint32_t *offset)
{
    uintptr_t count = copies ? word_at(copies, 0) : 0;
    for (uintptr_t i = 1; i <= count; i++)
        if (offset_within(place, word_at(copies, (unsigned)(i * sizeof(uintptr_t))), size, offset))
            return true;
    return false;
}

uint32_t chain_offset(const struct python_layout *layout, const struct chain_frame *frame)
{
    uintptr_t place = frame->place & ~(uintptr_t)CHAIN_ENTRY;
    uint32_t offset = 0;
    if (layout->place_is_index)
        return (uint32_t)place;
    uintptr_t size = word_at(frame->code, layout->bytes_size) * CODE_UNIT;
    if (offset_within(place, frame->code + layout->bytecode, size, &offset) ||
        (layout->bytecodes && offset_in_copies(word_at(frame->code, layout->bytecodes), place, size, &offset)))
        return offset;
    return 0; /* a frame that has not begun yet: its place is before the first instruction */
}
