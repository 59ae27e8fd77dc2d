/* SPDX-License-Identifier: Apache-2.0 */
/* What libraries/functions.def says, at run time. */
#include <stdatomic.h>
#include <stdint.h>

#include "definitions.h"
#include "elf_lookup.h"

static const char *const function_names[FUNCTION_COUNT] = {
#define FUNCTION(library, function, handle, failure) [FUNCTION_##function] = #function,
#define HELPER(library, function, failure) [FUNCTION_##function] = #function,
#include "libraries/functions.def"
};

static const unsigned char function_libraries[FUNCTION_COUNT] = {
#define FUNCTION(library, function, handle, failure) [FUNCTION_##function] = LIBRARY_##library,
#define HELPER(library, function, failure) [FUNCTION_##function] = LIBRARY_##library,
#include "libraries/functions.def"
};

static const char *const library_names[LIBRARY_COUNT] = {
#define LIBRARY(library) [LIBRARY_##library] = #library,
#include "libraries/functions.def"
};

const char *name_of_function(enum function function)
{
    return function_names[function];
}

enum library library_of_function(enum function function)
{
    return (enum library)function_libraries[function];
}

const char *name_of_library(enum library library)
{
    return library_names[library];
}

/* What is called when nobody defines the function. The caller passes as many arguments as the function takes, so no more than OUTPUT are read. */
static long failed(unsigned output, long failure, void **const arguments[])
{
    if (output && arguments[output - 1])
        *arguments[output - 1] = NULL;
    return failure;
}

static const unsigned char outputs[FUNCTION_COUNT] = {
#define OUTPUT(function, number) [FUNCTION_##function] = number,
#include "libraries/functions.def"
};

#define FAILURE(function, failure)                                                                          \
    static long failure_of_##function(void **a, void **b, void **c, void **d, void **e, void **f, void **g) \
    {                                                                                                       \
        return failed(outputs[FUNCTION_##function], failure, (void **const[]){a, b, c, d, e, f, g});        \
    }
#define FUNCTION(library, function, handle, failure) FAILURE(function, failure)
#define HELPER(library, function, failure) FAILURE(function, failure)
#include "libraries/functions.def"

static const function_address failures[FUNCTION_COUNT] = {
#define FUNCTION(library, function, handle, failure) [FUNCTION_##function] = (function_address)failure_of_##function,
#define HELPER(library, function, failure) [FUNCTION_##function] = (function_address)failure_of_##function,
#include "libraries/functions.def"
};

function_address failure_of_function(enum function function)
{
    return failures[function];
}

/* Other names must cost next to nothing: first letter, then one probe. */
enum { NAME_SLOTS = 1024 };
static _Atomic unsigned short name_slots[NAME_SLOTS]; /* function + 1 */

static unsigned name_slot(const char *name)
{
    unsigned hash = 0;
    for (; *name; ++name)
        hash = hash * 31 + (unsigned char)*name;
    return (hash ^ hash >> 10) % NAME_SLOTS;
}

/* Several threads may do this at once: a name goes into the first slot from its own on that is free or has it already. */
static void names_entered(void)
{
    for (unsigned function = 0; function < FUNCTION_WRAPPED_COUNT; ++function) {
        unsigned slot = name_slot(function_names[function]);
        for (;; slot = (slot + 1) % NAME_SLOTS) {
            unsigned short there = 0;
            if (atomic_compare_exchange_strong(&name_slots[slot], &there, (unsigned short)(function + 1)) ||
                there == function + 1)
                break;
        }
    }
}

static bool may_be_wrapped(const char *name)
{
    uint64_t first_letters = 0;
#define FUNCTION(library, function, handle, failure) first_letters |= (uint64_t)1 << (#function[0] & 63);
#include "libraries/functions.def"
    return first_letters >> (*name & 63) & 1;
}

enum function wrapped_function_named(const char *name)
{
    static atomic_bool entered;
    if (!may_be_wrapped(name))
        return FUNCTION_WRAPPED_COUNT;
    if (!atomic_load_explicit(&entered, memory_order_acquire)) {
        names_entered();
        atomic_store_explicit(&entered, true, memory_order_release);
    }
    for (unsigned slot = name_slot(name);; slot = (slot + 1) % NAME_SLOTS) {
        const unsigned there = atomic_load_explicit(&name_slots[slot], memory_order_relaxed);
        if (!there)
            return FUNCTION_WRAPPED_COUNT;
        if (is_same_text(function_names[there - 1], name))
            return (enum function)(there - 1);
    }
}
