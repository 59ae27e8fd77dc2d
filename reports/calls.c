/* SPDX-License-Identifier: Apache-2.0 */
#include "calls.h"

#include <dwarf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "spans.h"

enum {
    DEEPEST_NESTING = 64, /* of namespaces, classes, blocks; more is a corrupt file */
    MOST_RANGES = 4096,   /* of one function; many functions of a corrupt file may name the same list */
    MOST_REFERENCES = 16,
};

struct declared { /* a function's entry and what it is declared in: "app::Pool", NULL for nothing */
    Dwarf_Off offset;
    const char *scope;
};

struct unit {
    struct unit *next;
    Dwarf_Die lines; /* the entry with the line table */
    Dwarf_Die body;  /* the entry with the functions: another one where it was split off */
    bool is_plain;
    bool is_deep;      /* what is nested in functions is indexed, too */
    Dwarf_Off visited; /* while indexing: the last entry; they lie in order, so it only grows */
    struct spans spans;
    Dwarf_Die *functions; /* spans' payload */
    size_t function_count, function_room;
    struct declared *declared; /* by offset */
    size_t declared_count, declared_room;
};

struct calls {
    struct pool *texts, *unit_table;
    Dwarf *dwarf;
    const char *directory;
    struct unit *units;
    bool has_ranges; /* unit_ranges is filled */
    struct spans unit_ranges;
    Dwarf_Die *unit_dies; /* its payload */
    size_t unit_count, unit_room;
};

struct calls *calls_opened(struct pool *texts, Dwarf *dwarf, const char *directory)
{
    struct calls *calls = calloc(1, sizeof *calls);
    if (!calls)
        return NULL;
    *calls = (struct calls){.texts = texts, .dwarf = dwarf, .directory = directory, .unit_table = pool_opened()};
    if (calls->unit_table)
        return calls;
    free(calls);
    return NULL;
}

static void unit_emptied(struct unit *unit)
{
    spans_freed(&unit->spans);
    free(unit->functions);
    free(unit->declared);
    unit->functions = NULL;
    unit->declared = NULL;
    unit->function_count = unit->function_room = unit->declared_count = unit->declared_room = 0;
    unit->visited = 0;
}

void calls_closed(struct calls *calls)
{
    if (!calls)
        return;
    for (struct unit *unit = calls->units; unit; unit = unit->next)
        unit_emptied(unit);
    spans_freed(&calls->unit_ranges);
    free(calls->unit_dies);
    pool_closed(calls->unit_table);
    free(calls);
}

/* Room for one more of `size` bytes each. */
static bool has_room(void **list, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return true;
    size_t more = *room ? *room * 2 : 32;
    void *larger = reallocarray(*list, more, size);
    if (!larger)
        return false;
    *list = larger;
    *room = more;
    return true;
}

/* --- a unit's functions --------------------------------------------------------------------------------------------- */

static const char *scope_below(struct calls *calls, const char *scope, const char *name)
{
    char text[1024];
    if (!name)
        return scope;
    if (!scope)
        return pool_text(calls->texts, name);
    int length = snprintf(text, sizeof text, "%s::%s", scope, name);
    return length > 0 && (size_t)length < sizeof text ? pool_text(calls->texts, text) : scope;
}

static void function_indexed(struct unit *unit, Dwarf_Die *die, const char *scope)
{
    if (has_room((void **)&unit->declared, unit->declared_count, &unit->declared_room, sizeof *unit->declared))
        unit->declared[unit->declared_count++] = (struct declared){dwarf_dieoffset(die), scope};
    if (!has_room((void **)&unit->functions, unit->function_count, &unit->function_room, sizeof *unit->functions))
        return;
    unit->functions[unit->function_count] = *die;
    bool has_code = false;
    Dwarf_Addr base, low, high;
    ptrdiff_t position = 0;
    for (int i = 0; i < MOST_RANGES && (position = dwarf_ranges(die, position, &base, &low, &high)) > 0; i++)
        /* Functions that the linker threw away begin at 0. */
        if (low != 0)
            has_code |= span_added(&unit->spans, low, high, 0, (uint32_t)unit->function_count);
    unit->function_count += has_code;
}

