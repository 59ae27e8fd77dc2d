/* SPDX-License-Identifier: Apache-2.0 */
#include "elf_lookup.h"

enum { VERSION_HIDDEN = 0x8000, VERSION_MASK = 0x7fff, VERSION_FIRST_NAMED = 2 };

struct elf_name elf_name(const char *text)
{
    struct elf_name name = {.text = text, .gnu = 5381, .sysv = 0};
    for (const unsigned char *c = (const unsigned char *)text; *c; ++c) {
        name.gnu = name.gnu * 33 + *c;
        name.sysv = (name.sysv << 4) + *c;
        name.sysv = (name.sysv ^ ((name.sysv >> 24) & 0xf0)) & 0x0fffffff;
    }
    return name;
}

/* glibc relocates these pointers in place when it loads an object, but not in the vDSO's read-only section. */
static const void *relocated(const struct elf_object *object, ElfW(Addr) pointer)
{
    return (const void *)(pointer < object->base ? pointer + object->base
                                                 : pointer); // NOLINT(performance-no-int-to-ptr)
}

static void read_tag(struct elf_object *object, const ElfW(Dyn) * entry, size_t *soname)
{
    const ElfW(Addr) pointer = entry->d_un.d_ptr;
    const size_t value = entry->d_un.d_val;
    switch (entry->d_tag) {
    case DT_SYMTAB:
        object->symbols = relocated(object, pointer);
        break;
    case DT_STRTAB:
        object->strings = relocated(object, pointer);
        break;
    case DT_GNU_HASH:
        object->gnu_hash = relocated(object, pointer);
        break;
    case DT_HASH:
        object->sysv_hash = relocated(object, pointer);
        break;
    case DT_VERSYM:
        object->versions = relocated(object, pointer);
        break;
    case DT_VERDEF:
        object->defined_versions = relocated(object, pointer);
        break;
    case DT_VERNEED:
        object->needed_versions = relocated(object, pointer);
        break;
    case DT_RELA:
        object->relocations = relocated(object, pointer);
        break;
    case DT_RELASZ:
        object->relocation_count = value / sizeof(ElfW(Rela));
        break;
    case DT_RELACOUNT:
        object->relative_count = value;
        break;
    case DT_JMPREL:
        object->plt_relocations = relocated(object, pointer);
        break;
    case DT_PLTRELSZ:
        object->plt_relocation_count = value / sizeof(ElfW(Rela));
        break;
    case DT_SONAME:
        *soname = value;
        break;
    default:
        break;
    }
}

bool elf_object_read(struct elf_object *object, const struct link_map *map)
{
    size_t soname = 0;
    *object = (struct elf_object){.base = map->l_addr, .dynamic = map->l_ld};
    if (!map->l_ld)
        return false;
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; ++entry)
        read_tag(object, entry, &soname);
    if (!object->symbols || !object->strings || (!object->gnu_hash && !object->sysv_hash))
        return false;
    if (soname)
        object->soname = object->strings + soname;
    return true;
}

static const char *name_of_defined_version(const struct elf_object *object, unsigned index)
{
    const char *at = (const char *)object->defined_versions;
    while (at) {
        const ElfW(Verdef) *definition = (const void *)at;
        if ((definition->vd_ndx & VERSION_MASK) == index)
            return object->strings + ((const ElfW(Verdaux) *)(const void *)(at + definition->vd_aux))->vda_name;
        at = definition->vd_next ? at + definition->vd_next : NULL;
    }
    return NULL;
}

static const char *name_of_needed_version(const struct elf_object *object, unsigned index)
{
    const char *at = (const char *)object->needed_versions;
    while (at) {
        const ElfW(Verneed) *library = (const void *)at;
        const char *aux = at + library->vn_aux;
        for (unsigned i = 0; i < library->vn_cnt; ++i) {
            const ElfW(Vernaux) *version = (const void *)aux;
            if ((version->vna_other & VERSION_MASK) == index)
                return object->strings + version->vna_name;
            aux += version->vna_next;
        }
        at = library->vn_next ? at + library->vn_next : NULL;
    }
    return NULL;
}

/* How well a symbol of the right name answers: 0 not at all, 1 for want of a better one, 2 exactly. */
static int symbol_fits(const struct elf_object *object, uint32_t index, const struct elf_name *name,
                       const char *version)
{
    const ElfW(Sym) *symbol = &object->symbols[index];
    if (symbol->st_shndx == SHN_UNDEF || !is_same_text(object->strings + symbol->st_name, name->text))
        return 0;
    if (!object->versions || !object->defined_versions)
        return 2;
    const unsigned own = object->versions[index];
    if (!version)
        return own & VERSION_HIDDEN ? 1 : 2;
    if ((own & VERSION_MASK) < VERSION_FIRST_NAMED)
        return 2;
    const char *own_name = name_of_defined_version(object, own & VERSION_MASK);
    return own_name && is_same_text(own_name, version) ? 2 : 0;
}

