/* SPDX-License-Identifier: Apache-2.0 */
#include "sql.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const char ELLIPSIS[] = "…";
enum { ELLIPSIS_SIZE = sizeof(ELLIPSIS) - 1 };

struct scan {
    const char *at, *end;
    char *out;
    size_t written;
    bool is_full, space_due, is_in_pragma;
    const char *word; /* the word that was read last, if nothing else came after it */
    size_t word_length;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c > 0 && c < ' ') || c == 0x7f;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Letters of other scripts are bytes from 0x80 on. */
static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_in_word(char c)
{
    return is_letter(c) || is_digit(c) || c == '$';
}

static char peeked(const struct scan *scan, size_t ahead)
{
    return (size_t)(scan->end - scan->at) > ahead ? scan->at[ahead] : 0;
}

/* --- what is written ------------------------------------------------------------------------------------------------------- */

static void cut_shown(struct scan *scan)
{
    size_t size = scan->written < SQL_SHOWN - ELLIPSIS_SIZE ? scan->written : SQL_SHOWN - ELLIPSIS_SIZE;
    while (size > 0 && size < scan->written && ((unsigned char)scan->out[size] & 0xc0) == 0x80)
        size--; /* not within a character */
    memcpy(scan->out + size, ELLIPSIS, ELLIPSIS_SIZE);
    scan->written = size + ELLIPSIS_SIZE;
    scan->is_full = true;
}

static void byte_shown(struct scan *scan, char byte)
{
    if (scan->space_due && scan->written > 0 && scan->written < SQL_SHOWN)
        scan->out[scan->written++] = ' ';
    scan->space_due = false;
    if (scan->written < SQL_SHOWN) {
        scan->out[scan->written++] = byte;
    } else {
        cut_shown(scan);
    }
}

static void literal_shown(struct scan *scan)
{
    scan->word_length = 0;
    byte_shown(scan, '?');
}

/* What follows cannot be told apart from what is to be hidden. */
static void rest_hidden(struct scan *scan)
{
    scan->at = scan->end;
    if (!scan->is_full)
        cut_shown(scan);
}

/* --- what is left out ------------------------------------------------------------------------------------------------------ */

static void line_skipped(struct scan *scan)
{
    const char *newline = memchr(scan->at, '\n', (size_t)(scan->end - scan->at));
    scan->at = newline ? newline : scan->end;
    scan->space_due = true;
}

/* Where comments do not nest, the rest of the text may go with this one. */
static void comment_skipped(struct scan *scan)
{
    unsigned depth = 0;
    do {
        if (peeked(scan, 0) == '/' && peeked(scan, 1) == '*') {
            depth++;
            scan->at += 2;
        } else if (peeked(scan, 0) == '*' && peeked(scan, 1) == '/') {
            depth--;
            scan->at += 2;
        } else {
            scan->at++;
        }
    } while (depth > 0 && scan->at < scan->end);
    scan->space_due = true;
}

/* From the opening quote to behind the closing one; a doubled quote is part of it. False: a backslash before a quote makes
 * it uncertain where it ends. */
static bool quoted_skipped(struct scan *scan, bool has_escapes)
{
    char quote = *scan->at++;
    while (scan->at < scan->end) {
        if (*scan->at == '\\' && has_escapes) {
            scan->at += scan->at + 1 < scan->end;
        } else if (*scan->at == '\\') {
            size_t count = 1;
            while (peeked(scan, count) == '\\')
                count++;
            scan->at += count;
            if (count % 2 == 1 && peeked(scan, 0) == quote)
                return false;
            continue;
        } else if (*scan->at == quote && peeked(scan, 1) == quote) {
            scan->at++;
        } else if (*scan->at == quote) {
            scan->at++;
            return true;
        }
        scan->at++;
    }
    scan->at = scan->end;
    return true;
}

static void text_hidden(struct scan *scan, bool has_escapes)
{
    bool is_certain = quoted_skipped(scan, has_escapes);
    literal_shown(scan);
    if (!is_certain)
        rest_hidden(scan);
}

static void number_hidden(struct scan *scan)
{
    const char *start = scan->at;
    while (scan->at < scan->end) {
        char before = scan->at > start ? scan->at[-1] : 0;
        bool is_sign = (*scan->at == '+' || *scan->at == '-') && (before == 'e' || before == 'E') &&
                       is_digit(peeked(scan, 1)) && !(start[0] == '0' && (start[1] == 'x' || start[1] == 'X'));
        if ((!is_in_word(*scan->at) && *scan->at != '.' && !is_sign) || *scan->at == '$')
            break;
        scan->at++;
    }
    literal_shown(scan);
}

