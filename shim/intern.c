/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that occurs often is stored once: strings, frames, stacks, sites, facts. Each has a hash index in the
 * trace: open addressing, slots hold record numbers, nothing is ever removed. So looking up takes no lock (a slot is
 * published by a release store after its record is whole), and only adding does.
 *
 * The first slots to be tried lie in a small part of the index, the next in a larger one, the last in all of it. So a
 * program with few records needs storage for few pages of an index that has room for millions.
 */
#include <string.h>

#include "intern.h"
#include "python/python.h"

enum { LONGEST_STRING = 4095, LONGEST_LINE_TABLE = 65535, LONGEST_PROBE = 512 };

enum { NEAR_SLOTS = TRACE_GRANULE / sizeof(uint32_t), NEAR_PARTS = 3, NEAR_PROBES = 2 };

static uint64_t slot_tried(enum trace_table_id index, uint64_t hash, unsigned probe)
{
    uint64_t start = 0, size = NEAR_SLOTS;
    if (index == TABLE_INDEX_SITE) /* every open asks, and the first look is to be the right one */
        return hash + probe;
    for (unsigned part = 0; part < NEAR_PARTS; part++, start += size, size *= 4)
        if (probe < (part + 1) * NEAR_PROBES)
            return start + ((hash + probe) & (size - 1));
    return hash + probe;
}

uint32_t interned(const struct interning *what, const void *key, uint64_t hash)
{
    spinlock *lock = &shim.intern_locks[what->index];
    bool is_locked = false;
    uint32_t number = 0;
    for (unsigned probe = 0; probe < LONGEST_PROBE;) {
        _Atomic uint32_t *slot = index_slot(what->index, slot_tried(what->index, hash, probe));
        if (!slot)
            break;
        number = atomic_load_explicit(slot, memory_order_acquire);
        if (number && what->is_equal(number, key))
            break;
        if (number) {
            number = 0;
            probe++;
            continue;
        }
        if (!is_locked) { /* an empty slot: look at it again, locked */
            locked(lock);
            is_locked = true;
            continue;
        }
        number = what->added(key);
        if (number)
            atomic_store_explicit(slot, number, memory_order_release);
        break;
    }
    if (is_locked)
        unlocked(lock);
    else if (!number)
        lost(what->loss);
    return number;
}

/* --- strings ------------------------------------------------------------------------------------------------------- */

struct string_key {
    const char *text;
    uint32_t length, hash;
};

static bool string_is(uint32_t number, const void *key_)
{
    const struct string_key *key = key_;
    const struct trace_string *string = record_of(TABLE_STRING, number);
    return string->hash == key->hash && string->length == key->length &&
           memcmp(string->text, key->text, key->length) == 0;
}

/* Strings take several 8-byte units in a row. */
static uint32_t string_added(const void *key_)
{
    const struct string_key *key = key_;
    struct trace_table *table = &shim.trace.header->tables[TABLE_STRING];
    uint64_t units = (sizeof(struct trace_string) + key->length + 1 + 7) / 8;
    uint64_t number = atomic_load(&table->used);
    if (number + units > table->capacity || !storage_added(table->offset + number * 8, units * 8)) {
        lost(LOSS_STRINGS);
        return 0;
    }
    struct trace_string *string = record_of(TABLE_STRING, number);
    string->hash = key->hash;
    string->length = key->length;
    memcpy(string->text, key->text, key->length);
    atomic_store_explicit(&table->used, number + units, memory_order_release);
    return (uint32_t)number;
}

static uint32_t interned_whole(const char *bytes, size_t length)
{
    static const struct interning strings = {TABLE_INDEX_STRING, LOSS_STRINGS, string_is, string_added};
    uint64_t hash = hash_of(bytes, length);
    struct string_key key = {bytes, (uint32_t)length, (uint32_t)hash};
    return interned(&strings, &key, hash);
}

uint32_t bytes_interned(const char *bytes, size_t length)
{
    return interned_whole(bytes, length < LONGEST_STRING ? length : LONGEST_STRING);
}

uint32_t line_table_interned(const char *bytes, size_t length)
{
    return interned_whole(bytes, length < LONGEST_LINE_TABLE ? length : LONGEST_LINE_TABLE);
}

uint32_t string_interned(const char *text)
{
    return text && text[0] ? bytes_interned(text, strnlen(text, LONGEST_STRING)) : 0;
}

/* --- frames and stacks ------------------------------------------------------------------------------------------------ */

static bool frame_is(uint32_t number, const void *key_)
{
    const struct trace_frame *key = key_, *frame = record_of(TABLE_FRAME, number);
    return frame->offset == key->offset && frame->module == key->module && frame->type == key->type &&
           frame->flags == key->flags;
}

static uint32_t frame_added(const void *key_)
{
    const struct trace_frame *key = key_;
    uint32_t number = record_claimed(TABLE_FRAME, LOSS_FRAMES);
    if (number) {
        struct trace_frame *frame = record_of(TABLE_FRAME, number);
        frame->type = key->type;
        frame->module = key->module;
        frame->flags = key->flags;
        frame->offset = key->offset;
        atomic_store_explicit(&frame->ready, 1, memory_order_release);
    }
    return number;
}

