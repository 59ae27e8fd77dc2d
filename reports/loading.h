/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files load*.c share, and nobody else.
 *
 *     traces_loaded (load.c)
 *         for each trace: process, kinds, owners, handles, facts, sites, …     one function for each table
 *         then, over all: names of frames, stacks, who was forked from whom
 *
 * Numbers of records become ids by adding a base that grows from trace to trace, so that references need no look-up;
 * modules, frames and stacks are renumbered (stacks.h), because processes share them.
 */
#ifndef UNCLOSED_REPORTS_LOADING_H
#define UNCLOSED_REPORTS_LOADING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "database.h"
#include "load.h"
#include "map.h"
#include "processes.h"
#include "stacks.h"
#include "trace_reader.h"

/* One statement for each table, prepared once. */
struct inserts {
    struct insert process, loss, library, adapter, kind_count, kind, timeline;
    struct insert site, hold_time, closed_handle;
    struct insert owner, handle, detail, child;
    struct insert fact, incident, holder;
};

/* A fact about a handle that another process opened. */
struct fact_elsewhere {
    int64_t id, process;
    int32_t pid;
    uint32_t site; /* in that process's trace */
};

struct loading {
    sqlite3 *db;
    const struct load_options *options;
    struct inserts inserts;
    struct stacks *stacks;
    struct images images;
    struct fact_elsewhere *elsewhere;
    size_t elsewhere_count;
    struct map files; /* device and inode of those that were read: none is read twice */
    int64_t processes, sites, handles, owners, facts, incidents; /* ids given out so far */
    unsigned loaded, refused;                                    /* traces that gave a row; paths that gave nothing */
    int64_t now;                                                 /* ns since 1970 */
};

struct loaded_site {
    uint32_t number; /* in the trace */
    uint32_t kind;
    int64_t stack; /* stack.id */
};

struct loaded_owner {
    uint32_t number;
    uint64_t began, ended;
    uint64_t state; /* hash of what rules look at: kind, label, ended or not */
};

/* An open handle, as far as the others must know of it. All of them are in memory at once, a million perhaps. */
struct surveyed_handle {
    uint64_t generation, parent_generation, opened;
    uint64_t key; /* hash of all that rules look at: equal ones can share a row */
    uint32_t number, site, parent, owner, thread, transaction;
    uint32_t root; /* place in the list of the outermost open ancestor; itself if it has none */
    uint32_t row;  /* the row of several that it is part of, counted from 1; 0: one of its own */
    uint16_t kind;
    uint8_t reference;
    bool wrote, tx_failed, in_transaction;
};

/* One trace while it is being loaded. */
struct subject {
    struct loading *loading;
    struct trace *trace;
    const char *file;               /* its name, for process.trace */
    struct renumbering renumbering; /* of its stacks */
    enum presence presence;
    uint64_t seen_until;                        /* time of the trace: its end, its last event, or now */
    int64_t process;                            /* process.id */
    int64_t site_base, handle_base, owner_base; /* id = base + number */
    struct surveyed_handle *handles;            /* in order of their numbers */
    size_t handle_count;
    struct loaded_site *sites; /* in order of their numbers */
    size_t site_count;
    struct loaded_owner *owners;
    size_t owner_count;
    uint64_t siteless[KIND_LIMIT]; /* handles whose site was lost, by kind */
    const char *python_reason;     /* why our adapters were not loaded, NULL: nothing was said */
};

/* Time of the trace → calendar time, NULL if it is 0. */
static inline struct value moment(const struct subject *subject, uint64_t monotonic)
{
    return reference(trace_calendar(subject->trace, monotonic));
}

static inline struct value trace_text_value(const struct subject *subject, uint32_t string)
{
    return text(trace_text(subject->trace, string));
}

static inline struct value kind_value(const struct subject *subject, unsigned kind)
{
    return text(trace_kind_name(subject->trace, kind));
}

/* stack.id for a stack of this trace; 0 for STACK_NONE. */
static inline int64_t stack_of(struct subject *subject, uint32_t stack)
{
    return stack_numbered(subject->loading->stacks, &subject->renumbering, subject->trace, stack);
}

/* load_process.c */
void kinds_loaded(struct loading *loading);       /* the built-in ones */
void unreadable_loaded(struct subject *subject);  /* a process row that says why there is no more */
void process_loaded(struct subject *subject);     /* last of a trace: knows all warnings; and table loss */
void libraries_loaded(struct subject *subject);   /* and adapters */
void kind_counts_loaded(struct subject *subject); /* and declared kinds; after all that has a kind */
void timeline_loaded(struct subject *subject);

/* load_sites.c */
void sites_loaded(struct subject *subject);    /* and hold_time; fills subject->sites */
void siteless_loaded(struct subject *subject); /* sites for handles whose own was lost; after the handles */
void closed_handles_loaded(struct subject *subject);
const struct loaded_site *site_loaded(const struct subject *subject, uint32_t number); /* NULL: none */
int64_t siteless_id(const struct subject *subject, unsigned kind);
struct value site_value(const struct subject *subject, uint32_t number); /* site.id, or NULL */

/* load_handles.c. The survey comes before the sites: of a running process, the site of every handle is there then. */
void handles_surveyed(struct subject *subject);
void owners_loaded(struct subject *subject);
const struct loaded_owner *owner_loaded(const struct subject *subject, uint32_t number); /* NULL: none */
bool is_owner_then(const struct loaded_owner *owner, uint64_t time);                     /* not the slot's next one */
void handles_loaded(struct subject *subject);                                            /* and detail, child */

/* load_facts.c */
void facts_loaded(struct subject *subject);
void incidents_loaded(struct subject *subject); /* and holder */
bool relations_found(struct loading *loading);  /* over all traces: forked_from, other_process */

/* load_names.c: tables module, frame, symbol, stack, stack_frame, over all traces. */
bool names_loaded(struct loading *loading);

#endif
