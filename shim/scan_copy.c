/* SPDX-License-Identifier: Apache-2.0 */
#include "scan_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "raw_syscall.h"

enum { POPS_A_LOOK = 1024, READ_DIRECTLY_MAX = 256 << 10, THREADS_WAIT_NS = 200000000, EXCLUDED_MORE = 1 << 18 };

void *copy_memory(size_t size)
{
    long address = raw_syscall6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return raw_syscall_failed(address) ? NULL : (void *)address;
}

bool time_is_over(struct copy *copy)
{
    if (!copy->timed_out)
        copy->timed_out = monotonic_ns() >= copy->mailbox->deadline;
    return copy->timed_out;
}

/* --- ranges ------------------------------------------------------------------------------------------------------------ */

void range_excluded(struct copy *copy, uintptr_t start, uintptr_t end)
{
    /* What does not fit is read as a root: that may hide a leak, and never makes one up. */
    if (start < end && copy->excluded_count < copy->excluded_capacity)
        copy->excluded[copy->excluded_count++] = (struct scan_range){start, end};
}

static void ranges_sorted(struct scan_range *ranges, size_t count)
{
    for (size_t gap = count / 2; gap > 0; gap /= 2)
        for (size_t i = gap; i < count; i++) {
            struct scan_range moving = ranges[i];
            size_t place = i;
            for (; place >= gap && ranges[place - gap].start > moving.start; place -= gap)
                ranges[place] = ranges[place - gap];
            ranges[place] = moving;
        }
}

static void excluded_ranges_joined(struct copy *copy)
{
    struct scan_range *ranges = copy->excluded;
    size_t kept = 0;
    ranges_sorted(ranges, copy->excluded_count);
    for (size_t i = 0; i < copy->excluded_count; i++) {
        if (kept && ranges[i].start <= ranges[kept - 1].end)
            ranges[kept - 1].end = ranges[i].end > ranges[kept - 1].end ? ranges[i].end : ranges[kept - 1].end;
        else
            ranges[kept++] = ranges[i];
    }
    copy->excluded_count = kept;
}

