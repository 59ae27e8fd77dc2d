/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes as wholes: is one still there, how did it end, who was forked from whom.
 *
 * A process is pid + start time + boot id (+ pid namespace); exec gives it a new image and a new trace under the same
 * name, so the images of one process are told apart by when they began.
 */
#ifndef UNCLOSED_REPORTS_PROCESSES_H
#define UNCLOSED_REPORTS_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unclosed/trace.h>

enum presence {
    PRESENCE_RUNNING,
    PRESENCE_GONE,
    PRESENCE_UNKNOWN, /* on another machine, or in a pid namespace that we cannot see into */
};

/* Of the process that a trace names, now. `host`: the machine it ran on as the trace tells, or NULL. */
enum presence process_presence(const struct trace_process *process, const char *host);

/* How it ended, for the columns process.ended, end_words and end_status. */
struct ending {
    const char *ended; /* 'exit' 'killed' 'exec' 'running' 'unknown' */
    char words[32];    /* "exit 3" */
    bool has_status;
    int status;
};
struct ending process_ending(const struct trace_process *process, enum presence presence);

/* A process image that was loaded. */
struct image {
    int64_t id; /* process.id */
    int32_t pid, forked_from;
    uint64_t start_ticks, forked_start_ticks;
    uint64_t started;    /* CLOCK_MONOTONIC of its boot */
    uint64_t boot;       /* hash of boot id and pid namespace */
    int64_t site_base;   /* site.id of its site 0 */
    uint32_t site_limit; /* its sites are below this */
};

struct images {
    struct image *list;
    size_t count;
};

void image_added(struct images *images, const struct image *image);

/* The image that `child` was forked from, or NULL: it left no trace, or there was none. */
const struct image *image_forked_from(const struct images *images, const struct image *child);

/* The image of process `pid` that was there when `later` began, its ancestors first; NULL: none. */
const struct image *image_of_pid(const struct images *images, int32_t pid, const struct image *later);

#endif
