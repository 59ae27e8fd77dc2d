/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trace: one file per process image. It is the shim's whole memory, mapped MAP_SHARED, and all that reports know.
 *
 *     header | granule map | table | table | table | …            (file is sparse; tables have fixed places)
 *
 * One story, from a call to a page:
 *
 *     sqlite3_open() at app.c:42
 *       -> frame   {module 3 "/srv/app", offset 0x1a2b}            one for each distinct call place
 *       -> stack   {frame 17, parent stack 9}                      prefix tree; a stack's id is its innermost node
 *       -> site    {kind sqlite3.connection, stack 23}             counters of all handles opened there
 *       -> handle  {address 0x55d0…, site 5, opened 12.3 s, …}     one while it is open
 *     sqlite3_close()
 *       -> closed  {address, site 5, opening stack, closing stack} ring of the last TRACE_RING of each class
 *     something odd happens with it
 *       -> fact    {double close, opening stack, closing stack, stack}   counted, one for each distinct combination
 *
 * Invariants a reader may test, of a trace at rest:
 *     site.opened == site.closed + site.open                      (failed opens that leave a handle count as opened)
 *     sum over sites of site.open == handles in state HANDLE_OPEN or HANDLE_CLOSING  (less losses[LOSS_HANDLES])
 *     stack[i].parent < i,  stack[i].depth == stack[parent].depth + 1
 *
 * Publication. A record is written first and then published by one release store: of its `state` (handles, closed,
 * owners, details, incidents: RECORD_* or HANDLE_*), or of a non-zero `ready` (everything else, which never changes
 * identity afterwards). A reader that loads state/ready with acquire sees a whole record or skips it. Where a slot can
 * be reused (handle, closed, owner, detail) the reader copies it and compares `state` and `generation` again.
 * `table.used` is how many slots were ever handed out: an upper bound, some of which may not be published yet.
 *
 * Sizes are bytes, times are nanoseconds of CLOCK_MONOTONIC (process.clock_* relates them to the calendar), references
 * are record indexes (0: none, record 0 of every table but PROCESS and CLOSED is never used), strings are offsets
 * into TABLE_STRING divided by 8. Byte order and alignment are the machine's; header.byte_order tells.
 *
 * This layout has a version (TRACE_LAYOUT), and each table has its record size in the header: a reader skips tables it
 * does not know and takes longer records for their known beginning; shorter ones it refuses.
 */
#ifndef UNCLOSED_TRACE_H
#define UNCLOSED_TRACE_H

#include <stdatomic.h>
#include <stdint.h>

#define TRACE_MAGIC "unclosed" /* header.magic, no terminating NUL */
#define TRACE_BYTE_ORDER 0x01020304u
enum {
    TRACE_LAYOUT = 1,
    TRACE_GRANULE = 16384,   /* the file grows by this much; header.granule_size */
    TRACE_RING = 4096,       /* closed handles remembered, for each of the classes ordinary and cheap */
    TRACE_BUCKETS = 256,     /* of the timeline */
    TRACE_HOLD_BUCKETS = 64, /* of a site's hold times */
    TRACE_BUILD_ID_MAX = 32,
    TRACE_THREAD_NAME = 16,
};

/* --- kinds ------------------------------------------------------------------------------------------------------ */

#define KIND_CHEAP 1u /* trait, see kinds.def */
enum kind {
#define KIND(id, name, noun, plural, parent, traits) KIND_##id,
#include <unclosed/kinds.def>
#undef KIND
    KIND_BUILT_IN_COUNT,
    KIND_DECLARED = 64, /* first kind of a program's own; named by table KIND */
    KIND_LIMIT = 128,
};

/* --- header and tables -------------------------------------------------------------------------------------------- */

