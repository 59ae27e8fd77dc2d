/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of these handles does nothing in the process refer to any more?
 *
 * When a normal exit begins, a copy of the process (a raw clone: no exit signal, no atfork handlers) searches its own
 * frozen memory as a garbage collector would: from the roots (variables of all modules, thread-local storage, live
 * stacks, mappings that are not known to be malloc's) through glibc's heap blocks to whatever they point to. A handle
 * whose block was not reached is lost. Blocks count as reached by a pointer to any byte of them, in any aligned word,
 * whatever its top 16 bits hold; a handle's own block and rings of unreachable blocks prove nothing.
 *
 * It errs to one side: what looks like a reference is one. Stale words in reused memory hide leaks, so a report says
 * "at least". It cannot see pointers that are stored unaligned or encoded, nor those in MADV_WIPEONFORK memory, in memory
 * that may not be read, in files that are mapped for reading only, or in shared memory that has been swapped out.
 */
#ifndef UNCLOSED_SCAN_H
#define UNCLOSED_SCAN_H

#include <stddef.h>
#include <stdint.h>

enum reference {
    REFERENCE_UNKNOWN = 0, /* could not tell */
    REFERENCE_HELD = 1,    /* something reachable points to it */
    REFERENCE_LOST = 2,    /* nothing does */
    REFERENCE_IN_USE = 3,  /* nothing in memory does, but the thread that used it last lives: maybe a register */
};

struct scan_handle {
    uintptr_t address;      /* any value; what is no address of mapped memory stays UNKNOWN */
    uint32_t last_thread;   /* kernel id of the thread that used it last, 0: not known */
    uint8_t reference;      /* out: enum reference */
    uint8_t through_handle; /* out: 1 when HELD only by way of another listed handle's block, as a statement that
                                       its program has forgotten is by its connection */
    uint16_t reserved;
};

struct scan_range {
    uintptr_t start, end; /* end is the first address after it */
};

struct scan_request {
    struct scan_handle *handles; /* in MAP_SHARED memory: the copy writes the answers. Need not be in `ignored` */
    size_t count;
    const struct scan_range *ignored; /* memory that proves nothing: ours (trace, the shim's variables in every thread,
                                           memo), and blocks of malloc from their first byte on whose contents are no
                                           pointers (stdio's buffers). Any order, may overlap, need not be mapped */
    size_t ignored_count;
    uint64_t time_limit_ns;  /* for all of it; what was found HELD until then stands, the rest is UNKNOWN */
    uintptr_t stack_pointer; /* SCAN_STACK_POINTER(), taken where the host called us: the calling thread's stack is
                                       live from exactly there upwards */
};

enum scan_outcome {
    SCAN_DONE, /* each handle in glibc's heap has its verdict */
    SCAN_TIMED_OUT,
    SCAN_FAILED,       /* a system call did not work; all UNKNOWN */
    SCAN_NOT_POSSIBLE, /* another allocator, or memory that the copy lacks: nothing is LOST, HELD stands */
};

/*
 * The stack pointer of the calling function, after it has put all of its caller's registers on the stack: a local
 * variable of the function that called exit() may live in one of them only. To be used in the very function that the
 * host called (the wrapper). That function must hold no handle in its own variables, must not have the search inlined
 * into it (its frame counts as the host's), and must not end in a call of it (its frame must still be there).
 */
#define SCAN_STACK_POINTER() (__builtin_unwind_init(), scan_current_stack_pointer())

static inline __attribute__((always_inline)) uintptr_t scan_current_stack_pointer(void)
{
    uintptr_t pointer;
#if defined(__x86_64__)
    __asm__ volatile("mov %%rsp, %0" : "=r"(pointer));
#elif defined(__aarch64__)
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
#endif
    return pointer;
}

/*
 * Answers for all handles of the request. Any thread may call it; it holds the calling thread for up to the time limit
 * (and a tenth of a second), other threads run on. It changes nothing in the host: errno, descriptors (some are opened
 * and closed on the way), memory, signal mask and children are as before; a signal handler may run while it waits.
 * Not to be called where a seccomp filter may forbid clone. `*reason` becomes a static sentence saying what was not
 * possible, or NULL.
 */
enum scan_outcome scan_references(struct scan_request *request, const char **reason);

#endif
