/* SPDX-License-Identifier: Apache-2.0 */
/* build: shared */
/*
 * A libpq that does nothing, at once. Behind it a program's time is the shim's own, to the nanosecond; behind the real one
 * it drowns in the server's. It has what bench_libpq calls, and what the shim asks about a connection.
 */
#include <libpq-fe.h>
#include <stddef.h>

/* Addresses that are in use for a while are not given out again at once, as with malloc. */
enum { ADDRESSES = 8 };
static char connections[ADDRESSES][1024], results[ADDRESSES][256];
static unsigned connection_count, result_count;
static int result_is_due;

PGconn *PQconnectdb(const char *info)
{
    (void)info;
    return (PGconn *)connections[connection_count++ % ADDRESSES];
}

PGconn *PQconnectdbParams(const char *const *keywords, const char *const *values, int expand)
{
    (void)keywords, (void)values, (void)expand;
    return PQconnectdb("");
}

void PQfinish(PGconn *conn)
{
    (void)conn;
}

int PQsendQuery(PGconn *conn, const char *query)
{
    (void)conn, (void)query;
    return result_is_due = 1;
}

PGresult *PQgetResult(PGconn *conn)
{
    (void)conn;
    PGresult *result = result_is_due ? (PGresult *)results[result_count++ % ADDRESSES] : NULL;
    result_is_due = 0;
    return result;
}

void PQclear(PGresult *result)
{
    (void)result;
}

ConnStatusType PQstatus(const PGconn *conn)
{
    return conn ? CONNECTION_OK : CONNECTION_BAD;
}

PGTransactionStatusType PQtransactionStatus(const PGconn *conn)
{
    (void)conn;
    return result_is_due ? PQTRANS_ACTIVE : PQTRANS_IDLE;
}

ExecStatusType PQresultStatus(const PGresult *result)
{
    (void)result;
    return PGRES_TUPLES_OK;
}

char *PQcmdStatus(PGresult *result)
{
    (void)result;
    return "SELECT 1";
}

char *PQdb(const PGconn *conn)
{
    (void)conn;
    return "postgres";
}

char *PQuser(const PGconn *conn)
{
    return PQdb(conn);
}

char *PQhost(const PGconn *conn)
{
    (void)conn;
    return "/run/postgresql";
}

char *PQport(const PGconn *conn)
{
    (void)conn;
    return "5432";
}
