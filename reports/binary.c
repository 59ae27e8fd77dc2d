/* SPDX-License-Identifier: Apache-2.0 */
#include "binary.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct identity {
    const uint8_t *build_id;
    size_t build_id_size; /* 0: the file must have none either */
    bool is_shared;       /* what dwz writes calls itself a relocatable object */
    const GElf_Word *crc; /* of the whole file, looked at where there is no build-id; NULL: unknown */
};

struct search {
    struct binary *binary;
    const struct symbol_options *options;
    struct debuginfod *server;
    char module_path[PATH_MAX]; /* below the sysroot */
    char system_root[PATH_MAX]; /* /usr/lib/debug below the sysroot */
    const char *recorded_path;
    struct identity identity;
};

bool is_regular_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0;
}

bool has_symbol_table(Elf *elf)
{
    GElf_Shdr header;
    for (Elf_Scn *section = NULL; elf && (section = elf_nextscn(elf, section));)
        if (gelf_getshdr(section, &header) && header.sh_type == SHT_SYMTAB)
            return true;
    return false;
}

static bool is_of_type(Elf *elf, const struct identity *identity)
{
    GElf_Ehdr header;
    if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header))
        return false;
    return identity->is_shared ? header.e_type == ET_REL : header.e_type == ET_EXEC || header.e_type == ET_DYN;
}

/* The checksum in .gnu_debuglink is that of zlib and Ethernet. */
static GElf_Word checksum_of(Elf *elf)
{
    GElf_Word table[256], checksum = ~0u;
    for (GElf_Word i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    }
    size_t size = 0;
    const char *bytes = elf_rawfile(elf, &size);
    for (size_t i = 0; bytes && i < size; i++)
        checksum = checksum >> 8 ^ table[(checksum ^ (unsigned char)bytes[i]) & 0xff];
    return ~checksum;
}

static bool is_identified(Elf *elf, const struct identity *identity)
{
    const void *build_id;
    ssize_t size = dwelf_elf_gnu_build_id(elf, &build_id);
    if (size > 0 || identity->build_id_size > 0)
        return size > 0 && (size_t)size == identity->build_id_size &&
               memcmp(build_id, identity->build_id, identity->build_id_size) == 0;
    return !identity->crc || *identity->crc == checksum_of(elf);
}

static void file_closed(struct elf_file *file)
{
    dwarf_end(file->dwarf);
    elf_end(file->elf);
    free(file->directory);
    *file = (struct elf_file){0};
}

/* .debug_frame and the like make a Dwarf, too; without units it names nothing. */
static Dwarf *dwarf_with_units(Elf *elf)
{
    Dwarf_Off next;
    size_t header_size;
    Dwarf *dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
    if (dwarf && dwarf_nextcu(dwarf, 0, &next, &header_size, NULL, NULL, NULL) == 0)
        return dwarf;
    dwarf_end(dwarf);
    return NULL;
}

static char *directory_of(const char *path)
{
    char *real = realpath(path, NULL);
    if (real)
        *strrchr(real, '/') = '\0';
    return real;
}

/* The state of the file there; *file is filled only if it is the one that was asked for. */
static enum module_state file_opened(struct elf_file *file, const char *path, const struct identity *identity)
{
    /* Asked before it is opened as well as after: to open some devices is to use them. */
    struct stat status;
    if (!is_regular_file(path))
        return MODULE_MISSING;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return MODULE_MISSING;
    enum module_state state = MODULE_MISSING;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        file->elf = elf_begin(fd, ELF_C_READ_MMAP_PRIVATE, NULL);
    if (file->elf && is_of_type(file->elf, identity))
        state = is_identified(file->elf, identity) ? MODULE_MATCHES : MODULE_DIFFERS;
    if (state == MODULE_MATCHES) {
        file->dwarf = dwarf_with_units(file->elf);
        file->directory = directory_of(path);
        elf_cntl(file->elf, ELF_C_FDREAD);
    } else {
        file_closed(file);
    }
    close(fd);
    return state;
}

__attribute__((format(printf, 2, 3))) static bool path_made(char path[PATH_MAX], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, PATH_MAX, format, arguments);
    va_end(arguments);
    return length > 0 && length < PATH_MAX;
}

/* The directories with debug files, those that the user named first; NULL after the last. */
static const char *debug_root(const struct search *search, size_t number)
{
    const char *const *named = search->options->debug_paths;
    size_t count = 0;
    while (named && named[count])
        count++;
    return number < count ? named[number] : number == count ? search->system_root : NULL;
}

