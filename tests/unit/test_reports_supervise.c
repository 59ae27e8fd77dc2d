/* SPDX-License-Identifier: Apache-2.0 */
/* `run` as a parent: the command is as if there were no `run`, gets each signal once, and is waited for with all it left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervise.h"

extern char **environ;

static struct supervised supervised_program(char **command, bool wait_first)
{
    struct supervision how = {.command = command, .file = command[0], .environment = environ, .wait_first = wait_first};
    struct supervised result;
    if (!supervised_to_the_end(&how, &result))
        fail_msg("%s: %s", command[0], strerror(result.error));
    return result;
}

static struct supervised supervised(const char *script, bool wait_first)
{
    return supervised_program((char *[]){"/bin/sh", "-c", (char *)script, NULL}, wait_first);
}

/* Does /proc/self/status of a supervised program have this line? */
static bool is_status_line(const char *pattern)
{
    struct supervised result =
        supervised_program((char *[]){"/bin/grep", "-q", (char *)pattern, "/proc/self/status", NULL}, false);
    free(result.ended);
    return result.exit_status == 0;
}

static int status_of(const char *script)
{
    struct supervised result = supervised(script, false);
    free(result.ended);
    return result.exit_status;
}

static const struct ended_process *ended_with(const struct supervised *result, int exit_status, int signal)
{
    for (size_t i = 0; i < result->ended_count; i++)
        if (result->ended[i].exit_status == exit_status && result->ended[i].signal == signal)
            return &result->ended[i];
    return NULL;
}

