/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <glob.h>
#include <libelf.h>
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { OBJECTS_MAX = 512, SCRIPT_DEPTH = 4, LINE_MAX_SCRIPT = 256 };
static const size_t text_size_max = (size_t)1 << 30;

/* Text that only a copy of the library itself holds, symbols stripped or not. In two parts, so that our own executable
 * does not hold it. */
struct mark {
    char first;
    const char *rest;
};

struct watched {
    const char *name;
    const char *needed;  /* beginning of the file names of its shared library */
    const char *symbols; /* beginning of the names that its users import */
    const char *entry;   /* a function that every copy exports */
    struct mark marks[2];
};

static const struct watched watched[WATCHED_COUNT] = {
    [WATCHED_SQLITE3] = {.name = "sqlite3",
                         .needed = "libsqlite3.so",
                         .symbols = "sqlite3_",
                         .entry = "sqlite3_open_v2",
                         .marks = {{'S', "QLite format 3"}, {'m', "alformed database schema"}}},
    [WATCHED_LIBPQ] = {.name = "libpq",
                       .needed = "libpq.so",
                       .symbols = "PQ",
                       .entry = "PQconnectdb",
                       .marks = {{'m', "issing \"=\" after \"%s\" in connection info string"}, {'P', "GSERVICEFILE"}}},
};

const char *watched_library_name(enum watched_library library)
{
    return watched[library].name;
}

const char *watched_libraries_named(unsigned libraries, char words[64])
{
    int length = 0;
    *words = 0;
    for (unsigned library = 0; library < WATCHED_COUNT && length < 64; library++)
        if (libraries & 1u << library)
            length += snprintf(words + length, 64 - (size_t)length, "%s%s", length ? ", " : "", watched[library].name);
    return words;
}

bool system_has_musl(void)
{
    glob_t found;
    bool has = glob("/lib/ld-musl-*", GLOB_NOSORT, NULL, &found) == 0;
    globfree(&found);
    return has;
}

/* --- finding a command ------------------------------------------------------------------------------------------ */

static int executable_error(const char *file)
{
    struct stat status;
    if (stat(file, &status))
        return errno == ENOTDIR ? ENOENT : errno;
    if (S_ISDIR(status.st_mode))
        return EISDIR;
    return faccessat(AT_FDCWD, file, X_OK, AT_EACCESS) ? errno : 0;
}

bool program_located(const char *name, const char *path, char found[PATH_MAX], int *error)
{
    *error = ENOENT;
    if (!*name)
        return false;
    if (strchr(name, '/')) {
        *error = snprintf(found, PATH_MAX, "%s", name) >= PATH_MAX ? ENAMETOOLONG : executable_error(found);
        return *error == 0;
    }
    for (const char *at = path ? path : _PATH_DEFPATH, *end;; at = end + 1) {
        end = strchrnul(at, ':');
        int length = snprintf(found, PATH_MAX, "%.*s%s%s", (int)(end - at), at, end > at ? "/" : "./", name);
        int here = length >= PATH_MAX ? ENAMETOOLONG : executable_error(found);
        if (here == 0)
            return *error = 0, true;
        if (here == EACCES)
            *error = EACCES;
        if (!*end)
            return false;
    }
}

/* --- one ELF file ------------------------------------------------------------------------------------------------- */

struct object {
    int fd;
    Elf *elf;
    GElf_Ehdr header;
    char *raw; /* the whole file */
    size_t raw_size;
};

static void object_closed(struct object *object)
{
    if (object->elf)
        elf_end(object->elf);
    if (object->fd >= 0)
        close(object->fd);
}

