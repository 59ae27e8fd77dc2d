/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line of an instruction, from the table that a code object keeps: co_lnotab up to CPython 3.9, co_linetable of 3.10
 * (PEP 626), the location table from 3.11 on. After Objects/lnotab_notes.txt and Objects/locations.md (Internal
 * documentation "Locations table") of CPython.
 *
 *     first_line 10, table {6, 1, 8, 2} of 3.9:   bytes 0…5 are line 10, 6…13 line 11, from 14 on line 13
 *
 * Any bytes are fit to be a table: what leads nowhere gives an answer, never a crash, in time linear in its size.
 */
#ifndef UNCLOSED_REPORTS_PYTHON_LINES_H
#define UNCLOSED_REPORTS_PYTHON_LINES_H

#include <stddef.h>
#include <stdint.h>

struct python_line_table {
    uint32_t python_version; /* PY_VERSION_HEX */
    uint32_t first_line;
    const unsigned char *bytes; /* NULL: none */
    size_t size;
};

/*
 * The line of the instruction at byte `offset` of the code, from 1. An instruction that the compiler made by itself has
 * none: then that of the one before it. The function's first line where the table does not reach; 0 if that is not
 * known either.
 */
int python_line(const struct python_line_table *table, uint64_t offset);

#endif
