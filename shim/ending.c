/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a process ends.
 *
 *     exit() or return from main ──> references are looked for, while everything still stands
 *         destructors, atexit handlers: they may close handles, and free containers that hold others
 *     the very last handler ──> end mark; in bare use the reporter; its status may become the program's
 *     _exit, _Exit, quick_exit, exec ──> end mark only
 *     a signal ──> no mark
 *
 * Registered from our constructor, before __libc_start_main registers the one that runs all destructors, an on_exit
 * handler runs after them; and it is told the status.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "definitions.h"
#include "handles.h"
#include "injection.h"
#include "raw_syscall.h"
#include "scan.h"
#include "shim.h"

enum { SCAN_LIMIT_NS = 2000000000 };

static void (*real_exit)(int) __attribute__((noreturn));
static void (*real_immediate_exit)(int) __attribute__((noreturn));
static void (*real_Exit)(int) __attribute__((noreturn));
static void (*real_quick_exit)(int) __attribute__((noreturn));
typedef int main_function(int, char **, char **);
typedef int start_function(main_function *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

static struct trace_process *this_process(void)
{
    return record_of(TABLE_PROCESS, 0);
}

static void end_marked(enum trace_end end, int status)
{
    struct trace_process *process = this_process();
    atomic_store(&process->end_status, status);
    atomic_store(&process->ended, time_now());
    atomic_store_explicit(&process->end, end, memory_order_release);
}

/* --- references -------------------------------------------------------------------------------------------------------- */

static uint32_t reference_in_words_of_trace(const struct scan_handle *answer, bool is_child)
{
    switch (answer->reference) {
    case REFERENCE_HELD:
        return answer->through_handle && is_child ? REFERENCE_NONE : REFERENCE_FOUND;
    case REFERENCE_LOST:
        return REFERENCE_NONE;
    case REFERENCE_IN_USE:
        return REFERENCE_THREAD;
    default:
        return REFERENCE_UNCERTAIN;
    }
}

static uint64_t handles_listed(struct scan_handle *list, uint32_t *slots, uint64_t capacity)
{
    uint64_t count = 0, used = atomic_load(&shim.trace.header->tables[TABLE_HANDLE].used);
    for (uint64_t slot = 1; slot < used && count < capacity; slot++) {
        const struct trace_handle *handle = handle_at((uint32_t)slot);
        if (atomic_load_explicit(&handle->state, memory_order_acquire) == HANDLE_FREE)
            continue;
        list[count].address = handle->address;
        list[count].last_thread = atomic_load(&handle->last_thread);
        slots[count++] = (uint32_t)slot;
    }
    return count;
}

static void references_noted(const struct scan_handle *list, const uint32_t *slots, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct trace_handle *handle = handle_at(slots[i]);
        if (handle->address == list[i].address)
            atomic_store(&handle->reference, reference_in_words_of_trace(&list[i], handle->parent != 0));
    }
}

static uint64_t handles_open(void)
{
    uint64_t count = 0;
    for (unsigned kind = 0; kind < KIND_LIMIT; kind++)
        count += atomic_load(&shim.trace.header->open[kind]);
    return count;
}

/*
 * Stdio's buffers: text, in blocks from malloc that still hold what was there before. A stale pointer in stdout's buffer
 * hid the only leak of a small program. Other threads may close streams just now, so that only the standard ones can be
 * looked at then.
 */
enum { STREAMS_MAX = 64 };
extern FILE *_IO_list_all __attribute__((weak));

static size_t buffers_listed(struct scan_range *ranges)
{
    FILE *const standard[] = {stdin, stdout, stderr};
    size_t count = 0;
    if (is_alone() && &_IO_list_all)
        for (const FILE *stream = _IO_list_all; stream && count < STREAMS_MAX; stream = stream->_chain)
            ranges[count++] = (struct scan_range){(uintptr_t)stream->_IO_buf_base, (uintptr_t)stream->_IO_buf_end};
    else
        for (; count < sizeof(standard) / sizeof(standard[0]); count++)
            ranges[count] =
                (struct scan_range){(uintptr_t)standard[count]->_IO_buf_base, (uintptr_t)standard[count]->_IO_buf_end};
    return count;
}

