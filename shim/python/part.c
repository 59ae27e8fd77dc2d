/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Python part of a stack: the chain as it is now, compared with those seen before; else copied frame by frame.
 *
 * One table for all threads. Reading takes no lock: a memory has a sequence number, odd while it is written, and what was
 * read counts if that has not changed. A locked instruction here would make the comparison wait for the walk.
 */
#include <string.h>

#include "../intern.h"
#include "chain_walk.h"
#include "code.h"
#include "python.h"

enum { PART_SETS = 256, PART_WAYS = 2, PART_FRAMES_MAX = 64, FRAMES_OF_A_DESTRUCTOR = 12 };

/* A code object of a remembered chain, as it was recorded. */
struct chain_code {
    struct code_identity identity;
    struct code_copies copies;
    uint32_t number;
    enum { COMPARE_NOTHING, COMPARE_AS_FILE, COMPARE_ALL } compare; /* nothing: a frame further in has the same code */
    uint32_t unhashed; /* enum unhashed_part; what frames further in have, too, is left out */
};

static struct part_memory {
    _Atomic uint32_t sequence;
    uint32_t count;
    uint64_t epoch;
    _Atomic uint64_t hash;
    const struct interpreter *interpreter;
    struct python_part part; /* stack 0: empty */
    bool is_cut;
    uintptr_t code[PART_FRAMES_MAX], place[PART_FRAMES_MAX];
    struct chain_code codes[PART_FRAMES_MAX];
} parts[PART_SETS][PART_WAYS] __attribute__((aligned(64)));
static _Atomic uint8_t oldest_way[PART_SETS];

static unsigned set_of(uint64_t hash)
{
    return hash >> 32 & (PART_SETS - 1);
}

static bool is_unchanged(const struct part_memory *memory, uint32_t sequence)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&memory->sequence, memory_order_relaxed) == sequence;
}

/* False: another thread writes. */
static bool writing_began(struct part_memory *memory)
{
    uint32_t sequence = atomic_load_explicit(&memory->sequence, memory_order_relaxed);
    if (sequence & 1 || !atomic_compare_exchange_strong(&memory->sequence, &sequence, sequence + 1))
        return false;
    atomic_thread_fence(memory_order_release);
    return true;
}

static void writing_ended(struct part_memory *memory)
{
    atomic_fetch_add_explicit(&memory->sequence, 1, memory_order_release);
}

/* --- seen before ---------------------------------------------------------------------------------------------------------- */

/* The copies are looked into only if all that was read of them belongs together. */
static inline bool is_code_same(const struct python_layout *layout, uintptr_t address, const struct chain_code *code,
                                const struct part_memory *memory, uint32_t sequence)
{
    struct code_identity identity = identity_read(layout, address);
    if (!is_identity_same(&identity, &code->identity))
        return false;
    unsigned unhashed = code->unhashed;
    struct code_copies copies = code->copies;
    return !unhashed || (is_unchanged(memory, sequence) && parts_are_confirmed(layout, &identity, unhashed, &copies));
}

struct comparison {
    const struct python_layout *layout;
    const struct part_memory *memory;
    unsigned count, agreed; /* frames */
    bool differs;
    uint32_t sequence;
    struct differences differences;
};

/* What has no influence on where the next frame is, is answered at the end, for all frames. */
ALWAYS_INLINE bool frame_agrees(const struct python_layout *layout, struct comparison *comparison, unsigned index,
                                uintptr_t code, uintptr_t place)
{
    const struct part_memory *memory = comparison->memory;
    const struct chain_code *seen = &memory->codes[index];
    comparison->differs = index >= comparison->count || code != memory->code[index];
    if (unlikely(comparison->differs))
        return false;
    comparison->differences.word |= place ^ memory->place[index];
    if (likely(code && seen->compare == COMPARE_AS_FILE))
        file_identity_compared(layout, code, &seen->identity, &comparison->differences);
    else if (code && seen->compare == COMPARE_ALL && !is_code_same(layout, code, seen, memory, comparison->sequence))
        comparison->differences.word = 1;
    comparison->agreed = index + 1;
    return true;
}