static void children_indexed(struct calls *calls, struct unit *unit, Dwarf_Die *parent, const char *scope, int depth)
{
    Dwarf_Die die;
    if (depth > DEEPEST_NESTING || dwarf_child(parent, &die) != 0)
        return;
    do {
        Dwarf_Off offset = dwarf_dieoffset(&die);
        if (offset <= unit->visited)
            return;
        unit->visited = offset;
        const char *name;
        switch (dwarf_tag(&die)) {
        case DW_TAG_namespace:
            name = dwarf_diename(&die);
            children_indexed(calls, unit, &die, scope_below(calls, scope, name ? name : "(anonymous namespace)"),
                             depth + 1);
            break;
        case DW_TAG_class_type:
        case DW_TAG_structure_type:
        case DW_TAG_union_type:
        case DW_TAG_interface_type:
        case DW_TAG_module:
            if (!unit->is_plain)
                children_indexed(calls, unit, &die, scope_below(calls, scope, dwarf_diename(&die)), depth + 1);
            break;
        case DW_TAG_subprogram:
            function_indexed(unit, &die, scope);
            if (unit->is_deep)
                children_indexed(calls, unit, &die, scope_below(calls, scope, dwarf_diename(&die)), depth + 1);
            break;
        case DW_TAG_lexical_block:
            if (unit->is_deep)
                children_indexed(calls, unit, &die, scope, depth + 1);
            break;
        default:
            break;
        }
    } while (dwarf_siblingof(&die, &die) == 0);
}

static void unit_indexed(struct calls *calls, struct unit *unit)
{
    children_indexed(calls, unit, &unit->body, NULL, 0);
    spans_sorted(&unit->spans);
}

/* Nested functions are rare, and what is inside of functions is most of a unit: it is read only where it is missed. */
static bool deep_indexed(struct calls *calls, struct unit *unit)
{
    if (unit->is_deep)
        return false;
    unit_emptied(unit);
    unit->is_deep = true;
    unit_indexed(calls, unit);
    return true;
}

/* --- units ------------------------------------------------------------------------------------------------------------- */

static bool is_plain_language(int language)
{
    enum { C17 = 0x2c };
    switch (language) {
    case DW_LANG_C89:
    case DW_LANG_C:
    case DW_LANG_C99:
    case DW_LANG_C11:
    case C17:
    case DW_LANG_Mips_Assembler:
        return true;
    default:
        return false;
    }
}

static const char *string_attribute(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attribute;
    return dwarf_formstring(dwarf_attr(die, name, &attribute));
}

