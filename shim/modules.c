/* SPDX-License-Identifier: Apache-2.0 */
/* Which loaded object an address lies in, as a record that outlives dlclose: path, build-id, load bias. */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#include "raw_syscall.h"
#include "shim.h"

struct found_object {
    uintptr_t start, end;
    uint64_t bias;
    const char *path;
    const ElfW(Phdr) * headers;
    unsigned header_count;
};

/* What module_of said before. Entries are written once, under the lock; void after any dlclose and after fork. */
enum { KNOWN_MODULES = 512 };
static struct known_module {
    _Atomic uintptr_t start;
    uintptr_t end;
    uint64_t bias;
    uint32_t module;
    uint64_t epoch, unload_epoch;
} known[KNOWN_MODULES];

#if defined(DLFO_STRUCT_HAS_EH_DBASE)
extern int _dl_find_object(void *, struct dl_find_object *) __attribute__((weak));

static bool object_found_lock_free(uintptr_t address, struct found_object *object)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) != 0)
        return false;
    const ElfW(Ehdr) *elf = found.dlfo_map_start;
    object->start = (uintptr_t)found.dlfo_map_start;
    object->end = (uintptr_t)found.dlfo_map_end;
    object->bias = found.dlfo_link_map->l_addr;
    object->path = found.dlfo_link_map->l_name;
    object->headers = NULL;
    object->header_count = 0;
    if (memcmp(elf->e_ident, ELFMAG, SELFMAG) == 0) {
        object->headers = (const ElfW(Phdr) *)((const char *)elf + elf->e_phoff);
        object->header_count = elf->e_phnum;
    }
    return true;
}
#define CAN_FIND_LOCK_FREE (_dl_find_object != NULL)
#else
#define CAN_FIND_LOCK_FREE 0
static bool object_found_lock_free(uintptr_t address, struct found_object *object)
{
    (void)address;
    (void)object;
    return false;
}
#endif

struct search {
    uintptr_t address;
    struct found_object *object;
};

static int object_compared(struct dl_phdr_info *info, size_t size, void *search_)
{
    (void)size;
    struct search *search = search_;
    uintptr_t start = UINTPTR_MAX, end = 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD)
            continue;
        if (info->dlpi_addr + header->p_vaddr < start)
            start = info->dlpi_addr + header->p_vaddr;
        if (info->dlpi_addr + header->p_vaddr + header->p_memsz > end)
            end = info->dlpi_addr + header->p_vaddr + header->p_memsz;
    }
    if (search->address < start || search->address >= end)
        return 0;
    *search->object =
        (struct found_object){start, end, info->dlpi_addr, info->dlpi_name, info->dlpi_phdr, info->dlpi_phnum};
    return 1;
}

static bool object_found(uintptr_t address, struct found_object *object)
{
    if (CAN_FIND_LOCK_FREE)
        return object_found_lock_free(address, object);
    struct search search = {address, object};
    return dl_iterate_phdr(object_compared, &search) == 1;
}

static uint32_t build_id_copied(const struct found_object *object, uint8_t *build_id)
{
    for (unsigned i = 0; i < object->header_count; i++) {
        const ElfW(Phdr) *header = &object->headers[i];
        if (header->p_type != PT_NOTE)
            continue;
        const char *at = (const char *)(object->bias + header->p_vaddr), *end = at + header->p_memsz;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *note = (const void *)at;
            const char *name = at + sizeof(*note);
            const char *content = name + ((note->n_namesz + 3) & ~3u);
            at = content + ((note->n_descsz + 3) & ~3u);
            if (at > end || note->n_type != NT_GNU_BUILD_ID || note->n_namesz != 4 || memcmp(name, "GNU", 4) != 0)
                continue;
            uint32_t size = note->n_descsz < TRACE_BUILD_ID_MAX ? note->n_descsz : TRACE_BUILD_ID_MAX;
            memcpy(build_id, content, size);
            return size;
        }
    }
    return 0;
}

static uint32_t path_interned(const struct found_object *object)
{
    if (object->path && object->path[0] == '/')
        return string_interned(object->path);
    if (object->path && object->path[0])
        return string_interned(strncmp(object->path, "linux-vdso", 10) == 0 ? "[vdso]" : object->path);
    const struct trace_process *process = record_of(TABLE_PROCESS, 0);
    return process->executable;
}

/* Under intern_locks[TABLE_MODULE]. */
static uint32_t module_added(const struct found_object *object)
{
    struct trace_module wanted = {.bias = object->bias, .start = object->start, .end = object->end};
    wanted.path = path_interned(object);
    wanted.build_id_size = build_id_copied(object, wanted.build_id);
    uint64_t used = atomic_load(&shim.trace.header->tables[TABLE_MODULE].used);
    for (uint32_t number = 1; number < used; number++) {
        const struct trace_module *module = record_of(TABLE_MODULE, number);
        if (module->bias == wanted.bias && module->path == wanted.path && module->start == wanted.start &&
            module->build_id_size == wanted.build_id_size &&
            memcmp(module->build_id, wanted.build_id, sizeof(wanted.build_id)) == 0)
            return number;
    }
    uint32_t number = record_claimed(TABLE_MODULE, LOSS_MODULES);
    if (number) {
        struct trace_module *module = record_of(TABLE_MODULE, number);
        memcpy((char *)module + sizeof(module->ready), (char *)&wanted + sizeof(wanted.ready),
               sizeof(wanted) - sizeof(wanted.ready));
        atomic_store_explicit(&module->ready, 1, memory_order_release);
    }
    return number;
}

static struct known_module *known_entry(uintptr_t start)
{
    return &known[hash_mixed(start >> 12, 0) % KNOWN_MODULES];
}

uint32_t module_of(uintptr_t address, uint64_t *bias)
{
    struct found_object object;
    if (!object_found(address, &object))
        return 0;
    *bias = object.bias;
    struct known_module *entry = known_entry(object.start);
    uint64_t unload_epoch = atomic_load(&shim.unload_epoch);
    spinlock *lock = &shim.intern_locks[TABLE_MODULE];
    locked(lock);
    uint32_t number = 0;
    if (entry->start == object.start && entry->epoch == shim.epoch && entry->unload_epoch == unload_epoch)
        number = entry->module;
    if (!number) {
        number = module_added(&object);
        *entry = (struct known_module){object.start, object.end, object.bias, number, shim.epoch, unload_epoch};
    }
    unlocked(lock);
    return number;
}

bool object_spanned(uintptr_t address, uintptr_t *start, uintptr_t *end, const char **path)
{
    struct found_object object;
    if (!object_found(address, &object))
        return false;
    *start = object.start;
    *end = object.end;
    *path = object.path ? object.path : "";
    return true;
}
