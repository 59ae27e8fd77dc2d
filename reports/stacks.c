/* SPDX-License-Identifier: Apache-2.0 */
#include "stacks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

/* All stacks together have at most this many frames before deep ones are cut: only a hostile trace comes near. */
enum { FRAMES_PLENTY = 4000000, DEPTH_WHEN_PLENTY = 64 };
/* … and line tables this many bytes. */
enum { LINE_TABLES_PLENTY = 64 << 20 };

struct span_of_frames {
    size_t first, depth; /* in stacks->path */
    bool approximate;
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
    size_t line_tables_size;
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

/* A script that was started as `python app.py` has that as its file: relative to where the process was. */
static const char *file_kept(struct stacks *stacks, struct trace *trace, const char *file)
{
    const char *directory = trace_text(trace, trace->process.directory);
    const char *kept;
    char *whole;

    if (!file || !*file || *file == '/' || *file == '<' || !directory || *directory != '/')
        return text_kept(stacks, file);
    while (file[0] == '.' && file[1] == '/')
        file += 2;
    if (asprintf(&whole, "%s%s%s", directory, directory[1] ? "/" : "", file) < 0)
        memory_exhausted();
    kept = text_kept(stacks, whole);
    free(whole);
    return kept;
}

static void line_table_kept(struct stacks *stacks, struct trace *trace, uint32_t string, struct code *code)
{
    size_t size = 0;
    const unsigned char *bytes = trace_bytes(trace, string, &size);
    struct pool_entry *entry;

    if (!bytes || stacks->line_tables_size > LINE_TABLES_PLENTY)
        return;
    entry = pool_entry(stacks->pool, bytes, size);
    if (!entry)
        memory_exhausted();
    stacks->line_tables_size += size;
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
    code.file = file_kept(stacks, trace, trace_text(trace, record.file));
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
           one->entry == other->entry && one->eval == other->eval;
}

static uint32_t frame_interned(struct stacks *stacks, const struct frame *frame)
{
    uint64_t key = mixed(frame->offset, (uint64_t)frame->owner << 8 | (uint64_t)frame->type << 2 |
                                            (unsigned)frame->eval << 1 | frame->entry);
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
                              module_numbered(stacks, renumbering, trace, record.module), record.offset, false,
                              record.flags & FRAME_EVAL};
    case FRAME_PYTHON:
        if (!record.module)
            return (struct frame){.type = FRAME_OTHER, .entry = record.flags & FRAME_ENTRY};
        return (struct frame){FRAME_PYTHON, code_numbered(stacks, renumbering, trace, record.module), record.offset,
                              record.flags & FRAME_ENTRY, false};
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

/* Writes a stack's frames to stacks->path from `at` on; returns its depth. Parents have smaller numbers, so that the walk
 * ends whatever the trace says. */
static size_t path_read(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace, uint32_t number,
                        size_t at)
{
    size_t limit = stacks->path_size > FRAMES_PLENTY ? DEPTH_WHEN_PLENTY : TRACE_DEPTH_MAX, depth = 0;
    struct trace_stack node;

    while (number && depth < limit) {
        if (!trace_record(trace, TABLE_STACK, number, &node) || node.parent >= number)
            break;
        path_extended(stacks, at + depth, frame_numbered(stacks, renumbering, trace, node.frame));
        depth++;
        number = node.parent;
    }
    if (!number)
        return depth;
    mark_added(stacks, at + depth, depth ? FRAME_TRUNCATED : FRAME_OTHER);
    return depth + 1;
}

/* --- mixed stacks ------------------------------------------------------------------------------------------------------------- */

/* Two lists of frames in stacks->path, and where their merger goes: behind them. */
struct merger {
    struct stacks *stacks;
    size_t native, native_end, python, python_end, merged;
    bool fits; /* so far each call of the loop had its frames */
};

static const struct frame *frame_there(const struct merger *merger, size_t at)
{
    return &merger->stacks->frames[merger->stacks->path[at] - 1];
}

static void frame_moved(struct merger *merger, size_t at)
{
    path_extended(merger->stacks, merger->merged++, merger->stacks->path[at]);
}

/* A call of the loop whose frame has left the chain already, while what it held is being freed (from 3.12 on): it takes
 * its place on the native stack, and shows nothing. */
static bool is_gone(const struct frame *frame)
{
    return frame->type == FRAME_OTHER && frame->entry;
}

/* The Python frames that one call of the interpreter's loop runs. */
static void eval_merged(struct merger *merger)
{
    bool is_entry = false;

    while (merger->python < merger->python_end && !is_entry) {
        const struct frame *frame = frame_there(merger, merger->python);
        is_entry = frame->entry;
        if (!is_gone(frame))
            frame_moved(merger, merger->python);
        merger->python++;
    }
}

static void native_merged(struct merger *merger)
{
    const struct frame *frame = frame_there(merger, merger->native);
    bool is_cut = frame->type == FRAME_TRUNCATED && merger->native + 1 == merger->native_end;

    /* The mark of a cut goes where the Python part is whole: what is missing then is nothing but the interpreter. */
    while (is_cut && merger->python < merger->python_end)
        eval_merged(merger);
    if (is_cut) {
        merger->native++;
        return;
    }
    if (frame->eval && merger->python < merger->python_end) {
        eval_merged(merger);
    } else {
        merger->fits &= !frame->eval;
        frame_moved(merger, merger->native);
    }
    merger->native++;
}

/* Writes the merged frames where path_read would have, and returns how many they are. */
static size_t parts_merged(struct stacks *stacks, size_t native_depth, size_t python_depth, bool *fits)
{
    size_t native = stacks->path_size, python = native + native_depth, end = python + python_depth;
    struct merger merger = {.stacks = stacks,
                            .native = native,
                            .native_end = python,
                            .python = python,
                            .python_end = end,
                            .merged = end,
                            .fits = true};

    while (merger.native < merger.native_end)
        native_merged(&merger);
    merger.fits &= merger.python == end || !native_depth;
    while (merger.python < end)
        eval_merged(&merger);
    if (merger.merged == end)
        mark_added(stacks, merger.merged++, FRAME_OTHER);
    *fits = merger.fits;
    memmove(stacks->path + native, stacks->path + end, (merger.merged - end) * sizeof(*stacks->path));
    return merger.merged - end;
}

static bool is_mixed(struct trace *trace, uint32_t number, struct trace_stack *node, struct trace_frame *frame)
{
    return trace_record(trace, TABLE_STACK, number, node) && trace_record(trace, TABLE_FRAME, node->frame, frame) &&
           frame->type == FRAME_MIXED && node->parent < number && frame->offset && frame->offset < number;
}

/* As path_read, behind the stacks that are there. */
static size_t whole_read(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace, uint32_t number,
                         bool *approximate)
{
    struct trace_stack node;
    struct trace_frame mixed_frame;
    size_t native, python;
    bool fits;

    if (!is_mixed(trace, number, &node, &mixed_frame))
        return path_read(stacks, renumbering, trace, number, stacks->path_size);
    native = node.parent ? path_read(stacks, renumbering, trace, node.parent, stacks->path_size) : 0;
    python = path_read(stacks, renumbering, trace, (uint32_t)mixed_frame.offset, stacks->path_size + native);
    python = parts_merged(stacks, native, python, &fits);
    *approximate = !fits || mixed_frame.flags & MIXED_APPROXIMATE;
    return python;
}

static int64_t path_interned(struct stacks *stacks, size_t depth, bool approximate)
{
    const uint32_t *path = stacks->path + stacks->path_size;
    uint64_t key = MAP_SEED, id;

    for (size_t i = 0; i < depth; i++)
        key = mixed(key, path[i]);
    for (; (id = map_value(&stacks->stack_ids, key)); key++) {
        struct span_of_frames *span = &stacks->spans[id - 1];
        if (span->depth == depth && memcmp(stacks->path + span->first, path, depth * sizeof(*path)) == 0) {
            span->approximate |= approximate;
            return (int64_t)id;
        }
    }
    ROOM_FOR_ONE(stacks->spans, stacks->stack_count);
    stacks->spans[stacks->stack_count++] = (struct span_of_frames){stacks->path_size, depth, approximate};
    stacks->path_size += depth;
    map_set(&stacks->stack_ids, key, stacks->stack_count);
    return (int64_t)stacks->stack_count;
}

int64_t stack_numbered(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace, uint32_t stack)
{
    int64_t id = (int64_t)map_value(&renumbering->stacks, stack);
    bool approximate = false;
    size_t depth;

    if (id || stack == STACK_NONE)
        return id;
    depth = whole_read(stacks, renumbering, trace, stack, &approximate);
    id = path_interned(stacks, depth, approximate);
    map_set(&renumbering->stacks, stack, (uint64_t)id);
    return id;
}

/* --- what there is ----------------------------------------------------------------------------------------------------------------- */

size_t module_count(const struct stacks *stacks)
{
    return stacks->module_count;
}

size_t code_count(const struct stacks *stacks)
{
    return stacks->code_count;
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

    return (struct stack){stacks->path + span->first, span->depth, span->approximate};
}
