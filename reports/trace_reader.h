/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a trace, trusting nothing in it.
 *
 * The file is never mapped (it may be cut while we read): it is read into private memory, and everything that is handed
 * out is a copy that stays as it is until trace_closed(). Every reference is checked; one that leads nowhere gives
 * "not there", never a crash. Cycles are the caller's to bound, except in stacks (a parent is always smaller).
 *
 * A trace may be read while its process runs (`live`): records that can be reused are read twice and left out when they
 * changed in between; a record that was not published yet when its table was read is looked up again.
 *
 * One thread for each trace.
 */
#ifndef UNCLOSED_REPORTS_TRACE_READER_H
#define UNCLOSED_REPORTS_TRACE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unclosed/trace.h>

#include "map.h"

enum { TRACE_DEPTH_MAX = 4096 }; /* frames of a stack that a reader follows */

struct trace_copy {       /* a table in private memory */
    unsigned char *bytes; /* NULL: not read yet */
    size_t size;
};

struct trace {
    int fd;
    uint64_t size; /* of the file when it was opened */
    bool live;     /* the process may be writing; set by the caller before anything else is read */
    struct trace_header header;
    struct trace_process process;
    char warning[240]; /* in words what is missing or damaged; "": nothing */
    uint64_t damaged;  /* records left out because they make no sense */
    struct trace_copy copies[TABLE_COUNT];
    struct map cleaned; /* string -> text that had to be made valid UTF-8 */
    size_t cleaned_size;
    const char *kind_names[KIND_LIMIT]; /* NULL: not looked up */
};

enum trace_opening {
    TRACE_OPENED,     /* warning may tell what is missing */
    TRACE_EMPTY,      /* made ahead for a child that never came, or killed before anything was recorded */
    TRACE_UNREADABLE, /* a trace, but not one we can read: warning tells why */
    TRACE_NONE,       /* not a trace at all, or no such file: warning tells */
};

/*
 * Opens the trace `name` below the directory `directory_fd` (or AT_FDCWD). Never blocks on a FIFO or a device.
 * `follow`: a symbolic link is followed. Whatever the answer, end with trace_closed().
 */
enum trace_opening trace_opened(struct trace *trace, int directory_fd, const char *name, bool follow);
void trace_closed(struct trace *trace);

/* Adds a remark to trace->warning ("; " between remarks). */
void trace_warned(struct trace *trace, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Copies record `number` of a table into `record`, a struct of that table's type (not for TABLE_STRING). False: there
 * is no such record, or it is not published; `record` is then zero. */
bool trace_record(struct trace *trace, enum trace_table_id table, uint64_t number, void *record);

/* Calls `visit` for each published record, in order of their numbers, with a copy that lives during the call. For a
 * table too large to keep: it is read in pieces and forgotten. False: `visit` wanted no more. */
bool trace_walked(struct trace *trace, enum trace_table_id table,
                  bool (*visit)(void *context, uint32_t number, const void *record), void *context);

/* The timeline, whole: not in the middle of a merge. False: nothing was ever noted, or the process keeps merging. */
bool trace_timeline(struct trace *trace, struct trace_timeline *timeline);

/* Text of a string as valid UTF-8 (what is not becomes U+FFFD; control characters stay). NULL: none. */
const char *trace_text(struct trace *trace, uint32_t string);

/* Raw bytes of a string (a line table), or NULL. */
const unsigned char *trace_bytes(struct trace *trace, uint32_t string, size_t *length);

/* `size` bytes of a fixed-size character array in a record, made text in the same way. Same lifetime as trace_text. */
const char *trace_characters(struct trace *trace, const char *characters, size_t size);

/* "sqlite3.connection"; "unknown.kind-90" for a number that nobody declared. Never NULL. */
const char *trace_kind_name(struct trace *trace, unsigned kind);

/* Nanoseconds since 1970 for a time of the trace; 0 for 0 (not known). */
int64_t trace_calendar(const struct trace *trace, uint64_t monotonic);

#endif
