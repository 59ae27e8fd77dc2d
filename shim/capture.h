/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Native stacks: where did this call come from?
 *
 *     capture_stack ── seen here before, and every word that told so still the same? ──> the id it had   (tens of ns)
 *          │ no
 *          ├── every frame simple: walk by rules read from the unwind tables ──> intern, remember
 *          └── else: the unwinder (libunwind; libgcc where that must not be used) ──> intern
 *
 * Unwinding is a pure function of (return address, stack pointer, frame pointer), the words it reads from the stack and
 * the unwind tables. If all of these are what they were, the stack is what it was: exactly, not probably.
 *
 * Traps: comparing return addresses alone is not enough (a saved frame pointer decides where the next one lies); an
 * address without unwind tables (JIT, assembly) must end the stack, for guessing on would read wild memory; no lock is
 * held while the stack is read; nothing here allocates, opens a file, or (libunwind apart) makes a system call.
 *
 * Any thread may call capture_stack at any time, but not from a signal handler that interrupted it on the same thread.
 * errno may change.
 */
#ifndef UNCLOSED_SHIM_CAPTURE_H
#define UNCLOSED_SHIM_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

enum { CAPTURE_DEPTH_MAX = 256 };

/* The machine's state just after a function has returned into its caller. */
struct caller {
    uintptr_t return_address;
    uintptr_t stack_pointer; /* the function's canonical frame address */
    uintptr_t frame_pointer;
};

/* Of the function in which this is written; it gets a frame pointer by that. Not for functions with variables that need
 * more than 16 bytes of alignment: their frame begins elsewhere. */
#define CALLER_OF_THIS_FUNCTION() caller_of_frame((const uintptr_t *)__builtin_frame_address(0))

static inline struct caller caller_of_frame(const uintptr_t *frame)
{
    return (struct caller){
        .return_address = frame[1], .stack_pointer = (uintptr_t)(frame + 2), .frame_pointer = frame[0]};
}

/* Innermost frame first. pc[0] is caller.return_address. */
struct native_stack {
    unsigned count;
    bool truncated;                               /* outer frames are missing: depth limit, or no way to go on */
    uint64_t interrupted[CAPTURE_DEPTH_MAX / 64]; /* bit i: pc[i] is the instruction that a signal interrupted, else a
                                                     * return address, of which the call is the byte before */
    uintptr_t pc[CAPTURE_DEPTH_MAX];
};

static inline bool is_interrupted(const struct native_stack *stack, unsigned frame)
{
    return stack->interrupted[frame / 64] >> (frame % 64) & 1;
}

/* Gives a stack's id; 0: none (nothing will be remembered). Called without a lock; the stack is valid during the call. */
typedef uint32_t stack_interner(const struct native_stack *stack, void *context);

/* The id that `intern` gives, or gave to the same stack in the same epoch (whatever ids belong to: the trace's identity).
 * depth_limit: at most CAPTURE_DEPTH_MAX, frames further out are left off. The frames below `from` are never part of it:
 * `from` must be the caller of a function that has not returned yet. */
__attribute__((hot)) uint32_t capture_stack(const struct caller *from, unsigned depth_limit, uint64_t epoch,
                                            stack_interner *intern, void *context);

/* Primes both unwinders, compares them and chooses one. Once, before the first capture, without any lock held. Captures
 * made before it use libgcc. */
void capture_started(void);

/* In the child of a fork. If the parent had other threads, one of them may hold libunwind's locks for ever: libgcc from
 * now on. */
void capture_forked(bool parent_had_threads);

/* The process has sealed itself (seccomp): no system calls from now on. */
void capture_sealed(void);

/* Before and after a dlclose: what is known of addresses may be wrong from now on. */
void capture_modules_unloaded(void);

/* Where the function around an instruction begins and ends, as far as one entry of the unwind tables goes (a compiler may
 * have put rarely used parts elsewhere). False: no table. */
bool function_spanned(uintptr_t instruction, uintptr_t *start, uintptr_t *end);

/* "libunwind" or "libgcc": who unwinds what is not simple. */
const char *capture_method(void);

#endif
