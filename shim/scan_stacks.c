/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dead parts of stacks are full of old pointers. Which parts are dead is known for the main thread's stack, and for those
 * that glibc made: each has the thread's descriptor (struct pthread) at its upper end, and all descriptors hang in lists
 * whose heads are variables of ld.so (of libpthread before 2.34). Anything else, as the stack of a coroutine, is read whole.
 */
#include "scan_private.h"

#if defined(__x86_64__)
#define LAYOUT_IS_KNOWN true
#else
#define LAYOUT_IS_KNOWN false
#endif

enum {
    DESCRIPTOR_LIST = 0x2c0, /* struct pthread, glibc 2.11 to 2.41, x86-64: list, tid */
    DESCRIPTOR_THREAD = 0x2d0,
    DESCRIPTOR_SIZE = 0x900, /* at least this much of it lies before the end of the stack's memory */
    DESCRIPTOR_ALIGNMENT = 64,
    DESCRIPTOR_SELF = 2, /* words: header.tcb and header.self both point to the descriptor itself */
    BLOCKS_MAX = 65536,
    RED_ZONE = 128,
    BELOW = 4096, /* the copy has called no deeper than this below where it asks */
};
#define BLOCK_SIZE_MAX ((uintptr_t)1 << 36)

static bool is_descriptor(struct copy *copy, uintptr_t address)
{
    uintptr_t head[DESCRIPTOR_SELF + 1];
    if (address % DESCRIPTOR_ALIGNMENT)
        return false;
    const struct mapping *mapping = mapping_of(copy->mappings, copy->mapping_count, address);
    return mapping && mapping->kind == MAPPING_ANONYMOUS && mapping->end - address >= DESCRIPTOR_SIZE &&
           memory_read(copy, address, head, sizeof(head)) == sizeof(head) && head[0] == address &&
           head[DESCRIPTOR_SELF] == address;
}

static bool is_known(const struct copy *copy, uintptr_t descriptor)
{
    for (size_t i = copy->block_count; i-- > 0;)
        if (copy->blocks[i].descriptor == descriptor)
            return true;
    return false;
}

/* stackblock and stackblock_size stand side by side somewhere in the descriptor: where, changes with the version. */
static struct thread_block block_of(struct copy *copy, uintptr_t descriptor)
{
    uintptr_t words[DESCRIPTOR_SIZE / sizeof(uintptr_t)];
    struct thread_block block = {.descriptor = descriptor};
    if (memory_read(copy, descriptor, words, sizeof(words)) != sizeof(words))
        return block;
    int32_t thread = (int32_t)words[DESCRIPTOR_THREAD / sizeof(uintptr_t)];
    block.thread = thread > 0 ? (uint32_t)thread : 0;
    for (size_t i = DESCRIPTOR_THREAD / sizeof(uintptr_t); i + 1 < sizeof(words) / sizeof(*words); i++) {
        uintptr_t start = words[i], size = words[i + 1];
        if (start && start % copy->page_size == 0 && start < descriptor && size < BLOCK_SIZE_MAX &&
            start + size >= descriptor + DESCRIPTOR_SIZE &&
            start + size < descriptor + 2 * copy->page_size + DESCRIPTOR_SIZE) {
            block.start = start;
            block.end = start + size;
            break;
        }
    }
    return block;
}

static void list_followed(struct copy *copy, uintptr_t descriptor)
{
    while (copy->block_count < BLOCKS_MAX && is_descriptor(copy, descriptor) && !is_known(copy, descriptor)) {
        copy->blocks[copy->block_count++] = block_of(copy, descriptor);
        uintptr_t next;
        if (memory_read(copy, descriptor + DESCRIPTOR_LIST, &next, sizeof(next)) != sizeof(next))
            return;
        descriptor = next - DESCRIPTOR_LIST;
    }
}

void thread_blocks_found(struct copy *copy, const uintptr_t *words, size_t count)
{
    if (!copy->blocks && !(copy->blocks = copy_memory(BLOCKS_MAX * sizeof(*copy->blocks))))
        return;
    for (size_t i = 0; LAYOUT_IS_KNOWN && i < count; i++)
        if (words[i] % DESCRIPTOR_ALIGNMENT == 0 && words[i] > DESCRIPTOR_LIST && words[i] <= ADDRESS_MASK)
            list_followed(copy, words[i] - DESCRIPTOR_LIST);
}

/* 0: not known, all of the thread's stack may live. */
static uintptr_t stack_pointer_of(const struct copy *copy, uint32_t thread)
{
    const struct mailbox *mailbox = copy->mailbox;
    for (size_t i = 0; i < mailbox->thread_count && i < THREADS_MAX; i++)
        if (mailbox->threads[i].thread == thread)
            return mailbox->threads[i].sleeps ? mailbox->threads[i].words[STATE_STACK_POINTER] - RED_ZONE : 0;
    return 0;
}

static bool lies_in(uintptr_t address, uintptr_t start, uintptr_t end)
{
    return address >= start && address < end;
}

/* Never of the main thread: its stack is not glibc's, so it has a descriptor but no block. */
static bool is_in_frames_of(const struct thread_block *block, uintptr_t address)
{
    return block->start && lies_in(address, block->start, block->descriptor);
}

/* Below the host's frames are the shim's own and what they left: they hold handles by nature. */
static void own_stack_excluded(struct copy *copy)
{
    uintptr_t pointer = copy->request->stack_pointer;
    const struct mapping *mapping = mapping_of(copy->mappings, copy->mapping_count, pointer);
    if (!mapping || heap_contains(&copy->heap, pointer))
        return;
    uintptr_t start = scan_current_stack_pointer() - BELOW;
    if (!lies_in(start, mapping->start, pointer))
        start = mapping->start;
    for (size_t i = 0; i < copy->block_count; i++)
        if (is_in_frames_of(&copy->blocks[i], pointer))
            start = copy->blocks[i].start;
    range_excluded(copy, mapping->kind == MAPPING_STACK ? mapping->start : start, pointer);
}

static void main_stack_excluded(struct copy *copy)
{
    const struct mailbox *mailbox = copy->mailbox;
    uintptr_t pointer = stack_pointer_of(copy, (uint32_t)mailbox->host);
    const struct mapping *mapping = pointer ? mapping_of(copy->mappings, copy->mapping_count, pointer) : NULL;
    if (mapping && mapping->kind == MAPPING_STACK)
        range_excluded(copy, mapping->start, pointer);
}

void dead_stacks_excluded(struct copy *copy)
{
    own_stack_excluded(copy);
    main_stack_excluded(copy);
    for (size_t i = 0; i < copy->block_count; i++) {
        const struct thread_block *block = &copy->blocks[i];
        if (block->start == 0 || heap_contains(&copy->heap, block->descriptor))
            continue;
        uintptr_t pointer = block->thread ? stack_pointer_of(copy, block->thread) : 0;
        if (block->thread == 0 && !lies_in(copy->request->stack_pointer, block->start, block->end))
            range_excluded(copy, block->start, block->end);
        else if (is_in_frames_of(block, pointer))
            range_excluded(copy, block->start, pointer);
    }
}

bool is_on_live_stack(const struct copy *copy, uintptr_t address)
{
    if (is_excluded(copy, address))
        return false;
    const struct mapping *mapping = mapping_of(copy->mappings, copy->mapping_count, address);
    if (mapping && mapping->kind == MAPPING_STACK)
        return true;
    for (size_t i = 0; i < copy->block_count; i++)
        if (copy->blocks[i].thread && is_in_frames_of(&copy->blocks[i], address))
            return true;
    return false;
}
