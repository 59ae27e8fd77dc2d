/* SPDX-License-Identifier: Apache-2.0 */
#include "layouts.h"

#include <stddef.h>
#include <string.h>

/* --- the interpreter's own table -------------------------------------------------------------------------------------- */

struct published_head {
    char cookie[8];
    uint64_t version, free_threaded;
    struct {
        uint64_t size, finalizing, interpreters_head;
    } runtime;
};

struct published_thread {
    uint64_t size, prev, next, interp, current_frame, thread_id, native_thread_id, datastack_chunk, status;
};

struct published_object {
    struct {
        uint64_t size, ob_type;
    } object;
    struct {
        uint64_t size, tp_name, tp_repr, tp_flags;
    } type;
    struct {
        uint64_t size, ob_item, ob_size;
    } tuple, list;
};

struct published_values {
    struct {
        uint64_t size, ma_keys, ma_values;
    } dict;
    struct {
        uint64_t size, ob_fval;
    } float_number;
    struct {
        uint64_t size, lv_tag, ob_digit;
    } long_number;
    struct {
        uint64_t size, ob_size, ob_sval;
    } bytes;
    struct {
        uint64_t size, state, length, asciiobject_size;
    } unicode;
};

struct published_3_13 {
    struct published_head head;
    uint64_t interpreter[13];
    struct published_thread thread;
    struct {
        uint64_t size, previous, executable, instr_ptr, localsplus, owner;
    } frame;
    struct {
        uint64_t size, filename, name, qualname, linetable, firstlineno, argcount, localsplusnames, localspluskinds,
            co_code_adaptive;
    } code;
    struct published_object objects;
    struct published_values values;
};

struct published_3_14 {
    struct published_head head;
    uint64_t interpreter[16];
    struct published_thread thread;
    struct {
        uint64_t size, previous, executable, instr_ptr, localsplus, owner, stackpointer, tlbc_index;
    } frame;
    struct {
        uint64_t size, filename, name, qualname, linetable, firstlineno, argcount, localsplusnames, localspluskinds,
            co_code_adaptive, co_tlbc;
    } code;
    struct published_object objects;
    uint64_t set[4];
    struct published_values values;
};

/* False: not a place inside a structure of that size (which is never this large). */
static bool offset_taken(uint16_t *offset, uint64_t published, uint64_t size)
{
    *offset = (uint16_t)published;
    return published < size && size < 0x4000;
}

static bool objects_taken(struct python_layout *layout, const struct published_object *objects,
                          const struct published_values *values)
{
    enum { HEADER = 16, HEADER_FREE_THREADED = 32 };
    uint64_t header = objects->object.size, ascii = values->unicode.asciiobject_size;
    if (header != (layout->free_threaded ? HEADER_FREE_THREADED : HEADER) || ascii != header + 24)
        return false;
    bool taken = offset_taken(&layout->type, objects->object.ob_type, header) &&
                 offset_taken(&layout->bytes_size, values->bytes.ob_size, values->bytes.size) &&
                 offset_taken(&layout->bytes_data, values->bytes.ob_sval, values->bytes.size) &&
                 offset_taken(&layout->text_length, values->unicode.length, ascii) &&
                 offset_taken(&layout->text_state, values->unicode.state, ascii);
    layout->bytes_hash = (uint16_t)(layout->bytes_size + 8);
    layout->text_hash = (uint16_t)(layout->text_length + 8);
    layout->text_ascii = (uint16_t)ascii;
    layout->text_compact = (uint16_t)(ascii + 16);
    layout->object_frame = (uint16_t)(header + 8); /* struct _frame: after f_back */
    return taken && layout->text_state == layout->text_hash + 8 && layout->bytes_data == layout->bytes_hash + 8;
}

