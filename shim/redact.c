/* SPDX-License-Identifier: Apache-2.0 */
/* No password enters a trace: see unclosed/secrets.h; and command lines: -pSECRET --password SECRET. */
#include <string.h>
#include <unclosed/secrets.h>

#include "shim.h"

void redacted(const char *text, char *out, size_t size)
{
    secrets_hidden(text, false, out, size);
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
            text_added(&result, SECRET_HIDDEN_TEXT);
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
    if (!strpbrk(target, "=@")) /* a file name: no place for a secret */
        return string_interned(target);
    redacted(target, clean, sizeof(clean));
    return string_interned(clean);
}
