/* SPDX-License-Identifier: Apache-2.0 */
#include "definitions.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "elf_lookup.h"
#include "loaded_objects.h"

/*
 * The copies. A reader trusts an entry only while the object that the C library finds at `anchor` is still `map`, beginning at `start`; so that
 * a writer may rewrite an entry whose object is gone. A library that is loaded again gets its old number back: handles keep their copy.
 */
struct copy {
    _Atomic(const struct link_map *) map; /* NULL: not loaded */
    _Atomic(const void *) anchor, start;
    atomic_uint library;
    unsigned long retired_at;
    char path[sizeof((struct copy_description *)0)->path];
};

static struct {
    atomic_flag busy;
    unsigned long retirements;
    struct copy copies[COPY_MAX + 1];
    _Atomic(function_address) definitions[COPY_MAX + 1][FUNCTION_COUNT];
    _Atomic unsigned char stand_ins[COPY_MAX + 1]
                                   [FUNCTION_COUNT]; /* the copy to call instead where a function is lacking */
} table = {.busy = ATOMIC_FLAG_INIT};

atomic_uint copies_loaded[LIBRARY_COUNT];

static bool table_taken(void)
{
    enum { PATIENCE = 1 << 24 };
    for (int i = 0; i < PATIENCE; ++i) {
        if (!atomic_flag_test_and_set_explicit(&table.busy, memory_order_acquire))
            return true;
    }
    return false;
}

static void table_released(void)
{
    atomic_flag_clear_explicit(&table.busy, memory_order_release);
}

static bool copy_is_loaded(unsigned copy)
{
    const struct copy *entry = &table.copies[copy];
    const struct link_map *map = atomic_load_explicit(&entry->map, memory_order_acquire);
    const void *start;
    if (!map || !object_lookup_is_free())
        return map != NULL;
    return object_at(atomic_load_explicit(&entry->anchor, memory_order_relaxed), &start) == map &&
           start == atomic_load_explicit(&entry->start, memory_order_relaxed);
}

function_address definition_in_copy(enum function function, unsigned copy)
{
    if (copy == COPY_NONE || copy > COPY_MAX || !copy_is_loaded(copy))
        return NULL;
    return atomic_load_explicit(&table.definitions[copy][function], memory_order_acquire);
}

static void copy_retired(unsigned copy)
{
    struct copy *entry = &table.copies[copy];
    atomic_fetch_sub(&copies_loaded[atomic_load(&entry->library)], 1);
    atomic_store(&entry->map, NULL);
    entry->retired_at = ++table.retirements;
    for (unsigned function = 0; function < FUNCTION_COUNT; ++function) {
        atomic_store_explicit(&table.definitions[copy][function], NULL, memory_order_release);
        for (unsigned other = 1; other <= COPY_MAX; ++other) {
            if (other == copy || atomic_load(&table.stand_ins[other][function]) == copy)
                atomic_store(&table.stand_ins[other][function], COPY_NONE);
        }
    }
}

static void gone_copies_retired(void)
{
    for (unsigned copy = 1; copy <= COPY_MAX; ++copy) {
        if (atomic_load(&table.copies[copy].map) && !copy_is_loaded(copy))
            copy_retired(copy);
    }
}

static void path_noted(char path[sizeof table.copies->path], const struct link_map *map)
{
    strncpy(path, map->l_name, sizeof table.copies->path - 1);
    path[sizeof table.copies->path - 1] = '\0';
}

/* The number for a copy that has none now: the one it had when it was loaded before, else a fresh one, else the one longest out of use. */
static unsigned number_for(const char *path, enum library library)
{
    unsigned number = COPY_NONE;
    for (unsigned copy = 1; copy <= COPY_MAX; ++copy) {
        const struct copy *entry = &table.copies[copy];
        if (atomic_load(&entry->map))
            continue;
        if (entry->retired_at && atomic_load(&entry->library) == library && strcmp(entry->path, path) == 0)
            return copy;
        if (number == COPY_NONE || entry->retired_at < table.copies[number].retired_at)
            number = copy;
    }
    return number;
}

static void definitions_noted(unsigned copy, const struct elf_object *object, enum library library)
{
    for (unsigned function = 0; function < FUNCTION_COUNT; ++function) {
        if (library_of_function(function) != library)
            continue;
        const struct elf_name name = elf_name(name_of_function(function));
        const ElfW(Sym) *symbol = elf_function(object, &name, NULL);
        if (symbol)
            atomic_store_explicit(&table.definitions[copy][function], (function_address)elf_address(object, symbol),
                                  memory_order_release);
    }
}

