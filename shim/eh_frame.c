/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts: Linux Standard Base 5.0, Core, chapter 10 (.eh_frame, .eh_frame_hdr); DWARF 5, sections 6.4 and 7.24. */
#define _GNU_SOURCE
#include "eh_frame.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>

#include "capture.h"
#include "machine.h"

/* --- objects -------------------------------------------------------------------------------------------------------- */

static _Atomic bool loader_lock_is_avoided;

void loader_lock_avoided(void)
{
    atomic_store(&loader_lock_is_avoided, true);
}

struct object_search {
    uintptr_t address;
    struct loaded_object *object;
};

static int object_compared(struct dl_phdr_info *info, size_t size, void *context)
{
    struct object_search *search = context;
    const uint8_t *eh_frame_hdr = NULL;
    bool holds_address = false;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD && search->address - begin < header->p_memsz)
            holds_address = true;
        if (header->p_type == PT_GNU_EH_FRAME)
            eh_frame_hdr = (const uint8_t *)begin;
    }
    if (!holds_address)
        return 0;
    *search->object = (struct loaded_object){.name = info->dlpi_name,
                                             .bias = info->dlpi_addr,
                                             .headers = info->dlpi_phdr,
                                             .header_count = info->dlpi_phnum,
                                             .eh_frame_hdr = eh_frame_hdr};
    return 1;
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE
#pragma weak _dl_find_object

static bool object_found_without_lock(uintptr_t address, struct loaded_object *object)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) != 0)
        return false;
    *object = (struct loaded_object){
        .name = found.dlfo_link_map->l_name, .bias = found.dlfo_link_map->l_addr, .eh_frame_hdr = found.dlfo_eh_frame};
    const ElfW(Ehdr) *elf = found.dlfo_map_start;
    if (memcmp(elf->e_ident, ELFMAG, SELFMAG) == 0) {
        object->headers = (const void *)((const char *)elf + elf->e_phoff);
        object->header_count = elf->e_phnum;
    }
    return true;
}
#endif

bool addresses_can_be_found(void)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    if (_dl_find_object)
        return true;
#endif
    return !atomic_load_explicit(&loader_lock_is_avoided, memory_order_relaxed);
}

bool loaded_object_found(uintptr_t address, struct loaded_object *object)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    if (_dl_find_object)
        return object_found_without_lock(address, object) && object->eh_frame_hdr;
#endif
    struct object_search search = {address, object};
    return addresses_can_be_found() && dl_iterate_phdr(object_compared, &search) == 1 && object->eh_frame_hdr;
}

/* --- reading bytes -------------------------------------------------------------------------------------------------- */

struct bytes {
    const uint8_t *at, *end; /* at == NULL: something was not as expected */
};

static uint64_t number_read(struct bytes *from, unsigned size)
{
    uint64_t number = 0;
    if (!from->at || (size_t)(from->end - from->at) < size) {
        from->at = NULL;
        return 0;
    }
    memcpy(&number, from->at, size); /* little-endian machines only, so far */
    from->at += size;
    return number;
}

static uint64_t leb128_read(struct bytes *from, bool is_signed)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint64_t byte = number_read(from, 1);
        number |= (byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        if (is_signed && (byte & 0x40) && shift + 7 < 64)
            number |= ~UINT64_C(0) << (shift + 7);
        return number;
    }
    from->at = NULL;
    return 0;
}

static uint64_t unsigned_read(struct bytes *from)
{
    return leb128_read(from, false);
}

static int64_t signed_read(struct bytes *from)
{
    return (int64_t)leb128_read(from, true);
}

static void bytes_skipped(struct bytes *from, uint64_t count)
{
    if (!from->at || count > (uint64_t)(from->end - from->at))
        from->at = NULL;
    else
        from->at += count;
}

/* DW_EH_PE_*: the low four bits say how a pointer is stored; 0 for a size that depends on its value. */
static unsigned pointer_size(uint8_t encoding)
{
    static const uint8_t sizes[16] = {
        [0x0] = sizeof(void *), [0x2] = 2, [0x3] = 4, [0x4] = 8, [0xa] = 2, [0xb] = 4, [0xc] = 8};
    return sizes[encoding & 0xf];
}

/* --- finding the entry of a function (FDE) and its common part (CIE) -------------------------------------------------- */

