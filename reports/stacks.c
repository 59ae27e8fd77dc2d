/* SPDX-License-Identifier: Apache-2.0 */
#include "stacks.h"

#include <stdlib.h>
#include <string.h>

#include "pool.h"

/* All stacks together have at most this many frames before deep ones are cut: only a hostile trace comes near. */
enum { FRAMES_PLENTY = 4000000, DEPTH_WHEN_PLENTY = 64 };

struct span_of_frames {
    size_t first, depth; /* in stacks->path */
};

struct stacks {
    struct pool *pool;
    struct map module_ids, code_ids, frame_ids, stack_ids; /* hash → id */
    struct module *modules;
    struct code *codes;
    struct frame *frames;
    struct span_of_frames *spans;
    uint32_t *path; /* the frames of all stacks, one after the other */
    size_t module_count, code_count, frame_count, stack_count, path_size, path_room;
};

struct stacks *stacks_opened(void)
{
    struct stacks *stacks = memory(sizeof(*stacks));

    stacks->pool = pool_opened();
    if (!stacks->pool)
        memory_exhausted();
    return stacks;
}

void stacks_closed(struct stacks *stacks)
{
    if (!stacks)
        return;
    pool_closed(stacks->pool);
    map_freed(&stacks->module_ids);
    map_freed(&stacks->code_ids);
    map_freed(&stacks->frame_ids);
    map_freed(&stacks->stack_ids);
    free(stacks->modules);
    free(stacks->codes);
    free(stacks->frames);
    free(stacks->spans);
    free(stacks->path);
    free(stacks);
}

void renumbering_freed(struct renumbering *renumbering)
{
    map_freed(&renumbering->modules);
    map_freed(&renumbering->codes);
    map_freed(&renumbering->frames);
    map_freed(&renumbering->stacks);
}

static const char *text_kept(struct stacks *stacks, const char *text)
{
    const char *kept = pool_text(stacks->pool, text ? text : "");

    if (!kept)
        memory_exhausted();
    return kept;
}

/* --- modules and code objects --------------------------------------------------------------------------------------------- */

/* Texts are kept once, so that equal ones are the same pointer. */
static bool is_same_module(const struct module *one, const struct module *other)
{
    return one->path == other->path && one->build_id_size == other->build_id_size &&
           memcmp(one->build_id, other->build_id, one->build_id_size) == 0;
}

static uint32_t module_interned(struct stacks *stacks, const struct module *module)
{
    uint64_t key = mixed((uintptr_t)module->path, bytes_hashed(MAP_SEED, module->build_id, module->build_id_size));
    uint64_t id;

    for (; (id = map_value(&stacks->module_ids, key)); key++)
        if (is_same_module(&stacks->modules[id - 1], module))
            return (uint32_t)id;
    ROOM_FOR_ONE(stacks->modules, stacks->module_count);
    stacks->modules[stacks->module_count++] = *module;
    map_set(&stacks->module_ids, key, stacks->module_count);
    return (uint32_t)stacks->module_count;
}

static uint32_t module_numbered(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace,
                                uint32_t number)
{
    uint32_t id = (uint32_t)map_value(&renumbering->modules, number);
    struct trace_module record;
    struct module module = {.path = ""};

    if (id)
        return id;
    if (trace_record(trace, TABLE_MODULE, number, &record)) {
        module.path = trace_text(trace, record.path);
        module.build_id_size = record.build_id_size <= TRACE_BUILD_ID_MAX ? record.build_id_size : 0;
        memcpy(module.build_id, record.build_id, module.build_id_size);
    }
    module.path = text_kept(stacks, module.path);
    id = module_interned(stacks, &module);
    map_set(&renumbering->modules, number, id);
    return id;
}

static bool is_same_code(const struct code *one, const struct code *other)
{
    return one->file == other->file && one->function == other->function && one->first_line == other->first_line &&
           one->python_version == other->python_version && one->line_table == other->line_table;
}