static unsigned copy_noted(const struct link_map *map, enum library library)
{
    struct elf_object object;
    char path[sizeof table.copies->path];
    const void *start;

    for (unsigned copy = 1; copy <= COPY_MAX; ++copy) {
        if (atomic_load(&table.copies[copy].map) == map && atomic_load(&table.copies[copy].library) == library)
            return copy;
    }
    path_noted(path, map);
    const unsigned copy = number_for(path, library);
    if (copy == COPY_NONE || !elf_object_read(&object, map))
        return COPY_NONE;
    object_at(map->l_ld, &start);
    struct copy *entry = &table.copies[copy];
    memcpy(entry->path, path, sizeof path);
    atomic_store(&entry->library, library);
    atomic_store(&entry->anchor, (const void *)map->l_ld);
    atomic_store(&entry->start, start);
    definitions_noted(copy, &object, library);
    atomic_store_explicit(&entry->map, map, memory_order_release);
    atomic_fetch_add(&copies_loaded[library], 1);
    return copy;
}

static unsigned copy_of_object(const struct link_map *map, enum library library)
{
    if (!table_taken())
        return COPY_NONE;
    gone_copies_retired();
    const unsigned copy = copy_noted(map, library);
    table_released();
    return copy;
}

/*
 * The choices: which copy the calls of a module belong to. One word each, so that readers need no lock and a lost race loses only an answer that
 * is found again: module (47 bits) | function (9) | guess (1) | copy (5).
 * A guess was made for a module that does not import the function (a tail call, a function pointer): it stands until something is loaded.
 */
enum {
    CHOICES = 1024,
    CHOICE_PROBES = 4,
    COPY_BITS = 5,
    GUESS_BIT = 1 << COPY_BITS,
    KEY_SHIFT = COPY_BITS + 1,
    FUNCTION_BITS = 9
};
_Static_assert(COPY_MAX < 1 << COPY_BITS && FUNCTION_COUNT <= 1 << FUNCTION_BITS, "a choice fits into a word");

static _Atomic uint64_t choices[CHOICES];
static _Atomic unsigned long long loads_at_last_guess;

static uint64_t choice_key(enum function function, uintptr_t module)
{
    return (uint64_t)module << FUNCTION_BITS | function;
}

static _Atomic uint64_t *choice_place(uint64_t key, unsigned probe)
{
    return &choices[((key * 0x9e3779b97f4a7c15u >> 32) + probe) % CHOICES];
}

static void choices_forgotten(void)
{
    for (unsigned i = 0; i < CHOICES; ++i)
        atomic_store_explicit(&choices[i], 0, memory_order_relaxed);
}

static bool guess_still_stands(void)
{
    unsigned long long loaded, unloaded;
    return !load_counts(&loaded, &unloaded) || loaded == atomic_load(&loads_at_last_guess);
}

static unsigned choice_made(uint64_t key)
{
    for (unsigned probe = 0; probe < CHOICE_PROBES; ++probe) {
        const uint64_t choice = atomic_load_explicit(choice_place(key, probe), memory_order_relaxed);
        if (choice >> KEY_SHIFT != key)
            continue;
        const unsigned copy = choice & COPY_MAX;
        if (!copy_is_loaded(copy) || (choice & GUESS_BIT && !guess_still_stands()))
            return COPY_NONE;
        return copy;
    }
    return COPY_NONE;
}

static void choice_noted(uint64_t key, unsigned copy, bool guess)
{
    const uint64_t choice = key << KEY_SHIFT | (guess ? GUESS_BIT : 0) | copy;
    _Atomic uint64_t *place = choice_place(key, 0);
    for (unsigned probe = 0; probe < CHOICE_PROBES; ++probe) {
        const uint64_t there = atomic_load_explicit(choice_place(key, probe), memory_order_relaxed);
        if (there == 0 || there >> KEY_SHIFT == key) {
            place = choice_place(key, probe);
            break;
        }
    }
    atomic_store_explicit(place, choice, memory_order_relaxed);
}

/* The search. */
enum { DEFINERS_MAX = COPY_MAX };

struct search {
    struct elf_name name;
    enum library library;
    const void *caller;            /* in: return address, or NULL */
    const struct link_map *module; /* in: the object it is in, if known already */
    function_address target;       /* in: the definition that is asked about, or NULL */
    bool is_helper;                /* in: the shim itself calls it */
    bool guess;                    /* out: the module does not import the function */
    unsigned copy;                 /* out */
    size_t count;
    const struct link_map *definer[DEFINERS_MAX];
    long rank[DEFINERS_MAX]; /* in the global scope, or -1 */
};

