/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h: the functions, files and lines at an address, from DWARF.
 *
 * Units and functions are indexed when an address in them is first asked for. Not thread-safe. Whatever a corrupt file
 * holds, as far as libdw survives it, the outcome is fewer calls or odd names.
 */
#ifndef UNCLOSED_REPORTS_CALLS_H
#define UNCLOSED_REPORTS_CALLS_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool.h"

struct call {
    const char *name;         /* as declared, with its namespaces and classes: "app::Pool::open"; NULL: unknown */
    const char *linkage_name; /* NULL: not recorded, or is_plain */
    bool is_plain;            /* C: the name is the linkage name; where symbol tables have another, they tell of
                                         * how the library was made (__GI_qsort), which nobody asked */
    const char *file;         /* where in this function: NULL, 0, 0 if unknown */
    int line, column;
};

struct calls;

/* Strings go into `texts`, which must live as long; so must `dwarf`. directory: where its file lies, NULL if unknown;
 * split units (.dwo) are looked for there, too. NULL: out of memory. */
struct calls *calls_opened(struct pool *texts, Dwarf *dwarf, const char *directory);
void calls_closed(struct calls *calls); /* NULL is fine */

/*
 * Innermost inlined call first, the function itself last. Where only the line is known, one call without name.
 * Of more than `capacity` (at least 2) those in the middle are left out. Returns how many; 0: nothing known.
 */
size_t calls_found(struct calls *calls, uint64_t address, struct call *found, size_t capacity);

#endif
