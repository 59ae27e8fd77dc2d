/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chain of Python frames of a thread, as it is in memory: which code, at which instruction.
 *
 *     f   code 0x7f…a0, at 0x7f…b64
 *     g   code 0x7f…30, at 0x7f…c12, ENTRY       f and g run in one call of the interpreter's loop, h in another
 *     h   code 0x7f…e8, at 0x7f…d02, ENTRY
 *
 * It belongs to the calling thread, which is inside a call that one of these frames made: nobody changes it meanwhile.
 */
#ifndef UNCLOSED_SHIM_PYTHON_CHAIN_H
#define UNCLOSED_SHIM_PYTHON_CHAIN_H

#include "../capture.h"
#include "layouts.h"

enum { CHAIN_MAX = CAPTURE_DEPTH_MAX, CHAIN_ENTRY = 1 };

struct python_chain {
    unsigned count;
    bool is_cut; /* there are more frames further out */
    uint64_t hash;
    uintptr_t code
        [CHAIN_MAX]; /* 0: a call of the loop whose frame has left the chain, but not yet freed what it held (3.12) */
    uintptr_t place
        [CHAIN_MAX]; /* of the instruction: address, or offset in bytes; CHAIN_ENTRY where the call of the loop ends */
};

/* `frame` is the innermost (_PyInterpreterFrame; up to 3.10 a frame object), or 0. limit: at most CHAIN_MAX. */
__attribute__((hot)) void chain_walked(const struct python_layout *layout, uintptr_t frame, unsigned limit,
                                       struct python_chain *chain);

/* Where in the code's bytes (co_code) the frame's instruction begins. */
uint32_t chain_offset(const struct python_layout *layout, uintptr_t code, uintptr_t place);

#endif
