/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths as people write them: without the directory that a process ran in, where they are below one.
 *
 *     /srv/shop/app/orders.py  →  app/orders.py        for a run in /srv/shop
 */
#ifndef UNCLOSED_REPORTS_PATHS_H
#define UNCLOSED_REPORTS_PATHS_H

#include <sqlite3.h>
#include <stddef.h>

struct directories {
    char **paths; /* longest first */
    size_t count;
};

/* Those of all processes, "/" left out. Free with directories_freed(). */
struct directories directories_read(sqlite3 *db);
void directories_freed(struct directories *directories);

/* Points into `path`. */
const char *path_shown(const struct directories *directories, const char *path);

#endif