struct entry {
    struct bytes common_program, program; /* call frame instructions of CIE and FDE */
    uintptr_t begin;                      /* of the function */
    uint64_t length;
    uint64_t code_alignment;
    int64_t data_alignment;
    bool is_signal_frame;
};

static struct bytes record_opened(const uint8_t *record)
{
    uint32_t length;
    memcpy(&length, record, sizeof length);
    if (length == 0 || length == UINT32_MAX)
        return (struct bytes){NULL, NULL};
    return (struct bytes){record + 4, record + 4 + length};
}

/* Which augmentations precede the instructions, and how the FDE's pointers are stored (0xff: cannot be told). */
static uint8_t augmentation_read(struct bytes *cie, const char *letters, struct entry *entry)
{
    uint8_t encoding = 0;
    if (*letters == '\0')
        return encoding;
    if (*letters++ != 'z')
        return 0xff;
    uint64_t length = unsigned_read(cie);
    struct bytes data = *cie;
    bytes_skipped(cie, length);
    for (; *letters; letters++) {
        if (*letters == 'R')
            encoding = (uint8_t)number_read(&data, 1);
        else if (*letters == 'L')
            number_read(&data, 1);
        else if (*letters == 'P')
            bytes_skipped(&data, pointer_size((uint8_t)number_read(&data, 1)));
        else if (*letters == 'S')
            entry->is_signal_frame = true;
        else
            return 0xff;
    }
    return data.at ? encoding : 0xff;
}

static bool cie_read(const uint8_t *record, struct entry *entry, uint8_t *encoding, bool *is_augmented)
{
    struct bytes cie = record_opened(record);
    uint64_t id = number_read(&cie, 4);
    uint64_t version = number_read(&cie, 1);
    if (!cie.at || id != 0 || (version != 1 && version != 3))
        return false;
    const char *letters = (const char *)cie.at;
    bytes_skipped(&cie, strnlen(letters, (size_t)(cie.end - cie.at)) + 1);
    entry->code_alignment = unsigned_read(&cie);
    entry->data_alignment = signed_read(&cie);
    uint64_t return_address = version == 1 ? number_read(&cie, 1) : unsigned_read(&cie);
    if (!cie.at || return_address != DWARF_RETURN_ADDRESS)
        return false;
    *is_augmented = *letters == 'z';
    *encoding = augmentation_read(&cie, letters, entry);
    entry->common_program = cie;
    return *encoding != 0xff && cie.at;
}

enum entry_found { ENTRY_NONE, ENTRY_STRANGE, ENTRY_READ };

static enum entry_found fde_read(const uint8_t *record, uintptr_t begin, uintptr_t instruction, struct entry *entry)
{
    struct bytes fde = record_opened(record);
    const uint8_t *cie_pointer = fde.at;
    uint64_t to_cie = number_read(&fde, 4);
    uint8_t encoding;
    bool is_augmented;
    *entry = (struct entry){.begin = begin};
    if (!fde.at || to_cie == 0 || !cie_read(cie_pointer - to_cie, entry, &encoding, &is_augmented))
        return ENTRY_STRANGE;
    unsigned size = pointer_size(encoding);
    bytes_skipped(&fde, size);
    entry->length = number_read(&fde, size);
    if (is_augmented)
        bytes_skipped(&fde, unsigned_read(&fde));
    entry->program = fde;
    if (size == 0 || !fde.at)
        return ENTRY_STRANGE;
    return instruction - begin < entry->length ? ENTRY_READ : ENTRY_NONE;
}

struct search_row {
    int32_t function, fde; /* both relative to the .eh_frame_hdr */
};

static enum entry_found entry_found(const uint8_t *eh_frame_hdr, uintptr_t instruction, struct entry *entry)
{
    static const uint8_t usual[4] = {1 /* version */, 0x1b /* pcrel sdata4 */, 0x03 /* udata4 */,
                                     0x3b /* datarel sdata4 */};
    uint32_t high, low = 0;
    if (memcmp(eh_frame_hdr, usual, sizeof usual) != 0)
        return ENTRY_NONE;
    memcpy(&high, eh_frame_hdr + 8, sizeof high);
    const struct search_row *rows = (const void *)(eh_frame_hdr + 12);
    int64_t wanted = (int64_t)(instruction - (uintptr_t)eh_frame_hdr);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rows[middle].function <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return ENTRY_NONE;
    const struct search_row *row = &rows[low - 1];
    return fde_read(eh_frame_hdr + row->fde, (uintptr_t)eh_frame_hdr + (uintptr_t)(intptr_t)row->function, instruction,
                    entry);
}

