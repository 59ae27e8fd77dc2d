/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code objects: copied to TABLE_CODE once, and known again for certain.
 *
 * An address says nothing: code that was compiled at run time is freed, and the next lies where it lay, its name, file and
 * line table where those lay. So a code object is the one that was seen before only if its parts are at the same addresses
 * and hold the same: by the hash that the interpreter keeps in a str or bytes object, or where it has not computed one, by
 * comparison with our copy.
 *
 * Code that was not compiled in this process but loaded from a .pyc file is told by its line table, which has no hash then
 * (since 3.10). It lives as long as its module, so less is compared: addresses, first line, size of the table, and the name.
 */
#ifndef UNCLOSED_SHIM_PYTHON_CODE_H
#define UNCLOSED_SHIM_PYTHON_CODE_H

#include <stddef.h>
#include <string.h>

#include "../shim.h"
#include "interpreter.h"
#include "objects.h"

/* What tells a code object from any other that was or will be at its address. */
struct code_identity {
    uintptr_t file, name, qualified_name, line_table;
    uint64_t file_hash, name_hash, qualified_hash, line_table_hash; /* HASH_NOT_COMPUTED, until somebody needs it */
    uint32_t line_table_size;
    uint32_t first_line;
};

enum { LINE_TABLE_MAX = 65535 };
static const uint64_t HASH_NOT_COMPUTED = UINT64_MAX; /* -1 */

static inline struct code_identity identity_read(const struct python_layout *layout, uintptr_t code)
{
    struct code_identity identity = {.file = word_at(code, layout->file),
                                     .name = word_at(code, layout->name),
                                     .line_table = word_at(code, layout->line_table),
                                     .first_line = (uint32_t)number_at(code, layout->first_line)};
    identity.qualified_name = layout->qualified_name ? word_at(code, layout->qualified_name) : identity.name;
    identity.file_hash = word_at(identity.file, layout->text_hash);
    identity.name_hash = word_at(identity.name, layout->text_hash);
    identity.qualified_hash = word_at(identity.qualified_name, layout->text_hash);
    identity.line_table_hash = word_at(identity.line_table, layout->bytes_hash);
    identity.line_table_size = (uint32_t)word_at(identity.line_table, layout->bytes_size);
    return identity;
}

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

static inline bool is_loaded_from_file(const struct python_layout *layout, const struct code_identity *identity)
{
    return layout->version >= 0x030a0000 && identity->line_table_hash == HASH_NOT_COMPUTED &&
           identity->name_hash != HASH_NOT_COMPUTED;
}

/* … of which this is compared: differences are gathered, for many code objects, and 0 at the end if there were none. */
typedef uint64_t word_pair __attribute__((vector_size(16), aligned(8), may_alias));
struct differences {
    uint64_t word;
    word_pair pair;
};

static inline void file_identity_compared(const struct python_layout *layout, uintptr_t code,
                                          const struct code_identity *identity, struct differences *differences)
{
    uintptr_t name = word_at(code, layout->name), line_table = word_at(code, layout->line_table);
    if (layout->qualified_name == layout->file + 16 && layout->line_table == layout->file + 24) {
        const word_pair *are = (const word_pair *)(code + layout->file), *were = (const word_pair *)&identity->file;
        differences->pair |= (are[0] ^ were[0]) | (are[1] ^ were[1]);
    } else {
        uintptr_t qualified_name = layout->qualified_name ? word_at(code, layout->qualified_name) : name;
        differences->word |= (word_at(code, layout->file) ^ identity->file) | (name ^ identity->name) |
                             (qualified_name ^ identity->qualified_name) | (line_table ^ identity->line_table);
    }
    differences->word |= (word_at(name, layout->text_hash) ^ identity->name_hash) |
                         ((uint32_t)number_at(code, layout->first_line) ^ identity->first_line) |
                         ((uint32_t)word_at(line_table, layout->bytes_size) ^ identity->line_table_size);
}

/* What of it has no hash, and is compared with the record. */
enum unhashed_part {
    FILE_UNHASHED = 1u << 0,
    NAME_UNHASHED = 1u << 1,
    QUALIFIED_NAME_UNHASHED = 1u << 2,
    LINE_TABLE_UNHASHED = 1u << 3,
};

static inline unsigned unhashed_parts(const struct code_identity *identity)
{
    return (identity->file_hash == HASH_NOT_COMPUTED ? FILE_UNHASHED : 0) |
           (identity->name_hash == HASH_NOT_COMPUTED ? NAME_UNHASHED : 0) |
           (identity->qualified_hash == HASH_NOT_COMPUTED && identity->qualified_name != identity->name
                ? QUALIFIED_NAME_UNHASHED
                : 0) |
           (identity->line_table_hash == HASH_NOT_COMPUTED && identity->line_table_size ? LINE_TABLE_UNHASHED : 0);
}

/* Copies of these parts, where they lie in the trace. */
struct code_copies {
    const struct trace_string *file, *name, *qualified_name, *line_table;
};
struct code_copies code_copies(uint32_t number);

/* Whether a str reads as its copy. */
__attribute__((hot)) bool text_is(const struct python_layout *layout, uintptr_t text, const struct trace_string *copy);

/* Of a table that has no hash two words are compared: the one in the middle, and the last. */
static inline bool line_table_is(const struct python_layout *layout, uintptr_t table, uint32_t size,
                                 const struct trace_string *copy)
{
    enum { WORD = sizeof(uint64_t) };
    const char *bytes = (const char *)(table + layout->bytes_data);
    if (size < WORD || size > LINE_TABLE_MAX)
        return copy->length == (size < LINE_TABLE_MAX ? size : LINE_TABLE_MAX) &&
               memcmp(bytes, copy->text, copy->length) == 0;
    uint64_t is[2], was[2];
    memcpy(&is[0], bytes + (size - WORD) / 2, WORD);
    memcpy(&is[1], bytes + (size - WORD), WORD);
    memcpy(&was[0], copy->text + (size - WORD) / 2, WORD);
    memcpy(&was[1], copy->text + (size - WORD), WORD);
    return copy->length == size && ((is[0] ^ was[0]) | (is[1] ^ was[1])) == 0;
}

/* Whether these parts still read as they were copied. The identity, of a code object alive now, is the same as then. */
static inline bool parts_are_confirmed(const struct python_layout *layout, const struct code_identity *identity,
                                       unsigned parts, const struct code_copies *copies)
{
    return (!(parts & LINE_TABLE_UNHASHED) ||
            line_table_is(layout, identity->line_table, identity->line_table_size, copies->line_table)) &&
           (!(parts & FILE_UNHASHED) || text_is(layout, identity->file, copies->file)) &&
           (!(parts & QUALIFIED_NAME_UNHASHED) || text_is(layout, identity->qualified_name, copies->qualified_name)) &&
           (!(parts & NAME_UNHASHED) || text_is(layout, identity->name, copies->name));
}

/* The record of this code object; 0: the table is full (counted), or it is no code object. */
uint32_t code_recorded(const struct interpreter *interpreter, uintptr_t code, struct code_identity *identity);

/* In a forked child. */
void codes_forked(void);

#endif
