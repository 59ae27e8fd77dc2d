/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trace as a file: made once at its full size but sparse, mapped, its fd closed. Storage is asked for granule by
 * granule before anything is written there: MADV_POPULATE_WRITE answers a full disk with an error where a plain store
 * would raise SIGBUS, and goes on working after setuid, chroot, closefrom and unlink. Kernels before 5.14 do not have
 * it: fallocate() by path then, for as long as the path can be opened.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "helper.h"
#include "raw_syscall.h"
#include "shim.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* How the space is shared out: fixed numbers of records, then the rest in parts of a thousand. */
static const struct {
    uint32_t record_size;
    uint32_t fixed; /* records, or 0 … */
    uint32_t share; /* … and per mille of the file */
} plan[TABLE_COUNT] = {
    [TABLE_PROCESS] = {sizeof(struct trace_process), 1, 0},
    [TABLE_STRING] = {8, 0, 80},
    [TABLE_KIND] = {sizeof(struct trace_kind), KIND_LIMIT - KIND_DECLARED + 1, 0},
    [TABLE_MODULE] = {sizeof(struct trace_module), 2048, 0},
    [TABLE_FRAME] = {sizeof(struct trace_frame), 0, 70},
    [TABLE_CODE] = {sizeof(struct trace_code), 0, 20},
    [TABLE_STACK] = {sizeof(struct trace_stack), 0, 120},
    [TABLE_SITE] = {sizeof(struct trace_site), 0, 120},
    [TABLE_HANDLE] = {sizeof(struct trace_handle), 0, 380},
    [TABLE_CLOSED] = {sizeof(struct trace_closed), 2 * TRACE_RING, 0},
    [TABLE_FACT] = {sizeof(struct trace_fact), 0, 30},
    [TABLE_OWNER] = {sizeof(struct trace_owner), 0, 30},
    [TABLE_DETAIL] = {sizeof(struct trace_detail), 0, 40},
    [TABLE_INCIDENT] = {sizeof(struct trace_incident), 512, 0},
    [TABLE_HOLDER] = {sizeof(struct trace_holder), 4096, 0},
    [TABLE_TIMELINE] = {sizeof(struct trace_timeline), 1, 0},
    [TABLE_LIBRARY] = {sizeof(struct trace_library), 64, 0},
    [TABLE_INDEX_STRING] = {4, 0, 6},
    [TABLE_INDEX_FRAME] = {4, 0, 18},
    [TABLE_INDEX_STACK] = {4, 0, 48},
    [TABLE_INDEX_SITE] = {4, 0, 2},
    [TABLE_INDEX_HANDLE] = {4, 0, 12},
    [TABLE_INDEX_CODE] = {4, 0, 4},
    [TABLE_INDEX_FACT] = {4, 0, 2},
    [TABLE_INDEX_CLOSED] = {4, 4 * TRACE_RING, 0},
};

enum { SMALLEST_TRACE = 4 << 20 };