enum trace_table_id {
    TABLE_PROCESS,      /* struct trace_process, exactly one, record 0 */
    TABLE_STRING,       /* bytes of struct trace_string, 8-aligned; used counts 8-byte units */
    TABLE_KIND,         /* struct trace_kind: kinds declared by the program */
    TABLE_MODULE,       /* struct trace_module */
    TABLE_FRAME,        /* struct trace_frame */
    TABLE_CODE,         /* struct trace_code: Python code objects */
    TABLE_STACK,        /* struct trace_stack */
    TABLE_SITE,         /* struct trace_site */
    TABLE_HANDLE,       /* struct trace_handle */
    TABLE_CLOSED,       /* struct trace_closed: records 0…RING-1 ordinary kinds, RING…2*RING-1 cheap ones */
    TABLE_FACT,         /* struct trace_fact */
    TABLE_OWNER,        /* struct trace_owner */
    TABLE_DETAIL,       /* struct trace_detail */
    TABLE_INCIDENT,     /* struct trace_incident */
    TABLE_HOLDER,       /* struct trace_holder */
    TABLE_TIMELINE,     /* struct trace_timeline, exactly one, record 0 */
    TABLE_LIBRARY,      /* struct trace_library: copies of client libraries that were found */
    TABLE_INDEX_STRING, /* the rest is the shim's own: hash indexes (uint32_t), of no use to a reader */
    TABLE_INDEX_FRAME,
    TABLE_INDEX_STACK,
    TABLE_INDEX_SITE,
    TABLE_INDEX_HANDLE,
    TABLE_INDEX_CODE,
    TABLE_INDEX_FACT,
    TABLE_INDEX_CLOSED,
    TABLE_COUNT,
};

struct trace_table {
    uint32_t id; /* enum trace_table_id */
    uint32_t record_size;
    uint64_t offset;       /* from the file's beginning, page-aligned */
    uint64_t capacity;     /* records */
    _Atomic uint64_t used; /* records handed out so far, record 0 included */
};

/* What could not be recorded. A loss is never silent: each one makes a report say "at least". */
enum trace_loss {
    LOSS_HANDLES, /* opened while the handle table was full */
    LOSS_SITES,
    LOSS_STACKS, /* stacks recorded as STACK_OTHER */
    LOSS_FRAMES,
    LOSS_MODULES,
    LOSS_STRINGS,
    LOSS_FACTS,
    LOSS_OWNERS,
    LOSS_DETAILS,
    LOSS_INCIDENTS,
    LOSS_SPACE,        /* growth refused: disk full, quota, file size limit */
    LOSS_BEFORE_START, /* calls before recording had begun, or while it began in another thread */
    LOSS_REENTERED,    /* calls from a signal handler that interrupted the shim */
    LOSS_UNRESOLVED,   /* calls of functions that no loaded library defines */
    LOSS_SEALED,       /* after the program sealed itself, what would have needed a system call */
    LOSS_COUNT = 24,
};

struct trace_header {
    char magic[8];
    uint32_t layout;      /* TRACE_LAYOUT */
    uint32_t header_size; /* sizeof(struct trace_header) */
    uint32_t byte_order;  /* TRACE_BYTE_ORDER as this machine stores it */
    uint32_t page_size;
    uint64_t file_size;   /* of the sparse file, which is the limit that max_size= sets */
    uint64_t granule_map; /* offset of one byte for each granule: 1 once it has storage */
    uint32_t granule_size;
    uint32_t table_count;
    struct trace_table tables[TABLE_COUNT];
    _Atomic uint64_t losses[LOSS_COUNT];
    _Atomic uint64_t
        unknown_closes; /* closes of handles never seen open here and matching nothing: the library's own */
    _Atomic uint64_t opened[KIND_LIMIT]; /* all handles ever opened, closed, and open now, by kind */
    _Atomic uint64_t closed[KIND_LIMIT];
    _Atomic uint64_t open[KIND_LIMIT];
    _Atomic uint64_t peak[KIND_LIMIT];
    _Atomic uint32_t ready; /* 1: the header is whole */
    _Atomic uint32_t taken; /* of a trace made ahead (for after chroot, setuid): 1 once a process uses it */
};

/* Text is what the program gave: any bytes but NUL (line tables of code objects: any bytes at all). */
struct trace_string {
    uint32_t hash;
    uint32_t length; /* without the NUL; at most 4095, cut there (line tables: at most 65535) */
    char text[];
};

struct trace_kind { /* "myapp.lease" declared by unclosed_kind() */
    _Atomic uint32_t ready;
    uint32_t kind;   /* KIND_DECLARED … KIND_LIMIT-1 */
    uint32_t name;   /* string */
    uint32_t parent; /* kind, or KIND_NONE */
};

/* --- process ------------------------------------------------------------------------------------------------------ */

enum trace_end {
    END_NONE,      /* no mark: it runs, or was killed */
    END_EXIT,      /* exit() or return from main; `status` holds it */
    END_IMMEDIATE, /* _exit, _Exit */
    END_QUICK,     /* quick_exit */
    END_EXEC,      /* became another program */
    END_THREADS,   /* the last thread ended by pthread_exit; reserved: recorded as END_EXIT so far */
};

