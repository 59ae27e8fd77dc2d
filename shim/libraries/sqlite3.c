/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite (sqlite3.h). How its handles leak:
 *   - a failed open still leaves a handle, which must be closed (unless memory ran out and it is NULL);
 *   - sqlite3_close refuses (SQLITE_BUSY) while statements, blobs or backups of the connection are alive: who ignores
 *     that and drops the pointer has lost all of them;
 *   - sqlite3_close_v2 accepts then, but the connection lives on as a zombie until the last of them is gone;
 *   - a close rolls an open transaction back without a word.
 * What the library opens for itself (FTS, sqlite3_exec's statements) is its own business.
 */
#include <sqlite3.h>

#include "wrap.h"

/* --- connections -------------------------------------------------------------------------------------------------------- */

WRAP(int, sqlite3_open, (const char *name, sqlite3 **db))
{
    CALL(sqlite3_open);
    int rc = real(name, db);
    opened(SQLITE3_CONNECTION, db ? *db : NULL, .target = name, .failed = rc != SQLITE_OK, .code = rc);
    return rc;
}

WRAP(int, sqlite3_open_v2, (const char *name, sqlite3 **db, int flags, const char *vfs))
{
    CALL(sqlite3_open_v2);
    int rc = real(name, db, flags, vfs);
    opened(SQLITE3_CONNECTION, db ? *db : NULL, .target = name, .failed = rc != SQLITE_OK, .code = rc);
    return rc;
}

/* The name is UTF-16; the library itself says it in UTF-8 afterwards. */
WRAP(int, sqlite3_open16, (const void *name, sqlite3 **db))
{
    CALL(sqlite3_open16);
    int rc = real(name, db);
    const char *target = call.recorded && rc == SQLITE_OK ? HELPER_OF(sqlite3_db_filename)(*db, "main") : NULL;
    opened(SQLITE3_CONNECTION, db ? *db : NULL, .target = target, .failed = rc != SQLITE_OK, .code = rc);
    return rc;
}

static bool wrote_in_transaction(const struct call *closing_call, sqlite3 *db)
{
    struct call call = *closing_call;
    uint32_t transaction = call.closing ? transaction_of(call.closing) : 0;
    return transaction && (uint64_t)HELPER_OF(sqlite3_total_changes)(db) != handle_at(transaction)->changes;
}

WRAP(int, sqlite3_close, (sqlite3 * db))
{
    CALL(sqlite3_close, db);
    closing(SQLITE3_CONNECTION, db);
    bool wrote = wrote_in_transaction(&call, db);
    int rc = real(db);
    if (rc == SQLITE_OK)
        closed_in_transaction(wrote);
    closed(.refused = rc != SQLITE_OK, .code = rc);
    return rc;
}

WRAP(int, sqlite3_close_v2, (sqlite3 * db))
{
    CALL(sqlite3_close_v2, db);
    closing(SQLITE3_CONNECTION, db);
    bool wrote = wrote_in_transaction(&call, db);
    int rc = real(db);
    closed_in_transaction(wrote);
    closed(.refused = rc != SQLITE_OK, .zombie = true, .code = rc);
    return rc;
}

/* --- transactions: the connection knows (autocommit off), whoever began them ------------------------------------------------ */

struct work {
    uint32_t connection;
    sqlite3 *db;
    uint64_t changes;
};

static struct work work_begun(const struct call *running, uint32_t connection)
{
    struct call call = *running;
    struct work work = {.connection = connection};
    if (connection) {
        work.db = (sqlite3 *)handle_at(connection)->address;
        work.changes = (uint64_t)HELPER_OF(sqlite3_total_changes)(work.db);
    }
    return work;
}

/* Extended codes (SQLITE_BUSY_SNAPSHOT) have the plain one in their last byte. */
static void refusal_noted(struct call *running, sqlite3 *db, int rc)
{
    struct call call = *running;
    if (unlikely((rc & 0xff) == SQLITE_BUSY))
        busy(SQLITE3_CONNECTION, db, rc, "database is locked");
    else if (unlikely((rc & 0xff) == SQLITE_LOCKED))
        busy(SQLITE3_CONNECTION, db, rc, "database table is locked");
}

static void work_done(struct call *running, const struct work *work, int rc)
{
    struct call call = *running;
    if (!work->connection || handle_at(work->connection)->address != (uintptr_t)work->db)
        return;
    refusal_noted(&call, work->db, rc);
    bool open = !HELPER_OF(sqlite3_get_autocommit)(work->db);
    transaction(SQLITE3_TRANSACTION, work->connection, .open = open, .changes = work->changes,
                .wrote = open && (uint64_t)HELPER_OF(sqlite3_total_changes)(work->db) != work->changes);
}

WRAP(int, sqlite3_exec,
     (sqlite3 * db, const char *sql, int (*row)(void *, int, char **, char **), void *context, char **message))
{
    CALL(sqlite3_exec, db);
    struct work work = work_begun(&call, used(SQLITE3_CONNECTION, db));
    int rc = real(db, sql, row, context, message);
    work_done(&call, &work, rc);
    return rc;
}

WRAP(int, sqlite3_step, (sqlite3_stmt * statement))
{
    CALL(sqlite3_step, statement);
    uint32_t slot = used(SQLITE3_STATEMENT, statement);
    struct work work = work_begun(&call, slot ? handle_at(slot)->parent : 0);
    int rc = real(statement);
    work_done(&call, &work, rc);
    return rc;
}

/* --- statements: one that could not be compiled, or was only a comment, is NULL ----------------------------------------------- */

#define PREPARE(name, declared, arguments)                               \
    WRAP(int, name, declared)                                            \
    {                                                                    \
        CALL(name, db);                                                  \
        uint32_t connection = used(SQLITE3_CONNECTION, db);              \
        int rc = real arguments;                                         \
        if (statement && *statement)                                     \
            opened(SQLITE3_STATEMENT, *statement, .parent = connection); \
        else if (connection)                                             \
            refusal_noted(&call, db, rc);                                \
        return rc;                                                       \
    }

PREPARE(sqlite3_prepare, (sqlite3 * db, const char *sql, int size, sqlite3_stmt **statement, const char **tail),
        (db, sql, size, statement, tail))
PREPARE(sqlite3_prepare_v2, (sqlite3 * db, const char *sql, int size, sqlite3_stmt **statement, const char **tail),
        (db, sql, size, statement, tail))
PREPARE(sqlite3_prepare_v3,
        (sqlite3 * db, const char *sql, int size, unsigned flags, sqlite3_stmt **statement, const char **tail),
        (db, sql, size, flags, statement, tail))
PREPARE(sqlite3_prepare16, (sqlite3 * db, const void *sql, int size, sqlite3_stmt **statement, const void **tail),
        (db, sql, size, statement, tail))
PREPARE(sqlite3_prepare16_v2, (sqlite3 * db, const void *sql, int size, sqlite3_stmt **statement, const void **tail),
        (db, sql, size, statement, tail))
PREPARE(sqlite3_prepare16_v3,
        (sqlite3 * db, const void *sql, int size, unsigned flags, sqlite3_stmt **statement, const void **tail),
        (db, sql, size, flags, statement, tail))

/* Whatever it returns (the error of the last step), the statement is gone. */
WRAP(int, sqlite3_finalize, (sqlite3_stmt * statement))
{
    CALL(sqlite3_finalize, statement);
    closing(SQLITE3_STATEMENT, statement);
    int rc = real(statement);
    closed();
    return rc;
}

/* --- blobs, backups, change sessions ------------------------------------------------------------------------------------------ */

WRAP(int, sqlite3_blob_open,
     (sqlite3 * db, const char *database, const char *table, const char *column, sqlite3_int64 row, int flags,
      sqlite3_blob **blob))
{
    CALL(sqlite3_blob_open, db);
    uint32_t connection = used(SQLITE3_CONNECTION, db);
    int rc = real(db, database, table, column, row, flags, blob);
    if (rc == SQLITE_OK)
        opened(SQLITE3_BLOB, *blob, .parent = connection);
    return rc;
}

WRAP(int, sqlite3_blob_close, (sqlite3_blob * blob))
{
    CALL(sqlite3_blob_close, blob);
    closing(SQLITE3_BLOB, blob);
    int rc = real(blob);
    closed();
    return rc;
}

/* A child of the destination; the source may not be closed before it either, but says so itself (SQLITE_BUSY). */
WRAP(sqlite3_backup *, sqlite3_backup_init, (sqlite3 * to, const char *to_name, sqlite3 *from, const char *from_name))
{
    CALL(sqlite3_backup_init, to);
    uint32_t connection = used(SQLITE3_CONNECTION, to);
    sqlite3_backup *backup = real(to, to_name, from, from_name);
    opened(SQLITE3_BACKUP, backup, .parent = connection);
    return backup;
}

WRAP(int, sqlite3_backup_finish, (sqlite3_backup * backup))
{
    CALL(sqlite3_backup_finish, backup);
    closing(SQLITE3_BACKUP, backup);
    int rc = real(backup);
    closed();
    return rc;
}

#ifndef SQLITE_ENABLE_SESSION /* then the header does not declare them, but the library may have them */
typedef struct sqlite3_session sqlite3_session;
int sqlite3session_create(sqlite3 *db, const char *database, sqlite3_session **session);
void sqlite3session_delete(sqlite3_session *session);
#endif

WRAP(int, sqlite3session_create, (sqlite3 * db, const char *database, sqlite3_session **session))
{
    CALL(sqlite3session_create, db);
    uint32_t connection = used(SQLITE3_CONNECTION, db);
    int rc = real(db, database, session);
    if (rc == SQLITE_OK)
        opened(SQLITE3_SESSION, *session, .parent = connection);
    return rc;
}

WRAP(void, sqlite3session_delete, (sqlite3_session * session))
{
    CALL(sqlite3session_delete, session);
    closing(SQLITE3_SESSION, session);
    real(session);
    closed();
}
