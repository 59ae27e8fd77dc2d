/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces made by hand: for tests of the reader, seeds of the fuzzer, and the benchmark.
 *
 *     struct trace_builder *made = builder_begun();
 *     uint32_t stack = built_stack(made, (uint32_t[]){built_frame(made, built_module(made, "/srv/app"), 0x1234)}, 1);
 *     uint32_t site = built_site(made, KIND_SQLITE3_CONNECTION, stack);
 *     built_handle(made, site)->reference = REFERENCE_NONE;
 *     trace_written(made, "/tmp/x/app.1.2.trace");
 *     builder_freed(made);
 *
 * A program that uses it includes trace_builder.c. Records are zero but for what is said here, and published; a pointer
 * to one is good until the next of its table is made. Whatever fails ends the program.
 */
#ifndef UNCLOSED_TESTS_TRACE_BUILDER_H
#define UNCLOSED_TESTS_TRACE_BUILDER_H

#include <stddef.h>
#include <stdint.h>
#include <unclosed/trace.h>

/* The clock pair of every built trace: 1,000 s after boot it was 2026-01-01T00:00:00Z. */
#define BUILT_MONOTONIC 1000000000000u
#define BUILT_REALTIME 1767225600000000000u
/* A time of the trace, `seconds` after that. */
#define BUILT_AT(seconds) (BUILT_MONOTONIC + (uint64_t)((seconds)*1e9))

struct trace_builder {
    struct trace_header header;
    struct {
        unsigned char *records;
        size_t count, room;
    } tables[TABLE_COUNT];
};

/* A process that exited with status 0 after a complete scan: pid 4242 on host "built", /usr/bin/true, gone since long. */
struct trace_builder *builder_begun(void);
void builder_freed(struct trace_builder *made);

/* A fresh record of a table, zero and published; *number (may be NULL) is its number. */
void *built_record(struct trace_builder *made, enum trace_table_id table, uint32_t *number);
void *built_at(struct trace_builder *made, enum trace_table_id table, uint32_t number);
struct trace_process *built_process(struct trace_builder *made);

uint32_t built_string(struct trace_builder *made, const char *text);
uint32_t built_bytes(struct trace_builder *made, const void *bytes, size_t length);
uint32_t built_module(struct trace_builder *made, const char *path);
uint32_t built_module_of_file(struct trace_builder *made, const char *path); /* with the build-id of that ELF file */
uint32_t built_frame(struct trace_builder *made, uint32_t module, uint64_t offset);
uint32_t built_python_frame(struct trace_builder *made, const char *file, const char *function, uint32_t line);
uint32_t built_flagged(struct trace_builder *made, uint32_t frame, uint32_t flags);     /* the same frame, with flags */
uint32_t built_stack(struct trace_builder *made, const uint32_t *frames, size_t count); /* innermost first */
uint32_t built_mixed(struct trace_builder *made, uint32_t python, uint32_t native, uint32_t flags); /* of two stacks */
uint32_t built_site(struct trace_builder *made, enum kind kind, uint32_t stack);

/* An open handle, opened one second after the process began; the site and the header count it. */
struct trace_handle *built_handle(struct trace_builder *made, uint32_t site_number);

/* Free with free(). */
unsigned char *trace_laid_out(const struct trace_builder *made, size_t *size);
void trace_written(const struct trace_builder *made, const char *path);
void bytes_written(const char *path, const void *bytes, size_t size);

/* A trace with something in every table. */
struct trace_builder *builder_of_everything(void);

/* A session, its checkout and connection, an engine and an incident, all at mixed stacks. */
struct trace_builder *builder_of_python(void);

/* `handles` open connections at `sites` sites, each at a stack of `depth` frames in that ELF file. */
struct trace_builder *builder_of_many(const char *module_path, uint32_t handles, uint32_t sites, unsigned depth);

#endif