static bool is_unsafe(const char *directory, const char *name)
{
    char path[PATH_MAX];
    struct stat status;
    int length = name[0] == '/' || !directory ? snprintf(path, sizeof path, "%s", name)
                                              : snprintf(path, sizeof path, "%s/%s", directory, name);
    return length >= 0 && (size_t)length < sizeof path && stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

/* libdw opens the file that a skeleton names, whatever it is; from a FIFO it would never come back. */
static bool may_be_joined(struct calls *calls, Dwarf_Die *skeleton)
{
    const char *name = string_attribute(skeleton, DW_AT_dwo_name);
    if (!name)
        name = string_attribute(skeleton, DW_AT_GNU_dwo_name);
    const char *compiled_in = string_attribute(skeleton, DW_AT_comp_dir);
    return name && !is_unsafe(calls->directory, name) && !is_unsafe(compiled_in, name);
}

/* False: not a unit that has code. */
static bool unit_filled(struct calls *calls, struct unit *unit, Dwarf_Die *die)
{
    uint8_t type = 0;
    Dwarf_Die split = {0};
    if (!dwarf_diecu(die, &unit->lines, NULL, NULL) ||
        dwarf_cu_info(unit->lines.cu, NULL, &type, NULL, NULL, NULL, NULL, NULL) != 0)
        return false;
    unit->body = unit->lines;
    if (type == DW_UT_skeleton) {
        if (!may_be_joined(calls, &unit->lines))
            return false;
        if (dwarf_cu_info(unit->lines.cu, NULL, NULL, NULL, &split, NULL, NULL, NULL) == 0 && split.addr)
            unit->body = split;
    }
    unit->is_plain = is_plain_language(dwarf_srclang(&unit->body));
    return true;
}

static struct unit *unit_of(struct calls *calls, Dwarf_Die *die)
{
    struct pool_entry *entry = pool_entry(calls->unit_table, &die->cu, sizeof(Dwarf_CU *));
    if (!entry || entry->value)
        return entry ? entry->value : NULL;
    struct unit *unit = pool_memory(calls->unit_table, sizeof *unit);
    if (!unit || !unit_filled(calls, unit, die))
        return NULL;
    unit->next = calls->units;
    calls->units = unit;
    entry->value = unit;
    unit_indexed(calls, unit);
    return unit;
}

static void unit_range_added(struct calls *calls, Dwarf_Die *die)
{
    int tag = dwarf_tag(die);
    if (tag != DW_TAG_compile_unit && tag != DW_TAG_skeleton_unit)
        return;
    if (!has_room((void **)&calls->unit_dies, calls->unit_count, &calls->unit_room, sizeof *calls->unit_dies))
        return;
    calls->unit_dies[calls->unit_count] = *die;
    Dwarf_Addr base, low, high;
    ptrdiff_t position = 0;
    while ((position = dwarf_ranges(die, position, &base, &low, &high)) > 0)
        if (low != 0)
            span_added(&calls->unit_ranges, low, high, 0, (uint32_t)calls->unit_count);
    calls->unit_count++;
}

/* clang writes no .debug_aranges. */
static struct unit *unit_by_ranges(struct calls *calls, uint64_t address)
{
    if (!calls->has_ranges) {
        Dwarf_Off offset = 0, next;
        size_t header_size;
        Dwarf_Die die;
        for (; dwarf_nextcu(calls->dwarf, offset, &next, &header_size, NULL, NULL, NULL) == 0; offset = next)
            if (dwarf_offdie(calls->dwarf, offset + header_size, &die))
                unit_range_added(calls, &die);
        spans_sorted(&calls->unit_ranges);
        calls->has_ranges = true;
    }
    const struct span *span = span_found(&calls->unit_ranges, address);
    return span ? unit_of(calls, &calls->unit_dies[span->payload]) : NULL;
}

/* --- names and places ---------------------------------------------------------------------------------------------------- */

/* From an inlined or out-of-line copy to the declaration that has the name. */
static Dwarf_Die declaration_of(Dwarf_Die die)
{
    Dwarf_Attribute attribute;
    for (int i = 0; i < MOST_REFERENCES; i++) {
        Dwarf_Die next;
        if (!dwarf_attr(&die, DW_AT_abstract_origin, &attribute) && !dwarf_attr(&die, DW_AT_specification, &attribute))
            break;
        if (!dwarf_formref_die(&attribute, &next))
            break;
        die = next;
    }
    return die;
}

static const struct declared *declared_at(const struct unit *unit, Dwarf_Off offset)
{
    size_t low = 0, high = unit->declared_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (unit->declared[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < unit->declared_count && unit->declared[low].offset == offset ? &unit->declared[low] : NULL;
}

static void call_named(struct calls *calls, struct call *call, Dwarf_Die *die)
{
    Dwarf_Attribute attribute;
    call->name = dwarf_diename(die);
    Dwarf_Die declaration = declaration_of(*die);
    struct unit *unit = unit_of(calls, &declaration);
    call->is_plain = unit && unit->is_plain && call->name;
    if (call->is_plain)
        return;
    call->linkage_name = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute));
    if (!call->linkage_name)
        call->linkage_name = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute));
    if (!unit || call->linkage_name || !call->name)
        return;
    Dwarf_Off offset = dwarf_dieoffset(&declaration);
    const struct declared *declared = declared_at(unit, offset);
    if (!declared && deep_indexed(calls, unit))
        declared = declared_at(unit, offset);
    if (declared)
        call->name = scope_below(calls, declared->scope, call->name);
}

/* Compilers give what no file holds a name like "<artificial>"; libdw calls a file it does not know "???", and leaves
 * some paths relative to the directory of compilation. */
static const char *real_file(struct calls *calls, const struct unit *unit, const char *file)
{
    const char *base = file ? strrchr(file, '/') : NULL;
    base = base ? base + 1 : file;
    if (!base || base[0] == '<' || base[0] == '\0' || strcmp(base, "???") == 0)
        return NULL;
    Dwarf_Die die = unit->lines;
    const char *compiled_in = file[0] == '/' ? NULL : string_attribute(&die, DW_AT_comp_dir);
    char path[PATH_MAX];
    if (!compiled_in || compiled_in[0] != '/')
        return file;
    int length = snprintf(path, sizeof path, "%s/%s", compiled_in, file);
    return length > 0 && (size_t)length < sizeof path ? pool_text(calls->texts, path) : file;
}

