/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lpq -O1 */
/* Connections as the user that is named, until the server gives no more; or one that is at work, and then idle, in a transaction. */
#include <libpq-fe.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
enum { CONNECTIONS = 3, IDLE = 5300000 }; /* µs */

NOINLINE static PGconn *connected(const char *info)
{
    return PQconnectdb(info); /* connected */
}

static void done(PGconn *conn, const char *sql)
{
    PQclear(PQexec(conn, sql));
}

static int until_full(const char *info)
{
    PGconn *all[CONNECTIONS];
    for (int i = 0; i < CONNECTIONS; i++) {
        all[i] = connected(info);
        if (i == 0)
            done(all[i], "BEGIN");
    }
    int is_full = PQstatus(all[CONNECTIONS - 1]) == CONNECTION_BAD;
    for (int i = 0; i < CONNECTIONS; i++)
        PQfinish(all[i]);
    return !is_full;
}

NOINLINE static void wait_for(PGconn *conn, const char *sql)
{
    PQsendQuery(conn, sql);
    usleep(IDLE);
    for (PGresult *result; (result = PQgetResult(conn)) != NULL;)
        PQclear(result);
}

static int at_work(int is_idle)
{
    PGconn *conn = connected("");
    done(conn, "BEGIN");
    if (is_idle)
        usleep(IDLE);
    else
        wait_for(conn, "SELECT 1");
    done(conn, "COMMIT");
    PQfinish(conn);
    return 0;
}

int main(int count, char **arguments)
{
    if (count < 2)
        return 2;
    return strcmp(arguments[1], "idle") == 0      ? at_work(1)
           : strcmp(arguments[1], "at-work") == 0 ? at_work(0)
                                                  : until_full(arguments[1]);
}