/* --- call frame instructions ------------------------------------------------------------------------------------------ */

enum saved { SAVED_NOT, SAVED_AT_OFFSET, SAVED_UNDEFINED, SAVED_BY_EXPRESSION, SAVED_OTHERWISE };

struct location {
    enum saved how;
    int64_t offset;          /* from the cfa */
    struct bytes expression; /* that computes the address */
};

struct row {
    uint64_t cfa_register;
    int64_t cfa_offset;
    struct bytes cfa_expression; /* at != NULL: instead of register + offset */
    struct location frame_pointer, stack_pointer, return_address;
};

enum { REMEMBERED_ROWS = 6 }; /* compilers nest them one deep */

struct interpreter {
    const struct entry *entry;
    uintptr_t place, wanted; /* rows are for addresses from place on; the one wanted holds `wanted` */
    struct row row, initial, remembered[REMEMBERED_ROWS];
    unsigned remembered_count;
    bool is_strange;
};

static struct location *location_of(struct row *row, uint64_t dwarf_register)
{
    switch (dwarf_register) {
    case DWARF_FRAME_POINTER:
        return &row->frame_pointer;
    case DWARF_STACK_POINTER:
        return &row->stack_pointer;
    case DWARF_RETURN_ADDRESS:
        return &row->return_address;
    default:
        return NULL;
    }
}

static void register_set(struct interpreter *in, uint64_t dwarf_register, struct location location)
{
    struct location *kept = location_of(&in->row, dwarf_register);
    if (kept)
        *kept = location;
}

static void saved_at(struct interpreter *in, uint64_t dwarf_register, int64_t factored_offset)
{
    register_set(in, dwarf_register,
                 (struct location){SAVED_AT_OFFSET, factored_offset * in->entry->data_alignment, {NULL, NULL}});
}

static void restored(struct interpreter *in, uint64_t dwarf_register)
{
    const struct location *initial = location_of(&in->initial, dwarf_register);
    if (initial)
        register_set(in, dwarf_register, *initial);
}

static struct bytes expression_read(struct bytes *program)
{
    uint64_t length = unsigned_read(program);
    struct bytes expression = *program;
    bytes_skipped(program, length);
    if (program->at)
        expression.end = program->at;
    return expression;
}

static void cfa_set(struct interpreter *in, uint64_t dwarf_register, int64_t offset)
{
    in->row.cfa_register = dwarf_register;
    in->row.cfa_offset = offset;
    in->row.cfa_expression.at = NULL;
}

static void row_remembered(struct interpreter *in)
{
    if (in->remembered_count < REMEMBERED_ROWS)
        in->remembered[in->remembered_count++] = in->row;
    else
        in->is_strange = true;
}

static void row_recalled(struct interpreter *in)
{
    if (in->remembered_count > 0)
        in->row = in->remembered[--in->remembered_count];
    else
        in->is_strange = true;
}

/* DWARF 5, table 7.29, and what GNU tools add. The first three keep an operand in their low six bits. */
enum {
    ADVANCE_LOC = 0x40,
    OFFSET = 0x80,
    RESTORE = 0xc0,
    NOP = 0x00,
    ADVANCE_LOC1 = 0x02,
    ADVANCE_LOC2 = 0x03,
    ADVANCE_LOC4 = 0x04,
    OFFSET_EXTENDED = 0x05,
    RESTORE_EXTENDED = 0x06,
    UNDEFINED = 0x07,
    SAME_VALUE = 0x08,
    REGISTER = 0x09,
    REMEMBER_STATE = 0x0a,
    RESTORE_STATE = 0x0b,
    DEF_CFA = 0x0c,
    DEF_CFA_REGISTER = 0x0d,
    DEF_CFA_OFFSET = 0x0e,
    DEF_CFA_EXPRESSION = 0x0f,
    EXPRESSION = 0x10,
    OFFSET_EXTENDED_SF = 0x11,
    DEF_CFA_SF = 0x12,
    DEF_CFA_OFFSET_SF = 0x13,
    VAL_OFFSET = 0x14,
    VAL_OFFSET_SF = 0x15,
    VAL_EXPRESSION = 0x16,
    GNU_ARGS_SIZE = 0x2e,
};

