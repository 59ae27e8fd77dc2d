/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL's client library (libpq-fe.h). How its handles leak:
 *   - a failed connect still leaves a PGconn, which must be finished (unless memory ran out and it is NULL);
 *   - results are not freed with their connection: each needs its PQclear, before or after PQfinish;
 *   - PQfinish ends an open transaction, and with it what was written, without a word;
 *   - PQreset keeps the handle: nothing opens, nothing closes.
 */
#include <libpq-fe.h>
#include <string.h>

#include "wrap.h"

/* Newer than some headers; where a library lacks one, nobody can call it. */
#if !defined(LIBPQ_HAS_ASYNC_CANCEL)
typedef struct pg_cancel_conn PGcancelConn;
PGcancelConn *PQcancelCreate(PGconn *conn);
int PQcancelStart(PGcancelConn *cancel);
int PQcancelBlocking(PGcancelConn *cancel);
PostgresPollingStatusType PQcancelPoll(PGcancelConn *cancel);
void PQcancelReset(PGcancelConn *cancel);
void PQcancelFinish(PGcancelConn *cancel);
#endif
#if !defined(LIBPQ_HAS_CLOSE_PREPARED)
PGresult *PQclosePrepared(PGconn *conn, const char *statement);
PGresult *PQclosePortal(PGconn *conn, const char *portal);
int PQsendClosePrepared(PGconn *conn, const char *statement);
int PQsendClosePortal(PGconn *conn, const char *portal);
#endif

/* --- connections ------------------------------------------------------------------------------------------------------------ */

/* postgresql://app@db.prod:5433/orders, as the library understood what it was given; never a password. */
static const char *target_of(const struct call *connecting, PGconn *conn, char *url, size_t size)
{
    struct call call = *connecting;
    const char *user = HELPER_OF(PQuser)(conn), *host = HELPER_OF(PQhost)(conn);
    const char *port = HELPER_OF(PQport)(conn), *database = HELPER_OF(PQdb)(conn);
    bool is_socket = host && host[0] == '/';
    struct text text = text_in(url, size);
    text_added(&text, "postgresql://");
    text_added(&text, user ? user : "");
    text_added(&text, user && user[0] ? "@" : "");
    text_added(&text, host && !is_socket ? host : "");
    if (port && port[0] && !is_socket) {
        text_added(&text, ":");
        text_added(&text, port);
    }
    text_added(&text, "/");
    text_added(&text, database ? database : "");
    if (is_socket) {
        text_added(&text, "?host=");
        text_added(&text, host);
        text_added(&text, "&port=");
        text_added(&text, port ? port : "");
    }
    return url;
}

/* 53300: too many clients, too many connections for the role or the database. Before a result there is only the message, and it may
 * be translated; what cannot be read is no trouble of that sort. */
static bool is_full(const char *message)
{
    static const char *const words[] = {"too many clients", "remaining connection slots", "too many connections for",
                                        "no more connections allowed"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(message, words[i]))
            return true;
    return false;
}

static void refusal_noted(struct call *refused, PGconn *conn, bool is_known)
{
    struct call call = *refused;
    char url[512];
    const char *message = call.recorded && conn ? HELPER_OF(PQerrorMessage)(conn) : NULL;
    if (message && (is_known || is_full(message)))
        server_full(message, target_of(&call, conn, url, sizeof(url)));
}

static void connection_opened(struct call *connecting, PGconn *conn, bool waits)
{
    struct call call = *connecting;
    char url[512];
    if (!call.recorded)
        return;
    bool failed = !conn || HELPER_OF(PQstatus)(conn) == CONNECTION_BAD;
    const char *target = conn ? target_of(&call, conn, url, sizeof(url)) : NULL;
    opened(LIBPQ_CONNECTION, conn, .target = target, .failed = failed, .connecting = !waits && !failed);
    if (failed)
        refusal_noted(&call, conn, false);
}