ALWAYS_INLINE bool frame_agrees_3_9(void *comparison, unsigned index, uintptr_t code, uintptr_t place)
{
    return frame_agrees(&layout_3_9, comparison, index, code, place);
}

ALWAYS_INLINE bool frame_agrees_3_11(void *comparison, unsigned index, uintptr_t code, uintptr_t place)
{
    return frame_agrees(&layout_3_11, comparison, index, code, place);
}

ALWAYS_INLINE bool frame_agrees_3_12(void *comparison, unsigned index, uintptr_t code, uintptr_t place)
{
    return frame_agrees(&layout_3_12, comparison, index, code, place);
}

ALWAYS_INLINE bool frame_agrees_any(void *comparison, unsigned index, uintptr_t code, uintptr_t place)
{
    return frame_agrees(((struct comparison *)comparison)->layout, comparison, index, code, place);
}

/* This loop decides what a remembered stack costs: with constants it takes two thirds of the time. */
static inline uintptr_t frames_compared(const struct python_layout *layout, uintptr_t frame,
                                        struct comparison *comparison)
{
    unsigned limit = shim.options.depth;
    switch (layout->objects) {
    case OBJECTS_OF_3_9:
        return chain_visited(layout, frame, limit, frame_agrees_3_9, comparison);
    case OBJECTS_OF_3_11:
        return frames_with_entry_visited(&layout_3_11, frame, limit, frame_agrees_3_11, comparison);
    case OBJECTS_OF_3_12:
        return frames_with_c_stack_visited(layout, frame, limit, frame_agrees_3_12, comparison);
    case OBJECTS_OF_THEIR_OWN:
        break;
    }
    return frames_with_c_stack_visited(layout, frame, limit, frame_agrees_any, comparison);
}

/* ThreadSanitizer does not know that what was read beside a writer is thrown away: it is told not to look. */
#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#define READING_BESIDE_WRITERS_BEGAN() AnnotateIgnoreReadsBegin(__FILE__, __LINE__)
#define READING_BESIDE_WRITERS_ENDED() AnnotateIgnoreReadsEnd(__FILE__, __LINE__)
#else
#define READING_BESIDE_WRITERS_BEGAN() (void)0
#define READING_BESIDE_WRITERS_ENDED() (void)0
#endif

ALWAYS_INLINE struct python_part part_compared(const struct part_memory *memory, const struct interpreter *interpreter,
                                               uintptr_t frame)
{
    const struct python_part none = {.stack = 0};
    uint32_t sequence = atomic_load_explicit(&memory->sequence, memory_order_acquire);
    if (sequence & 1 || memory->epoch != shim.epoch || memory->interpreter != interpreter)
        return none;
    struct python_part part = memory->part;
    bool is_cut = memory->is_cut;
    struct comparison comparison = {
        .layout = &interpreter->layout, .memory = memory, .count = memory->count, .sequence = sequence};
    bool was_cut = frames_compared(&interpreter->layout, frame, &comparison) != 0;
    bool is_same = !comparison.differs && comparison.agreed == comparison.count && was_cut == is_cut &&
                   (comparison.differences.word | comparison.differences.pair[0] | comparison.differences.pair[1]) == 0;
    return likely(is_same && is_unchanged(memory, sequence)) ? part : none;
}

/* The part, if the chain that begins at this frame is the remembered one. */
static struct python_part part_if_same(const struct part_memory *memory, const struct interpreter *interpreter,
                                       uintptr_t frame)
{
    READING_BESIDE_WRITERS_BEGAN();
    struct python_part part = part_compared(memory, interpreter, frame);
    READING_BESIDE_WRITERS_ENDED();
    return part;
}