static bool is_a_shim(const struct loaded_objects *objects, const struct link_map *map)
{
    const char *own = NULL, *its = NULL;
    for (size_t i = 0; i < objects->count; ++i) {
        own = objects->map[i] == objects->ours ? objects->soname[i] : own;
        its = objects->map[i] == map ? objects->soname[i] : its;
    }
    return map == objects->ours || (own && its && *own && is_same_text(own, its));
}

static bool is_ahead_of_us(const struct loaded_objects *objects, long rank)
{
    return rank >= 0 && rank < rank_in_global_scope(objects, objects->ours);
}

static bool defines(const struct link_map *map, const struct elf_name *name, const char *version)
{
    struct elf_object object;
    return elf_object_read(&object, map) && elf_function(&object, name, version);
}

static void definers_collected(const struct loaded_objects *objects, struct search *search)
{
    for (size_t i = 0; i < objects->count && search->count < DEFINERS_MAX; ++i) {
        const struct link_map *map = objects->map[i];
        if (!defines(map, &search->name, NULL) || is_a_shim(objects, map))
            continue;
        const long rank = rank_in_global_scope(objects, map);
        if (is_ahead_of_us(objects, rank))
            continue;
        search->definer[search->count] = map;
        search->rank[search->count++] = rank;
    }
}

static bool is_a_definer(const struct link_map *map, void *context)
{
    const struct search *search = context;
    for (size_t i = 0; i < search->count; ++i) {
        if (search->definer[i] == map)
            return true;
    }
    return false;
}

/* A module that wants one version of the function is not bound to a definition of another one. */
static void other_versions_dropped(struct search *search, const char *version)
{
    size_t kept = 0;
    for (size_t i = 0; version && i < search->count; ++i) {
        if (!defines(search->definer[i], &search->name, version))
            continue;
        search->definer[kept] = search->definer[i];
        search->rank[kept++] = search->rank[i];
    }
    search->count = kept ? kept : search->count;
}

static const struct link_map *first_in_global_scope(const struct search *search)
{
    const struct link_map *first = NULL;
    long lowest = -1;
    for (size_t i = 0; i < search->count; ++i) {
        if (search->rank[i] < 0 || (first && search->rank[i] > lowest))
            continue;
        first = search->definer[i];
        lowest = search->rank[i];
    }
    return first;
}

/* Nobody can tell who jumped to us through the module on the stack; but if all who import the function are bound to one copy, it was that one. */
static const struct link_map *bound_by_all_importers(const struct loaded_objects *objects, struct search *search)
{
    const struct link_map *common = NULL;
    for (size_t i = 0; i < objects->count; ++i) {
        struct elf_object object;
        const char *version;
        if (objects->map[i] == objects->ours || !elf_object_read(&object, objects->map[i]) ||
            !elf_imports(&object, search->name.text, &version))
            continue;
        const struct link_map *bound = find_in_local_scope(objects, objects->map[i], is_a_definer, search);
        if (bound && common && bound != common)
            return NULL;
        common = bound ? bound : common;
    }
    return common;
}

static const struct link_map *definer_for(const struct loaded_objects *objects, struct search *search)
{
    const struct link_map *bound = first_in_global_scope(search);
    if (bound || search->count <= 1)
        return bound ? bound : search->count ? search->definer[0] : NULL;
    if (search->module)
        bound = find_in_local_scope(objects, search->module, is_a_definer, search);
    if (!bound)
        bound = bound_by_all_importers(objects, search);
    return bound ? bound : search->definer[0];
}

/* Without a free look-up: the object that begins next below the address. */
static const struct link_map *object_around(const struct loaded_objects *objects, const void *address)
{
    const struct link_map *nearest = NULL;
    for (size_t i = 0; i < objects->count; ++i) {
        const ElfW(Addr) base = objects->map[i]->l_addr;
        if (base <= (ElfW(Addr))address && (!nearest || base > nearest->l_addr))
            nearest = objects->map[i];
    }
    return nearest;
}

static void copy_for_call_searched(const struct loaded_objects *objects, void *context)
{
    struct search *search = context;
    struct elf_object module;
    const char *version = NULL;

    definers_collected(objects, search);
    if (search->caller && !object_lookup_is_free())
        search->module = object_around(objects, search->caller);
    search->guess = !search->module || !elf_object_read(&module, search->module) ||
                    !elf_imports(&module, search->name.text, &version);
    for (size_t i = 0; i < search->count; ++i)
        copy_of_object(search->definer[i], search->library);
    other_versions_dropped(search, version);
    const struct link_map *definer = definer_for(objects, search);
    search->copy = definer ? copy_of_object(definer, search->library) : COPY_NONE;
}

