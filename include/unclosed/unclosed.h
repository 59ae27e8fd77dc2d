/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unclosed.h: tell the leak detector about handles of your own.
 *
 *     unclosed_kind_id lease = unclosed_kind("myapp.lease", NULL);
 *     unclosed_opened(lease, l);
 *     unclosed_parent(lease, l, db_kind, db);
 *     unclosed_detail(lease, l, "tenant", name);
 *     …
 *     unclosed_closed(lease, l, UNCLOSED_EXPLICIT);
 *
 * Nothing to link: the functions below find libunclosed.so at run time if it is preloaded, and do nothing (one load,
 * one branch) if it is not. C and C++. Languages with a foreign function interface call the exported functions of the
 * same names directly: ctypes.CDLL(None).unclosed_opened(...).
 *
 * All functions may be called from any thread, at any time, also from destructors and after fork. None blocks, fails
 * visibly, changes errno, keeps a pointer that it was given, or takes ownership. Strings are copied, cut at 4095 bytes,
 * and must hold no secrets. A handle is any pointer-sized number that is unique among the open handles of its kind;
 * it is never dereferenced.
 */
#ifndef UNCLOSED_H
#define UNCLOSED_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UNCLOSED_VERSION "0.1.0"
#define UNCLOSED_API_VERSION 1

typedef uint32_t unclosed_kind_id;  /* 0: no kind; every call with it does nothing */
typedef uint64_t unclosed_owner_id; /* 0: no owner */

/* How a handle ended. The numbers are those of enum trace_ended in trace.h. */
enum unclosed_ended {
    UNCLOSED_EXPLICIT = 1,     /* the program closed it */
    UNCLOSED_GC = 2,           /* a garbage collector did, because the program had not */
    UNCLOSED_FINALIZATION = 3, /* the interpreter's shutdown did */
    UNCLOSED_INVALIDATED = 4,  /* given up after an error */
    UNCLOSED_DETACHED = 5,     /* taken out of its pool; what becomes of it is not watched */
    UNCLOSED_OWNER_GONE = 6,   /* its owner ended and took it along, or a collector closed it after its owner's end */
    UNCLOSED_WITH_PARENT = 7,  /* its parent ended, and it with it */
};

/* How the transaction of a handle stands: bits. */
enum unclosed_transaction_state {
    UNCLOSED_NO_TRANSACTION = 0,
    UNCLOSED_TRANSACTION = 1,
    UNCLOSED_TRANSACTION_WROTE = 2,  /* it changed rows */
    UNCLOSED_TRANSACTION_FAILED = 4, /* nothing goes on before a rollback */
};

enum unclosed_owner_kind {
    UNCLOSED_THREAD = 1,
    UNCLOSED_TASK = 2, /* asyncio task, fiber */
    UNCLOSED_REQUEST = 3,
    UNCLOSED_TEST = 4,
};

/*
 * The functions, as a table that grows at its end only; `size` tells how much of it is there.
 * Exported by libunclosed.so as the data symbol `unclosed_api_table`.
 */
struct unclosed_api {
    size_t size;
    uint32_t version;
    unclosed_kind_id (*kind)(const char *name, const char *parent);
    void (*opened)(unclosed_kind_id kind, const void *handle);
    void (*opened_at)(unclosed_kind_id kind, const void *handle, const void *python_frame);
    void (*target)(unclosed_kind_id kind, const void *handle, const char *target);
    void (*used)(unclosed_kind_id kind, const void *handle);
    void (*closed)(unclosed_kind_id kind, const void *handle, enum unclosed_ended how);
    void (*parent)(unclosed_kind_id kind, const void *handle, unclosed_kind_id parent_kind, const void *parent);
    void (*detail)(unclosed_kind_id kind, const void *handle, const char *key, const char *value);
    void (*ignore)(unclosed_kind_id kind, const void *handle);
    unclosed_owner_id (*owner_begin)(enum unclosed_owner_kind kind, const char *label, unclosed_owner_id parent);
    unclosed_owner_id (*owner_enter)(unclosed_owner_id owner);
    void (*owner_end)(unclosed_owner_id owner, const char *reason);
    void (*owned_by)(unclosed_kind_id kind, const void *handle, unclosed_owner_id owner);
    void (*incident)(const char *rule, unclosed_kind_id held, const char *target, const char *text, uint64_t waited_ns);
    const void *(*frame_enter)(const void *python_frame);
    void (*transaction)(unclosed_kind_id kind, const void *handle, unsigned state);
    void (*noticed)(const char *rule, unclosed_kind_id kind, const void *handle, const char *text);
    void (*owner_label)(unclosed_owner_id owner, const char *label);
    void (*adapter)(const char *name, const char *version, const char *problem);
    void (*destructor)(const void *function);
};

