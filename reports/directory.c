/* SPDX-License-Identifier: Apache-2.0 */
#include "directory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unclosed/trace.h>
#include <unistd.h>

static const char default_directory[] = "unclosed-report";
static const char marker_name[] = ".unclosed-run";
static const char traces_name[] = "traces";
static const char own_ignores[] = "/.gitignore\n/.unclosed-run\n/traces/\n/index.html\n/report.db\n";

enum {
    REFUSED = -1, /* a message was printed; any other non-zero result is an errno: no place to write to */
    ROLLCALL_ROOM = 256 * (int)sizeof(struct rollcall_record),
    SHIM_DIRECTORY_MAX = 1000, /* the shim keeps the name in 1024 bytes */
    NESTED_MAX = 8,
};

bool directory_named(const char *pattern, const char *name, pid_t pid, char directory[PATH_MAX])
{
    size_t length = 0;
    for (const char *at = pattern; *at && length < PATH_MAX; at++) {
        if (*at != '%') {
            directory[length++] = *at;
            continue;
        }
        int added;
        switch (*++at) {
        case 'n':
            added = snprintf(directory + length, PATH_MAX - length, "%s", name);
            break;
        case 'p':
            added = snprintf(directory + length, PATH_MAX - length, "%ld", (long)pid);
            break;
        case '%':
            added = snprintf(directory + length, PATH_MAX - length, "%%");
            break;
        default:
            fprintf(stderr,
                    "unclosed: error: -o %s: %%n is the program's name, %%p the process id, %%%% a percent sign; "
                    "nothing else may follow a %%\n",
                    pattern);
            return false;
        }
        length += (size_t)added;
    }
    if (length == 0 || length >= PATH_MAX) {
        fprintf(stderr, "unclosed: error: -o %s: %s\n", pattern,
                length ? "the name is too long" : "no directory is named");
        return false;
    }
    directory[length] = 0;
    return true;
}

/* --- what the last run left ---------------------------------------------------------------------------------------- */

static bool is_entry(int directory, const char *name)
{
    struct stat status;
    return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static DIR *listed(int directory)
{
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (!list && copy >= 0)
        close(copy);
    return list;
}

static bool is_empty(int directory)
{
    DIR *list = listed(directory);
    bool empty = true;
    for (const struct dirent *entry; empty && list && (entry = readdir(list)) != NULL;)
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    if (list)
        closedir(list);
    return empty;
}

static bool is_suffix(const char *suffix, const char *text)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length > tail && !strcmp(text + length - tail, suffix);
}