static void advanced(struct interpreter *in, uint64_t steps)
{
    in->place += steps * in->entry->code_alignment;
}

/* What concerns one register, whose number comes first. */
static void register_instruction_obeyed(struct interpreter *in, uint8_t opcode, struct bytes *program)
{
    uint64_t number = unsigned_read(program);
    switch (opcode) {
    case OFFSET_EXTENDED:
        saved_at(in, number, (int64_t)unsigned_read(program));
        break;
    case OFFSET_EXTENDED_SF:
        saved_at(in, number, signed_read(program));
        break;
    case RESTORE_EXTENDED:
        restored(in, number);
        break;
    case UNDEFINED:
        register_set(in, number, (struct location){.how = SAVED_UNDEFINED});
        break;
    case SAME_VALUE:
        register_set(in, number, (struct location){.how = SAVED_NOT});
        break;
    case EXPRESSION:
        register_set(in, number, (struct location){.how = SAVED_BY_EXPRESSION, .expression = expression_read(program)});
        break;
    case VAL_EXPRESSION:
        expression_read(program);
        register_set(in, number, (struct location){.how = SAVED_OTHERWISE});
        break;
    case REGISTER:
    case VAL_OFFSET:
    case VAL_OFFSET_SF:
        unsigned_read(program);
        register_set(in, number, (struct location){.how = SAVED_OTHERWISE});
        break;
    default:
        in->is_strange = true;
    }
}

static void extended_instruction_obeyed(struct interpreter *in, uint8_t opcode, struct bytes *program)
{
    uint64_t number;
    switch (opcode) {
    case NOP:
        break;
    case ADVANCE_LOC1:
    case ADVANCE_LOC2:
    case ADVANCE_LOC4:
        advanced(in, number_read(program, 1u << (opcode - ADVANCE_LOC1)));
        break;
    case REMEMBER_STATE:
        row_remembered(in);
        break;
    case RESTORE_STATE:
        row_recalled(in);
        break;
    case DEF_CFA:
        number = unsigned_read(program);
        cfa_set(in, number, (int64_t)unsigned_read(program));
        break;
    case DEF_CFA_SF:
        number = unsigned_read(program);
        cfa_set(in, number, signed_read(program) * in->entry->data_alignment);
        break;
    case DEF_CFA_REGISTER:
        cfa_set(in, unsigned_read(program), in->row.cfa_offset);
        break;
    case DEF_CFA_OFFSET:
        in->row.cfa_offset = (int64_t)unsigned_read(program);
        break;
    case DEF_CFA_OFFSET_SF:
        in->row.cfa_offset = signed_read(program) * in->entry->data_alignment;
        break;
    case DEF_CFA_EXPRESSION:
        in->row.cfa_expression = expression_read(program);
        break;
    case GNU_ARGS_SIZE:
        unsigned_read(program);
        break;
    default:
        register_instruction_obeyed(in, opcode, program);
    }
}

static void instruction_obeyed(struct interpreter *in, struct bytes *program)
{
    uint8_t opcode = (uint8_t)number_read(program, 1), operand = opcode & 0x3f;
    switch (opcode & 0xc0) {
    case ADVANCE_LOC:
        advanced(in, operand);
        break;
    case OFFSET:
        saved_at(in, operand, (int64_t)unsigned_read(program));
        break;
    case RESTORE:
        restored(in, operand);
        break;
    default:
        extended_instruction_obeyed(in, opcode, program);
    }
}

static void program_run(struct interpreter *in, struct bytes program)
{
    while (program.at && program.at < program.end && in->place <= in->wanted && !in->is_strange)
        instruction_obeyed(in, &program);
    if (!program.at)
        in->is_strange = true;
}

/* --- rules ------------------------------------------------------------------------------------------------------------ */

/* DW_OP_breg<frame pointer> offset [DW_OP_deref]: how compilers describe a function that realigns its stack. */
static bool is_word_at_frame_pointer(struct bytes expression, bool dereferenced, int64_t *offset)
{
    if (number_read(&expression, 1) != 0x70 + DWARF_FRAME_POINTER)
        return false;
    *offset = signed_read(&expression);
    if (dereferenced && number_read(&expression, 1) != 0x06)
        return false;
    return expression.at && expression.at == expression.end;
}

