/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreters that are loaded: the program itself, libpython, or several, each with its layout and what of it may be
 * called without the GIL. Looked for among all loaded objects, again when something was loaded.
 */
#ifndef UNCLOSED_SHIM_PYTHON_INTERPRETER_H
#define UNCLOSED_SHIM_PYTHON_INTERPRETER_H

#include <stdatomic.h>

#include "layout.h"

enum { INTERPRETERS_MAX = 8 };

struct interpreter {
    _Atomic bool is_loaded;
    struct python_layout layout;
    uintptr_t runtime; /* _PyRuntime */
    uintptr_t code_type, text_type, bytes_type, frame_type;
    uintptr_t loop_start;            /* _PyEval_EvalFrameDefault */
    uintptr_t (*thread_state)(void); /* PyGILState_GetThisThreadState: the calling thread's, or 0 */
    int (*is_initialized)(void);
    /* To 3.11, where a thread has a state in each of several interpreters: PyInterpreterState_Head and so on. */
    uintptr_t (*first_interpreter)(void), (*next_interpreter)(uintptr_t);
    uintptr_t (*first_thread)(uintptr_t), (*next_thread)(uintptr_t);
    int (*lock_tried)(void *lock, long long microseconds, int interruptible); /* PyThread_acquire_lock_timed */
    void (*unlock)(void *lock);
};

/* How many of the places are in use. Each is written once, before it is counted. */
extern _Atomic unsigned interpreter_count __attribute__((visibility("hidden")));
extern struct interpreter interpreters[INTERPRETERS_MAX] __attribute__((visibility("hidden")));

/* Where the calling thread's frames begin (its innermost frame); 0: it has none, or they must not be read now, because
 * another thread is finalizing the interpreter. *is_doubtful is set if they may be those of an interpreter further out. */
__attribute__((hot)) uintptr_t innermost_frame(const struct interpreter *interpreter, bool *is_doubtful);

/* What has been found so far: enum trace_python, of the first interpreter, and its PY_VERSION_HEX. */
uint32_t interpreters_described(uint32_t *version);

/* Looks for interpreters if anything was loaded since the last time. True if one was found that was not there before. */
bool interpreters_looked_for(void);

/* Around each dlclose. What could be gone after it, because it is not initialized, is not asked in between. */
void interpreters_unloading(void);
void interpreters_unloaded(void);

/* In a forked child. */
void interpreters_forked(void);

#endif
