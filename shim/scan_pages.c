/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory is read by process_vm_readv on ourselves: a page that cannot be read (beyond the end of its file, a guard made
 * by madvise, a device) is an error and not a signal. Pages that were never written are not read at all, for reading
 * would make them exist: a program may have reserved more than the machine has.
 */
#include "scan_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "raw_syscall.h"

enum { ENTRIES_A_READ = 8192 };

#define PAGE_PRESENT ((uint64_t)1 << 63)
#define PAGE_SWAPPED ((uint64_t)1 << 62)
#define PAGE_OF_FILE ((uint64_t)1 << 61)

/* Without the page map, a larger file is not worth reading for the few words that relocation wrote to it. */
#define UNMAPPED_FILE_MAX ((uintptr_t)16 << 20)

bool pages_opened(struct copy *copy)
{
    copy->pagemap = raw_syscall4(SYS_openat, AT_FDCWD, (long)"/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
    copy->memory = raw_syscall4(SYS_openat, AT_FDCWD, (long)"/proc/self/mem", O_RDONLY | O_CLOEXEC, 0);
    copy->page_entries = copy_memory(ENTRIES_A_READ * sizeof(uint64_t));
    copy->page_holds = copy_memory(ENTRIES_A_READ * sizeof(bool));
    copy->words = copy_memory(READ_SIZE);
    /* No core file of the copy either; the files that this closes to us are open by now. */
    raw_syscall5(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    return copy->page_entries && copy->page_holds && copy->words;
}

long memory_read(struct copy *copy, uintptr_t from, void *to, size_t size)
{
    if (!copy->memory_by_descriptor) {
        struct iovec here = {to, size}, there = {(void *)from, size};
        long got = raw_syscall6(SYS_process_vm_readv, copy->self, (long)&here, 1, (long)&there, 1, 0);
        if (got != -ENOSYS && got != -EPERM)
            return got;
        copy->memory_by_descriptor = true;
    }
    return raw_syscall4(SYS_pread64, copy->memory, (long)to, (long)size, (long)from);
}

static void run_read(struct copy *copy, uintptr_t start, uintptr_t end, words_function *each)
{
    while (start < end && !time_is_over(copy)) {
        size_t size = end - start < READ_SIZE ? end - start : READ_SIZE;
        long got = memory_read(copy, start, copy->words, size);
        if (got > 0)
            each(copy, copy->words, (size_t)got / sizeof(uintptr_t), start);
        start = got > 0 ? start + (size_t)got : (start | (copy->page_size - 1)) + 1;
    }
}

/* False: the kernel does not say. Marks those of `count` pages that may hold words of the program's own. */
static bool pages_asked(struct copy *copy, enum mapping_kind kind, uintptr_t start, size_t count)
{
    bool *holds = copy->page_holds;
    if (kind == MAPPING_SHARED) {
        unsigned char *resident = (unsigned char *)copy->page_entries;
        if (raw_syscall3(SYS_mincore, (long)start, (long)(count * copy->page_size), (long)resident) != 0)
            return false;
        for (size_t i = 0; i < count; i++)
            holds[i] = resident[i] & 1;
        return true;
    }
    long size = (long)(count * sizeof(uint64_t)), place = (long)(start / copy->page_size * sizeof(uint64_t));
    if (raw_syscall4(SYS_pread64, copy->pagemap, (long)copy->page_entries, size, place) != size)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t entry = copy->page_entries[i];
        holds[i] = (entry & PAGE_SWAPPED) || ((entry & PAGE_PRESENT) && !(entry & PAGE_OF_FILE));
    }
    return true;
}

static void pages_read(struct copy *copy, uintptr_t start, uintptr_t end, uintptr_t first_page, size_t count,
                       words_function *each)
{
    for (size_t i = 0; i < count;) {
        size_t run = i;
        while (run < count && copy->page_holds[run])
            run++;
        uintptr_t from = first_page + i * copy->page_size, to = first_page + run * copy->page_size;
        if (run > i)
            run_read(copy, from > start ? from : start, to < end ? to : end, each);
        i = run + 1;
    }
}

void words_read(struct copy *copy, enum mapping_kind kind, uintptr_t start, uintptr_t end, words_function *each)
{
    if (end - start > RANGE_MAX) {
        copy->memory_missing = true;
        return;
    }
    start = (start + 7) & ~(uintptr_t)7;
    end &= ~(uintptr_t)7;
    for (uintptr_t page = start & ~(copy->page_size - 1); page < end && !time_is_over(copy);) {
        size_t count = (end - page + copy->page_size - 1) / copy->page_size;
        count = count < ENTRIES_A_READ ? count : ENTRIES_A_READ;
        if (!pages_asked(copy, kind, page, count)) {
            if (kind != MAPPING_MODULE || end - start <= UNMAPPED_FILE_MAX)
                run_read(copy, page > start ? page : start, end, each);
            return;
        }
        pages_read(copy, start, end, page, count, each);
        page += count * copy->page_size;
    }
}
