/* SPDX-License-Identifier: Apache-2.0 */
/* "Present": one record in the run's file for each program image that loaded us, or that we see being started. */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "injection.h"
#include "raw_syscall.h"
#include "shim.h"

/* "./tool" becomes "/srv/app/./tool": who reads it does not know our directory. A name without a slash is sought in
 * PATH by the exec itself. */
static void path_written(char *text, size_t size, const char *path)
{
    struct text out = text_in(text, size);
    if (path[0] != '/' && strchr(path, '/')) {
        long length = raw_syscall2(SYS_getcwd, (long)text, (long)size - 1);
        if (length > 1) {
            out.at += length - 1;
            text_added(&out, "/");
        }
    }
    text_added(&out, path);
}

/* Under a file size limit the kernel would write half a record, and all that follow would be out of step. */
static bool has_room_for_record(long fd)
{
    struct rlimit limit;
    long size = raw_syscall3(SYS_lseek, fd, 0, SEEK_END);
    return raw_syscall4(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&limit) != 0 ||
           (uint64_t)size + sizeof(struct rollcall_record) <= limit.rlim_cur;
}

/* Only system calls and its own stack: also runs in vfork children, which share our memory. */
void roll_called(enum rollcall_type type, pid_t pid, const char *text, unsigned flags)
{
    if (!shim.options.run[0] || !shim.options.directory[0] || atomic_load(&shim.sealed))
        return;
    char path[sizeof(shim.options.directory) + 16];
    struct text name = text_in(path, sizeof(path));
    text_added(&name, shim.options.directory);
    text_added(&name, "/" ROLLCALL_FILE);
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                           raw_syscall0(SYS_geteuid) == 0 ? 0622 : 0600);
    if (fd < 0)
        return;
    struct rollcall_record record;
    memset(&record, 0, sizeof(record));
    record.magic = ROLLCALL_MAGIC;
    record.size = sizeof(record);
    record.type = (uint8_t)type;
    record.flags = (uint8_t)(flags | (type == ROLLCALL_LOADED && is_python_program() ? ROLLCALL_PYTHON : 0));
    record.pid = pid ? pid : (pid_t)raw_syscall0(SYS_getpid);
    record.parent = (int32_t)raw_syscall0(SYS_getppid);
    record.start_ticks = record.pid == shim.pid ? shim.start_ticks : 0;
    record.pid_namespace = record.pid == shim.pid ? shim.pid_namespace : pid_namespace_of_self();
    record.time = time_now();
    if (text) {
        record.text_cut = strlen(text) >= sizeof(record.text);
        if (type == ROLLCALL_STARTS)
            path_written(record.text, sizeof(record.text), text);
        else
            memcpy(record.text, text, record.text_cut ? sizeof(record.text) - 1 : strlen(text));
    } else {
        struct text out = text_in(record.text, sizeof(record.text));
        text_added(&out, shim.executable);
    }
    if (has_room_for_record(fd))
        harmlessly_written((int)fd, &record, sizeof(record));
    raw_syscall1(SYS_close, fd);
}
