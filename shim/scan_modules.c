/* SPDX-License-Identifier: Apache-2.0 */
/* Where a module's variables end, read from the ELF header that its first mapping begins with. */
#include "scan_private.h"

#include <elf.h>

enum { SEGMENTS_MAX = 32 };

/* 0: there is no ELF header. */
static uintptr_t module_end(struct copy *copy, uintptr_t start)
{
    Elf64_Ehdr header;
    Elf64_Phdr segments[SEGMENTS_MAX];
    if (memory_read(copy, start, &header, sizeof(header)) != sizeof(header) || header.e_ident[0] != ELFMAG0 ||
        header.e_ident[1] != 'E' || header.e_ident[2] != 'L' || header.e_ident[3] != 'F' ||
        header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > SEGMENTS_MAX)
        return 0;
    long size = header.e_phnum * (long)sizeof(Elf64_Phdr);
    if (memory_read(copy, start + header.e_phoff, segments, (size_t)size) != size)
        return 0;
    uintptr_t bias = 0, end = 0;
    for (int i = 0; i < header.e_phnum; i++) {
        if (segments[i].p_type != PT_LOAD)
            continue;
        if (segments[i].p_offset == 0)
            bias = start - segments[i].p_vaddr;
        if (segments[i].p_vaddr + segments[i].p_memsz > end)
            end = segments[i].p_vaddr + segments[i].p_memsz;
    }
    return (bias + end + copy->page_size - 1) & ~(copy->page_size - 1);
}

/* From the last mapping to the first, so that the table grows by one pass over it. */
static void mappings_cut(struct copy *copy, size_t cuts)
{
    struct mapping *mappings = copy->mappings;
    size_t from = copy->mapping_count, to = from + cuts;
    copy->mapping_count = to;
    while (to > from) {
        struct mapping mapping = mappings[--from];
        if (mapping.module > mapping.start && mapping.module < mapping.end) {
            mappings[--to] = (struct mapping){mapping.module, mapping.end, MAPPING_ANONYMOUS, mapping.writable, 0};
            mapping.end = mapping.module;
        }
        mappings[--to] = mapping;
    }
}

void modules_bounded(struct copy *copy)
{
    size_t cuts = 0;
    for (size_t i = 0; i < copy->mapping_count; i++) {
        struct mapping *mapping = &copy->mappings[i];
        if (mapping->module && copy->mapping_count + cuts < MAPPINGS_MAX)
            mapping->module = module_end(copy, mapping->module);
        if (mapping->module <= mapping->start)
            continue;
        mapping->kind = MAPPING_MODULE;
        cuts += mapping->module < mapping->end;
    }
    mappings_cut(copy, cuts);
}
