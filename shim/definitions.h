/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real functions behind the wrappers: found by who defines them, not by who calls.
 *
 *   call of sqlite3_open ──> which copy of the library would the linker have bound it to without us?   copy_for_call
 *   call of sqlite3_close ─> the copy that the handle came from, noted when it was opened
 *   both ──────────────────> where is the function in that copy?                                       definition_or_failure
 *
 * A *copy* is one loaded object that defines functions of one library: a client library, one more of it that a wheel brought along, or another
 * preload behind us. Objects ahead of us in the global scope (the program itself, preloads before us) are bound before we are: their functions
 * are not seen. Several definitions: one in the global scope behind us wins, in the order of search; then the caller's own scope; then the only
 * copy that those who import the function are bound to; then the first one loaded.
 *
 * Every function here may be called by any thread at any time, before the constructor and after the destructors too. Answers that were given
 * before cost one or two lock-free look-ups (_dl_find_object, glibc >= 2.35), are checked against what is loaded now, and allocate nothing. A
 * module that calls for the first time, or a call after something was unloaded, walks the list of loaded objects under the linker's list lock,
 * which dlopen does not hold while constructors run. No lock is held while a function of the program runs, resolvers of indirect functions
 * excepted. errno is left alone.
 *
 * Limits: copies in other namespaces (dlmopen) are known only once dlsym was asked for them; 31 copies at a time.
 */
#ifndef UNCLOSED_SHIM_DEFINITIONS_H
#define UNCLOSED_SHIM_DEFINITIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef void (*function_address)(void);

enum library {
#define LIBRARY(library) LIBRARY_##library,
#include "libraries/functions.def"
    LIBRARY_COUNT
};

/* Functions that are wrapped come first, then those that the shim only calls. */
enum function {
#define FUNCTION(library, function, handle, failure) FUNCTION_##function,
#include "libraries/functions.def"
    FUNCTION_WRAPPED_COUNT,
    FUNCTION_BEFORE_HELPERS = FUNCTION_WRAPPED_COUNT - 1,
#define HELPER(library, function, failure) FUNCTION_##function,
#include "libraries/functions.def"
    FUNCTION_COUNT
};

enum { COPY_NONE = 0, COPY_MAX = 31 };

struct copy_description {
    enum library library;
    bool seen;      /* false: ahead of us, so that calls of it do not come by */
    char path[256]; /* as the linker names it, cut if longer; the main program is "" */
};

/* The copy that a call belongs to that carries no known handle. caller: its return address. COPY_NONE: nobody defines the function. */
unsigned copy_for_call(enum function function, const void *caller);

/* The copy that a dlsym stub bound the current call to, once; COPY_NONE: it did not come through a stub. */
unsigned copy_bound_by_stub(enum function function);

/* The function in that copy. NULL: the copy lacks it, or is not loaded any more. */
function_address definition_in_copy(enum function function, unsigned copy);

/*
 * What a wrapper calls, never NULL: the function in that copy; if the library was loaded again since, in its new place; if the copy lacks it (an
 * old version, or a preload that wraps one function), the next definition. Nobody defines it: definition_missing() is told unless it is a helper,
 * and a function is given that returns the failure value and stores NULL where the library would (OUTPUT in functions.def).
 */
function_address definition_or_failure(enum function function, unsigned copy);

/* How many copies of the library are known and loaded. */
extern atomic_uint copies_loaded[LIBRARY_COUNT] __attribute__((visibility("hidden")));
static inline unsigned copy_count(enum library library)
{
    return atomic_load_explicit(&copies_loaded[library], memory_order_relaxed);
}

/* Describes up to `capacity` of the loaded objects that define a library, called or not, seen or not; gives how many were described. */
size_t copies_known(struct copy_description *out, size_t capacity);

const char *name_of_function(enum function function);
enum library library_of_function(enum function function);
const char *name_of_library(enum library library);

/* The number of the function that is wrapped under that name, or FUNCTION_WRAPPED_COUNT. 2 ns for other names. */
enum function wrapped_function_named(const char *name);

/*
 * For the child of a fork that atfork handlers do not see (clone), or of a parent whose threads glibc < 2.32 does not tell of: the linker's list
 * lock may be held for ever there. After fork() itself nobody need call this.
 */
void definitions_forked(bool parent_had_threads);

/* A function that gives the failure value of functions.def, and stores NULL where OUTPUT says. */
function_address failure_of_function(enum function function);

/*
 * For dlsym.c and dlclose.c.
 * copy_of_definition: the copy in which the function is at `address`; COPY_NONE: none that we see.
 * own_wrapper: the function that this object itself exports under that name, or NULL.
 * next_definition: what the global scope behind us, else any loaded object, defines under a name that functions.def need not list; or NULL.
 * copies_unloaded: forgets what is gone.
 */
unsigned copy_of_definition(enum function function, function_address address);
function_address own_wrapper(enum function function);
function_address next_definition(const char *name);
void copies_unloaded(void);

/*
 * Told if they exist, in the thread that found out.
 * definition_missing: a call had no definition. definition_not_seen: dlsym gave the real function because there were no stubs or copies left.
 * modules_unloading, modules_unloaded: around each dlclose, whether it unloads something or not; the latter also says whether it did.
 */
void definition_missing(enum function function) __attribute__((weak, visibility("hidden")));
void definition_not_seen(enum function function) __attribute__((weak, visibility("hidden")));
void modules_unloading(void) __attribute__((weak, visibility("hidden")));
void modules_unloaded(bool something_was_unloaded) __attribute__((weak, visibility("hidden")));

/* Calls of dlclose that unloaded something, so far. */
unsigned long unload_count(void);

#endif
