/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lpq -O1 */
/* Corners of libpq, one for each first argument; nothing is left open but what the name says. */
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

static void done(PGconn *conn, const char *sql)
{
    PQclear(PQexec(conn, sql));
}

/* The library's own result is handed to the receiver, at an address where one that the program had cleared may have been. */
static void copy_notice(void *count, const PGresult *notice)
{
    PQclear(PQcopyResult(notice, 0));
    ++*(int *)count;
}

static int notices_copied(PGconn *conn)
{
    int count = 0;
    PQsetNoticeReceiver(conn, copy_notice, &count);
    for (int i = 0; i < 20; i++)
        done(conn, "DO $$ BEGIN RAISE NOTICE 'something'; END $$");
    return count == 20;
}

static int results_taken(PGconn *conn)
{
    PGresult *result;
    int count = 0;
    while ((result = PQgetResult(conn))) {
        PQclear(result);
        count++;
    }
    return count > 0;
}

static int copied_out(PGconn *conn)
{
    char *line;
    done(conn, "COPY (SELECT generate_series(1, 3)) TO STDOUT");
    while (PQgetCopyData(conn, &line, 0) > 0)
        PQfreemem(line);
    return results_taken(conn);
}

static int copied_in(PGconn *conn)
{
    done(conn, "COPY orders FROM STDIN");
    PQputCopyData(conn, "7\n", 2);
    PQputCopyEnd(conn, NULL);
    return results_taken(conn);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    PGconn *conn = PQconnectdb("");
    int well = PQstatus(conn) == CONNECTION_OK;
    if (strcmp(what, "notices") == 0) {
        well = well && notices_copied(conn);
    } else {
        done(conn, "BEGIN");
        if (strcmp(what, "insert") == 0)
            well = well && PQsendQuery(conn, "INSERT INTO orders VALUES (1)") && results_taken(conn);
        else if (strcmp(what, "select") == 0)
            well = well && PQsendQuery(conn, "SELECT 1") && results_taken(conn);
        else if (strcmp(what, "commit") == 0) {
            done(conn, "INSERT INTO orders VALUES (1)");
            well = well && PQsendQuery(conn, "COMMIT");
            PQclear(PQgetResult(conn)); /* and not the NULL after it */
        } else if (strcmp(what, "copy out") == 0)
            well = well && copied_out(conn);
        else if (strcmp(what, "copy in") == 0)
            well = well && copied_in(conn);
    }
    PQfinish(conn);
    puts(well ? "well" : "not well");
    return 0;
}
