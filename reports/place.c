/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

enum verdict { NOT_SAID, SAID_USER, SAID_THIRD_PARTY, SAID_SYSTEM, SAID_DRIVER };

/* Wheels rename what they carry: libpq-9b38f5e3.so.5.16. A build may be static: then its one source file tells. */
static const char *const driver_libraries[] = {
    "libsqlite3",  "libsqlcipher", "libpq",      "libmysqlclient", "libmariadb", "libmariadbclient", "libodbc",
    "libodbcinst", "libiodbc",     "libhiredis", "libhiredis_ssl", "liblmdb",    "libunclosed"};
static const char *const driver_sources[] = {"/sqlite3.c", "/liblmdb/mdb.c", "/unclosed/unclosed.h"};

/* Wherever they are installed. */
static const char *const system_libraries[] = {
    "libc",    "ld-linux-x86-64", "ld-linux-aarch64", "ld",     "libpthread", "libdl",     "librt",
    "libm",    "libstdc++",       "libgcc_s",         "libc++", "libc++abi",  "libunwind", "libasan",
    "libtsan", "libubsan",        "liblsan",          "libffi"};

static const char *const system_directories[] = {"/lib/",       "/lib64/",     "/lib32/",      "/usr/lib/",
                                                 "/usr/lib64/", "/usr/lib32/", "/usr/libexec/"};
static const char *const program_directories[] = {"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/games/"};

/* Anywhere in a path: what a package manager unpacked there. */
static const char *const package_directories[] = {"/site-packages/",   "/dist-packages/", "/node_modules/",
                                                  "/.cargo/registry/", "/.cargo/git/",    "/go/pkg/mod/",
                                                  "/.conan/",          "/.conan2/",       "/vcpkg/"};
/* Where compilers keep their own headers and sources, however the program that has them inlined is called. */
static const char *const standard_sources[] = {"/usr/include/c++/", "/usr/lib/gcc/", "/usr/lib/llvm-", "/rustc/"};

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static bool begins_with_any(const char *path, const char *const *starts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (begins_with(path, starts[i]))
            return true;
    return false;
}

/* `path` is libNAME.so…, libNAME-1.2.so or, of a wheel, libNAME-9b38f5e3.so.5. */
static bool is_library(const char *path, const char *const *names, size_t count)
{
    const char *base = base_of(path);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(base, names[i], length) == 0 && (base[length] == '.' || base[length] == '-') && strstr(base, ".so"))
            return true;
    }
    return false;
}

bool is_python_interpreter(const char *module_path)
{
    const char *base = base_of(module_path);
    if (begins_with(base, "libpython"))
        return true;
    return begins_with(base, "python") && base[6 + strspn(base + 6, "0123456789.d")] == '\0';
}

/* Do the `length` first bytes of `path` end so? */
static bool stops_with(const char *path, size_t length, const char *end)
{
    size_t size = strlen(end);
    return length >= size && memcmp(path + length - size, end, size) == 0;
}

/* Also "python3t" of a free-threaded build, and python311.zip, which may hold the whole library. */
static bool is_versioned(const char *version)
{
    size_t length = strspn(version, "0123456789.t");
    if (!isdigit((unsigned char)version[0]))
        return false;
    return version[length] == '/' || (version[length - 1] == '.' && begins_with(version + length, "zip/"));
}

/* Where /lib/python3.11/ begins in a path, NULL: nowhere. What lies there and in no site-packages is Python's own. */
static const char *python_library(const char *path)
{
    static const char marker[] = "/python";
    for (const char *found = path; (found = strstr(found, marker)); found++) {
        size_t length = (size_t)(found - path);
        if (!is_versioned(found + sizeof marker - 1))
            continue;
        if (stops_with(path, length, "/lib"))
            return found - 4;
        if (stops_with(path, length, "/lib64"))
            return found - 6;
    }
    return NULL;
}

size_t python_prefix(const char *path)
{
    const char *library = python_library(path);
    return library ? (size_t)(library - path) : 0;
}

/* `path` without `directory` and the slash between them, NULL if it is not below it. */
static const char *below(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    while (length > 1 && directory[length - 1] == '/')
        length--;
    if (length == 0 || strncmp(path, directory, length) != 0)
        return NULL;
    if (directory[length - 1] == '/')
        return path + length - 1;
    return path[length] == '/' || path[length] == '\0' ? path + length : NULL;
}

static bool matches_any(const char *path, const char *const *patterns)
{
    for (; patterns && *patterns; patterns++)
        if (below(path, *patterns) || fnmatch(*patterns, path, 0) == 0)
            return true;
    return false;
}

