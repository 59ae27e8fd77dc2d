/* SPDX-License-Identifier: Apache-2.0 */
/* Bare use: when the program has ended, `unclosed bare` reads its trace and makes the page. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helper.h"
#include "shim.h"

extern char **environ;

static const char *our_path(void)
{
    uint64_t bias;
    static char path[1024];
    if (!guard_entered())
        return "";
    uint32_t module = module_of(shim.start, &bias);
    guard_left();
    if (!module)
        return "";
    const struct trace_module *ourselves = record_of(TABLE_MODULE, module);
    const struct trace_string *text = record_of(TABLE_STRING, ourselves->path);
    struct text copy = text_in(path, sizeof(path));
    text_added(&copy, text->text);
    return path;
}

/* The command beside the library (a build tree), or PREFIX/bin/unclosed of PREFIX/lib/unclosed/libunclosed.so. */
static bool command_found(char *path, size_t size)
{
    static const char *const places[] = {"/unclosed", "/../../bin/unclosed"};
    const char *ours = our_path(), *slash = strrchr(ours, '/');
    for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
        struct text text = text_in(path, size);
        text_bytes_added(&text, ours, (size_t)(slash - ours));
        text_added(&text, places[i]);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

/* The reporter must not be watched itself. */
static char **environment_without_preload(char **kept, size_t capacity)
{
    size_t count = 0;
    for (char **entry = environ; entry && *entry && count < capacity - 1; entry++)
        if (strncmp(*entry, "LD_PRELOAD=", 11) != 0 && strncmp(*entry, "UNCLOSED_OPTIONS=", 17) != 0)
            kept[count++] = *entry;
    kept[count] = NULL;
    return kept;
}

int reporter_ran(void)
{
    enum { MOST_VARIABLES = 4096 };
    static char command[1100], keep[24];
    static char *kept[MOST_VARIABLES];
    if (!command_found(command, sizeof(command)))
        return -1;
    struct text text = text_in(keep, sizeof(keep));
    number_added(&text, shim.options.keep);
    char *arguments[16] = {command,   "bare",          "--dir",  shim.options.directory,
                           "--trace", shim.trace_path, "--keep", keep};
    size_t count = 8;
    if (shim.options.fail_on[0]) {
        arguments[count++] = "--fail-on";
        arguments[count++] = shim.options.fail_on;
    }
    if (shim.options.held[0]) {
        arguments[count++] = "--held";
        arguments[count++] = shim.options.held;
    }
    return program_waited(command, arguments, environment_without_preload(kept, MOST_VARIABLES), !stderr_is_ours());
}
