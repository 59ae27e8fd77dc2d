/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of unclosed.h, as the program sees them when it is preloaded. */
#define UNCLOSED_EXPORTS
#include <errno.h>
#include <string.h>
#include <unclosed/unclosed.h>

#include "adapters.h"
#include "handles.h"
#include "incidents.h"
#include "owners.h"
#include "python/python.h"

enum { LONGEST_NAME = 63 };

/* Declared kinds, in private memory: their numbers must outlive the trace (a forked child starts another one). */
static struct {
    _Atomic uint32_t count;
    char names[KIND_LIMIT - KIND_DECLARED][LONGEST_NAME + 1];
    uint32_t parents[KIND_LIMIT - KIND_DECLARED];
    _Atomic uint64_t told[KIND_LIMIT - KIND_DECLARED]; /* epoch of the trace that knows the kind */
} declared;

static const char *const built_in[KIND_BUILT_IN_COUNT] = {
#define KIND(id, name, noun, plural, parent, traits) name,
#include <unclosed/kinds.def>
#undef KIND
};

#define CALLER caller_of_frame((const uintptr_t *)__builtin_frame_address(0))

/* Every call: begun -> work -> ended. False: nothing is recorded. */
static bool begun(int *error)
{
    *error = errno;
    if (!has_interrupted() && is_recording() && guard_entered()) {
        adapters_told();
        return true;
    }
    errno = *error;
    return false;
}

static void ended(int error)
{
    guard_left();
    errno = error;
}

static bool is_kind(unclosed_kind_id kind)
{
    return (kind > KIND_NONE && kind < KIND_BUILT_IN_COUNT) ||
           (kind >= KIND_DECLARED && kind < KIND_DECLARED + atomic_load(&declared.count));
}

static unclosed_kind_id kind_named(const char *name)
{
    for (unsigned i = 1; i < KIND_BUILT_IN_COUNT; i++)
        if (strcmp(built_in[i], name) == 0)
            return i;
    for (unsigned i = 0; i < atomic_load(&declared.count); i++)
        if (strcmp(declared.names[i], name) == 0)
            return KIND_DECLARED + i;
    return 0;
}

static void kind_told(unclosed_kind_id kind)
{
    unsigned i = kind - KIND_DECLARED;
    if (kind < KIND_DECLARED || atomic_exchange(&declared.told[i], shim.epoch) == shim.epoch)
        return;
    uint32_t number = record_claimed(TABLE_KIND, LOSS_SITES);
    if (!number)
        return;
    struct trace_kind *record = record_of(TABLE_KIND, number);
    record->kind = kind;
    record->name = string_interned(declared.names[i]);
    record->parent = declared.parents[i];
    atomic_store_explicit(&record->ready, 1, memory_order_release);
}

EXPORT unclosed_kind_id unclosed_kind(const char *name, const char *parent)
{
    shim_loaded();
    if (!name || !name[0] || strlen(name) > LONGEST_NAME || !guard_entered())
        return 0;
    unclosed_kind_id kind = kind_named(name);
    if (!kind) {
        locked(kinds_lock());
        kind = kind_named(name);
        uint32_t count = atomic_load(&declared.count);
        if (!kind && count < KIND_LIMIT - KIND_DECLARED) {
            strcpy(declared.names[count], name);
            declared.parents[count] = parent ? kind_named(parent) : KIND_NONE;
            atomic_store(&declared.count, count + 1);
            kind = KIND_DECLARED + count;
        }
        unlocked(kinds_lock());
    }
    guard_left();
    return kind;
}

static void opened_by(unclosed_kind_id kind, const void *handle, struct caller caller)
{
    int error;
    if (!is_kind(kind) || !handle || !begun(&error))
        return;
    kind_told(kind);
    handle_opened(kind, (uintptr_t)handle, stack_here(&caller), &(struct opening){.function = "unclosed_opened"});
    ended(error);
}

EXPORT void unclosed_opened(unclosed_kind_id kind, const void *handle)
{
    opened_by(kind, handle, CALLER);
}

EXPORT void unclosed_opened_at(unclosed_kind_id kind, const void *handle, const void *python_frame)
{
    const void *before = thread.python_frame;
    thread.python_frame = python_frame;
    opened_by(kind, handle, CALLER);
    thread.python_frame = before;
}

EXPORT void unclosed_target(unclosed_kind_id kind, const void *handle, const char *target)
{
    int error;
    if (!is_kind(kind) || !begun(&error))
        return;
    uint32_t slot = handle_found(kind, (uintptr_t)handle);
    if (slot)
        handle_at(slot)->target = target_interned(target);
    ended(error);
}

