/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim's state: one struct, and the few things that every file of this room needs.
 *
 *     COLD ── first watched call ──> STARTING ── trace mapped ──> ON ── trouble, only=/skip= ──> OFF
 *       ^                                                          │
 *       └────────────────────── fork (in the child) ───────────────┘
 *
 * The life-cycle word lies in a page that the kernel wipes in a forked child (MADV_WIPEONFORK), so one load tells both
 * "record?" and "am I still the process that this memory was set up for?". vfork children share it with their parent:
 * what they can reach (exec, _exit) compares the pid.
 *
 * Rules of this room: no malloc, no stdio, no fd kept, no signal handler, no thread; capture before locking; no lock
 * while a real function runs; errno is the caller's.
 */
#ifndef UNCLOSED_SHIM_H
#define UNCLOSED_SHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unclosed/trace.h>

#include "capture.h"

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden")))
#define HOT __attribute__((hot)) /* run by every call: kept together, in few of the program's cache lines */
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

enum life { LIFE_COLD, LIFE_STARTING, LIFE_ON, LIFE_OFF };

/* What UNCLOSED_OPTIONS says, see libunclosed(7). Read once, at load. */
struct options {
    char directory[1024]; /* absolute; "" : the default could not be made absolute */
    char run[64];         /* name of the `run` that started us, "" in bare use */
    char label[128];
    char text[1024];       /* the variable as it was found */
    char fail_on[16];      /* bare use: "error", "warning", "note"; "" : never change the exit status */
    char held[16];         /* bare use: passed on to the reporter */
    uint64_t maximum_size; /* of the trace, bytes */
    unsigned depth;        /* frames of a stack */
    unsigned mode;         /* of the trace file */
    unsigned keep;         /* bare use: newest reports kept */
    bool report;           /* bare use: make a page at exit */
    bool scan;             /* look for references at exit */
    bool python;           /* start the adapter in a Python program */
    bool skipped;          /* only=/skip= leave this program out */
};

enum { LOCK_SHARDS = 64, SPARE_COUNT = 8 };
typedef _Atomic uint32_t spinlock;

struct mapped_table {
    unsigned char *base;
    uint32_t record_size;
    uint64_t capacity;
};

/* A mapped trace. A forked child also keeps its parent's, to look up what it inherited. */
struct trace_map {
    unsigned char *base; /* NULL: none */
    uint64_t size;
    struct trace_header *header;
    _Atomic uint8_t *granules;
    struct mapped_table table[TABLE_COUNT];
};

struct shim {
    _Atomic uint32_t *life; /* enum life, in the page that fork wipes; behind it the lock of the declared kinds */
    struct trace_map trace;
    struct trace_map inherited; /* the parent's trace after a fork */
    uint64_t epoch;             /* identity of `trace`; 0: none yet */
    pid_t pid;                  /* whom `trace` belongs to */
    pid_t inherited_pid;
    uint64_t inherited_start_ticks;
    uint64_t fork_generation;
    _Atomic uint64_t generation; /* of handles; private memory, so a child's copy stands where the fork left it */
    char trace_path[1280];
    char executable[1024]; /* read at load: later there may be no /proc */
    struct options options;
    uint64_t loaded_at;   /* CLOCK_MONOTONIC */
    uint64_t start_ticks; /* of `pid`, field 22 of /proc/PID/stat */
    uint64_t pid_namespace;
    struct trace_map *spares; /* SPARE_COUNT of them, in memory shared with all forked children */
    dev_t stderr_device;      /* what fd 2 was at load */
    ino_t stderr_inode;
    bool passive;                  /* another copy of the shim is there first */
    _Atomic bool sealed;           /* the program installed a seccomp filter */
    _Atomic uint64_t unload_epoch; /* counts dlclose */
    uintptr_t start, end;          /* where we ourselves are mapped */

    /* Locks guard what the reader needs not: indexes, lists of free slots, chains. Innermost, one at a
     * time (those of handles go around those of families, that of modules around that of strings). */
    spinlock handle_locks[LOCK_SHARDS];
    uint32_t free_handles[LOCK_SHARDS];
    spinlock family_locks[LOCK_SHARDS];
    spinlock intern_locks[TABLE_COUNT];
    spinlock owner_lock, detail_lock, timeline_lock;
    uint32_t free_owner, free_detail;
    _Atomic uint64_t next_owner;
    uint32_t closed_next[2]; /* next places in the two rings; under intern_locks[TABLE_CLOSED] */
};

extern HIDDEN struct shim shim;

