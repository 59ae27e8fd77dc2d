/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compilers put parts of a function that they take for rarely used elsewhere (NAME.cold), with an entry in the unwind tables
 * of its own, and no symbol. gcc 16 takes most of Python's loop for such. They are found by the jumps that lead there.
 */
#ifndef UNCLOSED_SHIM_PYTHON_FUNCTION_PARTS_H
#define UNCLOSED_SHIM_PYTHON_FUNCTION_PARTS_H

#include <stdint.h>

enum { FUNCTION_PARTS_MAX = 4 };

struct function_part {
    uintptr_t start, end;
};

/* Writes the parts that the function at [start, end) has elsewhere, at most FUNCTION_PARTS_MAX; returns how many. */
unsigned function_parts_found(uintptr_t start, uintptr_t end, struct function_part *parts);

#endif
