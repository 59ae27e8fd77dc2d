/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the scan: handles of the real SQLite, opened so that nothing but what a test stores refers to them. The
 * addresses are kept as complements, and everything that handles them plainly is a function that has returned.
 */
#ifndef SCAN_CASE_H
#define SCAN_CASE_H

#include <assert.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scan.h"

#define FAR __attribute__((noinline, unused))
#define SECONDS 1000000000ull

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MALLOC_IS_GLIBC = 0 };
#else
enum { MALLOC_IS_GLIBC = 1 };
#endif

#ifdef __SANITIZE_ADDRESS__
/* These tests leak on purpose. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}
#endif

enum { CASE_MAX = 200000 };

static struct {
    uintptr_t hidden[CASE_MAX];
    uint32_t threads[CASE_MAX];
    size_t count;
    struct scan_handle *answers; /* of the last question */
    enum scan_outcome outcome;
    const char *reason;
    uint64_t time_limit_ns; /* 0: ten seconds */
    struct scan_range ignored;
} scan_case;

static inline void *sqlite_function(const char *name)
{
    static void *library;
    if (!library)
        library = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);
    void *function = library ? dlsym(library, name) : NULL;
    if (!function)
        abort();
    return function;
}

/* Only in a function that calls others: what a leaf function keeps below its stack pointer would be lost. */
static inline __attribute__((always_inline)) void stack_below_cleared(void)
{
#if defined(__x86_64__)
    __asm__ volatile("sub $65536, %%rsp\n mov %%rsp, %%rdi\n xor %%eax, %%eax\n mov $8192, %%ecx\n rep stosq\n"
                     "add $65536, %%rsp" ::
                         : "rax", "rcx", "rdi", "cc", "memory");
#endif
}

/* Leaves no plain word of it on the stack: a caller's frame could come to lie there. */
static FAR uintptr_t handle_opened_hidden(void)
{
    int (*sqlite3_open)(const char *, void *) = (int (*)(const char *, void *))sqlite_function("sqlite3_open");
    volatile uintptr_t handle;
    if (sqlite3_open(":memory:", (void *)&handle) != 0)
        abort();
    uintptr_t hidden = ~handle;
    handle = 0;
    stack_below_cleared();
    return hidden;
}

/* From here on the scan is asked about this one too. Returns its number. */
static FAR size_t asked_about(uintptr_t hidden)
{
    scan_case.hidden[scan_case.count] = hidden;
    scan_case.threads[scan_case.count] = (uint32_t)gettid();
    return scan_case.count++;
}

/* Opens a handle and stores it at `*place`. */
static FAR size_t handle_stored(volatile void *place)
{
    size_t number = asked_about(handle_opened_hidden());
    *(volatile uintptr_t *)place = ~scan_case.hidden[number];
    return number;
}

static inline size_t handle_lost(void)
{
    return asked_about(handle_opened_hidden());
}

static FAR void scan_asked_from(uintptr_t stack_pointer)
{
    size_t size = CASE_MAX * sizeof(*scan_case.answers);
    if (!scan_case.answers)
        scan_case.answers = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t i = 0; i < scan_case.count; i++)
        scan_case.answers[i] = (struct scan_handle){.address = ~scan_case.hidden[i],
                                                    .last_thread = scan_case.threads[i],
                                                    .reference = 99,
                                                    .through_handle = 99};
    struct scan_request request = {
        .handles = scan_case.answers,
        .count = scan_case.count,
        .ignored = &scan_case.ignored,
        .ignored_count = 1,
        .time_limit_ns = scan_case.time_limit_ns ? scan_case.time_limit_ns : (MALLOC_IS_GLIBC ? 10 : 1) * SECONDS,
        .stack_pointer = stack_pointer,
    };
    scan_case.outcome = scan_references(&request, &scan_case.reason);
}

/* What a wrapper of exit does. */
static FAR void scan_asked_by_wrapper(void)
{
    scan_asked_from(SCAN_STACK_POINTER());
    __asm__ volatile("" ::: "memory");
}

/* The compiler leaves gaps in the wrapper's frame: what stood there before would count. For tests of other things. */
#define scan_asked() (stack_below_cleared(), scan_asked_by_wrapper())

static inline enum reference reference_of(size_t number)
{
    return (enum reference)scan_case.answers[number].reference;
}

#endif
