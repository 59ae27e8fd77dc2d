/* SPDX-License-Identifier: Apache-2.0 */
/* The scan leaves its process as it was, and says "unknown" where memory, time or the kernel do not let it know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "scan_case.h"

enum { MEBIBYTE = 1 << 20, INSTALL_GUARD = 102 /* MADV_GUARD_INSTALL, Linux 6.13 */ };

static void *volatile global;
static size_t held, lost;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECONDS + (uint64_t)now.tv_nsec;
}

static int case_begun(void **state)
{
    (void)state;
    scan_case.count = 0;
    scan_case.time_limit_ns = 0;
    held = handle_stored(&global);
    lost = handle_lost();
    return 0;
}

static void verdicts_are_right(void)
{
    assert_int_equal(reference_of(held), REFERENCE_HELD);
    if (MALLOC_IS_GLIBC) {
        assert_int_equal(scan_case.outcome, SCAN_DONE);
        assert_int_equal(reference_of(lost), REFERENCE_LOST);
    } else {
        assert_int_not_equal(reference_of(lost), REFERENCE_LOST);
    }
}

static void nothing_is_called_lost(void)
{
    for (size_t i = 0; i < scan_case.count; i++)
        assert_int_not_equal(reference_of(i), REFERENCE_LOST);
}

/* --- the host is as before --------------------------------------------------------------------------------------------- */

static atomic_int signals_seen;

static void signal_counted(int number)
{
    (void)number;
    atomic_fetch_add(&signals_seen, 1);
}

static atomic_int forks_seen;

static void fork_counted(void)
{
    atomic_fetch_add(&forks_seen, 1);
}

static void no_child_no_signal_and_no_fork_handler_is_seen(void **state)
{
    (void)state;
    struct sigaction counting = {.sa_handler = signal_counted}, before;
    sigaction(SIGCHLD, &counting, &before);
    pthread_atfork(fork_counted, fork_counted, fork_counted);
    scan_asked();
    sigaction(SIGCHLD, &before, NULL);
    assert_int_equal(signals_seen, 0);
    assert_int_equal(forks_seen, 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    assert_int_equal(errno, ECHILD);
    verdicts_are_right();
}

static unsigned long descriptors_open(void)
{
    unsigned long open = 0;
    for (int fd = 0; fd < 64; fd++)
        open |= (unsigned long)(fcntl(fd, F_GETFD) >= 0) << fd;
    return open;
}

static void errno_descriptors_and_signal_mask_are_as_before(void **state)
{
    (void)state;
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    unsigned long open = descriptors_open();
    errno = 4711;
    scan_asked();
    assert_int_equal(errno, 4711);
    assert_int_equal(descriptors_open(), open);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&after, SIGUSR1), 1);
    assert_int_equal(sigismember(&after, SIGUSR2), 0);
    sigemptyset(&before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    verdicts_are_right();
}

static size_t mappings_counted(void)
{
    size_t lines = 0;
    char text[4096];
    int fd = open("/proc/self/maps", O_RDONLY);
    for (ssize_t length; (length = read(fd, text, sizeof(text))) > 0;)
        for (ssize_t i = 0; i < length; i++)
            lines += text[i] == '\n';
    close(fd);
    return lines;
}

static void memory_is_as_before(void **state)
{
    (void)state;
    scan_asked();
    size_t before = mappings_counted();
    scan_asked();
    assert_int_equal(mappings_counted(), before);
}