/* The frame at which a chain began, and its instruction, foretell which it is: then the walk is the comparison. */
enum { GUESSES = 2048 };
static _Atomic(const struct part_memory *) guesses[GUESSES];

static _Atomic(const struct part_memory *) *guess_at(const struct python_layout *layout, uintptr_t frame)
{
    uint64_t place = layout->place_is_index ? (uint64_t)number_at(frame, layout->place) : word_at(frame, layout->place);
    return &guesses[(frame >> 4 ^ frame >> 15 ^ place >> 1) % GUESSES];
}

static struct python_part part_found(const struct interpreter *interpreter, uintptr_t frame,
                                     const struct python_chain *chain)
{
    const struct part_memory *set = parts[set_of(chain->hash)];
    for (unsigned way = 0; way < PART_WAYS && chain->count <= PART_FRAMES_MAX; way++) {
        if (atomic_load_explicit(&set[way].hash, memory_order_relaxed) != chain->hash)
            continue;
        struct python_part part = part_if_same(&set[way], interpreter, frame);
        if (!part.stack)
            continue;
        atomic_store_explicit(guess_at(&interpreter->layout, frame), &set[way], memory_order_relaxed);
        return part;
    }
    return (struct python_part){.stack = 0};
}

/* What is compared for one frame needs not be for another. */
static void comparison_planned(const struct python_layout *layout, const struct python_chain *chain,
                               struct chain_code *codes, uint32_t frame)
{
    struct chain_code *code = &codes[frame];
    code->compare = !code->number                                  ? COMPARE_NOTHING
                    : is_loaded_from_file(layout, &code->identity) ? COMPARE_AS_FILE
                                                                   : COMPARE_ALL;
    if (code->compare != COMPARE_ALL)
        return;
    code->unhashed = unhashed_parts(&code->identity);
    code->copies = code_copies(code->number);
    for (uint32_t inner = 0; inner < frame; inner++) {
        if (chain->code[inner] == chain->code[frame])
            code->compare = COMPARE_NOTHING; /* again */
        else if (codes[inner].compare == COMPARE_ALL && codes[inner].identity.file == code->identity.file)
            code->unhashed &= ~(unsigned)FILE_UNHASHED;
    }
}

static void part_memorized(const struct interpreter *interpreter, const struct python_chain *chain,
                           struct chain_code *codes, struct python_part part)
{
    unsigned set = set_of(chain->hash);
    unsigned way = atomic_fetch_add_explicit(&oldest_way[set], 1, memory_order_relaxed) % PART_WAYS;
    struct part_memory *memory = &parts[set][way];
    if (chain->count > PART_FRAMES_MAX || !part.stack || !writing_began(memory))
        return;
    for (uint32_t i = 0; i < chain->count; i++)
        comparison_planned(&interpreter->layout, chain, codes, i);
    memory->epoch = shim.epoch;
    atomic_store_explicit(&memory->hash, chain->hash, memory_order_relaxed);
    memory->interpreter = interpreter;
    memory->part = part;
    memory->count = chain->count;
    memory->is_cut = chain->is_cut;
    memcpy(memory->code, chain->code, chain->count * sizeof chain->code[0]);
    memcpy(memory->place, chain->place, chain->count * sizeof chain->place[0]);
    memcpy(memory->codes, codes, chain->count * sizeof codes[0]);
    writing_ended(memory);
}

/* --- seen for the first time ---------------------------------------------------------------------------------------------- */

static bool is_named_del(uint32_t code)
{
    static const char name[] = "__del__";
    const struct trace_code *record = record_of(TABLE_CODE, code);
    const struct trace_string *string = record_of(TABLE_STRING, record->name);
    return string->length == sizeof name - 1 && memcmp(string->text, name, sizeof name - 1) == 0;
}

