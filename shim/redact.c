/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No password enters a trace. Known shapes:
 *     scheme://user:SECRET@host/db?password=SECRET     key=value strings: password=SECRET passwd='SEC RET'
 *     command lines: -pSECRET --password=SECRET --password SECRET PGPASSWORD=SECRET
 * What is taken out is replaced by ***. In doubt it is taken out.
 */
#include <string.h>
#include <strings.h>

#include "shim.h"

#define HIDDEN_TEXT "***"

static const char *const secret_keys[] = {"password",   "passwd", "pwd",          "passfile", "sslpassword",
                                          "pgpassword", "pass",   "mysql_pwd",    "secret",   "token",
                                          "apikey",     "api_key", "redis_password", "access_key", "auth"};

static bool is_word(char letter)
{
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || letter == '_' || letter == '-' ||
           (letter >= '0' && letter <= '9');
}

/* Is the word that ends before text[end] a key whose value is secret? Also DB_PASSWORD, MY-SECRET. */
static bool is_secret_key(const char *text, size_t end)
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

/* From the value's first character to behind its last: quoted, with backslash escapes, or up to a separator. */
static size_t value_length(const char *value)
{
    size_t i = 0;
    if (value[0] == '\'' || value[0] == '"') {
        for (i = 1; value[i] && value[i] != value[0]; i++)
            if (value[i] == '\\' && value[i + 1])
                i++;
        return value[i] ? i + 1 : i;
    }
    while (value[i] && !strchr(" \t\n&;", value[i])) {
        if (value[i] == '\\' && value[i + 1])
            i++;
        i++;
    }
    return i;
}

/* "://user:SECRET@": the place and length of SECRET, when text begins with "://". */
static bool url_secret_found(const char *text, size_t *start, size_t *length)
{
    if (strncmp(text, "://", 3) != 0)
        return false;
    size_t authority = 3 + strcspn(text + 3, "/?# \t\n");
    size_t at = authority;
    while (at > 3 && text[at] != '@')
        at--;
    const char *colon = memchr(text + 3, ':', at > 3 ? at - 3 : 0);
    if (!colon)
        return false;
    *start = (size_t)(colon - text) + 1;
    *length = at - *start;
    return true;
}

void redacted(const char *text, char *out, size_t size)
{
    struct text result = text_in(out, size);
    size_t i = 0;
    while (text[i]) {
        size_t start, length;
        if (text[i] == ':' && url_secret_found(text + i, &start, &length)) {
            text_bytes_added(&result, text + i, start);
            text_added(&result, HIDDEN_TEXT);
            i += start + length;
            continue;
        }
        if (text[i] == '=') {
            size_t key_end = i;
            while (key_end > 0 && (text[key_end - 1] == ' ' || text[key_end - 1] == '\t'))
                key_end--;
            if (is_secret_key(text, key_end)) {
                size_t value = i + 1 + strspn(text + i + 1, " \t");
                text_bytes_added(&result, text + i, value - i);
                text_added(&result, HIDDEN_TEXT);
                i = value + value_length(text + value);
                continue;
            }
        }
        text_bytes_added(&result, text + i, 1);
        i++;
    }
}

static bool is_option_with_secret(const char *argument)
{
    return argument[0] == '-' && !strchr(argument, '=') && is_secret_key(argument, strlen(argument));
}

/* mysql -pSECRET, redis-cli -a SECRET: only for the clients that have these. */
static size_t attached_secret(const char *program, const char *argument)
{
    if ((strstr(program, "mysql") || strstr(program, "mariadb")) && strncmp(argument, "-p", 2) == 0 && argument[2])
        return 2;
    return 0;
}

void command_redacted(const char *arguments, size_t length, char *out, size_t size)
{
    struct text result = text_in(out, size);
    bool next_is_secret = false;
    for (size_t at = 0; at < length; at += strlen(arguments + at) + 1) {
        const char *argument = arguments + at;
        char clean[1024];
        if (at)
            text_added(&result, " ");
        size_t visible = attached_secret(arguments, argument);
        if (next_is_secret || visible) {
            text_bytes_added(&result, argument, visible);
            text_added(&result, HIDDEN_TEXT);
        } else {
            redacted(argument, clean, sizeof(clean));
            text_added(&result, clean);
        }
        next_is_secret = !next_is_secret && (is_option_with_secret(argument) ||
                                             (strstr(arguments, "redis-cli") && strcmp(argument, "-a") == 0));
    }
}

uint32_t target_interned(const char *target)
{
    char clean[1024];
    if (!target || !target[0])
        return 0;
    if (!strpbrk(target, "=@"))         /* a file name: no place for a secret */
        return string_interned(target);
    redacted(target, clean, sizeof(clean));
    return string_interned(clean);
}