static uint32_t code_interned(struct stacks *stacks, const struct code *code)
{
    uint64_t key = mixed(mixed((uintptr_t)code->file, (uintptr_t)code->function), code->first_line);
    uint64_t id;

    for (; (id = map_value(&stacks->code_ids, key)); key++)
        if (is_same_code(&stacks->codes[id - 1], code))
            return (uint32_t)id;
    ROOM_FOR_ONE(stacks->codes, stacks->code_count);
    stacks->codes[stacks->code_count++] = *code;
    map_set(&stacks->code_ids, key, stacks->code_count);
    return (uint32_t)stacks->code_count;
}

static void line_table_kept(struct stacks *stacks, struct trace *trace, uint32_t string, struct code *code)
{
    size_t size = 0;
    const unsigned char *bytes = trace_bytes(trace, string, &size);
    struct pool_entry *entry = bytes ? pool_entry(stacks->pool, bytes, size) : NULL;

    if (!entry)
        return;
    code->line_table = (const unsigned char *)entry->key;
    code->line_table_size = size;
}

static uint32_t code_numbered(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace,
                              uint32_t number)
{
    uint32_t id = (uint32_t)map_value(&renumbering->codes, number);
    struct trace_code record;
    struct code code = {0};

    if (id)
        return id;
    trace_record(trace, TABLE_CODE, number, &record);
    code.file = text_kept(stacks, trace_text(trace, record.file));
    code.function = trace_text(trace, record.qualified_name);
    code.function = text_kept(stacks, code.function ? code.function : trace_text(trace, record.name));
    code.first_line = record.first_line;
    code.python_version = record.python_version;
    line_table_kept(stacks, trace, record.line_table, &code);
    id = code_interned(stacks, &code);
    map_set(&renumbering->codes, number, id);
    return id;
}

/* --- frames ------------------------------------------------------------------------------------------------------------------ */

static bool is_same_frame(const struct frame *one, const struct frame *other)
{
    return one->type == other->type && one->owner == other->owner && one->offset == other->offset &&
           one->entry == other->entry;
}

static uint32_t frame_interned(struct stacks *stacks, const struct frame *frame)
{
    uint64_t key = mixed(frame->offset, (uint64_t)frame->owner << 8 | (uint64_t)frame->type << 1 | frame->entry);
    uint64_t id;

    for (; (id = map_value(&stacks->frame_ids, key)); key++)
        if (is_same_frame(&stacks->frames[id - 1], frame))
            return (uint32_t)id;
    ROOM_FOR_ONE(stacks->frames, stacks->frame_count);
    stacks->frames[stacks->frame_count++] = *frame;
    map_set(&stacks->frame_ids, key, stacks->frame_count);
    return (uint32_t)stacks->frame_count;
}

static struct frame frame_read(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace,
                               uint32_t number)
{
    struct trace_frame record;

    if (!trace_record(trace, TABLE_FRAME, number, &record))
        return (struct frame){.type = FRAME_OTHER};
    switch ((enum trace_frame_type)record.type) {
    case FRAME_NATIVE:
    case FRAME_NATIVE_EXACT:
        return (struct frame){(enum trace_frame_type)record.type,
                              module_numbered(stacks, renumbering, trace, record.module), record.offset, false};
    case FRAME_PYTHON:
        return (struct frame){FRAME_PYTHON, code_numbered(stacks, renumbering, trace, record.module), record.offset,
                              record.flags & 1};
    case FRAME_UNKNOWN:
        return (struct frame){.type = FRAME_UNKNOWN, .offset = record.offset};
    case FRAME_TRUNCATED:
        return (struct frame){.type = FRAME_TRUNCATED};
    case FRAME_MIXED:
    case FRAME_OTHER:
        break;
    }
    return (struct frame){.type = FRAME_OTHER};
}

