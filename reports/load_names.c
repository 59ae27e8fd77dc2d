/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables module, frame, symbol, stack and stack_frame: what all traces together need, each once, with names.
 *
 * A stack's fingerprint says "the same bug" over rebuilds, restarts and other versions of libraries: the functions from
 * the one that called the driver out to main, by linkage name. Lines, addresses, the driver's inside and what lies
 * outside of main are left out; a function that calls itself counts once; code without names is known by its module.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loading.h"
#include "place.h"
#include "symbols.h"

enum { LEVELS_AT_FIRST = 256 }; /* of a stack; room for more is made */

/* One function at a place; several where calls are inlined. Texts belong to `symbols` or `stacks`. */
struct level {
    const char *function, *linkage_name, *file, *module;
    int line, column;
    enum code_owner owner;
    enum code_language language;
    bool inlined;
};

struct named_frame {
    size_t first, count; /* in naming->levels */
};

struct naming {
    struct loading *loading;
    struct symbols *symbols;
    struct level *levels; /* of all frames */
    size_t level_count;
    struct named_frame *frames; /* by frame id - 1 */
    size_t *whole;              /* places in `levels` of the stack at hand, innermost first */
    enum code_owner *owners;
    size_t whole_count, whole_room;
    struct insert module, frame, symbol, stack, stack_frame;
};

/* --- frames ------------------------------------------------------------------------------------------------------------- */

static void level_added(struct naming *naming, struct level level)
{
    ROOM_FOR_ONE(naming->levels, naming->level_count);
    naming->levels[naming->level_count++] = level;
}

static void native_named(struct naming *naming, const struct frame *frame)
{
    const struct module *module = module_at(naming->loading->stacks, frame->owner);
    struct symbol_frame found[SYMBOL_FRAMES_MAX];
    size_t count = symbols_found(naming->symbols, module->path, module->build_id, module->build_id_size, frame->offset,
                                 frame->type == FRAME_NATIVE, found, SYMBOL_FRAMES_MAX);

    for (const struct symbol_frame *symbol = found; symbol < found + count; symbol++)
        level_added(naming,
                    (struct level){symbol->function, symbol->linkage_name, symbol->file, module->path, symbol->line,
                                   symbol->column,
                                   code_owner_of(naming->loading->options->code, module->path, symbol->file, CODE_C),
                                   CODE_C, symbol->inlined});
}

/* The line of an instruction. The interpreters' line tables (code->line_table) are not read yet: where the function
 * begins. */
static int python_line(const struct code *code, uint64_t instruction)
{
    (void)instruction;
    return code->first_line <= INT32_MAX ? (int)code->first_line : 0;
}

static void python_named(struct naming *naming, const struct frame *frame)
{
    const struct code *code = code_at(naming->loading->stacks, frame->owner);
    const char *file = *code->file ? code->file : NULL;

    level_added(naming, (struct level){.function = *code->function ? code->function : "<unknown>",
                                       .linkage_name = *code->function ? code->function : NULL,
                                       .file = file,
                                       .line = python_line(code, frame->offset),
                                       .owner = code_owner_of(naming->loading->options->code, NULL, file, CODE_PYTHON),
                                       .language = CODE_PYTHON});
}

static void frame_named(struct naming *naming, const struct frame *frame)
{
    struct level level = {.owner = CODE_SYSTEM, .language = CODE_C};

    switch (frame->type) {
    case FRAME_NATIVE:
    case FRAME_NATIVE_EXACT:
        native_named(naming, frame);
        return;
    case FRAME_PYTHON:
        python_named(naming, frame);
        return;
    case FRAME_UNKNOWN:
        level.function = "(generated code)";
        break;
    case FRAME_TRUNCATED:
        level.function = "(outer frames are missing)";
        break;
    case FRAME_MIXED:
    case FRAME_OTHER:
        level.function = "(not recorded)";
        break;
    }
    level_added(naming, level);
}

static const char *frame_type_name(enum trace_frame_type type)
{
    static const char *const names[] = {
        [FRAME_NATIVE] = "native", [FRAME_NATIVE_EXACT] = "native", [FRAME_UNKNOWN] = "unknown",
        [FRAME_PYTHON] = "python", [FRAME_TRUNCATED] = "truncated", [FRAME_OTHER] = "other"};

    return names[type];
}

