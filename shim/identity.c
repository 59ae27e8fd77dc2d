/* SPDX-License-Identifier: Apache-2.0 */
/* Who this process is, from /proc and by raw system calls; what cannot be read stays 0. */
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#define UNCLOSED_EXPORTS
#include <unclosed/unclosed.h>

#include "raw_syscall.h"
#include "shim.h"

size_t file_read(const char *path, char *buffer, size_t size)
{
    buffer[0] = 0;
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    size_t length = 0;
    while (length < size - 1) {
        long result = raw_syscall3(SYS_read, fd, (long)(buffer + length), (long)(size - 1 - length));
        if (result <= 0)
            break;
        length += (size_t)result;
    }
    raw_syscall1(SYS_close, fd);
    buffer[length] = 0;
    return length;
}

void link_read(const char *path, char *buffer, size_t size)
{
    long length = raw_syscall4(SYS_readlinkat, AT_FDCWD, (long)path, (long)buffer, (long)size - 1);
    buffer[length > 0 ? length : 0] = 0;
}

static uint64_t number_in(const char *text)
{
    uint64_t number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (uint64_t)(*text - '0');
    return number;
}

/* Field 22; counted from behind the last ')', for the program's name may hold anything. */
uint64_t start_ticks_of_self(void)
{
    char stat[1024];
    if (!file_read("/proc/self/stat", stat, sizeof(stat)))
        return 0;
    const char *at = strrchr(stat, ')');
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at ? number_in(at) : 0;
}

uint64_t pid_namespace_of_self(void)
{
    char target[64];
    link_read("/proc/self/ns/pid", target, sizeof(target));
    const char *number = strchr(target, '[');
    return number ? number_in(number + 1) : 0;
}

/* "python3.11" of "/usr/bin/python3.11 (deleted)"; only letters that are harmless in a file name. */
void program_name(char *name, size_t size)
{
    const char *base = strrchr(shim.executable, '/');
    base = base ? base + 1 : shim.executable;
    struct text text = text_in(name, size);
    for (; *base && *base != ' '; base++) {
        bool harmless = (*base >= 'a' && *base <= 'z') || (*base >= 'A' && *base <= 'Z') ||
                        (*base >= '0' && *base <= '9') || *base == '-' || *base == '_' || *base == '.' || *base == '+';
        text_bytes_added(&text, harmless ? base : "_", 1);
    }
    if (!name[0] || name[0] == '.')
        text_added(&text, "program");
}

static unsigned hexadecimal(char digit)
{
    return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)(digit - 'a' + 10);
}

static void boot_id_read(uint8_t id[16])
{
    char text[64];
    size_t digits = 0;
    file_read("/proc/sys/kernel/random/boot_id", text, sizeof(text));
    for (const char *at = text; *at && *at != '\n' && digits < 32; at++) {
        if (*at == '-')
            continue;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | hexadecimal(*at));
        digits++;
    }
}

static uint64_t calendar_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint32_t command_of_parent(void)
{
    if (!shim.inherited.header || !atomic_load(&shim.inherited.header->ready))
        return 0;
    const struct trace_process *parent = (const void *)shim.inherited.table[TABLE_PROCESS].base;
    const struct trace_string *command =
        (const void *)(shim.inherited.table[TABLE_STRING].base + (uint64_t)parent->command * 8);
    return parent->command ? bytes_interned(command->text, command->length) : 0;
}

static uint32_t command_line(void)
{
    static char arguments[4096], command[4096]; /* one thread begins, and its stack may be small */
    size_t length = file_read("/proc/self/cmdline", arguments, sizeof(arguments));
    if (!length) /* no /proc after a chroot */
        return command_of_parent();
    command_redacted(arguments, length, command, sizeof(command));
    return string_interned(command);
}

/* A forked child has another pid than its parent; the image may have been the parent's `run` all along. */
void process_described(struct trace_process *process)
{
    static char path[1024];
    static struct utsname system;
    process->pid = shim.pid;
    process->parent = (int32_t)raw_syscall0(SYS_getppid);
    process->start_ticks = shim.start_ticks;
    process->pid_namespace = pid_namespace_of_self();
    boot_id_read(process->boot_id);
    process->clock_monotonic = time_now();
    process->clock_realtime = calendar_now();
    process->started = shim.inherited.base ? process->clock_monotonic : shim.loaded_at;
    process->executable = string_interned(shim.executable);
    process->command = command_line();
    link_read("/proc/self/cwd", path, sizeof(path));
    process->directory = string_interned(path);
    if (raw_syscall1(SYS_uname, (long)&system) == 0)
        process->host = string_interned(system.nodename);
    process->label = string_interned(shim.options.label);
    process->version = string_interned(UNCLOSED_VERSION);
    process->capture_method = string_interned(capture_method());
    process->options = string_interned(shim.options.text);
    process->run = string_interned(shim.options.run);
    process->user_id = (uint32_t)raw_syscall0(SYS_geteuid);
    process->depth_limit = shim.options.depth;
    process->forked_from = shim.inherited.base ? shim.inherited_pid : 0;
    process->forked_start_ticks = shim.inherited_start_ticks;
    process->fork_generation = shim.fork_generation;
    atomic_store(&process->last_event, process->clock_monotonic);
}