bool is_excluded(const struct copy *copy, uintptr_t address)
{
    size_t low = 0, high = copy->excluded_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (copy->excluded[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < copy->excluded_count && copy->excluded[low].start <= address;
}

/* --- handles ----------------------------------------------------------------------------------------------------------- */

static size_t foreign_slot(const struct copy *copy, uintptr_t address)
{
    size_t slot = (address >> 3) * 0x9e3779b97f4a7c15u >> 20 & (copy->foreign_slots - 1);
    while (copy->foreign[slot].address && copy->foreign[slot].address != address)
        slot = (slot + 1) & (copy->foreign_slots - 1);
    return slot;
}

static bool foreign_handle_noted(struct copy *copy, uintptr_t address)
{
    if (!copy->foreign) {
        size_t slots = 64;
        while (slots < copy->request->count * 2)
            slots *= 2;
        copy->foreign_slots = slots;
        copy->foreign = copy_memory(slots * sizeof(*copy->foreign));
        copy->foreign_low = address;
        if (!copy->foreign)
            return false;
    }
    copy->foreign[foreign_slot(copy, address)].address = address;
    if (address < copy->foreign_low)
        copy->foreign_low = address;
    if (address > copy->foreign_high)
        copy->foreign_high = address;
    return true;
}

/* A variable of a module or of a live frame is its own proof: the code that declares it can name it. */
static bool is_variable(const struct copy *copy, uintptr_t address)
{
    const struct mapping *mapping = mapping_of(copy->mappings, copy->mapping_count, address);
    return (mapping && mapping->kind == MAPPING_MODULE) || is_on_live_stack(copy, address);
}

static bool handles_classified(struct copy *copy)
{
    const struct scan_request *request = copy->request;
    copy->chunks = copy_memory(request->count * sizeof(*copy->chunks));
    if (!copy->chunks)
        return false;
    for (size_t i = 0; i < request->count; i++) {
        uintptr_t address = request->handles[i].address;
        if (!mapping_of(copy->mappings, copy->mapping_count, address))
            continue;
        copy->chunks[i] = heap_chunk_of(&copy->heap, address);
        if (copy->chunks[i])
            heap_chunk_holds_handle(&copy->heap, copy->chunks[i]);
        else if (!heap_contains(&copy->heap, address) && !foreign_handle_noted(copy, address))
            return false;
    }
    return true;
}

/* --- marking ------------------------------------------------------------------------------------------------------------- */

static inline void address_reached(struct copy *copy, uintptr_t word)
{
    uintptr_t address = word & ADDRESS_MASK;
    if (address - copy->heap.low < copy->heap.high - copy->heap.low) {
        uintptr_t chunk = heap_chunk_marked(&copy->heap, address);
        if (chunk && (copy->through_handles || !(chunk & CHUNK_HOLDS_HANDLE)))
            copy->marked[copy->marked_count++] = chunk & ~(uintptr_t)CHUNK_HOLDS_HANDLE;
    }
    if (copy->foreign_slots && copy->source_counts && address >= copy->foreign_low && address <= copy->foreign_high) {
        struct foreign_handle *handle = &copy->foreign[foreign_slot(copy, address)];
        handle->referenced = handle->referenced || handle->address == address;
    }
}

static void words_reached(struct copy *copy, const uintptr_t *words, size_t count, uintptr_t address)
{
    (void)address;
    for (size_t i = 0; i < count; i++)
        address_reached(copy, words[i]);
}

static void marked_chunks_read(struct copy *copy)
{
    copy->source_counts = true;
    for (unsigned pops = 0; copy->marked_count && !copy->timed_out; pops++) {
        uintptr_t chunk = copy->marked[--copy->marked_count], end = chunk_end(chunk);
        if (end - chunk > READ_DIRECTLY_MAX)
            words_read(copy, MAPPING_ANONYMOUS, chunk + CHUNK_HEADER, end, words_reached);
        else
            words_reached(copy, (const uintptr_t *)(chunk + CHUNK_HEADER),
                          (end - chunk - CHUNK_HEADER) / sizeof(uintptr_t), chunk);
        if (pops % POPS_A_LOOK == 0)
            time_is_over(copy);
    }
}

/* The mapping without the excluded ranges, which ascend as the mappings do: `*next` is the first that may matter. */
static void mapping_reached(struct copy *copy, const struct mapping *mapping, size_t *next)
{
    uintptr_t start = mapping->start;
    while (*next < copy->excluded_count && copy->excluded[*next].end <= start)
        ++*next;
    for (size_t i = *next; i < copy->excluded_count && copy->excluded[i].start < mapping->end; i++) {
        if (copy->excluded[i].start > start)
            words_read(copy, mapping->kind, start, copy->excluded[i].start, words_reached);
        if (copy->excluded[i].end > start)
            start = copy->excluded[i].end;
    }
    if (start < mapping->end)
        words_read(copy, mapping->kind, start, mapping->end, words_reached);
}

static void mappings_reached(struct copy *copy, bool of_modules_and_stack)
{
    size_t next = 0;
    for (size_t i = 0; i < copy->mapping_count && !copy->timed_out; i++) {
        const struct mapping *mapping = &copy->mappings[i];
        bool is_of_them = mapping->kind == MAPPING_MODULE || mapping->kind == MAPPING_STACK;
        if (mapping->kind != MAPPING_OTHER && is_of_them == of_modules_and_stack)
            mapping_reached(copy, mapping, &next);
    }
}

static void roots_reached(struct copy *copy)
{
    copy->source_counts = true;
    for (size_t i = 0; i < copy->mailbox->thread_count && i < THREADS_MAX; i++)
        if (copy->mailbox->threads[i].sleeps)
            words_reached(copy, copy->mailbox->threads[i].words, 8, 0);
    mappings_reached(copy, true);
    /* Memory of an unknown allocator may be the handle's own, or garbage: no proof of a foreign handle. */
    copy->source_counts = false;
    mappings_reached(copy, false);
}

/* Blocks whose contents prove nothing count as read before anything is. */
static void ignored_chunks_marked(struct copy *copy)
{
    const struct scan_request *request = copy->request;
    for (size_t i = 0; i < request->ignored_count; i++) {
        uintptr_t start = request->ignored[i].start, chunk = heap_chunk_of(&copy->heap, start);
        if (chunk && start == chunk + CHUNK_HEADER)
            heap_chunk_marked(&copy->heap, start);
    }
}

/* Everything but the handles' own blocks first: a handle that only another one leads to is forgotten by the program. */
static bool marked(struct copy *copy)
{
    struct scan_request *request = copy->request;
    copy->marked = copy_memory((heap_chunk_limit(&copy->heap) + request->count) * sizeof(*copy->marked));
    if (!copy->marked)
        return false;
    ignored_chunks_marked(copy);
    roots_reached(copy);
    marked_chunks_read(copy);
    copy->through_handles = true;
    for (size_t i = 0; i < request->count; i++)
        if (copy->chunks[i] && heap_chunk_is_marked(&copy->heap, copy->chunks[i]))
            copy->marked[copy->marked_count++] = copy->chunks[i];
        else
            request->handles[i].through_handle = copy->chunks[i] != 0;
    marked_chunks_read(copy);
    return true;
}

/* --- what the copy lacks ----------------------------------------------------------------------------------------------------- */

static bool is_covered(const struct copy *copy, uintptr_t start, uintptr_t end)
{
    while (start < end) {
        const struct mapping *mapping = mapping_of(copy->mappings, copy->mapping_count, start);
        if (!mapping)
            return false;
        start = mapping->end;
    }
    return true;
}

static bool is_ours(const struct copy *copy, const struct mapping *mapping)
{
    for (size_t i = 0; i < copy->request->ignored_count; i++)
        if (copy->request->ignored[i].start <= mapping->start && mapping->end <= copy->request->ignored[i].end)
            return true;
    return false;
}

/* Private memory of the host that did not come over the clone: MADV_DONTFORK. */
static void missing_memory_noticed(struct copy *copy)
{
    const struct mailbox *mailbox = copy->mailbox;
    for (size_t i = 0; i < mailbox->host_mapping_count && !copy->memory_missing; i++) {
        const struct mapping *mapping = &mailbox->host_mappings[i];
        if (mapping->writable && mapping->kind != MAPPING_SHARED && mapping->kind != MAPPING_OTHER &&
            !is_covered(copy, mapping->start, mapping->end) && !is_ours(copy, mapping))
            copy->memory_missing = copy->unsettled = true;
    }
}

/* --- answers ------------------------------------------------------------------------------------------------------------------- */

static bool lives_elsewhere(const struct copy *copy, uint32_t thread)
{
    return thread && thread != (uint32_t)copy->mailbox->host_thread &&
           raw_syscall3(SYS_tgkill, copy->mailbox->host, thread, 0) != -ESRCH;
}

static enum reference foreign_reference(const struct copy *copy, uintptr_t address)
{
    if (!copy->foreign_slots || heap_contains(&copy->heap, address))
        return REFERENCE_UNKNOWN;
    const struct foreign_handle *handle = &copy->foreign[foreign_slot(copy, address)];
    return handle->address && (handle->referenced || is_variable(copy, address)) ? REFERENCE_HELD : REFERENCE_UNKNOWN;
}

static enum reference chunk_reference(const struct copy *copy, uintptr_t chunk, uint32_t last_thread)
{
    if (heap_chunk_is_marked(&copy->heap, chunk))
        return REFERENCE_HELD;
    if (copy->timed_out || copy->memory_missing)
        return REFERENCE_UNKNOWN;
    return lives_elsewhere(copy, last_thread) ? REFERENCE_IN_USE : REFERENCE_LOST;
}

/* Returns how many handles have no verdict; *known: how many lie in blocks that we know. */
static size_t answers_written(struct copy *copy, size_t *known)
{
    size_t undecided = 0;
    for (size_t i = 0; i < copy->request->count; i++) {
        struct scan_handle *handle = &copy->request->handles[i];
        uintptr_t chunk = copy->chunks[i];
        *known += chunk != 0;
        handle->reference = (uint8_t)(chunk ? chunk_reference(copy, chunk, handle->last_thread)
                                            : foreign_reference(copy, handle->address));
        handle->through_handle = handle->through_handle && handle->reference == REFERENCE_HELD;
        undecided += handle->reference == REFERENCE_UNKNOWN;
    }
    return undecided;
}

static _Noreturn void answered(struct copy *copy, enum scan_outcome outcome, const char *reason)
{
    struct mailbox *mailbox = copy->mailbox;
    mailbox->outcome = outcome;
    mailbox->reason = reason;
    mailbox->unsettled = copy->unsettled;
    atomic_store_explicit(&mailbox->answered, 1, memory_order_release);
    raw_syscall3(SYS_futex, (long)&mailbox->answered, FUTEX_WAKE, 1);
    for (;;)
        raw_syscall1(SYS_exit_group, 0);
}

static _Noreturn void verdicts_answered(struct copy *copy)
{
    size_t known = 0, undecided = answers_written(copy, &known);
    if (copy->timed_out)
        answered(copy, SCAN_TIMED_OUT, "it took too long");
    if (copy->memory_missing)
        answered(copy, SCAN_NOT_POSSIBLE, "some of its memory is hidden from copies (MADV_DONTFORK) or too large");
    if (known == 0 && undecided > 0)
        answered(copy, SCAN_NOT_POSSIBLE, "its memory is not allocated by glibc's malloc");
    answered(copy, SCAN_DONE, undecided > 0 ? "some of its memory is not allocated by glibc's malloc" : NULL);
}

/* --- the copy -------------------------------------------------------------------------------------------------------------------- */

/* It is as large as its host: where memory runs out, the kernel had better end the copy. */
static void copy_offered_to_oom_killer(void)
{
    static const char most[] = "1000";
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, (long)"/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    raw_syscall3(SYS_write, fd, (long)most, sizeof(most) - 1);
    raw_syscall1(SYS_close, fd);
}

/* It must not outlive its host, nor leave a core file. */
static void copy_settled(struct copy *copy)
{
    struct rlimit none = {0};
    raw_syscall5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (raw_syscall0(SYS_getppid) != copy->mailbox->host)
        answered(copy, SCAN_FAILED, "the process ended");
    raw_syscall5(SYS_prctl, PR_SET_NAME, (long)"unclosed-scan", 0, 0, 0);
    raw_syscall4(SYS_prlimit64, 0, RLIMIT_CORE, (long)&none, 0);
    copy_offered_to_oom_killer();
}

static void threads_awaited(struct copy *copy)
{
    struct timespec pause = {.tv_nsec = THREADS_WAIT_NS};
    struct mailbox *mailbox = copy->mailbox;
    if (!atomic_load_explicit(&mailbox->threads_checked, memory_order_acquire))
        raw_syscall4(SYS_futex, (long)&mailbox->threads_checked, FUTEX_WAIT, 0, (long)&pause);
    if (atomic_load_explicit(&mailbox->threads_checked, memory_order_acquire))
        return;
    for (size_t i = 0; i < THREADS_MAX; i++)
        mailbox->threads[i].sleeps = false;
}

static void module_inspected(struct copy *copy, const uintptr_t *words, size_t count, uintptr_t address)
{
    if (!copy->main_arena && (copy->main_arena = main_arena_at(&copy->heap, words, count, address)))
        range_excluded(copy, copy->main_arena, copy->main_arena + MAIN_ARENA_SIZE);
    thread_blocks_found(copy, words, count);
}

static void modules_inspected(struct copy *copy)
{
    for (size_t i = 0; i < copy->mapping_count; i++) {
        const struct mapping *mapping = &copy->mappings[i];
        if (mapping->kind == MAPPING_MODULE && mapping->writable)
            words_read(copy, mapping->kind, mapping->start, mapping->end, module_inspected);
    }
}

static bool ours_excluded(struct copy *copy)
{
    const struct scan_request *request = copy->request;
    copy->excluded_capacity = request->ignored_count + copy->mapping_count * 4 + EXCLUDED_MORE;
    copy->excluded = copy_memory(copy->excluded_capacity * sizeof(*copy->excluded));
    if (!copy->excluded)
        return false;
    range_excluded(copy, (uintptr_t)copy->mailbox, (uintptr_t)(copy->mailbox + 1));
    range_excluded(copy, (uintptr_t)request->handles, (uintptr_t)(request->handles + request->count));
    for (size_t i = 0; i < request->ignored_count; i++)
        range_excluded(copy, request->ignored[i].start, request->ignored[i].end);
    return true;
}

static void memory_understood(struct copy *copy)
{
    modules_inspected(copy);
    freed_chunks_left_out(&copy->heap, copy->main_arena);
    threads_awaited(copy);
    dead_stacks_excluded(copy);
    excluded_ranges_joined(copy);
    missing_memory_noticed(copy);
}

_Noreturn void copy_scans(struct scan_request *request, struct mailbox *mailbox)
{
    struct copy copy = {.request = request, .mailbox = mailbox, .mappings = mailbox->mappings};
    copy.page_size = mailbox->page_size;
    copy.self = raw_syscall0(SYS_getpid);
    copy_settled(&copy);
    /* Its table of descriptors is its own: where the host has used up all, there are some now. */
    if (raw_syscall3(SYS_close_range, 0, ~0u, 0) < 0)
        for (int fd = 0; fd < 16; fd++)
            raw_syscall1(SYS_close, fd);
    /* Before any memory of our own: it is not listed, so it is never a root. */
    long count = mappings_read(mailbox->mappings, mailbox->text);
    if (count < 0)
        answered(&copy, SCAN_FAILED, "/proc/self/maps cannot be read");
    copy.mapping_count = (size_t)count;
    if (!ours_excluded(&copy) || !pages_opened(&copy))
        answered(&copy, SCAN_FAILED, "no memory");
    modules_bounded(&copy);
    if (!heaps_found(&copy))
        answered(&copy, SCAN_FAILED, "no memory");
    memory_understood(&copy);
    if (!handles_classified(&copy) || !marked(&copy))
        answered(&copy, SCAN_FAILED, "no memory");
    verdicts_answered(&copy);
}
