/* SPDX-License-Identifier: Apache-2.0 */
/* Load, first event, fork: see the picture in shim.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define UNCLOSED_EXPORTS
#include <unclosed/unclosed.h>

#include "definitions.h"
#include "python/python.h"
#include "raw_syscall.h"
#include "shim.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef PR_GET_SECCOMP
#define PR_GET_SECCOMP 21
#endif

extern const char shim_first_byte[] __asm__("__ehdr_start") HIDDEN;
extern const char shim_last_byte[] __asm__("_end") HIDDEN;

static _Atomic uint32_t life_before_load[2] = {LIFE_COLD, 0};
struct shim shim = {.life = life_before_load};

enum { STARTING_WAIT_NS = 100000000 };

static void child_is_cold(void)
{
    atomic_store(shim.life, LIFE_COLD);
    unlocked(kinds_lock());
}

static void life_page_made(void)
{
    long page = raw_syscall6(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page < 0 && page > -4096)
        return;
    if (raw_syscall3(SYS_madvise, page, 4096, MADV_WIPEONFORK) != 0)
        pthread_atfork(NULL, NULL, child_is_cold); /* kernel before 4.14 */
    shim.life = (_Atomic uint32_t *)page;
}

static bool another_copy_is_first(void)
{
    /* The first definition in the global scope, which is where the preloads are. */
    extern void *dlsym(void *, const char *);
    const void *first = dlsym(NULL, "unclosed_api_table");
    return first && first != &unclosed_api_table;
}

/* Libraries' constructors run before ours, and may start threads. 0; the process that loads; LOADED. */
enum { LOADED = -1 };
static _Atomic pid_t loader;

/* One thread loads, others wait for it, but not for ever: it may want a lock of the linker that they hold. */
static bool loading_is_ours(void)
{
    static __thread bool loading __attribute__((tls_model("initial-exec")));
    pid_t nobody = 0, process = (pid_t)raw_syscall0(SYS_getpid);
    if (loading)
        return false; /* a signal handler that came meanwhile */
    uint64_t until = time_now() + STARTING_WAIT_NS;
    do {
        /* Of another process: it began in our parent, in a thread that does not exist here. */
        if (nobody != process && atomic_compare_exchange_strong(&loader, &nobody, process))
            return loading = true;
        raw_syscall0(SYS_sched_yield);
        nobody = atomic_load_explicit(&loader, memory_order_acquire);
    } while (nobody != LOADED && time_now() < until);
    return false;
}

static bool is_loaded(void)
{
    return likely(atomic_load_explicit(&loader, memory_order_acquire) == LOADED);
}

void shim_loaded(void)
{
    if (is_loaded() || !loading_is_ours())
        return;
    shim.start = (uintptr_t)shim_first_byte;
    shim.end = (uintptr_t)shim_last_byte;
    shim.pid = (pid_t)raw_syscall0(SYS_getpid);
    shim.loaded_at = time_now();
    shim.start_ticks = start_ticks_of_self();
    link_read("/proc/self/exe", shim.executable, sizeof(shim.executable));
    struct stat error_output;
    if (raw_syscall2(SYS_fstat, 2, (long)&error_output) == 0) {
        shim.stderr_device = error_output.st_dev;
        shim.stderr_inode = error_output.st_ino;
    }
    life_page_made();
    options_read(&shim.options);
    shim.passive = another_copy_is_first();
    if (shim.options.run[0])
        shim.pid_namespace = pid_namespace_of_self();
    ending_prepared();
    roll_called(ROLLCALL_LOADED, shim.pid, NULL,
                (shim.passive ? ROLLCALL_PASSIVE : 0) | (shim.options.skipped ? ROLLCALL_SKIPPED : 0));
    atomic_store_explicit(&loader, LOADED, memory_order_release);
}

__attribute__((constructor(101))) static void constructed(void)
{
    int error = errno;
    shim_loaded();
    errno = error;
}

bool has_own_trace(void)
{
    if (atomic_load_explicit(shim.life, memory_order_acquire) != LIFE_ON)
        return false;
    /* Sealed: getpid may not be allowed. A vfork child's mark is withdrawn by its parent's next event. */
    return atomic_load(&shim.sealed) || raw_syscall0(SYS_getpid) == shim.pid;
}

