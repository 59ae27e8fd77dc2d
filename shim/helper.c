/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "raw_syscall.h"

enum { STACK_SIZE = 64 << 10, PROGRAM_LIMIT_SECONDS = 60 };

#define EVERY_SIGNAL ((uint64_t)-1)

static void signals_blocked(uint64_t *before)
{
    uint64_t all = EVERY_SIGNAL;
    raw_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)before, sizeof(all));
}

static void signals_restored(const uint64_t *before)
{
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)before, 0, sizeof(*before));
}

static int status_waited(long pid)
{
    int status = 0;
    long result;
    do
        result = raw_syscall4(SYS_wait4, pid, (long)&status, __WALL, 0);
    while (result == -EINTR);
    return result < 0 ? -1 : status;
}

_Bool helper_waited(int (*work)(void *), void *argument)
{
    long stack = raw_syscall6(SYS_mmap, 0, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack < 0 && stack > -4096)
        return 0;
    uint64_t mask;
    signals_blocked(&mask);
    int pid = clone(work, (char *)stack + STACK_SIZE, CLONE_VM | CLONE_VFORK, argument);
    if (pid > 0)
        status_waited(pid);
    signals_restored(&mask);
    raw_syscall2(SYS_munmap, stack, STACK_SIZE);
    return pid > 0;
}

struct program {
    const char *path;
    char *const *argv;
    char *const *envp;
    _Bool quiet;
};

static void signal_by_default(int signal)
{
    struct {
        void *handler;
        uint64_t flags;
        void *restorer;
        uint64_t mask;
    } by_default = {0};
    raw_syscall4(SYS_rt_sigaction, signal, (long)&by_default, 0, sizeof(by_default.mask));
}

/* The program waits for it, with signals blocked: a timer, which exec keeps, ends it if need be. */
static void time_limited(void)
{
    struct itimerval limit = {.it_value = {.tv_sec = PROGRAM_LIMIT_SECONDS}};
    signal_by_default(SIGALRM);
    raw_syscall3(SYS_setitimer, ITIMER_REAL, (long)&limit, 0);
}

/* In the helper, which has a copy of our memory: no CLONE_VM. */
static void program_started_and_waited(const struct program *program)
{
    long pid = raw_syscall5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        time_limited();
        uint64_t none = 0;
        raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof(none));
        long null = raw_syscall4(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDWR, 0);
        if (null > 0)
            raw_syscall3(SYS_dup3, null, 0, 0);
        if (null >= 0 && null != 2 && program->quiet)
            raw_syscall3(SYS_dup3, null, 2, 0);
        raw_syscall3(SYS_dup3, 2, 1, 0);
        raw_syscall3(SYS_close_range, 3, ~0u, 0);
        raw_syscall3(SYS_execve, (long)program->path, (long)program->argv, (long)program->envp);
        raw_syscall1(SYS_exit_group, 127);
    }
    int status = pid < 0 ? -1 : status_waited(pid);
    raw_syscall1(SYS_exit_group, status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 127);
}

int program_waited(const char *path, char *const argv[], char *const envp[], _Bool quiet)
{
    struct program program = {path, argv, envp, quiet};
    uint64_t mask;
    signals_blocked(&mask);
    long pid = raw_syscall5(SYS_clone, 0, 0, 0, 0, 0);
    if (pid == 0) {
        /* The program may ignore SIGCHLD or have a handler for it; the helper waits in peace only with the default. */
        signal_by_default(SIGCHLD);
        program_started_and_waited(&program);
    }
    int status = pid < 0 ? -1 : status_waited(pid);
    signals_restored(&mask);
    if (status < 0 || !WIFEXITED(status) || WEXITSTATUS(status) >= 126)
        return -1;
    return WEXITSTATUS(status);
}
