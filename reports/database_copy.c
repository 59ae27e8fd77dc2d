/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run database in memory with today's schema, from a file that an earlier version may have made: tables and columns
 * by name. What the file lacks keeps its default; what today's schema does not know is left behind, and so are views.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "database.h"

struct copying {
    sqlite3 *from, *to;
    char columns[4096], places[1024]; /* "id, process, kind", "?, ?, ?" */
    int count;
};

static bool has_column(sqlite3 *db, const char *table, const char *column)
{
    sqlite3_stmt *statement = prepared(db, "SELECT 1 FROM pragma_table_info(?) WHERE name = ?");
    if (!statement)
        return false;
    sqlite3_bind_text(statement, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, column, -1, SQLITE_STATIC);
    bool found = row_fetched(statement, NULL);
    sqlite3_finalize(statement);
    return found;
}

/* The names come from our own schema, never from the file. */
static bool shared_columns_listed(struct copying *copying, const char *table)
{
    bool failed = false;
    size_t length = 0, places = 0;
    sqlite3_stmt *statement = prepared(copying->to, "SELECT name FROM pragma_table_info(?)");
    if (!statement)
        return false;
    copying->count = 0;
    sqlite3_bind_text(statement, 1, table, -1, SQLITE_STATIC);
    while (row_fetched(statement, &failed)) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        if (!has_column(copying->from, table, name) || length + strlen(name) + 8 > sizeof copying->columns ||
            places + 4 > sizeof copying->places)
            continue;
        const char *comma = copying->count++ ? ", " : "";
        length +=
            (size_t)snprintf(copying->columns + length, sizeof copying->columns - length, "%s\"%s\"", comma, name);
        places += (size_t)snprintf(copying->places + places, sizeof copying->places - places, "%s?", comma);
    }
    sqlite3_finalize(statement);
    return !failed;
}

static bool rows_copied(struct copying *copying, const char *table)
{
    char sql[6144];
    bool failed = false;
    snprintf(sql, sizeof sql, "SELECT %s FROM \"%s\"", copying->columns, table);
    sqlite3_stmt *rows = prepared(copying->from, sql);
    snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO \"%s\" (%s) VALUES (%s)", table, copying->columns,
             copying->places);
    sqlite3_stmt *row = rows ? prepared(copying->to, sql) : NULL;
    while (row && !failed && row_fetched(rows, &failed)) {
        for (int i = 0; i < copying->count; i++)
            sqlite3_bind_value(row, i + 1, sqlite3_column_value(rows, i));
        if (sqlite3_step(row) != SQLITE_DONE) {
            fprintf(stderr, "unclosed: error: report.db: %s\n", sqlite3_errmsg(copying->to));
            failed = true;
        }
        sqlite3_reset(row);
    }
    failed |= !row;
    sqlite3_finalize(rows);
    sqlite3_finalize(row);
    return !failed;
}

static bool tables_copied(struct copying *copying)
{
    bool failed = false;
    sqlite3_stmt *tables = prepared(
        copying->to, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name");
    while (tables && !failed && row_fetched(tables, &failed)) {
        const char *table = (const char *)sqlite3_column_text(tables, 0);
        failed |= !shared_columns_listed(copying, table) || (copying->count && !rows_copied(copying, table));
    }
    sqlite3_finalize(tables);
    return tables && !failed;
}

sqlite3 *database_copied(const char *path)
{
    struct copying *copying = calloc(1, sizeof *copying);
    sqlite3 *copy = NULL;
    if (!copying)
        return NULL;
    copying->from = database_opened(path);
    copying->to = copying->from ? database_created(":memory:") : NULL;
    if (copying->to && executed(copying->to, "BEGIN") && tables_copied(copying) && executed(copying->to, "COMMIT"))
        copy = copying->to;
    else
        database_closed(copying->to);
    database_closed(copying->from);
    free(copying);
    return copy;
}
