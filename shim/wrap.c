/* SPDX-License-Identifier: Apache-2.0 */
#include "wrap.h"

#include <errno.h>
#include <string.h>

#include "adapters.h"
#include "dlsym.h"
#include "incidents.h"
#include "python/native_marks.h"
#include "python/python.h"

#define LONG_CALL 100000000u /* ns */

static const uint8_t handle_kind[FUNCTION_COUNT] = {
#define NO_HANDLE NONE
#define FUNCTION(library, function, handle, failure) [FUNCTION_##function] = KIND_OF(handle),
#define KIND_OF(handle) KIND_OF_(handle)
#define KIND_OF_(handle) KIND_##handle
#include "libraries/functions.def"
};

/* Kinds that stand alone. */
static const bool is_root[KIND_LIMIT] = {
#define KIND(id, name, noun, plural, parent, traits) [KIND_##id] = KIND_##parent == KIND_NONE,
#include <unclosed/kinds.def>
#undef KIND
};

static struct caller caller_of(const struct call *call)
{
    return caller_of_frame(call->frame);
}

/*
 * A client library that calls itself through its exported names; or, when it jumps there, our own wrapper around it. A
 * module that has the library built in (a wheel's _sqlite3.so) calls it just like that, too: its calls are its own.
 */
static bool is_library_internal(uintptr_t return_address, enum function function, function_address real)
{
    uintptr_t start, end;
    char name[16];
    const char *path;
    if (return_address >= shim.start && return_address < shim.end)
        return true;
    if (!object_spanned((uintptr_t)real, &start, &end, &path) || return_address < start || return_address >= end)
        return false;
    const char *library = name_of_library(library_of_function(function)), *base = strrchr(path, '/');
    struct text text = text_in(name, sizeof(name));
    text_added(&text, strncmp(library, "lib", 3) == 0 ? "" : "lib");
    text_added(&text, library);
    return strncmp(base ? base + 1 : path, name, strlen(name)) == 0;
}

/* Of each library, what this thread's latest call went to. */
static _Thread_local uint8_t latest_copy[LIBRARY_COUNT] __attribute__((tls_model("initial-exec")));

static unsigned copy_called(enum function function, uintptr_t handle, const uintptr_t *frame, bool recorded)
{
    unsigned copy = COPY_NONE;
    /* A copy that jumped to one of its own functions seems to be called by our wrapper around the other one. */
    if (frame[1] >= shim.start && frame[1] < shim.end)
        copy = latest_copy[library_of_function(function)];
    if (copy != COPY_NONE)
        return copy;
    if (recorded && handle && handle_kind[function] && guard_entered()) {
        if (copy_count(library_of_function(function)) > 1) {
            uint32_t slot = handle_found(handle_kind[function], handle);
            copy = slot ? handle_at(slot)->copy : COPY_NONE;
        }
        guard_left();
    }
    return copy != COPY_NONE ? copy : copy_for_call(function, (const void *)frame[1]);
}

/*
 * What is known of a call place. Holds until something is unloaded (a program's references are bound when they are made,
 * not anew when another library arrives), and while there is one copy of the library. `version` is odd while an entry is
 * written.
 */
enum { KNOWN_PLACES = 512 };
static struct place {
    _Atomic uint32_t version;
    uint32_t function;
    uintptr_t return_address;
    uint64_t unload_epoch;
    function_address address;
    const char *name;
    uint16_t copy, library;
    bool internal;
} places[KNOWN_PLACES];

static inline struct place *place_of(enum function function, uintptr_t return_address)
{
    return &places[((return_address >> 2) ^ (return_address >> 11) ^ function * 37u) % KNOWN_PLACES];
}

static void place_remembered(enum function function, uintptr_t return_address, uint64_t unload_epoch,
                             const struct call *call, bool internal)
{
    struct place *place = place_of(function, return_address);
    uint32_t version = atomic_load(&place->version);
    if (version & 1 || !atomic_compare_exchange_strong(&place->version, &version, version + 1))
        return;
    place->function = function;
    place->return_address = return_address;
    place->unload_epoch = unload_epoch;
    place->address = call->function;
    place->name = call->name;
    place->copy = (uint16_t)call->copy;
    place->library = (uint16_t)library_of_function(function);
    place->internal = internal;
    atomic_store_explicit(&place->version, version + 2, memory_order_release);
}

