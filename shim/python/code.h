/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code objects: copied to TABLE_CODE once, and known again for certain.
 *
 * An address says nothing: code that was compiled at run time is freed, and the next lies where it lay, its name, file and
 * line table where those lay. So a code object is the one that was seen before only if its parts are at the same addresses
 * and hold the same: by the hash that the interpreter keeps in a str or bytes object, or where it has not computed one, by
 * comparison with our copy (of a line table, of parts of it: those without a hash come from a file, and do not change).
 */
#ifndef UNCLOSED_SHIM_PYTHON_CODE_H
#define UNCLOSED_SHIM_PYTHON_CODE_H

#include <stddef.h>

#include "interpreter.h"
#include "objects.h"

/* All that a code object's record is made of. */
struct code_identity {
    uintptr_t code, file, name, qualified_name, line_table;
    uint64_t file_hash, name_hash, qualified_hash, line_table_hash;
    uint32_t first_line;
    uint32_t line_table_size;
};

enum { LINE_TABLE_MAX = 65535 };
static const uint64_t HASH_NOT_COMPUTED = UINT64_MAX; /* -1 */

static inline struct code_identity identity_read(const struct python_layout *layout, uintptr_t code)
{
    struct code_identity identity = {.code = code,
                                     .file = word_at(code, layout->file),
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

/* The record of this code object; 0: the table is full (counted), or it is no code object. */
uint32_t code_recorded(const struct interpreter *interpreter, uintptr_t code, struct code_identity *identity);

static inline bool has_all_hashes(const struct code_identity *identity)
{
    return identity->file_hash != HASH_NOT_COMPUTED && identity->name_hash != HASH_NOT_COMPUTED &&
           identity->qualified_hash != HASH_NOT_COMPUTED && identity->line_table_hash != HASH_NOT_COMPUTED;
}

/* Whether the parts that have no hash still read as in the record; of the file's name that may be known already. The
 * identity, of a code object alive now, is equal to that of `number`'s when it was recorded. */
__attribute__((hot)) bool identity_is_confirmed(const struct python_layout *layout,
                                                const struct code_identity *identity, uint32_t number,
                                                bool file_is_known);

/* In a forked child. */
void codes_forked(void);

#endif