enum trace_scan {               /* the search for references at exit */
                  SCAN_NOT_RUN, /* no normal exit, or nothing was open */
                  SCAN_RUNNING, /* begun, no answer (yet): verdicts unknown */
                  SCAN_COMPLETE,
                  SCAN_GAVE_UP, /* process.scan_reason says why; verdicts that are not UNKNOWN still hold */
};

struct trace_process {
    _Atomic uint32_t ready;
    int32_t pid; /* as the process sees itself */
    int32_t parent;
    int32_t outer_pid;      /* pid in the namespace of `run`, 0 unknown */
    uint64_t start_ticks;   /* field 22 of /proc/PID/stat: pid + this + boot_id name a process */
    uint64_t pid_namespace; /* inode of /proc/self/ns/pid, 0 unknown */
    uint8_t boot_id[16];
    uint64_t clock_monotonic; /* one reading of both clocks, at the beginning of the trace */
    uint64_t clock_realtime;  /* nanoseconds since 1970 */
    uint64_t started;         /* when the shim was loaded into this image */
    uint32_t executable;      /* strings: path, command line (without secrets), directory, host, label */
    uint32_t command;
    uint32_t directory;
    uint32_t host;
    uint32_t label;
    uint32_t version;        /* of the shim */
    uint32_t capture_method; /* "libunwind", "libgcc" */
    uint32_t options;        /* UNCLOSED_OPTIONS as understood */
    uint32_t run;            /* name of the `run` this belongs to, or 0 */
    uint32_t user_id;
    uint32_t depth_limit; /* frames a stack may have */
    int32_t forked_from;  /* pid whose handles were inherited, 0: none (exec and spawn make no child of this sort) */
    uint64_t forked_start_ticks; /* of that parent */
    uint64_t fork_generation;    /* handles with a generation up to this one were opened before the fork */
    _Atomic uint32_t end;        /* enum trace_end */
    _Atomic int32_t end_status;
    _Atomic uint64_t exit_began; /* 0: not yet */
    _Atomic uint64_t ended;
    _Atomic uint32_t scan; /* enum trace_scan */
    uint32_t scan_reason;  /* string */
    uint64_t scan_ns;
    _Atomic uint64_t last_event;
    _Atomic uint32_t sealed; /* 1: the program installed a seccomp filter of its own */
    _Atomic uint32_t python; /* enum trace_python */
    uint32_t python_version; /* PY_VERSION_HEX of the interpreter, 0: none was found */
    uint32_t reserved[5];
};

enum trace_python {
    PYTHON_PRESENT = 1u << 0, /* an interpreter is loaded */
    PYTHON_FRAMES = 1u << 1,  /* … and its frames can be read */
    PYTHON_ADAPTED = 1u << 2, /* our sitecustomize ran in it */
    PYTHON_FREE_THREADED = 1u << 3,
};

/* A loaded object that defines the functions of a client library, or (is_adapter) who reports through unclosed.h. */
struct trace_library {
    _Atomic uint32_t ready;
    uint32_t name; /* string, "sqlite3"; of an adapter "sqlalchemy" */
    uint32_t path; /* string; of an adapter: version */
    uint32_t copy; /* number within this process, as in handle.copy */
    uint32_t is_adapter;
    uint32_t problem; /* string: what an adapter cannot see and why, 0: nothing */
};

/* --- stacks --------------------------------------------------------------------------------------------------------- */

/* module 3: /usr/bin/python3.11, build-id 5fa1…, bias 0x55d0_0000_0000. Never changes; a reload is another record. */
struct trace_module {
    _Atomic uint32_t ready;
    uint32_t path;       /* string; "[vdso]" and the like for what has no file */
    uint64_t bias;       /* address minus ELF virtual address */
    uint64_t start, end; /* addresses it was mapped at */
    uint8_t build_id[TRACE_BUILD_ID_MAX];
    uint32_t build_id_size;
    uint32_t reserved;
};