static bool is_native(const struct frame *frame)
{
    return frame->type == FRAME_NATIVE || frame->type == FRAME_NATIVE_EXACT;
}

static void symbols_written(struct naming *naming, size_t id)
{
    const struct named_frame *named = &naming->frames[id - 1];

    for (size_t i = 0; i < named->count; i++) {
        const struct level *level = &naming->levels[named->first + i];
        INSERTED(&naming->symbol, integer((int64_t)id), integer((int64_t)i), text(level->function),
                 text(level->linkage_name), text(level->file), reference(level->line), reference(level->column),
                 text(level->module && *level->module ? level->module : NULL),
                 text(level->language == CODE_PYTHON ? "python" : "c"), text(code_owner_name(level->owner)),
                 integer(level->inlined));
    }
}

static void frames_written(struct naming *naming)
{
    const struct stacks *stacks = naming->loading->stacks;

    naming->frames = memory(frame_count(stacks) * sizeof(*naming->frames));
    for (size_t id = 1; id <= frame_count(stacks); id++) {
        const struct frame *frame = frame_at(stacks, id);
        struct named_frame *named = &naming->frames[id - 1];

        named->first = naming->level_count;
        frame_named(naming, frame);
        named->count = naming->level_count - named->first;
        INSERTED(&naming->frame, integer((int64_t)id), text(frame_type_name(frame->type)),
                 is_native(frame) ? integer(frame->owner) : nothing(),
                 frame->type < FRAME_TRUNCATED ? integer((int64_t)frame->offset) : nothing(), integer(frame->entry));
        symbols_written(naming, id);
    }
}

static void modules_written(struct naming *naming)
{
    const struct stacks *stacks = naming->loading->stacks;
    char build_id[TRACE_BUILD_ID_MAX * 2 + 1];

    for (size_t id = 1; id <= module_count(stacks); id++) {
        const struct module *module = module_at(stacks, id);
        enum module_state state =
            symbols_module_state(naming->symbols, module->path, module->build_id, module->build_id_size);

        for (size_t i = 0; i < module->build_id_size; i++)
            snprintf(build_id + 2 * i, 3, "%02x", module->build_id[i]);
        INSERTED(&naming->module, integer((int64_t)id), text(module->path),
                 text(module->build_id_size ? build_id : NULL), text(module_state_name(state)));
    }
}

/* --- fingerprints --------------------------------------------------------------------------------------------------------- */

