/* SPDX-License-Identifier: Apache-2.0 */
#include "processes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map.h"

/* --- is it there? ------------------------------------------------------------------------------------------------------ */

static bool file_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return false;
    text[length] = '\0';
    return true;
}

/* False: not known. */
static bool boot_id_read(uint8_t id[16])
{
    char text[64];
    int digits = 0;

    if (!file_read("/proc/sys/kernel/random/boot_id", text, sizeof(text)))
        return false;
    memset(id, 0, 16);
    for (const char *at = text; *at && digits < 32; at++) {
        int digit = *at >= '0' && *at <= '9' ? *at - '0' : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10 : -1;
        if (digit < 0)
            continue;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | digit);
        digits++;
    }
    return digits == 32;
}

/* Field 22 of /proc/PID/stat; the command in field 2 may hold blanks and brackets. 0: no such process, or a zombie. */
static uint64_t start_ticks_of(int32_t pid)
{
    char path[32], text[1024], state = 'X';
    const char *rest;
    uint64_t ticks = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (pid <= 0 || !file_read(path, text, sizeof(text)) || !(rest = strrchr(text, ')')))
        return 0;
    if (sscanf(rest + 1, " %c", &state) != 1 || state == 'Z' || state == 'X')
        return 0;
    rest++;
    for (int field = 3; field < 22 && rest; field++)
        rest = strchr(rest + 1, ' ');
    if (rest)
        ticks = strtoull(rest, NULL, 10);
    return ticks;
}

static bool is_ours(uint64_t pid_namespace)
{
    struct stat status;

    return !pid_namespace || stat("/proc/self/ns/pid", &status) != 0 || status.st_ino == pid_namespace;
}

static bool is_other_boot(const uint8_t id[16])
{
    static const uint8_t unknown[16];
    uint8_t ours[16];

    return memcmp(id, unknown, sizeof(unknown)) != 0 && boot_id_read(ours) && memcmp(id, ours, sizeof(ours)) != 0;
}

enum presence process_presence(const struct trace_process *process, const char *host)
{
    char here[65] = "";
    int32_t pid = is_ours(process->pid_namespace) ? process->pid : process->outer_pid;

    if (is_other_boot(process->boot_id)) {
        gethostname(here, sizeof(here) - 1);
        return host && strcmp(host, here) == 0 ? PRESENCE_GONE : PRESENCE_UNKNOWN;
    }
    if (pid <= 0)
        return PRESENCE_UNKNOWN;
    return start_ticks_of(pid) == process->start_ticks && process->start_ticks ? PRESENCE_RUNNING : PRESENCE_GONE;
}

struct ending process_ending(const struct trace_process *process, enum presence presence)
{
    static const char *const words[] = {
        [PRESENCE_RUNNING] = "running", [PRESENCE_GONE] = "killed", [PRESENCE_UNKNOWN] = "unknown"};
    struct ending ending = {.ended = words[presence]};

    switch ((enum trace_end)process->end) {
    case END_EXIT:
    case END_IMMEDIATE:
    case END_QUICK:
    case END_THREADS:
        ending.ended = "exit";
        ending.has_status = true;
        ending.status = process->end == END_THREADS ? 0 : process->end_status & 0xff;
        break;
    case END_EXEC:
        ending.ended = "exec";
        break;
    case END_NONE:
        break;
    }
    if (ending.has_status)
        snprintf(ending.words, sizeof(ending.words), "exit %d", ending.status);
    else
        snprintf(ending.words, sizeof(ending.words), "%s", ending.ended);
    return ending;
}

/* --- who was forked from whom ------------------------------------------------------------------------------------------- */

void image_added(struct images *images, const struct image *image)
{
    ROOM_FOR_ONE(images->list, images->count);
    images->list[images->count++] = *image;
}

/* Among the images of a process, the last that began before `later` did. `start_ticks` 0: any. */
static const struct image *image_at(const struct images *images, int32_t pid, uint64_t start_ticks,
                                    const struct image *later)
{
    const struct image *best = NULL;

    for (size_t i = 0; i < images->count; i++) {
        const struct image *image = &images->list[i];
        if (image->pid == pid && image->boot == later->boot && image != later && image->started <= later->started &&
            (!start_ticks || image->start_ticks == start_ticks) && (!best || image->started >= best->started))
            best = image;
    }
    return best;
}

const struct image *image_forked_from(const struct images *images, const struct image *child)
{
    return child->forked_from ? image_at(images, child->forked_from, child->forked_start_ticks, child) : NULL;
}

const struct image *image_of_pid(const struct images *images, int32_t pid, const struct image *later)
{
    const struct image *ancestor = image_forked_from(images, later);

    for (size_t generations = 0; generations < images->count && ancestor; generations++) {
        if (ancestor->pid == pid)
            return ancestor;
        ancestor = image_forked_from(images, ancestor);
    }
    return image_at(images, pid, 0, later);
}
