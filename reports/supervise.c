/* SPDX-License-Identifier: Apache-2.0 */
#include "supervise.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TOLD_AFTER_S = 3,   /* of waiting for what the command left running */
    GROUP_WAIT_MS = 15, /* for the witness to get a signal that we got */
    STAT_START_TICKS = 22,
};

static const int passed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP};

/*
 * Whether a signal was meant for us or for our whole process group cannot be seen from the signal. So another process
 * of the group, the witness, counts what it gets: what reached both of us has reached the command as well.
 */
struct shared {
    _Atomic unsigned witnessed[64];
    _Atomic int exec_error; /* of the command's process, before it became the command */
};

struct state {
    const struct supervision *how;
    struct supervised *result;
    struct shared *shared;
    unsigned accounted[64]; /* of shared->witnessed */
    pid_t witness;
    sigset_t waited; /* signals that sigtimedwait gets */
    sigset_t mask_before;
    struct sigaction child_action_before;
    pid_t *earlier; /* children that we had before the command: not its, and none of our business */
    size_t earlier_count;
    size_t ended_room, ended_next;
    bool command_ended, asked_to_end, stop_waiting;
};

/* --- what /proc says -------------------------------------------------------------------------------------------------- */

static size_t file_read(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, buffer, size - 1);
    if (fd >= 0)
        close(fd);
    buffer[length > 0 ? length : 0] = 0;
    return length > 0 ? (size_t)length : 0;
}

/* A number of /proc/PID/stat, counted from 1; `field` > 2. 0: not there. */
static uint64_t stat_number(pid_t pid, int field)
{
    char path[48], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (!file_read(path, text, sizeof text))
        return 0;
    char *at = strrchr(text, ')');
    for (int i = 2; at && i < field; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

static pid_t innermost_pid(pid_t pid)
{
    char path[48], text[4096];
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    file_read(path, text, sizeof text);
    const char *line = strstr(text, "\nNSpid:");
    if (!line)
        return pid;
    const char *end = strchrnul(line + 1, '\n'), *last = end;
    while (last > line && last[-1] != '\t' && last[-1] != ' ')
        last--;
    return (pid_t)strtol(last, NULL, 10);
}

static bool is_one_of(pid_t pid, const pid_t *pids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

static void pid_added(pid_t **pids, size_t *count, pid_t pid)
{
    pid_t *more = reallocarray(*pids, *count + 1, sizeof **pids);
    if (more) {
        *pids = more;
        more[(*count)++] = pid;
    }
}

/* For kernels without /proc/PID/task/TID/children. */
static void children_searched(pid_t **pids, size_t *count)
{
    DIR *processes = opendir("/proc");
    for (const struct dirent *entry; processes && (entry = readdir(processes)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && stat_number(pid, 4) == (uint64_t)getpid())
            pid_added(pids, count, pid);
    }
    if (processes)
        closedir(processes);
}

/* Our children but the witness and those of before. The caller frees *pids. */
static size_t children_listed(const struct state *state, pid_t **pids)
{
    size_t count = 0, kept = 0;
    char path[64];
    *pids = NULL;
    snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)getpid());
    FILE *list = fopen(path, "re");
    for (long pid; list && fscanf(list, "%ld", &pid) == 1;)
        pid_added(pids, &count, (pid_t)pid);
    if (list)
        fclose(list);
    else
        children_searched(pids, &count);
    for (size_t i = 0; i < count; i++)
        if ((*pids)[i] != state->witness && !is_one_of((*pids)[i], state->earlier, state->earlier_count))
            (*pids)[kept++] = (*pids)[i];
    return kept;
}

/* --- the witness -------------------------------------------------------------------------------------------------------- */

static _Noreturn void witnessing(struct shared *shared, const sigset_t *waited, pid_t parent)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "group-witness"); /* pkill unclosed means its parent alone */
    if (getppid() != parent)
        _exit(0);
    if (syscall(SYS_close_range, 0u, ~0u, 0u))
        for (int fd = 0; fd < 1024; fd++)
            close(fd);
    for (;;) {
        int signal = sigwaitinfo(waited, NULL);
        if (signal > 0 && signal < 64)
            atomic_fetch_add(&shared->witnessed[signal], 1);
    }
}

static void witness_started(struct state *state)
{
    sigset_t counted = state->waited;
    pid_t parent = getpid();
    sigdelset(&counted, SIGCHLD);
    /* Without an exit signal it is no child that wait() knows of. */
    long pid = syscall(SYS_clone, 0L, NULL, NULL, NULL, 0L);
    if (pid == 0)
        witnessing(state->shared, &counted, parent);
    state->witness = pid > 0 ? (pid_t)pid : 0;
}

