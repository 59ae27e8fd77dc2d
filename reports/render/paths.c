/* SPDX-License-Identifier: Apache-2.0 */
#include "paths.h"

#include <stdlib.h>
#include <string.h>

#include "../map.h"
#include "../row.h"

struct directories directories_read(sqlite3 *db)
{
    struct directories directories = {0};
    sqlite3_stmt *statement = prepared(db, "SELECT DISTINCT rtrim(directory, '/') AS path FROM process "
                                           "WHERE path LIKE '/_%' ORDER BY length(path) DESC, path LIMIT 64");

    while (row_fetched(statement, NULL)) {
        char *path = strdup(text_of(statement, 0));
        if (path == NULL)
            memory_exhausted();
        ROOM_FOR_ONE(directories.paths, directories.count);
        directories.paths[directories.count++] = path;
    }
    sqlite3_finalize(statement);
    return directories;
}

void directories_freed(struct directories *directories)
{
    for (size_t i = 0; i < directories->count; i++)
        free(directories->paths[i]);
    free(directories->paths);
    *directories = (struct directories){0};
}

const char *path_shown(const struct directories *directories, const char *path)
{
    for (size_t i = 0; i < directories->count; i++) {
        size_t length = strlen(directories->paths[i]);
        if (strncmp(path, directories->paths[i], length) == 0 && path[length] == '/' && path[length + 1] != '\0')
            return path + length + 1;
    }
    return path;
}