static bool is_realigned(const struct row *row, int64_t *cfa_offset)
{
    int64_t frame_pointer_offset;
    return is_word_at_frame_pointer(row->cfa_expression, true, cfa_offset) &&
           row->frame_pointer.how == SAVED_BY_EXPRESSION &&
           is_word_at_frame_pointer(row->frame_pointer.expression, false, &frame_pointer_offset) &&
           frame_pointer_offset == 0;
}

static enum frame_kind simple_kind(const struct row *row, int64_t *cfa_offset)
{
    if (row->stack_pointer.how != SAVED_NOT || row->return_address.how != SAVED_AT_OFFSET)
        return FRAME_DIFFICULT;
    if (row->cfa_expression.at)
        return is_realigned(row, cfa_offset) ? FRAME_REALIGNED : FRAME_DIFFICULT;
    *cfa_offset = row->cfa_offset;
    if (row->frame_pointer.how != SAVED_NOT && row->frame_pointer.how != SAVED_AT_OFFSET)
        return FRAME_DIFFICULT;
    if (row->cfa_register == DWARF_STACK_POINTER)
        return FRAME_BY_STACK_POINTER;
    return row->cfa_register == DWARF_FRAME_POINTER ? FRAME_BY_FRAME_POINTER : FRAME_DIFFICULT;
}

static struct frame_rule rule_of_kind(enum frame_kind kind)
{
    return (struct frame_rule){.kind = (uint8_t)kind};
}

static struct frame_rule rule_of_row(const struct row *row)
{
    int64_t cfa_offset = 0;
    enum frame_kind kind = simple_kind(row, &cfa_offset);
    if (kind == FRAME_DIFFICULT)
        return rule_of_kind(FRAME_DIFFICULT);
    int64_t saved = row->frame_pointer.how == SAVED_AT_OFFSET ? row->frame_pointer.offset : 0;
    int64_t words = row->return_address.offset / (int64_t)sizeof(uintptr_t);
    struct frame_rule rule = {.cfa_offset = (int32_t)cfa_offset,
                              .frame_pointer_offset = (int16_t)saved,
                              .return_address_offset = (int8_t)words,
                              .kind = (uint8_t)kind};
    bool fits = rule.cfa_offset == cfa_offset && rule.frame_pointer_offset == saved &&
                rule.return_address_offset * (int64_t)sizeof(uintptr_t) == row->return_address.offset &&
                (row->frame_pointer.how != SAVED_AT_OFFSET || saved != 0);
    return fits ? rule : rule_of_kind(FRAME_DIFFICULT);
}

/* The loader's entry point has no table, and nothing is further out: constructors and destructors may run from there. */
static enum frame_kind kind_without_table(const struct loaded_object *object)
{
    uintptr_t loader = getauxval(AT_BASE);
    return loader != 0 && object->bias == loader ? FRAME_OUTERMOST : FRAME_WITHOUT_TABLE;
}

bool function_spanned(uintptr_t instruction, uintptr_t *start, uintptr_t *end)
{
    struct loaded_object object = {.eh_frame_hdr = NULL};
    struct entry entry;
    if (!loaded_object_found(instruction, &object) ||
        entry_found(object.eh_frame_hdr, instruction, &entry) != ENTRY_READ)
        return false;
    *start = entry.begin;
    *end = entry.begin + entry.length;
    return true;
}

struct frame_rule frame_rule_at(uintptr_t instruction)
{
    struct loaded_object object = {.eh_frame_hdr = NULL};
    struct entry entry;
    if (!loaded_object_found(instruction, &object))
        return rule_of_kind(FRAME_WITHOUT_TABLE);
    enum entry_found found = entry_found(object.eh_frame_hdr, instruction, &entry);
    if (found != ENTRY_READ)
        return rule_of_kind(found == ENTRY_NONE ? kind_without_table(&object) : FRAME_DIFFICULT);
    if (entry.is_signal_frame)
        return rule_of_kind(FRAME_OF_SIGNAL);

    struct interpreter in = {.entry = &entry, .place = entry.begin, .wanted = instruction};
    program_run(&in, entry.common_program);
    in.initial = in.row;
    program_run(&in, entry.program);
    if (in.is_strange)
        return rule_of_kind(FRAME_DIFFICULT);
    if (in.row.return_address.how == SAVED_UNDEFINED)
        return rule_of_kind(FRAME_OUTERMOST);
    return rule_of_row(&in.row);
}
