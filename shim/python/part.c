/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Python part of a stack: the chain as it is now, compared with those seen before; else copied frame by frame.
 *
 * One table for all threads, as in stack_memo.c: a set that is taken is passed by (a miss).
 */
#include <string.h>

#include "../intern.h"
#include "chain.h"
#include "code.h"
#include "python.h"

enum { PART_SETS = 256, PART_WAYS = 2, PART_FRAMES_MAX = 64, FRAMES_OF_A_DESTRUCTOR = 12 };

/* A code object of a remembered chain, as it was recorded. */
struct seen_code {
    struct code_identity identity;
    uint32_t number;
    bool has_all_hashes;
};

struct part_memory {
    uint64_t epoch;
    uint64_t hash;
    const struct interpreter *interpreter;
    struct python_part part; /* stack 0: empty */
    uint32_t count;
    bool is_cut;
};

static struct part_set {
    _Atomic bool taken;
    uint8_t oldest;
    struct part_memory memories[PART_WAYS];
    struct chain_frame frames[PART_WAYS][PART_FRAMES_MAX];
    struct seen_code codes[PART_WAYS][PART_FRAMES_MAX];
} parts[PART_SETS] __attribute__((aligned(64)));

static struct part_set *set_taken(uint64_t hash)
{
    struct part_set *set = &parts[(hash ^ hash >> 32) % PART_SETS];
    return atomic_exchange_explicit(&set->taken, true, memory_order_acquire) ? NULL : set;
}

static void set_given_back(struct part_set *set)
{
    atomic_store_explicit(&set->taken, false, memory_order_release);
}

/* --- seen before ---------------------------------------------------------------------------------------------------------- */

static inline bool is_identity_same(const struct code_identity *one, const struct code_identity *other)
{
    uint64_t difference = (one->file ^ other->file) | (one->name ^ other->name) |
                          (one->qualified_name ^ other->qualified_name) | (one->line_table ^ other->line_table) |
                          (one->file_hash ^ other->file_hash) | (one->name_hash ^ other->name_hash) |
                          (one->qualified_hash ^ other->qualified_hash) |
                          (one->line_table_hash ^ other->line_table_hash) | (one->first_line ^ other->first_line) |
                          (one->line_table_size ^ other->line_table_size);
    return difference == 0;
}

static inline bool are_codes_same(const struct python_layout *layout, const struct python_chain *chain,
                                  const struct seen_code *seen)
{
    uintptr_t file = 0;
    for (uint32_t i = 0; i < chain->count; i++, seen++) {
        uintptr_t code = chain->frames[i].code;
        if (!code || (i > 0 && code == chain->frames[i - 1].code))
            continue;
        struct code_identity identity = identity_read(layout, code);
        if (!is_identity_same(&identity, &seen->identity))
            return false;
        if (!seen->has_all_hashes && !identity_is_confirmed(layout, &identity, seen->number, identity.file == file))
            return false;
        file = identity.file;
    }
    return true;
}

static bool is_same_chain(const struct part_memory *memory, const struct chain_frame *frames,
                          const struct python_chain *chain)
{
    return memory->hash == chain->hash && memory->count == chain->count && memory->is_cut == chain->is_cut &&
           memory->epoch == shim.epoch && memory->part.stack &&
           memcmp(frames, chain->frames, chain->count * sizeof frames[0]) == 0;
}

static struct python_part part_remembered(const struct interpreter *interpreter, const struct python_chain *chain)
{
    struct python_part part = {.stack = 0};
    struct part_set *set = chain->count <= PART_FRAMES_MAX ? set_taken(chain->hash) : NULL;
    if (!set)
        return part;
    for (unsigned way = 0; way < PART_WAYS && !part.stack; way++)
        if (set->memories[way].interpreter == interpreter &&
            is_same_chain(&set->memories[way], set->frames[way], chain) &&
            are_codes_same(&interpreter->layout, chain, set->codes[way]))
            part = set->memories[way].part;
    set_given_back(set);
    return part;
}

