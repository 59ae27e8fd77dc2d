/* SPDX-License-Identifier: Apache-2.0 */
#include "loaded_objects.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elf_lookup.h"

extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *address, struct dl_find_object *result) __attribute__((weak));
#endif

/* Head of glibc's struct link_namespaces, with which _rtld_global begins, and struct r_scope_elem: the same from 2.4 to 2.41. */
struct search_list {
    const struct link_map *const *objects;
    unsigned count;
};
struct base_namespace {
    const struct link_map *first;
    unsigned count;
    const struct search_list *global;
};

/* Until our constructor the program is starting up, alone, and a sanitizer's dl_iterate_phdr may not work yet. */
static atomic_bool has_started;
static atomic_bool list_lock_may_be_stuck;
static _Atomic(const struct base_namespace *) known_namespace;

__attribute__((constructor)) static void started(void)
{
    atomic_store(&has_started, true);
}

/* It stays false in the child of a process with threads (glibc >= 2.32). */
extern char __libc_single_threaded __attribute__((weak));

void loaded_objects_forked(bool parent_had_threads)
{
    if (parent_had_threads || !&__libc_single_threaded || !__libc_single_threaded)
        atomic_store(&list_lock_may_be_stuck, true);
}

static bool may_lock(void)
{
    return atomic_load(&has_started) && !atomic_load(&list_lock_may_be_stuck);
}

bool object_lookup_is_free(void)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    return _dl_find_object != NULL;
#else
    return false;
#endif
}

const struct link_map *object_at(const void *address, const void **start)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object found;
    if (_dl_find_object && _dl_find_object((void *)address, &found) == 0) {
        *start = found.dlfo_map_start;
        return found.dlfo_link_map;
    }
#endif
    (void)address;
    *start = NULL;
    return NULL;
}

static const char *last_part(const char *path)
{
    const char *part = path;
    for (; *path; ++path)
        part = *path == '/' ? path + 1 : part;
    return part;
}

static const char *name_of(const struct link_map *map)
{
    struct elf_object object;
    return elf_object_read(&object, map) && object.soname ? object.soname : last_part(map->l_name);
}

static const struct base_namespace *find_namespace(const struct loaded_objects *objects)
{
    const struct elf_name name = elf_name("_rtld_global");
    for (size_t i = objects->count; i-- > 0;) {
        struct elf_object object;
        if (!elf_object_read(&object, objects->map[i]))
            continue;
        const ElfW(Sym) *symbol = elf_symbol(&object, &name, NULL);
        if (symbol && symbol->st_size >= sizeof(struct base_namespace))
            return elf_address(&object, symbol);
    }
    return NULL;
}

static bool is_needed(const struct loaded_objects *objects, size_t by, size_t index);

/* Without the linker's own list: start-up objects come first in the order of loading, the last of them being one that the program needs. */
static void guess_global_scope(struct loaded_objects *objects)
{
    bool needed[LOADED_OBJECTS_MAX] = {true};
    objects->global = objects->map;
    objects->global_count = 1;
    for (bool more = true; more;) {
        more = false;
        for (size_t by = 0; by < objects->count; ++by) {
            for (size_t i = 1; needed[by] && i < objects->count; ++i) {
                if (needed[i] || !is_needed(objects, by, i))
                    continue;
                needed[i] = more = true;
                objects->global_count = i + 1 > objects->global_count ? i + 1 : objects->global_count;
            }
        }
    }
}

static void read_global_scope(struct loaded_objects *objects)
{
    enum { SANE = 100000 };
    const struct base_namespace *namespace = atomic_load(&known_namespace);
    if (!namespace) {
        namespace = find_namespace(objects);
        atomic_store(&known_namespace, namespace);
    }
    if (namespace && namespace->first == objects->map[0] && namespace->count >= objects->count &&
        namespace->count < SANE && namespace->global) {
        const struct search_list list = *namespace->global;
        if (list.count > 0 && list.count < SANE && list.objects && list.objects[0] == objects->map[0]) {
            objects->global = list.objects;
            objects->global_count = list.count;
            return;
        }
    }
    guess_global_scope(objects);
}

struct visit {
    void (*visit)(const struct loaded_objects *objects, void *context);
    void *context;
};

/* dlclose unmaps an object before it takes it off the list, and a fork may have come in between. */
static bool is_mapped(const struct link_map *map)
{
    unsigned char resident;
    const int error = errno;
    const uintptr_t page = (uintptr_t)map->l_ld & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
    const bool mapped = mincore((void *)page, 1, &resident) == 0; // NOLINT(performance-no-int-to-ptr)
    errno = error;
    return mapped;
}

