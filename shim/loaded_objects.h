/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects that are loaded, and the order in which the dynamic linker would search them for somebody.
 *
 *   scope of a start-up object = global scope
 *   scope of a dlopened object = global scope, then what it was loaded with: its root and, breadth first, all that the root needs
 *
 * The list is good only inside the visit that it is handed to.
 */
#ifndef UNCLOSED_SHIM_LOADED_OBJECTS_H
#define UNCLOSED_SHIM_LOADED_OBJECTS_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOADED_OBJECTS_MAX = 1024 };

struct loaded_objects {
    size_t count;
    const struct link_map *map[LOADED_OBJECTS_MAX]; /* in the order of loading */
    const char *soname[LOADED_OBJECTS_MAX];         /* DT_SONAME, else the last part of the path */
    const struct link_map *ours;                    /* the object that this code is in */
    const struct link_map *const *global;           /* the global scope, in the order of search */
    size_t global_count;
};

/*
 * Calls visit once while nothing can be loaded or unloaded: under the lock of the linker's list, which dlopen does not hold while constructors
 * run; without it before our constructor, and in the child of a process with threads, where it may be held for ever. There, if the process forked in the middle of
 * a dlclose, objects that are half gone are left out (mincore). visit must not call anything of dlfcn.h.
 */
void visit_loaded_objects(void (*visit)(const struct loaded_objects *objects, void *context), void *context);

/* Rank of the object in the global scope, or -1. */
long rank_in_global_scope(const struct loaded_objects *objects, const struct link_map *map);

/*
 * Goes through the objects that `map` was loaded with in the order of search, until found() says true; gives that object or NULL. An object may be
 * asked about more than once.
 */
const struct link_map *find_in_local_scope(const struct loaded_objects *objects, const struct link_map *map,
                                           bool (*found)(const struct link_map *object, void *context), void *context);

/*
 * The loaded object that contains an address, and where it begins; NULL: none, or the C library cannot tell without a lock
 * (glibc < 2.35: then object_lookup_is_free() is false). Lock-free, async-signal-safe, 2 ns. *map may be gone when another thread unloads it:
 * compare it, do not read it.
 */
const struct link_map *object_at(const void *address, const void **start);
bool object_lookup_is_free(void);

/* Counts of objects ever loaded and unloaded; 10 ns, takes the lock of the linker's list. False in the child of a process with threads. */
bool load_counts(unsigned long long *loaded, unsigned long long *unloaded);

/* Tells, in the child, that there was a fork. Whether the parent had threads is found out here too, where the C library knows. */
void loaded_objects_forked(bool parent_had_threads);

#endif