/* Per thread. Small: it is carved from every thread's stack. */
struct thread {
    uint32_t id;     /* kernel thread id in the process with `epoch` */
    uint8_t busy;    /* inside the shim: a signal handler that comes now passes through */
    bool has_ended;  /* its last destructors run */
    bool is_stopped; /* … because Python's shutdown has stopped it */
    uint64_t epoch;
    uint64_t named_at;
    uint64_t owner;           /* unclosed_owner_id: current owner, as the program says */
    uint64_t own_owner;       /* … the thread itself, 0: not yet; of the trace with `epoch` */
    const void *python_frame; /* unclosed_frame_enter: where the Python part of stacks begins, NULL: here */
    char name[TRACE_THREAD_NAME];
};
extern HIDDEN __thread struct thread thread __attribute__((tls_model("initial-exec")));

/* --- life cycle (lifecycle.c) --------------------------------------------------------------------------------- */

/* Starts recording, or restarts it in a forked child. False: this call is not recorded. errno may change. */
HIDDEN bool recording_began(void);

static inline bool is_recording(void)
{
    return likely(atomic_load_explicit(shim.life, memory_order_acquire) == LIFE_ON) || recording_began();
}

/* Is there a trace of this very process? Unlike is_recording, starts nothing. For calls that a vfork child can reach. */
HIDDEN bool has_own_trace(void);

/* Stops recording for good, in this process; what is in the trace stays readable. `why` goes to stderr, once. */
HIDDEN void recording_stopped(const char *why, const char *what, int error);

/* Everything that must happen before anything else can, at most once: options, real functions, who we are. */
HIDDEN void shim_loaded(void);

/* Traces made ahead, which a forked child can take when it cannot make its own any more: call before the program gives
 * up the right or the way to the directory (chroot, setuid). Once; later calls do nothing. */
HIDDEN void spares_reserved(void);

/* --- guard ------------------------------------------------------------------------------------------------------- */

/* A signal handler interrupted the shim's own code on this thread: pass through (and counted as a loss). */
static inline bool has_interrupted(void)
{
    if (likely(!thread.busy))
        return false;
    if (shim.trace.header)
        atomic_fetch_add_explicit(&shim.trace.header->losses[LOSS_REENTERED], 1, memory_order_relaxed);
    return true;
}

/* Enters the shim's own code; false: pass through. */
static inline bool guard_entered(void)
{
    if (has_interrupted())
        return false;
    thread.busy = 1;
    atomic_signal_fence(memory_order_seq_cst);
    return true;
}

static inline void guard_left(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    thread.busy = 0;
}

/* While there is one thread, a locked instruction protects nobody: libc says so from 2.32 on. */
extern char __libc_single_threaded __attribute__((weak));
static inline bool is_alone(void)
{
    return &__libc_single_threaded && __libc_single_threaded;
}

static inline uint64_t counted(_Atomic uint64_t *counter, uint64_t number)
{
    if (!is_alone())
        return atomic_fetch_add_explicit(counter, number, memory_order_relaxed);
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, before + number, memory_order_relaxed);
    return before;
}

/* Taken before anything is recorded, so also in children that have not begun to. */
static inline spinlock *kinds_lock(void)
{
    return shim.life + 1;
}

HIDDEN void lock_waited(spinlock *lock);

static inline void locked(spinlock *lock)
{
    uint32_t expected = 0;
    if (is_alone() && atomic_load_explicit(lock, memory_order_relaxed) == 0)
        atomic_store_explicit(lock, 1, memory_order_relaxed);
    else if (unlikely(!atomic_compare_exchange_strong_explicit(lock, &expected, 1, memory_order_acquire,
                                                               memory_order_relaxed)))
        lock_waited(lock);
}

static inline void unlocked(spinlock *lock)
{
    atomic_store_explicit(lock, 0, memory_order_release);
}

/* --- thread and time (thread.c) ------------------------------------------------------------------------------------ */

HIDDEN void thread_refreshed(void);

/* This thread's id; its name is in thread.name, at most 0.1 s old. */
static inline uint32_t thread_id(uint64_t now)
{
    if (unlikely(thread.epoch != shim.epoch || now > thread.named_at + 100000000u))
        thread_refreshed();
    return thread.id;
}

HIDDEN uint64_t time_now(void);            /* CLOCK_MONOTONIC, ns */
HIDDEN HOT uint64_t time_now_coarse(void); /* the same clock at its last tick (some ms ago), much cheaper */

/* --- the file (trace_file.c) ---------------------------------------------------------------------------------------- */

/* Creates and maps a trace. 0, or an errno value with *what saying what failed. */
HIDDEN int trace_created(struct trace_map *map, const char *path, uint64_t size, unsigned mode, const char **what);

/* Makes sure that [offset, offset + size) of the trace has storage, so that writing there cannot raise SIGBUS. */
HIDDEN bool storage_added(uint64_t offset, uint64_t size);

static inline bool has_storage(uint64_t offset)
{
    return atomic_load_explicit(&shim.trace.granules[offset / TRACE_GRANULE], memory_order_relaxed) != 0;
}

/* Storage for what recording will need, ahead of a seccomp filter that forbids asking for it later. */
HIDDEN void storage_reserved(void);

