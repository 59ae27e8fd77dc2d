/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unwinders behind capture: one table of functions each. All walk the calling thread's stack, leave out the frames
 * below `from`, and ask frame_added() before they step out of a frame, so that none steps where no table leads.
 */
#ifndef UNCLOSED_SHIM_UNWINDER_H
#define UNCLOSED_SHIM_UNWINDER_H

#include "capture.h"
#include "frame_rules.h"

enum walk_end {
    WALK_COMPLETE,  /* the outermost frame says that it is the outermost */
    WALK_TRUNCATED, /* depth limit, or an address without unwind tables */
    WALK_FAILED,    /* this unwinder could not go on; another one might */
};

struct walk {
    struct native_stack *stack; /* of count 0 at the beginning */
    unsigned depth_limit;
    enum walk_end end; /* WALK_FAILED until frame_added() knows better */
};

struct unwinder {
    const char *name;
    void (*walk)(const struct caller *from, struct walk *walk);
    void (*forget)(void); /* drop every cache; NULL: has none */
};

extern const struct unwinder unwinder_libunwind;
extern const struct unwinder unwinder_libgcc;

/* The walk has reached this frame. True with its rule if the frame may be left outward; else walk->end says why not. */
bool frame_added(struct walk *walk, uintptr_t pc, struct frame_rule *rule);

#endif