void recording_stopped(const char *why, const char *what, int error)
{
    static _Atomic uint32_t told;
    atomic_store(shim.life, LIFE_OFF);
    if (atomic_exchange(&told, 1))
        return;
    said(why, what, error);
    char text[sizeof(((struct rollcall_record *)0)->text)];
    struct text reason = text_in(text, sizeof(text));
    text_added(&reason, why);
    if (error == EMFILE)
        text_added(&reason, " (no file descriptor left)");
    else if (error == ENOSPC)
        text_added(&reason, " (no space left on device)");
    roll_called(ROLLCALL_FAILED, shim.pid, text, 0);
}

/* In a forked child, first event: nothing of the parent's trace is ours; look things up in it, never write there. */
static void inheritance_taken(void)
{
    if (shim.inherited.base)
        raw_syscall2(SYS_munmap, (long)shim.inherited.base, (long)shim.inherited.size);
    shim.inherited = shim.trace;
    shim.inherited_pid = shim.pid;
    shim.inherited_start_ticks = shim.start_ticks;
    shim.fork_generation = atomic_load(&shim.generation);
    memset(&shim.trace, 0, sizeof(shim.trace));
    memset((void *)shim.handle_locks, 0, sizeof(shim.handle_locks));
    memset((void *)shim.family_locks, 0, sizeof(shim.family_locks));
    memset((void *)shim.intern_locks, 0, sizeof(shim.intern_locks));
    memset(shim.free_handles, 0, sizeof(shim.free_handles));
    memset(shim.closed_next, 0, sizeof(shim.closed_next));
    shim.owner_lock = shim.detail_lock = shim.timeline_lock = 0;
    shim.free_owner = shim.free_detail = 0;
}

static void trace_named(char *path, size_t size, uint64_t now)
{
    char name[64];
    program_name(name, sizeof(name));
    struct text text = text_in(path, size);
    text_added(&text, shim.options.directory);
    text_added(&text, "/");
    text_added(&text, name);
    text_added(&text, ".");
    number_added(&text, (uint64_t)shim.pid);
    text_added(&text, ".");
    number_added(&text, now);
    text_added(&text, ".trace");
}

static bool spare_taken(void)
{
    for (int i = 0; shim.spares && i < SPARE_COUNT; i++) {
        struct trace_map *spare = &shim.spares[i];
        uint32_t unclaimed = 0;
        if (!spare->header || !atomic_compare_exchange_strong(&spare->header->taken, &unclaimed, 1))
            continue;
        shim.trace = *spare;
        return true;
    }
    return false;
}

static bool trace_opened(void)
{
    const char *what = NULL;
    trace_named(shim.trace_path, sizeof(shim.trace_path), time_now());
    int error = ENOENT;
    if (shim.options.directory[0]) {
        if (!shim.options.run[0])
            raw_syscall3(SYS_mkdirat, AT_FDCWD, (long)shim.options.directory, 0700);
        error = trace_created(&shim.trace, shim.trace_path, shim.options.maximum_size, shim.options.mode, &what);
    }
    if (error && !spare_taken()) {
        char why[160];
        struct text text = text_in(why, sizeof(why));
        text_added(&text, "nothing is recorded (");
        text_added(&text, what ? what : "no directory for");
        text_added(&text, " the trace; set dir= to another place)");
        recording_stopped(why, shim.trace_path, error);
        return false;
    }
    return true;
}

