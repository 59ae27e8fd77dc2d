/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python in this process: which interpreter, and the calling thread's Python frames, read without the GIL.
 *
 *     stack_here()  ── native part (capture.h) ──┐
 *                   ── Python part: chain.h, ────┴─> FRAME_MIXED {native stack 23, Python stack 31}
 *                      remembered as in stack_memo.h
 *
 * A thread's own frame chain cannot change while it is inside our wrapper, so it is walked directly; a frame keeps its
 * code object alive. Layouts are known by version (3.9 to 3.12), from the interpreter's own table of offsets from 3.13 on
 * (_Py_DebugOffsets). An interpreter that is not known gives no frames, and the trace says so (trace_process.python).
 *
 * Traps: the frame of a function that returns leaves the chain before what it held is freed (3.12); another thread may begin
 * to finalize; a handler of a signal that interrupted the interpreter finds the chain half changed (no Python part then).
 *
 * Callers are in the guard and record. No lock is held while frames are read. Nothing of Python is called but functions
 * that need no GIL.
 */
#ifndef UNCLOSED_SHIM_PYTHON_H
#define UNCLOSED_SHIM_PYTHON_H

#include "../shim.h"

struct python_part {
    uint32_t stack;     /* TABLE_STACK, of FRAME_PYTHON frames only; 0: there are none */
    bool approximate;   /* it was cut, or what was found did not make sense */
    bool in_destructor; /* one of the innermost frames is a method __del__ */
};

/* The Python frames of the calling thread, from its innermost out; or from `frame` (a PyFrameObject that the caller keeps
 * alive, holding the GIL) out, if that is not NULL. */
HIDDEN HOT struct python_part python_part_here(const void *frame);

/* The stack of both parts; native 0: none given. part->stack is not 0. */
HIDDEN HOT uint32_t stack_mixed(uint32_t native, const struct python_part *part);

/* An interpreter is loaded (looked for again when something was loaded). */
HIDDEN bool python_is_present(void);

/* An interpreter whose frames can be read was loaded when this was last looked for: one load. */
extern HIDDEN _Atomic unsigned interpreter_count;
static inline bool python_has_frames(void)
{
    return unlikely(atomic_load_explicit(&interpreter_count, memory_order_acquire) != 0);
}

/* Py_Finalize has begun. */
HIDDEN bool python_is_finalizing(void);

/* Native frames in this function are FRAME_DESTRUCTOR from now on. */
HIDDEN void destructor_known(uintptr_t function);

/* Was what has this (mixed) stack done by the garbage collector: below a destructor, or below a method `__del__`? O(1) for
 * a mixed stack. */
HIDDEN bool is_in_destructor(uint32_t stack);

/* --- for who captures, and for the life cycle ------------------------------------------------------------------------- */

/* FRAME_EVAL and FRAME_DESTRUCTOR, for an instruction (of a frame that made a call: within it). */
HIDDEN uint32_t flags_of_native_frame(uintptr_t instruction);

/* A stack goes through this module. If none did before, an interpreter may have been loaded, and is looked for: whoever runs
 * Python frames has its loop on the stack. (Not at each capture: the list of what is loaded has a lock.) */
HIDDEN void python_looked_for(uint32_t module);

/* A trace has begun: it is told what is known; in a forked child too (`forked`), where nothing is remembered then. */
HIDDEN void python_recording_began(bool forked);

/* Around each dlclose. */
HIDDEN void python_modules_unloading(void);
HIDDEN void python_modules_unloaded(bool something_was_unloaded);

#endif
