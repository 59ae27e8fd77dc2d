/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work in rounds, so that tests/bench/run can let two processes take turns: for each line on stdin one round, answered by
 * a line on stdout with two numbers, nanoseconds per operation by the clock and of this thread's processor time.
 */
#ifndef UNCLOSED_TESTS_BENCH_ROUNDS_H
#define UNCLOSED_TESTS_BENCH_ROUNDS_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void required(int condition)
{
    if (!condition)
        abort();
}

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* The first quarter more is not counted: it fills the caches. */
static void round_measured(void (*operation)(void), long operations)
{
    for (long i = 0; i < (operations + 3) / 4; i++)
        operation();
    double wall = now(CLOCK_MONOTONIC), processor = now(CLOCK_THREAD_CPUTIME_ID);
    for (long i = 0; i < operations; i++)
        operation();
    processor = now(CLOCK_THREAD_CPUTIME_ID) - processor;
    wall = now(CLOCK_MONOTONIC) - wall;
    printf("%.1f %.1f\n", wall / (double)operations, processor / (double)operations);
    fflush(stdout);
}

static void *asleep(void *unused)
{
    for (;;)
        pause();
    return unused;
}

/* Until stdin ends; with so many threads more, which sleep. */
static void rounds_measured(void (*operation)(void), long operations, int threads)
{
    char line[16];
    for (; threads > 0; threads--) {
        pthread_t thread;
        required(pthread_create(&thread, NULL, asleep, NULL) == 0);
    }
    while (fgets(line, sizeof line, stdin))
        round_measured(operation, operations);
}

#endif
