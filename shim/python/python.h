/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python in this process: which interpreter, and the calling thread's Python frames, read without the GIL.
 *
 * A thread's own frame chain cannot change while it is inside our wrapper, so it is walked directly; a frame keeps its
 * code object alive. Layouts are known by version (3.9 to 3.12), from the interpreter's own table of offsets from 3.13 on
 * (_Py_DebugOffsets). An interpreter that is not known gives no frames, and the trace says so (trace_process.python).
 *
 * Callers are in the guard and record. No lock is held while frames are read. Nothing of Python is called but functions
 * that need no GIL.
 */
#ifndef UNCLOSED_SHIM_PYTHON_H
#define UNCLOSED_SHIM_PYTHON_H

#include "../shim.h"

struct python_part {
    uint32_t stack;   /* TABLE_STACK, of FRAME_PYTHON frames only; 0: there are none */
    bool approximate; /* it was cut, or what was found did not make sense */
};

/* The Python frames of the calling thread, from its innermost out; or from `frame` (a PyFrameObject that the caller keeps
 * alive, holding the GIL) out, if that is not NULL. */
HIDDEN HOT struct python_part python_part_here(const void *frame);

/* An interpreter is loaded (looked for again when something was loaded). */
HIDDEN bool python_is_present(void);

/* Py_Finalize has begun. */
HIDDEN bool python_is_finalizing(void);

/* Native frames in this function are FRAME_DESTRUCTOR from now on. */
HIDDEN void destructor_known(uintptr_t function);

/* Was what has this (mixed) stack done by the garbage collector: below a destructor, or below a method `__del__`? O(1). */
HIDDEN bool is_in_destructor(uint32_t stack);

#endif