uint32_t frame_interned(struct trace_frame key)
{
    static const struct interning frames = {TABLE_INDEX_FRAME, LOSS_FRAMES, frame_is, frame_added};
    return interned(&frames, &key, hash_mixed(key.offset, (uint64_t)key.module << 32 | key.type << 8 | key.flags));
}

static bool stack_is(uint32_t number, const void *key_)
{
    const struct trace_stack *key = key_, *node = record_of(TABLE_STACK, number);
    return node->frame == key->frame && node->parent == key->parent;
}

static uint32_t stack_added(const void *key_)
{
    const struct trace_stack *key = key_;
    uint32_t number = record_claimed(TABLE_STACK, LOSS_STACKS);
    if (number) {
        struct trace_stack *node = record_of(TABLE_STACK, number);
        node->frame = key->frame;
        node->parent = key->parent;
        node->depth = key->depth;
        atomic_store_explicit(&node->ready, 1, memory_order_release);
    }
    return number;
}

uint32_t node_interned(uint32_t parent, uint32_t frame)
{
    static const struct interning stacks = {TABLE_INDEX_STACK, LOSS_STACKS, stack_is, stack_added};
    if (!frame)
        return 0;
    struct trace_stack key = {.frame = frame, .parent = parent};
    key.depth = parent ? ((struct trace_stack *)record_of(TABLE_STACK, parent))->depth + 1 : 1;
    return interned(&stacks, &key, hash_mixed(frame, parent));
}

static bool is_ours(uintptr_t address)
{
    return address >= shim.start && address < shim.end;
}

static uint32_t native_frame(uintptr_t address, bool is_exact)
{
    uint64_t bias = 0;
    uint32_t module = module_of(is_exact ? address : address - 1, &bias);
    if (!module)
        return frame_interned((struct trace_frame){.type = FRAME_UNKNOWN, .offset = address});
    python_looked_for(module);
    return frame_interned((struct trace_frame){.type = is_exact ? FRAME_NATIVE_EXACT : FRAME_NATIVE,
                                               .module = module,
                                               .flags = flags_of_native_frame(is_exact ? address : address - 1),
                                               .offset = address - bias});
}

uint32_t stack_interned(const struct native_stack *stack, void *was_interrupted)
{
    uint32_t node = 0;
    if (stack->truncated)
        node = node_interned(0, frame_interned((struct trace_frame){.type = FRAME_TRUNCATED}));
    for (unsigned i = stack->count; i-- > 0;) {
        if (is_ours(stack->pc[i]))
            continue;
        *(bool *)was_interrupted |= is_interrupted(stack, i);
        uint32_t frame = native_frame(stack->pc[i], is_interrupted(stack, i));
        node = frame ? node_interned(node, frame) : 0;
        if (!node)
            return STACK_OTHER;
    }
    return node ? node : STACK_OTHER;
}

/* The thread's own Python frames are read only if no signal has interrupted what it was doing: it may have been them. */
uint32_t stack_here(const struct caller *caller)
{
    struct python_part python = {.stack = 0};
    bool was_interrupted = false;
    uint32_t native = 0, stack = 0;
    if (unlikely(thread.python_frame))
        python = python_part_here(thread.python_frame);
    if (likely(!python.stack)) {
        native = capture_stack(caller, shim.options.depth, shim.epoch, stack_interned, &was_interrupted);
        if (python_has_frames() && !was_interrupted)
            python = python_part_here(NULL);
    }
    if (python.stack)
        stack = stack_mixed(native, &python);
    if (!stack)
        stack = native;
    return likely(stack) ? stack : STACK_OTHER;
}

/* --- sites ----------------------------------------------------------------------------------------------------------------- */

struct site_key {
    uint32_t kind, stack;
};

static inline bool site_is(uint32_t number, const void *key_)
{
    const struct site_key *key = key_;
    const struct trace_site *site = site_at(number);
    return site->stack == key->stack && site->kind == key->kind;
}

static uint32_t site_added(const void *key_)
{
    const struct site_key *key = key_;
    uint32_t number = record_claimed(TABLE_SITE, LOSS_SITES);
    if (number) {
        struct trace_site *site = site_at(number);
        site->kind = key->kind;
        site->stack = key->stack;
        atomic_store_explicit(&site->ready, 1, memory_order_release);
    }
    return number;
}

/* The first look is nearly always the right one, and is worth its own lines: every open asks. */
uint32_t site_of(enum kind kind, uint32_t stack)
{
    static const struct interning sites = {TABLE_INDEX_SITE, LOSS_SITES, site_is, site_added};
    struct site_key key = {kind, stack};
    uint64_t hash = hash_mixed(stack, kind);
    _Atomic uint32_t *slot = index_slot(TABLE_INDEX_SITE, hash);
    uint32_t number = slot ? atomic_load_explicit(slot, memory_order_acquire) : 0;
    return likely(number && site_is(number, &key)) ? number : interned(&sites, &key, hash);
}