static bool is_start_up(const char *function)
{
    static const char *const names[] = {"_start",
                                        "__libc_start_main",
                                        "__libc_start_main_impl",
                                        "__libc_start_call_main",
                                        "clone",
                                        "__clone",
                                        "clone3",
                                        "__clone3",
                                        "start_thread"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(function, names[i]) == 0)
            return true;
    return false;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* "libfoo.so.1.2 (deleted)" → 9 for "libfoo.so": another version is the same code without names. */
static int module_name_length(const char *name)
{
    const char *end = strstr(name, ".so");

    if (end && (end[3] == '.' || end[3] == ' '))
        return (int)(end + 3 - name);
    end = strstr(name, " (deleted)");
    return (int)(end ? (size_t)(end - name) : strlen(name));
}

/* What stays the same of a function from build to build; "": leave it out. */
static void level_normalised(const struct level *level, char *name, size_t size)
{
    const char *module = base_name(level->module ? level->module : "");

    name[0] = '\0';
    if (level->language == CODE_PYTHON)
        snprintf(name, size, "%s:%s", base_name(level->file ? level->file : ""), level->function);
    else if (level->linkage_name && !is_start_up(level->linkage_name))
        snprintf(name, size, "%s", level->linkage_name);
    else if (!level->linkage_name && level->owner != CODE_SYSTEM)
        snprintf(name, size, "%.*s+?", module_name_length(module), module);
}

/* Of the levels at hand. `driver_too`: there is nothing else. */
static bool stack_hashed(const struct naming *naming, bool driver_too, uint64_t *hash)
{
    char name[1024], before[1024] = "";

    *hash = MAP_SEED;
    for (size_t i = 0; i < naming->whole_count; i++) {
        const struct level *level = &naming->levels[naming->whole[i]];

        if (level->owner == CODE_DRIVER && !driver_too)
            continue;
        level_normalised(level, name, sizeof(name));
        if (!name[0] || strcmp(name, before) == 0)
            continue;
        *hash = bytes_hashed(*hash, name, strlen(name) + 1);
        memcpy(before, name, sizeof(before));
        if (level->language == CODE_C && strcmp(name, "main") == 0)
            break;
    }
    return before[0] != '\0';
}

/* --- stacks ------------------------------------------------------------------------------------------------------------------ */

static void whole_extended(struct naming *naming, size_t level)
{
    if (naming->whole_count == naming->whole_room) {
        naming->whole_room *= 2;
        naming->whole = memory_resized(naming->whole, naming->whole_room, sizeof(*naming->whole));
        naming->owners = memory_resized(naming->owners, naming->whole_room, sizeof(*naming->owners));
    }
    naming->owners[naming->whole_count] = naming->levels[level].owner;
    naming->whole[naming->whole_count++] = level;
}

static void stack_gathered(struct naming *naming, struct stack stack)
{
    naming->whole_count = 0;
    for (size_t position = 0; position < stack.depth; position++) {
        const struct named_frame *named = &naming->frames[stack.frames[position] - 1];
        for (size_t i = 0; i < named->count; i++)
            whole_extended(naming, named->first + i);
    }
}

static bool is_truncated(const struct naming *naming, struct stack stack)
{
    enum trace_frame_type outermost = frame_at(naming->loading->stacks, stack.frames[stack.depth - 1])->type;

    return outermost == FRAME_TRUNCATED || outermost == FRAME_OTHER;
}

static void stack_written(struct naming *naming, size_t id)
{
    struct stack stack = stack_at(naming->loading->stacks, id);
    const struct level *where;
    char fingerprint[17];
    uint64_t hash;

    stack_gathered(naming, stack);
    where = &naming->levels[naming->whole[place_found(naming->owners, naming->whole_count)]];
    if (!stack_hashed(naming, false, &hash))
        stack_hashed(naming, true, &hash);
    snprintf(fingerprint, sizeof(fingerprint), "%016llx", (unsigned long long)hash);
    INSERTED(&naming->stack, integer((int64_t)id), integer((int64_t)stack.depth), integer(is_truncated(naming, stack)),
             integer(0), text(where->function), text(where->file), reference(where->line), text(where->module),
             text(where->language == CODE_PYTHON ? "python" : "c"), text(code_owner_name(where->owner)),
             text(fingerprint));
    for (size_t position = 0; position < stack.depth; position++)
        INSERTED(&naming->stack_frame, integer((int64_t)id), integer((int64_t)position),
                 integer(stack.frames[position]), integer(0));
}

bool names_loaded(struct loading *loading)
{
    struct naming naming = {
        .loading = loading,
        .symbols = symbols_opened(loading->options->symbols),
        .levels = memory(sizeof(*naming.levels)),
        .whole = memory(LEVELS_AT_FIRST * sizeof(*naming.whole)),
        .owners = memory(LEVELS_AT_FIRST * sizeof(*naming.owners)),
        .whole_room = LEVELS_AT_FIRST,
        .module = insert_prepared(loading->db, "module", "id path build_id state"),
        .frame = insert_prepared(loading->db, "frame", "id type module offset entry"),
        .symbol = insert_prepared(loading->db, "symbol",
                                  "frame level function linkage_name file line col module language owner inlined"),
        .stack = insert_prepared(
            loading->db, "stack",
            "id depth truncated approximate where_function where_file where_line where_module where_language "
            "where_owner fingerprint"),
        .stack_frame = insert_prepared(loading->db, "stack_frame", "stack position frame hidden"),
    };
    bool written = true;

    if (!naming.symbols)
        memory_exhausted();
    modules_written(&naming);
    frames_written(&naming);
    for (size_t id = 1; id <= stack_count(loading->stacks); id++)
        stack_written(&naming, id);
    written &= insert_finished(&naming.module);
    written &= insert_finished(&naming.frame);
    written &= insert_finished(&naming.symbol);
    written &= insert_finished(&naming.stack);
    written &= insert_finished(&naming.stack_frame);
    free(naming.levels);
    free(naming.frames);
    free(naming.whole);
    free(naming.owners);
    symbols_closed(naming.symbols);
    return written;
}
