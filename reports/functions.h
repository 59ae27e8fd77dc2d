/* SPDX-License-Identifier: Apache-2.0 */
/*
 * functions.h: names of functions from ELF symbol tables. Not thread-safe.
 */
#ifndef UNCLOSED_REPORTS_FUNCTIONS_H
#define UNCLOSED_REPORTS_FUNCTIONS_H

#include "binary.h"
#include "spans.h"

struct functions { /* all zero: empty */
    struct spans spans;
    const char **names; /* spans' payload; they live in the ELF files */
    size_t count, room;
};

/* Reads the fullest table there is. Out of memory leaves some out. */
void functions_read(struct functions *functions, const struct binary *binary);
/* The linkage name as it is in the table, NULL: no function is known to hold that address. Of several names the one
 * that the most would know it by: global before local, write before __write. */
const char *function_at(const struct functions *functions, uint64_t address);
void functions_freed(struct functions *functions);

#endif
