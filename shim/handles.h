/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles from open to close. Callers are in the guard (guard_entered) and record; stacks are captured before any lock.
 *
 *     handle_opened ──> OPEN ── handle_closing ──> CLOSING ── handle_finished ──> ring of closed handles, slot free
 *                        ^                            │
 *                        └── handle_close_refused ────┘
 *
 * A handle is found by (kind, address). It leaves the index when its close begins, for the address may be taken again
 * by another thread before the close returns; whoever takes it out of the index is the one who may end it.
 */
#ifndef UNCLOSED_SHIM_HANDLES_H
#define UNCLOSED_SHIM_HANDLES_H

#include "shim.h"

struct opening {
    const char *target;   /* as the program gave it; passwords are taken out. NULL: none */
    uint32_t target_text; /* without `target`: the string, 0: none */
    uint32_t parent;      /* slot of an open handle, 0: none */
    unsigned copy;        /* of the library */
    bool failed;          /* the open returned an error; an address means that the handle is left to be closed */
    bool connecting;      /* an asynchronous open: not known yet */
    int code;             /* the library's error code */
    uint64_t changes;     /* see trace_handle.changes */
    const char *function; /* the call, for facts */
};

extern const uint8_t HIDDEN kind_traits[KIND_LIMIT];
static inline bool is_cheap(unsigned kind)
{
    return kind_traits[kind] & KIND_CHEAP;
}

/* The open handle's slot, 0: none. */
HIDDEN uint32_t handle_found(enum kind kind, uintptr_t address);

/* The same, 0 also for a zombie. */
HIDDEN HOT uint32_t handle_in_use(enum kind kind, uintptr_t address);

/* A new handle; with address 0 only a failed open. The slot, 0: not recorded (counted). */
HIDDEN HOT uint32_t handle_opened(enum kind kind, uintptr_t address, uint32_t stack, const struct opening *opening);

/* Takes an open handle out of the index, before its real close. 0: no such handle is open, or it is a zombie. */
HIDDEN HOT uint32_t handle_closing(enum kind kind, uintptr_t address, uint32_t stack);

/* The close that began was refused, the handle lives on. */
HIDDEN void handle_close_refused(uint32_t slot, int code, const char *function);

/* … or accepted, but the handle stays until its last child is gone. */
HIDDEN void handle_made_zombie(uint32_t slot, const char *function, enum trace_ended how);

/* … or done. Ends transactions among the children; other children go on without a parent. */
HIDDEN HOT void handle_finished(uint32_t slot, enum trace_ended how);

/* What lay in a transaction, unused for seconds, and is used or closed now. slot 0: nothing did. */
struct idle {
    uint32_t slot;
    uint64_t time; /* ns */
};

/* It is being used, and with it what it belongs to, of which it gives the outermost that lay idle. */
HIDDEN HOT struct idle handle_touched(uint32_t slot);

/* A close or use of what is not open here: closed before, or inherited by fork, or none of our business. */
HIDDEN void stranger_closed(enum kind kind, uintptr_t address, uint32_t stack, const char *function);
HIDDEN void stranger_used(enum kind kind, uintptr_t address, const struct caller *caller, const char *function);

/* --- transactions (transactions.c) ------------------------------------------------------------------------------------- */

/* How a connection's transaction stands after a call. The stack is captured only when one begins or fails. */
struct transaction_state {
    bool open, failed, wrote;
    uint64_t changes; /* before the call */
};

/* `kind`: of the transaction. KIND_NONE: transactions of such handles have no kind, only the handle's flags tell of them. */
HIDDEN void transaction_seen(enum kind kind, uint32_t connection, const struct transaction_state *state,
                             const struct caller *caller);

HIDDEN enum kind kind_of_transaction(unsigned kind_of_connection);
HIDDEN bool is_transaction(unsigned kind);

/* The handle of a connection's open transaction, 0: none. Two threads that share a connection may both see it begin. */
HIDDEN uint32_t transaction_of(uint32_t connection);

/* The statement it ran last, or its checkout did: a string, 0: not known. */
HIDDEN uint32_t last_sql_of(uint32_t slot);

/* It did lie idle; `stack`, `function`: of the use or close that has ended it. */
HIDDEN void idle_noted(const struct idle *idle, uint32_t stack, const char *function);

