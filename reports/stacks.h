/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules, frames and stacks of all processes, each once: two processes that run the same code have the same stacks.
 *
 *     process A, stack 17 = frames 3 < 9 < 12     ─┐
 *     process B, stack 40 = frames 8 < 2 < 31     ─┴─>  stack 5 = frames 1 < 2 < 3 of the database
 *
 * A stack of a Python program (FRAME_MIXED) is recorded in two parts, which are merged here: a native frame in the
 * interpreter's loop gives way to the Python frames that this call of it runs.
 *
 *     native   sqlite3_open < connect < EVAL < vectorcall < EVAL < main        EVAL: FRAME_EVAL
 *     Python   orders < handler (entry) < serve < <module> (entry)
 *     merged   sqlite3_open < connect < orders < handler < vectorcall < serve < <module> < main
 *
 * A module is the same if path and build-id are; a frame if module and offset are; a Python frame if file, function,
 * first line and instruction are. Ids count from 1 and are the ids of the database.
 */
#ifndef UNCLOSED_REPORTS_STACKS_H
#define UNCLOSED_REPORTS_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "map.h"
#include "trace_reader.h"

/* Texts live as long as the struct stacks. */
struct module {
    const char *path; /* "" : not known */
    uint8_t build_id[TRACE_BUILD_ID_MAX];
    size_t build_id_size;
};

struct code {             /* a Python code object */
    const char *file;     /* absolute where the process's directory is known, "<string>" and the like; "": not known */
    const char *function; /* the qualified name where there is one; never NULL */
    uint32_t first_line;
    uint32_t python_version;
    const unsigned char *line_table; /* as the interpreter keeps it; NULL: none */
    size_t line_table_size;
};

struct frame {
    enum trace_frame_type type;
    uint32_t owner; /* native: module id; Python: code id */
    uint64_t offset;
    bool entry; /* Python: FRAME_ENTRY */
    bool eval;  /* native: FRAME_EVAL */
};

struct stack {
    const uint32_t *frames; /* ids, innermost first */
    size_t depth;
    bool approximate; /* the parts did not fit together (all frames are there), or the shim says so */
};

struct stacks;
struct stacks *stacks_opened(void);
void stacks_closed(struct stacks *stacks);

/* From one trace's numbers to ids, kept while that trace is loaded; {0} is a new one. */
struct renumbering {
    struct map modules, codes, frames, stacks;
};
void renumbering_freed(struct renumbering *renumbering);

/* The id of a stack of `trace`. 0 for STACK_NONE; a stack that cannot be read is one frame of type FRAME_OTHER. */
int64_t stack_numbered(struct stacks *stacks, struct renumbering *renumbering, struct trace *trace, uint32_t stack);

/* Ids are 1 … count. Pointers are good until the next stack_numbered(). */
size_t module_count(const struct stacks *stacks);
size_t code_count(const struct stacks *stacks);
size_t frame_count(const struct stacks *stacks);
size_t stack_count(const struct stacks *stacks);
const struct module *module_at(const struct stacks *stacks, size_t id);
const struct code *code_at(const struct stacks *stacks, size_t id);
const struct frame *frame_at(const struct stacks *stacks, size_t id);
struct stack stack_at(const struct stacks *stacks, size_t id);

#endif