enum trace_frame_type {
    FRAME_NATIVE,       /* module + offset: a return address, look up offset - 1 */
    FRAME_NATIVE_EXACT, /* module + offset of the very instruction (interrupted by a signal) */
    FRAME_UNKNOWN,      /* offset is a bare address in no module (generated code) */
    FRAME_PYTHON,       /* code + instruction offset; code 0: a call of the interpreter's loop whose frame is gone */
    FRAME_TRUNCATED,    /* marks the outer end of a stack that could not be followed to its bottom */
    FRAME_OTHER,        /* table full */
    FRAME_MIXED,        /* innermost node of a mixed stack: `offset` is the stack of the Python frames (a smaller number
                         * than this node's), this node's parents are the native frames of the same thread, 0: none given.
                         * Reports merge them: the native frames that are FRAME_EVAL stand for the Python frames. */
};

enum trace_frame_flag {
    /* FRAME_PYTHON */
    FRAME_ENTRY = 1u << 0, /* one eval call ends here: the frames further out belong to the next eval outward */
    /* FRAME_NATIVE */
    FRAME_EVAL = 1u << 0,       /* in the interpreter's loop */
    FRAME_DESTRUCTOR = 1u << 1, /* in a function named by unclosed_destructor() */
    /* FRAME_MIXED */
    MIXED_APPROXIMATE = 1u << 0,   /* the Python frames may not be whole (cut, or of an unusual interpreter) */
    MIXED_IN_DESTRUCTOR = 1u << 1, /* a destructor is on the native stack below the innermost Python frame */
};

struct trace_frame {
    _Atomic uint32_t ready;
    uint32_t type;   /* enum trace_frame_type */
    uint32_t module; /* FRAME_NATIVE*: module; FRAME_PYTHON: code */
    uint32_t flags;  /* enum trace_frame_flag */
    uint64_t offset; /* native: ELF virtual address; unknown: address; Python: byte offset of the instruction */
};

/* A Python code object, copied when first seen. */
struct trace_code {
    _Atomic uint32_t ready;
    uint32_t file, name, qualified_name; /* strings */
    uint32_t first_line;
    uint32_t line_table;     /* string record whose length bytes are the raw table (may hold NUL) */
    uint32_t python_version; /* PY_VERSION_HEX: decides how line_table is read */
    uint32_t reserved;
};

enum { STACK_NONE = 0, STACK_OTHER = 1 /* table full, or no stack could be taken */ };
struct trace_stack { /* node of the prefix tree, outermost frame first; 0 as parent: outermost */
    _Atomic uint32_t ready;
    uint32_t frame;
    uint32_t parent; /* stack, always smaller than this node's own index */
    uint32_t depth;  /* 1 for the outermost */
};

/* --- sites and handles -------------------------------------------------------------------------------------------------- */

/* How a handle ended. Also in unclosed.h, with the same numbers. */
enum trace_ended {
    ENDED_NOT,
    ENDED_EXPLICIT,     /* the program closed it */
    ENDED_GC,           /* a garbage collector did */
    ENDED_FINALIZATION, /* the interpreter's shutdown did */
    ENDED_INVALIDATED,  /* given up after an error */
    ENDED_DETACHED,     /* taken out of its pool; lives on outside of our sight */
    ENDED_OWNER_GONE, /* its owner ended, and with it the handle; or the collector closed it after its owner had ended */
    ENDED_WITH_PARENT, /* its parent's close freed it */
    ENDED_REPLACED,    /* another handle appeared at its address: it was freed out of sight */
    ENDED_COUNT,
};

struct trace_site { /* kind + stack */
    _Atomic uint32_t ready;
    uint32_t kind;
    uint32_t stack;
    uint32_t first_target;                   /* string: target of the first handle opened here */
    _Atomic uint64_t opened, closed, failed; /* failed: opens that returned an error (with or without a handle) */
    _Atomic uint64_t open, peak;
    _Atomic uint64_t first, last; /* time of the first and the latest open */
    _Atomic uint64_t peak_time;
    _Atomic uint64_t ended[ENDED_COUNT];
    _Atomic uint64_t held_max; /* ns */
    /* hold times: bucket 0 is < 1 µs, then two buckets an octave: b covers [2^((b-1)/2), 2^(b/2)) µs */
    _Atomic uint32_t held[TRACE_HOLD_BUCKETS];
};

enum trace_handle_state {
    HANDLE_FREE = 0,
    HANDLE_OPEN = 1,
    HANDLE_CLOSING = 2, /* the library's close runs; may come back to OPEN if it refuses */
};