/* What 3.13 and 3.14 name alike. */
#define OFFSETS_TAKEN(layout, table)                                                               \
    (offset_taken(&(layout)->finalizing, (table)->head.runtime.finalizing, 0x3fff) &&              \
     offset_taken(&(layout)->thread_frame, (table)->thread.current_frame, (table)->thread.size) && \
     offset_taken(&(layout)->thread_id, (table)->thread.thread_id, (table)->thread.size) &&        \
     offset_taken(&(layout)->previous, (table)->frame.previous, (table)->frame.size) &&            \
     offset_taken(&(layout)->code, (table)->frame.executable, (table)->frame.size) &&              \
     offset_taken(&(layout)->place, (table)->frame.instr_ptr, (table)->frame.size) &&              \
     offset_taken(&(layout)->owner, (table)->frame.owner, (table)->frame.size) &&                  \
     offset_taken(&(layout)->file, (table)->code.filename, (table)->code.size) &&                  \
     offset_taken(&(layout)->name, (table)->code.name, (table)->code.size) &&                      \
     offset_taken(&(layout)->qualified_name, (table)->code.qualname, (table)->code.size) &&        \
     offset_taken(&(layout)->line_table, (table)->code.linetable, (table)->code.size) &&           \
     offset_taken(&(layout)->first_line, (table)->code.firstlineno, (table)->code.size) &&         \
     offset_taken(&(layout)->bytecode, (table)->code.co_code_adaptive, (table)->code.size) &&      \
     objects_taken(layout, &(table)->objects, &(table)->values))

static bool layout_published(struct python_layout *layout, uint32_t version, const void *runtime)
{
    const struct published_head *head = runtime;
    if (memcmp(head->cookie, "xdebugpy", sizeof head->cookie) != 0 || head->version != version ||
        head->free_threaded > 1)
        return false;
    *layout = (struct python_layout){.frames = FRAMES_WITH_C_STACK, .free_threaded = head->free_threaded == 1};
    if (version >> 16 == 0x030d) {
        const struct published_3_13 *table = runtime;
        layout->text_state_shift = 2;
        return OFFSETS_TAKEN(layout, table);
    }
    const struct published_3_14 *table = runtime;
    layout->text_state_shift = layout->free_threaded ? 8 : 2;
    return OFFSETS_TAKEN(layout, table) &&
           (!layout->free_threaded ||
            (offset_taken(&layout->bytecode_index, table->frame.tlbc_index, table->frame.size) &&
             offset_taken(&layout->bytecodes, table->code.co_tlbc, table->code.size)));
}

static bool has_objects_of(const struct python_layout *layout, const struct python_layout *other)
{
    return layout->file == other->file && layout->name == other->name &&
           layout->qualified_name == other->qualified_name && layout->line_table == other->line_table &&
           layout->first_line == other->first_line && layout->bytes_size == other->bytes_size &&
           layout->bytes_hash == other->bytes_hash && layout->bytes_data == other->bytes_data &&
           layout->text_length == other->text_length && layout->text_hash == other->text_hash &&
           layout->text_state == other->text_state && layout->text_state_shift == other->text_state_shift &&
           layout->text_ascii == other->text_ascii;
}

static enum python_objects objects_of(const struct python_layout *layout)
{
    return has_objects_of(layout, &layout_3_9)    ? OBJECTS_OF_3_9
           : has_objects_of(layout, &layout_3_11) ? OBJECTS_OF_3_11
           : has_objects_of(layout, &layout_3_12) ? OBJECTS_OF_3_12
                                                  : OBJECTS_OF_THEIR_OWN;
}

bool layout_found(struct python_layout *layout, uint32_t version, const void *runtime)
{
    static const struct python_layout *const known[] = {
        [9] = &layout_3_9, [10] = &layout_3_10, [11] = &layout_3_11, [12] = &layout_3_12};
    enum { RELEASE_CANDIDATE = 0xc };
    unsigned minor = version >> 16 & 0xff, level = version >> 4 & 0xf;
    if (version >> 24 != 3 || minor < 9 || minor > 14 || level < RELEASE_CANDIDATE)
        return false;
    if (minor >= 13 && !layout_published(layout, version, runtime))
        return false;
    if (minor < 13)
        *layout = *known[minor];
    layout->version = version;
    layout->objects = objects_of(layout);
    return true;
}