struct search {
    const struct elf_object *object;
    const struct elf_name *name;
    const char *version;
    const ElfW(Sym) * second_best;
};

static const ElfW(Sym) * symbol_taken(struct search *search, uint32_t index)
{
    const int fits = symbol_fits(search->object, index, search->name, search->version);
    if (fits == 1 && !search->second_best)
        search->second_best = &search->object->symbols[index];
    return fits == 2 ? &search->object->symbols[index] : NULL;
}

static const ElfW(Sym) * symbol_by_gnu_hash(struct search *search)
{
    const uint32_t *header = search->object->gnu_hash;
    const uint32_t buckets = header[0], first = header[1], filter_words = header[2], shift = header[3];
    const ElfW(Addr) *filter = (const void *)(header + 4);
    const uint32_t *bucket = (const void *)(filter + filter_words);
    const uint32_t *chain = bucket + buckets;
    const uint32_t hash = search->name->gnu;
    enum { BITS = 8 * sizeof(ElfW(Addr)) };

    if (!buckets || !filter_words)
        return NULL;
    const ElfW(Addr) word = filter[(hash / BITS) % filter_words];
    if (!((word >> (hash % BITS)) & (word >> ((hash >> shift) % BITS)) & 1))
        return NULL;
    uint32_t index = bucket[hash % buckets];
    if (index < first)
        return NULL;
    for (;; ++index) {
        const uint32_t candidate = chain[index - first];
        const ElfW(Sym) *symbol = (candidate | 1) == (hash | 1) ? symbol_taken(search, index) : NULL;
        if (symbol || candidate & 1)
            return symbol;
    }
}

static const ElfW(Sym) * symbol_by_sysv_hash(struct search *search)
{
    const uint32_t *header = search->object->sysv_hash;
    const uint32_t buckets = header[0];
    const uint32_t *bucket = header + 2, *chain = bucket + buckets;
    const ElfW(Sym) *symbol = NULL;
    if (!buckets)
        return NULL;
    for (uint32_t index = bucket[search->name->sysv % buckets]; index && !symbol; index = chain[index])
        symbol = symbol_taken(search, index);
    return symbol;
}

const ElfW(Sym) * elf_symbol(const struct elf_object *object, const struct elf_name *name, const char *version)
{
    struct search search = {.object = object, .name = name, .version = version};
    const ElfW(Sym) *symbol = object->gnu_hash ? symbol_by_gnu_hash(&search) : symbol_by_sysv_hash(&search);
    return symbol ? symbol : search.second_best;
}

const ElfW(Sym) * elf_function(const struct elf_object *object, const struct elf_name *name, const char *version)
{
    const ElfW(Sym) *symbol = elf_symbol(object, name, version);
    if (!symbol)
        return NULL;
    const unsigned type = ELF64_ST_TYPE(symbol->st_info);
    return type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE ? symbol : NULL;
}

void *elf_address(const struct elf_object *object, const ElfW(Sym) * symbol)
{
    const ElfW(Addr) address = symbol->st_shndx == SHN_ABS ? symbol->st_value : object->base + symbol->st_value;
    if (ELF64_ST_TYPE(symbol->st_info) != STT_GNU_IFUNC)
        return (void *)address;          // NOLINT(performance-no-int-to-ptr)
    return ((void *(*)(void))address)(); // NOLINT(performance-no-int-to-ptr)
}

static bool relocation_names(const struct elf_object *object, const ElfW(Rela) * relocation, const char *name,
                             const char **version)
{
    const size_t index = ELF64_R_SYM(relocation->r_info);
    if (!index || !is_same_text(object->strings + object->symbols[index].st_name, name))
        return false;
    *version = object->versions ? name_of_needed_version(object, object->versions[index] & VERSION_MASK) : NULL;
    return true;
}

/* Undefined symbols are in no hash table, and a GNU hash table does not tell their number: the relocations do. */
bool elf_imports(const struct elf_object *object, const char *name, const char **version)
{
    *version = NULL;
    for (size_t i = 0; object->plt_relocations && i < object->plt_relocation_count; ++i) {
        if (relocation_names(object, &object->plt_relocations[i], name, version))
            return true;
    }
    for (size_t i = object->relative_count; object->relocations && i < object->relocation_count; ++i) {
        if (relocation_names(object, &object->relocations[i], name, version))
            return true;
    }
    return false;
}

const char *elf_needed(const struct elf_object *object, size_t *cursor)
{
    for (;;) {
        const ElfW(Dyn) *entry = &object->dynamic[*cursor];
        if (entry->d_tag == DT_NULL)
            return NULL;
        ++*cursor;
        if (entry->d_tag == DT_NEEDED)
            return object->strings + entry->d_un.d_val;
    }
}
