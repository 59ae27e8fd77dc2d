/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 */
/*
 * What the first watched call of a process costs, for then its trace is made; and the first one of a forked child, which
 * gets a trace of its own. Prints both, microseconds for one sqlite3_open(":memory:"). The connections stay open, so that
 * there is something to report.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double open_measured(void)
{
    sqlite3 *db;
    double begin = now_us();
    if (sqlite3_open(":memory:", &db) != SQLITE_OK)
        abort();
    return now_us() - begin;
}

int main(void)
{
    sqlite3_initialize();
    printf("%.2f ", open_measured());
    fflush(stdout);
    if (fork() == 0) {
        printf("%.2f\n", open_measured());
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    return 0;
}