/* The marks of foreign code that any directory may bear. */
static enum verdict marked(const char *path)
{
    for (size_t i = 0; i < COUNT(package_directories); i++)
        if (strstr(path, package_directories[i]))
            return SAID_THIRD_PARTY;
    return python_library(path) ? SAID_SYSTEM : NOT_SAID;
}

/* What the user's own lists say of a path. */
static enum verdict ruled(const struct code_rules *rules, const char *path)
{
    if (!rules || !path[0])
        return NOT_SAID;
    if (matches_any(path, rules->third_party))
        return SAID_THIRD_PARTY;
    for (const char *const *root = rules->app_roots; root && *root; root++) {
        const char *rest = below(path, *root);
        if (rest && marked(rest) == NOT_SAID)
            return SAID_USER;
    }
    return NOT_SAID;
}

static enum verdict driver_said(const char *module_path, const char *source_file)
{
    if (is_library(module_path, driver_libraries, COUNT(driver_libraries)) || strstr(module_path, ADAPTER_DIRECTORY))
        return SAID_DRIVER;
    for (size_t i = 0; i < COUNT(driver_sources); i++)
        if (ends_with(source_file, driver_sources[i]))
            return SAID_DRIVER;
    return NOT_SAID;
}

static enum verdict source_said(const char *path)
{
    if (begins_with_any(path, standard_sources, COUNT(standard_sources)))
        return SAID_SYSTEM;
    if (begins_with(path, "/usr/include/"))
        return SAID_THIRD_PARTY;
    return marked(path);
}

static enum verdict module_said(const char *path)
{
    /* The first test is for copies that programs bring along, wherever they keep them. */
    if (is_library(path, system_libraries, COUNT(system_libraries)) || is_python_interpreter(path) || path[0] == '[')
        return SAID_SYSTEM;
    if (begins_with_any(path, program_directories, COUNT(program_directories)))
        return SAID_THIRD_PARTY;
    enum verdict said = marked(path);
    if (said == NOT_SAID && begins_with_any(path, system_directories, COUNT(system_directories)))
        return SAID_SYSTEM;
    return said;
}

static enum verdict python_said(const char *path)
{
    if (strstr(path, ADAPTER_DIRECTORY))
        return SAID_DRIVER;
    if (begins_with(path, "<frozen "))
        return SAID_SYSTEM;
    enum verdict said = marked(path);
    if (said == NOT_SAID && begins_with_any(path, system_directories, COUNT(system_directories)))
        return SAID_SYSTEM;
    if (said == NOT_SAID && begins_with_any(path, program_directories, COUNT(program_directories)))
        return SAID_THIRD_PARTY;
    return said;
}

static enum verdict native_said(const struct code_rules *rules, const char *module_path, const char *source_file)
{
    enum verdict said = driver_said(module_path, source_file);
    if (said == NOT_SAID && rules && matches_any(module_path, rules->third_party))
        said = SAID_THIRD_PARTY;
    if (said == NOT_SAID)
        said = ruled(rules, source_file);
    if (said == NOT_SAID)
        said = source_said(source_file);
    if (said == NOT_SAID)
        said = ruled(rules, module_path);
    return said == NOT_SAID ? module_said(module_path) : said;
}

enum code_owner code_owner_of(const struct code_rules *rules, const char *module_path, const char *source_file,
                              enum code_language language)
{
    module_path = module_path ? module_path : "";
    source_file = source_file ? source_file : "";
    enum verdict said;
    if (language == CODE_PYTHON) {
        said = ruled(rules, source_file);
        if (said == NOT_SAID)
            said = python_said(source_file);
    } else {
        said = native_said(rules, module_path, source_file);
    }
    switch (said) {
    case SAID_THIRD_PARTY:
        return CODE_THIRD_PARTY;
    case SAID_SYSTEM:
        return CODE_SYSTEM;
    case SAID_DRIVER:
        return CODE_DRIVER;
    case SAID_USER:
    case NOT_SAID:
        break;
    }
    return CODE_USER;
}

const char *code_owner_name(enum code_owner owner)
{
    switch (owner) {
    case CODE_USER:
        return "user";
    case CODE_THIRD_PARTY:
        return "third-party";
    case CODE_SYSTEM:
        return "system";
    case CODE_DRIVER:
        return "driver";
    }
    return "user";
}

size_t place_found(const enum code_owner *owners, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (owners[i] == CODE_USER)
            return i;
    for (size_t i = 0; i < count; i++)
        if (owners[i] != CODE_DRIVER)
            return i;
    return 0;
}
