/* SPDX-License-Identifier: Apache-2.0 */
#include "symbols.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "binary.h"
#include "calls.h"
#include "debuginfod.h"
#include "demangle.h"
#include "functions.h"
#include "pool.h"

struct module {
    struct module *next;
    const char *path;
    struct binary binary;
    struct calls *calls; /* NULL: no DWARF */
    struct functions functions;
    bool has_functions; /* they were read */
};

struct place { /* what was answered for one (module, offset, is_return_address) */
    size_t count;
    struct symbol_frame frames[];
};

/* Keys of different sense do not share a table: all of them are made of what strangers wrote. */
struct symbols {
    const struct symbol_options *options;
    struct debuginfod *server; /* NULL until asked for */
    struct module *modules;
    struct pool *texts;
    struct pool *module_table; /* path, 0, build-id → struct module */
    struct pool *places;       /* struct place_key → struct place */
    struct pool *functions;    /* linkage name → struct function_names */
    struct pool *files;        /* as recorded → as shown */
};

struct place_key {
    const struct module *module;
    uint64_t offset;
    uint64_t is_return_address; /* as wide as the others: no padding in a key */
};

struct function_names {
    const char *shown, *linkage;
};

struct symbols *symbols_opened(const struct symbol_options *options)
{
    struct symbols *symbols = calloc(1, sizeof *symbols);
    if (!symbols)
        return NULL;
    elf_version(EV_CURRENT);
    *symbols = (struct symbols){
        .options = options,
        .texts = pool_opened(),
        .module_table = pool_opened(),
        .places = pool_opened(),
        .functions = pool_opened(),
        .files = pool_opened(),
    };
    if (symbols->texts && symbols->module_table && symbols->places && symbols->functions && symbols->files)
        return symbols;
    symbols_closed(symbols);
    return NULL;
}

void symbols_closed(struct symbols *symbols)
{
    if (!symbols)
        return;
    for (struct module *module = symbols->modules; module; module = module->next) {
        functions_freed(&module->functions);
        calls_closed(module->calls);
        binary_closed(&module->binary);
    }
    debuginfod_closed(symbols->server);
    pool_closed(symbols->texts);
    pool_closed(symbols->module_table);
    pool_closed(symbols->places);
    pool_closed(symbols->functions);
    pool_closed(symbols->files);
    free(symbols);
}

/* --- modules ------------------------------------------------------------------------------------------------------------ */

static struct module *module_opened(struct symbols *symbols, const char *path, const uint8_t *build_id, size_t size)
{
    struct module *module = pool_memory(symbols->module_table, sizeof *module);
    if (!module)
        return NULL;
    if (symbols->options->debuginfod && !symbols->server)
        symbols->server = debuginfod_opened();
    module->path = pool_text(symbols->texts, path);
    binary_opened(&module->binary, symbols->options, symbols->server, path, build_id, size);
    const struct elf_file *named = module->binary.named;
    if (named)
        module->calls = calls_opened(symbols->texts, named->dwarf, named->directory);
    module->next = symbols->modules;
    symbols->modules = module;
    return module;
}

static struct module *module_of(struct symbols *symbols, const char *path, const uint8_t *build_id, size_t size)
{
    if (!build_id)
        size = 0;
    size_t length = strlen(path) + 1;
    char *key = malloc(length + size);
    if (!key)
        return NULL;
    memcpy(key, path, length);
    if (size > 0)
        memcpy(key + length, build_id, size);
    struct pool_entry *entry = pool_entry(symbols->module_table, key, length + size);
    free(key);
    if (entry && !entry->value)
        entry->value = module_opened(symbols, path, build_id, size);
    return entry ? entry->value : NULL;
}

enum module_state symbols_module_state(struct symbols *symbols, const char *module_path, const uint8_t *build_id,
                                       size_t build_id_size)
{
    const struct module *module = module_of(symbols, module_path, build_id, build_id_size);
    return module ? module->binary.state : MODULE_MISSING;
}

const char *module_state_name(enum module_state state)
{
    switch (state) {
    case MODULE_MATCHES:
        return "matches";
    case MODULE_MISSING:
        return "missing";
    case MODULE_DIFFERS:
        return "differs";
    case MODULE_NO_DEBUG_INFO:
        return "no-debug-info";
    }
    return "missing";
}

static const char *linkage_name_at(struct module *module, uint64_t address)
{
    if (!module->has_functions)
        functions_read(&module->functions, &module->binary);
    module->has_functions = true;
    return function_at(&module->functions, address);
}

/* --- how names and files are shown ----------------------------------------------------------------------------------- */

static const char *kept_and_freed(struct symbols *symbols, char *text)
{
    const char *kept = pool_text(symbols->texts, text);
    free(text);
    return kept;
}

static const struct function_names *names_of(struct symbols *symbols, const char *linkage_name)
{
    struct pool_entry *entry = pool_entry(symbols->functions, linkage_name, strlen(linkage_name));
    struct function_names *names = entry ? entry->value : NULL;
    if (names || !entry)
        return names;
    names = pool_memory(symbols->functions, sizeof *names);
    if (!names)
        return NULL;
    names->shown = kept_and_freed(symbols, name_demangled(linkage_name));
    names->linkage = kept_and_freed(symbols, linkage_name_normalised(linkage_name));
    entry->value = names;
    return names;
}

static bool is_mangled(const char *name)
{
    return name && (strncmp(name, "_Z", 2) == 0 || strncmp(name, "_R", 2) == 0);
}

