/* SPDX-License-Identifier: Apache-2.0 */
#include "functions.h"

#include <stdlib.h>
#include <string.h>

/* More than any real program has; a sparse file may claim a hundred times that. */
enum { MOST_SYMBOLS = 16 * 1024 * 1024 };

struct symbol {
    uint64_t low, size, limit; /* limit: end of its section, 0 if unknown */
    const char *name;
    uint32_t rank;
};

struct symbol_list {
    struct symbol *list;
    size_t count, room;
};

static uint32_t rank_of(const GElf_Sym *symbol, const char *name)
{
    int binding = GELF_ST_BIND(symbol->st_info);
    size_t underscores = strspn(name, "_"), length = strnlen(name, 0xffff);
    /* All mangled names begin with an underscore; that says nothing against them. */
    if (strncmp(name, "_Z", 2) == 0 || strncmp(name, "_R", 2) == 0)
        underscores = 0;
    return (GELF_ST_TYPE(symbol->st_info) == STT_NOTYPE ? 1u << 31 : 0) |
           (binding == STB_GLOBAL ? 0
            : binding == STB_WEAK ? 1u
                                  : 2u)
               << 24 |
           (uint32_t)(underscores > 15 ? 15 : underscores) << 16 | (uint32_t)length;
}

static bool is_function(Elf *elf, const GElf_Sym *symbol, uint64_t *section_end)
{
    GElf_Shdr section;
    int type = GELF_ST_TYPE(symbol->st_info);
    if (symbol->st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE))
        return false;
    *section_end = 0;
    if (symbol->st_shndx >= SHN_LORESERVE || !gelf_getshdr(elf_getscn(elf, symbol->st_shndx), &section))
        return type != STT_NOTYPE;
    *section_end = section.sh_addr + section.sh_size;
    return (section.sh_flags & SHF_EXECINSTR) != 0;
}

static bool symbol_added(struct symbol_list *symbols, const struct symbol *symbol)
{
    if (symbols->count == symbols->room) {
        size_t room = symbols->room ? symbols->room * 2 : 1024;
        struct symbol *list = reallocarray(symbols->list, room, sizeof *list);
        if (!list)
            return false;
        symbols->list = list;
        symbols->room = room;
    }
    symbols->list[symbols->count++] = *symbol;
    return true;
}

static void table_read(struct symbol_list *symbols, Elf *elf, Elf_Scn *section, const GElf_Shdr *header)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t count = data && header->sh_entsize ? data->d_size / header->sh_entsize : 0;
    if (count > MOST_SYMBOLS)
        return;
    for (size_t i = 1; i < count; i++) {
        GElf_Sym symbol;
        uint64_t limit;
        if (!gelf_getsym(data, (int)i, &symbol) || !is_function(elf, &symbol, &limit))
            continue;
        const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);
        /* "$x" and "$d" tell ARM's code from data. */
        if (!name || !*name || name[0] == '$')
            continue;
        struct symbol added = {symbol.st_value, symbol.st_size, limit, name, rank_of(&symbol, name)};
        if (!symbol_added(symbols, &added))
            return;
    }
}

static void tables_read(struct symbol_list *symbols, Elf *elf, GElf_Word type)
{
    GElf_Shdr header;
    for (Elf_Scn *section = NULL; elf && (section = elf_nextscn(elf, section));)
        if (gelf_getshdr(section, &header) && header.sh_type == type)
            table_read(symbols, elf, section, &header);
}

static int symbol_order(const void *left, const void *right)
{
    const struct symbol *a = left, *b = right;
    return a->low < b->low ? -1 : a->low > b->low;
}

static bool function_added(struct functions *functions, const struct symbol *symbol, uint64_t high)
{
    if (functions->count == functions->room) {
        size_t room = functions->room ? functions->room * 2 : 256;
        const char **names = reallocarray(functions->names, room, sizeof *names);
        if (!names)
            return false;
        functions->names = names;
        functions->room = room;
    }
    functions->names[functions->count] = symbol->name;
    return span_added(&functions->spans, symbol->low, high, symbol->rank, (uint32_t)functions->count++);
}

static void sized_added(struct functions *functions, const struct symbol_list *symbols)
{
    for (size_t i = 0; i < symbols->count; i++) {
        const struct symbol *symbol = &symbols->list[i];
        if (symbol->size > 0 && !function_added(functions, symbol, symbol->low + symbol->size))
            return;
    }
}

/* Functions written in assembler often have no size: they last until the next symbol. Labels inside of a function that
 * has a size have none either, and are no functions. */
static void unsized_added(struct functions *functions, struct symbol_list *symbols)
{
    for (size_t i = 0; i < symbols->count; i++)
        if (span_found(&functions->spans, symbols->list[i].low))
            symbols->list[i].name = NULL;
    uint64_t next = 0;
    for (size_t i = symbols->count; i-- > 0;) {
        const struct symbol *symbol = &symbols->list[i];
        if (i + 1 < symbols->count && symbols->list[i + 1].low > symbol->low)
            next = symbols->list[i + 1].low;
        if (symbol->size > 0 || !symbol->name)
            continue;
        uint64_t high = next > symbol->low && (next < symbol->limit || !symbol->limit) ? next : symbol->limit;
        if (!function_added(functions, symbol, high))
            return;
    }
}

void functions_read(struct functions *functions, const struct binary *binary)
{
    struct symbol_list symbols = {0};
    Elf *full = has_symbol_table(binary->main.elf) ? binary->main.elf : binary->debug.elf;
    bool is_complete = has_symbol_table(full);
    if (is_complete) {
        tables_read(&symbols, full, SHT_SYMTAB);
    } else {
        tables_read(&symbols, binary->main.elf, SHT_DYNSYM);
        tables_read(&symbols, binary->mini, SHT_SYMTAB);
    }
    sized_added(functions, &symbols);
    spans_sorted(&functions->spans);
    /* Only a table with all symbols says where the next one begins: behind an exported one others may be stripped. */
    if (is_complete && symbols.count > 0) {
        qsort(symbols.list, symbols.count, sizeof *symbols.list, symbol_order);
        unsized_added(functions, &symbols);
        spans_sorted(&functions->spans);
    }
    free(symbols.list);
}

const char *function_at(const struct functions *functions, uint64_t address)
{
    const struct span *span = span_found(&functions->spans, address);
    return span ? functions->names[span->payload] : NULL;
}

void functions_freed(struct functions *functions)
{
    spans_freed(&functions->spans);
    free(functions->names);
    *functions = (struct functions){0};
}
