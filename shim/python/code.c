/* SPDX-License-Identifier: Apache-2.0 */
#include "code.h"

#include <string.h>

#include "../intern.h"

/* --- text --------------------------------------------------------------------------------------------------------------- */

enum { REPLACEMENT = 0xfffd, ENCODED_MAX = 4, TEXT_MAX = 4095 };

/* The characters of a str (PEP 393): of one, two or four bytes each. */
struct characters {
    uintptr_t at;
    uint64_t count;
    unsigned size;
    bool is_ascii;
};

static struct characters characters_of(const struct python_layout *layout, uintptr_t text)
{
    uint32_t state = (uint32_t)number_at(text, layout->text_state) >> layout->text_state_shift;
    bool is_compact = state & 1u << 3, is_ascii = state & 1u << 4;
    struct characters characters = {
        .count = word_at(text, layout->text_length), .size = state & 7, .is_ascii = is_ascii};
    if (is_compact)
        characters.at = text + (is_ascii ? layout->text_ascii : layout->text_compact);
    else
        characters.at = word_at(text, layout->text_compact);
    if (!characters.at || (characters.size != 1 && characters.size != 2 && characters.size != 4))
        characters.count = 0;
    return characters;
}

static uint32_t character_read(const struct characters *characters, uint64_t index)
{
    uint32_t character = 0;
    memcpy(&character, (const char *)characters->at + index * characters->size, characters->size);
    bool is_surrogate = character >= 0xd800 && character <= 0xdfff;
    return is_surrogate || character == 0 || character > 0x10ffff ? REPLACEMENT : character;
}

static unsigned character_encoded(uint32_t character, char *out)
{
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    unsigned more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(first[more] | character >> (6 * more));
    for (unsigned i = 1; i <= more; i++)
        out[i] = (char)(0x80 | (character >> (6 * (more - i)) & 0x3f));
    return more + 1;
}

static size_t text_encoded(const struct characters *characters, char *out)
{
    size_t length = 0;
    for (uint64_t i = 0; i < characters->count && length + ENCODED_MAX <= TEXT_MAX; i++)
        length += character_encoded(character_read(characters, i), out + length);
    return length;
}

static bool is_encoded_already(const struct characters *characters)
{
    return characters->is_ascii && !memchr((const char *)characters->at, 0, characters->count);
}

/* Threads may have small stacks: not in the frames of those who call it. */
__attribute__((noinline)) static uint32_t text_interned(const struct interpreter *interpreter, uintptr_t text)
{
    char encoded[TEXT_MAX];
    if (word_at(text, interpreter->layout.type) != interpreter->text_type)
        return 0;
    struct characters characters = characters_of(&interpreter->layout, text);
    if (is_encoded_already(&characters))
        return bytes_interned((const char *)characters.at, characters.count);
    return bytes_interned(encoded, text_encoded(&characters, encoded));
}

__attribute__((noinline)) static bool is_encoded_as(const struct characters *characters,
                                                    const struct trace_string *string)
{
    char encoded[TEXT_MAX];
    size_t length = text_encoded(characters, encoded);
    return length == string->length && memcmp(encoded, string->text, length) == 0;
}

bool text_is(const struct python_layout *layout, uintptr_t text, const struct trace_string *copy)
{
    struct characters characters = characters_of(layout, text);
    if (likely(characters.is_ascii && copy->length == characters.count))
        return memcmp((const char *)characters.at, copy->text, copy->length) == 0;
    return is_encoded_as(&characters, copy);
}

static const struct trace_string *string_at(uint32_t string)
{
    return record_of(TABLE_STRING, string);
}

struct code_copies code_copies(uint32_t number)
{
    const struct trace_code *code = record_of(TABLE_CODE, number);
    return (struct code_copies){string_at(code->file), string_at(code->name), string_at(code->qualified_name),
                                string_at(code->line_table)};
}

/* --- records ------------------------------------------------------------------------------------------------------------ */

static bool code_is(uint32_t number, const void *key_)
{
    const struct trace_code *key = key_, *code = record_of(TABLE_CODE, number);
    return code->file == key->file && code->name == key->name && code->qualified_name == key->qualified_name &&
           code->first_line == key->first_line && code->line_table == key->line_table &&
           code->python_version == key->python_version;
}

