/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h: whose code a frame is, and which frame of a stack is the place to look at.
 *
 * Decided from paths alone; no file is touched. Pure functions, callable from any thread.
 *
 *     /srv/app/bin/server          /build/server/src/pool.c       user           what is nobody else's
 *     /srv/app/bin/server          /usr/include/c++/12/vector     system         the standard library, inlined
 *     …/site-packages/x/y.so                                      third-party    whatever a package manager put there
 *     /usr/bin/postgres                                           third-party    a program of the system, not yours
 *     /usr/lib/…/libcurl.so.4, libc.so.6, python3.11, Python's own library       system
 *     libpq.so.5, libsqlite3.so.0, sqlite3.c, libunclosed.so      driver         what opened the handle, and we
 */
#ifndef UNCLOSED_REPORTS_PLACE_H
#define UNCLOSED_REPORTS_PLACE_H

#include <stdbool.h>
#include <stddef.h>

enum code_owner { CODE_USER, CODE_THIRD_PARTY, CODE_SYSTEM, CODE_DRIVER };
enum code_language { CODE_C, CODE_PYTHON }; /* CODE_C: everything native */

/* Both lists are NULL-terminated, or NULL. */
struct code_rules {
    /* Directories whose code is the user's, also below /usr. What lies in a site-packages or the like *inside* such a
     * directory still is third-party (an application that carries its virtual environment). */
    const char *const *app_roots;
    /* Patterns of paths that are not: a directory ("/srv/app/vendor") or a shell pattern that may cross slashes
     * (one that is to match anywhere begins and ends with a star). They win over app_roots. */
    const char *const *third_party;
};

/* module_path: of a native frame; NULL or "" if unknown. source_file: NULL or "" if unknown. `rules` may be NULL. */
enum code_owner code_owner_of(const struct code_rules *rules, const char *module_path, const char *source_file,
                              enum code_language language);
/* Anywhere in a path: our own adapter for Python. */
#define ADAPTER_DIRECTORY "/python/_unclosed/"

/* Is that module an interpreter (python3.11, libpython3.11.so.1.0)? */
bool is_python_interpreter(const char *module_path);

/* Length of what stands before /lib/python3.11/ (or lib64) in a path: "/usr", "/srv/venv"; 0: that is not in it. */
size_t python_prefix(const char *path);

const char *code_owner_name(enum code_owner owner); /* "user" "third-party" "system" "driver" */

/*
 * "where", as an index into a stack's owners, innermost first: the first frame of the user's own code; without one, the
 * innermost that is not the driver; without that, the innermost. 0 for an empty stack.
 */
size_t place_found(const enum code_owner *owners, size_t count);

#endif