static bool object_opened(const char *path, struct object *object)
{
    struct stat status;
    *object = (struct object){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (object->fd < 0 || fstat(object->fd, &status) || !S_ISREG(status.st_mode) || elf_version(EV_CURRENT) == EV_NONE)
        return object_closed(object), false;
    object->elf = elf_begin(object->fd, ELF_C_READ_MMAP, NULL);
    if (!object->elf || elf_kind(object->elf) != ELF_K_ELF || !gelf_getehdr(object->elf, &object->header))
        return object_closed(object), false;
    object->raw = elf_rawfile(object->elf, &object->raw_size);
    return true;
}

static bool segment_found(const struct object *object, GElf_Word type, GElf_Phdr *segment)
{
    size_t count = 0;
    elf_getphdrnum(object->elf, &count);
    for (size_t i = 0; i < count; i++)
        if (gelf_getphdr(object->elf, (int)i, segment) && segment->p_type == type)
            return true;
    return false;
}

/* The NUL-terminated text at a file offset; NULL: not within the file. */
static const char *raw_text(const struct object *object, uint64_t offset)
{
    if (!object->raw || offset >= object->raw_size || !memchr(object->raw + offset, 0, object->raw_size - offset))
        return NULL;
    return object->raw + offset;
}

static uint64_t offset_of_address(const struct object *object, uint64_t address)
{
    size_t count = 0;
    elf_getphdrnum(object->elf, &count);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr segment;
        if (gelf_getphdr(object->elf, (int)i, &segment) && segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
            address - segment.p_vaddr < segment.p_filesz)
            return address - segment.p_vaddr + segment.p_offset;
    }
    return UINT64_MAX;
}

/* Calls `each` for every text-valued entry of the dynamic section. */
static void dynamic_texts_visited(const struct object *object,
                                  void (*each)(void *context, int64_t tag, const char *text), void *context)
{
    GElf_Phdr segment;
    if (!segment_found(object, PT_DYNAMIC, &segment))
        return;
    Elf_Data *data = elf_getdata_rawchunk(object->elf, (int64_t)segment.p_offset, segment.p_filesz, ELF_T_DYN);
    GElf_Dyn entry;
    uint64_t strings = UINT64_MAX;
    for (int i = 0; data && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++)
        if (entry.d_tag == DT_STRTAB)
            strings = offset_of_address(object, entry.d_un.d_ptr);
    if (strings == UINT64_MAX)
        return;
    for (int i = 0; gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++) {
        if (entry.d_tag != DT_NEEDED && entry.d_tag != DT_RPATH && entry.d_tag != DT_RUNPATH)
            continue;
        const char *text = raw_text(object, strings + entry.d_un.d_val);
        if (text)
            each(context, entry.d_tag, text);
    }
}

/* Which watched libraries it imports functions of, and which ones it exports. */
static void symbols_read(const struct object *object, unsigned *imported, unsigned *exported)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    *imported = *exported = 0;
    while ((section = elf_nextscn(object->elf, section)) != NULL) {
        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_DYNSYM)
            continue;
        Elf_Data *data = elf_getdata(section, NULL);
        GElf_Sym symbol;
        for (int i = 1; data && gelf_getsym(data, i, &symbol); i++) {
            const char *name = elf_strptr(object->elf, header.sh_link, symbol.st_name);
            for (unsigned library = 0; name && library < WATCHED_COUNT; library++) {
                if (symbol.st_shndx == SHN_UNDEF &&
                    !strncmp(name, watched[library].symbols, strlen(watched[library].symbols)))
                    *imported |= 1u << library;
                else if (symbol.st_shndx != SHN_UNDEF && !strcmp(name, watched[library].entry))
                    *exported |= 1u << library;
            }
        }
    }
}

static bool is_mark_inside(const struct object *object, const struct mark *mark)
{
    size_t length = strlen(mark->rest);
    const char *at = object->raw, *end = object->raw + object->raw_size;
    while ((at = memmem(at, (size_t)(end - at), mark->rest, length)) != NULL) {
        if (at > object->raw && at[-1] == mark->first)
            return true;
        at += length;
    }
    return false;
}

