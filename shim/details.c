/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Details of open handles: key = value. They go with their handle. One of them changes with every statement, "last_sql",
 * and is stored without what was in it (sql.h): texts that came before are known by their hash.
 */
#include <string.h>

#include "handles.h"
#include "sql.h"

enum { LONGEST_VALUE = 4095, DETAILS_EACH = 64, KNOWN_STATEMENTS = 256 };

/* text: BEING_WRITTEN while the hash may be of another. */
#define BEING_WRITTEN UINT32_MAX
static struct statement {
    _Atomic uint64_t hash;
    _Atomic uint32_t text;
} statements[KNOWN_STATEMENTS];

static struct trace_detail *detail_at(uint32_t slot)
{
    return record_of(TABLE_DETAIL, slot);
}

static _Atomic uint32_t *value_in(struct trace_detail *detail)
{
    return (_Atomic uint32_t *)&detail->value;
}

/* Also without the lock, while the program closes the handle in another thread: then the answer does not matter. */
static uint32_t detail_found(const struct trace_handle *handle, uint32_t key, bool *has_room)
{
    uint32_t at = atomic_load(&handle->details);
    unsigned count = 0;
    for (; at && count < DETAILS_EACH && detail_at(at)->key != key; count++)
        at = atomic_load(&detail_at(at)->next);
    *has_room = count < DETAILS_EACH;
    return *has_room ? at : 0;
}

uint32_t detail_value(uint32_t slot, const char *key)
{
    bool has_room;
    uint32_t at = detail_found(handle_at(slot), string_interned(key), &has_room);
    return at ? atomic_load(value_in(detail_at(at))) : 0;
}

static uint64_t statement_hash(const char *sql, size_t length)
{
    uint64_t hash = shim.epoch, word = 0;
    size_t at = 0;
    for (; at + sizeof(word) <= length; at += sizeof(word)) {
        memcpy(&word, sql + at, sizeof(word));
        hash = hash_mixed(hash, word);
    }
    word = 0;
    memcpy(&word, sql + at, length - at);
    return hash_mixed(hash, word ^ (uint64_t)length << 56);
}

static uint32_t statement_interned(const char *sql)
{
    size_t length = strnlen(sql, LONGEST_VALUE);
    uint64_t hash = statement_hash(sql, length);
    struct statement *known = &statements[hash % KNOWN_STATEMENTS];
    uint32_t text = atomic_load(&known->text);
    if (text && atomic_load(&known->hash) == hash && atomic_load(&known->text) == text && text != BEING_WRITTEN)
        return text;
    char shown[SQL_SHOWN + 1];
    uint32_t before = text, size = (uint32_t)sql_normalised(sql, length, shown);
    text = size ? bytes_interned(shown, size) : 0;
    if (before != BEING_WRITTEN && atomic_compare_exchange_strong(&known->text, &before, BEING_WRITTEN)) {
        atomic_store(&known->hash, hash);
        atomic_store(&known->text, text);
    }
    return text;
}

static bool is_stored_as(uint32_t at, const char *value)
{
    uint32_t number = atomic_load(value_in(detail_at(at)));
    if (!number || !value)
        return false;
    const struct trace_string *stored = record_of(TABLE_STRING, number);
    return strncmp(value, stored->text, stored->length) == 0 && !value[stored->length];
}

static void detail_added(uint32_t slot, uint32_t key, uint32_t value)
{
    struct trace_handle *handle = handle_at(slot);
    uint32_t at = shim.free_detail;
    if (at)
        shim.free_detail = atomic_load(&detail_at(at)->next);
    else
        at = record_claimed(TABLE_DETAIL, LOSS_DETAILS);
    if (!at)
        return;
    struct trace_detail *detail = detail_at(at);
    detail->handle = slot;
    detail->generation = handle->generation;
    detail->key = key;
    atomic_store(value_in(detail), value);
    atomic_store(&detail->next, atomic_load(&handle->details));
    atomic_store_explicit(&detail->state, RECORD_READY, memory_order_release);
    atomic_store(&handle->details, at);
}

void detail_stored(uint32_t slot, const char *key, uint32_t value)
{
    uint32_t key_text = string_interned(key);
    bool has_room;
    locked(&shim.detail_lock);
    uint32_t at = detail_found(handle_at(slot), key_text, &has_room);
    if (at)
        atomic_store(value_in(detail_at(at)), value);
    else if (!has_room)
        lost(LOSS_DETAILS);
    else
        detail_added(slot, key_text, value);
    unlocked(&shim.detail_lock);
}

void detail_set(uint32_t slot, const char *key, const char *value)
{
    bool has_room;
    uint32_t at = detail_found(handle_at(slot), string_interned(key), &has_room), text;
    if (strcmp(key, DETAIL_LAST_SQL) == 0)
        text = value ? statement_interned(value) : 0;
    else if (at && is_stored_as(at, value))
        return;
    else
        text = target_interned(value);
    if (!at || atomic_load(value_in(detail_at(at))) != text)
        detail_stored(slot, key, text);
}

void details_dropped(struct trace_handle *handle)
{
    locked(&shim.detail_lock);
    for (uint32_t at = atomic_exchange(&handle->details, 0), next; at; at = next) {
        struct trace_detail *detail = detail_at(at);
        next = atomic_load(&detail->next);
        atomic_store(&detail->state, RECORD_FREE);
        atomic_store(&detail->next, shim.free_detail);
        shim.free_detail = at;
    }
    unlocked(&shim.detail_lock);
}
