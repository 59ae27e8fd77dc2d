/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables module, frame, symbol, stack and stack_frame: what all traces together need, each once, with names.
 *
 * A stack's fingerprint says "the same bug" over rebuilds, restarts and other versions of libraries: the functions from
 * the one that called the driver out to main, by linkage name. Lines, addresses, the driver's inside and what lies
 * outside of main are left out; a function that calls itself counts once; code without names is known by its module.
 * Of a stack with Python frames it is the user's own functions, by file and qualified name: the frames of a framework
 * change with its version, those of comprehensions with Python's (from 3.12 on they have none).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loading.h"
#include "place.h"
#include "python_lines.h"
#include "python_places.h"
#include "symbols.h"

enum { LEVELS_AT_FIRST = 256 }; /* of a stack; room for more is made */
/* All line tables together are walked for this many bytes: only a hostile trace comes near. */
#define LINE_TABLES_WALKED_MAX ((uint64_t)2 << 30)

/* One function at a place; several where calls are inlined. Texts belong to `symbols` or `stacks`. */
struct level {
    const char *function, *linkage_name, *file, *module;
    int line, column;
    enum code_owner owner;
    enum code_language language;
    bool inlined;
    bool is_ours;     /* Python: of our own adapter */
    bool has_no_file; /* Python: "<string>", "<stdin>" */
    bool is_comprehension;
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
    struct python_places *places;
    bool *hidden; /* of the frames of the stack at hand */
    size_t hidden_room;
    bool has_python; /* the stack at hand */
    uint64_t line_tables_walked;
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
        level_added(naming, (struct level){.function = symbol->function,
                                           .linkage_name = symbol->linkage_name,
                                           .file = symbol->file,
                                           .module = module->path,
                                           .line = symbol->line,
                                           .column = symbol->column,
                                           .owner = code_owner_of(naming->loading->options->code, module->path,
                                                                  symbol->file, CODE_C),
                                           .language = CODE_C,
                                           .inlined = symbol->inlined});
}

static int line_of(struct naming *naming, const struct code *code, uint64_t instruction)
{
    struct python_line_table table = {code->python_version, code->first_line, code->line_table, code->line_table_size};

    naming->line_tables_walked += table.size;
    if (naming->line_tables_walked > LINE_TABLES_WALKED_MAX)
        table.bytes = NULL;
    return python_line(&table, instruction);
}

