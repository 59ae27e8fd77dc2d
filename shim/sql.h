/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQL text as it may be stored: which statement it was, without what was in it.
 *
 *     select *  -- all          ->   select * from users where mail = ? and id in (?, ?)
 *     from users where mail = 'a@b' and id in (7, 8)
 *
 * Literals become ?, comments go, white space is folded, the end is cut ("…"). Dialects contradict each other ('it\'s'
 * ends in two places, "x" is a name or a text, comments nest or not): in doubt the text is taken out, and where nothing
 * is certain any more it ends. Any bytes are welcome; linear time, no allocation, pure.
 */
#ifndef UNCLOSED_SHIM_SQL_H
#define UNCLOSED_SHIM_SQL_H

#include <stddef.h>

enum { SQL_SHOWN = 200 }; /* bytes that are kept at most */

/* Writes at most SQL_SHOWN bytes and a NUL, and gives their number. A text without end is read up to `length`. */
size_t sql_normalised(const char *sql, size_t length, char out[SQL_SHOWN + 1]);

#endif