static int number_attribute(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value;
    return dwarf_formudata(dwarf_attr(die, name, &attribute), &value) == 0 && value <= INT_MAX ? (int)value : 0;
}

/* Where in `caller` the call is that became the inlined `die`. */
static void call_placed(struct calls *calls, struct call *caller, const struct unit *unit, Dwarf_Die *die)
{
    Dwarf_Files *files;
    Dwarf_Die body = unit->body;
    if (dwarf_getsrcfiles(&body, &files, NULL) == 0)
        caller->file =
            real_file(calls, unit, dwarf_filesrc(files, (size_t)number_attribute(die, DW_AT_call_file), NULL, NULL));
    caller->line = number_attribute(die, DW_AT_call_line);
    caller->column = number_attribute(die, DW_AT_call_column);
}

static bool line_found(struct calls *calls, const struct unit *unit, uint64_t address, struct call *call)
{
    Dwarf_Die lines = unit->lines;
    Dwarf_Line *line = dwarf_getsrc_die(&lines, address);
    if (!line)
        return false;
    call->file = real_file(calls, unit, dwarf_linesrc(line, NULL, NULL));
    if (dwarf_lineno(line, &call->line) != 0 || call->line < 0)
        call->line = 0;
    if (dwarf_linecol(line, &call->column) != 0 || call->column < 0)
        call->column = 0;
    return call->file != NULL;
}

/* The block or inlined call directly below `die` that holds the address. */
static bool stepped_into(Dwarf_Die *die, uint64_t address)
{
    Dwarf_Die child;
    if (dwarf_child(die, &child) != 0)
        return false;
    do {
        int tag = dwarf_tag(&child);
        bool may_hold = tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block || tag == DW_TAG_try_block ||
                        tag == DW_TAG_catch_block;
        if (may_hold && dwarf_haspc(&child, address) > 0) {
            *die = child;
            return true;
        }
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
}

/* Outermost first. Where there is no more room the last is given up for one that is further inside. */
static size_t calls_listed(struct calls *calls, const struct unit *unit, Dwarf_Die die, uint64_t address,
                           struct call *found, size_t capacity)
{
    size_t count = 1;
    call_named(calls, &found[0], &die);
    for (int depth = 0; depth < 16 * DEEPEST_NESTING && stepped_into(&die, address); depth++) {
        if (dwarf_tag(&die) != DW_TAG_inlined_subroutine)
            continue;
        if (count < capacity) {
            call_placed(calls, &found[count - 1], unit, &die);
            count++;
        }
        found[count - 1] = (struct call){0};
        call_named(calls, &found[count - 1], &die);
    }
    return count;
}

static void reversed(struct call *found, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        struct call call = found[i];
        found[i] = found[count - 1 - i];
        found[count - 1 - i] = call;
    }
}

static size_t calls_in_unit(struct calls *calls, struct unit *unit, uint64_t address, struct call *found,
                            size_t capacity)
{
    struct call line = {0};
    bool has_line = line_found(calls, unit, address, &line);
    const struct span *span = span_found(&unit->spans, address);
    if (!span && deep_indexed(calls, unit))
        span = span_found(&unit->spans, address);
    found[0] = (struct call){.is_plain = unit->is_plain};
    size_t count = 1;
    if (span)
        count = calls_listed(calls, unit, unit->functions[span->payload], address, found, capacity);
    else if (!has_line)
        return 0;
    struct call *innermost = &found[count - 1];
    innermost->file = line.file;
    innermost->line = line.line;
    innermost->column = line.column;
    reversed(found, count);
    return count;
}

size_t calls_found(struct calls *calls, uint64_t address, struct call *found, size_t capacity)
{
    Dwarf_Die die;
    struct unit *first = dwarf_addrdie(calls->dwarf, address, &die) ? unit_of(calls, &die) : NULL;
    size_t count = first ? calls_in_unit(calls, first, address, found, capacity) : 0;
    struct unit *second = count == 0 ? unit_by_ranges(calls, address) : NULL;
    return second && second != first ? calls_in_unit(calls, second, address, found, capacity) : count;
}
