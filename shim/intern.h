/* SPDX-License-Identifier: Apache-2.0 */
/* Finding or adding a record by its content; see intern.c. */
#ifndef UNCLOSED_SHIM_INTERN_H
#define UNCLOSED_SHIM_INTERN_H

#include "shim.h"

struct interning {
    enum trace_table_id index;
    enum trace_loss loss; /* counted when the index is full */
    bool (*is_equal)(uint32_t number, const void *key);
    uint32_t (*added)(const void *key); /* under the index's lock: the new record's number, 0 when full (counted) */
};

/* The number of the record that equals `key`; 0: it is not there and cannot be added. */
HIDDEN uint32_t interned(const struct interning *what, const void *key, uint64_t hash);

/* A code object's line table: any bytes, at most 65535 of them. 0: table full. */
HIDDEN uint32_t line_table_interned(const char *bytes, size_t length);

/* A frame; a stack's node: `frame` below the stack `parent` (0: outermost). 0: table full, or one of both is missing. */
HIDDEN uint32_t frame_interned(struct trace_frame frame);
HIDDEN uint32_t node_interned(uint32_t parent, uint32_t frame);

#endif
