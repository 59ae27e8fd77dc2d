/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call trees made at random from functions whose frames differ in kind: what compilers, libraries and coroutines do to
 * a stack. A script is a sequence of shapes; running it calls them nested in that order and visits the innermost.
 */
#ifndef UNCLOSED_TESTS_CALL_SHAPES_H
#define UNCLOSED_TESTS_CALL_SHAPES_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { SCRIPT_LENGTH_MAX = 14, SCRIPTS = 160, FIBERS_MAX = 2 };

struct script {
    uint8_t shapes[SCRIPT_LENGTH_MAX];
    unsigned length;
};

struct fiber;

/* One thread's. */
struct run {
    void (*visit)(struct run *run); /* called two times by the innermost function, and in different ones */
    void *visitor;
    uint64_t random; /* state of the generator */
    struct script scripts[SCRIPTS];
    const struct script *script;
    unsigned at;     /* in script */
    unsigned fibers; /* that this call is in */
    struct fiber *fiber;
    bool is_on_signal_stack;
    jmp_buf *target; /* NULL: nowhere to jump to */
    volatile uint64_t sink;
    char *fiber_stacks, *signal_stack;
};

enum { STACK_SIZE = 192 * 1024 };

#ifdef __clang__
#define NO_CLONE
#define OPTIMIZED(how)
#else
#define NO_CLONE , noclone
#define OPTIMIZED(how) __attribute__((optimize(how)))
#endif
/* AddressSanitizer takes a fiber's frames for overflows of the block that they are in. */
#define OUT_OF_LINE __attribute__((noinline, no_sanitize("address") NO_CLONE))

/* ThreadSanitizer keeps a stack of its own, which fibers and jumps out of handlers leave behind. */
#ifdef __SANITIZE_THREAD__
enum { HAS_OWN_STACK_ONLY = true };
#else
enum { HAS_OWN_STACK_ONLY = false };
#endif

typedef void shape(struct run *run);
static shape *next_shape(struct run *run);

static __thread struct run *running;

static uint64_t next_random(struct run *run, uint64_t below)
{
    run->random ^= run->random << 13;
    run->random ^= run->random >> 7;
    run->random ^= run->random << 17;
    return run->random % below;
}

/* What a shape does between its prologue and its epilogue: the next one, and then something, lest it be a tail call. */
#define CALL_NEXT(run)             \
    do {                           \
        unsigned here = (run)->at; \
        next_shape(run)(run);      \
        (run)->at = here;          \
        (run)->sink++;             \
    } while (0)

OUT_OF_LINE static void plain(struct run *run)
{
    CALL_NEXT(run);
}

OUT_OF_LINE OPTIMIZED("omit-frame-pointer") static void with_variables(struct run *run)
{
    volatile uint64_t variables[9] = {run->at};
    CALL_NEXT(run);
    run->sink += variables[0];
}

OUT_OF_LINE OPTIMIZED("no-omit-frame-pointer") static void with_frame_pointer(struct run *run)
{
    volatile uint64_t variables[5] = {run->at};
    CALL_NEXT(run);
    run->sink += variables[0];
}

OUT_OF_LINE static void with_variable_array(struct run *run)
{
    volatile char bytes[16 * (1 + next_random(run, 4))];
    bytes[0] = 1;
    CALL_NEXT(run);
    run->sink += (uint64_t)bytes[0];
}

/* Callee-saved registers, the frame pointer's among them, hold values that change with every call. */
OUT_OF_LINE OPTIMIZED("omit-frame-pointer") static void with_busy_registers(struct run *run)
{
    uint64_t a = next_random(run, 999), b = next_random(run, 999), c = a * b + 1, d = a ^ c, e = b + d, f = c - e;
    CALL_NEXT(run);
    run->sink += a + 3 * b;
    CALL_NEXT(run);
    run->sink += c + 5 * d + (e ^ f) + a * f;
}

OUT_OF_LINE __attribute__((force_align_arg_pointer)) static void realigned(struct run *run)
{
    volatile char aligned[64] __attribute__((aligned(64)));
    aligned[0] = (char)run->at;
    CALL_NEXT(run);
    run->sink += (uint64_t)aligned[0];
}

OUT_OF_LINE static void realigned_with_variable_array(struct run *run)
{
    volatile char aligned[32] __attribute__((aligned(128)));
    volatile char bytes[32 * (1 + next_random(run, 2))];
    aligned[0] = bytes[0] = (char)run->at;
    CALL_NEXT(run);
    run->sink += (uint64_t)(aligned[0] + bytes[0]);
}

OUT_OF_LINE OPTIMIZED("optimize-sibling-calls") static void by_tail_call(struct run *run)
{
    volatile uint64_t variables[30] = {run->at};
    run->sink += variables[0];
    next_shape(run)(run);
}

OUT_OF_LINE static int item_compared(const void *one, const void *other)
{
    (void)other;
    struct run *run = running;
    if (one && run->sink % 2 == 0)
        run->sink++;
    CALL_NEXT(run);
    return 0;
}

OUT_OF_LINE static void through_library(struct run *run)
{
    int items[2] = {1, 2}, key = 1;
    run->sink += bsearch(&key, items, 1 + next_random(run, 2), sizeof items[0], item_compared) != NULL;
}

OUT_OF_LINE static void with_jump_target(struct run *run)
{
    struct run before = *run;
    jmp_buf target;
    if (setjmp(target) == 0) {
        running->target = &target;
        CALL_NEXT(running);
    }
    running->at = before.at;
    running->fibers = before.fibers;
    running->fiber = before.fiber;
    running->is_on_signal_stack = before.is_on_signal_stack;
    running->target = before.target;
    CALL_NEXT(running);
}

