/* SPDX-License-Identifier: Apache-2.0 */
/* build: */
/* Calls functions that nobody defines: weak references, which only the shim makes callable. */
#include <stdio.h>

struct sqlite3;
int sqlite3_open(const char *file, struct sqlite3 **db) __attribute__((weak));
int sqlite3_blob_open(struct sqlite3 *db, const char *database, const char *table, const char *column, long long row,
                      int flags, void **blob) __attribute__((weak));

int main(void)
{
    struct sqlite3 *db = (struct sqlite3 *)&db;
    void *blob = &blob;
    if (!sqlite3_open || !sqlite3_blob_open)
        return 0;
    int result = sqlite3_open("file", &db);
    printf("%d %s\n", result, db ? "left alone" : "NULL");
    result = sqlite3_blob_open(db, "main", "t", "c", 1, 0, &blob);
    printf("%d %s\n", result, blob ? "left alone" : "NULL");
    return 0;
}