static void copy_of_target_searched(const struct loaded_objects *objects, void *context)
{
    struct search *search = context;
    struct elf_object object;
    const void *start;
    const void *address = (const void *)search->target;
    const struct link_map *map = object_lookup_is_free() ? object_at(address, &start) : object_around(objects, address);

    if (!map || is_a_shim(objects, map) || is_ahead_of_us(objects, rank_in_global_scope(objects, map)) ||
        !elf_object_read(&object, map))
        return;
    const ElfW(Sym) *symbol = elf_function(&object, &search->name, NULL);
    if (symbol && elf_address(&object, symbol) == address)
        search->copy = copy_of_object(map, search->library);
}

static struct search search_for(enum function function)
{
    return (struct search){.name = elf_name(name_of_function(function)), .library = library_of_function(function)};
}

static void guesses_renewed(void)
{
    unsigned long long loaded, unloaded;
    if (load_counts(&loaded, &unloaded) && atomic_exchange(&loads_at_last_guess, loaded) != loaded)
        choices_forgotten();
}

static unsigned copy_for_new_caller(enum function function, const void *caller, const struct link_map *module,
                                    uint64_t key)
{
    struct search search = search_for(function);
    search.caller = caller;
    search.module = module;
    guesses_renewed();
    visit_loaded_objects(copy_for_call_searched, &search);
    if (search.copy != COPY_NONE)
        choice_noted(key, search.copy, search.guess);
    return search.copy;
}

unsigned copy_for_call(enum function function, const void *caller)
{
    const void *start;
    const char *call = (const char *)caller - 1;
    const struct link_map *module = object_at(call, &start);
    const uintptr_t module_key = module || object_lookup_is_free() ? (uintptr_t)module : (uintptr_t)call;
    const uint64_t key = choice_key(function, module_key ? module_key : 1);
    const unsigned copy = choice_made(key);
    return copy != COPY_NONE ? copy : copy_for_new_caller(function, call, module, key);
}

unsigned copy_of_definition(enum function function, function_address address)
{
    for (unsigned copy = 1; copy <= COPY_MAX; ++copy) {
        if (atomic_load_explicit(&table.definitions[copy][function], memory_order_acquire) == address &&
            copy_is_loaded(copy))
            return copy;
    }
    struct search search = search_for(function);
    search.target = address;
    visit_loaded_objects(copy_of_target_searched, &search);
    return search.copy;
}

struct by_name {
    struct elf_name name;
    function_address address;
};

static bool defined_by(const struct link_map *map, struct by_name *wanted)
{
    struct elf_object object;
    const ElfW(Sym) *symbol = elf_object_read(&object, map) ? elf_function(&object, &wanted->name, NULL) : NULL;
    if (symbol)
        wanted->address = (function_address)elf_address(&object, symbol);
    return symbol != NULL;
}

static void own_definition_read(const struct loaded_objects *objects, void *context)
{
    if (objects->ours)
        defined_by(objects->ours, context);
}

function_address own_wrapper(enum function function)
{
    static _Atomic(function_address) wrappers[FUNCTION_COUNT];
    function_address wrapper = atomic_load_explicit(&wrappers[function], memory_order_relaxed);
    if (!wrapper) {
        struct by_name wanted = {.name = elf_name(name_of_function(function))};
        visit_loaded_objects(own_definition_read, &wanted);
        wrapper = wanted.address;
        atomic_store_explicit(&wrappers[function], wrapper, memory_order_relaxed);
    }
    return wrapper;
}

static void next_definition_read(const struct loaded_objects *objects, void *context)
{
    for (long i = rank_in_global_scope(objects, objects->ours) + 1; i < (long)objects->global_count; ++i) {
        if (!is_a_shim(objects, objects->global[i]) && defined_by(objects->global[i], context))
            return;
    }
    for (size_t i = 0; i < objects->count; ++i) {
        if (!is_a_shim(objects, objects->map[i]) && rank_in_global_scope(objects, objects->map[i]) < 0 &&
            defined_by(objects->map[i], context))
            return;
    }
}

function_address next_definition(const char *name)
{
    struct by_name wanted = {.name = elf_name(name)};
    visit_loaded_objects(next_definition_read, &wanted);
    return wanted.address;
}

/*
 * Whom the linker would have bound a function to that the copy lacks. Our own calls are more careful than the program's: a handle goes to another
 * object only if both are in the global scope, as with a preload that wraps a few functions of the library behind it.
 */