static void witness_ended(const struct state *state)
{
    if (state->witness > 0) {
        kill(state->witness, SIGKILL);
        waitpid(state->witness, NULL, __WALL);
    }
}

/* Did our whole process group get this signal? */
static bool is_for_group(struct state *state, const siginfo_t *info)
{
    int signal = info->si_signo;
    for (int waited = 0; state->witness > 0 && waited <= GROUP_WAIT_MS; waited++) {
        unsigned seen = atomic_load(&state->shared->witnessed[signal]);
        if (seen != state->accounted[signal]) {
            state->accounted[signal] = seen;
            return true;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return info->si_code == SI_KERNEL;
}

/* --- signals ------------------------------------------------------------------------------------------------------------- */

/* Stops us as the default action would: not at all in an orphaned process group, where nobody could wake us. */
static void stopped(const struct state *state)
{
    sigset_t stop;
    struct sigaction before;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    sigaction(SIGTSTP, &(struct sigaction){.sa_handler = SIG_DFL}, &before);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &stop, NULL);
    sigprocmask(SIG_BLOCK, &state->waited, NULL);
    sigaction(SIGTSTP, &before, NULL);
}

static void sent_unless_reached(pid_t pid, int signal, bool group_reached)
{
    if (!group_reached || getpgid(pid) != getpgrp())
        kill(pid, signal);
}

static bool ends_programs(int signal)
{
    return signal == SIGHUP || signal == SIGINT || signal == SIGQUIT || signal == SIGTERM;
}

static void signal_passed(struct state *state, const siginfo_t *info)
{
    int signal = info->si_signo;
    bool from_command = info->si_code <= 0 && info->si_pid == state->result->pid;
    bool group = is_for_group(state, info);
    if (!from_command && !state->command_ended) {
        state->result->passed_signals |= 1ull << (signal - 1);
        sent_unless_reached(state->result->pid, signal, group);
    } else if (state->command_ended) {
        pid_t *children;
        size_t count = children_listed(state, &children);
        for (size_t i = 0; i < count; i++)
            sent_unless_reached(children[i], signal, group);
        free(children);
        state->stop_waiting = state->asked_to_end && ends_programs(signal);
        state->asked_to_end |= ends_programs(signal);
    }
    if (signal == SIGTSTP)
        stopped(state);
}

static bool is_foreground_job(void)
{
    int terminal = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    bool foreground = terminal >= 0 && tcgetpgrp(terminal) == getpgrp();
    if (terminal >= 0)
        close(terminal);
    return foreground;
}

/* A command that stops itself while a shell waits for us: the shell must get the terminal back. */
static void command_stop_followed(const struct state *state)
{
    siginfo_t info = {0};
    if (!state->command_ended && waitid(P_PID, (id_t)state->result->pid, &info, WSTOPPED | WNOHANG) == 0 &&
        info.si_pid && getpgid(state->result->pid) == getpgrp() && is_foreground_job())
        stopped(state);
}

/* --- ends ---------------------------------------------------------------------------------------------------------------- */

static int64_t time_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void end_noted(struct state *state, const siginfo_t *info)
{
    struct supervised *result = state->result;
    bool exited = info->si_code == CLD_EXITED;
    struct ended_process ended = {
        .pid = info->si_pid,
        .inner_pid = innermost_pid(info->si_pid),
        .start_ticks = stat_number(info->si_pid, STAT_START_TICKS),
        .exit_status = exited ? info->si_status : -1,
        .signal = exited ? 0 : info->si_status,
        .at = time_now(),
    };
    if (info->si_pid == result->pid) {
        state->command_ended = true;
        result->signal = ended.signal;
        result->exit_status = exited ? ended.exit_status : 128 + ended.signal;
    }
    if (result->ended_count < ENDED_MAX && result->ended_count == state->ended_room) {
        size_t room = state->ended_room ? state->ended_room * 2 : 64;
        struct ended_process *more = reallocarray(result->ended, room, sizeof *more);
        if (!more)
            return;
        result->ended = more;
        state->ended_room = room;
    }
    result->ended[state->ended_next++ % ENDED_MAX] = ended;
    if (result->ended_count < ENDED_MAX)
        result->ended_count++;
}

/* Takes in all that have ended. False: no child is left but those of before. */
static bool ended_collected(struct state *state)
{
    siginfo_t info;
    for (;;) {
        info.si_pid = 0;
        /* Left a zombie until /proc has told when it started. */
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT))
            return false;
        if (!info.si_pid)
            break;
        if (!is_one_of(info.si_pid, state->earlier, state->earlier_count))
            end_noted(state, &info);
        waitid(P_PID, (id_t)info.si_pid, &info, WEXITED);
    }
    if (!state->command_ended || !state->earlier_count)
        return true;
    pid_t *children;
    bool left = children_listed(state, &children) > 0;
    free(children);
    return left;
}