enum trace_handle_flag {
    HANDLE_FAILED_OPEN = 1u << 0,  /* the open returned an error and a handle that must be closed all the same */
    HANDLE_ZOMBIE = 1u << 1,       /* close was accepted but could not finish: children are alive (sqlite3_close_v2) */
    HANDLE_CLOSE_FAILED = 1u << 2, /* the last close was refused; close_stack says where */
    HANDLE_IGNORED = 1u << 3,      /* unclosed_ignore() */
    HANDLE_IN_TRANSACTION = 1u << 4, /* a connection: now */
    HANDLE_WROTE = 1u << 5,          /* a transaction: it changed rows */
    HANDLE_TX_FAILED = 1u << 6,      /* a transaction: the server refuses more until rollback */
    HANDLE_CONNECTING = 1u << 7,     /* an asynchronous open that has not succeeded yet */
    HANDLE_POOLED =
        1u << 8, /* a native connection that an adapter has said to belong to a pool (its parent was an engine) */
    HANDLE_OWNER_LEFT = 1u << 9, /* a closed one: its owner had ended before, and nobody had used it since */
};

enum trace_reference { /* what the scan at exit found */
                       REFERENCE_NOT_LOOKED,
                       REFERENCE_UNCERTAIN,
                       REFERENCE_FOUND,  /* something reachable points to it */
                       REFERENCE_NONE,   /* nothing does */
                       REFERENCE_THREAD, /* only a live thread that used it last may */
};

struct trace_handle {
    _Atomic uint32_t state; /* enum trace_handle_state */
    uint16_t kind;
    uint16_t copy; /* of the library (struct trace_library.copy) */
    uint64_t address;
    uint64_t generation; /* unique in this process, grows with every open */
    uint32_t site;
    _Atomic uint32_t flags; /* enum trace_handle_flag */
    uint64_t opened;
    _Atomic uint64_t last_used;
    uint32_t thread;              /* kernel thread id that opened it */
    _Atomic uint32_t last_thread; /* … that used it last */
    char thread_name[TRACE_THREAD_NAME];
    uint32_t target; /* string: file, or connection string without password */
    uint32_t parent; /* handle, 0: none */
    uint64_t parent_generation;
    _Atomic uint32_t owner;       /* owner, 0: none */
    _Atomic uint32_t details;     /* first detail, 0: none */
    _Atomic uint32_t close_stack; /* of the close that runs or was refused */
    _Atomic int32_t close_result; /* what the refusing close returned */
    _Atomic uint64_t close_time;
    _Atomic uint32_t transaction; /* a connection: handle of its open transaction, 0: none */
    _Atomic uint32_t reference;   /* enum trace_reference */
    uint64_t changes;             /* library's own: sqlite3_total_changes when the transaction began */
    uint32_t children;            /* the shim's own: first child and siblings (handles) */
    uint32_t next_sibling, previous_sibling;
    uint32_t next;        /* the shim's own: chain of the index, list of free slots */
    uint32_t failed_code; /* library's error code of a failed open */
    uint32_t zombie;      /* HANDLE_ZOMBIE: how its close ended it, enum trace_ended */
};

struct trace_closed {       /* ring of closed handles */
    _Atomic uint32_t state; /* RECORD_READY when whole */
    uint16_t kind;
    uint16_t how; /* enum trace_ended */
    uint64_t address;
    uint64_t generation;
    uint32_t site;
    uint32_t close_stack;
    uint64_t opened, closed;
    uint32_t opened_thread, closed_thread;
    uint32_t target;
    uint16_t copy;
    uint16_t reserved;
    uint32_t flags;       /* enum trace_handle_flag, as they were */
    uint32_t owner_label; /* string: whose it was */
    uint64_t last_used;
};
enum { RECORD_FREE = 0, RECORD_READY = 1 };

/* --- facts: what rules judge besides open handles ---------------------------------------------------------------------------- */