static void python_named(struct naming *naming, const struct frame *frame)
{
    const struct code *code = code_at(naming->loading->stacks, frame->owner);
    const char *file = *code->file ? code->file : NULL;
    int line = line_of(naming, code, frame->offset);

    level_added(naming,
                (struct level){.function = *code->function ? code->function : "<unknown>",
                               .linkage_name = *code->function ? code->function : NULL,
                               .file = file,
                               .line = line,
                               .owner = python_owner(naming->places, naming->loading->options->code, code, line),
                               .language = CODE_PYTHON,
                               .is_ours = is_of_adapter(naming->places, code->file),
                               .has_no_file = *code->file == '<',
                               .is_comprehension = is_comprehension(code->function)});
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

/* Whose functions make a fingerprint: the first of these that a stack has any of. */
enum share { SHARE_USER, SHARE_INSTALLED, SHARE_NATIVE, SHARE_ALL };

static bool is_in_share(const struct level *level, enum share share)
{
    if (level->is_comprehension) /* what it is in comes next */
        return share == SHARE_ALL;
    if (share == SHARE_USER)
        return level->owner == CODE_USER;
    if (share == SHARE_INSTALLED)
        return level->owner == CODE_USER || level->owner == CODE_THIRD_PARTY;
    return share == SHARE_ALL || level->owner != CODE_DRIVER;
}

/* Of the levels at hand. */
static bool share_hashed(const struct naming *naming, enum share share, uint64_t *hash)
{
    char name[1024], before[1024] = "";

    *hash = MAP_SEED;
    for (size_t i = 0; i < naming->whole_count; i++) {
        const struct level *level = &naming->levels[naming->whole[i]];

        if (!is_in_share(level, share))
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

static uint64_t stack_hashed(const struct naming *naming)
{
    enum share share = naming->has_python ? SHARE_USER : SHARE_NATIVE;
    uint64_t hash;

    while (!share_hashed(naming, share, &hash) && share < SHARE_ALL)
        share++;
    return hash;
}

/* --- what is shown ------------------------------------------------------------------------------------------------------------ */

static const struct level *python_level(const struct naming *naming, const struct stack *stack, size_t position)
{
    const struct level *level = &naming->levels[naming->frames[stack->frames[position] - 1].first];

    return level->language == CODE_PYTHON ? level : NULL;
}

static bool is_mark(const struct naming *naming, const struct stack *stack, size_t position)
{
    enum trace_frame_type type = frame_at(naming->loading->stacks, stack->frames[position])->type;

    return type == FRAME_TRUNCATED || type == FRAME_OTHER;
}

static const char *module_of(const struct naming *naming, const struct stack *stack, size_t position)
{
    const char *module = naming->levels[naming->frames[stack->frames[position] - 1].first].module;

    return module ? module : "";
}

/* Native frames are of interest below the innermost Python frame, unless they are the interpreter's, that frame is our
 * adapter's, or they lead to our extension module. A stack that would be nothing then is shown whole. */
static void hidden_found(struct naming *naming, const struct stack *stack)
{
    size_t innermost = stack->depth, shown = 0;
    bool caller_is_ours = false, leads_to_us = false;

    if (stack->depth > naming->hidden_room) {
        naming->hidden_room = stack->depth * 2;
        naming->hidden = memory_resized(naming->hidden, naming->hidden_room, sizeof(*naming->hidden));
    }
    for (size_t position = stack->depth; position-- > 0;)
        if (python_level(naming, stack, position))
            innermost = position;
    naming->has_python = innermost < stack->depth;
    for (size_t position = 0; position < innermost; position++)
        leads_to_us |= strstr(module_of(naming, stack, position), ADAPTER_DIRECTORY) != NULL;
    for (size_t position = stack->depth; position-- > 0;) {
        const struct level *level = python_level(naming, stack, position);
        if (level)
            caller_is_ours = level->is_ours;
        naming->hidden[position] =
            caller_is_ours ||
            (!level && naming->has_python &&
             (position > innermost || leads_to_us || is_python_interpreter(module_of(naming, stack, position))));
        if (is_mark(naming, stack, position))
            naming->hidden[position] = false;
        shown += !naming->hidden[position];
    }
    if (!shown)
        memset(naming->hidden, 0, stack->depth * sizeof(*naming->hidden));
}

/* --- the place to look at ----------------------------------------------------------------------------------------------------- */

static const struct level *level_at(const struct naming *naming, size_t i)
{
    return &naming->levels[naming->whole[i]];
}

/* Code that was made of a text ("<string>") is the place only where there is no file of the user's. */
static size_t user_place(struct naming *naming)
{
    size_t place;

    for (size_t i = 0; i < naming->whole_count; i++)
        if (level_at(naming, i)->has_no_file && naming->owners[i] == CODE_USER)
            naming->owners[i] = CODE_THIRD_PARTY;
    place = place_found(naming->owners, naming->whole_count);
    if (naming->owners[place] == CODE_USER)
        return place;
    for (size_t i = 0; i < naming->whole_count; i++)
        naming->owners[i] = level_at(naming, i)->owner;
    return place_found(naming->owners, naming->whole_count);
}

static size_t python_place(const struct naming *naming, enum code_owner owner)
{
    for (size_t i = 0; i < naming->whole_count; i++)
        if (level_at(naming, i)->language == CODE_PYTHON && level_at(naming, i)->owner == owner)
            return i;
    return SIZE_MAX;
}

/* Where no frame is the user's, a Python frame tells more than the extension module below it. */
static size_t where_found(struct naming *naming)
{
    size_t place = user_place(naming);

    if (!naming->has_python || level_at(naming, place)->owner == CODE_USER)
        return place;
    if (python_place(naming, CODE_THIRD_PARTY) != SIZE_MAX)
        return python_place(naming, CODE_THIRD_PARTY);
    return python_place(naming, CODE_SYSTEM) != SIZE_MAX ? python_place(naming, CODE_SYSTEM) : place;
}

/* A comprehension's function is the one that it stands in, as it is from Python 3.12 on. */
static const char *function_of(const struct naming *naming, size_t place)
{
    size_t outer = place;

    while (level_at(naming, outer)->is_comprehension && outer + 1 < naming->whole_count &&
           level_at(naming, outer + 1)->language == CODE_PYTHON)
        outer++;
    return level_at(naming, outer)->function;
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
        for (size_t i = 0; i < named->count && !naming->hidden[position]; i++)
            whole_extended(naming, named->first + i);
    }
}

static bool is_truncated(const struct naming *naming, const struct stack *stack)
{
    for (size_t position = stack->depth; position-- > 0;)
        if (is_mark(naming, stack, position))
            return true;
    return false;
}

static void stack_written(struct naming *naming, size_t id)
{
    struct stack stack = stack_at(naming->loading->stacks, id);
    const struct level *where;
    char fingerprint[17];
    size_t place;

    hidden_found(naming, &stack);
    stack_gathered(naming, stack);
    place = where_found(naming);
    where = level_at(naming, place);
    snprintf(fingerprint, sizeof(fingerprint), "%016llx", (unsigned long long)stack_hashed(naming));
    INSERTED(&naming->stack, integer((int64_t)id), integer((int64_t)stack.depth), integer(is_truncated(naming, &stack)),
             integer(stack.approximate), text(function_of(naming, place)), text(where->file), reference(where->line),
             text(where->module), text(where->language == CODE_PYTHON ? "python" : "c"),
             text(code_owner_name(where->owner)), text(fingerprint));
    for (size_t position = 0; position < stack.depth; position++)
        INSERTED(&naming->stack_frame, integer((int64_t)id), integer((int64_t)position),
                 integer(stack.frames[position]), integer(naming->hidden[position]));
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
    naming.places = python_places_known(loading->stacks);
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
    free(naming.hidden);
    python_places_freed(naming.places);
    symbols_closed(naming.symbols);
    return written;
}
