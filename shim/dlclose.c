/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "definitions.h"
#include "loaded_objects.h"

typedef int (*dlclose_function)(void *handle);

int dlclose(void *handle) __attribute__((visibility("default")));

static _Atomic(dlclose_function) real_dlclose;
static atomic_ulong unloads;

unsigned long unload_count(void)
{
    return atomic_load(&unloads);
}

__attribute__((constructor)) static void real_dlclose_found(void)
{
    if (!atomic_load(&real_dlclose))
        atomic_store(&real_dlclose, (dlclose_function)next_definition("dlclose"));
}

static bool something_unloaded_since(bool counted, unsigned long long unloaded_before)
{
    unsigned long long loaded, unloaded;
    return !counted || !load_counts(&loaded, &unloaded) || unloaded != unloaded_before;
}

/* Unlike dlopen and dlsym, dlclose does not ask who calls. */
int dlclose(void *handle)
{
    unsigned long long loaded, unloaded = 0;
    real_dlclose_found();
    const dlclose_function real = atomic_load(&real_dlclose);
    if (!real)
        return -1;
    if (modules_unloading)
        modules_unloading();
    const bool counted = load_counts(&loaded, &unloaded);
    const int result = real(handle);
    const int error = errno;
    const bool something_was_unloaded = something_unloaded_since(counted, unloaded);
    if (something_was_unloaded) {
        copies_unloaded();
        atomic_fetch_add(&unloads, 1);
    }
    if (modules_unloaded)
        modules_unloaded(something_was_unloaded);
    errno = error;
    return result;
}
