/* SPDX-License-Identifier: Apache-2.0 */
#include "injection.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "adapters.h"
#include "elf_lookup.h"
#include "loaded_objects.h"
#include "raw_syscall.h"

static const char variable[] = "PYTHONPATH=";
enum { VARIABLE = sizeof(variable) - 1 };

static void interpreter_sought(const struct loaded_objects *objects, void *found)
{
    const struct elf_name name = elf_name("Py_InitializeEx");
    struct elf_object object;
    for (size_t i = 0; i < objects->global_count && !*(bool *)found; i++)
        *(bool *)found = elf_object_read(&object, objects->global[i]) && elf_function(&object, &name, NULL);
}

bool is_python_program(void)
{
    static bool looked, is;
    if (!looked) {
        visit_loaded_objects(interpreter_sought, &is);
        looked = true;
    }
    return is;
}

/* --- will it run sitecustomize? ------------------------------------------------------------------------------------------- */

enum { REASON_MAX = 64 };

/* Options as python(1) has them, and Python 2; false: from here on they are the script's. */
static bool option_read(const char *option, char *reason, bool *runs_nothing)
{
    static const char takes_value[] = "WXQ", ends_options[] = "cm", prevents[] = "IES", only_tells[] = "Vh?";
    for (const char *letter = option + 1; *letter && !strchr(takes_value, *letter); letter++) {
        if (strchr(only_tells, *letter))
            *runs_nothing = true;
        if (strchr(prevents, *letter) && !reason[0]) {
            struct text text = text_in(reason, REASON_MAX);
            text_added(&text, "started with ");
            text_added(&text, option);
        }
        if (strchr(ends_options, *letter))
            return false;
    }
    return true;
}

static bool takes_next(const char *option)
{
    size_t length = strlen(option);
    return strcmp(option, "--check-hash-based-pycs") == 0 || (option[1] != '-' && strcspn(option, "WXQ") == length - 1);
}

/* Why an interpreter with these arguments ignores PYTHONPATH or sitecustomize, "" : it does not. False: it runs no program
 * at all. */
static bool arguments_read(int count, char *const *arguments, char reason[REASON_MAX])
{
    bool runs_nothing = false;
    reason[0] = 0;
    for (int i = 1; i < count && arguments[i] && arguments[i][0] == '-' && arguments[i][1]; i++) {
        const char *option = arguments[i];
        if (strcmp(option, "--") == 0)
            break;
        if (option[1] == '-')
            runs_nothing |= strcmp(option, "--version") == 0 || strncmp(option, "--help", 6) == 0;
        else if (!option_read(option, reason, &runs_nothing))
            break;
        i += takes_next(option);
    }
    return !runs_nothing;
}

/* Any other program that has an interpreter inside has arguments of its own. */
static bool is_the_interpreter(void)
{
    char name[64];
    program_name(name, sizeof(name));
    return strncmp(name, "python", 6) == 0;
}

/* --- the directory ------------------------------------------------------------------------------------------------------------ */

static void own_path_read(const struct loaded_objects *objects, void *path)
{
    struct text text = text_in(path, PATH_MAX);
    if (objects->ours)
        text_added(&text, objects->ours->l_name);
}

/* The preload may have been named in a roundabout way; what the kernel calls it is what Python will call it, too. */
static bool directory_located(char directory[PATH_MAX])
{
    char path[PATH_MAX], link[64];
    visit_loaded_objects(own_path_read, path);
    char *slash = strrchr(path, '/');
    struct text text = {slash ? slash + 1 : path, path + sizeof(path) - 1};
    text_added(&text, "python");
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, (long)path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    text = text_in(link, sizeof(link));
    text_added(&text, "/proc/self/fd/");
    number_added(&text, (uint64_t)fd);
    link_read(link, directory, PATH_MAX);
    raw_syscall1(SYS_close, fd);
    if (!directory[0] && path[0] == '/') /* no /proc */
        memcpy(directory, path, sizeof(path));
    return directory[0] == '/' && !strchr(directory, ':');
}

/* --- the environment ------------------------------------------------------------------------------------------------------------ */

static char **original; /* environ as it was, while it is another */

/* Inherited from a process that did not take it away, such as one with Python linked in that never ran it. */
static bool is_there_already(const char *value, const char *directory)
{
    size_t length = strlen(directory);
    return strncmp(value, directory, length) == 0 &&
           (!value[length] || value[length] == ':' || strcmp(value + length, "/") == 0);
}

static char *entry_written(char *entry, const char *directory, const char *value)
{
    struct text text = {entry, entry + VARIABLE + strlen(directory) + 1 + (value ? strlen(value) : 0)};
    text_added(&text, variable);
    text_added(&text, directory);
    if (value) {
        text_added(&text, *value ? ":" : "/");
        text_added(&text, value);
    }
    return entry;
}

static void environment_replaced(const char *directory)
{
    size_t count = 0, place = SIZE_MAX;
    const char *value = NULL;
    for (; environ && environ[count]; count++) {
        if (place == SIZE_MAX && strncmp(environ[count], variable, VARIABLE) == 0) {
            place = count;
            value = environ[count] + VARIABLE;
        }
    }
    if (value && is_there_already(value, directory))
        return;
    size_t pointers = (count + 2) * sizeof(char *);
    size_t size = pointers + VARIABLE + strlen(directory) + 2 + (value ? strlen(value) : 0);
    long memory = raw_syscall6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return;
    char **made = (char **)memory;
    memcpy((void *)made, (const void *)environ, count * sizeof(char *));
    made[place == SIZE_MAX ? count : place] = entry_written((char *)memory + pointers, directory, value);
    original = environ;
    __atomic_store_n(&environ, made, __ATOMIC_RELEASE); /* a thread of a library's constructor may read it */
}

void environment_given_back(void)
{
    size_t i = 0;
    if (!original)
        return;
    for (; environ && environ[i] && original[i]; i++)
        if (environ[i] != original[i] &&
            (strncmp(original[i], variable, VARIABLE) != 0 || strcmp(environ[i], original[i]) != 0))
            return;
    if (environ && !environ[i] && !original[i])
        __atomic_store_n(&environ, original, __ATOMIC_RELEASE);
    original = NULL;
}

void python_path_set(int count, char **arguments)
{
    char reason[REASON_MAX], directory[PATH_MAX];
    shim_loaded();
    if (shim.passive || shim.options.skipped || !is_python_program() || getauxval(AT_SECURE))
        return;
    reason[0] = 0;
    if (is_the_interpreter() && !arguments_read(count, arguments, reason)) {
        roll_called(ROLLCALL_NOT_ADAPTED, 0, "", 0);
        return;
    }
    struct text text = text_in(reason + strlen(reason), sizeof(reason) - strlen(reason));
    if (!shim.options.python)
        text_added(&text, reason[0] ? "" : "switched off by python=off");
    else if (!reason[0] && !directory_located(directory))
        text_added(&text, "the directory python/ beside libunclosed.so is missing");
    if (!reason[0]) {
        environment_replaced(directory);
    } else if (guard_entered()) {
        adapter_known("python", NULL, reason);
        guard_left();
    }
}