static void part_memorized(const struct interpreter *interpreter, const struct python_chain *chain,
                           const struct seen_code *codes, struct python_part part)
{
    struct part_set *set = chain->count <= PART_FRAMES_MAX && part.stack ? set_taken(chain->hash) : NULL;
    if (!set)
        return;
    unsigned way = set->oldest;
    set->oldest = (uint8_t)((way + 1) % PART_WAYS);
    set->memories[way] = (struct part_memory){.epoch = shim.epoch,
                                              .hash = chain->hash,
                                              .interpreter = interpreter,
                                              .part = part,
                                              .count = chain->count,
                                              .is_cut = chain->is_cut};
    memcpy(set->frames[way], chain->frames, chain->count * sizeof chain->frames[0]);
    memcpy(set->codes[way], codes, chain->count * sizeof codes[0]);
    set_given_back(set);
}

/* --- seen for the first time ---------------------------------------------------------------------------------------------- */

static bool is_named_del(uint32_t code)
{
    static const char name[] = "__del__";
    const struct trace_code *record = record_of(TABLE_CODE, code);
    const struct trace_string *string = record_of(TABLE_STRING, record->name);
    return string->length == sizeof name - 1 && memcmp(string->text, name, sizeof name - 1) == 0;
}

static uint32_t frame_recorded(const struct interpreter *interpreter, const struct chain_frame *frame, uint32_t code)
{
    struct trace_frame record = {
        .type = FRAME_PYTHON, .module = code, .flags = frame->place & CHAIN_ENTRY ? FRAME_ENTRY : 0};
    if (code)
        record.offset = chain_offset(&interpreter->layout, frame);
    return frame_interned(record);
}

/* A frame that is left out makes the part approximate; where it ends a call of the loop, the call stays. */
__attribute__((noinline)) static struct python_part part_recorded(const struct interpreter *interpreter,
                                                                  const struct python_chain *chain)
{
    struct seen_code codes[PART_FRAMES_MAX], unkept;
    struct python_part part = {.approximate = chain->is_cut};
    bool is_whole = true, has_frames = false;
    if (chain->is_cut)
        part.stack = node_interned(0, frame_interned((struct trace_frame){.type = FRAME_TRUNCATED}));
    for (uint32_t i = chain->count; i-- > 0;) {
        const struct chain_frame *frame = &chain->frames[i];
        struct seen_code *code = i < PART_FRAMES_MAX ? &codes[i] : &unkept;
        code->number = frame->code ? code_recorded(interpreter, frame->code, &code->identity) : 0;
        code->has_all_hashes = code->number && has_all_hashes(&code->identity);
        is_whole &= !frame->code || code->number;
        has_frames |= code->number != 0;
        if (!code->number && !(frame->place & CHAIN_ENTRY))
            continue;
        part.in_destructor |= i < FRAMES_OF_A_DESTRUCTOR && code->number && is_named_del(code->number);
        part.stack = node_interned(part.stack, frame_recorded(interpreter, frame, code->number));
        if (!part.stack)
            return (struct python_part){.stack = 0};
    }
    if (!has_frames)
        return (struct python_part){.stack = 0};
    part.approximate |= !is_whole;
    if (is_whole)
        part_memorized(interpreter, chain, codes, part);
    return part;
}

static struct python_part part_beginning_at(const struct interpreter *interpreter, uintptr_t frame)
{
    struct python_chain chain;
    chain_walked(&interpreter->layout, frame, shim.options.depth, &chain);
    if (chain.count == 0)
        return (struct python_part){.stack = 0};
    struct python_part part = part_remembered(interpreter, &chain);
    return likely(part.stack) ? part : part_recorded(interpreter, &chain);
}

static uintptr_t frame_of_object(const struct interpreter *interpreter, uintptr_t object)
{
    const struct python_layout *layout = &interpreter->layout;
    if (word_at(object, layout->type) != interpreter->frame_type)
        return 0;
    return layout->object_frame ? word_at(object, layout->object_frame) : object;
}

struct python_part python_part_here(const void *object)
{
    struct python_part part = {.stack = 0};
    unsigned count = atomic_load_explicit(&interpreter_count, memory_order_acquire);
    for (unsigned i = 0; i < count && !part.stack; i++) {
        const struct interpreter *interpreter = &interpreters[i];
        if (!atomic_load_explicit(&interpreter->is_loaded, memory_order_relaxed))
            continue;
        uintptr_t frame = object ? frame_of_object(interpreter, (uintptr_t)object) : innermost_frame(interpreter);
        if (frame)
            part = part_beginning_at(interpreter, frame);
    }
    return part;
}

void parts_forked(void)
{
    for (unsigned i = 0; i < PART_SETS; i++)
        set_given_back(&parts[i]);
}