static unsigned copies_inside(const struct object *object)
{
    unsigned inside = 0;
    if (!object->raw || object->raw_size > text_size_max)
        return 0;
    for (unsigned library = 0; library < WATCHED_COUNT; library++)
        if (is_mark_inside(object, &watched[library].marks[0]) && is_mark_inside(object, &watched[library].marks[1]))
            inside |= 1u << library;
    return inside;
}

/* --- where the dynamic loader looks ----------------------------------------------------------------------------------- */

/* /etc/ld.so.cache, format "glibc-ld.so.cache1.1" (glibc's sysdeps/generic/dl-cache.h), possibly after the old format. */
struct cache_header {
    char magic[20];
    uint32_t count, strings_size;
    uint32_t reserved[5];
};
struct cache_entry {
    int32_t flags;
    uint32_t key, value; /* offsets from the header */
    uint32_t os_version;
    uint64_t hardware;
};

struct library_cache {
    const char *base; /* of struct cache_header; NULL: none */
    size_t size;
    void *mapped;
    size_t mapped_size;
};

static void cache_opened(struct library_cache *cache)
{
    struct stat status;
    *cache = (struct library_cache){0};
    int fd = open("/etc/ld.so.cache", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > (off_t)sizeof(struct cache_header)) {
        void *mapped = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (mapped != MAP_FAILED) {
            cache->mapped = mapped;
            cache->mapped_size = (size_t)status.st_size;
            cache->base = memmem(mapped, cache->mapped_size, "glibc-ld.so.cache1.1", 20);
            if (cache->base)
                cache->size = cache->mapped_size - (size_t)(cache->base - (const char *)mapped);
        }
    }
    if (fd >= 0)
        close(fd);
}

static void cache_closed(struct library_cache *cache)
{
    if (cache->mapped)
        munmap(cache->mapped, cache->mapped_size);
}

static const char *cache_text(const struct library_cache *cache, uint32_t offset)
{
    return offset < cache->size && memchr(cache->base + offset, 0, cache->size - offset) ? cache->base + offset : NULL;
}

/* --- everything a program needs ------------------------------------------------------------------------------------------ */

struct closure {
    struct library_cache cache;
    int class, machine;
    char *objects[OBJECTS_MAX]; /* paths, found so far; [0] the program */
    size_t count;
    unsigned linked;
    bool address_sanitizer;
    /* of the object whose dynamic section is being read: */
    char origin[PATH_MAX];
    char *search; /* its RPATH and RUNPATH */
    char *needed[OBJECTS_MAX];
    size_t needed_count;
};

static bool is_prefix(const char *prefix, const char *text)
{
    return !strncmp(prefix, text, strlen(prefix));
}

static bool is_right_library(const struct closure *closure, const char *path)
{
    unsigned char ident[20];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool right = fd >= 0 && read(fd, ident, sizeof ident) == sizeof ident && !memcmp(ident, ELFMAG, SELFMAG) &&
                 ident[EI_CLASS] == closure->class && (ident[18] | ident[19] << 8) == closure->machine;
    if (fd >= 0)
        close(fd);
    return right;
}

/* Looks for `name` in a list of directories separated by colons. */
static bool found_in_list(const struct closure *closure, const char *list, const char *name, char found[PATH_MAX])
{
    while (list && *list) {
        const char *end = strchrnul(list, ':');
        bool relative = is_prefix("$ORIGIN", list) || is_prefix("${ORIGIN}", list);
        const char *rest = relative ? list + (list[1] == '{' ? 9 : 7) : list;
        int length =
            snprintf(found, PATH_MAX, "%s%.*s/%s", relative ? closure->origin : "", (int)(end - rest), rest, name);
        if (length < PATH_MAX && is_right_library(closure, found))
            return true;
        list = *end ? end + 1 : end;
    }
    return false;
}