enum trace_fact_type {
    FACT_NONE,
    FACT_CLOSED_TWICE,     /* stack: the second close */
    FACT_USED_AFTER_CLOSE, /* stack: the use */
    FACT_CLOSE_FAILED,     /* close returned an error; handle was still open then */
    FACT_CLOSE_LATER_DONE, /* … and a later close (or its last child's) succeeded: cancels CLOSE_FAILED of the site */
    FACT_ZOMBIE,           /* sqlite3_close_v2 with children alive */
    FACT_OPEN_FAILED,      /* an open failed; flags: FACT_HANDLE_LEFT when it left a handle to be closed */
    FACT_OPEN_FAILED_CLOSED,    /* … and that handle was closed */
    FACT_CLOSED_IN_TRANSACTION, /* begin_stack: where the transaction began; FACT_WROTE */
    FACT_CLOSED_ELSEWHERE,      /* closed in a process that did not open it (after fork) */
    FACT_USED_ELSEWHERE,        /* used there */
    FACT_PARENT_CLOSED_FIRST, /* a child that a parent's close does not free outlived its parent (libpq results); reserved */
    FACT_BUSY,                /* SQLITE_BUSY/LOCKED: stack of the caller that got it */
    FACT_UNRESOLVED,          /* a watched function was called that no library defines */
    FACT_IDLE_IN_TRANSACTION, /* its transaction lay idle for seconds: begin_stack, stack of the next use; code: ms, the
                               * longest */
    FACT_USED_WHILE_FAILED,   /* used although its transaction had failed: begin_stack, stack of the use */
    FACT_NOTICED,             /* unclosed_noticed(): function holds the rule, text what was said */
    FACT_TYPE_COUNT,
};

enum trace_fact_flag {
    FACT_WROTE = 1u << 0,
    FACT_HANDLE_LEFT = 1u << 1,
    FACT_UNWINDING = 1u << 2, /* an exception was unwinding; reserved: not found out yet */
    FACT_TX_FAILED = 1u << 3,
};

/* One for each distinct (type, kind, site, close_stack, begin_stack, stack, flags); the rest tells of the first time. */
struct trace_fact {
    _Atomic uint32_t ready;
    uint16_t type; /* enum trace_fact_type */
    uint16_t kind;
    uint32_t flags;       /* enum trace_fact_flag */
    uint32_t site;        /* where the handle was opened; in a forked child: 0, see other_* */
    uint32_t close_stack; /* first close, where there was one */
    uint32_t begin_stack; /* of the transaction */
    uint32_t stack;       /* where it happened */
    uint32_t thread;
    _Atomic uint64_t count;
    uint64_t first;
    _Atomic uint64_t last;
    uint64_t generation;     /* of the first handle concerned */
    uint64_t opened, closed; /* its times, 0: unknown */
    uint32_t target;
    int32_t code;        /* what the library returned */
    int32_t other_pid;   /* FACT_*_ELSEWHERE: the process that opened it … */
    uint32_t other_site; /* … and the site in that process's trace */
    uint32_t function;   /* string: the call, "sqlite3_close" */
    uint32_t owner;
    uint32_t next; /* the shim's own */
    uint32_t text; /* string: FACT_NOTICED: for people; FACT_USED_WHILE_FAILED: the statement that failed */
};

/* --- owners, details, incidents ------------------------------------------------------------------------------------------------ */

enum trace_owner_kind { OWNER_THREAD = 1, OWNER_TASK, OWNER_REQUEST, OWNER_TEST };

struct trace_owner { /* who handles belong to; its slot is free again when it ended and holds nothing */
    _Atomic uint32_t state;
    uint16_t kind; /* enum trace_owner_kind */
    uint16_t reserved;
    uint64_t id;     /* the caller's own, unique in the process */
    uint32_t label;  /* string: "GET /orders", "tests/test_a.py::test_b" */
    uint32_t parent; /* owner, 0: none */
    uint64_t began;
    _Atomic uint64_t ended;      /* 0: not yet */
    _Atomic uint32_t end_reason; /* string: "returned", "exception ValueError", 0: unknown */
    _Atomic uint32_t handles;    /* open ones */
    uint32_t thread;
    uint32_t next; /* the shim's own: free slots */
};

struct trace_detail { /* key = value of an open handle */
    _Atomic uint32_t state;
    uint32_t handle;
    uint64_t generation;   /* of the handle */
    uint32_t key, value;   /* strings */
    _Atomic uint32_t next; /* detail of the same handle; of a free slot: next free */
    uint32_t reserved;
};

struct trace_incident { /* a moment of trouble and who held what then */
    _Atomic uint32_t state;
    uint32_t rule; /* string: "pool-exhausted" */
    uint64_t at;
    uint64_t waited; /* ns */
    uint32_t stack;
    uint32_t thread;
    uint32_t owner;
    uint32_t first_holder, holder_count; /* TABLE_HOLDER */
    uint32_t target;                     /* string */
    uint32_t text;                       /* string: the library's message */
    _Atomic uint32_t count;              /* like ones after it that were only counted */
    _Atomic uint64_t last;
};