static void pause_ms(long milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Supervises `script` in a process (group) of its own; waits until the script has written a byte to fd 9. */
static pid_t supervisor_started(const char *script)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        dup2(ready[1], 9);
        close(ready[0]);
        struct supervised result = supervised(script, false);
        int status = result.exit_status + (result.passed_signals ? 100 : 0);
        free(result.ended);
        _exit(status);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static int status_in_the_end(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void exit_status_is_the_commands(void **state)
{
    (void)state;
    struct supervised result = supervised("exit 7", false);
    assert_int_equal(result.exit_status, 7);
    assert_int_equal(result.signal, 0);
    assert_int_equal(result.ended_count, 1);
    assert_int_equal(result.ended[0].pid, result.pid);
    assert_int_equal(result.ended[0].start_ticks, result.start_ticks);
    assert_true(result.start_ticks > 0);
    free(result.ended);
}

static void signal_that_killed_it_is_known(void **state)
{
    (void)state;
    struct supervised result = supervised("kill -9 $$", false);
    assert_int_equal(result.exit_status, 128 + SIGKILL);
    assert_int_equal(result.signal, SIGKILL);
    assert_int_equal(result.passed_signals, 0);
    free(result.ended);
}

static void command_that_cannot_be_started_says_why(void **state)
{
    (void)state;
    char *command[] = {"x", NULL};
    struct supervised result;
    struct supervision how = {.command = command, .file = "/nonexistent/x", .environment = environ};
    assert_false(supervised_to_the_end(&how, &result));
    assert_int_equal(result.error, ENOENT);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    assert_int_equal(errno, ECHILD);
}

static void script_without_interpreter_line_is_run_by_sh(void **state)
{
    (void)state;
    char name[] = "/tmp/unclosed-script-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0 && dprintf(fd, "exit $#\n") > 0 && fchmod(fd, 0700) == 0);
    close(fd);
    char *command[] = {name, "one", "two", NULL};
    struct supervised result;
    assert_true(supervised_to_the_end(&(struct supervision){.command = command, .file = name, .environment = environ},
                                      &result));
    assert_int_equal(result.exit_status, 2);
    free(result.ended);
    unlink(name);
}

static void daemon_is_waited_for(void **state)
{
    (void)state;
    double began = seconds();
    struct supervised result = supervised("(setsid sh -c 'sleep 0.4; exit 5' &); exit 3", false);
    assert_true(seconds() - began > 0.35);
    assert_int_equal(result.exit_status, 3);
    assert_false(result.left_running);
    assert_non_null(ended_with(&result, 5, 0));
    assert_true(ended_with(&result, 5, 0)->start_ticks > 0);
    free(result.ended);
}

static void signal_that_killed_a_daemon_is_known(void **state)
{
    (void)state;
    struct supervised result = supervised("(setsid sh -c 'kill -6 $$' &); exit 0", false);
    assert_non_null(ended_with(&result, -1, SIGABRT));
    free(result.ended);
}

static void daemon_is_not_waited_for_if_only_the_first_matters(void **state)
{
    (void)state;
    double began = seconds();
    struct supervised result = supervised("(setsid sleep 1 &); exit 3", true);
    assert_true(seconds() - began < 0.9);
    assert_true(result.left_running);
    free(result.ended);
}

static void children_of_before_are_none_of_its_business(void **state)
{
    (void)state;
    pid_t earlier = fork();
    if (earlier == 0) {
        pause_ms(3000);
        _exit(0);
    }
    double began = seconds();
    assert_int_equal(status_of("exit 4"), 4);
    assert_true(seconds() - began < 2);
    kill(earlier, SIGKILL);
    assert_int_equal(status_in_the_end(earlier), -SIGKILL);
}

static void command_has_the_same_descriptors(void **state)
{
    (void)state;
    static const char count[] = "set -- /proc/self/fd/*; exit $#";
    assert_int_equal(status_of(count), WEXITSTATUS(system(count)));
}

static void command_has_the_signal_state_of_its_parent(void **state)
{
    (void)state;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    bool same = is_status_line("^SigBlk:.*0000800$") && is_status_line("^SigIgn:.*0010001$");
    signal(SIGCHLD, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    sigset_t after;
    sigprocmask(SIG_SETMASK, &before, &after);
    assert_true(same);
    assert_true(sigismember(&after, SIGUSR2));
    assert_false(sigismember(&after, SIGTERM));
}

static void command_is_in_our_process_group(void **state)
{
    (void)state;
    char script[96];
    snprintf(script, sizeof(script), "set -- $(cat /proc/$$/stat); test $5 = %d -a $6 = %d", getpgrp(), getsid(0));
    assert_int_equal(status_of(script), 0);
}

/* Exits with the number of TERM signals that it got. */
static const char counting[] =
    "n=0; trap 'n=$((n+1))' TERM; echo >&9; i=0; while [ $i -lt 8 ]; do sleep 0.1 & wait $!; i=$((i+1)); "
    "done; wait; exit $n";

static void signal_for_us_alone_is_passed_on_once(void **state)
{
    (void)state;
    pid_t supervisor = supervisor_started(counting);
    kill(supervisor, SIGTERM);
    assert_int_equal(status_in_the_end(supervisor), 101);
}

static void signal_for_the_whole_group_is_not_sent_twice(void **state)
{
    (void)state;
    pid_t supervisor = supervisor_started(counting);
    kill(-supervisor, SIGTERM);
    pause_ms(200);
    kill(-supervisor, SIGTERM);
    assert_int_equal(status_in_the_end(supervisor), 102);
}

static void first_for_us_then_for_the_group_counts_as_two(void **state)
{
    (void)state;
    pid_t supervisor = supervisor_started(counting);
    kill(supervisor, SIGTERM);
    pause_ms(200);
    kill(-supervisor, SIGTERM);
    assert_int_equal(status_in_the_end(supervisor), 102);
}

static void signal_from_the_command_to_its_parent_is_not_sent_back(void **state)
{
    (void)state;
    static const char script[] = "n=0; trap 'n=$((n+1))' TERM; kill -TERM $PPID; echo >&9; sleep 0.3; exit $n";
    assert_int_equal(status_in_the_end(supervisor_started(script)), 0);
}

static void signal_ends_a_daemon_that_the_command_left(void **state)
{
    (void)state;
    pid_t supervisor = supervisor_started("(setsid sleep 20 &); sleep 0.1; echo >&9; exit 3");
    pause_ms(200);
    double began = seconds();
    kill(supervisor, SIGTERM);
    assert_int_equal(status_in_the_end(supervisor), 3);
    assert_true(seconds() - began < 5);
}

static void second_signal_gives_up_on_a_daemon_that_stays(void **state)
{
    (void)state;
    pid_t supervisor = supervisor_started("(setsid sh -c 'trap \"\" TERM; echo >&9; sleep 2; sleep 0.1' &); exit 3");
    pause_ms(100);
    double began = seconds();
    kill(supervisor, SIGTERM);
    pause_ms(100);
    kill(supervisor, SIGTERM);
    assert_int_equal(status_in_the_end(supervisor), 3);
    assert_true(seconds() - began < 1.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_status_is_the_commands),
        cmocka_unit_test(signal_that_killed_it_is_known),
        cmocka_unit_test(command_that_cannot_be_started_says_why),
        cmocka_unit_test(script_without_interpreter_line_is_run_by_sh),
        cmocka_unit_test(daemon_is_waited_for),
        cmocka_unit_test(signal_that_killed_a_daemon_is_known),
        cmocka_unit_test(daemon_is_not_waited_for_if_only_the_first_matters),
        cmocka_unit_test(children_of_before_are_none_of_its_business),
        cmocka_unit_test(command_has_the_same_descriptors),
        cmocka_unit_test(command_has_the_signal_state_of_its_parent),
        cmocka_unit_test(command_is_in_our_process_group),
        cmocka_unit_test(signal_for_us_alone_is_passed_on_once),
        cmocka_unit_test(signal_for_the_whole_group_is_not_sent_twice),
        cmocka_unit_test(first_for_us_then_for_the_group_counts_as_two),
        cmocka_unit_test(signal_from_the_command_to_its_parent_is_not_sent_back),
        cmocka_unit_test(signal_ends_a_daemon_that_the_command_left),
        cmocka_unit_test(second_signal_gives_up_on_a_daemon_that_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
