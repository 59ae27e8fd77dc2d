/* SPDX-License-Identifier: Apache-2.0 */
/* libgcc's unwinder: no system calls, and no locks where the C library has _dl_find_object. */
#define _GNU_SOURCE
#include <stddef.h>
#include <unwind.h>

#include "unwinder.h"

struct progress {
    const struct caller *from;
    struct walk *walk;
    bool is_beyond_own_frames;
};

static _Unwind_Reason_Code frame_visited(struct _Unwind_Context *context, void *data)
{
    struct progress *progress = data;
    struct frame_rule rule;
    uintptr_t pc = _Unwind_GetIP(context);
    if (pc == progress->from->return_address && _Unwind_GetCFA(context) == progress->from->stack_pointer)
        progress->is_beyond_own_frames = true;
    if (progress->is_beyond_own_frames && !frame_added(progress->walk, pc, &rule))
        return _URC_END_OF_STACK;
    return _URC_NO_REASON;
}

static void libgcc_walk(const struct caller *from, struct walk *walk)
{
    struct progress progress = {.from = from, .walk = walk};
    _Unwind_Backtrace(frame_visited, &progress);
}

const struct unwinder unwinder_libgcc = {"libgcc", libgcc_walk, NULL};