static void stand_in_searched(const struct loaded_objects *objects, void *context)
{
    struct search *search = context;
    definers_collected(objects, search);
    for (size_t i = 0; i < search->count; ++i)
        copy_of_object(search->definer[i], search->library);
    const struct link_map *definer = first_in_global_scope(search);
    if (!search->is_helper && !definer)
        definer = definer_for(objects, search);
    if (search->is_helper && rank_in_global_scope(objects, search->module) < 0)
        definer = NULL;
    search->copy = definer ? copy_of_object(definer, search->library) : COPY_NONE;
}

/* Finds a library in its new place too. A helper that nobody defines stands in for itself, so that it is not searched for again. */
static function_address definition_searched(enum function function, unsigned copy)
{
    struct search search = search_for(function);
    search.module = atomic_load(&table.copies[copy].map);
    search.is_helper = function >= FUNCTION_WRAPPED_COUNT;
    visit_loaded_objects(stand_in_searched, &search);
    function_address definition = definition_in_copy(function, copy);
    if (definition || !copy_is_loaded(copy))
        return definition;
    const unsigned stand_in = search.copy == COPY_NONE && search.is_helper ? copy : search.copy;
    atomic_store_explicit(&table.stand_ins[copy][function], (unsigned char)stand_in, memory_order_relaxed);
    return definition_in_copy(function, stand_in);
}

static function_address definition_elsewhere(enum function function, unsigned copy)
{
    const unsigned stand_in = atomic_load_explicit(&table.stand_ins[copy][function], memory_order_relaxed);
    const function_address definition = definition_in_copy(function, stand_in);
    return definition || (stand_in == copy && copy_is_loaded(copy)) ? definition : definition_searched(function, copy);
}

function_address definition_or_failure(enum function function, unsigned copy)
{
    function_address definition = definition_in_copy(function, copy);
    if (!definition && copy != COPY_NONE && copy <= COPY_MAX)
        definition = definition_elsewhere(function, copy);
    if (definition)
        return definition;
    if (definition_missing && function < FUNCTION_WRAPPED_COUNT)
        definition_missing(function);
    return failure_of_function(function);
}

struct description {
    struct copy_description *out;
    size_t capacity, count;
};

static enum function first_function_of(enum library library)
{
    unsigned function = 0;
    while (library_of_function(function) != library)
        ++function;
    return (enum function)function;
}

static void objects_described(const struct loaded_objects *objects, void *context)
{
    struct description *description = context;
    for (unsigned library = 0; library < LIBRARY_COUNT; ++library) {
        const struct elf_name name = elf_name(name_of_function(first_function_of((enum library)library)));
        for (size_t i = 0; i < objects->count && description->count < description->capacity; ++i) {
            const struct link_map *map = objects->map[i];
            if (!defines(map, &name, NULL) || is_a_shim(objects, map))
                continue;
            struct copy_description *copy = &description->out[description->count++];
            copy->library = (enum library)library;
            copy->seen = !is_ahead_of_us(objects, rank_in_global_scope(objects, map));
            path_noted(copy->path, map);
        }
    }
}

size_t copies_known(struct copy_description *out, size_t capacity)
{
    struct description description = {.out = out, .capacity = capacity};
    visit_loaded_objects(objects_described, &description);
    return description.count;
}

/* Without a free look-up only the list tells what is gone. */
static void copies_compared(const struct loaded_objects *objects, void *context)
{
    (void)context;
    for (unsigned copy = 1; copy <= COPY_MAX; ++copy) {
        const struct link_map *map = atomic_load(&table.copies[copy].map);
        bool there = !map;
        for (size_t i = 0; i < objects->count && !there; ++i)
            there = objects->map[i] == map && (const void *)map->l_ld == atomic_load(&table.copies[copy].anchor);
        if (!there)
            copy_retired(copy);
    }
}

static void gone_copies_retired_by_list(const struct loaded_objects *objects, void *context)
{
    if (!table_taken())
        return;
    copies_compared(objects, context);
    table_released();
}

void copies_unloaded(void)
{
    if (!object_lookup_is_free()) {
        visit_loaded_objects(gone_copies_retired_by_list, NULL);
    } else if (table_taken()) {
        gone_copies_retired();
        table_released();
    }
    choices_forgotten();
}

void definitions_forked(bool parent_had_threads)
{
    loaded_objects_forked(parent_had_threads);
}

/* At once, not with the first event: the child may call dlclose before, and other threads may use the table after. */
static void forked(void)
{
    loaded_objects_forked(false);
    table_released();
}

__attribute__((constructor)) static void forks_watched(void)
{
    pthread_atfork(NULL, NULL, forked);
}