static uint32_t frame_recorded(const struct interpreter *interpreter, uintptr_t code, uintptr_t place, uint32_t number)
{
    struct trace_frame record = {
        .type = FRAME_PYTHON, .module = number, .flags = place & CHAIN_ENTRY ? FRAME_ENTRY : 0};
    if (number)
        record.offset = chain_offset(&interpreter->layout, code, place);
    return frame_interned(record);
}

/* A frame that is left out makes the part approximate; where it ends a call of the loop, the call stays. */
__attribute__((noinline)) static struct python_part part_recorded(const struct interpreter *interpreter,
                                                                  const struct python_chain *chain)
{
    struct chain_code codes[PART_FRAMES_MAX], unkept = {0};
    struct python_part part = {.approximate = chain->is_cut};
    bool is_whole = true, has_frames = false;
    if (chain->is_cut)
        part.stack = node_interned(0, frame_interned((struct trace_frame){.type = FRAME_TRUNCATED}));
    for (uint32_t i = chain->count; i-- > 0;) {
        uintptr_t address = chain->code[i], place = chain->place[i];
        struct chain_code *code = i < PART_FRAMES_MAX ? &codes[i] : &unkept;
        code->number = address ? code_recorded(interpreter, address, &code->identity) : 0;
        is_whole &= !address || code->number;
        has_frames |= code->number != 0;
        if (!code->number && !(place & CHAIN_ENTRY))
            continue;
        part.in_destructor |= i < FRAMES_OF_A_DESTRUCTOR && code->number && is_named_del(code->number);
        part.stack = node_interned(part.stack, frame_recorded(interpreter, address, place, code->number));
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

__attribute__((noinline)) static struct python_part part_not_guessed(const struct interpreter *interpreter,
                                                                     uintptr_t frame)
{
    struct python_chain chain;
    chain_walked(&interpreter->layout, frame, shim.options.depth, &chain);
    if (chain.count == 0)
        return (struct python_part){.stack = 0};
    struct python_part part = part_found(interpreter, frame, &chain);
    return part.stack ? part : part_recorded(interpreter, &chain);
}

static struct python_part part_beginning_at(const struct interpreter *interpreter, uintptr_t frame)
{
    const struct part_memory *guess = atomic_load_explicit(guess_at(&interpreter->layout, frame), memory_order_relaxed);
    if (likely(guess)) {
        struct python_part part = part_if_same(guess, interpreter, frame);
        if (likely(part.stack))
            return part;
    }
    return part_not_guessed(interpreter, frame);
}

static uintptr_t frame_of_object(const struct interpreter *interpreter, uintptr_t object)
{
    const struct python_layout *layout = &interpreter->layout;
    if (word_at(object, layout->type) != interpreter->frame_type)
        return 0;
    return layout->object_frame ? word_at(object, layout->object_frame) : object;
}

static struct python_part part_of(const struct interpreter *interpreter, const void *object)
{
    bool is_doubtful = false;
    uintptr_t frame =
        object ? frame_of_object(interpreter, (uintptr_t)object) : innermost_frame(interpreter, &is_doubtful);
    if (!frame)
        return (struct python_part){.stack = 0};
    struct python_part part = part_beginning_at(interpreter, frame);
    if (unlikely(is_doubtful))
        part.approximate = true;
    return part;
}

struct python_part python_part_here(const void *object)
{
    unsigned count = atomic_load_explicit(&interpreter_count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++) {
        if (!atomic_load_explicit(&interpreters[i].is_loaded, memory_order_relaxed))
            continue;
        struct python_part part = part_of(&interpreters[i], object);
        if (part.stack)
            return part;
    }
    return (struct python_part){.stack = 0};
}

void parts_forked(void)
{
    for (unsigned i = 0; i < PART_SETS * PART_WAYS; i++)
        if (atomic_load(&parts[i / PART_WAYS][i % PART_WAYS].sequence) & 1)
            writing_ended(&parts[i / PART_WAYS][i % PART_WAYS]);
}
