/* SPDX-License-Identifier: Apache-2.0 */
#include "dlsym.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>

#include "definitions.h"

_Static_assert(sizeof(struct stub) == 16 && offsetof(struct stub, wrapper) == 8, "dlsym_x86_64.S reads it");

typedef void *(*dlsym_function)(void *handle, const char *name);
typedef void *(*dlvsym_function)(void *handle, const char *name, const char *version);

struct stub dlsym_stubs[STUB_COUNT];
_Thread_local uint64_t stub_binding;

static _Atomic(function_address) real_dlsym, real_dlvsym;
static atomic_uint stubs_used;
static _Atomic uint16_t stub_numbers[COPY_MAX + 1][FUNCTION_WRAPPED_COUNT]; /* stub + 1 */

static uint64_t binding_of(enum function function, unsigned copy)
{
    return (uint64_t)copy << 32 | (function + 1);
}

unsigned copy_bound_by_stub(enum function function)
{
    const uint64_t binding = stub_binding;
    if ((uint32_t)binding != function + 1)
        return COPY_NONE;
    stub_binding = 0;
    return (unsigned)(binding >> 32);
}

static function_address found(_Atomic(function_address) *cache, const char *name)
{
    function_address real = atomic_load_explicit(cache, memory_order_relaxed);
    if (!real) {
        real = next_definition(name);
        atomic_store_explicit(cache, real, memory_order_relaxed);
    }
    return real;
}

/* Early, so that a look-up in a forked child needs no list of objects. */
__attribute__((constructor)) static void real_functions_found(void)
{
    found(&real_dlsym, "dlsym");
    found(&real_dlvsym, "dlvsym");
}

/* Two threads may number the same function at once: one takes its stub for nothing. */
static unsigned stub_numbered(enum function function, unsigned copy, function_address wrapper)
{
    uint16_t number = atomic_load_explicit(&stub_numbers[copy][function], memory_order_acquire);
    if (number)
        return number;
    const unsigned stub = atomic_load(&stubs_used) < STUB_COUNT ? atomic_fetch_add(&stubs_used, 1) : STUB_COUNT;
    if (stub >= STUB_COUNT)
        return 0;
    dlsym_stubs[stub] = (struct stub){binding_of(function, copy), wrapper};
    return atomic_compare_exchange_strong(&stub_numbers[copy][function], &number, (uint16_t)(stub + 1)) ? stub + 1
                                                                                                        : number;
}

static void *stub_for(enum function function, void *definition)
{
    const unsigned copy = copy_of_definition(function, (function_address)definition);
    const function_address wrapper = own_wrapper(function);
    if (copy == COPY_NONE || !wrapper)
        return definition;
    const unsigned number = stub_numbered(function, copy, wrapper);
    if (number)
        return (void *)dlsym_stub_code[number - 1];
    if (definition_not_seen)
        definition_not_seen(function);
    return definition;
}

static void *dlsym_answered(void *handle, const char *name)
{
    const dlsym_function real = (dlsym_function)found(&real_dlsym, "dlsym");
    const enum function function = wrapped_function_named(name);
    void *definition = real(handle, name);
    if (!definition)
        return NULL;
    /* Without us this look-up would have found what is behind us, or nothing. */
    if (definition == (void *)own_wrapper(function))
        return real(RTLD_NEXT, name) ? definition : NULL;
    return stub_for(function, definition);
}

static void *dlvsym_answered(void *handle, const char *name, const char *version)
{
    const dlvsym_function real = (dlvsym_function)found(&real_dlvsym, "dlvsym");
    const enum function function = wrapped_function_named(name);
    void *definition = real(handle, name, version);
    if (!definition)
        return NULL;
    if (definition == (void *)own_wrapper(function))
        return real(RTLD_NEXT, name, version) ? definition : NULL;
    return stub_for(function, definition);
}

static void *nothing_found(void *handle, const char *name)
{
    (void)handle, (void)name;
    return NULL;
}

/* Who probes for a function that no loaded object defines must not find our wrapper of it. */
static bool is_ours_to_answer(const void *handle, const char *name)
{
    if (handle == RTLD_NEXT || !name || wrapped_function_named(name) == FUNCTION_WRAPPED_COUNT)
        return false;
    return handle != RTLD_DEFAULT || !next_definition(name);
}

static function_address destination(_Atomic(function_address) *cache, const char *real_name, function_address answered,
                                    const void *handle, const char *name)
{
    const function_address real = found(cache, real_name);
    if (!real)
        return (function_address)nothing_found;
    return is_ours_to_answer(handle, name) ? answered : real;
}

function_address dlsym_destination(void *handle, const char *name)
{
    return destination(&real_dlsym, "dlsym", (function_address)dlsym_answered, handle, name);
}

function_address dlvsym_destination(void *handle, const char *name)
{
    return destination(&real_dlvsym, "dlvsym", (function_address)dlvsym_answered, handle, name);
}
