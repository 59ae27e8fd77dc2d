/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lpq -O1 */
/* One way of leaving things behind in libpq for each first argument; the second is a connection string. */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

static PGconn *volatile kept[3];
static const char *info;

NOINLINE static PGconn *connect_it(void)
{
    PGconn *conn = PQconnectdb(info); /* connected */
    if (PQstatus(conn) != CONNECTION_OK) {
        fputs(PQerrorMessage(conn), stderr);
        exit(1);
    }
    return conn;
}

NOINLINE static void forget(void)
{
    PGconn *volatile conn = PQconnectdb(info); /* lost */
    (void)conn;
}

static void counted(void)
{
    for (int i = 0; i < 10; i++)
        forget();
    for (int i = 0; i < 3; i++)
        kept[i] = connect_it();
    for (int i = 0; i < 300; i++)
        PQfinish(connect_it());
}

NOINLINE static int fail_to_connect(void)
{
    PGconn *conn = PQconnectdb(info);        /* failed */
    return PQstatus(conn) == CONNECTION_BAD; /* and never finished */
}

static int fail_and_finish(void)
{
    PGconn *conn = PQconnectdb(info);
    int failed = PQstatus(conn) == CONNECTION_BAD;
    PQfinish(conn);
    return failed;
}

static int fail_by_parameters(void)
{
    const char *const names[] = {"dbname", NULL}, *const values[] = {info, NULL};
    PGconn *conn = PQconnectdbParams(names, values, 1);
    return PQstatus(conn) == CONNECTION_BAD;
}

/* Connects without waiting; the connection is never finished. */
NOINLINE static int connect_slowly(void)
{
    PGconn *conn = PQconnectStart(info);
    PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
    while (wanted != PGRES_POLLING_OK && wanted != PGRES_POLLING_FAILED) {
        struct pollfd ready = {PQsocket(conn), wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0};
        if (poll(&ready, 1, 10000) < 1)
            return 0;
        wanted = PQconnectPoll(conn);
    }
    return 1;
}

NOINLINE static void forget_result(PGconn *conn)
{
    PGresult *volatile result = PQexec(conn, "SELECT 1"); /* result */
    (void)result;
}

static void done(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) == PGRES_FATAL_ERROR && !strstr(sql, "nonsense"))
        fputs(PQerrorMessage(conn), stderr);
    PQclear(result);
}

NOINLINE static void begin(PGconn *conn)
{
    PQclear(PQexec(conn, "BEGIN")); /* begun */
}

NOINLINE static void finish(PGconn *conn)
{
    PQfinish(conn); /* finished */
    __asm__ volatile("");
}

static void end_within(const char *sql, const char *more)
{
    PGconn *conn = connect_it();
    begin(conn);
    done(conn, sql);
    if (more)
        done(conn, more);
    finish(conn);
}

static void every_kind_of_result(void)
{
    PGconn *conn = connect_it();
    PQclear(PQexec(conn, "SELECT 1"));
    PQclear(PQexecParams(conn, "SELECT $1::int", 1, NULL, (const char *const[]){"7"}, NULL, NULL, 0));
    PQclear(PQprepare(conn, "one", "SELECT 1", 0, NULL));
    PQclear(PQexecPrepared(conn, "one", 0, NULL, NULL, NULL, 0));
    PQclear(PQdescribePrepared(conn, "one"));
    PGresult *result = PQmakeEmptyPGresult(conn, PGRES_COMMAND_OK);
    PQclear(PQcopyResult(result, 0));
    PQclear(result);
    PQsendQuery(conn, "SELECT 1; SELECT 2");
    while ((result = PQgetResult(conn)))
        PQclear(result);
    PQfreeCancel(PQgetCancel(conn));
    PQreset(conn);
    PQfinish(conn);
}

int main(int count, char **arguments)
{
    const char *what = arguments[1];
    info = count > 2 ? arguments[2] : "";
    if (strcmp(what, "counted") == 0) {
        counted();
    } else if (strcmp(what, "failed") == 0) {
        return !fail_to_connect();
    } else if (strcmp(what, "failed-finished") == 0) {
        return !fail_and_finish();
    } else if (strcmp(what, "failed-params") == 0) {
        return !fail_by_parameters();
    } else if (strcmp(what, "slowly") == 0) {
        return !connect_slowly();
    } else if (strcmp(what, "result") == 0) {
        PGconn *conn = connect_it();
        for (int i = 0; i < 5; i++)
            forget_result(conn);
        PQfinish(conn);
    } else if (strcmp(what, "result-and-connection") == 0) {
        forget_result(connect_it());
    } else if (strcmp(what, "all-results") == 0) {
        every_kind_of_result();
    } else if (strcmp(what, "wrote") == 0) {
        end_within("INSERT INTO orders VALUES (1)", NULL);
    } else if (strcmp(what, "read") == 0) {
        end_within("SELECT count(*) FROM orders", NULL);
    } else if (strcmp(what, "committed") == 0) {
        end_within("INSERT INTO orders VALUES (1)", "COMMIT");
    } else if (strcmp(what, "failed-in") == 0) {
        end_within("INSERT INTO orders VALUES (1)", "nonsense");
    } else {
        return 2;
    }
    return 0;
}