static inline void lost(enum trace_loss what)
{
    atomic_fetch_add_explicit(&shim.trace.header->losses[what], 1, memory_order_relaxed);
}

/* The record, which must exist. */
static inline void *record_of(enum trace_table_id table, uint64_t number)
{
    return shim.trace.table[table].base + number * shim.trace.table[table].record_size;
}

/* A fresh record of a table, zero, with storage; 0: the table or the disk is full, counted as `loss`. */
HIDDEN uint32_t record_claimed(enum trace_table_id table, enum trace_loss loss);

/* The slot of a hash index, with storage; NULL: disk full. `slot` is taken modulo its capacity. */
static inline _Atomic uint32_t *index_slot(enum trace_table_id id, uint64_t slot)
{
    const struct mapped_table *table = &shim.trace.table[id];
    _Atomic uint32_t *place = (_Atomic uint32_t *)table->base + (slot & (table->capacity - 1));
    uint64_t offset = (uint64_t)((unsigned char *)place - shim.trace.base);
    return likely(has_storage(offset)) || storage_added(offset, sizeof(uint32_t)) ? place : NULL;
}

/* --- interning (intern.c, modules.c, sites.c) ------------------------------------------------------------------------ */

HIDDEN uint32_t string_interned(const char *text);                /* NULL or "": 0 */
HIDDEN uint32_t bytes_interned(const char *bytes, size_t length); /* cut at 4095 */
HIDDEN uint32_t target_interned(const char *target);              /* without passwords (redact.c) */
HIDDEN uint32_t stack_interned(const struct native_stack *stack, void *was_interrupted); /* bool: set if it was */
HIDDEN HOT uint32_t stack_here(const struct caller *caller);  /* captures; STACK_OTHER when it cannot */
HIDDEN HOT uint32_t site_of(enum kind kind, uint32_t stack);  /* 0: table full */
HIDDEN uint32_t module_of(uintptr_t address, uint64_t *bias); /* 0: in no module, or table full */
/* The loaded object around an address; its path ("": the program) is the linker's. */
HIDDEN bool object_spanned(uintptr_t address, uintptr_t *start, uintptr_t *end, const char **path);

static inline struct trace_handle *handle_at(uint32_t slot)
{
    return (struct trace_handle *)shim.trace.table[TABLE_HANDLE].base + slot;
}

static inline struct trace_site *site_at(uint32_t site)
{
    return (struct trace_site *)shim.trace.table[TABLE_SITE].base + site;
}

/* --- who we are (identity.c, options.c, redact.c) ---------------------------------------------------------------------- */

HIDDEN void options_read(struct options *options);
HIDDEN size_t file_read(const char *path, char *buffer, size_t size); /* NUL-terminated; 0: nothing could be read */
HIDDEN void link_read(const char *path, char *target, size_t size);   /* "" : it could not be read */
HIDDEN uint64_t start_ticks_of_self(void);
HIDDEN uint64_t pid_namespace_of_self(void);
HIDDEN void program_name(char *name, size_t size); /* base name of the executable */
HIDDEN void process_described(struct trace_process *process);
/* `out` gets the connection string, URL or file name without passwords; at least as large as the text. */
HIDDEN void redacted(const char *text, char *out, size_t size);
HIDDEN void command_redacted(const char *arguments, size_t length, char *out, size_t size);

/* --- ends (ending.c, rollcall.c, reporter.c) --------------------------------------------------------------------------- */

/* Under `run` only. pid 0: the calling process, which may be a vfork child. text NULL: our own executable. */
HIDDEN void roll_called(enum rollcall_type type, pid_t pid, const char *text, unsigned flags);
HIDDEN void ending_prepared(void); /* at load: the last exit handler, the real functions */
HIDDEN int reporter_ran(void);     /* bare use, last of all: exit status of the reporter, -1: none */

/* --- words (say.c) ------------------------------------------------------------------------------------------------------- */

/* "unclosed: WHY WHAT: error text" in one write on stderr, if fd 2 is what it was at load. */
HIDDEN bool stderr_is_ours(void);
HIDDEN void said(const char *why, const char *what, int error);
/* One write() that raises no signal and does not wait; false: not everything could be written. */
HIDDEN bool harmlessly_written(int fd, const void *bytes, size_t size);

/* Text made without stdio. Always NUL-terminated, silently cut. */
struct text {
    char *at, *end;
};
static inline struct text text_in(char *buffer, size_t size)
{
    *buffer = 0;
    return (struct text){buffer, buffer + size - 1};
}
HIDDEN void text_added(struct text *text, const char *more);
HIDDEN void text_bytes_added(struct text *text, const char *bytes, size_t length);
HIDDEN void number_added(struct text *text, uint64_t number);

HIDDEN uint64_t hash_of(const void *bytes, size_t length);
static inline uint64_t hash_mixed(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

#endif