static bool is_match(struct elf_file *file, const char *path, const struct identity *identity)
{
    return file_opened(file, path, identity) == MODULE_MATCHES;
}

/* It holds what the module's own file lacks. */
static bool debug_file_taken(struct search *search, const char *path, const struct identity *identity)
{
    struct elf_file *debug = &search->binary->debug;
    if (!is_match(debug, path, identity))
        return false;
    if (debug->dwarf || (has_symbol_table(debug->elf) && !has_symbol_table(search->binary->main.elf)))
        return true;
    file_closed(debug);
    return false;
}

/* "ab/cdef….debug" */
static bool build_id_name(char *name, size_t size, const struct identity *identity)
{
    if (identity->build_id_size < 2 || identity->build_id_size * 2 + sizeof "/.debug" > size)
        return false;
    name += sprintf(name, "%02x/", identity->build_id[0]);
    for (size_t i = 1; i < identity->build_id_size; i++)
        name += sprintf(name, "%02x", identity->build_id[i]);
    memcpy(name, ".debug", sizeof ".debug");
    return true;
}

static bool debug_found_by_build_id(struct search *search)
{
    char name[160], path[PATH_MAX];
    const char *root;
    if (!build_id_name(name, sizeof name, &search->identity))
        return false;
    for (size_t i = 0; (root = debug_root(search, i)); i++)
        if (path_made(path, "%s/.build-id/%s", root, name) && debug_file_taken(search, path, &search->identity))
            return true;
    return false;
}

/* A debug path that simply holds the file with its symbols. Names alone are no proof, so only with a build-id. */
static bool debug_found_by_name(struct search *search)
{
    char path[PATH_MAX];
    const char *root, *base = strrchr(search->recorded_path, '/');
    for (size_t i = 0; base && search->identity.build_id_size > 0 && (root = debug_root(search, i)); i++)
        if (path_made(path, "%s%s", root, base) && debug_file_taken(search, path, &search->identity))
            return true;
    return false;
}

static bool debug_found_by_link(struct search *search)
{
    GElf_Word crc;
    const char *link = search->binary->main.elf ? dwelf_elf_gnu_debuglink(search->binary->main.elf, &crc) : NULL;
    if (!link || !*link || strchr(link, '/'))
        return false;
    char path[PATH_MAX];
    struct identity identity = search->identity;
    identity.crc = &crc;
    int own = (int)(strrchr(search->module_path, '/') - search->module_path);
    int recorded = (int)(strrchr(search->recorded_path, '/') - search->recorded_path);
    if ((path_made(path, "%.*s/%s", own, search->module_path, link) && debug_file_taken(search, path, &identity)) ||
        (path_made(path, "%.*s/.debug/%s", own, search->module_path, link) &&
         debug_file_taken(search, path, &identity)))
        return true;
    const char *root;
    for (size_t i = 0; (root = debug_root(search, i)); i++)
        if ((path_made(path, "%s%.*s/%s", root, recorded, search->recorded_path, link) &&
             debug_file_taken(search, path, &identity)) ||
            (path_made(path, "%s/%s", root, link) && debug_file_taken(search, path, &identity)))
            return true;
    return false;
}

static bool debug_found_by_server(struct search *search)
{
    if (!search->server)
        return false;
    char *path = debuginfod_found(search->server, search->identity.build_id, search->identity.build_id_size);
    bool found = path && debug_file_taken(search, path, &search->identity);
    free(path);
    return found;
}

static bool shared_found(struct search *search, const char *name, const struct identity *identity)
{
    struct elf_file *shared = &search->binary->shared;
    char path[PATH_MAX], by_id[160];
    const char *root, *below = strstr(name, "/.dwz/");
    bool has_name = build_id_name(by_id, sizeof by_id, identity);
    for (size_t i = 0; (root = debug_root(search, i)); i++)
        if ((has_name && path_made(path, "%s/.build-id/%s", root, by_id) && is_match(shared, path, identity)) ||
            (below && path_made(path, "%s%s", root, below) && is_match(shared, path, identity)))
            return true;
    const char *sysroot = search->options->sysroot;
    if (name[0] == '/' && path_made(path, "%s%s", sysroot ? sysroot : "", name) && is_match(shared, path, identity))
        return true;
    char *cached =
        search->server ? debuginfod_found(search->server, identity->build_id, identity->build_id_size) : NULL;
    bool found = cached && is_match(shared, cached, identity);
    free(cached);
    return found;
}

