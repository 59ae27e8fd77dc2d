/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "map.h"
#include "program.h"

#ifndef UNCLOSED_LIBRARY_DIR
#define UNCLOSED_LIBRARY_DIR "/usr/local/lib/unclosed"
#endif

static const char shim_name[] = "libunclosed.so";

bool shim_located(char shim[PATH_MAX])
{
    static const char *const beside[] = {"", "/../lib/unclosed"};
    char own[PATH_MAX], candidate[PATH_MAX + 64];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    own[length > 0 ? length : 0] = 0;
    *(strrchr(own, '/') ? strrchr(own, '/') : own) = 0;
    bool found = false;
    for (size_t i = 0; !found && i < sizeof beside / sizeof *beside; i++) {
        snprintf(candidate, sizeof candidate, "%s%s/%s", own, beside[i], shim_name);
        found = realpath(candidate, shim) != NULL;
    }
    if (!found && !realpath(UNCLOSED_LIBRARY_DIR "/libunclosed.so", shim)) {
        fprintf(stderr,
                "unclosed: error: %s is not there: looked in %s, %s/../lib/unclosed and %s; it belongs beside "
                "the command `unclosed`\n",
                shim_name, own, own, UNCLOSED_LIBRARY_DIR);
        return false;
    }
    if (strpbrk(shim, " :$")) {
        fprintf(stderr,
                "unclosed: error: LD_PRELOAD cannot name %s: a path in it must not hold a blank, a colon or a "
                "dollar sign; move or install unclosed elsewhere\n",
                shim);
        return false;
    }
    return true;
}

/* --- "NAME=item:item" ------------------------------------------------------------------------------------------------- */

struct variable {
    char *text;
    size_t length, name_length; /* name_length: with the = */
};

static void grown(struct variable *variable, const char *more, size_t length)
{
    variable->text = memory_resized(variable->text, variable->length + length + 1, 1);
    memcpy(variable->text + variable->length, more, length);
    variable->length += length;
    variable->text[variable->length] = 0;
}

static struct variable variable_named(const char *name)
{
    struct variable variable = {0};
    grown(&variable, name, strlen(name));
    grown(&variable, "=", 1);
    variable.name_length = variable.length;
    return variable;
}

static void item_added(struct variable *variable, const char *item, size_t length)
{
    if (variable->length > variable->name_length)
        grown(variable, ":", 1);
    grown(variable, item, length);
}

/* --- LD_PRELOAD --------------------------------------------------------------------------------------------------------- */

static bool is_shim(const char *path, size_t length)
{
    size_t tail = sizeof shim_name - 1;
    return length >= tail && !memcmp(path + length - tail, shim_name, tail) &&
           (length == tail || path[length - tail - 1] == '/');
}

/*
 * musl's loader refuses to start a program when a preload does not fit it, and glibc's shim does not. It does not expand
 * ${LIB} either: written so, the path leads to the shim for glibc and to nothing for musl, which passes over it.
 */
static void shim_added(struct variable *preload, const char *shim)
{
    static const char root[] = "/usr/${LIB}/../../../..";
    bool musl = system_has_musl();
    item_added(preload, musl ? root : shim, strlen(musl ? root : shim));
    if (musl)
        grown(preload, shim, strlen(shim));
}

static char *preload_made(const char *before, const struct injection *injection)
{
    struct variable preload = variable_named("LD_PRELOAD");
    shim_added(&preload, injection->shim);
    for (const char *at = before; at && *at;) {
        size_t length = strcspn(at, " :");
        if (length && !is_shim(at, length))
            item_added(&preload, at, length);
        at += length + (at[length] != 0);
    }
    return preload.text;
}

/* --- ASAN_OPTIONS ------------------------------------------------------------------------------------------------------- */

static bool is_sanitizer_about(const char *preload, const char *options, const struct injection *injection)
{
    return injection->address_sanitizer || options ||
           (preload && (strstr(preload, "libasan.so") || strstr(preload, "libclang_rt.asan")));
}

static char *sanitizer_options_made(const char *before)
{
    struct variable options = variable_named("ASAN_OPTIONS");
    if (before && *before)
        item_added(&options, before, strlen(before));
    item_added(&options, "verify_asan_link_order=0", 24);
    return options.text;
}

/* --- UNCLOSED_OPTIONS ----------------------------------------------------------------------------------------------------- */

struct option {
    const char *key, *value;
};

static bool is_set(const struct option *options, const char *key, size_t length)
{
    for (; options->key; options++)
        if (options->value && strlen(options->key) == length && !memcmp(options->key, key, length))
            return true;
    return false;
}

static void option_added(struct variable *options, const struct option *option)
{
    item_added(options, option->key, strlen(option->key));
    grown(options, "=", 1);
    for (const char *at = option->value; *at; at++) {
        if (*at == ':' || *at == '\\')
            grown(options, "\\", 1);
        grown(options, at, 1);
    }
}

static size_t option_length(const char *at)
{
    size_t length = 0;
    while (at[length] && at[length] != ':')
        length += at[length] == '\\' && at[length + 1] ? 2 : 1;
    return length;
}

static char *options_made(const char *before, const struct injection *injection)
{
    const struct option ours[] = {
        {"dir", injection->traces},  {"run", injection->run},
        {"label", injection->label}, {"max_size", injection->max_size},
        {"depth", injection->depth}, {"only", injection->only},
        {"skip", injection->skip},   {NULL, NULL},
    };
    struct variable options = variable_named("UNCLOSED_OPTIONS");
    for (const char *at = before; at && *at;) {
        size_t length = option_length(at);
        if (length && !is_set(ours, at, strcspn(at, "=:")))
            item_added(&options, at, length);
        at += length + (at[length] != 0);
    }
    for (const struct option *option = ours; option->key; option++)
        if (option->value)
            option_added(&options, option);
    return options.text;
}

/* --- all of it ---------------------------------------------------------------------------------------------------------------- */

static bool is_variable(const char *entry, const char *name)
{
    size_t length = strlen(name);
    return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

static const char *value_in(char *const *environment, const char *name)
{
    for (; *environment; environment++)
        if (is_variable(*environment, name))
            return *environment + strlen(name) + 1;
    return NULL;
}

char **environment_with(char *const *environment, const struct injection *injection)
{
    const char *preload = value_in(environment, "LD_PRELOAD"), *sanitizer = value_in(environment, "ASAN_OPTIONS");
    bool is_sanitized = is_sanitizer_about(preload, sanitizer, injection);
    size_t count = 0, kept = 0;
    while (environment[count])
        count++;
    char **with = memory((count + 4) * sizeof *with);
    for (size_t i = 0; i < count; i++)
        if (!is_variable(environment[i], "LD_PRELOAD") && !is_variable(environment[i], "UNCLOSED_OPTIONS") &&
            !(is_sanitized && is_variable(environment[i], "ASAN_OPTIONS")))
            with[kept++] = environment[i];
    with[kept++] = preload_made(preload, injection);
    with[kept++] = options_made(value_in(environment, "UNCLOSED_OPTIONS"), injection);
    if (is_sanitized)
        with[kept++] = sanitizer_options_made(sanitizer);
    return with;
}