/* The thread that won COLD -> STARTING. */
static bool trace_begun(void)
{
    bool forked = shim.trace.base != NULL; /* cold, and yet a trace; the pid may be the same in another namespace */
    pid_t pid = (pid_t)raw_syscall0(SYS_getpid);
    if (pid != shim.pid || forked) {
        forked |= shim.inherited.base != NULL;
        if (shim.trace.base)
            inheritance_taken();
        bool parent_had_threads = !is_alone(); /* libc does not reset it in a child */
        definitions_forked(parent_had_threads);
        capture_forked(parent_had_threads);
        shim.pid = pid;
        shim.start_ticks = start_ticks_of_self();
        thread.owner = 0;
    }
    if (!trace_opened())
        return false;
    if (!forked)
        capture_started();
    shim.epoch = hash_mixed((uint64_t)pid, time_now()) | 1;
    struct trace_process *process = record_of(TABLE_PROCESS, 0);
    if (!storage_added(shim.trace.header->tables[TABLE_PROCESS].offset, sizeof(*process)) ||
        !storage_added(shim.trace.header->tables[TABLE_TIMELINE].offset, sizeof(struct trace_timeline))) {
        recording_stopped("nothing is recorded: no space for the trace", shim.trace_path, ENOSPC);
        return false;
    }
    process_described(process);
    struct trace_timeline *timeline = record_of(TABLE_TIMELINE, 0);
    timeline->start = process->clock_monotonic;
    atomic_store(&timeline->width, 10000000u);
    uint32_t other = record_claimed(TABLE_STACK, LOSS_STACKS);
    uint32_t frame = record_claimed(TABLE_FRAME, LOSS_FRAMES);
    if (other == STACK_OTHER && frame) {
        struct trace_frame *unknown = record_of(TABLE_FRAME, frame);
        unknown->type = FRAME_OTHER;
        atomic_store_explicit(&unknown->ready, 1, memory_order_release);
        struct trace_stack *node = record_of(TABLE_STACK, other);
        node->frame = frame;
        node->depth = 1;
        atomic_store_explicit(&node->ready, 1, memory_order_release);
    }
    python_recording_began(forked);
    atomic_store_explicit(&process->ready, 1, memory_order_release);
    atomic_store_explicit(&shim.trace.header->ready, 1, memory_order_release);
    return true;
}

static bool start_waited_for(void)
{
    uint64_t until = time_now() + STARTING_WAIT_NS;
    while (atomic_load_explicit(shim.life, memory_order_acquire) == LIFE_STARTING && time_now() < until)
        raw_syscall0(SYS_sched_yield);
    return atomic_load_explicit(shim.life, memory_order_acquire) == LIFE_ON;
}

bool recording_began(void)
{
    static __thread bool starting __attribute__((tls_model("initial-exec")));
    static _Atomic uint64_t missed;
    shim_loaded();
    uint32_t life = LIFE_COLD;
    if (shim.passive || shim.options.skipped)
        return false;
    if (starting || !is_loaded()) { /* a signal handler that came meanwhile, or another thread is not done yet */
        atomic_fetch_add(&missed, 1);
        return false;
    }
    if (atomic_load(&shim.sealed)) { /* a child of a sealed program: a trace cannot be made any more */
        atomic_compare_exchange_strong(shim.life, &life, LIFE_OFF);
        return atomic_load(shim.life) == LIFE_ON;
    }
    if (!atomic_compare_exchange_strong(shim.life, &life, LIFE_STARTING)) {
        if (life == LIFE_STARTING && !start_waited_for())
            atomic_fetch_add(&missed, 1);
        return atomic_load(shim.life) == LIFE_ON;
    }
    starting = true;
    bool begun = trace_begun();
    if (begun) {
        atomic_fetch_add(&shim.trace.header->losses[LOSS_BEFORE_START], atomic_exchange(&missed, 0));
        atomic_store_explicit(shim.life, LIFE_ON, memory_order_release);
    } else {
        atomic_store_explicit(shim.life, LIFE_OFF, memory_order_release);
    }
    starting = false;
    return begun;
}

static void spare_made(int number)
{
    char path[sizeof(shim.trace_path)];
    const char *what;
    trace_named(path, sizeof(path), time_now() + (uint64_t)number);
    trace_created(&shim.spares[number], path, shim.options.maximum_size, shim.options.mode, &what);
}

void spares_reserved(void)
{
    static _Atomic uint32_t reserved;
    shim_loaded();
    struct copy_description library;
    if (shim.passive || shim.options.skipped || !shim.options.directory[0])
        return;
    if ((!shim.trace.base && copies_known(&library, 1) == 0) || atomic_exchange(&reserved, 1))
        return; /* no client library: su, sshd */
    if (!shim.options.run[0])
        raw_syscall3(SYS_mkdirat, AT_FDCWD, (long)shim.options.directory, 0700);
    long shared = raw_syscall6(SYS_mmap, 0, SPARE_COUNT * sizeof(struct trace_map), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared < 0 && shared > -4096)
        return;
    shim.spares = (struct trace_map *)shared;
    for (int i = 0; i < SPARE_COUNT; i++)
        spare_made(i);
}
