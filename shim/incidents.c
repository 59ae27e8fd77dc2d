/* SPDX-License-Identifier: Apache-2.0 */
/* Moments of trouble: who held what just then. The first of its sort in full, then only counted. */
#include "incidents.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "handles.h"
#include "owners.h"
#include "raw_syscall.h"

enum { HOLDERS_EACH = 256 };
#define FRUITLESS_PAUSE 50000000u /* ns: who waits for a lock asks again and again */

/* --- who holds ------------------------------------------------------------------------------------------------------------- */

/* Runs through the open handles that are asked for; stops where `found` says so. */
struct search {
    enum kind kind;
    bool (*is_meant)(uint32_t slot, const void *context); /* NULL: all of that kind are */
    const void *context;
};

static bool is_meant(const struct search *search, uint32_t slot)
{
    const struct trace_handle *handle = handle_at(slot);
    return atomic_load(&handle->state) != HANDLE_FREE && handle->kind == search->kind &&
           (!search->is_meant || search->is_meant(slot, search->context));
}

/* The first from `slot` on; 0: none. */
static uint32_t next_found(const struct search *search, uint32_t slot)
{
    uint64_t used = atomic_load(&shim.trace.header->tables[TABLE_HANDLE].used);
    uint64_t capacity = shim.trace.table[TABLE_HANDLE].capacity;
    for (; slot < used && slot < capacity; slot++)
        if (is_meant(search, slot))
            return slot;
    return 0;
}

static uint32_t parent_of_kind(uint32_t slot, enum kind kind)
{
    uint32_t parent = parent_of(slot);
    return parent && handle_at(parent)->kind == kind ? parent : 0;
}

/* Its own transaction, else that of what it belongs to (a checkout's session). */
static uint32_t transaction_around(uint32_t slot)
{
    uint32_t transaction = 0;
    for (int steps = 0; slot && !transaction && steps < 4; steps++, slot = parent_of(slot))
        transaction = transaction_of(slot);
    return transaction;
}

static uint32_t owner_around(uint32_t slot)
{
    uint32_t owner = 0;
    for (int steps = 0; slot && !owner && steps < 3; steps++, slot = parent_of(slot))
        owner = atomic_load(&handle_at(slot)->owner);
    return owner;
}

/* A connection that is checked out of a pool is held by who has the checkout, and that by its session. */
static bool holder_noted(uint32_t slot)
{
    uint32_t number = record_claimed(TABLE_HOLDER, LOSS_INCIDENTS);
    if (!number)
        return false;
    uint32_t checkout = parent_of_kind(slot, KIND_SQLALCHEMY_CHECKOUT), held = checkout ? checkout : slot;
    uint32_t session = parent_of_kind(held, KIND_SQLALCHEMY_SESSION), who = session ? session : held;
    uint32_t owner = owner_around(held), transaction = transaction_around(slot);
    const struct trace_handle *handle = handle_at(held);
    struct trace_holder *holder = record_of(TABLE_HOLDER, number);
    holder->kind = handle_at(who)->kind;
    holder->site = handle_at(who)->site;
    holder->generation = handle_at(who)->generation;
    holder->opened = handle->opened;
    holder->last_used = atomic_load(&handle->last_used);
    holder->thread = handle->thread;
    holder->owner_label = owner_label(owner, true);
    if (owner)
        holder->owner_ended = atomic_load(&((struct trace_owner *)record_of(TABLE_OWNER, owner))->ended);
    holder->flags = atomic_load(&handle->flags) | atomic_load(&handle_at(slot)->flags);
    if (transaction) {
        holder->transaction_stack = site_at(handle_at(transaction)->site)->stack;
        holder->flags |=
            HANDLE_IN_TRANSACTION | (atomic_load(&handle_at(transaction)->flags) & (HANDLE_WROTE | HANDLE_TX_FAILED));
    }
    holder->last_sql = last_sql_of(slot);
    atomic_store_explicit(&holder->ready, 1, memory_order_release);
    return true;
}

/* --- incidents ------------------------------------------------------------------------------------------------------------- */

static bool counted_with_the_like(uint32_t rule, uint32_t stack)
{
    uint64_t used = atomic_load(&shim.trace.header->tables[TABLE_INCIDENT].used);
    uint64_t capacity = shim.trace.table[TABLE_INCIDENT].capacity;
    for (uint64_t i = 1; i < used && i < capacity; i++) {
        struct trace_incident *incident = record_of(TABLE_INCIDENT, i);
        if (atomic_load(&incident->state) != RECORD_READY || incident->rule != rule || incident->stack != stack)
            continue;
        atomic_fetch_add(&incident->count, 1);
        atomic_store(&incident->last, time_now());
        return true;
    }
    return false;
}