static bool found_in_cache(const struct closure *closure, const char *name, char found[PATH_MAX])
{
    const struct library_cache *cache = &closure->cache;
    struct cache_header header;
    if (!cache->base || cache->size < sizeof header)
        return false;
    memcpy(&header, cache->base, sizeof header);
    for (size_t i = 0; i < header.count; i++) {
        struct cache_entry entry;
        size_t at = sizeof header + i * sizeof entry;
        if (at + sizeof entry > cache->size)
            return false;
        memcpy(&entry, cache->base + at, sizeof entry);
        const char *key = cache_text(cache, entry.key), *value = cache_text(cache, entry.value);
        if (key && value && !strcmp(key, name) && snprintf(found, PATH_MAX, "%s", value) < PATH_MAX &&
            is_right_library(closure, found))
            return true;
    }
    return false;
}

static bool library_found(const struct closure *closure, const char *name, char found[PATH_MAX])
{
    if (strchr(name, '/'))
        return snprintf(found, PATH_MAX, "%s", name) < PATH_MAX && is_right_library(closure, found);
    return found_in_list(closure, closure->search, name, found) ||
           found_in_list(closure, getenv("LD_LIBRARY_PATH"), name, found) || found_in_cache(closure, name, found) ||
           found_in_list(closure, "/lib64:/usr/lib64:/lib:/usr/lib:/usr/local/lib", name, found);
}

static void dynamic_text_noted(void *context, int64_t tag, const char *text)
{
    struct closure *closure = context;
    if (tag == DT_NEEDED) {
        if (closure->needed_count < OBJECTS_MAX)
            closure->needed[closure->needed_count++] = strdup(text);
    } else {
        char *longer = NULL;
        if (asprintf(&longer, "%s%s%s", closure->search ? closure->search : "", closure->search ? ":" : "", text) >=
            0) {
            free(closure->search);
            closure->search = longer;
        }
    }
}

static void needed_added(struct closure *closure, const char *name)
{
    char found[PATH_MAX];
    bool is_found = library_found(closure, name, found);
    for (unsigned library = 0; library < WATCHED_COUNT; library++)
        if (is_prefix(watched[library].needed, name))
            closure->linked |= 1u << library;
    closure->address_sanitizer |= is_prefix("libasan.so", name) || is_prefix("libclang_rt.asan", name);
    if (!is_found)
        return;
    for (size_t i = 0; i < closure->count; i++)
        if (!strcmp(closure->objects[i], found))
            return;
    if (closure->count < OBJECTS_MAX)
        closure->objects[closure->count++] = strdup(found);
}

static void object_needs_added(struct closure *closure, const struct object *object, const char *path)
{
    const char *slash = strrchr(path, '/');
    snprintf(closure->origin, sizeof closure->origin, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    closure->search = NULL;
    closure->needed_count = 0;
    dynamic_texts_visited(object, dynamic_text_noted, closure);
    for (size_t i = 0; i < closure->needed_count; i++) {
        if (closure->needed[i])
            needed_added(closure, closure->needed[i]);
        free(closure->needed[i]);
    }
    free(closure->search);
}

/* The distribution's own libraries use the shared copies of other libraries; looking through them all would take long. */
static bool is_system_library(const char *path)
{
    return is_prefix("/lib", path) || is_prefix("/usr/lib", path);
}

static void libraries_read(const struct object *object, struct program *program)
{
    struct closure *closure = calloc(1, sizeof *closure);
    if (!closure)
        return;
    closure->class = object->header.e_ident[EI_CLASS];
    closure->machine = object->header.e_machine;
    cache_opened(&closure->cache);
    closure->objects[closure->count++] = strdup(program->path);
    for (size_t i = 0; i < closure->count; i++) {
        struct object library;
        char *path = closure->objects[i];
        if (!path || !object_opened(path, &library))
            continue;
        object_needs_added(closure, &library, path);
        unsigned imported, exported;
        symbols_read(&library, &imported, &exported);
        if (i == 0)
            program->embedded |= copies_inside(&library) & ~imported;
        else if (!is_system_library(path))
            program->embedded |= copies_inside(&library) & ~imported & ~exported;
        closure->linked |= i == 0 ? 0 : exported;
        object_closed(&library);
    }
    program->linked = closure->linked & ~program->embedded;
    program->address_sanitizer = closure->address_sanitizer;
    for (size_t i = 0; i < closure->count; i++)
        free(closure->objects[i]);
    cache_closed(&closure->cache);
    free(closure);
}

/* --- the program ----------------------------------------------------------------------------------------------------------- */

static bool is_privileged(const char *path)
{
    struct stat status;
    char capabilities[64];
    if (stat(path, &status))
        return false;
    return (status.st_mode & S_ISUID && status.st_uid != geteuid()) ||
           ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status.st_gid != getegid()) ||
           (geteuid() != 0 && getxattr(path, "security.capability", capabilities, sizeof capabilities) > 0);
}

