/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `run` as a parent: starts a command, stands between it and whoever sends us signals, and waits until it and all that
 * it left running have ended.
 *
 *     run ──fork, exec──> command ──> … ──> daemon (double fork, setsid)
 *      ^ subreaper: becomes the daemon's parent, too
 *
 * The command is as if there were no `run`: same session, process group, terminal, directory, fds, signal mask and
 * dispositions. A signal sent to us alone is passed on; one sent to our process group, or by the terminal, has reached
 * the command already and is not sent twice.
 *
 * One at a time, in a process without threads. All signals concerned are blocked meanwhile and given back afterwards.
 */
#ifndef UNCLOSED_REPORTS_SUPERVISE_H
#define UNCLOSED_REPORTS_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct supervision {
    char **command;   /* argv of the command, NULL at its end */
    const char *file; /* what to execute, with a slash in it */
    char **environment;
    bool wait_first; /* do not wait for what the command leaves running */
};

/* A descendant whose parent we were when it ended: the command, and daemons and orphans. */
struct ended_process {
    pid_t pid;            /* here */
    pid_t inner_pid;      /* in its own pid namespace; equal to pid where that is ours */
    uint64_t start_ticks; /* field 22 of /proc/PID/stat; 0 unknown */
    int exit_status;      /* of exit(), -1: a signal ended it */
    int signal;           /* 0: none */
    int64_t at;           /* when we learned of it, nanoseconds since 1970 */
};

struct supervised {
    int error; /* errno value when it could not be started; then all else is 0 */
    pid_t pid; /* of the command */
    uint64_t start_ticks;
    int exit_status;             /* as the shell gives it: 128+n for a signal */
    int signal;                  /* that ended it, 0: none */
    uint64_t passed_signals;     /* bit n-1: signal n was passed on to it, or reached us and it together */
    bool left_running;           /* something it started still runs */
    struct ended_process *ended; /* the last ENDED_MAX of them, in no order; the caller frees it */
    size_t ended_count;
};

enum { ENDED_MAX = 16384 };

/* Does all of that. False: the command could not be started, result->error says why; nothing is left of the attempt. */
bool supervised_to_the_end(const struct supervision *how, struct supervised *result);

#endif