static uint32_t frame_numbered(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace,
                               uint32_t number)
{
    uint32_t id = (uint32_t)map_value(&renumbering->frames, number);
    struct frame frame;

    if (id)
        return id;
    frame = frame_read(stacks, renumbering, trace, number);
    id = frame_interned(stacks, &frame);
    map_set(&renumbering->frames, number, id);
    return id;
}

/* --- stacks -------------------------------------------------------------------------------------------------------------------- */

static void path_extended(struct stacks *stacks, size_t at, uint32_t frame)
{
    if (at >= stacks->path_room) {
        stacks->path_room = stacks->path_room ? stacks->path_room * 2 : 1024;
        stacks->path = memory_resized(stacks->path, stacks->path_room, sizeof(*stacks->path));
    }
    stacks->path[at] = frame;
}

static void mark_added(struct stacks *stacks, size_t at, enum trace_frame_type type)
{
    path_extended(stacks, at, frame_interned(stacks, &(struct frame){.type = type}));
}

/* Writes a stack's frames behind those of the stacks that are there; returns its depth. Parents have smaller numbers,
 * so that the walk ends whatever the trace says. */
static size_t path_read(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace, uint32_t number)
{
    size_t limit = stacks->path_size > FRAMES_PLENTY ? DEPTH_WHEN_PLENTY : TRACE_DEPTH_MAX, depth = 0;
    struct trace_stack node;

    while (number && depth < limit) {
        if (!trace_record(trace, TABLE_STACK, number, &node) || node.parent >= number)
            break;
        path_extended(stacks, stacks->path_size + depth, frame_numbered(stacks, renumbering, trace, node.frame));
        depth++;
        number = node.parent;
    }
    if (!number)
        return depth;
    mark_added(stacks, stacks->path_size + depth, depth ? FRAME_TRUNCATED : FRAME_OTHER);
    return depth + 1;
}

static int64_t path_interned(struct stacks *stacks, size_t depth)
{
    const uint32_t *path = stacks->path + stacks->path_size;
    uint64_t key = MAP_SEED, id;

    for (size_t i = 0; i < depth; i++)
        key = mixed(key, path[i]);
    for (; (id = map_value(&stacks->stack_ids, key)); key++) {
        const struct span_of_frames *span = &stacks->spans[id - 1];
        if (span->depth == depth && memcmp(stacks->path + span->first, path, depth * sizeof(*path)) == 0)
            return (int64_t)id;
    }
    ROOM_FOR_ONE(stacks->spans, stacks->stack_count);
    stacks->spans[stacks->stack_count++] = (struct span_of_frames){stacks->path_size, depth};
    stacks->path_size += depth;
    map_set(&stacks->stack_ids, key, stacks->stack_count);
    return (int64_t)stacks->stack_count;
}

int64_t stack_numbered(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace, uint32_t stack)
{
    int64_t id = (int64_t)map_value(&renumbering->stacks, stack);

    if (id || stack == STACK_NONE)
        return id;
    id = path_interned(stacks, path_read(stacks, renumbering, trace, stack));
    map_set(&renumbering->stacks, stack, (uint64_t)id);
    return id;
}

/* --- what there is ----------------------------------------------------------------------------------------------------------------- */

size_t module_count(const struct stacks *stacks)
{
    return stacks->module_count;
}

size_t frame_count(const struct stacks *stacks)
{
    return stacks->frame_count;
}

size_t stack_count(const struct stacks *stacks)
{
    return stacks->stack_count;
}

const struct module *module_at(const struct stacks *stacks, size_t id)
{
    return &stacks->modules[id - 1];
}

const struct code *code_at(const struct stacks *stacks, size_t id)
{
    return &stacks->codes[id - 1];
}

const struct frame *frame_at(const struct stacks *stacks, size_t id)
{
    return &stacks->frames[id - 1];
}

struct stack stack_at(const struct stacks *stacks, size_t id)
{
    const struct span_of_frames *span = &stacks->spans[id - 1];

    return (struct stack){stacks->path + span->first, span->depth};
}
