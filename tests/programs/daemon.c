/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* Connects as root, then locks itself into an empty directory (the argument), becomes nobody, closes every descriptor,
 * goes into the background and works on: uses what it had, loses 5 connections there, ends. */
#include <grp.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static sqlite3 *first;

__attribute__((noinline)) static void forget(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
}

static void in_the_background(void)
{
    if (fork() != 0)
        _exit(0);
    setsid();
    if (fork() != 0)
        _exit(0);
}

int main(int count, char **arguments)
{
    if (count < 2 || sqlite3_open(":memory:", &first) != SQLITE_OK)
        return 2;
    if (chdir(arguments[1]) != 0 || chroot(".") != 0 || setgroups(0, NULL) != 0 || setgid(65534) != 0 ||
        setuid(65534) != 0)
        return 3;
    closefrom(0);
    in_the_background();
    usleep(200000); /* so that the first process is long gone */
    sqlite3_exec(first, "SELECT 1", NULL, NULL, NULL);
    for (int i = 0; i < 5; i++)
        forget();
    exit(0);
}