static void references_looked_for(uintptr_t stack_pointer)
{
    struct trace_process *process = this_process();
    uint64_t capacity = handles_open() + 64;
    size_t size = capacity * (sizeof(struct scan_handle) + sizeof(uint32_t));
    long memory = raw_syscall6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return;
    uint64_t began = time_now();
    struct scan_handle *list = (struct scan_handle *)memory;
    uint32_t *slots = (uint32_t *)(list + capacity);
    uint64_t count = handles_listed(list, slots, capacity);
    struct scan_range ignored[4 + STREAMS_MAX];
    size_t ranges = 0;
    ignored[ranges++] = (struct scan_range){shim.start, shim.end};
    ignored[ranges++] = (struct scan_range){(uintptr_t)memory, (uintptr_t)memory + size};
    ignored[ranges++] = (struct scan_range){(uintptr_t)shim.trace.base, (uintptr_t)shim.trace.base + shim.trace.size};
    if (shim.inherited.base)
        ignored[ranges++] =
            (struct scan_range){(uintptr_t)shim.inherited.base, (uintptr_t)shim.inherited.base + shim.inherited.size};
    ranges += buffers_listed(&ignored[ranges]);
    struct scan_request request = {list, count, ignored, ranges, SCAN_LIMIT_NS, stack_pointer};
    const char *reason = NULL;
    atomic_store(&process->scan, SCAN_RUNNING);
    enum scan_outcome outcome = scan_references(&request, &reason);
    references_noted(list, slots, count);
    process->scan_reason = string_interned(reason);
    process->scan_ns = time_now() - began;
    atomic_store(&process->scan, outcome == SCAN_DONE ? SCAN_COMPLETE : SCAN_GAVE_UP);
    raw_syscall2(SYS_munmap, memory, (long)size);
}

/* Runs at most once in a process that has a trace; a forked child without one has nothing to say. */
__attribute__((noinline)) static void exit_began(uintptr_t stack_pointer)
{
    if (!has_own_trace() || !guard_entered())
        return;
    int error = errno;
    uint64_t not_yet = 0;
    struct trace_process *process = this_process();
    if (atomic_compare_exchange_strong(&process->exit_began, &not_yet, time_now()) && handles_open()) {
        if (atomic_load(&shim.sealed))
            process->scan_reason = string_interned("the program runs under a seccomp filter of its own");
        else if (!shim.options.scan)
            process->scan_reason = string_interned("switched off by scan=off");
        else
            references_looked_for(stack_pointer);
    }
    errno = error;
    guard_left();
}

/* --- the ways out ---------------------------------------------------------------------------------------------------------- */

static void last_of_all(int status, void *unused)
{
    static _Atomic uint32_t ran;
    (void)unused;
    if (!has_own_trace() || atomic_exchange(&ran, 1))
        return;
    end_marked(END_EXIT, status);
    if (shim.options.run[0] || !shim.options.report || atomic_load(&shim.sealed))
        return;
    int verdict = reporter_ran();
    if (shim.options.fail_on[0] && verdict > 0 && status == 0)
        real_exit(verdict); /* not _exit: what stdio still holds would be lost */
}

/* While another thread loads the shim and we could not wait, they are not known yet. */
#define REAL(function, name) ((function) ? (function) : (__typeof__(function))next_definition(name))

EXPORT void exit(int status)
{
    shim_loaded();
    exit_began(SCAN_STACK_POINTER());
    REAL(real_exit, "exit")(status);
    __builtin_unreachable();
}

EXPORT void _exit(int status)
{
    shim_loaded();
    if (has_own_trace())
        end_marked(END_IMMEDIATE, status);
    REAL(real_immediate_exit, "_exit")(status);
    __builtin_unreachable();
}

EXPORT void _Exit(int status)
{
    shim_loaded();
    if (has_own_trace())
        end_marked(END_IMMEDIATE, status);
    REAL(real_Exit, "_Exit")(status);
    __builtin_unreachable();
}

EXPORT void quick_exit(int status)
{
    shim_loaded();
    if (has_own_trace())
        end_marked(END_QUICK, status);
    REAL(real_quick_exit, "quick_exit")(status);
    __builtin_unreachable();
}

static main_function *programs_main;

/* When main has returned, its variables are gone: the stack is live from here upwards. */
static int main_watched(int count, char **arguments, char **environment)
{
    int status = programs_main(count, arguments, environment);
    exit_began(SCAN_STACK_POINTER());
    return status;
}

EXPORT int __libc_start_main(main_function *entry, int count, char **arguments, void (*init)(void), void (*fini)(void),
                             void (*rtld_fini)(void), void *stack_end)
{
    start_function *real = (start_function *)next_definition("__libc_start_main");
    programs_main = entry;
    python_path_set(count, arguments);
    return real(main_watched, count, arguments, init, fini, rtld_fini, stack_end);
}

void ending_prepared(void)
{
    real_exit = (__typeof__(real_exit))next_definition("exit");
    real_immediate_exit = (__typeof__(real_immediate_exit))next_definition("_exit");
    real_Exit = (__typeof__(real_Exit))next_definition("_Exit");
    real_quick_exit = (__typeof__(real_quick_exit))next_definition("quick_exit");
    on_exit(last_of_all, NULL);
}