static void waiting_told(const struct state *state)
{
    pid_t *children;
    size_t count = children_listed(state, &children);
    const char *slash = strrchr(state->how->command[0], '/');
    char pids[64] = "";
    for (size_t i = 0, length = 0; i < count && length < sizeof pids - 16; i++)
        length += (size_t)snprintf(pids + length, sizeof pids - length, " %ld", (long)children[i]);
    fprintf(stderr,
            "unclosed: waiting for %zu process%s that %s left running (pid%s); Ctrl-C ends %s, once more reports "
            "without waiting (--wait=first never waits)\n",
            count, count == 1 ? "" : "es", slash ? slash + 1 : state->how->command[0], pids,
            count == 1 ? "it" : "them");
    free(children);
}

static void waited(struct state *state)
{
    bool told = false;
    struct timespec until_told = {.tv_sec = TOLD_AFTER_S};
    for (bool left = ended_collected(state);; left = ended_collected(state)) {
        siginfo_t info;
        if (state->command_ended && (!left || state->how->wait_first || state->stop_waiting)) {
            state->result->left_running = left;
            return;
        }
        command_stop_followed(state);
        int signal = sigtimedwait(&state->waited, &info, state->command_ended && !told ? &until_told : NULL);
        if (signal < 0 && errno == EAGAIN) {
            waiting_told(state);
            told = true;
        } else if (signal > 0 && signal != SIGCHLD) {
            signal_passed(state, &info);
        }
    }
}

/* --- the beginning --------------------------------------------------------------------------------------------------------- */

/* By system call: with another run's shim in this process, that run would expect the command to answer its roll call. */
static _Noreturn void command_became(const struct state *state)
{
    const struct supervision *how = state->how;
    sigaction(SIGCHLD, &state->child_action_before, NULL);
    sigprocmask(SIG_SETMASK, &state->mask_before, NULL);
    syscall(SYS_execve, how->file, how->command, how->environment);
    if (errno == ENOEXEC) {
        size_t count = 0;
        while (how->command[count])
            count++;
        char *script[count + 3];
        script[0] = "/bin/sh";
        script[1] = (char *)how->file;
        memcpy(script + 2, how->command + 1, count * sizeof *script);
        syscall(SYS_execve, script[0], script, how->environment);
    }
    atomic_store(&state->shared->exec_error, errno ? errno : ENOEXEC);
    _exit(127);
}

static void signals_taken(struct state *state)
{
    sigemptyset(&state->waited);
    sigaddset(&state->waited, SIGCHLD);
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
        sigaddset(&state->waited, passed_on[i]);
    sigprocmask(SIG_BLOCK, &state->waited, &state->mask_before);
    /* Ignored, as some parents leave it, it would have the kernel throw away every wait status. */
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, &state->child_action_before);
}

static void signals_given_back(const struct state *state)
{
    while (sigtimedwait(&state->waited, NULL, &(struct timespec){0}) > 0)
        ;
    sigaction(SIGCHLD, &state->child_action_before, NULL);
    sigprocmask(SIG_SETMASK, &state->mask_before, NULL);
}

bool supervised_to_the_end(const struct supervision *how, struct supervised *result)
{
    struct state state = {.how = how, .result = result};
    *result = (struct supervised){0};
    state.shared = mmap(NULL, sizeof *state.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (state.shared == MAP_FAILED) {
        result->error = errno;
        return false;
    }
    signals_taken(&state);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    state.earlier_count = children_listed(&state, &state.earlier);
    witness_started(&state);

    pid_t pid = fork();
    if (pid == 0)
        command_became(&state);
    result->error = pid < 0 ? errno : 0;
    if (pid > 0) {
        result->pid = pid;
        result->start_ticks = stat_number(pid, STAT_START_TICKS);
        waited(&state);
        result->error = atomic_load(&state.shared->exec_error);
    }

    witness_ended(&state);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    signals_given_back(&state);
    munmap(state.shared, sizeof *state.shared);
    free(state.earlier);
    if (result->error) {
        free(result->ended);
        *result = (struct supervised){.error = result->error};
    }
    return result->error == 0;
}