static void traces_removed(int directory)
{
    int traces = openat(directory, traces_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = traces < 0 ? NULL : listed(traces);
    for (const struct dirent *entry; list && (entry = readdir(list)) != NULL;)
        if (is_suffix(".trace", entry->d_name) || !strcmp(entry->d_name, ROLLCALL_FILE))
            unlinkat(traces, entry->d_name, 0);
    if (list)
        closedir(list);
    if (traces >= 0)
        close(traces);
}

/* Removes the files that the marker lists. */
static void results_removed(int directory, int marker)
{
    int copy = dup(marker);
    FILE *names = copy < 0 ? NULL : fdopen(copy, "r");
    char line[NAME_MAX + 2];
    if (names)
        rewind(names);
    for (bool first = true; names && fgets(line, sizeof line, names); first = false) {
        line[strcspn(line, "\n")] = 0;
        if (!first && *line && !strchr(line, '/'))
            unlinkat(directory, line, 0);
    }
    if (names)
        fclose(names);
    else if (copy >= 0)
        close(copy);
}

static void emptied(int directory, int marker, int depth);

/* Removes run.PID/, of a run inside the last run, if that made it. */
static void nested_removed(int directory, const char *name, int depth)
{
    int nested = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int marker = nested < 0 ? -1 : openat(nested, marker_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (marker >= 0 && flock(marker, LOCK_EX | LOCK_NB) == 0) {
        emptied(nested, marker, depth + 1);
        unlinkat(nested, marker_name, 0);
        unlinkat(nested, ".gitignore", 0);
        unlinkat(nested, traces_name, AT_REMOVEDIR);
        unlinkat(directory, name, AT_REMOVEDIR);
    }
    if (marker >= 0)
        close(marker);
    if (nested >= 0)
        close(nested);
}

static void emptied(int directory, int marker, int depth)
{
    results_removed(directory, marker);
    traces_removed(directory);
    DIR *list = depth < NESTED_MAX ? listed(directory) : NULL;
    for (const struct dirent *entry; list && (entry = readdir(list)) != NULL;)
        if (!strncmp(entry->d_name, "run.", 4) && isdigit((unsigned char)entry->d_name[4]) &&
            entry->d_name[4 + strspn(entry->d_name + 4, "0123456789")] == 0)
            nested_removed(directory, entry->d_name, depth);
    if (list)
        closedir(list);
}

/* --- made ready --------------------------------------------------------------------------------------------------------- */

/* Makes a directory and those above it. 0 or errno. */
static int directories_made(const char *path, bool *made)
{
    char part[PATH_MAX];
    struct stat status;
    *made = false;
    for (const char *at = path + (*path == '/');; at++) {
        at = strchrnul(at, '/');
        snprintf(part, sizeof part, "%.*s", (int)(at - path), path);
        *made = mkdir(part, 0777) == 0;
        int error = errno;
        if (!*made && stat(part, &status))
            return error;
        if (!*at || !at[1])
            return 0;
    }
}

static int file_written(int directory, const char *name, const char *text)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno == EEXIST ? 0 : errno;
    ssize_t written = write(fd, text, strlen(text));
    int error = written < 0 ? errno : (size_t)written < strlen(text) ? ENOSPC : 0;
    close(fd);
    return error;
}

/* The traces directory and the roll call in it. Processes that are about to give up root's rights must get at both. */
static int traces_made(int directory)
{
    bool shared = geteuid() == 0;
    if (mkdirat(directory, traces_name, 0700) && errno != EEXIST)
        return errno;
    int traces = openat(directory, traces_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (traces < 0)
        return errno;
    int error = fchmod(traces, shared ? 01733 : 0700) ? errno : 0;
    int rollcall =
        error ? -1 : openat(traces, ROLLCALL_FILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (!error && rollcall < 0)
        error = errno;
    if (!error && shared && fchmod(rollcall, 0622))
        error = errno;
    if (!error && fallocate(rollcall, FALLOC_FL_KEEP_SIZE, 0, ROLLCALL_ROOM) && errno != EOPNOTSUPP && errno != ENOSYS)
        error = errno;
    if (rollcall >= 0)
        close(rollcall);
    close(traces);
    return error;
}

static void lock_holder_told(const char *path, int marker)
{
    char text[32] = "";
    ssize_t size = pread(marker, text, sizeof text - 1, 0);
    text[size > 0 ? strcspn(text, "\n") : 0] = 0;
    fprintf(stderr,
            "unclosed: error: %s is in use by another `unclosed run` (%s); give each its own: "
            "-o 'unclosed-report-%%p'\n",
            path, *text ? text : "just started");
}

static bool is_taken(const char *path, int directory)
{
    static const char *const names[] = {"traces", "index.html", "report.db"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (is_entry(directory, names[i])) {
            fprintf(stderr,
                    "unclosed: error: %s/%s is there already and was not left by `unclosed run`; "
                    "choose another directory with -o\n",
                    path, names[i]);
            return true;
        }
    }
    return false;
}

/* All in a directory that is open and locked. */
static int contents_made(const struct run_directory *directory, int fd, bool was_foreign)
{
    char text[64];
    int length = snprintf(text, sizeof text, "pid %ld\nindex.html\nreport.db\n", (long)getpid());
    emptied(fd, directory->lock, 0);
    if (ftruncate(directory->lock, 0) || pwrite(directory->lock, text, (size_t)length, 0) != length)
        return errno ? errno : ENOSPC;
    int error = file_written(fd, ".gitignore", was_foreign ? own_ignores : "*\n");
    return error ? error : traces_made(fd);
}

/* What contents_made began and could not finish. */
static void contents_undone(struct run_directory *directory, int fd)
{
    traces_removed(fd);
    unlinkat(fd, traces_name, AT_REMOVEDIR);
    unlinkat(fd, ".gitignore", 0);
    unlinkat(fd, marker_name, 0);
    rmdir(directory->path);
}

/* 0, REFUSED, or why it cannot be written to. */
static int prepared_at(struct run_directory *directory, const char *path)
{
    bool made;
    int error = directories_made(path, &made);
    int fd = error ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!error && fd < 0)
        error = errno;
    if (error == ENOTDIR || error == ENAMETOOLONG || error == ELOOP) {
        fprintf(stderr, "unclosed: error: %s cannot hold a report: %s; choose another directory with -o\n", path,
                strerror(error));
        return REFUSED;
    }
    if (error)
        return error;
    bool marked = is_entry(fd, marker_name), was_foreign = !marked && !is_empty(fd);
    error = REFUSED;
    if (was_foreign && is_taken(path, fd))
        goto out;
    if (!realpath(path, directory->path) || strlen(directory->path) > SHIM_DIRECTORY_MAX) {
        fprintf(stderr, "unclosed: error: the name of %s is too long; choose another directory with -o\n", path);
        goto out;
    }
    snprintf(directory->traces, sizeof directory->traces, "%.*s/%s", SHIM_DIRECTORY_MAX, directory->path, traces_name);
    directory->lock = openat(fd, marker_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (directory->lock < 0) {
        error = errno;
        if (made)
            rmdir(path);
        goto out;
    }
    if (flock(directory->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
        lock_holder_told(path, directory->lock);
        goto out;
    }
    error = made && geteuid() == 0 && fchmod(fd, 0755) ? errno : 0;
    if (!error)
        error = contents_made(directory, fd, was_foreign);
    if (error && !marked && !was_foreign)
        contents_undone(directory, fd);
out:
    if (error)
        directory_released(directory);
    close(fd);
    return error;
}

/* Inside of a run whose directory is our default, our place is a directory in that one. */
static bool nested_named(const char *outer_traces, char nested[PATH_MAX])
{
    struct stat ours, outer;
    if (!outer_traces || stat("unclosed-report/traces", &ours) || stat(outer_traces, &outer) ||
        ours.st_dev != outer.st_dev || ours.st_ino != outer.st_ino)
        return false;
    snprintf(nested, PATH_MAX, "%s/run.%ld", default_directory, (long)getpid());
    return true;
}

bool directory_prepared(struct run_directory *directory, const char *wanted, const char *outer_traces)
{
    char nested[PATH_MAX], elsewhere[PATH_MAX];
    *directory = (struct run_directory){.lock = -1};
    if (!wanted)
        wanted = nested_named(outer_traces, nested) ? nested : default_directory;
    int error = prepared_at(directory, wanted);
    if (error == 0 || error == REFUSED)
        return error == 0;

    const char *temporary = getenv("TMPDIR");
    snprintf(elsewhere, sizeof elsewhere, "%s/unclosed-report.XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(elsewhere) || (geteuid() == 0 && chmod(elsewhere, 0711)) || prepared_at(directory, elsewhere)) {
        fprintf(stderr,
                "unclosed: error: cannot write to %s: %s; nor is there a place below %s; "
                "choose a directory with -o\n",
                wanted, strerror(error), temporary ? temporary : "/tmp");
        return false;
    }
    fprintf(stderr, "unclosed: warning: cannot write to %s: %s; the report goes to %s\n", wanted, strerror(error),
            directory->path);
    return true;
}

void directory_will_hold(struct run_directory *directory, const char *name)
{
    if (directory->lock >= 0 && lseek(directory->lock, 0, SEEK_END) >= 0)
        dprintf(directory->lock, "%s\n", name);
}

void directory_released(struct run_directory *directory)
{
    if (directory->lock >= 0)
        close(directory->lock);
    directory->lock = -1;
}
