/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What counts as a secret in text, for both sides of the trace: targets and command lines before they are stored, source
 * lines before they are shown. Known shapes:
 *     scheme://user:SECRET@host/db?password=SECRET     key=value strings: password=SECRET passwd='SEC RET'
 * What is taken out is replaced by ***. In doubt it is taken out. Pure functions, no allocation.
 */
#ifndef UNCLOSED_SECRETS_H
#define UNCLOSED_SECRETS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define SECRET_HIDDEN_TEXT "***"

static const char *const secret_keys[] = {
    "password", "passwd", "pwd",     "passfile",       "sslpassword", "pgpassword", "pass",   "mysql_pwd", "secret",
    "token",    "apikey", "api_key", "redis_password", "access_key",  "auth",       "hexkey", "textkey"};

static inline bool is_word(char letter)
{
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || letter == '_' || letter == '-' ||
           (letter >= '0' && letter <= '9');
}

/* Is the word that ends before text[end] a key whose value is secret? Also DB_PASSWORD, MY-SECRET. */
static inline bool is_secret_key(const char *text, size_t end)
{
    size_t start = end;
    while (start > 0 && is_word(text[start - 1]))
        start--;
    for (size_t i = 0; i < sizeof(secret_keys) / sizeof(secret_keys[0]); i++) {
        size_t length = strlen(secret_keys[i]);
        if (end - start < length || strncasecmp(text + end - length, secret_keys[i], length) != 0)
            continue;
        if (end - start == length || !is_word(text[end - length - 1]) || text[end - length - 1] == '_' ||
            text[end - length - 1] == '-')
            return true;
    }
    return false;
}

/* file:orders.db?key=SECRET, for encrypted databases; in a program's text "key" is mostly something else. */
static inline bool is_key_of_file(const char *text, size_t end)
{
    return end >= 4 && (text[end - 4] == '?' || text[end - 4] == '&') && strncasecmp(text + end - 3, "key", 3) == 0;
}

/* From the value's first character to behind its last: quoted, with backslash escapes, or up to a separator. */
static inline size_t secret_length(const char *value, const char *ends)
{
    size_t i = 0;
    if (value[0] == '\'' || value[0] == '"') {
        for (i = 1; value[i] && value[i] != value[0]; i++)
            if (value[i] == '\\' && value[i + 1])
                i++;
        return value[i] ? i + 1 : i;
    }
    while (value[i] && !strchr(ends, value[i])) {
        if (value[i] == '\\' && value[i + 1])
            i++;
        i++;
    }
    return i;
}

/* 0: none. */
static inline size_t last_at_before(const char *text, size_t end)
{
    while (end > 0 && text[end] != '@')
        end--;
    return end;
}

/* Where "?name=" begins, or `end`. */
static inline size_t query_begin(const char *text, size_t end)
{
    for (size_t i = 0; i < end; i++) {
        size_t name = i + 1;
        while (text[i] == '?' && is_word(text[name]))
            name++;
        if (text[i] == '?' && text[name] == '=')
            return i;
    }
    return end;
}

/* "://user:SECRET@": the place and length of SECRET, when text begins with "://". Not every writer escapes '/' and '@'. */
static inline bool url_secret_found(const char *text, size_t *start, size_t *length)
{
    if (strncmp(text, "://", 3) != 0 || text[3] == '/')
        return false;
    size_t end = 3 + strcspn(text + 3, " \t\n\"'");
    size_t at = last_at_before(text, 3 + strcspn(text + 3, "/?# \t\n"));
    size_t further = last_at_before(text, query_begin(text, end));
    if (further > at)
        at = further;
    if (at == 0)
        at = last_at_before(text, end);
    const char *colon = memchr(text + 3, ':', at > 3 ? at - 3 : 0);
    if (!colon)
        return false;
    *start = (size_t)(colon - text) + 1;
    *length = at - *start;
    return true;
}

/* Appends to out[*length] what fits, always leaving room for the NUL. */
static inline void secret_free_text_added(char *out, size_t size, size_t *length, const char *text, size_t more)
{
    size_t room = size - 1 - *length;
    if (more > room)
        more = room;
    memcpy(out + *length, text, more);
    *length += more;
    out[*length] = 0;
}

/* Is text[at] the sign between a secret's key and its value? In source code also the colon of "password": "…". */
static inline bool is_before_secret(const char *text, size_t at, bool is_source)
{
    size_t end = at;
    if (text[at] != '=' && !(is_source && text[at] == ':'))
        return false;
    while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t' ||
                       (is_source && (text[end - 1] == '"' || text[end - 1] == '\''))))
        end--;
    return is_secret_key(text, end) || (!is_source && is_key_of_file(text, end));
}

/* `out` gets `text` without secrets, cut to size - 1 bytes. is_source: a line of a program, in which quotes end a value. */
static inline void secrets_hidden(const char *text, bool is_source, char *out, size_t size)
{
    const char *ends = is_source ? " \t\n&;,)\"'" : " \t\n&;";
    size_t length = 0, i = 0;
    out[0] = 0;
    while (text[i]) {
        size_t start = 1, secret = 0;
        bool found = text[i] == ':' && url_secret_found(text + i, &start, &secret);
        if (!found && is_before_secret(text, i, is_source)) {
            start = 1 + strspn(text + i + 1, " \t");
            secret = secret_length(text + i + start, ends);
            found = secret > 0;
        }
        secret_free_text_added(out, size, &length, text + i, found ? start : 1);
        if (found)
            secret_free_text_added(out, size, &length, SECRET_HIDDEN_TEXT, strlen(SECRET_HIDDEN_TEXT));
        i += found ? start + secret : 1;
    }
}

#endif
