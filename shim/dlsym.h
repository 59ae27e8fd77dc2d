/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between dlsym.c and dlsym_<machine>.S.
 *
 * dlsym and dlvsym, as exported, ask where the look-up is to go on and jump there, so that the real ones see their real caller. That is
 * answered_dlsym for functions that we wrap. It gives stubs:
 *
 *   stub 7 ──> stub_binding (of the thread) = stubs[7].binding; jump to stubs[7].wrapper ──> wrapper: copy_bound_by_stub()
 */
#ifndef UNCLOSED_SHIM_DLSYM_H
#define UNCLOSED_SHIM_DLSYM_H

#define STUB_COUNT 512
#define STUB_SIZE 16 /* bytes of code */

#ifndef __ASSEMBLER__
#include <stdint.h>

#include "definitions.h"

struct stub {
    uint64_t binding; /* function + 1 | copy << 32 */
    function_address wrapper;
};

extern struct stub dlsym_stubs[STUB_COUNT] __attribute__((visibility("hidden")));
extern const char dlsym_stub_code[STUB_COUNT][STUB_SIZE] __attribute__((visibility("hidden")));
extern _Thread_local uint64_t stub_binding __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Where dlsym and dlvsym go on. */
function_address dlsym_destination(void *handle, const char *name) __attribute__((visibility("hidden")));
function_address dlvsym_destination(void *handle, const char *name) __attribute__((visibility("hidden")));
#endif

#endif