static void open_used(uint32_t slot, const struct caller *caller)
{
    struct idle idle = handle_touched(slot);
    bool has_failed = atomic_load_explicit(&handle_at(slot)->flags, memory_order_relaxed) & HANDLE_TX_FAILED;
    if (likely(!idle.slot && !has_failed))
        return;
    uint32_t stack = stack_here(caller);
    if (idle.slot)
        idle_noted(&idle, stack, "unclosed_used");
    if (has_failed)
        use_while_failed_noted(slot, stack, "unclosed_used");
}

EXPORT void unclosed_used(unclosed_kind_id kind, const void *handle)
{
    int error;
    struct caller caller = CALLER;
    if (!is_kind(kind) || !begun(&error))
        return;
    uint32_t slot = handle_found(kind, (uintptr_t)handle);
    if (slot)
        open_used(slot, &caller);
    else
        stranger_used(kind, (uintptr_t)handle, &caller, "unclosed_used");
    ended(error);
}

EXPORT void unclosed_closed(unclosed_kind_id kind, const void *handle, enum unclosed_ended how)
{
    int error;
    struct caller caller = CALLER;
    if (!is_kind(kind) || (unsigned)how > ENDED_WITH_PARENT || how < UNCLOSED_EXPLICIT || !begun(&error))
        return;
    uint32_t stack = stack_here(&caller);
    uint32_t slot = handle_closing(kind, (uintptr_t)handle, stack);
    if (slot) {
        idleness_closed(slot, stack, "unclosed_closed");
        handle_finished(slot, (enum trace_ended)how);
    } else {
        stranger_closed(kind, (uintptr_t)handle, stack, "unclosed_closed");
    }
    ended(error);
}

static bool is_of_sqlalchemy(unclosed_kind_id kind)
{
    return kind >= KIND_SQLALCHEMY_ENGINE && kind <= KIND_SQLALCHEMY_TRANSACTION;
}

/* A connection of an engine is its pool's: what becomes of it concerns neither who happened to open it, nor, when the pool
 * is collected, anybody. One that was taken out of its pool is nobody's. */
static void connection_pooled(uint32_t slot, unclosed_kind_id parent_kind, const void *parent)
{
    if (parent && parent_kind == KIND_SQLALCHEMY_ENGINE) {
        atomic_fetch_or(&handle_at(slot)->flags, HANDLE_POOLED);
        owner_changed(slot, 0);
    } else if (!parent && parent_kind != KIND_SQLALCHEMY_ENGINE) {
        atomic_fetch_and(&handle_at(slot)->flags, ~(uint32_t)HANDLE_POOLED);
    }
}

EXPORT void unclosed_parent(unclosed_kind_id kind, const void *handle, unclosed_kind_id parent_kind, const void *parent)
{
    int error;
    if (!is_kind(kind) || !begun(&error))
        return;
    uint32_t slot = handle_found(kind, (uintptr_t)handle);
    uint32_t above = parent && is_kind(parent_kind) ? handle_found(parent_kind, (uintptr_t)parent) : 0;
    if (slot) {
        child_removed(slot);
        if (above && above != slot)
            child_added(above, slot);
        if (!is_of_sqlalchemy(kind))
            connection_pooled(slot, parent_kind, parent);
    }
    ended(error);
}

EXPORT void unclosed_detail(unclosed_kind_id kind, const void *handle, const char *key, const char *value)
{
    int error;
    if (!is_kind(kind) || !key || !begun(&error))
        return;
    uint32_t slot = handle_found(kind, (uintptr_t)handle);
    if (slot)
        detail_set(slot, key, value);
    ended(error);
}

EXPORT void unclosed_ignore(unclosed_kind_id kind, const void *handle)
{
    int error;
    if (!is_kind(kind) || !begun(&error))
        return;
    uint32_t slot = handle_found(kind, (uintptr_t)handle);
    if (slot)
        atomic_fetch_or(&handle_at(slot)->flags, HANDLE_IGNORED);
    ended(error);
}

EXPORT unclosed_owner_id unclosed_owner_begin(enum unclosed_owner_kind kind, const char *label,
                                              unclosed_owner_id parent)
{
    int error;
    if (kind < UNCLOSED_THREAD || kind > UNCLOSED_TEST || !begun(&error))
        return 0;
    unclosed_owner_id id = owner_began((enum trace_owner_kind)kind, label, parent);
    ended(error);
    return id;
}