/* Without its shared part a file would have holes, and libdw would look for any file of that name to fill them. */
static bool shared_joined(struct search *search, Dwarf *dwarf)
{
    const char *name;
    const void *build_id;
    ssize_t size = dwelf_dwarf_gnu_debugaltlink(dwarf, &name, &build_id);
    if (size == 0)
        return true;
    struct identity identity = {.build_id = build_id, .build_id_size = (size_t)size, .is_shared = true};
    if (size < 0 || !shared_found(search, name, &identity) || !search->binary->shared.dwarf)
        return false;
    dwarf_setalt(dwarf, search->binary->shared.dwarf);
    return true;
}

static int no_debug_file(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, const char *file,
                         const char *link, GElf_Word crc, char **found)
{
    (void)module, (void)data, (void)name, (void)base, (void)file, (void)link, (void)crc, (void)found;
    return -1;
}

static Elf_Data *mini_data(Elf *elf)
{
    size_t names;
    GElf_Shdr header;
    if (elf_getshdrstrndx(elf, &names) != 0)
        return NULL;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
        const char *name = gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
        if (name && strcmp(name, ".gnu_debugdata") == 0)
            return elf_rawdata(section, NULL);
    }
    return NULL;
}

/* .gnu_debugdata is an ELF file, compressed, in a section: libdwfl can unpack it, and that is all it is asked to do. It
 * unpacks only what has a descriptor. */
static void mini_unpacked(struct binary *binary)
{
    static const Dwfl_Callbacks callbacks = {.find_debuginfo = no_debug_file,
                                             .section_address = dwfl_offline_section_address};
    Elf_Data *data = mini_data(binary->main.elf);
    int fd = data && data->d_buf ? memfd_create("mini", MFD_CLOEXEC) : -1;
    if (fd < 0)
        return;
    if (write(fd, data->d_buf, data->d_size) == (ssize_t)data->d_size)
        binary->mini_owner = dwfl_begin(&callbacks);
    if (!binary->mini_owner) {
        close(fd);
        return;
    }
    dwfl_report_begin(binary->mini_owner);
    Dwfl_Module *module = dwfl_report_offline(binary->mini_owner, "mini", "mini", fd);
    if (!module)
        close(fd);
    GElf_Addr bias;
    if (dwfl_report_end(binary->mini_owner, NULL, NULL) == 0 && module)
        binary->mini = dwfl_module_getelf(module, &bias);
}

static void names_gathered(struct search *search)
{
    struct binary *binary = search->binary;
    if (!binary->main.dwarf)
        (void)(debug_found_by_build_id(search) || debug_found_by_name(search) || debug_found_by_link(search) ||
               debug_found_by_server(search));
    const struct elf_file *file = binary->debug.dwarf ? &binary->debug : &binary->main;
    if (file->dwarf && shared_joined(search, file->dwarf))
        binary->named = file;
    if (binary->main.elf && !has_symbol_table(binary->main.elf) && !has_symbol_table(binary->debug.elf))
        mini_unpacked(binary);
    if (binary->named)
        binary->state = MODULE_MATCHES;
    else if (binary->main.elf || binary->debug.elf)
        binary->state = MODULE_NO_DEBUG_INFO;
}

void binary_opened(struct binary *binary, const struct symbol_options *options, struct debuginfod *server,
                   const char *path, const uint8_t *build_id, size_t build_id_size)
{
    struct search search = {
        .binary = binary,
        .options = options,
        .server = server,
        .recorded_path = path,
        .identity = {.build_id = build_id, .build_id_size = build_id_size},
    };
    const char *sysroot = options->sysroot ? options->sysroot : "";
    *binary = (struct binary){.state = MODULE_MISSING};
    if (path[0] != '/' || !path_made(search.module_path, "%s%s", sysroot, path) ||
        !path_made(search.system_root, "%s/usr/lib/debug", sysroot))
        return;
    binary->state = file_opened(&binary->main, search.module_path, &search.identity);
    if (binary->main.elf || build_id_size > 0)
        names_gathered(&search);
}

void binary_closed(struct binary *binary)
{
    if (binary->mini_owner)
        dwfl_end(binary->mini_owner);
    file_closed(&binary->main);
    file_closed(&binary->debug);
    file_closed(&binary->shared);
    *binary = (struct binary){.state = MODULE_MISSING};
}
