/* SPDX-License-Identifier: Apache-2.0 */
/* UNCLOSED_OPTIONS="key=value:key=value", a colon within a value as "\:", a backslash as "\\". */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

static const char *value_unescaped(const char *from, char *value, size_t size)
{
    struct text text = text_in(value, size);
    for (; *from && *from != ':'; from++) {
        if (*from == '\\' && from[1])
            from++;
        text_bytes_added(&text, from, 1);
    }
    return *from ? from + 1 : from;
}

static uint64_t size_read(const char *text)
{
    char *end;
    uint64_t size = strtoull(text, &end, 10);
    switch (*end) {
    case 'g':
    case 'G':
        return size << 30;
    case 'm':
    case 'M':
        return size << 20;
    case 'k':
    case 'K':
        return size << 10;
    default:
        return size;
    }
}

static bool name_is_listed(const char *list)
{
    char name[64], pattern[64];
    program_name(name, sizeof(name));
    while (*list) {
        size_t length = strcspn(list, ",");
        struct text text = text_in(pattern, sizeof(pattern));
        text_bytes_added(&text, list, length);
        if (fnmatch(pattern, name, 0) == 0)
            return true;
        list += length + (list[length] == ',');
    }
    return false;
}

static void copied(char *to, size_t size, const char *from)
{
    struct text text = text_in(to, size);
    text_added(&text, from);
}

static void directory_made_absolute(struct options *options, const char *directory)
{
    struct text text = text_in(options->directory, sizeof(options->directory));
    size_t length = strlen(directory) + 2;
    if (directory[0] != '/') {
        if (length >= sizeof(options->directory) || !getcwd(options->directory, sizeof(options->directory) - length)) {
            options->directory[0] = 0;
            return;
        }
        text.at += strlen(options->directory);
        text_added(&text, "/");
    }
    text_added(&text, directory);
}

static void option_set(struct options *options, const char *key, const char *value)
{
    if (strcmp(key, "dir") == 0)
        directory_made_absolute(options, value);
    else if (strcmp(key, "run") == 0)
        copied(options->run, sizeof(options->run), value);
    else if (strcmp(key, "label") == 0)
        copied(options->label, sizeof(options->label), value);
    else if (strcmp(key, "fail_on") == 0)
        copied(options->fail_on, sizeof(options->fail_on), value);
    else if (strcmp(key, "held") == 0)
        copied(options->held, sizeof(options->held), value);
    else if (strcmp(key, "report") == 0)
        options->report = strcmp(value, "off") != 0;
    else if (strcmp(key, "scan") == 0)
        options->scan = strcmp(value, "off") != 0;
    else if (strcmp(key, "python") == 0)
        options->python = strcmp(value, "off") != 0;
    else if (strcmp(key, "max_size") == 0)
        options->maximum_size = size_read(value);
    else if (strcmp(key, "depth") == 0)
        options->depth = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(key, "mode") == 0)
        options->mode = (unsigned)strtoul(value, NULL, 8) & 0666;
    else if (strcmp(key, "keep") == 0)
        options->keep = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(key, "only") == 0)
        options->skipped |= !name_is_listed(value);
    else if (strcmp(key, "skip") == 0)
        options->skipped |= name_is_listed(value);
    else
        said("unknown option in UNCLOSED_OPTIONS (see libunclosed(7)):", key, 0);
}

void options_read(struct options *options)
{
    options->maximum_size = 256u << 20;
    options->depth = 64;
    options->mode = 0600;
    options->keep = 20;
    options->report = options->scan = options->python = true;
    const char *at = getenv("UNCLOSED_OPTIONS");
    if (at)
        copied(options->text, sizeof(options->text), at);
    while (at && *at) {
        char key[16], value[sizeof(options->directory)];
        size_t length = strcspn(at, "=:");
        struct text text = text_in(key, sizeof(key));
        text_bytes_added(&text, at, length);
        at = value_unescaped(at + length + (at[length] == '='), value, sizeof(value));
        if (key[0])
            option_set(options, key, value);
    }
    if (!options->directory[0])
        directory_made_absolute(options, "unclosed-traces");
    options->skipped |= name_is_listed("unclosed"); /* its run database is nobody's leak */
    if (options->depth == 0 || options->depth > CAPTURE_DEPTH_MAX)
        options->depth = CAPTURE_DEPTH_MAX;
}