static uint32_t code_added(const void *key_)
{
    const struct trace_code *key = key_;
    uint32_t number = record_claimed(TABLE_CODE, LOSS_FRAMES);
    if (number) {
        struct trace_code *code = record_of(TABLE_CODE, number);
        code->file = key->file;
        code->name = key->name;
        code->qualified_name = key->qualified_name;
        code->first_line = key->first_line;
        code->line_table = key->line_table;
        code->python_version = key->python_version;
        atomic_store_explicit(&code->ready, 1, memory_order_release);
    }
    return number;
}

static uint32_t code_copied(const struct interpreter *interpreter, const struct code_identity *identity)
{
    static const struct interning codes = {TABLE_INDEX_CODE, LOSS_FRAMES, code_is, code_added};
    struct trace_code key = {.first_line = identity->first_line, .python_version = interpreter->layout.version};
    key.file = text_interned(interpreter, identity->file);
    key.name = text_interned(interpreter, identity->name);
    key.qualified_name =
        identity->qualified_name == identity->name ? key.name : text_interned(interpreter, identity->qualified_name);
    if (word_at(identity->line_table, interpreter->layout.type) == interpreter->bytes_type)
        key.line_table = line_table_interned((const char *)(identity->line_table + interpreter->layout.bytes_data),
                                             identity->line_table_size);
    if (!key.file || !key.name || !key.qualified_name || !key.line_table)
        return 0;
    uint64_t hash = hash_mixed((uint64_t)key.file << 32 | key.name, (uint64_t)key.first_line << 32 | key.line_table);
    return interned(&codes, &key, hash_mixed(hash, key.qualified_name));
}

/* --- what was seen last at an address ------------------------------------------------------------------------------------- */

enum { SEEN_SETS = 1024, SEEN_WAYS = 2 };

/* For all threads; a set that is taken is passed by. */
struct seen_code {
    uintptr_t code;
    uint64_t epoch;
    uint32_t number;
    struct code_identity identity;
};
static struct seen_set {
    _Atomic bool taken;
    uint8_t oldest;
    struct seen_code seen[SEEN_WAYS];
} seen_sets[SEEN_SETS];

static struct seen_set *set_taken(uintptr_t code)
{
    struct seen_set *set = &seen_sets[hash_mixed(code >> 4, 0) % SEEN_SETS];
    return atomic_exchange_explicit(&set->taken, true, memory_order_acquire) ? NULL : set;
}

static void set_given_back(struct seen_set *set)
{
    atomic_store_explicit(&set->taken, false, memory_order_release);
}

static uint32_t number_in_set(const struct python_layout *layout, const struct seen_set *set, uintptr_t code,
                              const struct code_identity *identity)
{
    for (unsigned way = 0; way < SEEN_WAYS; way++) {
        const struct seen_code *seen = &set->seen[way];
        if (seen->code != code || seen->epoch != shim.epoch || !is_identity_same(&seen->identity, identity))
            continue;
        struct code_copies copies = code_copies(seen->number);
        if (parts_are_confirmed(layout, identity, unhashed_parts(identity), &copies))
            return seen->number;
    }
    return 0;
}

static void number_kept(struct seen_set *set, uintptr_t code, const struct code_identity *identity, uint32_t number)
{
    unsigned way = set->oldest;
    for (unsigned i = 0; i < SEEN_WAYS; i++)
        if (set->seen[i].code == code)
            way = i;
    set->oldest = (uint8_t)((way + 1) % SEEN_WAYS);
    set->seen[way] = (struct seen_code){code, shim.epoch, number, *identity};
}

uint32_t code_recorded(const struct interpreter *interpreter, uintptr_t code, struct code_identity *identity)
{
    const struct python_layout *layout = &interpreter->layout;
    if (word_at(code, layout->type) != interpreter->code_type)
        return 0;
    *identity = identity_read(layout, code);
    struct seen_set *set = set_taken(code);
    uint32_t number = set ? number_in_set(layout, set, code, identity) : 0;
    if (!number) {
        number = code_copied(interpreter, identity);
        if (set && number)
            number_kept(set, code, identity, number);
    }
    if (set)
        set_given_back(set);
    return number;
}

void codes_forked(void)
{
    for (unsigned i = 0; i < SEEN_SETS; i++)
        set_given_back(&seen_sets[i]);
}
