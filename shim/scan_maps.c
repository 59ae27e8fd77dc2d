/* SPDX-License-Identifier: Apache-2.0 */
#include "scan_private.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "raw_syscall.h"

uint64_t monotonic_ns(void)
{
    struct timespec now = {0};
    raw_syscall2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static long opened(const char *path, int flags)
{
    return raw_syscall4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC | flags, 0);
}

static uintptr_t hexadecimal(const char **cursor, const char *end)
{
    uintptr_t value = 0;
    for (; *cursor < end; ++*cursor) {
        char c = **cursor;
        if (c >= '0' && c <= '9')
            value = value * 16 + (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + (uintptr_t)(c - 'a' + 10);
        else
            break;
    }
    return value;
}

static bool begins_with(const char *text, const char *end, const char *prefix)
{
    for (; *prefix; ++prefix, ++text)
        if (text == end || *text != *prefix)
            return false;
    return true;
}

static const char *next_word(const char *cursor, const char *end)
{
    while (cursor < end && *cursor != ' ')
        ++cursor;
    while (cursor < end && *cursor == ' ')
        ++cursor;
    return cursor;
}

static bool is_device(const char *path, const char *end)
{
    return (begins_with(path, end, "/dev/") && !begins_with(path, end, "/dev/shm/") &&
            !begins_with(path, end, "/dev/zero")) ||
           begins_with(path, end, "anon_inode:");
}

static enum mapping_kind kind_of(const char *permissions, const char *path, const char *end)
{
    bool has_file = path < end && *path != '[';
    if (permissions[0] != 'r' || begins_with(path, end, "[v") || is_device(path, end))
        return MAPPING_OTHER;
    if (permissions[3] == 's')
        return permissions[1] == 'w' ? MAPPING_SHARED : MAPPING_OTHER;
    if (permissions[1] != 'w' && permissions[2] == 'x')
        return MAPPING_OTHER;
    if (has_file)
        return MAPPING_MODULE;
    if (begins_with(path, end, "[heap]"))
        return MAPPING_BREAK;
    return begins_with(path, end, "[stack]") ? MAPPING_STACK : MAPPING_ANONYMOUS;
}

/* A line of /proc/self/maps; `*module` is where the file of the line before begins, 0 if it had none. */
static struct mapping mapping_from(const char *line, const char *end, uintptr_t *module)
{
    struct mapping mapping = {0};
    mapping.start = hexadecimal(&line, end);
    ++line;
    mapping.end = hexadecimal(&line, end);
    const char *permissions = next_word(line, end);
    if (end - permissions < 4)
        return (struct mapping){0};
    const char *offset = next_word(permissions, end), *path = offset;
    for (int field = 0; field < 3; field++)
        path = next_word(path, end);
    mapping.kind = kind_of(permissions, path, end);
    mapping.writable = permissions[1] == 'w';
    if (mapping.kind == MAPPING_ANONYMOUS)
        mapping.module = *module;
    if (path == end || *path != '/' || permissions[3] != 'p')
        *module = 0;
    else if (hexadecimal(&offset, end) == 0)
        *module = mapping.start;
    return mapping;
}

static bool joins(const struct mapping *last, const struct mapping *mapping)
{
    return last->end == mapping->start && last->kind == mapping->kind && last->writable == mapping->writable &&
           (mapping->kind == MAPPING_ANONYMOUS || mapping->kind == MAPPING_BREAK);
}

/* Takes the whole lines of text[0, length) and moves the rest to the front; its length, or -E2BIG. */
static long lines_taken(struct mapping *mappings, size_t *count, uintptr_t *module, char *text, size_t length)
{
    size_t taken = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\n')
            continue;
        struct mapping mapping = mapping_from(text + taken, text + i, module);
        taken = i + 1;
        if (*count && joins(&mappings[*count - 1], &mapping))
            mappings[*count - 1].end = mapping.end;
        else if (*count == MAPPINGS_MAX)
            return -E2BIG;
        else
            mappings[(*count)++] = mapping;
    }
    for (size_t i = taken; i < length; i++)
        text[i - taken] = text[i];
    return (long)(length - taken);
}

