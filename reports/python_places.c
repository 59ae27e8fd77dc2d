/* SPDX-License-Identifier: Apache-2.0 */
#include "python_places.h"

#include <stdlib.h>
#include <string.h>

#include "map.h"

/* The longest script that pip, uv or distlib write ends above this line. */
enum { SCRIPT_LINES = 12 };

struct directory {
    const char *path;
    size_t length;
};

struct python_places {
    struct directory *prefixes; /* of interpreters and virtual environments: what has lib/python3.11/ in it */
    size_t prefix_count;
    struct directory adapter; /* …/python, what has _unclosed/ in it; length 0: was not seen */
};

static void prefix_noted(struct python_places *places, const char *file)
{
    size_t length = python_prefix(file);

    for (size_t i = 0; i < places->prefix_count; i++)
        if (places->prefixes[i].length == length && memcmp(places->prefixes[i].path, file, length) == 0)
            return;
    if (!length)
        return;
    ROOM_FOR_ONE(places->prefixes, places->prefix_count);
    places->prefixes[places->prefix_count++] = (struct directory){file, length};
}

struct python_places *python_places_known(const struct stacks *stacks)
{
    struct python_places *places = memory(sizeof(*places));

    for (size_t id = 1; id <= code_count(stacks); id++) {
        const char *file = code_at(stacks, id)->file, *adapter = strstr(file, ADAPTER_DIRECTORY);
        prefix_noted(places, file);
        if (adapter && !places->adapter.length)
            places->adapter = (struct directory){file, (size_t)(adapter - file) + strlen("/python")};
    }
    return places;
}

void python_places_freed(struct python_places *places)
{
    free(places->prefixes);
    free(places);
}

bool is_of_adapter(const struct python_places *places, const char *file)
{
    const struct directory *adapter = &places->adapter;

    return strstr(file, ADAPTER_DIRECTORY) || (adapter->length && strncmp(file, adapter->path, adapter->length) == 0 &&
                                               strcmp(file + adapter->length, "/sitecustomize.py") == 0);
}

static bool is_named(const char *function, const char *name)
{
    const char *dot = strrchr(function, '.');

    return strcmp(dot ? dot + 1 : function, name) == 0;
}

bool is_comprehension(const char *function)
{
    return is_named(function, "<listcomp>") || is_named(function, "<setcomp>") || is_named(function, "<dictcomp>");
}

/* /srv/venv/bin/uvicorn: no ending, nothing but a few lines that call what is installed beside it. */
static bool is_console_script(const struct python_places *places, const struct code *code, int line)
{
    const char *file = code->file, *name = strrchr(file, '/');

    if (!name || strchr(name, '.') || line > SCRIPT_LINES || strcmp(code->function, "<module>") != 0)
        return false;
    for (size_t i = 0; i < places->prefix_count; i++) {
        const struct directory *prefix = &places->prefixes[i];
        if (strncmp(file, prefix->path, prefix->length) == 0 &&
            strncmp(file + prefix->length, "/bin/", (size_t)(name - file) - prefix->length + 1) == 0)
            return true;
    }
    return false;
}

/* What people type, or give to `python -c`. */
static bool is_typed(const char *file)
{
    static const char *const files[] = {"<string>", "<stdin>", "<console>", "<input>", "<ipython", "<doctest", "<cell"};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (strncmp(file, files[i], strlen(files[i])) == 0)
            return true;
    return false;
}

/* What libraries compile from text. Most say so in the name of the file. Where that is "<string>", a decorated function is a
 * text of one function, so that it begins in the first line, and a dataclass wraps its methods in a function of that name. */
static bool is_generated(const struct code *code)
{
    if (code->file[0] != '<' || !is_typed(code->file))
        return code->file[0] == '<';
    return strcmp(code->file, "<string>") == 0 && ((code->first_line <= 1 && strcmp(code->function, "<module>") != 0) ||
                                                   strstr(code->function, "__create_fn__"));
}

enum code_owner python_owner(const struct python_places *places, const struct code_rules *rules,
                             const struct code *code, int line)
{
    enum code_owner owner;

    if (is_of_adapter(places, code->file))
        return CODE_DRIVER;
    owner = code_owner_of(rules, NULL, code->file, CODE_PYTHON);
    if (owner == CODE_USER && (is_console_script(places, code, line) || is_generated(code)))
        return CODE_THIRD_PARTY;
    return owner;
}