#define CONNECT(name, waits, declared, arguments) \
    WRAP(PGconn *, name, declared)                \
    {                                             \
        CALL(name);                               \
        PGconn *conn = real arguments;            \
        connection_opened(&call, conn, waits);    \
        return conn;                              \
    }

CONNECT(PQconnectdb, true, (const char *info), (info))
CONNECT(PQconnectStart, false, (const char *info), (info))
CONNECT(PQconnectdbParams, true, (const char *const *keywords, const char *const *values, int expand),
        (keywords, values, expand))
CONNECT(PQconnectStartParams, false, (const char *const *keywords, const char *const *values, int expand),
        (keywords, values, expand))
CONNECT(PQsetdbLogin, true,
        (const char *host, const char *port, const char *options, const char *tty, const char *database,
         const char *user, const char *password),
        (host, port, options, tty, database, user, password))

WRAP(PostgresPollingStatusType, PQconnectPoll, (PGconn * conn))
{
    CALL(PQconnectPoll, conn);
    used(LIBPQ_CONNECTION, conn);
    PostgresPollingStatusType status = real(conn);
    if (status == PGRES_POLLING_OK || status == PGRES_POLLING_FAILED)
        connecting_ended(LIBPQ_CONNECTION, conn, status == PGRES_POLLING_FAILED);
    if (status == PGRES_POLLING_FAILED)
        refusal_noted(&call, conn, false);
    return status;
}

WRAP(void, PQfinish, (PGconn * conn))
{
    CALL(PQfinish, conn);
    uint32_t connection = open_handle(LIBPQ_CONNECTION, conn);
    if (connection && HELPER_OF(PQtransactionStatus)(conn) == PQTRANS_ACTIVE)
        still_used(LIBPQ_CONNECTION, conn);
    closing(LIBPQ_CONNECTION, conn);
    real(conn);
    closed_in_transaction(false);
    closed();
}

/* --- transactions: what the server last told the client ---------------------------------------------------------------------- */

/* The command's tag, as the server gave it: "INSERT 0 1". "COPY 3" does not tell in which direction. */
static bool is_writing(const char *tag, bool copied_in)
{
    static const char *const tags[] = {"INSERT ", "UPDATE ", "DELETE ",   "MERGE ",     "CREATE ",
                                       "ALTER ",  "DROP ",   "TRUNCATE ", "SELECT INTO"};
    if (strncmp(tag, "COPY ", 5) == 0)
        return copied_in;
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
        if (strncmp(tag, tags[i], strlen(tags[i])) == 0)
            return strcmp(tag, "INSERT 0 0") != 0 && strcmp(tag, "UPDATE 0") != 0 && strcmp(tag, "DELETE 0") != 0 &&
                   strcmp(tag, "MERGE 0") != 0;
    return false;
}

/* Did the command whose result this is change anything? A connection's `changes`: 1 while rows are copied in. */
static bool has_written(const struct call *working, uint32_t connection, const PGresult *result)
{
    struct call call = *working;
    if (!result)
        return false;
    struct trace_handle *handle = handle_at(connection);
    bool wrote = is_writing(HELPER_OF(PQcmdStatus)((PGresult *)(uintptr_t)result), handle->changes != 0);
    handle->changes = HELPER_OF(PQresultStatus)(result) == PGRES_COPY_IN;
    return wrote;
}

static void work_done(struct call *working, uint32_t connection, PGconn *conn, PGresult *result)
{
    struct call call = *working;
    if (!connection)
        return;
    bool wrote = has_written(&call, connection, result);
    const char *state = result ? HELPER_OF(PQresultErrorField)(result, PG_DIAG_SQLSTATE) : NULL;
    if (unlikely(state && strcmp(state, "53300") == 0)) /* a pooler's, or a foreign server's */
        refusal_noted(&call, conn, true);
    PGTransactionStatusType status = HELPER_OF(PQtransactionStatus)(conn);
    bool is_under_way = status == PQTRANS_ACTIVE; /* libpq tells how the transaction stands after the last result */
    bool is_over = is_under_way && result && strcmp(HELPER_OF(PQcmdStatus)(result), "COMMIT") == 0;
    if (is_under_way && !is_over && (!wrote || !(atomic_load(&handle_at(connection)->flags) & HANDLE_IN_TRANSACTION)))
        return;
    transaction(LIBPQ_TRANSACTION, connection,
                .open = (is_under_way && !is_over) || status == PQTRANS_INTRANS || status == PQTRANS_INERROR,
                .failed = status == PQTRANS_INERROR, .wrote = wrote);
}