static int own_machine(void)
{
#if defined __x86_64__
    return EM_X86_64;
#elif defined __aarch64__
    return EM_AARCH64;
#else
    return EM_NONE;
#endif
}

static enum program_obstacle obstacle_of(const struct object *object, const char *path)
{
    GElf_Phdr segment;
    if (!segment_found(object, PT_INTERP, &segment))
        return OBSTACLE_STATIC;
    if (object->header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
        return OBSTACLE_CLASS;
    if (object->header.e_machine != own_machine())
        return OBSTACLE_MACHINE;
    const char *loader = raw_text(object, segment.p_offset);
    if (loader && strstr(loader, "ld-musl"))
        return OBSTACLE_MUSL;
    if (!loader || !strstr(loader, "ld-linux"))
        return OBSTACLE_LOADER;
    return is_privileged(path) ? OBSTACLE_PRIVILEGED : OBSTACLE_NONE;
}

/* The interpreter that a script's first line names; false: it is no script. */
static bool script_interpreter(const char *path, char interpreter[PATH_MAX])
{
    char line[LINE_MAX_SCRIPT + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t size = fd < 0 ? -1 : read(fd, line, LINE_MAX_SCRIPT);
    if (fd >= 0)
        close(fd);
    if (size < 3 || line[0] != '#' || line[1] != '!')
        return false;
    line[size] = 0;
    char *name = line + 2 + strspn(line + 2, " \t");
    name[strcspn(name, " \t\r\n")] = 0;
    return *name && snprintf(interpreter, PATH_MAX, "%s", name) < PATH_MAX;
}

/* "python3.11" is "python": followed by nothing but a version. */
static void interpreter_named(struct program *program)
{
    static const char *const names[] = {"python", "perl", "ruby",  "php",   "node", "java",   "lua",
                                        "tclsh",  "R",    "julia", "guile", "mono", "dotnet", "pypy"};
    const char *slash = strrchr(program->path, '/'), *base = slash ? slash + 1 : program->path;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i]);
        if (!strncmp(base, names[i], length) && base[length + strspn(base + length, "0123456789.-")] == 0)
            snprintf(program->interpreter, sizeof program->interpreter, "%s", names[i]);
    }
}

bool program_inspected(const char *file, struct program *program)
{
    char path[PATH_MAX], interpreter[PATH_MAX];
    struct object object;
    *program = (struct program){0};
    if (snprintf(path, sizeof path, "%s", file) >= PATH_MAX)
        return false;
    for (int depth = 0; depth < SCRIPT_DEPTH && script_interpreter(path, interpreter); depth++) {
        if (!*program->script)
            snprintf(program->script, sizeof program->script, "%s", file);
        memcpy(path, interpreter, sizeof path);
    }
    if (!realpath(path, program->path) || !object_opened(program->path, &object))
        return false;
    program->obstacle = obstacle_of(&object, program->path);
    libraries_read(&object, program);
    interpreter_named(program);
    object_closed(&object);
    return true;
}
