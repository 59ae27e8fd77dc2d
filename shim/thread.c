/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "raw_syscall.h"
#include "shim.h"

__thread struct thread thread __attribute__((tls_model("initial-exec")));

enum { PATIENCE = 4096 };

static uint64_t clock_read(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        return 0;
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t time_now(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t time_now_coarse(void)
{
    return clock_read(CLOCK_MONOTONIC_COARSE);
}

void thread_refreshed(void)
{
    if (atomic_load_explicit(&shim.sealed, memory_order_relaxed)) {
        if (thread.epoch != shim.epoch)
            thread.id = 0;
    } else {
        if (thread.epoch != shim.epoch)
            thread.id = (uint32_t)raw_syscall0(SYS_gettid);
        raw_syscall5(SYS_prctl, PR_GET_NAME, (long)thread.name, 0, 0, 0);
    }
    if (thread.epoch != shim.epoch)
        thread.own_owner = 0;
    thread.epoch = shim.epoch;
    thread.named_at = time_now();
}

/* Yielding is not enough where whoever has the lock is of lower real-time priority than we. */
static void processor_given_up(bool for_long)
{
    struct timespec moment = {.tv_nsec = 50000};
    if (for_long)
        raw_syscall2(SYS_nanosleep, (long)&moment, 0);
    else
        raw_syscall0(SYS_sched_yield);
}

void lock_waited(spinlock *lock)
{
    for (unsigned tries = 1;; tries++) {
        uint32_t expected = 0;
        if (atomic_load_explicit(lock, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(lock, &expected, 1, memory_order_acquire, memory_order_relaxed))
            return;
        if (tries % 64 == 0 && !atomic_load_explicit(&shim.sealed, memory_order_relaxed))
            processor_given_up(tries > PATIENCE);
        __builtin_ia32_pause();
    }
}