static void list_read(struct loaded_objects *objects, const struct visit *visit, bool is_locked)
{
    const bool all_are_mapped = is_locked || _r_debug.r_state != RT_DELETE;
    objects->count = 0;
    objects->ours = NULL;
    for (const struct link_map *map = _r_debug.r_map; map && objects->count < LOADED_OBJECTS_MAX; map = map->l_next) {
        if (!all_are_mapped && !is_mapped(map))
            continue;
        objects->map[objects->count] = map;
        objects->soname[objects->count++] = name_of(map);
        if (map->l_ld == _DYNAMIC)
            objects->ours = map;
    }
    if (objects->count == 0)
        return;
    read_global_scope(objects);
    visit->visit(objects, visit->context);
}

__attribute__((noinline)) static void list_read_on_stack(const struct visit *visit, bool is_locked)
{
    struct loaded_objects objects;
    list_read(&objects, visit, is_locked);
}

/* Threads may have small stacks. Only a signal handler or a forked child finds the list in use. */
static void visit_list(const struct visit *visit, bool is_locked)
{
    static struct loaded_objects objects;
    static atomic_flag in_use = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set_explicit(&in_use, memory_order_acquire)) {
        list_read_on_stack(visit, is_locked);
        return;
    }
    list_read(&objects, visit, is_locked);
    atomic_flag_clear_explicit(&in_use, memory_order_release);
}

static int visit_under_lock(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)info, (void)size;
    visit_list(context, true);
    return 1;
}

void visit_loaded_objects(void (*visit)(const struct loaded_objects *objects, void *context), void *context)
{
    struct visit call = {visit, context};
    if (may_lock())
        dl_iterate_phdr(visit_under_lock, &call);
    else
        visit_list(&call, false);
}

long rank_in_global_scope(const struct loaded_objects *objects, const struct link_map *map)
{
    for (size_t i = 0; i < objects->global_count; ++i) {
        if (objects->global[i] == map)
            return (long)i;
    }
    return -1;
}

static bool has_name(const struct loaded_objects *objects, size_t index, const char *name)
{
    return is_same_text(last_part(name) != name ? objects->map[index]->l_name : objects->soname[index], name);
}

static bool is_needed(const struct loaded_objects *objects, size_t by, size_t index)
{
    struct elf_object object;
    size_t cursor = 0;
    if (!elf_object_read(&object, objects->map[by]))
        return false;
    for (const char *needed; (needed = elf_needed(&object, &cursor));) {
        if (has_name(objects, index, needed))
            return true;
    }
    return false;
}

static size_t index_of_name(const struct loaded_objects *objects, const char *name)
{
    size_t index = 0;
    while (index < objects->count && !has_name(objects, index, name))
        ++index;
    return index;
}

/* Marks the object and everything that needs it, directly or not. */
static void mark_those_who_load(const struct loaded_objects *objects, const struct link_map *map, bool *marked)
{
    for (size_t i = 0; i < objects->count; ++i)
        marked[i] = objects->map[i] == map;
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < objects->count; ++i) {
            struct elf_object object;
            size_t cursor = 0;
            if (marked[i] || !elf_object_read(&object, objects->map[i]))
                continue;
            for (const char *needed; !marked[i] && (needed = elf_needed(&object, &cursor));) {
                const size_t index = index_of_name(objects, needed);
                marked[i] = index < objects->count && marked[index];
            }
            more |= marked[i];
        }
    }
}

const struct link_map *find_in_local_scope(const struct loaded_objects *objects, const struct link_map *map,
                                           bool (*found)(const struct link_map *object, void *context), void *context)
{
    bool loads_map[LOADED_OBJECTS_MAX];
    mark_those_who_load(objects, map, loads_map);
    for (size_t root = 0; root < objects->count; ++root) {
        uint16_t queue[LOADED_OBJECTS_MAX];
        bool queued[LOADED_OBJECTS_MAX] = {false};
        size_t tail = 0;
        if (!loads_map[root])
            continue;
        queue[tail++] = (uint16_t)root;
        queued[root] = true;
        for (size_t head = 0; head < tail; ++head) {
            const struct link_map *candidate = objects->map[queue[head]];
            struct elf_object object;
            size_t cursor = 0;
            if (found(candidate, context))
                return candidate;
            if (!elf_object_read(&object, candidate))
                continue;
            for (const char *needed; (needed = elf_needed(&object, &cursor));) {
                const size_t index = index_of_name(objects, needed);
                if (index == objects->count || queued[index])
                    continue;
                queue[tail++] = (uint16_t)index;
                queued[index] = true;
            }
        }
    }
    return NULL;
}

struct counts {
    unsigned long long loaded, unloaded;
};

static int counts_noted(struct dl_phdr_info *info, size_t size, void *context)
{
    struct counts *counts = context;
    (void)size;
    *counts = (struct counts){info->dlpi_adds, info->dlpi_subs};
    return 1;
}

bool load_counts(unsigned long long *loaded, unsigned long long *unloaded)
{
    struct counts counts = {0, 0};
    if (!may_lock())
        return false;
    dl_iterate_phdr(counts_noted, &counts);
    *loaded = counts.loaded;
    *unloaded = counts.unloaded;
    return true;
}