__attribute__((noinline)) static struct call call_begun_anew(enum function function, uintptr_t handle,
                                                             const uintptr_t *frame)
{
    int error = errno;
    struct call call = {.frame = frame, .name = name_of_function(function)};
    bool recorded = !has_interrupted() && is_recording();
    if (recorded && guard_entered()) {
        adapters_told();
        guard_left();
    }
    uint64_t unload_epoch = atomic_load(&shim.unload_epoch);
    unsigned copy = copy_bound_by_stub(function);
    call.copy = copy != COPY_NONE ? copy : copy_called(function, handle, frame, recorded);
    latest_copy[library_of_function(function)] = (uint8_t)call.copy;
    call.function = definition_or_failure(function, call.copy);
    bool internal = is_library_internal(frame[1], function, call.function);
    if (copy == COPY_NONE && call.copy != COPY_NONE)
        place_remembered(function, frame[1], unload_epoch, &call, internal);
    call.recorded = recorded && !internal;
    errno = error;
    return call;
}

struct call call_begun(enum function function, uintptr_t handle, const uintptr_t *frame)
{
    const struct place *place = place_of(function, frame[1]);
    uint32_t version = atomic_load_explicit(&place->version, memory_order_acquire);
    struct call call = {.frame = frame, .function = place->address, .name = place->name, .copy = place->copy};
    bool is_known = place->return_address == frame[1] && place->function == function && !(version & 1) &&
                    place->unload_epoch == atomic_load_explicit(&shim.unload_epoch, memory_order_relaxed) &&
                    copy_count((enum library)place->library) <= 1;
    uint32_t life = atomic_load_explicit(shim.life, memory_order_acquire);
    call.recorded = !place->internal && life == LIFE_ON;
    atomic_thread_fence(memory_order_acquire);
    if (likely(is_known && atomic_load_explicit(&place->version, memory_order_relaxed) == version && !stub_binding &&
               !thread.busy && life >= LIFE_ON))
        return call;
    return call_begun_anew(function, handle, frame);
}

/* `terms`: the unload epoch and the copy that `address` is right for. */
static struct helper {
    _Atomic uint64_t terms;
    _Atomic(function_address) address;
} helpers[FUNCTION_COUNT];

__attribute__((noinline)) static function_address helper_searched(enum function function, unsigned copy, uint64_t terms)
{
    function_address address = definition_or_failure(function, copy);
    atomic_store(&helpers[function].terms, 0);
    atomic_store(&helpers[function].address, address);
    atomic_store(&helpers[function].terms, terms);
    return address;
}

function_address helper_found(enum function function, unsigned copy)
{
    struct helper *helper = &helpers[function];
    uint64_t terms = (atomic_load_explicit(&shim.unload_epoch, memory_order_relaxed) + 1) << 8 | copy;
    if (likely(atomic_load_explicit(&helper->terms, memory_order_acquire) == terms)) {
        function_address address = atomic_load_explicit(&helper->address, memory_order_acquire);
        if (likely(atomic_load_explicit(&helper->terms, memory_order_relaxed) == terms))
            return address;
    }
    return helper_searched(function, copy, terms);
}

static void library_noted(const struct call *call)
{
    static _Atomic uint64_t noted_epoch, noted;
    if (atomic_load_explicit(&noted_epoch, memory_order_relaxed) != shim.epoch) {
        atomic_store(&noted, 0);
        atomic_store(&noted_epoch, shim.epoch);
    }
    if (likely(atomic_load_explicit(&noted, memory_order_relaxed) >> call->copy & 1) ||
        atomic_fetch_or(&noted, 1ull << call->copy) >> call->copy & 1)
        return;
    uint64_t bias;
    uint32_t module = module_of((uintptr_t)call->function, &bias);
    uint32_t number = record_claimed(TABLE_LIBRARY, LOSS_MODULES);
    if (!number)
        return;
    struct trace_library *library = record_of(TABLE_LIBRARY, number);
    library->name = string_interned(name_of_library(library_of_function(wrapped_function_named(call->name))));
    library->path = module ? ((struct trace_module *)record_of(TABLE_MODULE, module))->path : 0;
    library->copy = call->copy;
    atomic_store_explicit(&library->ready, 1, memory_order_release);
}

