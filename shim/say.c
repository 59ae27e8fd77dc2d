/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "raw_syscall.h"
#include "shim.h"

void text_bytes_added(struct text *text, const char *bytes, size_t length)
{
    size_t room = (size_t)(text->end - text->at);
    if (length > room)
        length = room;
    memcpy(text->at, bytes, length);
    text->at += length;
    *text->at = 0;
}

void text_added(struct text *text, const char *more)
{
    text_bytes_added(text, more, strlen(more));
}

void number_added(struct text *text, uint64_t number)
{
    char digits[20];
    size_t count = 0;
    do
        digits[sizeof(digits) - ++count] = (char)('0' + number % 10);
    while (number /= 10);
    text_bytes_added(text, digits + sizeof(digits) - count, count);
}

static const char *error_words(int error)
{
    static const struct {
        int error;
        const char *words;
    } known[] = {
        {EACCES, "permission denied"},
        {EPERM, "not permitted"},
        {EROFS, "read-only file system"},
        {ENOENT, "no such directory"},
        {ENOTDIR, "not a directory"},
        {ENOSPC, "no space left on device"},
        {EDQUOT, "disk quota exceeded"},
        {EFBIG, "file size limit too low"},
        {EMFILE, "no file descriptor left"},
        {ENFILE, "too many open files in the system"},
        {ENOMEM, "no memory or address space left"},
        {EEXIST, "it exists already"},
        {ELOOP, "it is a symbolic link"},
        {EINVAL, "not supported by this file system"},
        {EFAULT, "no space left on device"},
        {EIO, "input/output error"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].error == error)
            return known[i].words;
    return NULL;
}

bool stderr_is_ours(void)
{
    struct stat now;
    return !atomic_load(&shim.sealed) && raw_syscall2(SYS_fstat, 2, (long)&now) == 0 &&
           now.st_dev == shim.stderr_device && now.st_ino == shim.stderr_inode;
}

static bool is_writable_at_once(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLOUT};
    struct timespec now = {0};
    return raw_syscall5(SYS_ppoll, (long)&wanted, 1, (long)&now, 0, 0) == 1;
}

/* A reader that is gone (SIGPIPE), a size limit (SIGXFSZ), a terminal of others (SIGTTOU): none of that is the program's doing. */
bool harmlessly_written(int fd, const void *bytes, size_t size)
{
    uint64_t all = ~UINT64_C(0), before, pending = 0;
    raw_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&before, sizeof(all));
    raw_syscall2(SYS_rt_sigpending, (long)&pending, sizeof(pending));
    long result = is_writable_at_once(fd) ? raw_syscall3(SYS_write, fd, (long)bytes, (long)size) : -EAGAIN;
    int raised = result == -EPIPE ? SIGPIPE : result == -EFBIG ? SIGXFSZ : 0;
    uint64_t ours = raised ? (UINT64_C(1) << (raised - 1)) & ~pending : 0;
    struct timespec now = {0};
    if (ours)
        raw_syscall4(SYS_rt_sigtimedwait, (long)&ours, 0, (long)&now, sizeof(ours));
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof(before));
    return result == (long)size;
}

void said(const char *why, const char *what, int error)
{
    if (!stderr_is_ours())
        return;
    char line[1600];
    struct text text = text_in(line, sizeof(line) - 1);
    text_added(&text, "unclosed: ");
    text_added(&text, why);
    if (what) {
        text_added(&text, " ");
        text_added(&text, what);
    }
    if (error) {
        const char *words = error_words(error);
        text_added(&text, words ? ": " : ": error ");
        if (words)
            text_added(&text, words);
        else
            number_added(&text, (uint64_t)error);
    }
    *text.at++ = '\n';
    harmlessly_written(2, line, (size_t)(text.at - line));
}

/* FNV-1a, 64 bit: short keys, no table, no alignment needs. */
uint64_t hash_of(const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash ^ (hash >> 29);
}
