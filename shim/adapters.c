/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters.h"

#include <string.h>

#include "owners.h"

#include "injection.h"

enum { ADAPTERS = 24 };

struct adapter {
    char name[32], version[48], problem[256];
    uint64_t told; /* epoch of the trace that knows it as it is */
};

static struct adapter adapters[ADAPTERS];
static uint32_t adapter_count; /* both under kinds_lock, which a forked child finds free */
_Atomic uint64_t adapters_described_in;

static _Atomic bool modules_are_whole;

bool python_modules_are_whole(void)
{
    return atomic_load(&modules_are_whole);
}

static void copied(char *to, size_t size, const char *from)
{
    struct text text = text_in(to, size);
    text_added(&text, from ? from : "");
}

static struct adapter *adapter_named(const char *name)
{
    for (uint32_t i = 0; i < adapter_count; i++)
        if (strcmp(adapters[i].name, name) == 0)
            return &adapters[i];
    return adapter_count < ADAPTERS ? &adapters[adapter_count++] : NULL;
}

/* Copied out one by one: no other lock is taken under this one. */
static bool untold_taken(struct adapter *untold)
{
    bool found = false;
    locked(kinds_lock());
    for (uint32_t i = 0; i < adapter_count && !found; i++) {
        found = adapters[i].told != shim.epoch;
        if (found) {
            adapters[i].told = shim.epoch;
            *untold = adapters[i];
        }
    }
    unlocked(kinds_lock());
    return found;
}

void adapters_described(void)
{
    struct adapter adapter;
    atomic_store(&adapters_described_in, shim.epoch);
    while (untold_taken(&adapter)) {
        struct trace_process *process = record_of(TABLE_PROCESS, 0);
        if (strcmp(adapter.name, "python") == 0 && adapter.version[0])
            atomic_fetch_or(&process->python, PYTHON_ADAPTED);
        uint32_t number = record_claimed(TABLE_LIBRARY, LOSS_MODULES);
        if (!number)
            return;
        struct trace_library *library = record_of(TABLE_LIBRARY, number);
        library->name = string_interned(adapter.name);
        library->path = string_interned(adapter.version);
        library->problem = target_interned(adapter.problem);
        library->is_adapter = 1;
        atomic_store_explicit(&library->ready, 1, memory_order_release);
    }
}

void adapter_known(const char *name, const char *version, const char *problem)
{
    struct adapter now = {0};
    if (strcmp(name, ADAPTER_OF_MODULES) == 0) {
        if (!version && atomic_exchange(&modules_are_whole, false) && has_own_trace())
            ending_threads_awaited();
        atomic_store(&modules_are_whole, version != NULL);
        return;
    }
    copied(now.name, sizeof(now.name), name);
    copied(now.version, sizeof(now.version), version);
    copied(now.problem, sizeof(now.problem), problem);
    bool is_python = strcmp(now.name, "python") == 0;
    if (is_python && now.version[0])
        environment_given_back();
    locked(kinds_lock());
    struct adapter *known = adapter_named(now.name);
    bool is_news = known && (strcmp(known->name, now.name) != 0 || strcmp(known->version, now.version) != 0 ||
                             strcmp(known->problem, now.problem) != 0);
    if (is_news)
        *known = now;
    unlocked(kinds_lock());
    if (!is_news)
        return;
    if (is_python)
        roll_called(now.version[0] ? ROLLCALL_ADAPTED : ROLLCALL_NOT_ADAPTED, 0,
                    now.version[0] ? now.version : now.problem, 0);
    atomic_store(&adapters_described_in, 0);
    if (has_own_trace())
        adapters_described();
}
