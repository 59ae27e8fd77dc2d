/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the scan (scan.h). Everything below runs in the copy, except where it says "either". The copy is alone with
 * a frozen image in which any lock may be held: raw system calls only, memory from mmap only, no libc.
 *
 *     scan.c        host   mailbox, clone, waiting
 *     scan_maps.c   either /proc: mappings, where the other threads' stacks end
 *     scan_copy.c   copy   the story: classify handles, find heaps, mark, answer
 *     scan_modules.c copy  where the variables of modules end
 *     scan_stacks.c copy   which parts of thread stacks are dead
 *     scan_pages.c  copy   reading memory that may be sparse or bad
 *     scan_heap.c   copy   glibc's heaps: which blocks are in use, which block an address belongs to
 */
#ifndef UNCLOSED_SCAN_PRIVATE_H
#define UNCLOSED_SCAN_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "scan.h"

enum { MAPPINGS_MAX = 131072, THREADS_MAX = 4096, TEXT_SIZE = 65536, READ_SIZE = 256 << 10 };

#if defined(__x86_64__)
#define ADDRESS_MASK 0x7fffffffffffull
#else
#define ADDRESS_MASK 0xffffffffffffull
#endif

/* Of a larger mapping even asking which pages exist takes too long (the shadow memory of a sanitizer). */
#define RANGE_MAX ((uintptr_t)256 << 30)

enum mapping_kind {
    MAPPING_OTHER,     /* not readable, code, devices, the kernel's own pages: never a root */
    MAPPING_ANONYMOUS, /* private, no file */
    MAPPING_BREAK,     /* [heap] */
    MAPPING_STACK,     /* [stack] of the main thread */
    MAPPING_MODULE,    /* private, of a file, or the .bss that follows one */
    MAPPING_SHARED,    /* MAP_SHARED and writable */
};

/* 7f1a59072000-7f1a59093000 rw-p 00000000 00:00 0 -> {start, end, MAPPING_ANONYMOUS, writable}. Neighbours of one sort are one. */
struct mapping {
    uintptr_t start, end;
    uint8_t kind; /* enum mapping_kind */
    bool writable;
    uintptr_t module; /* where the file before it was mapped, if it may be that file's .bss */
};

/* A thread that slept in the kernel before the copy was made, and still sleeps in the same way after. */
struct thread_state {
    uint32_t thread;
    bool sleeps;
    uintptr_t words[8]; /* arguments of its system call, stack pointer, program counter */
};
enum { STATE_STACK_POINTER = 6 };

/* MAP_SHARED between host and copy. */
struct mailbox {
    _Atomic uint32_t answered;        /* futex; 1: outcome, reason and all verdicts are written */
    _Atomic uint32_t threads_checked; /* futex; 1: threads[] is final */
    enum scan_outcome outcome;
    bool unsettled; /* something looked half done: worth another copy if other threads run */
    const char *reason;
    uint64_t deadline; /* CLOCK_MONOTONIC, ns */
    uintptr_t page_size;
    long host; /* pid and thread that ask */
    long host_thread;
    size_t thread_count; /* other threads of the host; those beyond THREADS_MAX are only counted */
    size_t host_mapping_count;
    size_t mapping_count;
    struct thread_state threads[THREADS_MAX];
    struct mapping host_mappings[MAPPINGS_MAX]; /* as the host has them */
    struct mapping mappings[MAPPINGS_MAX];      /* as the copy has them */
    char text[TEXT_SIZE];
};

struct copy;

/* --- scan_maps.c (either) ------------------------------------------------------------------------------------------ */

uint64_t monotonic_ns(void);

/* The calling process's mappings in ascending order. Their number, or -errno (-E2BIG: more than MAPPINGS_MAX). `text`
 * is working memory of TEXT_SIZE. */
long mappings_read(struct mapping *mappings, char *text);

/* NULL: address is not mapped. */
const struct mapping *mapping_of(const struct mapping *mappings, size_t count, uintptr_t address);

/* Lists the host's other threads and what they sleep in; `sleeps` is false for one that runs or cannot be seen. To be
 * called in the host: nobody else may look where ptrace is restricted. */
void thread_states_read(struct mailbox *mailbox);

/* Withdraws `sleeps` of each thread that has moved since. */
void thread_states_checked(struct mailbox *mailbox);

/* --- scan_modules.c ---------------------------------------------------------------------------------------------------- */

/* Cuts the .bss of modules off the anonymous memory that the kernel joins with it. Before anything else looks
 * at them. */
void modules_bounded(struct copy *copy);

/* --- scan_heap.c ----------------------------------------------------------------------------------------------------- */

/*
 * A run of malloc's chunks: a piece of the main arena, one heap of another arena, or one chunk with a mapping of its own
 * (`starts` is NULL then). A chunk at `p` owns the cell [p + 8, p + size + 8): its user's bytes are that without the
 * first 8. Bit u of a bitmap stands for the 16 bytes from start + 8 + 16 u.
 */
struct heap_region {
    uintptr_t start, end;
    uint64_t *starts;    /* chunks in use begin here */
    uint64_t *marks;     /* … and were reached */
    uint64_t *holders;   /* … and hold a handle */
    uint32_t *covering;  /* for each 4096 bytes: unit + 1 of the chunk in use at its first byte, 0: none */
    bool marked, holder; /* of a mapped chunk */
};

