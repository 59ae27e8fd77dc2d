/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that this one starts or becomes. Each exec is announced in the roll call, so that a program which then never
 * loads the shim (static, setuid, another libc) is missed; and it is an end of this image, withdrawn if it fails.
 *
 * vfork children come by here with our memory: nothing of it is changed for them but errno, which is the exec's anyway.
 */
#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "definitions.h"
#include "raw_syscall.h"
#include "shim.h"

#define REAL_FUNCTION(name) ((__typeof__(&name))real_function(#name))

/* Looked up anew each time: an exec is rare and costs a thousand times more. */
static function_address real_function(const char *name)
{
    int error = errno;
    function_address function = next_definition(name);
    errno = error;
    return function;
}

static void exec_announced(const char *path)
{
    int error = errno;
    shim_loaded();
    roll_called(ROLLCALL_STARTS, 0, path, 0);
    if (has_own_trace()) {
        struct trace_process *process = record_of(TABLE_PROCESS, 0);
        atomic_store(&process->ended, time_now());
        atomic_store_explicit(&process->end, END_EXEC, memory_order_release);
    }
    errno = error;
}

static int exec_failed(int result)
{
    int error = errno;
    roll_called(ROLLCALL_EXEC_FAILED, 0, "", 0);
    if (has_own_trace()) {
        struct trace_process *process = record_of(TABLE_PROCESS, 0);
        atomic_store_explicit(&process->end, END_NONE, memory_order_release);
        atomic_store(&process->ended, 0);
    }
    errno = error;
    return result;
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
    exec_announced(path);
    return exec_failed(REAL_FUNCTION(execve)(path, arguments, environment));
}

EXPORT int execv(const char *path, char *const arguments[])
{
    exec_announced(path);
    return exec_failed(REAL_FUNCTION(execv)(path, arguments));
}

EXPORT int execvp(const char *file, char *const arguments[])
{
    exec_announced(file);
    return exec_failed(REAL_FUNCTION(execvp)(file, arguments));
}

EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
    exec_announced(file);
    return exec_failed(REAL_FUNCTION(execvpe)(file, arguments, environment));
}

EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
    char link[32], path[1024];
    struct text text = text_in(link, sizeof(link));
    text_added(&text, "/proc/self/fd/");
    number_added(&text, (uint64_t)fd);
    long length = raw_syscall4(SYS_readlinkat, -100, (long)link, (long)path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = 0;
    exec_announced(path);
    return exec_failed(REAL_FUNCTION(fexecve)(fd, arguments, environment));
}

EXPORT int execveat(int directory, const char *path, char *const arguments[], char *const environment[], int flags)
{
    exec_announced(path);
    int (*real)(int, const char *, char *const[], char *const[], int) = (__typeof__(real))real_function("execveat");
    return exec_failed(real(directory, path, arguments, environment, flags));
}

/* The arguments of execl and its like, on the caller's stack: no memory is allocated, for vfork's sake. Declares
 * `arguments`, and `list`, which is behind the NULL then. */
#define ARGUMENTS_LISTED(first)                \
    va_list counting, list;                    \
    size_t count = 1;                          \
    va_start(counting, first);                 \
    while (va_arg(counting, char *))           \
        count++;                               \
    va_end(counting);                          \
    char *arguments[count + 1];                \
    va_start(list, first);                     \
    arguments[0] = (char *)(uintptr_t)(first); \
    for (size_t i = 1; arguments[i - 1]; i++)  \
    arguments[i] = va_arg(list, char *)

EXPORT int execl(const char *path, const char *first, ...)
{
    ARGUMENTS_LISTED(first);
    va_end(list);
    return execv(path, arguments);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    ARGUMENTS_LISTED(first);
    va_end(list);
    return execvp(file, arguments);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    ARGUMENTS_LISTED(first);
    char *const *environment = va_arg(list, char *const *);
    va_end(list);
    return execve(path, arguments, environment);
}

static int spawned(int result, const pid_t *pid, const char *path)
{
    int error = errno;
    shim_loaded();
    if (result == 0)
        roll_called(ROLLCALL_STARTS, *pid, path, 0);
    errno = error;
    return result;
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[])
{
    pid_t child = 0;
    int result = REAL_FUNCTION(posix_spawn)(&child, path, actions, attributes, arguments, environment);
    if (pid && result == 0)
        *pid = child;
    return spawned(result, &child, path);
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[])
{
    pid_t child = 0;
    int result = REAL_FUNCTION(posix_spawnp)(&child, file, actions, attributes, arguments, environment);
    if (pid && result == 0)
        *pid = child;
    return spawned(result, &child, file);
}
