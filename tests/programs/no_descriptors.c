/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* Uses up its file descriptors, and loses 5 connections: all after that, or (with an argument) the first before. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/resource.h>

__attribute__((noinline)) static void forget(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
}

int main(int count, char **arguments)
{
    (void)arguments;
    if (count > 1)
        forget();
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){64, 64});
    int descriptor, last = -1;
    while ((descriptor = open("/dev/null", O_RDONLY)) >= 0)
        last = descriptor;
    printf("last %d, errno %d\n", last, errno);
    for (int i = 0; i < 4 + (count == 1); i++)
        forget();
}