#define RESET(type, name)                                   \
    WRAP(type, name, (PGconn * conn))                       \
    {                                                       \
        CALL(name, conn);                                   \
        uint32_t connection = used(LIBPQ_CONNECTION, conn); \
        RESET_CALLED(type)                                  \
        work_done(&call, connection, conn, NULL);           \
        RESET_RETURNS(type)                                 \
    }
#define RESET_CALLED(type) RESET_CALLED_##type
#define RESET_RETURNS(type) RESET_RETURNS_##type
#define RESET_CALLED_void real(conn);
#define RESET_RETURNS_void
#define RESET_CALLED_int int result = real(conn);
#define RESET_RETURNS_int return result;
#define RESET_CALLED_PostgresPollingStatusType PostgresPollingStatusType result = real(conn);
#define RESET_RETURNS_PostgresPollingStatusType return result;

RESET(void, PQreset)
RESET(int, PQresetStart)
RESET(PostgresPollingStatusType, PQresetPoll)

/* --- results ------------------------------------------------------------------------------------------------------------------ */

#define RESULT(name, declared, arguments) RESULT_OF(used, name, declared, arguments)
#define RESULT_OF(used_how, name, declared, arguments)          \
    WRAP(PGresult *, name, declared)                            \
    {                                                           \
        CALL(name, conn);                                       \
        uint32_t connection = used_how(LIBPQ_CONNECTION, conn); \
        PGresult *result = real arguments;                      \
        work_done(&call, connection, conn, result);             \
        opened(LIBPQ_RESULT, result, .parent = connection);     \
        return result;                                          \
    }

RESULT(PQexec, (PGconn * conn, const char *query), (conn, query))
RESULT(PQexecParams,
       (PGconn * conn, const char *command, int count, const Oid *types, const char *const *values, const int *lengths,
        const int *formats, int result_format),
       (conn, command, count, types, values, lengths, formats, result_format))
RESULT(PQprepare, (PGconn * conn, const char *statement, const char *query, int count, const Oid *types),
       (conn, statement, query, count, types))
RESULT(PQexecPrepared,
       (PGconn * conn, const char *statement, int count, const char *const *values, const int *lengths,
        const int *formats, int result_format),
       (conn, statement, count, values, lengths, formats, result_format))
RESULT(PQdescribePrepared, (PGconn * conn, const char *statement), (conn, statement))
RESULT(PQdescribePortal, (PGconn * conn, const char *portal), (conn, portal))
RESULT(PQclosePrepared, (PGconn * conn, const char *statement), (conn, statement))
RESULT(PQclosePortal, (PGconn * conn, const char *portal), (conn, portal))
RESULT_OF(still_used, PQgetResult, (PGconn * conn), (conn)) /* of what was sent: it may have run for long */
RESULT(PQfn,
       (PGconn * conn, int function, int *buffer, int *length, int is_integer, const PQArgBlock *arguments, int count),
       (conn, function, buffer, length, is_integer, arguments, count))

/* conn may be NULL here. */
WRAP(PGresult *, PQmakeEmptyPGresult, (PGconn * conn, ExecStatusType status))
{
    CALL(PQmakeEmptyPGresult, conn);
    uint32_t connection = open_handle(LIBPQ_CONNECTION, conn);
    PGresult *result = real(conn, status);
    opened(LIBPQ_RESULT, result, .parent = connection);
    return result;
}