long mappings_read(struct mapping *mappings, char *text)
{
    long fd = opened("/proc/self/maps", 0);
    if (fd < 0)
        return fd;
    size_t count = 0;
    uintptr_t module = 0;
    long length = 0;
    for (;;) {
        long got = raw_syscall3(SYS_read, fd, (long)(text + length), TEXT_SIZE - length);
        if (got == -EINTR)
            continue;
        if (got <= 0) {
            length = got;
            break;
        }
        length = lines_taken(mappings, &count, &module, text, (size_t)(length + got));
        if (length < 0)
            break;
    }
    raw_syscall1(SYS_close, fd);
    return length < 0 ? length : (long)count;
}

const struct mapping *mapping_of(const struct mapping *mappings, size_t count, uintptr_t address)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (mappings[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && mappings[low].start <= address ? &mappings[low] : NULL;
}

/* --- threads ----------------------------------------------------------------------------------------------------------- */

static void state_path_made(char *path, uint32_t thread)
{
    static const char before[] = "/proc/self/task/", after[] = "/syscall";
    char digits[10];
    int count = 0;
    do
        digits[count++] = (char)('0' + thread % 10);
    while (thread /= 10);
    for (const char *c = before; *c; ++c)
        *path++ = *c;
    while (count)
        *path++ = digits[--count];
    for (const char *c = after; (*path++ = *c); ++c)
        ;
}

/*
 * "7 0x7ffd… 0x1 0xffffffff 0x0 0x8 0x0 0x7ffd…(SP) 0x7f12…(PC)", "-1 0x7ffd…(SP) 0x7f12…(PC)" outside of a system
 * call, "running".
 */
static struct thread_state state_from(uint32_t thread, const char *text, const char *end)
{
    struct thread_state state = {.thread = thread};
    if (text == end || *text == 'r')
        return state;
    int place = begins_with(text, end, "-1 ") ? STATE_STACK_POINTER : 0;
    for (; place < 8; place++) {
        text = next_word(text, end);
        if (!begins_with(text, end, "0x"))
            return state;
        text += 2;
        state.words[place] = hexadecimal(&text, end);
    }
    state.sleeps = true;
    return state;
}

static struct thread_state state_read(uint32_t thread)
{
    char path[48], text[256];
    state_path_made(path, thread);
    long fd = opened(path, 0);
    if (fd < 0)
        return (struct thread_state){.thread = thread};
    long length = raw_syscall3(SYS_read, fd, (long)text, sizeof(text));
    raw_syscall1(SYS_close, fd);
    return state_from(thread, text, text + (length > 0 ? length : 0));
}

struct directory_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

static uint32_t thread_named(const char *name)
{
    uint32_t thread = 0;
    for (; *name >= '0' && *name <= '9'; ++name)
        thread = thread * 10 + (uint32_t)(*name - '0');
    return thread;
}

void thread_states_read(struct mailbox *mailbox)
{
    mailbox->thread_count = 0;
    long directory = opened("/proc/self/task", O_DIRECTORY);
    if (directory < 0)
        return;
    for (;;) {
        long length = raw_syscall3(SYS_getdents64, directory, (long)mailbox->text, TEXT_SIZE);
        if (length <= 0)
            break;
        for (long at = 0; at < length;) {
            const struct directory_entry *entry = (const void *)(mailbox->text + at);
            at += entry->length;
            uint32_t thread = thread_named(entry->name);
            if (thread == 0 || thread == (uint32_t)mailbox->host_thread)
                continue;
            if (mailbox->thread_count < THREADS_MAX)
                mailbox->threads[mailbox->thread_count] = state_read(thread);
            mailbox->thread_count++;
        }
    }
    raw_syscall1(SYS_close, directory);
}

void thread_states_checked(struct mailbox *mailbox)
{
    for (size_t i = 0; i < mailbox->thread_count && i < THREADS_MAX; i++) {
        struct thread_state *state = &mailbox->threads[i];
        if (!state->sleeps)
            continue;
        struct thread_state now = state_read(state->thread);
        for (int word = 0; word < 8; word++)
            state->sleeps = state->sleeps && now.sleeps && now.words[word] == state->words[word];
    }
}