static void incident_recorded(const struct incident *what, uint32_t rule, uint32_t target, const struct search *search)
{
    uint64_t now = time_now();
    uint32_t number = record_claimed(TABLE_INCIDENT, LOSS_INCIDENTS);
    if (!number)
        return;
    struct trace_incident *incident = record_of(TABLE_INCIDENT, number);
    incident->rule = rule;
    incident->at = now;
    incident->waited = what->waited;
    incident->stack = what->stack;
    incident->thread = thread_id(now);
    incident->owner = owner_of_thread();
    owner_gained(incident->owner); /* for good: it tells of it */
    incident->target = target;
    incident->text = target_interned(what->text);
    locked(&shim.intern_locks[TABLE_HOLDER]); /* its holders lie in a row; goes around the others */
    incident->first_holder = (uint32_t)atomic_load(&shim.trace.header->tables[TABLE_HOLDER].used);
    for (uint32_t slot = 0; incident->holder_count < HOLDERS_EACH && (slot = next_found(search, slot + 1)) != 0;)
        incident->holder_count += holder_noted(slot);
    unlocked(&shim.intern_locks[TABLE_HOLDER]);
    atomic_store(&incident->count, 1);
    atomic_store(&incident->last, now);
    atomic_store_explicit(&incident->state, RECORD_READY, memory_order_release);
}

/* --- a pool has nothing left ------------------------------------------------------------------------------------------------ */

/* Of this pool: the engine above it has the target that was asked for. */
static bool is_of_target(uint32_t slot, const void *target)
{
    for (int steps = 0; slot && steps < 4; steps++, slot = parent_of(slot))
        if (handle_at(slot)->target == *(const uint32_t *)target)
            return true;
    return false;
}

void incident_noted(const struct incident *incident, enum kind held)
{
    uint32_t rule = string_interned(incident->rule), target = target_interned(incident->target);
    if (counted_with_the_like(rule, incident->stack))
        return;
    struct search search = {.kind = held, .is_meant = is_of_target, .context = &target};
    if (!target || !next_found(&search, 1))
        search.is_meant = NULL; /* it is not known by that name */
    incident_recorded(incident, rule, target, &search);
}

static bool is_established(uint32_t slot, const void *unused)
{
    (void)unused;
    return !(atomic_load(&handle_at(slot)->flags) & (HANDLE_FAILED_OPEN | HANDLE_CONNECTING));
}

void server_full_noted(const char *message, const char *target, uint32_t stack)
{
    struct incident incident = {.rule = "pool-exhausted", .target = target, .text = message, .stack = stack};
    uint32_t rule = string_interned(incident.rule);
    if (!counted_with_the_like(rule, stack))
        incident_recorded(&incident, rule, target_interned(target),
                          &(struct search){.kind = KIND_LIBPQ_CONNECTION, .is_meant = is_established});
}

/* --- somebody is locked out ------------------------------------------------------------------------------------------------- */

struct database {
    uint32_t victim; /* slot */
    uint32_t target;
    bool has_file;
    struct stat file;
};

static const char *string_at(uint32_t number)
{
    return number ? ((const struct trace_string *)record_of(TABLE_STRING, number))->text : "";
}

/* A database of a single connection: in memory, or a temporary file. */
static bool is_private(const char *target)
{
    bool is_in_memory = strcmp(target, ":memory:") == 0 || strncmp(target, "file::memory:", 13) == 0 ||
                        (strncmp(target, "file:", 5) == 0 && strstr(target, "mode=memory"));
    return !target[0] || (is_in_memory && !strstr(target, "cache=shared"));
}

/* "file:///srv/app.db?mode=rw" is a file, too. */
static bool file_looked_up(const char *target, struct stat *file)
{
    char path[1024];
    struct text text = text_in(path, sizeof(path));
    if (strncmp(target, "file:", 5) == 0) {
        target += strncmp(target, "file://", 7) == 0 ? 7 : 5;
        text_bytes_added(&text, target, strcspn(target, "?#"));
    } else {
        text_added(&text, target);
    }
    return !atomic_load(&shim.sealed) && raw_syscall4(SYS_newfstatat, AT_FDCWD, (long)path, (long)file, 0) == 0;
}

static bool is_holding(uint32_t slot, const void *context)
{
    const struct database *database = context;
    const struct trace_handle *handle = handle_at(slot);
    struct stat file;
    if (slot == database->victim || !(atomic_load(&handle->flags) & HANDLE_IN_TRANSACTION))
        return false;
    if (handle->target == database->target)
        return true;
    return database->has_file && !is_private(string_at(handle->target)) &&
           file_looked_up(string_at(handle->target), &file) && file.st_ino == database->file.st_ino &&
           file.st_dev == database->file.st_dev;
}

/* Who waits calls again at once, over and over: where nobody was found, nobody is sought for a while. */
void blocking_noted(uint32_t victim, const char *message, uint32_t stack)
{
    static _Atomic uint64_t fruitless;
    const struct trace_handle *handle = handle_at(victim);
    struct database database = {.victim = victim, .target = handle->target};
    uint64_t now = time_now(), since = atomic_load(&handle->last_used), before = atomic_load(&fruitless);
    struct incident incident = {
        .rule = "blocking-transaction", .text = message, .waited = now > since ? now - since : 0, .stack = stack};
    uint32_t rule = string_interned(incident.rule);
    if (is_private(string_at(handle->target)) || counted_with_the_like(rule, stack) ||
        (now > before && now - before < FRUITLESS_PAUSE))
        return;
    database.has_file = file_looked_up(string_at(handle->target), &database.file);
    struct search search = {.kind = KIND_SQLITE3_CONNECTION, .is_meant = is_holding, .context = &database};
    if (next_found(&search, 1))
        incident_recorded(&incident, rule, handle->target, &search);
    else
        atomic_store(&fruitless, now);
}
