/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Characters in text that nobody vouches for: file names, commands, SQL. Shared by the writers, which decide what to do
 * with the bad ones.
 */
#ifndef UNCLOSED_REPORTS_CHARACTERS_H
#define UNCLOSED_REPORTS_CHARACTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The length of the UTF-8 sequence at `text` (1 to 4), or 0 if the bytes there are none: stray, overlong, a surrogate,
 * beyond U+10FFFF, or cut by the NUL that ends it.
 */
size_t utf8_length(const char *text);

/* The character of such a sequence. */
uint32_t character_at(const char *text, size_t length);

/* Controls, line ends and tabs included, and what is invisible or turns the direction of a line: never shown as it is. */
bool is_treacherous(uint32_t character);

/* How a character, or (length 0) a byte that is none, is shown instead: "\x1b", "\u202e". */
const char *character_escaped(const char *text, size_t length, char escape[16]);

#endif