static uint64_t rounded_up(uint64_t size, uint64_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static uint64_t power_of_two_below(uint64_t number)
{
    return number ? 1ull << (63 - __builtin_clzll(number)) : 0;
}

/* Fills header->tables. The shares sum up to less than the file leaves after what is fixed. */
static void tables_planned(struct trace_header *header, uint64_t size)
{
    uint64_t map_size = size / TRACE_GRANULE;
    uint64_t offset = rounded_up(sizeof(struct trace_header), 4096);
    header->granule_map = offset;
    offset = rounded_up(offset + map_size, TRACE_GRANULE);
    uint64_t fixed = offset;
    for (int id = 0; id < TABLE_COUNT; id++)
        fixed += rounded_up((uint64_t)plan[id].fixed * plan[id].record_size + 4096, TRACE_GRANULE);
    for (int id = 0; id < TABLE_COUNT; id++) {
        struct trace_table *table = &header->tables[id];
        table->id = (uint32_t)id;
        table->record_size = plan[id].record_size;
        table->offset = offset;
        table->capacity = plan[id].fixed;
        if (plan[id].share)
            table->capacity = (size - fixed) / 1000 * plan[id].share / plan[id].record_size;
        if (id >= TABLE_INDEX_STRING)
            table->capacity = power_of_two_below(table->capacity);
        if (table->capacity > UINT32_MAX)
            table->capacity = UINT32_MAX;
        atomic_init(&table->used, id == TABLE_CLOSED ? table->capacity : 1); /* record 0 means "none" */
        offset += rounded_up(table->capacity * table->record_size, 4096);
    }
}

static int granules_populated(const struct trace_map *map, uint64_t first, uint64_t count)
{
    uint64_t offset = first * TRACE_GRANULE;
    uint64_t size = count * TRACE_GRANULE;
    if (offset + size > map->size)
        size = map->size - offset;
    long result = raw_syscall3(SYS_madvise, (long)(map->base + offset), (long)size, MADV_POPULATE_WRITE);
    if (result == -EINVAL) { /* kernel before 5.14 */
        int fd = (int)raw_syscall4(SYS_openat, AT_FDCWD, (long)shim.trace_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
        if (fd < 0)
            return -fd;
        result = raw_syscall4(SYS_fallocate, fd, 0, (long)offset, (long)size);
        raw_syscall1(SYS_close, fd);
    }
    if (result < 0)
        return (int)-result;
    for (uint64_t granule = first; granule < first + count; granule++)
        atomic_store_explicit(&map->granules[granule], 1, memory_order_release);
    return 0;
}

bool storage_added(uint64_t offset, uint64_t size)
{
    if (offset + size > shim.trace.size)
        return false;
    for (uint64_t granule = offset / TRACE_GRANULE; granule <= (offset + size - 1) / TRACE_GRANULE; granule++) {
        if (atomic_load_explicit(&shim.trace.granules[granule], memory_order_relaxed))
            continue;
        if (atomic_load_explicit(&shim.sealed, memory_order_relaxed)) {
            lost(LOSS_SEALED);
            return false;
        }
        int error = granules_populated(&shim.trace, granule, 1);
        if (error) {
            static _Atomic uint32_t told;
            lost(LOSS_SPACE);
            if (atomic_load(shim.life) == LIFE_ON && !atomic_exchange(&told, 1))
                said("the trace cannot grow, what is opened from now on may be missing in the report:", shim.trace_path,
                     error == EFAULT ? ENOSPC : error);
            return false;
        }
    }
    return true;
}

/* Half a MiB of each table that grows, 16 of the handles, and the ring and indexes, where any place may come next: a sealed server
 * goes on being recorded for long. */
void storage_reserved(void)
{
    for (int id = 0; id < TABLE_COUNT; id++) {
        struct trace_table *table = &shim.trace.header->tables[id];
        uint64_t size = table->capacity * table->record_size;
        uint64_t from = atomic_load(&table->used) * table->record_size;
        uint64_t most = id == TABLE_HANDLE ? 16u << 20 : 512u << 10;
        if (id >= TABLE_INDEX_STRING || id == TABLE_CLOSED) {
            from = 0;
            most = size;
        }
        if (from < size)
            storage_added(table->offset + from, size - from < most ? size - from : most);
    }
}

/* Storage first: every record below `used` can be read without SIGBUS. */
uint32_t record_claimed(enum trace_table_id id, enum trace_loss loss)
{
    struct trace_table *table = &shim.trace.header->tables[id];
    uint64_t number = atomic_load_explicit(&table->used, memory_order_relaxed);
    while (number < table->capacity && storage_added(table->offset + number * table->record_size, table->record_size))
        if (atomic_compare_exchange_weak_explicit(&table->used, &number, number + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return (uint32_t)number;
    lost(loss);
    return 0;
}

/* RLIMIT_FSIZE would kill by SIGXFSZ, RLIMIT_AS would starve the program: stay well below both. */
static uint64_t size_within_limits(uint64_t size)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < size)
        size = limit.rlim_cur;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur / 16 < size)
        size = limit.rlim_cur / 16;
    return size / TRACE_GRANULE * TRACE_GRANULE;
}

struct file_request {
    const char *path;
    uint64_t size;
    unsigned mode;
    int error;
    unsigned char *base;
    const char *what;
};

/* Creates and maps the file; leaves no fd behind. Raw system calls: nobody else's open() or close() is reached. */
static void file_mapped(struct file_request *request)
{
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, (long)request->path,
                           O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, request->mode);
    request->what = "cannot create";
    request->error = fd < 0 ? (int)-fd : 0;
    if (request->error)
        return;
    request->what = "cannot reserve the size of";
    long result = raw_syscall2(SYS_ftruncate, fd, (long)request->size);
    if (result == 0) {
        request->what = "cannot map";
        result = raw_syscall6(SYS_mmap, 0, (long)request->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (result > 0 || result < -4095) {
            request->base = (unsigned char *)result;
            result = 0;
            /* No read-ahead into holes: on ext4 it made each first touch cost 4 ms instead of 20 us. */
            raw_syscall3(SYS_madvise, (long)request->base, (long)request->size, MADV_RANDOM);
        }
    }
    raw_syscall1(SYS_close, fd);
    request->error = (int)-result;
    if (request->error)
        raw_syscall3(SYS_unlinkat, AT_FDCWD, (long)request->path, 0);
}

/* The program has used up its file descriptors. A helper that shares our memory but has a descriptor table of its own
 * closes one of its copies and does the work; the program's table is not touched. */
static int file_mapped_by_helper(void *argument)
{
    for (int fd = 0; fd < 16; fd++)
        raw_syscall1(SYS_close, fd);
    file_mapped(argument);
    raw_syscall1(SYS_exit_group, 0);
    return 0;
}

int trace_created(struct trace_map *map, const char *path, uint64_t size, unsigned mode, const char **what)
{
    struct file_request request = {.path = path, .size = size_within_limits(size), .mode = mode};
    *what = "cannot make a trace of useful size at";
    if (request.size < SMALLEST_TRACE)
        return EFBIG;
    file_mapped(&request);
    if (request.error == EMFILE)
        helper_waited(file_mapped_by_helper, &request);
    *what = request.what;
    if (request.error)
        return request.error;

    memset(map, 0, sizeof(*map));
    map->base = request.base;
    map->size = request.size;
    map->header = (struct trace_header *)map->base;
    struct trace_header planned;
    memset(&planned, 0, sizeof(planned));
    tables_planned(&planned, request.size);
    map->granules = (_Atomic uint8_t *)(map->base + planned.granule_map);
    uint64_t head = planned.tables[0].offset;
    long result = raw_syscall3(SYS_madvise, (long)map->base, (long)rounded_up(head, 4096), MADV_POPULATE_WRITE);
    if (result == -EINVAL)
        result = -granules_populated(map, 0, head / TRACE_GRANULE);
    if (result < 0) {
        raw_syscall2(SYS_munmap, (long)map->base, (long)map->size);
        raw_syscall3(SYS_unlinkat, AT_FDCWD, (long)path, 0);
        map->base = NULL;
        map->header = NULL;
        return result == -EFAULT ? ENOSPC : (int)-result;
    }
    memcpy(map->header, &planned, sizeof(planned));
    for (uint64_t granule = 0; granule < head / TRACE_GRANULE; granule++)
        atomic_store(&map->granules[granule], 1);
    for (int id = 0; id < TABLE_COUNT; id++)
        map->table[id] = (struct mapped_table){map->base + planned.tables[id].offset, planned.tables[id].record_size,
                                               planned.tables[id].capacity};
    memcpy(map->header->magic, TRACE_MAGIC, sizeof(map->header->magic));
    map->header->layout = TRACE_LAYOUT;
    map->header->header_size = sizeof(struct trace_header);
    map->header->byte_order = TRACE_BYTE_ORDER;
    map->header->page_size = (uint32_t)sysconf(_SC_PAGESIZE);
    map->header->file_size = map->size;
    map->header->granule_size = TRACE_GRANULE;
    map->header->table_count = TABLE_COUNT;
    return 0;
}
