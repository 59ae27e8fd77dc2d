/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that make their native frames FRAME_EVAL or FRAME_DESTRUCTOR: by their place in memory. */
#ifndef UNCLOSED_SHIM_PYTHON_NATIVE_MARKS_H
#define UNCLOSED_SHIM_PYTHON_NATIVE_MARKS_H

#include "python.h"

/* Stacks that are remembered without the mark are forgotten. Nothing happens if the function has no unwind table. */
HIDDEN void function_marked(uintptr_t function, uint32_t flag);

HIDDEN bool is_a_destructor_known(void);

/* Something was unloaded: marks of what is gone are. */
HIDDEN void marks_checked(void);

/* In a forked child. */
HIDDEN void marks_forked(void);

#endif