static void signals_that_come_meanwhile_are_handled_by_the_host_alone(void **state)
{
    (void)state;
    struct sigaction counting = {.sa_handler = signal_counted}, before;
    struct itimerval often = {{0, 200}, {0, 200}}, never = {0};
    sigaction(SIGALRM, &counting, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 20; i++) {
        scan_asked();
        verdicts_are_right();
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_true(signals_seen > 0);
}

/* --- memory that is strange ---------------------------------------------------------------------------------------------- */

static void what_only_hidden_memory_may_hold_is_unknown(void **state)
{
    (void)state;
    void **hidden = mmap(NULL, MEBIBYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_int_equal(madvise(hidden, MEBIBYTE, MADV_DONTFORK), 0);
    size_t handle = handle_stored(&hidden[1000]);
    scan_asked();
    munmap(hidden, MEBIBYTE);
    assert_non_null(scan_case.reason);
    assert_int_equal(reference_of(held), REFERENCE_HELD);
    nothing_is_called_lost();
    if (MALLOC_IS_GLIBC) {
        assert_int_equal(scan_case.outcome, SCAN_NOT_POSSIBLE);
        assert_int_equal(reference_of(handle), REFERENCE_UNKNOWN);
        assert_int_equal(reference_of(lost), REFERENCE_UNKNOWN);
    }
}

static long resident_kilobytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    return usage.ru_maxrss;
}

static void a_huge_reservation_is_not_touched(void **state)
{
    (void)state;
    size_t size = (size_t)100 << 30;
    void **huge = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void **shared = mmap(NULL, size / 10, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (huge == MAP_FAILED || shared == MAP_FAILED)
        skip();
    size_t far_away = handle_stored(&huge[size / sizeof(void *) - 100]);
    size_t shared_far_away = handle_stored(&shared[size / 10 / sizeof(void *) - 100]);
    uint64_t began = now_ns();
    scan_asked();
    uint64_t took = now_ns() - began;
    munmap(huge, size);
    munmap(shared, size / 10);
    verdicts_are_right();
    if (MALLOC_IS_GLIBC) {
        assert_int_equal(reference_of(far_away), REFERENCE_HELD);
        assert_int_equal(reference_of(shared_far_away), REFERENCE_HELD);
        assert_true(resident_kilobytes() < 1 << 20);
    }
    assert_true(took < 10 * SECONDS);
}

static void pages_that_cannot_be_read_are_passed_over(void **state)
{
    (void)state;
    char name[] = "/tmp/unclosed-scan-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    assert_int_equal(ftruncate(fd, MEBIBYTE), 0);
    char *private = mmap(NULL, MEBIBYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *shared = mmap(NULL, MEBIBYTE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(private, 1, MEBIBYTE);
    memset(shared, 1, MEBIBYTE);
    assert_int_equal(ftruncate(fd, 0), 0);
    void **guarded = mmap(NULL, MEBIBYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(guarded, 1, MEBIBYTE);
    madvise(guarded, 65536, INSTALL_GUARD);
    size_t behind_guard = handle_stored(&guarded[20000]);
    scan_asked();
    munmap(private, MEBIBYTE);
    munmap(shared, MEBIBYTE);
    munmap(guarded, MEBIBYTE);
    close(fd);
    verdicts_are_right();
    if (MALLOC_IS_GLIBC)
        assert_int_equal(reference_of(behind_guard), REFERENCE_HELD);
}

/* --- too little time, no permission ----------------------------------------------------------------------------------------- */

static void without_time_nothing_is_called_lost(void **state)
{
    (void)state;
    scan_case.time_limit_ns = 1;
    scan_asked();
    assert_int_equal(scan_case.outcome, SCAN_TIMED_OUT);
    assert_non_null(scan_case.reason);
    nothing_is_called_lost();
}

static void the_time_limit_is_kept(void **state)
{
    (void)state;
    size_t size = (size_t)2 << 30;
    char *large = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t i = 0; i < size; i += 4096)
        large[i] = 1;
    scan_case.time_limit_ns = 100000000;
    uint64_t began = now_ns();
    scan_asked();
    uint64_t took = now_ns() - began;
    munmap(large, size);
    assert_int_equal(scan_case.outcome, SCAN_TIMED_OUT);
    nothing_is_called_lost();
    assert_true(took < 2 * SECONDS);
}

static void child_ended_well(void (*work)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        work();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void expect(bool what)
{
    if (!what)
        _exit(1);
}

static bool verdicts_are_not_wrong(void)
{
    return reference_of(held) != REFERENCE_LOST && (!MALLOC_IS_GLIBC || reference_of(lost) != REFERENCE_HELD);
}

static void scanned_without_processes(void)
{
    struct rlimit none = {0};
    expect(setresuid(65534, 65534, 65534) == 0 && setrlimit(RLIMIT_NPROC, &none) == 0);
    scan_asked();
    expect(scan_case.outcome == SCAN_FAILED && scan_case.reason && reference_of(held) == REFERENCE_UNKNOWN);
}

static void where_no_copy_can_be_made_all_is_unknown(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    child_ended_well(scanned_without_processes);
}

/* As in a daemon that has given up its rights: its own page map and its threads' states are closed to it. */
static void scanned_undumpable(void)
{
    expect(geteuid() != 0 || setresuid(65534, 65534, 65534) == 0);
    expect(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
    scan_asked();
    expect(verdicts_are_not_wrong());
    expect(!MALLOC_IS_GLIBC || scan_case.outcome == SCAN_DONE);
}

static void a_process_that_may_not_be_dumped_is_scanned(void **state)
{
    (void)state;
    child_ended_well(scanned_undumpable);
}

static bool forbidden(int call)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(*filter), filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* As in containers of old. */
static void scanned_where_reading_processes_is_forbidden(void)
{
    expect(forbidden(SYS_process_vm_readv));
    scan_asked();
    expect(!MALLOC_IS_GLIBC || (scan_case.outcome == SCAN_DONE && reference_of(lost) == REFERENCE_LOST));
    expect(reference_of(held) == REFERENCE_HELD);
}

static void memory_is_read_in_another_way_where_one_is_forbidden(void **state)
{
    (void)state;
    child_ended_well(scanned_where_reading_processes_is_forbidden);
}

static void scanned_without_descriptors(void)
{
    struct rlimit none = {0};
    expect(setrlimit(RLIMIT_NOFILE, &none) == 0);
    scan_asked();
    expect(scan_case.outcome == SCAN_FAILED && scan_case.reason && reference_of(lost) == REFERENCE_UNKNOWN);
}

static void where_no_descriptor_is_left_all_is_unknown(void **state)
{
    (void)state;
    child_ended_well(scanned_without_descriptors);
}

static void scanned_without_memory(void)
{
    scan_asked();
    struct rlimit little = {(rlim_t)1 << 20, (rlim_t)1 << 20};
    expect(setrlimit(RLIMIT_AS, &little) == 0);
    scan_asked();
    expect(scan_case.outcome == SCAN_FAILED && scan_case.reason && reference_of(lost) == REFERENCE_UNKNOWN);
}

static void where_no_memory_is_left_all_is_unknown(void **state)
{
    (void)state;
    if (!MALLOC_IS_GLIBC)
        skip();
    child_ended_well(scanned_without_memory);
}

/* --- threads that never rest ---------------------------------------------------------------------------------------------------- */

static atomic_bool stop;

static void *allocates(void *seed)
{
    uint32_t random = (uint32_t)(uintptr_t)seed;
    void *blocks[64] = {0};
    while (!atomic_load(&stop)) {
        random = random * 1664525u + 1013904223u;
        void **block = &blocks[random >> 26];
        free(*block);
        *block = malloc((random >> 8) % 20000);
    }
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    return NULL;
}

static void *ends_at_once(void *unused)
{
    return unused;
}

static void *begins_threads(void *unused)
{
    while (!atomic_load(&stop)) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, ends_at_once, NULL) == 0)
            pthread_join(thread, NULL);
    }
    return unused;
}

static void a_heap_in_motion_never_makes_a_held_handle_lost(void **state)
{
    (void)state;
    static struct node {
        struct node *next;
        void *handle;
    } *volatile list;
    size_t known = 0, scans = 40;
    pthread_t threads[3];
    for (int i = 0; i < 50; i++) {
        struct node *node = malloc(sizeof(*node));
        node->next = list;
        list = node;
        handle_stored(&node->handle);
    }
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, i ? allocates : begins_threads, (void *)i);
    for (size_t scan = 0; scan < scans; scan++) {
        scan_asked();
        for (size_t i = 2; i < scan_case.count; i++)
            assert_true(reference_of(i) == REFERENCE_HELD || reference_of(i) == REFERENCE_UNKNOWN || !MALLOC_IS_GLIBC);
        known += scan_case.outcome == SCAN_DONE && reference_of(lost) == REFERENCE_LOST;
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(known > scans / 2 || !MALLOC_IS_GLIBC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_child_no_signal_and_no_fork_handler_is_seen, case_begun),
        cmocka_unit_test_setup(errno_descriptors_and_signal_mask_are_as_before, case_begun),
        cmocka_unit_test_setup(memory_is_as_before, case_begun),
        cmocka_unit_test_setup(signals_that_come_meanwhile_are_handled_by_the_host_alone, case_begun),
        cmocka_unit_test_setup(what_only_hidden_memory_may_hold_is_unknown, case_begun),
        cmocka_unit_test_setup(a_huge_reservation_is_not_touched, case_begun),
        cmocka_unit_test_setup(pages_that_cannot_be_read_are_passed_over, case_begun),
        cmocka_unit_test_setup(without_time_nothing_is_called_lost, case_begun),
        cmocka_unit_test_setup(the_time_limit_is_kept, case_begun),
        cmocka_unit_test_setup(where_no_copy_can_be_made_all_is_unknown, case_begun),
        cmocka_unit_test_setup(a_process_that_may_not_be_dumped_is_scanned, case_begun),
        cmocka_unit_test_setup(memory_is_read_in_another_way_where_one_is_forbidden, case_begun),
        cmocka_unit_test_setup(where_no_descriptor_is_left_all_is_unknown, case_begun),
        cmocka_unit_test_setup(where_no_memory_is_left_all_is_unknown, case_begun),
        cmocka_unit_test_setup(a_heap_in_motion_never_makes_a_held_handle_lost, case_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
