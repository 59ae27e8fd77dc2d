/* SPDX-License-Identifier: Apache-2.0 */
#include "scan.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "raw_syscall.h"
#include "scan_private.h"

enum { ATTEMPTS = 3, LOOK_AFTER_NS = 20000000, GRACE_NS = 100000000 };

static void answers_withdrawn(struct scan_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        request->handles[i].reference = REFERENCE_UNKNOWN;
        request->handles[i].through_handle = 0;
    }
}

static struct mailbox *mailbox_made(const struct scan_request *request)
{
    long address = raw_syscall6(SYS_mmap, 0, sizeof(struct mailbox), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw_syscall_failed(address))
        return NULL;
    struct mailbox *mailbox = (struct mailbox *)address;
    mailbox->deadline = monotonic_ns() + request->time_limit_ns;
    mailbox->page_size = getauxval(AT_PAGESZ);
    mailbox->host = raw_syscall0(SYS_getpid);
    mailbox->host_thread = raw_syscall0(SYS_gettid);
    return mailbox;
}

/* The copy must never run a handler of the host: it is born with all signals blocked and stays so. */
static long copy_made(struct scan_request *request, struct mailbox *mailbox)
{
    uint64_t all = ~(uint64_t)0, before;
    raw_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&before, sizeof(all));
    long copy = raw_syscall5(SYS_clone, 0, 0, 0, 0, 0);
    if (copy == 0)
        copy_scans(request, mailbox);
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof(before));
    return copy;
}

/* Ends when the copy has ended, whatever signals come meanwhile. */
static void copy_waited(long copy, struct mailbox *mailbox)
{
    struct timespec pause = {.tv_nsec = LOOK_AFTER_NS};
    int status;
    while (!atomic_load_explicit(&mailbox->answered, memory_order_acquire)) {
        raw_syscall4(SYS_futex, (long)&mailbox->answered, FUTEX_WAIT, 0, (long)&pause);
        long ended = raw_syscall4(SYS_wait4, copy, (long)&status, WNOHANG | __WALL, 0);
        if (ended == copy || ended == -ECHILD)
            return;
        if (monotonic_ns() > mailbox->deadline + GRACE_NS) {
            raw_syscall2(SYS_kill, copy, SIGKILL);
            break;
        }
    }
    while (raw_syscall4(SYS_wait4, copy, (long)&status, __WALL, 0) == -EINTR)
        ;
}

static enum scan_outcome attempted(struct scan_request *request, struct mailbox *mailbox, const char **reason)
{
    answers_withdrawn(request);
    mailbox->unsettled = false;
    atomic_store(&mailbox->answered, 0);
    atomic_store(&mailbox->threads_checked, 0);
    long count = mappings_read(mailbox->host_mappings, mailbox->text);
    if (count < 0) {
        *reason = count == -E2BIG ? "it has too many memory mappings" : "/proc/self/maps cannot be read";
        return SCAN_FAILED;
    }
    mailbox->host_mapping_count = (size_t)count;
    thread_states_read(mailbox);
    long copy = copy_made(request, mailbox);
    if (copy < 0) {
        *reason = "no copy of the process could be made";
        return SCAN_FAILED;
    }
    thread_states_checked(mailbox);
    atomic_store(&mailbox->threads_checked, 1);
    raw_syscall3(SYS_futex, (long)&mailbox->threads_checked, FUTEX_WAKE, 1);
    copy_waited(copy, mailbox);
    if (atomic_load(&mailbox->answered)) {
        *reason = mailbox->reason;
        return mailbox->outcome;
    }
    answers_withdrawn(request);
    bool late = monotonic_ns() > mailbox->deadline;
    *reason = late ? "it took too long" : "the copy of the process was killed";
    return late ? SCAN_TIMED_OUT : SCAN_FAILED;
}

enum scan_outcome scan_references(struct scan_request *request, const char **reason)
{
    *reason = NULL;
    answers_withdrawn(request);
    if (request->count == 0)
        return SCAN_DONE;
    struct mailbox *mailbox = mailbox_made(request);
    if (!mailbox) {
        *reason = "no memory";
        return SCAN_FAILED;
    }
    enum scan_outcome outcome;
    int attempts = 0;
    /* A thread frozen in the middle of malloc leaves a heap that cannot be walked; a moment later it is whole again. */
    do
        outcome = attempted(request, mailbox, reason);
    while (mailbox->unsettled && mailbox->thread_count && ++attempts < ATTEMPTS && monotonic_ns() < mailbox->deadline);
    raw_syscall2(SYS_munmap, (long)mailbox, sizeof(*mailbox));
    return outcome;
}
