/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns of the row that row_fetched() has just given (reports/database.h). Text is valid until the next step; NULL
 * reads as "" and 0.
 */
#ifndef UNCLOSED_REPORTS_ROW_H
#define UNCLOSED_REPORTS_ROW_H

#include "database.h"

static inline const char *text_of(sqlite3_stmt *statement, int column)
{
    const unsigned char *characters = sqlite3_column_text(statement, column);
    return characters != NULL ? (const char *)characters : "";
}

static inline int64_t integer_of(sqlite3_stmt *statement, int column)
{
    return sqlite3_column_int64(statement, column);
}

static inline bool is_null(sqlite3_stmt *statement, int column)
{
    return sqlite3_column_type(statement, column) == SQLITE_NULL;
}

/* Begins a prepared query anew with its first parameter set. */
static inline void begun_with(sqlite3_stmt *statement, struct value first)
{
    sqlite3_reset(statement);
    if (first.type == VALUE_INTEGER)
        sqlite3_bind_int64(statement, 1, first.integer);
    else if (first.type == VALUE_TEXT)
        sqlite3_bind_text(statement, 1, first.text, -1, SQLITE_TRANSIENT);
    else
        sqlite3_bind_null(statement, 1);
}

#endif