/* /a/./b, /a//b and /a/c/../b become /a/b. In place; never longer. */
static void path_shortened(char *path)
{
    char *to = path;
    for (const char *from = path; *from;) {
        size_t length = strcspn(from + 1, "/");
        if (length == 0 || (length == 1 && from[1] == '.')) {
            from += 1 + length;
            continue;
        }
        if (length == 2 && from[1] == '.' && from[2] == '.') {
            while (to > path && *--to != '/')
                ;
            from += 3;
            continue;
        }
        memmove(to, from, 1 + length);
        to += 1 + length;
        from += 1 + length;
    }
    *to = '\0';
}

/* With symbolic links on the way, /a/c/.. may be elsewhere: the recorded path is right if it leads anywhere. */
static bool is_same_place(const char *recorded, const char *shortened)
{
    struct stat one, other;
    if (stat(recorded, &one) != 0)
        return true;
    return stat(shortened, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static const char *shown_file(struct symbols *symbols, const char *recorded)
{
    if (!recorded)
        return NULL;
    struct pool_entry *entry = pool_entry(symbols->files, recorded, strlen(recorded));
    if (!entry || entry->value)
        return entry ? entry->value : NULL;
    char *path = strdup(recorded);
    if (!path)
        return NULL;
    if (path[0] == '/')
        path_shortened(path);
    if (path[0] == '\0' || (strcmp(path, recorded) != 0 && !is_same_place(recorded, path)))
        memcpy(path, recorded, strlen(recorded) + 1);
    entry->value = (void *)kept_and_freed(symbols, path);
    return entry->value;
}

/* --- lookup ------------------------------------------------------------------------------------------------------------- */

/* linkage_name, declared: what is known of its name, or NULL. */
static void frame_named(struct symbols *symbols, struct symbol_frame *frame, const char *linkage_name,
                        const char *declared)
{
    const char *known = linkage_name ? linkage_name : declared;
    const struct function_names *names = known ? names_of(symbols, known) : NULL;
    if (!names)
        return;
    frame->linkage_name = names->linkage;
    frame->function = names->shown;
    /* The demangler gives up on very long names. */
    if (declared && is_mangled(names->shown) && (names = names_of(symbols, declared)))
        frame->function = names->shown;
}

static size_t frames_from_calls(struct symbols *symbols, struct module *module, uint64_t address,
                                struct symbol_frame *frames)
{
    struct call calls[SYMBOL_FRAMES_MAX];
    size_t count = module->calls ? calls_found(module->calls, address, calls, SYMBOL_FRAMES_MAX) : 0;
    for (size_t i = 0; i < count; i++) {
        const struct call *call = &calls[i];
        const char *linkage_name = call->linkage_name;
        bool is_last = i + 1 == count;
        if (is_last && !linkage_name && !call->is_plain) {
            const char *listed = linkage_name_at(module, address);
            if (!call->name || is_mangled(listed))
                linkage_name = listed;
        }
        frames[i] = (struct symbol_frame){
            .file = shown_file(symbols, call->file), .line = call->line, .column = call->column, .inlined = !is_last};
        frame_named(symbols, &frames[i], linkage_name, call->name);
    }
    return count;
}

/* "libfoo.so+0x1234": of the offset as recorded, which is what other tools show. */
static const char *unknown_name(struct symbols *symbols, const struct module *module, uint64_t offset)
{
    char text[300];
    const char *path = module && module->path ? module->path : "?";
    const char *base = strrchr(path, '/');
    base = base && base[1] ? base + 1 : path;
    snprintf(text, sizeof text, "%.255s+0x%" PRIx64, base, offset);
    const char *kept = pool_text(symbols->texts, text);
    return kept ? kept : "?";
}

static size_t frames_found(struct symbols *symbols, struct module *module, uint64_t offset, bool is_return_address,
                           struct symbol_frame *frames)
{
    uint64_t address = offset - (is_return_address && offset > 0);
    size_t count = module ? frames_from_calls(symbols, module, address, frames) : 0;
    if (count == 0) {
        frames[0] = (struct symbol_frame){0};
        const char *linkage_name = module ? linkage_name_at(module, address) : NULL;
        if (linkage_name)
            frame_named(symbols, &frames[0], linkage_name, NULL);
        count = 1;
    }
    for (size_t i = 0; i < count; i++)
        if (!frames[i].function || !*frames[i].function)
            frames[i].function = unknown_name(symbols, module, offset);
    return count;
}

static size_t frames_given(const struct symbol_frame *known, size_t count, struct symbol_frame *frames, size_t capacity)
{
    size_t given = count < capacity ? count : capacity;
    memcpy(frames, known, given * sizeof *frames);
    if (given > 0)
        frames[given - 1] = known[count - 1];
    return given;
}

size_t symbols_found(struct symbols *symbols, const char *module_path, const uint8_t *build_id, size_t build_id_size,
                     uint64_t offset, bool is_return_address, struct symbol_frame *frames, size_t capacity)
{
    struct module *module = module_of(symbols, module_path, build_id, build_id_size);
    struct place_key key = {module, offset, is_return_address};
    struct pool_entry *entry = module ? pool_entry(symbols->places, &key, sizeof key) : NULL;
    const struct place *known = entry ? entry->value : NULL;
    if (known)
        return frames_given(known->frames, known->count, frames, capacity);
    struct symbol_frame found[SYMBOL_FRAMES_MAX];
    size_t count = frames_found(symbols, module, offset, is_return_address, found);
    struct place *place = entry ? pool_memory(symbols->places, sizeof *place + count * sizeof *found) : NULL;
    if (place) {
        place->count = count;
        memcpy(place->frames, found, count * sizeof *found);
        entry->value = place;
    }
    return frames_given(found, count, frames, capacity);
}
