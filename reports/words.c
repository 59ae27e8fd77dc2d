/* SPDX-License-Identifier: Apache-2.0 */
#include "words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *number_said(struct words *words, int64_t number)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)number);
    char *out = words->text;

    for (int i = 0; i < length; i++) {
        int left = length - i;
        if (i > 0 && left % 3 == 0 && digits[i - 1] != '-')
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return words->text;
}

const char *duration_said(struct words *words, int64_t nanoseconds)
{
    int64_t ns = nanoseconds > 0 ? nanoseconds : 0;
    double seconds = (double)ns / 1e9;
    long long whole = (long long)seconds;
    size_t size = sizeof words->text;

    if (ns < 1000000)
        snprintf(words->text, size, "%lld µs", (long long)(ns / 1000));
    else if (ns < 1000000000)
        snprintf(words->text, size, "%lld ms", (long long)(ns / 1000000));
    else if (seconds < 10)
        snprintf(words->text, size, "%.1f s", seconds);
    else if (whole < 60)
        snprintf(words->text, size, "%lld s", whole);
    else if (whole < 3600)
        snprintf(words->text, size, "%lldm%02llds", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(words->text, size, "%lldh%02lldm", whole / 3600, whole / 60 % 60);
    else
        snprintf(words->text, size, "%lldd%lldh", whole / 86400, whole / 3600 % 24);
    return words->text;
}

const char *time_said(struct words *words, int64_t nanoseconds)
{
    time_t seconds = (time_t)(nanoseconds / 1000000000);
    struct tm parts;
    char text[32];

    if (nanoseconds < 0 || gmtime_r(&seconds, &parts) == NULL)
        seconds = 0, gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(words->text, sizeof words->text, "%s.%03dZ", text, (int)(nanoseconds / 1000000 % 1000) & 0x3ff);
    return words->text;
}

const char *clock_said(struct words *words, int64_t nanoseconds)
{
    struct words whole;

    time_said(&whole, nanoseconds);
    snprintf(words->text, sizeof words->text, "%.8sZ", whole.text + strlen("2026-11-22T"));
    return words->text;
}

const char *path_end(const char *path, unsigned components)
{
    const char *end = path + strlen(path);

    while (end > path) {
        if (end[-1] == '/' && components-- <= 1)
            break;
        end--;
    }
    return end;
}

const char *place_said(struct words *words, const char *file, int64_t line, const char *function)
{
    const char *name = function != NULL && function[0] != '\0' ? function : "?";

    if (file == NULL || file[0] == '\0')
        snprintf(words->text, sizeof words->text, "%s", name);
    else if (line > 0)
        snprintf(words->text, sizeof words->text, "%.160s:%lld %.120s", path_end(file, 2), (long long)line, name);
    else
        snprintf(words->text, sizeof words->text, "%.160s %.120s", path_end(file, 2), name);
    return words->text;
}

static const struct {
    const char *kind, *call;
} closing_calls[] = {
    {"sqlite3.connection", "sqlite3_close()"},
    {"sqlite3.statement", "sqlite3_finalize()"},
    {"sqlite3.blob", "sqlite3_blob_close()"},
    {"sqlite3.backup", "sqlite3_backup_finish()"},
    {"sqlite3.session", "sqlite3session_delete()"},
    {"libpq.connection", "PQfinish()"},
    {"libpq.result", "PQclear()"},
    {"libpq.cancel", "PQfreeCancel()"},
    {"sqlalchemy.session", "session.close()"},
    {"sqlalchemy.checkout", "connection.close()"},
    {"sqlalchemy.engine", "engine.dispose()"},
};

const char *closing_call(const char *kind)
{
    for (size_t i = 0; i < sizeof closing_calls / sizeof closing_calls[0]; i++)
        if (strcmp(kind, closing_calls[i].kind) == 0)
            return closing_calls[i].call;
    return "its close function";
}

static const struct {
    int code;
    const char *name;
} sqlite_codes[] = {
    {SQLITE_ERROR, "SQLITE_ERROR"},       {SQLITE_PERM, "SQLITE_PERM"},   {SQLITE_BUSY, "SQLITE_BUSY"},
    {SQLITE_LOCKED, "SQLITE_LOCKED"},     {SQLITE_NOMEM, "SQLITE_NOMEM"}, {SQLITE_READONLY, "SQLITE_READONLY"},
    {SQLITE_IOERR, "SQLITE_IOERR"},       {SQLITE_FULL, "SQLITE_FULL"},   {SQLITE_CORRUPT, "SQLITE_CORRUPT"},
    {SQLITE_CANTOPEN, "SQLITE_CANTOPEN"}, {SQLITE_AUTH, "SQLITE_AUTH"},   {SQLITE_MISUSE, "SQLITE_MISUSE"},
    {SQLITE_NOTADB, "SQLITE_NOTADB"},
};

const char *code_said(struct words *words, const char *kind, int64_t code)
{
    const char *name = NULL;

    for (size_t i = 0; strncmp(kind, "sqlite3.", 8) == 0 && i < sizeof sqlite_codes / sizeof sqlite_codes[0]; i++)
        if (sqlite_codes[i].code == (code & 0xff))
            name = sqlite_codes[i].name;
    if (name != NULL)
        snprintf(words->text, sizeof words->text, "%s (%lld)", name, (long long)code);
    else
        snprintf(words->text, sizeof words->text, "code %lld", (long long)code);
    return words->text;
}

char *filled_in(const char *text, const char *noun, const char *kind)
{
    const struct {
        const char *mark, *value;
    } marks[] = {{"{noun}", noun}, {"{kind}", kind}, {"{close}", closing_call(kind)}};
    char *result = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&result, &size);
    if (out == NULL)
        return NULL;

    for (const char *at = text; *at != '\0';) {
        size_t length = 0;
        for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
            if (strncmp(at, marks[i].mark, strlen(marks[i].mark)) == 0) {
                fputs(marks[i].value, out);
                length = strlen(marks[i].mark);
            }
        }
        if (length == 0)
            fputc(*at, out);
        at += length > 0 ? length : 1;
    }
    if (fclose(out) != 0)
        return free(result), NULL;
    if (text[0] == '{' && result[strcspn(result, " .")] == ' ')
        result[0] = (char)toupper((unsigned char)result[0]);
    return result;
}