/* $$text$$, $tag$text$tag$. False: it is something else. A tag has no $ within, so every byte is compared once at most. */
static bool dollars_hidden(struct scan *scan)
{
    size_t tag = 1;
    if (is_digit(peeked(scan, 1)))
        return false;
    while (is_in_word(peeked(scan, tag)) && peeked(scan, tag) != '$')
        tag++;
    if (peeked(scan, tag) != '$')
        return false;
    const char *opening = scan->at;
    scan->at += ++tag;
    while (scan->at < scan->end) {
        const char *dollar = memchr(scan->at, '$', (size_t)(scan->end - scan->at));
        scan->at = dollar ? dollar : scan->end;
        if ((size_t)(scan->end - scan->at) >= tag && memcmp(scan->at, opening, tag) == 0) {
            scan->at += tag;
            break;
        }
        if (dollar)
            scan->at++;
    }
    literal_shown(scan);
    return true;
}

/* --- words and names --------------------------------------------------------------------------------------------------------- */

static bool word_is(const char *word, size_t length, const char *const *list)
{
    for (; *list; list++)
        if (strlen(*list) == length && strncasecmp(word, *list, length) == 0)
            return true;
    return false;
}

/* N'…', X'…', E'…' are literals as a whole; in E'…' a backslash surely escapes; q'[…]' ends who knows where. */
static bool prefixed_text_hidden(struct scan *scan, const char *word, size_t length)
{
    static const char *const prefixes[] = {"b", "e", "n", "x", NULL}, *const delimited[] = {"q", "nq", NULL};
    if (peeked(scan, 0) != '\'')
        return false;
    if (word_is(word, length, delimited)) {
        literal_shown(scan);
        rest_hidden(scan);
        return true;
    }
    if (!word_is(word, length, prefixes))
        return false;
    text_hidden(scan, (word[0] | 0x20) == 'e');
    return true;
}

static void word_shown(struct scan *scan)
{
    static const char *const pragma[] = {"pragma", NULL};
    const char *word = scan->at;
    while (scan->at < scan->end && is_in_word(*scan->at))
        scan->at++;
    size_t length = (size_t)(scan->at - word);
    if (prefixed_text_hidden(scan, word, length))
        return;
    for (size_t i = 0; i < length && !scan->is_full; i++)
        byte_shown(scan, word[i]);
    scan->word = word;
    scan->word_length = length;
    scan->is_in_pragma |= word_is(word, length, pragma);
}

static void name_shown(struct scan *scan)
{
    const char *name = scan->at;
    bool is_certain = quoted_skipped(scan, false);
    for (; name < scan->at && !scan->is_full; name++)
        if (is_space(*name))
            scan->space_due = true;
        else
            byte_shown(scan, *name);
    scan->word_length = 0;
    if (!is_certain)
        rest_hidden(scan);
}

/* "x" is a name where only a name can be: from "x", a."x", "x".a; elsewhere MySQL, and SQLite at times, take it for text. */
static void name_or_text(struct scan *scan)
{
    static const char *const before_names[] = {"from", "join", "into", "update", "table", "as", NULL};
    bool is_name = word_is(scan->word, scan->word_length, before_names) ||
                   (!scan->space_due && scan->written > 0 && scan->out[scan->written - 1] == '.');
    struct scan ahead = *scan;
    if (!is_name)
        is_name = quoted_skipped(&ahead, false) && peeked(&ahead, 0) == '.';
    if (is_name)
        name_shown(scan);
    else
        text_hidden(scan, false);
}

static void other_shown(struct scan *scan)
{
    char c = *scan->at++;
    scan->word_length = 0;
    byte_shown(scan, c);
    if ((c == '=' || c == '(') && scan->is_in_pragma) { /* PRAGMA key = secret: a bare word */
        literal_shown(scan);
        rest_hidden(scan);
        return;
    }
    if (c == '$' || c == ':' || c == '?' || c == '@') /* a placeholder: $1 :1 ?1 @p1 */
        while (scan->at < scan->end && is_in_word(*scan->at) && !scan->is_full)
            byte_shown(scan, *scan->at++);
}

static void next_shown(struct scan *scan)
{
    char c = *scan->at, then = peeked(scan, 1);
    if (is_space(c)) {
        scan->space_due = true;
        scan->at++;
    } else if (c == '-' && then == '-') {
        line_skipped(scan);
    } else if (c == '#' && then != '>' && then != '-') { /* those are operators on JSON */
        line_skipped(scan);
    } else if (c == '/' && then == '*') {
        comment_skipped(scan);
    } else if (c == '\'') {
        text_hidden(scan, false);
    } else if (c == '"') {
        name_or_text(scan);
    } else if (c == '`') {
        name_shown(scan);
    } else if (is_digit(c) || (c == '.' && is_digit(then) && !scan->word_length)) {
        number_hidden(scan);
    } else if (is_letter(c)) {
        word_shown(scan);
    } else if (c != '$' || !dollars_hidden(scan)) {
        other_shown(scan);
    }
}

size_t sql_normalised(const char *sql, size_t length, char out[SQL_SHOWN + 1])
{
    struct scan scan = {.at = sql, .end = sql + length, .out = out};
    while (scan.at < scan.end && !scan.is_full)
        next_shown(&scan);
    out[scan.written] = 0;
    return scan.written;
}
