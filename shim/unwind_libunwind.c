/* SPDX-License-Identifier: Apache-2.0 */
/* libunwind, private to the shim, for frames that no simple rule describes. */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include "unwinder.h"

#include <errno.h>
#include <libunwind.h>
#include <link.h>

enum { OWN_FRAMES_MAX = 32 };

/* The private libunwind calls these instead of dl_iterate_phdr, whose lock another thread may hold in dlopen, and
 * instead of pipe2, for it must not own file descriptors (the build renames its references). */
int unclosed_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data);
int unclosed_refused_pipe2(const int *ends, int flags);

/* data: libunwind's struct dwarf_callback_data (src/dwarf/Gfind_proc_info-lsb.c), which begins with the address that it
 * looks for. */
int unclosed_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
    const unw_word_t *address = data;
    struct loaded_object object = {.eh_frame_hdr = NULL};
    if (!loaded_object_found(*address, &object) || !object.headers)
        return 0;
    struct dl_phdr_info info = {.dlpi_name = object.name,
                                .dlpi_addr = object.bias,
                                .dlpi_phdr = object.headers,
                                .dlpi_phnum = (ElfW(Half))object.header_count};
    return callback(&info, sizeof info, data);
}

int unclosed_refused_pipe2(const int *ends, int flags)
{
    (void)ends, (void)flags;
    errno = EMFILE;
    return -1;
}

static bool is_at(unw_cursor_t *cursor, uintptr_t *pc, uintptr_t *stack_pointer)
{
    unw_word_t ip, sp;
    if (unw_get_reg(cursor, UNW_REG_IP, &ip) < 0 || unw_get_reg(cursor, UNW_REG_SP, &sp) < 0)
        return false;
    *pc = ip;
    *stack_pointer = sp;
    return true;
}

static void libunwind_walk(const struct caller *from, struct walk *walk)
{
    unw_context_t context;
    unw_cursor_t cursor;
    uintptr_t pc, stack_pointer;
    struct frame_rule rule;
    unsigned own = 0;
    if (unw_getcontext(&context) < 0 || unw_init_local(&cursor, &context) < 0)
        return;
    do {
        if (own++ == OWN_FRAMES_MAX || unw_step(&cursor) <= 0 || !is_at(&cursor, &pc, &stack_pointer))
            return;
    } while (stack_pointer != from->stack_pointer || pc != from->return_address);
    while (frame_added(walk, pc, &rule))
        if (unw_step(&cursor) <= 0 || !is_at(&cursor, &pc, &stack_pointer))
            return;
}

static void libunwind_forget(void)
{
    unw_flush_cache(unw_local_addr_space, 0, 0);
}

const struct unwinder unwinder_libunwind = {"libunwind", libunwind_walk, libunwind_forget};