#ifdef UNCLOSED_EXPORTS /* libunclosed.so itself */
#define UNCLOSED_FUNCTION extern
#else
#include <dlfcn.h>
#define UNCLOSED_FUNCTION static inline __attribute__((unused))
/* The table, or NULL when libunclosed.so is not preloaded (or is too old). Looked up once. */
UNCLOSED_FUNCTION const struct unclosed_api *unclosed_api(void)
{
    static const struct unclosed_api *found;
    static int looked;
    if (!__atomic_load_n(&looked, __ATOMIC_ACQUIRE)) {
        const struct unclosed_api *table = (const struct unclosed_api *)dlsym(RTLD_DEFAULT, "unclosed_api_table");
        if (table && table->size >= sizeof(*table))
            __atomic_store_n(&found, table, __ATOMIC_RELAXED);
        __atomic_store_n(&looked, 1, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(&found, __ATOMIC_RELAXED);
}
#define UNCLOSED_CALL(function, arguments)               \
    {                                                    \
        const struct unclosed_api *api = unclosed_api(); \
        if (api)                                         \
            api->function arguments;                     \
    }
#define UNCLOSED_ASK(function, arguments)                \
    {                                                    \
        const struct unclosed_api *api = unclosed_api(); \
        return api ? api->function arguments : 0;        \
    }
#endif
#ifdef UNCLOSED_EXPORTS
#define UNCLOSED_CALL(function, arguments) ;
#define UNCLOSED_ASK(function, arguments) ;
#endif

/* A declaration is its body, too, which the formatter does not follow. */
/* clang-format off */

/* The kind of that name ("library.thing"), declared now unless it is built in or was declared before. `parent` names
 * the kind whose close ends it, or NULL. 0 when not preloaded, the name is longer than 63 bytes, or 64 are declared. */
UNCLOSED_FUNCTION unclosed_kind_id unclosed_kind(const char *name, const char *parent)
UNCLOSED_ASK(kind, (name, parent))

/* `handle` is open from now on; the stack is the caller's, the owner the thread's current one (owner_enter). */
UNCLOSED_FUNCTION void unclosed_opened(unclosed_kind_id kind, const void *handle)
UNCLOSED_CALL(opened, (kind, handle))

/* As unclosed_opened, but the Python part of the stack begins at this PyFrameObject (borrowed; read only during the
 * call), and there is no native part: for user frames behind a greenlet. NULL: the thread's own. The caller must hold the
 * GIL, or be the thread whose frames these are. */
UNCLOSED_FUNCTION void unclosed_opened_at(unclosed_kind_id kind, const void *handle, const void *python_frame)
UNCLOSED_CALL(opened_at, (kind, handle, python_frame))

/* What it is a handle to, for people: a file or a URL. Passwords in URLs and key=value strings are taken out. */
UNCLOSED_FUNCTION void unclosed_target(unclosed_kind_id kind, const void *handle, const char *target)
UNCLOSED_CALL(target, (kind, handle, target))

/* It is being used. Of a handle that was closed before: recorded as a use after close, with this stack. */
UNCLOSED_FUNCTION void unclosed_used(unclosed_kind_id kind, const void *handle)
UNCLOSED_CALL(used, (kind, handle))

/* It ended; call before its memory can be reused. Of a handle that was closed before: recorded as closed twice. */
UNCLOSED_FUNCTION void unclosed_closed(unclosed_kind_id kind, const void *handle, enum unclosed_ended how)
UNCLOSED_CALL(closed, (kind, handle, how))

/* It belongs to another open handle: when both leak, there is one finding, the parent's. NULL: to none. An engine
 * (sqlalchemy.engine) is no such parent: a client library's connection below one is idle in a pool. */
UNCLOSED_FUNCTION void unclosed_parent(unclosed_kind_id kind, const void *handle, unclosed_kind_id parent_kind,
                                       const void *parent)
UNCLOSED_CALL(parent, (kind, handle, parent_kind, parent))

/* A fact about an open handle, shown with it; a second value for the same key replaces the first. Few distinct values
 * please: each is kept once for the life of the process. "last_sql" is a statement: it is stored without literals and
 * comments, 200 bytes of it. */
UNCLOSED_FUNCTION void unclosed_detail(unclosed_kind_id kind, const void *handle, const char *key, const char *value)
UNCLOSED_CALL(detail, (kind, handle, key, value))

/* Meant to stay open: never a finding. */
UNCLOSED_FUNCTION void unclosed_ignore(unclosed_kind_id kind, const void *handle)
UNCLOSED_CALL(ignore, (kind, handle))

/* A thread, task, request or test that opens handles has begun. Give it back to unclosed_owner_end. */
UNCLOSED_FUNCTION unclosed_owner_id unclosed_owner_begin(enum unclosed_owner_kind kind, const char *label,
                                                         unclosed_owner_id parent)
UNCLOSED_ASK(owner_begin, (kind, label, parent))

/* Handles that this thread opens from now on belong to `owner` (0: nobody). Returns whose they were before. */
UNCLOSED_FUNCTION unclosed_owner_id unclosed_owner_enter(unclosed_owner_id owner)
UNCLOSED_ASK(owner_enter, (owner))

/* It is over; `reason` in words or NULL ("returned", "ValueError"). Handles it still has are judged by the reports. */
UNCLOSED_FUNCTION void unclosed_owner_end(unclosed_owner_id owner, const char *reason)
UNCLOSED_CALL(owner_end, (owner, reason))

/* This open handle belongs to that owner, whoever opened it. */
UNCLOSED_FUNCTION void unclosed_owned_by(unclosed_kind_id kind, const void *handle, unclosed_owner_id owner)
UNCLOSED_CALL(owned_by, (kind, handle, owner))

/* A moment of trouble, such as rule "pool-exhausted": records who holds the open handles of kind `held` just now, of this
 * target where some are known by it. What happens again with the same stack is only counted. */
UNCLOSED_FUNCTION void unclosed_incident(const char *rule, unclosed_kind_id held, const char *target,
                                         const char *text, uint64_t waited_ns)
UNCLOSED_CALL(incident, (rule, held, target, text, waited_ns))

/* Until the next call: stacks that this thread records (of opens, closes, uses, incidents …) have a Python part that
 * begins at this PyFrameObject, and no native part. NULL: the thread's own frames again. Returns what it was before. The
 * frame is borrowed and read by every call in between; the caller holds the GIL. For user frames behind a greenlet. */
UNCLOSED_FUNCTION const void *unclosed_frame_enter(const void *python_frame)
UNCLOSED_ASK(frame_enter, (python_frame))

/* How the transaction of this open handle stands now, as bits of enum unclosed_transaction_state. Where one of a
 * connection or a sqlalchemy.session begins, the stack is recorded; said again while it goes on, the handle has been busy
 * until now. Being used (unclosed_used) while it has failed is a fact that rules judge, and so is having lain idle in it
 * for seconds before the next use or its end. */
UNCLOSED_FUNCTION void unclosed_transaction(unclosed_kind_id kind, const void *handle, unsigned state)
UNCLOSED_CALL(transaction, (kind, handle, state))

/* Something that the rule of that name judges ("nested-checkout") has happened with this handle, open or just closed, here.
 * `text`, for people, may be NULL. Recorded once for each place, then only counted. */
UNCLOSED_FUNCTION void unclosed_noticed(const char *rule, unclosed_kind_id kind, const void *handle, const char *text)
UNCLOSED_CALL(noticed, (rule, kind, handle, text))

/* What the owner is, known better now: the route of a request that was begun before it was routed. */
UNCLOSED_FUNCTION void unclosed_owner_label(unclosed_owner_id owner, const char *label)
UNCLOSED_CALL(owner_label, (owner, label))

/* Who speaks through this interface: ("sqlalchemy", "2.0.45", NULL), or with a problem, what it cannot see and why. Does not
 * begin a trace; the reports name it once something is recorded. A later call for the same name replaces the earlier. The
 * name "python.modules" is not shown: with a version while all modules of the interpreter are there, with NULL, NULL once its
 * shutdown has begun to clear them; what is collected before that was garbage, and not taken along by the shutdown. */
UNCLOSED_FUNCTION void unclosed_adapter(const char *name, const char *version, const char *problem)
UNCLOSED_CALL(adapter, (name, version, problem))

/* A function that only a garbage collector calls (a Python type's tp_dealloc): what a client library closes below it was
 * closed by the collector, not by the program. */
UNCLOSED_FUNCTION void unclosed_destructor(const void *function)
UNCLOSED_CALL(destructor, (function))
/* clang-format on */

#ifdef UNCLOSED_EXPORTS
        extern const struct unclosed_api unclosed_api_table;
#endif
#undef UNCLOSED_CALL
#undef UNCLOSED_ASK
#undef UNCLOSED_FUNCTION

#ifdef __cplusplus
}
#endif
#endif
