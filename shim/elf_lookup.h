/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the dynamic tables of a loaded object in memory: what it defines, imports and needs.
 *
 * Nothing here locks, allocates or makes a system call. The caller sees to it that the object stays loaded meanwhile.
 * Layout: System V gABI chapter 5, GNU hash tables as glibc's elf/dl-lookup.c reads them, versions as in the LSB.
 */
#ifndef UNCLOSED_SHIM_ELF_LOOKUP_H
#define UNCLOSED_SHIM_ELF_LOOKUP_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Instead of strcmp: a sanitizer's runtime looks functions up through our dlsym before its own strcmp, which stands in front of the C library's,
 * works.
 */
static inline bool is_same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        ++a, ++b;
    return *a == *b;
}

struct elf_object {
    ElfW(Addr) base; /* difference between addresses in memory and in the file */
    const ElfW(Dyn) * dynamic;
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *gnu_hash; /* NULL: look in sysv_hash */
    const uint32_t *sysv_hash;
    const ElfW(Half) * versions; /* version index per symbol; NULL: the object has no versions */
    const ElfW(Verdef) * defined_versions;
    const ElfW(Verneed) * needed_versions;
    const ElfW(Rela) * relocations, *plt_relocations;
    size_t relocation_count, relative_count, plt_relocation_count;
    const char *soname; /* NULL: it has none */
};

/* A symbol's name with its hashes, computed once for a search through many objects. */
struct elf_name {
    const char *text;
    uint32_t gnu, sysv;
};

struct elf_name elf_name(const char *text);

/* False if the object has no symbol table to search (then *object is not to be used). */
bool elf_object_read(struct elf_object *object, const struct link_map *map);

/*
 * The function or data symbol that the object defines under that name, or NULL. Undefined symbols do not count, even when a non-PIE program
 * gave them an address. version NULL: the default version, else the only one there is; otherwise that version, or any if the object has none.
 */
const ElfW(Sym) * elf_symbol(const struct elf_object *object, const struct elf_name *name, const char *version);

/* The same for functions only (STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE). */
const ElfW(Sym) * elf_function(const struct elf_object *object, const struct elf_name *name, const char *version);

/* Where the symbol is in memory. An indirect function's resolver is called, as the dynamic linker does. */
void *elf_address(const struct elf_object *object, const ElfW(Sym) * symbol);

/* Does the object refer to a function of that name? *version: the version it wants, or NULL. */
bool elf_imports(const struct elf_object *object, const char *name, const char **version);

/* DT_NEEDED names one after the other: *cursor is 0 at first; NULL after the last. */
const char *elf_needed(const struct elf_object *object, size_t *cursor);

#endif