EXPORT unclosed_owner_id unclosed_owner_enter(unclosed_owner_id owner)
{
    unclosed_owner_id before = thread.owner;
    thread.owner = owner;
    return before;
}

EXPORT void unclosed_owner_end(unclosed_owner_id owner, const char *reason)
{
    int error;
    if (!owner || !begun(&error))
        return;
    owner_ended(owner, reason);
    ended(error);
}

EXPORT void unclosed_owned_by(unclosed_kind_id kind, const void *handle, unclosed_owner_id owner)
{
    int error;
    if (!is_kind(kind) || !begun(&error))
        return;
    uint32_t slot = handle_found(kind, (uintptr_t)handle);
    if (slot)
        owner_changed(slot, owner);
    ended(error);
}

EXPORT void unclosed_incident(const char *rule, unclosed_kind_id held, const char *target, const char *text,
                              uint64_t waited_ns)
{
    int error;
    struct caller caller = CALLER;
    if (!rule || !is_kind(held) || !begun(&error))
        return;
    struct incident incident = {
        .rule = rule, .target = target, .text = text, .waited = waited_ns, .stack = stack_here(&caller)};
    incident_noted(&incident, (enum kind)held);
    ended(error);
}

EXPORT const void *unclosed_frame_enter(const void *python_frame)
{
    const void *before = thread.python_frame;
    thread.python_frame = python_frame;
    return before;
}

/* Said again while it goes on, it has been busy until now; its end ends its idleness. */
static void transaction_told(uint32_t slot, const struct transaction_state *state, const struct caller *caller)
{
    struct idle idle = handle_touched(slot);
    if (idle.slot && !state->open)
        idle_noted(&idle, stack_here(caller), "unclosed_transaction");
    transaction_seen(kind_of_transaction(handle_at(slot)->kind), slot, state, caller);
}

EXPORT void unclosed_transaction(unclosed_kind_id kind, const void *handle, unsigned state)
{
    int error;
    struct caller caller = CALLER;
    if (!is_kind(kind) || !begun(&error))
        return;
    uint32_t slot = handle_found(kind, (uintptr_t)handle);
    if (slot)
        transaction_told(slot,
                         &(struct transaction_state){.open = state != UNCLOSED_NO_TRANSACTION,
                                                     .wrote = state & UNCLOSED_TRANSACTION_WROTE,
                                                     .failed = state & UNCLOSED_TRANSACTION_FAILED},
                         &caller);
    ended(error);
}

EXPORT void unclosed_noticed(const char *rule, unclosed_kind_id kind, const void *handle, const char *text)
{
    int error;
    struct caller caller = CALLER;
    if (!rule || !is_kind(kind) || !begun(&error))
        return;
    rule_noticed(rule, (enum kind)kind, (uintptr_t)handle, text, stack_here(&caller));
    ended(error);
}

EXPORT void unclosed_owner_label(unclosed_owner_id owner, const char *label)
{
    int error;
    if (!owner || !begun(&error))
        return;
    owner_labelled(owner, label);
    ended(error);
}

EXPORT void unclosed_adapter(const char *name, const char *version, const char *problem)
{
    int error = errno;
    shim_loaded();
    if (!name || !name[0] || !guard_entered())
        return;
    adapter_known(name, version, problem);
    ended(error);
}

EXPORT void unclosed_destructor(const void *function)
{
    int error = errno;
    shim_loaded();
    if (!function || !guard_entered())
        return;
    destructor_known((uintptr_t)function);
    ended(error);
}

EXPORT const struct unclosed_api unclosed_api_table = {
    .size = sizeof(struct unclosed_api),
    .version = UNCLOSED_API_VERSION,
    .kind = unclosed_kind,
    .opened = unclosed_opened,
    .opened_at = unclosed_opened_at,
    .target = unclosed_target,
    .used = unclosed_used,
    .closed = unclosed_closed,
    .parent = unclosed_parent,
    .detail = unclosed_detail,
    .ignore = unclosed_ignore,
    .owner_begin = unclosed_owner_begin,
    .owner_enter = unclosed_owner_enter,
    .owner_end = unclosed_owner_end,
    .owned_by = unclosed_owned_by,
    .incident = unclosed_incident,
    .frame_enter = unclosed_frame_enter,
    .transaction = unclosed_transaction,
    .noticed = unclosed_noticed,
    .owner_label = unclosed_owner_label,
    .adapter = unclosed_adapter,
    .destructor = unclosed_destructor,
};
