/* SPDX-License-Identifier: Apache-2.0 */
/* build: shared */
/*
 * A client library of which there may be several copies: its handles know who made them. Built with other names by test_resolve.py:
 * -DLIBRARY_NAME="two" -Wl,-soname,libtwo.so.
 */
#include <stdlib.h>

#ifndef LIBRARY_NAME
#define LIBRARY_NAME "one"
#endif

enum { SQLITE_OK = 0, SQLITE_MISUSE = 21 };

struct sqlite3 {
    const char *maker;
};

static const char name[] = LIBRARY_NAME;

int sqlite3_open(const char *file, struct sqlite3 **db);
int sqlite3_close(struct sqlite3 *db);
int sqlite3_exec(struct sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **), void *context,
                 char **error);

int sqlite3_open(const char *file, struct sqlite3 **db)
{
    (void)file;
    *db = malloc(sizeof **db);
    (*db)->maker = name;
    return SQLITE_OK;
}

int sqlite3_close(struct sqlite3 *db)
{
    if (db->maker != name)
        return SQLITE_MISUSE;
    free(db);
    return SQLITE_OK;
}

int sqlite3_exec(struct sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **), void *context,
                 char **error)
{
    (void)sql, (void)error;
    return db->maker == name ? row(context, 0, NULL, NULL) : SQLITE_MISUSE;
}