uint32_t call_opened(struct call *call, enum kind kind, uintptr_t handle, const struct opening *opening)
{
    if ((!handle && !opening->failed) || !guard_entered())
        return 0;
    int error = errno;
    struct caller caller = caller_of(call);
    library_noted(call);
    uint32_t slot = handle_opened(kind, handle, stack_here(&caller), opening);
    errno = error;
    guard_left();
    return slot;
}

void call_closing(struct call *call, enum kind kind, uintptr_t handle)
{
    if (!handle || !guard_entered())
        return;
    int error = errno;
    struct caller caller = caller_of(call);
    uint32_t stack = stack_here(&caller);
    call->closing = handle_closing(kind, handle, stack);
    if (!call->closing)
        stranger_closed(kind, handle, stack, call->name);
    else
        idleness_closed(call->closing, stack, call->name);
    errno = error;
    guard_left();
}

static bool has_python_part(uint32_t stack)
{
    const struct trace_stack *node = record_of(TABLE_STACK, stack);
    const struct trace_frame *frame = record_of(TABLE_FRAME, node->frame);
    return frame->type == FRAME_PYTHON || (frame->type == FRAME_MIXED && frame->offset != 0);
}

/* Below a destructor nobody has closed it: the collector did, the shutdown, or whoever gave up the pool. At shutdown, where
 * no Python function runs, it was the interpreter's own clearing up: first of what nobody referred to any more, which is a
 * collection like any other. A driver's object finishes what failed to open, and its cancel handles, as it should. */
static enum trace_ended how_closed(const struct trace_handle *handle)
{
    uint32_t stack = atomic_load_explicit(&handle->close_stack, memory_order_relaxed);
    uint32_t flags = atomic_load_explicit(&handle->flags, memory_order_relaxed);
    if (likely(!python_has_frames() && !is_a_destructor_known()) || !is_root[handle->kind] ||
        flags & HANDLE_FAILED_OPEN)
        return ENDED_EXPLICIT;
    if (!is_in_destructor(stack) && (!python_is_finalizing() || has_python_part(stack)))
        return ENDED_EXPLICIT;
    if (flags & HANDLE_POOLED)
        return ENDED_WITH_PARENT;
    return python_is_finalizing() && !python_modules_are_whole() ? ENDED_FINALIZATION : ENDED_GC;
}

void call_closed(struct call *call, const struct closing_result *result)
{
    if (!guard_entered())
        return;
    int error = errno;
    if (result->refused)
        handle_close_refused(call->closing, result->code, call->name);
    else if (result->zombie && children_alive(call->closing))
        handle_made_zombie(call->closing, call->name, how_closed(handle_at(call->closing)));
    else
        handle_finished(call->closing, how_closed(handle_at(call->closing)));
    call->closing = 0;
    errno = error;
    guard_left();
}

__attribute__((noinline)) static void stranger_met(const struct call *call, enum kind kind, uintptr_t handle)
{
    int error = errno;
    struct caller caller = caller_of(call);
    stranger_used(kind, handle, &caller, call->name);
    errno = error;
}

__attribute__((noinline)) static void idleness_ended(const struct call *call, const struct idle *idle)
{
    int error = errno;
    struct caller caller = caller_of(call);
    idle_noted(idle, stack_here(&caller), call->name);
    errno = error;
}

uint32_t call_used(struct call *call, enum kind kind, uintptr_t handle, bool continued)
{
    if (!handle || !guard_entered())
        return 0;
    uint32_t slot = handle_in_use(kind, handle);
    if (likely(slot)) {
        struct idle idle = handle_touched(slot);
        if (unlikely(idle.slot) && !continued)
            idleness_ended(call, &idle);
    } else {
        stranger_met(call, kind, handle);
    }
    guard_left();
    return slot;
}

uint32_t handle_known(struct call *call, enum kind kind, uintptr_t handle)
{
    (void)call;
    if (!guard_entered())
        return 0;
    uint32_t slot = handle_found(kind, handle);
    guard_left();
    return slot;
}