struct trace_holder {
    _Atomic uint32_t ready;
    uint32_t site;
    uint64_t generation;
    uint64_t opened, last_used;
    uint32_t thread;
    uint32_t owner_label;       /* string */
    uint64_t owner_ended;       /* 0: not yet */
    uint32_t transaction_stack; /* where its open transaction began, 0: none */
    uint32_t last_sql;          /* string, normalised */
    uint32_t kind;
    uint32_t flags; /* enum trace_handle_flag */
};

/* --- timeline ---------------------------------------------------------------------------------------------------------------- */

/* Highest number of open handles in each span of `width`. When the last bucket is full, neighbours are merged and
 * `width` doubles. `version` is odd while that happens. Declared kinds share the last column. */
enum { TIMELINE_KINDS = 32, TIMELINE_DECLARED = TIMELINE_KINDS - 1 };
struct trace_bucket {
    _Atomic uint32_t peak[TIMELINE_KINDS];
    _Atomic uint32_t touched; /* 0: nothing was opened or closed; the value before it holds on */
    _Atomic uint32_t opened, closed;
    uint32_t reserved;
};
struct trace_timeline {
    _Atomic uint32_t version;
    uint32_t reserved;
    uint64_t start;
    _Atomic uint64_t width;
    struct trace_bucket buckets[TRACE_BUCKETS];
};

/* --- roll call ---------------------------------------------------------------------------------------------------------------- */

/*
 * The file "rollcall" beside the traces of a `run`: fixed records, appended with one write() each, so that "opened
 * nothing" and "was never loaded" differ. Sample: {STARTS pid 41 "/usr/bin/sqlite3"} and no {LOADED pid 41} after it:
 * a static, setuid, musl or 32-bit program, or one whose LD_PRELOAD was taken away.
 */
#define ROLLCALL_FILE "rollcall"
#define ROLLCALL_MAGIC 0x6c6c6f72u /* "roll" */
enum rollcall_type {
    ROLLCALL_LOADED = 1,  /* the shim is in; text: the executable */
    ROLLCALL_STARTS,      /* this pid is about to become (exec), or is (spawn), text */
    ROLLCALL_FAILED,      /* recording is not possible; text: why */
    ROLLCALL_EXEC_FAILED, /* the exec announced last by this pid returned */
    ROLLCALL_ADAPTED,     /* our sitecustomize ran in this process; text: version of Python */
    ROLLCALL_NOT_ADAPTED, /* … and will not; text: why, "" : because this interpreter runs nothing (--version) */
};
enum rollcall_flag {
    ROLLCALL_PASSIVE = 1u << 0, /* another copy of the shim is there first */
    ROLLCALL_SKIPPED = 1u << 1, /* left out by only=/skip= */
    ROLLCALL_PYTHON = 1u << 2,  /* the executable is, or is linked with, a Python interpreter */
};
struct rollcall_record {
    uint32_t magic;
    uint16_t size; /* sizeof(struct rollcall_record) */
    uint8_t type, flags;
    int32_t pid, parent; /* in the pid namespace below */
    uint64_t start_ticks;
    uint64_t pid_namespace;
    uint64_t time;    /* CLOCK_MONOTONIC */
    uint8_t text_cut; /* 1: text was longer */
    char text[215];   /* NUL-terminated */
};

_Static_assert(sizeof(struct trace_table) == 32, "layout 1");
_Static_assert(sizeof(struct trace_stack) == 16, "layout 1");
_Static_assert(sizeof(struct trace_frame) == 24, "layout 1");
_Static_assert(sizeof(struct trace_module) == 72, "layout 1");
_Static_assert(sizeof(struct trace_site) == 416, "layout 1");
_Static_assert(sizeof(struct trace_handle) == 152, "layout 1");
_Static_assert(sizeof(struct trace_closed) == 80, "layout 1");
_Static_assert(sizeof(struct trace_fact) == 112, "layout 1");
_Static_assert(sizeof(struct trace_owner) == 56, "layout 1");
_Static_assert(sizeof(struct trace_process) == 216, "layout 1");
_Static_assert(sizeof(struct rollcall_record) == 256, "layout 1");

#endif
