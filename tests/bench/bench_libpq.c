/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lpq -pthread */
/*
 * libpq work, in rounds (rounds.h), on the server that PGHOST and its like name.
 *
 *     bench_libpq connection|transaction OPERATIONS
 *
 * connection: PQconnectdb and PQfinish.  transaction: what `pgbench -C` calls for one `select 1`.
 */
#include <libpq-fe.h>
#include <string.h>

#include "rounds.h"

static void connected_and_finished(void)
{
    PGconn *conn = PQconnectdb("");
    required(PQstatus(conn) == CONNECTION_OK);
    PQfinish(conn);
}

static void selected_one(void)
{
    static const char *const none[] = {NULL};
    PGconn *conn = PQconnectdbParams(none, none, 1);
    required(PQstatus(conn) == CONNECTION_OK && PQsendQuery(conn, "select 1"));
    for (PGresult *result; (result = PQgetResult(conn)) != NULL;)
        PQclear(result);
    PQfinish(conn);
}

int main(int count, char **arguments)
{
    required(count == 3);
    rounds_measured(strcmp(arguments[1], "connection") == 0 ? connected_and_finished : selected_one, atol(arguments[2]),
                    0);
    return 0;
}