/* --- signals ---------------------------------------------------------------------------------------------------------- */

OUT_OF_LINE static void handler(int signal)
{
    (void)signal;
    CALL_NEXT(running);
}

OUT_OF_LINE static void in_signal_handler(struct run *run)
{
    if (HAS_OWN_STACK_ONLY)
        CALL_NEXT(run);
    else
        raise(SIGUSR1);
    run->sink++;
}

OUT_OF_LINE static void in_signal_handler_on_its_stack(struct run *run)
{
    jmp_buf *outer = run->target;
    if (run->is_on_signal_stack || run->fibers > 0 || HAS_OWN_STACK_ONLY) {
        CALL_NEXT(run);
        return;
    }
    run->is_on_signal_stack = true;
    run->target = NULL;
    raise(SIGUSR2);
    run->is_on_signal_stack = false;
    run->target = outer;
}

/* --- coroutines ------------------------------------------------------------------------------------------------------- */

struct fiber {
    ucontext_t inside, outside;
    bool is_done;
};

OUT_OF_LINE static void fiber_main(void)
{
    struct run *run = running;
    struct fiber *fiber = run->fiber;
    CALL_NEXT(run);
    fiber->is_done = true;
}

OUT_OF_LINE static void resumed(struct run *run, struct fiber *fiber, unsigned bytes)
{
    volatile char deeper[bytes];
    deeper[0] = 1;
    swapcontext(&fiber->outside, &fiber->inside);
    run->sink += (uint64_t)deeper[0];
}

OUT_OF_LINE static void in_fiber(struct run *run)
{
    struct fiber fiber = {.is_done = false}, *outer = run->fiber;
    jmp_buf *target = run->target;
    if (run->fibers == FIBERS_MAX || HAS_OWN_STACK_ONLY) {
        CALL_NEXT(run);
        return;
    }
    getcontext(&fiber.inside);
    fiber.inside.uc_stack.ss_sp = run->fiber_stacks + (size_t)STACK_SIZE * run->fibers;
    fiber.inside.uc_stack.ss_size = STACK_SIZE;
    fiber.inside.uc_link = &fiber.outside;
    makecontext(&fiber.inside, fiber_main, 0);
    run->fibers++;
    run->fiber = &fiber;
    run->target = NULL;
    for (unsigned bytes = 16; !fiber.is_done; bytes += 48)
        resumed(run, &fiber, bytes);
    run->fibers--;
    run->fiber = outer;
    run->target = target;
}

/* --- scripts ---------------------------------------------------------------------------------------------------------- */

OUT_OF_LINE static void innermost(struct run *run)
{
    run->visit(run);
    if (run->fiber && !run->is_on_signal_stack && next_random(run, 3) == 0)
        swapcontext(&run->fiber->inside, &run->fiber->outside);
    run->visit(run);
    if (run->target && next_random(run, 3) == 0)
        longjmp(*run->target, 1);
}

OUT_OF_LINE static void innermost_with_variables(struct run *run)
{
    volatile uint64_t variables[9] = {run->at};
    run->visit(run);
    run->visit(run);
    run->sink += variables[0];
}

static shape *const shapes[] = {plain,
                                with_variables,
                                with_frame_pointer,
                                with_variable_array,
                                with_busy_registers,
                                realigned,
                                realigned_with_variable_array,
                                by_tail_call,
                                through_library,
                                with_jump_target,
                                in_fiber,
                                plain,
                                with_variables,
                                with_frame_pointer,
                                with_variable_array,
                                through_library};
static shape *const signal_shapes[] = {in_signal_handler, in_signal_handler_on_its_stack};
enum { SHAPES = sizeof shapes / sizeof shapes[0], SIGNAL_SHAPES = 2 };

static shape *next_shape(struct run *run)
{
    if (run->at == run->script->length)
        return run->script->length % 2 ? innermost : innermost_with_variables;
    unsigned number = run->script->shapes[run->at++];
    return number < SHAPES ? shapes[number] : signal_shapes[number - SHAPES];
}

/* Scripts depend on the seed alone. For the calling thread; takes SIGUSR1 and SIGUSR2. */
static void run_prepared(struct run *run, uint64_t seed)
{
    *run = (struct run){.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    run->fiber_stacks = calloc(FIBERS_MAX, STACK_SIZE);
    run->signal_stack = calloc(1, STACK_SIZE);
    for (unsigned i = 0; i < SCRIPTS; i++) {
        struct script *script = &run->scripts[i];
        bool with_signals = i % 6 == 0;
        script->length = (unsigned)(2 + next_random(run, SCRIPT_LENGTH_MAX - 1));
        for (unsigned at = 0; at < script->length; at++)
            script->shapes[at] = (uint8_t)next_random(run, SHAPES + (with_signals ? SIGNAL_SHAPES : 0));
    }
    stack_t stack = {.ss_sp = run->signal_stack, .ss_size = STACK_SIZE};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NODEFER};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_flags |= SA_ONSTACK;
    sigaction(SIGUSR2, &action, NULL);
    running = run;
}

static void run_released(struct run *run)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    free(run->fiber_stacks);
    free(run->signal_stack);
    running = NULL;
}

static void random_script_run(struct run *run)
{
    run->script = &run->scripts[next_random(run, SCRIPTS)];
    run->at = 0;
    run->fibers = 0;
    run->fiber = NULL;
    run->is_on_signal_stack = false;
    run->target = NULL;
    next_shape(run)(run);
}

#endif
