/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helpers: short-lived processes that the program must not notice. Made by a raw clone without exit signal, so there is
 * no SIGCHLD, no fork handler runs, and the program's own wait(-1) never returns one; we wait for it with __WALL.
 */
#ifndef UNCLOSED_SHIM_HELPER_H
#define UNCLOSED_SHIM_HELPER_H

/* Runs `work` in a helper that shares this memory but has descriptors of its own, and waits for its end. `work` may use
 * raw system calls only and ends with exit_group. The calling thread sleeps meanwhile, with all signals blocked.
 * False: no helper could be made. */
_Bool helper_waited(int (*work)(void *), void *argument);

/* Runs a program and waits for it; the exec happens in a grandchild, for an exec makes a child one with exit signal.
 * Its standard input is /dev/null, its standard output and error are fd 2, or /dev/null if `quiet`. -1: it could not be run or was killed,
 * else its exit status. */
int program_waited(const char *path, char *const argv[], char *const envp[], _Bool quiet);

#endif