static void duration_in_sql(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    struct words words;
    if (sqlite3_value_type(values[0]) != SQLITE_NULL)
        sqlite3_result_text(context, duration_said(&words, sqlite3_value_int64(values[0])), -1, SQLITE_TRANSIENT);
}

static void counted_in_sql(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    struct words words;
    sqlite3_result_text(context, number_said(&words, sqlite3_value_int64(values[0])), -1, SQLITE_TRANSIENT);
}

static void place_in_sql(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    struct words words;
    const char *file = (const char *)sqlite3_value_text(values[0]);
    const char *function = (const char *)sqlite3_value_text(values[2]);
    if (file != NULL || function != NULL)
        sqlite3_result_text(context, place_said(&words, file, sqlite3_value_int64(values[1]), function), -1,
                            SQLITE_TRANSIENT);
}

static void code_in_sql(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    struct words words;
    const char *kind = (const char *)sqlite3_value_text(values[0]);
    if (kind != NULL && sqlite3_value_type(values[1]) != SQLITE_NULL)
        sqlite3_result_text(context, code_said(&words, kind, sqlite3_value_int64(values[1])), -1, SQLITE_TRANSIENT);
}

int words_registered(sqlite3 *db)
{
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    int rc = sqlite3_create_function(db, "duration", 1, flags, NULL, duration_in_sql, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function(db, "counted", 1, flags, NULL, counted_in_sql, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function(db, "place", 3, flags, NULL, place_in_sql, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function(db, "code", 2, flags, NULL, code_in_sql, NULL, NULL);
    return rc;
}