/* The same of a handle whose close begins, which is no use: whoever left it to the collector did not use it then. */
static inline void idleness_closed(uint32_t slot, uint32_t stack, const char *function)
{
    if (likely(!(atomic_load_explicit(&handle_at(slot)->flags, memory_order_relaxed) & HANDLE_IN_TRANSACTION)))
        return;
    uint64_t last_used = atomic_load_explicit(&handle_at(slot)->last_used, memory_order_relaxed);
    struct idle idle = handle_touched(slot);
    atomic_store_explicit(&handle_at(slot)->last_used, last_used, memory_order_relaxed);
    if (idle.slot)
        idle_noted(&idle, stack, function);
}

/* It is being used although its transaction had failed. */
HIDDEN void use_while_failed_noted(uint32_t slot, uint32_t stack, const char *function);

/* The connection is being closed while its transaction is open. */
HIDDEN void transaction_cut(uint32_t connection, bool wrote, uint32_t stack, const char *function);

/* family.c: parents and children. All under the parent's family lock. */
HIDDEN HOT void child_added(uint32_t parent, uint32_t child);
HIDDEN HOT uint32_t parent_of(uint32_t child); /* as it is at this moment; 0: none */
HIDDEN HOT void child_removed(uint32_t child);
/* The first child, with no parent any more, and which handle it was; 0: no child left. */
HIDDEN uint32_t child_taken(uint32_t parent, uint64_t *generation);
HIDDEN uint32_t child_of_kind(uint32_t parent, enum kind kind); /* the first such child, 0: none */
HIDDEN unsigned children_alive(uint32_t parent);                /* those that keep a closed parent alive */

/* counters.c */
HIDDEN HOT void open_counted(struct trace_site *site, enum kind kind, uint64_t now, uint32_t target);
HIDDEN HOT void close_counted(struct trace_site *site, enum kind kind, uint64_t now, uint64_t held,
                              enum trace_ended how);

/* facts.c: `fact` holds the identifying fields and whatever else is known; one with the same identity is only counted. */
HIDDEN void fact_noted(const struct trace_fact *fact);
HIDDEN struct trace_fact fact_about(enum trace_fact_type type, const struct trace_handle *handle);
/* What the rule of that name judges has happened with a handle that is open, or was closed just now. */
HIDDEN void rule_noticed(const char *rule, enum kind kind, uintptr_t address, const char *text, uint32_t stack);

/* closed.c: the ring. */
HIDDEN HOT void closed_remembered(const struct trace_handle *handle, enum trace_ended how, uint64_t now);
/* Something was opened at the address that could not be recorded: its close will be nobody's second one. */
HIDDEN void closed_forgotten(enum kind kind, uintptr_t address);
HIDDEN bool closed_recalled(const struct trace_map *map, enum kind kind, uintptr_t address,
                            struct trace_closed *closed);

/* owners.c. Owners are slots here, 0: nobody. What refers to one holds it (gained), until it lets go (lost). */
HIDDEN uint32_t owner_of_thread(void);
HIDDEN uint32_t owner_taken(enum kind kind); /* whose a handle is that this thread opens now, held for it */
HIDDEN void owner_gained(uint32_t owner);
HIDDEN void owner_lost(uint32_t owner);
HIDDEN bool owner_has_ended(uint32_t owner);                   /* false for 0 */
HIDDEN bool owner_has_left(const struct trace_handle *handle); /* … and nobody has used it since */

/* Most programs open everything in their first thread. */
static inline bool may_be_owned(enum kind kind)
{
    return thread.owner || (thread.id != (uint32_t)shim.pid && !is_cheap(kind));
}

/* details.c. What is stored of a value: the string without passwords, of DETAIL_LAST_SQL the statement without literals. */
#define DETAIL_LAST_SQL "last_sql"     /* the statement that a handle ran last */
#define DETAIL_FAILED_SQL "failed_sql" /* of a transaction: the one that made it fail */
HIDDEN void detail_set(uint32_t handle, const char *key, const char *value);
HIDDEN void detail_stored(uint32_t handle, const char *key, uint32_t value); /* a string as it is */
HIDDEN uint32_t detail_value(uint32_t handle, const char *key);              /* string, 0: none */
HIDDEN void details_dropped(struct trace_handle *handle);

#endif
