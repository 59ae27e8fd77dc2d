/* SPDX-License-Identifier: Apache-2.0 */
/* build: shim -fno-optimize-sibling-calls */
/*
 * What one stack capture costs, against the unwinders themselves, on the same stack and interleaved with them.
 *
 *     bench_capture [DEPTH]            native frames, 28 by default
 *
 * remembered: the same stack again.  walked: known places, but a stack that is not remembered (another epoch each time).
 */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unwind.h>

#include "capture.h"

enum { ROUNDS = 101, CALLS = 2000, FRAMES_MAX = 128 };

static volatile unsigned result;

static uint32_t depth_interned(const struct native_stack *stack, void *context)
{
    (void)context;
    return stack->count;
}

static uint64_t epoch;

__attribute__((noinline)) static void remembered(void)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    result = capture_stack(&from, CAPTURE_DEPTH_MAX, 1, depth_interned, NULL);
}

__attribute__((noinline)) static void walked(void)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    result = capture_stack(&from, CAPTURE_DEPTH_MAX, ++epoch + 1, depth_interned, NULL);
}

__attribute__((noinline)) static void by_libunwind(void)
{
    void *frames[FRAMES_MAX];
    result = (unsigned)unw_backtrace(frames, FRAMES_MAX) - 1;
}

static _Unwind_Reason_Code frame_counted(struct _Unwind_Context *context, void *count)
{
    *(volatile uintptr_t *)count = *(volatile uintptr_t *)count + (_Unwind_GetIP(context) != 0);
    return _URC_NO_REASON;
}

__attribute__((noinline)) static void by_libgcc(void)
{
    uintptr_t count = 0;
    _Unwind_Backtrace(frame_counted, &count);
    result = (unsigned)count - 1;
}

static const struct way {
    const char *name;
    void (*capture)(void);
} ways[] = {{"unclosed, remembered", remembered},
            {"unclosed, walked", walked},
            {"libunwind, unw_backtrace", by_libunwind},
            {"libgcc, _Unwind_Backtrace", by_libgcc}};
enum { WAYS = sizeof ways / sizeof ways[0] };

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double ns_per_call(void (*capture)(void))
{
    double begin = now_ns();
    for (int i = 0; i < CALLS; i++)
        capture();
    return (now_ns() - begin) / CALLS;
}

static int compared(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void measured(void)
{
    static double times[WAYS][ROUNDS];
    for (int round = -1; round < ROUNDS; round++)
        for (int way = 0; way < WAYS; way++)
            times[way][round < 0 ? 0 : round] = ns_per_call(ways[way].capture);
    printf("%-28s %7s %9s %9s %9s\n", "ns per capture", "frames", "median", "p10", "p90");
    for (int way = 0; way < WAYS; way++) {
        ways[way].capture();
        qsort(times[way], ROUNDS, sizeof times[way][0], compared);
        printf("%-28s %7u %9.1f %9.1f %9.1f\n", ways[way].name, result, times[way][ROUNDS / 2], times[way][ROUNDS / 10],
               times[way][ROUNDS * 9 / 10]);
    }
}

/* Distinct functions, as in life: with and without frame pointer, with and without variables. */
typedef void level(int remaining);
static level *const levels[];

#define LEVEL(name, next, words, attributes)                              \
    __attribute__((noinline, attributes)) static void name(int remaining) \
    {                                                                     \
        volatile uintptr_t variables[words] = {(uintptr_t)remaining};     \
        if (remaining > 0)                                                \
            levels[next](remaining - 1);                                  \
        else                                                              \
            measured();                                                   \
        result = (unsigned)variables[0];                                  \
    }
LEVEL(level_0, 1, 1, optimize("omit-frame-pointer"))
LEVEL(level_1, 2, 9, optimize("no-omit-frame-pointer"))
LEVEL(level_2, 3, 4, optimize("omit-frame-pointer"))
LEVEL(level_3, 4, 33, optimize("omit-frame-pointer"))
LEVEL(level_4, 5, 2, optimize("no-omit-frame-pointer"))
LEVEL(level_5, 6, 12, optimize("omit-frame-pointer"))
LEVEL(level_6, 7, 6, optimize("omit-frame-pointer"))
LEVEL(level_7, 0, 20, optimize("no-omit-frame-pointer"))
static level *const levels[] = {level_0, level_1, level_2, level_3, level_4, level_5, level_6, level_7};

int main(int count, char **arguments)
{
    enum { FRAMES_AROUND = 6 }; /* main and what calls it, measured and ns_per_call */
    int depth = count > 1 ? atoi(arguments[1]) : 28;
    capture_started();
    printf("method: %s\n", capture_method());
    levels[0](depth > FRAMES_AROUND ? depth - FRAMES_AROUND : 0);
    return 0;
}
