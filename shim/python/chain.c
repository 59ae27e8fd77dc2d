/* SPDX-License-Identifier: Apache-2.0 */
#include "chain.h"

#include "chain_walk.h"

enum { CODE_UNIT = 2 };

/* Count and hash are kept apart while the interpreter's memory is read: it could be theirs, for all that a compiler knows. */
struct keeping {
    struct python_chain *chain;
    unsigned count;
    uint64_t hash;
};

ALWAYS_INLINE bool frame_kept(void *context, unsigned index, uintptr_t code, uintptr_t place)
{
    struct keeping *keeping = context;
    keeping->chain->code[index] = code;
    keeping->chain->place[index] = place;
    keeping->hash = (keeping->hash << 7 | keeping->hash >> 57) ^ (code + 4 * place);
    keeping->count = index + 1;
    return true;
}

void chain_walked(const struct python_layout *layout, uintptr_t frame, unsigned limit, struct python_chain *chain)
{
    struct keeping keeping = {.chain = chain};
    chain->is_cut = chain_visited(layout, frame, limit, frame_kept, &keeping) != 0;
    chain->count = keeping.count;
    chain->hash = keeping.hash * UINT64_C(0x9e3779b97f4a7c15);
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

uint32_t chain_offset(const struct python_layout *layout, uintptr_t code, uintptr_t place)
{
    uint32_t offset = 0;
    place &= ~(uintptr_t)CHAIN_ENTRY;
    if (layout->place_is_index)
        return (uint32_t)place;
    uintptr_t size = word_at(code, layout->bytes_size) * CODE_UNIT;
    if (offset_within(place, code + layout->bytecode, size, &offset) ||
        (layout->bytecodes && offset_in_copies(word_at(code, layout->bytecodes), place, size, &offset)))
        return offset;
    return 0; /* a frame that has not begun yet: its place is before the first instruction */
}