struct heap {
    struct heap_region *regions; /* ascending */
    size_t count, capacity;
    uintptr_t low, high; /* all regions lie in between */
    uintptr_t main_top;  /* top chunk of the main arena, 0: no main heap was recognised */
    uintptr_t *tcaches;  /* chunks that look like a thread's cache of freed chunks */
    size_t tcache_count;
    uintptr_t arenas[256]; /* malloc_state of other arenas */
    size_t arena_count;
};

/* Finds the heaps in the mappings. Adds what malloc owns to the excluded ranges. False: no memory for the books. */
bool heaps_found(struct copy *copy);

/* The main arena (its bins name freed chunks, and are no roots), if its top chunk is named at the address in these words of a module's variables; else 0. */
enum { MAIN_ARENA_SIZE = 0x898 };
uintptr_t main_arena_at(const struct heap *heap, const uintptr_t *words, size_t count, uintptr_t address);

/* Takes the chunks that lie in caches and fast bins of freed chunks out of those in use. `main_arena` 0: not known. */
void freed_chunks_left_out(struct heap *heap, uintptr_t main_arena);

/* The chunk in use whose bytes contain the address, 0: none. */
uintptr_t heap_chunk_of(const struct heap *heap, uintptr_t address);

bool heap_contains(const struct heap *heap, uintptr_t address);
void heap_chunk_holds_handle(struct heap *heap, uintptr_t chunk);
bool heap_chunk_is_marked(const struct heap *heap, uintptr_t chunk);

enum { CHUNK_HOLDS_HANDLE = 1, CHUNK_HEADER = 16 };
/* Marks the chunk in use that contains the address. Returns it, plus CHUNK_HOLDS_HANDLE; 0: none, or marked before. */
uintptr_t heap_chunk_marked(struct heap *heap, uintptr_t address);

/* First byte after the user's part of a chunk in use. */
static inline uintptr_t chunk_end(uintptr_t chunk)
{
    uintptr_t size = ((const uintptr_t *)chunk)[1];
    return chunk + (size & ~(uintptr_t)7) + (size & 2 ? 0 : 8);
}

/* Chunks at most this many, for sizing the mark stack. */
size_t heap_chunk_limit(const struct heap *heap);

/* --- scan_pages.c ------------------------------------------------------------------------------------------------------ */

/* `words` is a copy of what stands at `address`. */
typedef void words_function(struct copy *copy, const uintptr_t *words, size_t count, uintptr_t address);

/* False: no memory. */
bool pages_opened(struct copy *copy);

/* Calls `each` with the words of the range that were ever written, piece by piece. Skips what cannot be read. */
void words_read(struct copy *copy, enum mapping_kind kind, uintptr_t start, uintptr_t end, words_function *each);

/* Bytes copied, or -errno. */
long memory_read(struct copy *copy, uintptr_t from, void *to, size_t size);

/* --- scan_stacks.c ------------------------------------------------------------------------------------------------------ */

/* A stack that glibc made for a thread, with the thread's descriptor at its upper end. */
struct thread_block {
    uintptr_t start, end;
    uintptr_t descriptor;
    uint32_t thread; /* 0: the thread is gone, the stack waits for another */
};

/* To be called with words of the modules' variables: glibc's lists of stacks are there. */
void thread_blocks_found(struct copy *copy, const uintptr_t *words, size_t count);

/* Excludes what no living frame uses. */
void dead_stacks_excluded(struct copy *copy);

bool is_on_live_stack(const struct copy *copy, uintptr_t address);

/* --- scan_copy.c -------------------------------------------------------------------------------------------------------- */

struct foreign_handle {
    uintptr_t address;
    bool referenced; /* its very address stands in a module's variables, a live stack or a reachable block */
};

struct copy {
    struct scan_request *request;
    struct mailbox *mailbox;
    struct mapping *mappings;
    size_t mapping_count;
    struct heap heap;
    struct scan_range *excluded; /* no roots: ours, malloc's, dead stacks. Sorted and disjoint once all are known */
    size_t excluded_count, excluded_capacity;
    struct thread_block *blocks;
    size_t block_count;
    uintptr_t main_arena;           /* malloc_state in libc's variables, 0: not found */
    uintptr_t *chunks;              /* of each handle, 0: none */
    struct foreign_handle *foreign; /* hash table of handles in memory whose blocks we do not know */
    size_t foreign_slots;           /* a power of two, 0: there are none */
    uintptr_t foreign_low, foreign_high;
    bool source_counts; /* an exact match in the words now read says something about a foreign handle */
    uintptr_t *marked;  /* stack of chunks to be read */
    size_t marked_count;
    bool through_handles; /* second pass: follow handles' own blocks too */
    bool timed_out, memory_missing, unsettled;
    long pagemap, memory;      /* descriptors, or negative */
    bool memory_by_descriptor; /* process_vm_readv is forbidden */
    uint64_t *page_entries;
    bool *page_holds;
    uintptr_t *words;
    uintptr_t page_size;
    long self;
};

/* Zeroed memory that is never a root; NULL: none. Only what is touched costs anything. */
void *copy_memory(size_t size);

void range_excluded(struct copy *copy, uintptr_t start, uintptr_t end);
bool is_excluded(const struct copy *copy, uintptr_t address);

/* Asks the clock. Once true, everything ends soon. */
bool time_is_over(struct copy *copy);

/* Never returns. */
_Noreturn void copy_scans(struct scan_request *request, struct mailbox *mailbox);

#endif
