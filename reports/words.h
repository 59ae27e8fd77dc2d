/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small pieces of language that all outputs share: numbers, durations, times, places, what closes a handle.
 * Functions that return text write into the caller's buffer and return it, so that they can stand in an argument list.
 */
#ifndef UNCLOSED_REPORTS_WORDS_H
#define UNCLOSED_REPORTS_WORDS_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct words {
    char text[320];
};

/* 1234567 → "1,234,567" */
const char *number_said(struct words *words, int64_t number);

/* Nanoseconds → "840 µs", "12 ms", "3.1 s", "28 s", "4m12s", "6h12m", "3d4h"; negative counts as 0. */
const char *duration_said(struct words *words, int64_t nanoseconds);

/* Nanoseconds since 1970 → "2026-11-22T14:02:11.123Z" */
const char *time_said(struct words *words, int64_t nanoseconds);

/* The time of day only: "14:02:11Z" */
const char *clock_said(struct words *words, int64_t nanoseconds);

/* "orders.py:42 list_orders"; the file's last two components at most unless `whole`; "list_orders" without file. */
const char *place_said(struct words *words, const char *file, int64_t line, const char *function);

/* The end of a path that people know it by: its last `components` components. Points into `path`. */
const char *path_end(const char *path, unsigned components);

/* The call that ends a handle of this kind: "sqlite3_close()"; "its close function" where none is known. */
const char *closing_call(const char *kind);

/* What a library's result code is called: "SQLITE_BUSY (5)"; the bare number where no name is known. */
const char *code_said(struct words *words, const char *kind, int64_t code);

/*
 * `text` with {noun}, {close} and {kind} filled in; the first letter is made a capital when the text begins with a
 * placeholder that is a word ("database socket", not "myapp.lease handle"). Allocated; NULL without memory.
 */
char *filled_in(const char *text, const char *noun, const char *kind);

/* SQL functions for rules: duration(ns), counted(n), place(file, line, function), code(kind, n). SQLITE_OK or an error code. */
int words_registered(sqlite3 *db);

#endif
