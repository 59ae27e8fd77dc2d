/* SPDX-License-Identifier: Apache-2.0 */
/* Functions whose native frames mean something: the interpreter's loop, and destructors. */
#include "native_marks.h"

#include "../stack_memo.h"
#include "function_parts.h"

enum { MARKS_MAX = 128 };

/* Written once each, before it is counted; start is 0 of those that were unloaded. */
static struct native_mark {
    _Atomic uintptr_t start;
    uintptr_t end;
    uint32_t flag;
} marks[MARKS_MAX];
static _Atomic unsigned mark_count;
static _Atomic bool destructors_are_known;
static spinlock marks_lock;

static bool is_marked(uintptr_t start, uint32_t flag)
{
    for (unsigned i = 0; i < atomic_load(&mark_count); i++)
        if (atomic_load(&marks[i].start) == start && marks[i].flag == flag)
            return true;
    return false;
}

static bool part_marked(uintptr_t start, uintptr_t end, uint32_t flag)
{
    unsigned count = atomic_load(&mark_count);
    if (count == MARKS_MAX || is_marked(start, flag))
        return false;
    atomic_store(&marks[count].start, start);
    marks[count].end = end;
    marks[count].flag = flag;
    atomic_store_explicit(&mark_count, count + 1, memory_order_release);
    return true;
}

void function_marked(uintptr_t function, uint32_t flag)
{
    struct function_part parts[1 + FUNCTION_PARTS_MAX];
    bool is_new = false;
    if (!function_spanned(function, &parts[0].start, &parts[0].end))
        return;
    unsigned count = 1 + function_parts_found(parts[0].start, parts[0].end, &parts[1]);
    locked(&marks_lock);
    for (unsigned i = 0; i < count; i++)
        is_new |= part_marked(parts[i].start, parts[i].end, flag);
    unlocked(&marks_lock);
    if (is_new)
        memo_forgotten();
}

void destructor_known(uintptr_t function)
{
    atomic_store(&destructors_are_known, true);
    function_marked(function, FRAME_DESTRUCTOR);
}

bool is_a_destructor_known(void)
{
    return atomic_load_explicit(&destructors_are_known, memory_order_relaxed);
}

uint32_t flags_of_native_frame(uintptr_t instruction)
{
    uint32_t flags = 0;
    unsigned count = atomic_load_explicit(&mark_count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++) {
        uintptr_t start = atomic_load_explicit(&marks[i].start, memory_order_relaxed);
        if (start && instruction - start < marks[i].end - start)
            flags |= marks[i].flag;
    }
    return flags;
}

void marks_checked(void)
{
    for (unsigned i = 0; i < atomic_load(&mark_count); i++) {
        uintptr_t marked = atomic_load(&marks[i].start), start, end;
        if (marked && (!function_spanned(marked, &start, &end) || start != marked || end != marks[i].end))
            atomic_store(&marks[i].start, 0);
    }
}

void marks_forked(void)
{
    unlocked(&marks_lock);
}
