/* SPDX-License-Identifier: Apache-2.0 */
#include "function_parts.h"

#include <stdbool.h>
#include <string.h>

#include "../capture.h"
#include "../eh_frame.h"

#if defined(__x86_64__)
/* jmp rel32, and the two bytes of jcc rel32; the distance counts from behind it. */
enum { JUMP = 0xe9, TWO_BYTES = 0x0f, JUMP_IF = 0x80, JUMP_IF_MASK = 0xf0, DISTANCE = 4, FIRST_CFA_OFFSET = 8 };

static uintptr_t destination(const uint8_t *distance)
{
    int32_t steps;
    memcpy(&steps, distance, sizeof steps);
    return (uintptr_t)distance + DISTANCE + (uintptr_t)(intptr_t)steps;
}

/* 0: this is no jump. Every byte is tried: what looks like one by chance leads nowhere that counts. */
static uintptr_t jump_at(const uint8_t *code, const uint8_t *end)
{
    if (end - code > DISTANCE && code[0] == JUMP)
        return destination(code + 1);
    if (end - code > DISTANCE + 1 && code[0] == TWO_BYTES && (code[1] & JUMP_IF_MASK) == JUMP_IF)
        return destination(code + 2);
    return 0;
}

/* Where a function begins, nothing has been pushed but the return address. */
static bool is_in_the_middle(uintptr_t start)
{
    struct frame_rule rule = frame_rule_at(start);
    bool is_simple = rule.kind == FRAME_BY_STACK_POINTER || rule.kind == FRAME_BY_FRAME_POINTER;
    return is_simple && !(rule.kind == FRAME_BY_STACK_POINTER && rule.cfa_offset == FIRST_CFA_OFFSET);
}

struct candidate {
    struct function_part part;
    unsigned jumps;
};

/* Counts a jump to somewhere else. */
static unsigned jump_counted(struct candidate *candidates, unsigned count, uintptr_t to)
{
    struct function_part part;
    for (unsigned i = 0; i < count; i++) {
        if (to < candidates[i].part.start || to >= candidates[i].part.end)
            continue;
        candidates[i].jumps++;
        return count;
    }
    if (count == FUNCTION_PARTS_MAX || !function_spanned(to, &part.start, &part.end) || !is_in_the_middle(part.start))
        return count;
    candidates[count] = (struct candidate){part, 1};
    return count + 1;
}

/* In a long function a single jump may be there by chance. */
unsigned function_parts_found(uintptr_t start, uintptr_t end, struct function_part *parts)
{
    enum { LONG = 4096 };
    struct candidate candidates[FUNCTION_PARTS_MAX];
    unsigned count = 0, found = 0;
    for (uintptr_t at = start; at < end; at++) {
        uintptr_t to = jump_at((const uint8_t *)at, (const uint8_t *)end);
        if (to && (to < start || to >= end))
            count = jump_counted(candidates, count, to);
    }
    for (unsigned i = 0; i < count; i++)
        if (candidates[i].jumps > 1 || end - start < LONG)
            parts[found++] = candidates[i].part;
    return found;
}
#else
unsigned function_parts_found(uintptr_t start, uintptr_t end, struct function_part *parts)
{
    (void)start, (void)end, (void)parts;
    return 0;
}
#endif
