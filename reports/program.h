/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program is, read from its file before it runs or long after it ended: can the shim be loaded into it, and does
 * it use a library that the shim watches?
 *
 *     /usr/local/bin/tool -> {script "/usr/local/bin/tool", path "/usr/bin/python3.11", OBSTACLE_NONE, interpreter "python"}
 *     /opt/go-app         -> {path "/opt/go-app", OBSTACLE_STATIC, embedded sqlite3}
 *
 * Nothing in these files is trusted; what cannot be read is as if it were not there.
 */
#ifndef UNCLOSED_REPORTS_PROGRAM_H
#define UNCLOSED_REPORTS_PROGRAM_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* Why LD_PRELOAD has no effect on a program. The first that applies. */
enum program_obstacle {
    OBSTACLE_NONE,
    OBSTACLE_STATIC,  /* no dynamic loader */
    OBSTACLE_CLASS,   /* 32-bit program, 64-bit shim */
    OBSTACLE_MACHINE, /* another processor's program, run by an emulator */
    OBSTACLE_MUSL,
    OBSTACLE_LOADER,     /* a dynamic loader that is neither glibc's nor musl's */
    OBSTACLE_PRIVILEGED, /* setuid, setgid or file capabilities: the loader drops LD_PRELOAD */
};

/* Client libraries that the shim watches; a set of them is a bit mask of 1u << enum. */
enum watched_library { WATCHED_SQLITE3, WATCHED_LIBPQ, WATCHED_COUNT };

struct program {
    char path[PATH_MAX];   /* the image that the kernel runs, links resolved: of a script, its interpreter */
    char script[PATH_MAX]; /* the script; "" : none */
    enum program_obstacle obstacle;
    unsigned linked;        /* watched libraries among the shared libraries it needs, directly or not */
    unsigned embedded;      /* watched libraries built into it, or into a library it needs: never seen by the shim */
    char interpreter[16];   /* "python", "perl" …: may load any library while it runs; "" : none */
    bool address_sanitizer; /* needs AddressSanitizer's shared runtime, which refuses to start behind a preload */
};

/*
 * Looks a command up as execvp does: `path` (as of $PATH, NULL: the system's default) unless the name holds a slash.
 * True: found[] names a file that exists and may be executed. False: *error is ENOENT, or why the best match will not do.
 */
bool program_located(const char *name, const char *path, char found[PATH_MAX], int *error);

/* Reads the executable at `file`, through a script's #! line. False: no executable of any sort that can be read. */
bool program_inspected(const char *file, struct program *program);

/* Interpreters aside: does it use a watched library, as far as its files tell? */
static inline bool program_uses_database(const struct program *program)
{
    return program->linked || program->embedded;
}

/* "sqlite3", "libpq": the names that traces and reports use. */
const char *watched_library_name(enum watched_library library);

/* "sqlite3, libpq" for a set; words[] is filled and returned. */
const char *watched_libraries_named(unsigned libraries, char words[64]);

/* Does this system have musl's dynamic loader? */
bool system_has_musl(void);

#endif