/* The source may be the library's own, given to a notice receiver, where one that was cleared has been: no use after close. */
WRAP(PGresult *, PQcopyResult, (const PGresult *source, int flags))
{
    CALL(PQcopyResult, source);
    PGresult *result = real(source, flags);
    opened(LIBPQ_RESULT, result);
    return result;
}

WRAP(void, PQclear, (PGresult * result))
{
    CALL(PQclear, result);
    closing(LIBPQ_RESULT, result);
    real(result);
    closed();
}

/* --- asynchronous commands: their results come by PQgetResult ------------------------------------------------------------------- */

#define SEND(name, declared, arguments) \
    WRAP(int, name, declared)           \
    {                                   \
        CALL(name, conn);               \
        used(LIBPQ_CONNECTION, conn);   \
        return real arguments;          \
    }

SEND(PQsendQuery, (PGconn * conn, const char *query), (conn, query))
SEND(PQsendQueryParams,
     (PGconn * conn, const char *command, int count, const Oid *types, const char *const *values, const int *lengths,
      const int *formats, int result_format),
     (conn, command, count, types, values, lengths, formats, result_format))
SEND(PQsendPrepare, (PGconn * conn, const char *statement, const char *query, int count, const Oid *types),
     (conn, statement, query, count, types))
SEND(PQsendQueryPrepared,
     (PGconn * conn, const char *statement, int count, const char *const *values, const int *lengths,
      const int *formats, int result_format),
     (conn, statement, count, values, lengths, formats, result_format))
SEND(PQsendDescribePrepared, (PGconn * conn, const char *statement), (conn, statement))
SEND(PQsendDescribePortal, (PGconn * conn, const char *portal), (conn, portal))
SEND(PQsendClosePrepared, (PGconn * conn, const char *statement), (conn, statement))
SEND(PQsendClosePortal, (PGconn * conn, const char *portal), (conn, portal))

/* --- cancel handles -------------------------------------------------------------------------------------------------------------- */

WRAP(PGcancel *, PQgetCancel, (PGconn * conn))
{
    CALL(PQgetCancel, conn);
    uint32_t connection = still_used(LIBPQ_CONNECTION, conn);
    PGcancel *cancel = real(conn);
    opened(LIBPQ_CANCEL, cancel, .parent = connection);
    return cancel;
}

WRAP(void, PQfreeCancel, (PGcancel * cancel))
{
    CALL(PQfreeCancel, cancel);
    closing(LIBPQ_CANCEL, cancel);
    real(cancel);
    closed();
}

WRAP(PGcancelConn *, PQcancelCreate, (PGconn * conn))
{
    CALL(PQcancelCreate, conn);
    uint32_t connection = still_used(LIBPQ_CONNECTION, conn);
    PGcancelConn *cancel = real(conn);
    opened(LIBPQ_CANCEL, cancel, .parent = connection);
    return cancel;
}

/* They end in a jump to PQconnectPoll and others, with what is a PGconn inside; it must not look like the program's own call with a
 * connection, whose address it may have had. Hence also something to do after each. */
#define CANCELLING(type, name)                \
    WRAP(type, name, (PGcancelConn * cancel)) \
    {                                         \
        CALL(name, cancel);                   \
        used(LIBPQ_CANCEL, cancel);           \
        type status = real(cancel);           \
        still_used(LIBPQ_CANCEL, cancel);     \
        return status;                        \
    }

CANCELLING(int, PQcancelStart)
CANCELLING(int, PQcancelBlocking)
CANCELLING(PostgresPollingStatusType, PQcancelPoll)

WRAP(void, PQcancelReset, (PGcancelConn * cancel))
{
    CALL(PQcancelReset, cancel);
    used(LIBPQ_CANCEL, cancel);
    real(cancel);
    still_used(LIBPQ_CANCEL, cancel);
}

WRAP(void, PQcancelFinish, (PGcancelConn * cancel))
{
    CALL(PQcancelFinish, cancel);
    closing(LIBPQ_CANCEL, cancel);
    real(cancel);
    closed();
}