/* A long call is no idleness. */
static void connection_rests(uint32_t connection)
{
    if (time_now_coarse() > atomic_load_explicit(&handle_at(connection)->last_used, memory_order_relaxed) + LONG_CALL)
        handle_touched(connection);
}

void call_transaction(struct call *call, enum kind kind, uint32_t connection, const struct transaction_state *state)
{
    if (!guard_entered())
        return;
    int error = errno;
    struct caller caller = caller_of(call);
    connection_rests(connection);
    transaction_seen(kind, connection, state, &caller);
    errno = error;
    guard_left();
}

void call_cut_transaction(struct call *call, bool wrote)
{
    if (!guard_entered())
        return;
    int error = errno;
    transaction_cut(call->closing, wrote, handle_at(call->closing)->close_stack, call->name);
    errno = error;
    guard_left();
}

void call_busy(struct call *call, enum kind kind, uintptr_t handle, int code, const char *message)
{
    if (!guard_entered())
        return;
    int error = errno;
    uint32_t slot = handle_found(kind, handle);
    struct caller caller = caller_of(call);
    struct trace_fact fact = {.type = FACT_BUSY, .kind = (uint16_t)kind, .code = code, .stack = stack_here(&caller)};
    if (slot) {
        fact.site = handle_at(slot)->site;
        fact.target = handle_at(slot)->target;
        fact.generation = handle_at(slot)->generation;
    }
    fact.function = string_interned(call->name);
    fact_noted(&fact);
    if (slot)
        blocking_noted(slot, message, fact.stack);
    errno = error;
    guard_left();
}

void call_server_full(struct call *call, const char *message, const char *target)
{
    if (!guard_entered())
        return;
    int error = errno;
    struct caller caller = caller_of(call);
    server_full_noted(message, target, stack_here(&caller));
    errno = error;
    guard_left();
}

void call_connected(struct call *call, enum kind kind, uintptr_t handle, bool failed)
{
    if (!guard_entered())
        return;
    uint32_t slot = handle_found(kind, handle);
    if (slot) {
        struct trace_handle *open = handle_at(slot);
        uint32_t before = atomic_fetch_and(&open->flags, ~(uint32_t)HANDLE_CONNECTING);
        if (failed && !(before & HANDLE_FAILED_OPEN)) {
            atomic_fetch_or(&open->flags, HANDLE_FAILED_OPEN);
            atomic_fetch_add(&site_at(open->site)->failed, 1);
            fact_noted(&(struct trace_fact){.type = FACT_OPEN_FAILED,
                                            .kind = (uint16_t)kind,
                                            .flags = FACT_HANDLE_LEFT,
                                            .site = open->site,
                                            .stack = site_at(open->site)->stack,
                                            .target = open->target,
                                            .function = string_interned(call->name)});
        }
    }
    guard_left();
}

/* --- told by definitions.c and dlclose.c -------------------------------------------------------------------------------- */

void definition_missing(enum function function)
{
    static _Atomic uint32_t told;
    int error = errno;
    if (!atomic_exchange(&told, 1))
        said("called, but no loaded library defines it; the call fails:", name_of_function(function), 0);
    if (!thread.busy && is_recording() && guard_entered()) {
        lost(LOSS_UNRESOLVED);
        fact_noted(&(struct trace_fact){
            .type = FACT_UNRESOLVED, .stack = STACK_OTHER, .function = string_interned(name_of_function(function))});
        guard_left();
    }
    errno = error;
}

void definition_not_seen(enum function function)
{
    static _Atomic uint32_t told;
    if (!atomic_exchange(&told, 1))
        said("too many copies of a library: calls through this pointer are not seen:", name_of_function(function), 0);
    if (shim.trace.header)
        lost(LOSS_UNRESOLVED);
}

void modules_unloading(void)
{
    atomic_fetch_add(&shim.unload_epoch, 1);
    python_modules_unloading();
}

void modules_unloaded(bool something_was_unloaded)
{
    if (something_was_unloaded) {
        atomic_fetch_add(&shim.unload_epoch, 1);
        capture_modules_unloaded();
    }
    python_modules_unloaded(something_was_unloaded);
}
