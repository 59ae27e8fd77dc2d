/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* Loses 10 connections in one function, keeps 3 in globals, closes 1,000. */
#include <sqlite3.h>

static sqlite3 *volatile kept[3];

static sqlite3 *opened(void)
{
    sqlite3 *db = 0;
    sqlite3_open(":memory:", &db);
    return db;
}

__attribute__((noinline)) static void forget(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db); /* lost */
}

__attribute__((noinline)) static void keep(int place)
{
    sqlite3_open(":memory:", (sqlite3 **)&kept[place]); /* kept */
}

int main(void)
{
    for (int i = 0; i < 10; i++)
        forget();
    for (int i = 0; i < 3; i++)
        keep(i);
    for (int i = 0; i < 1000; i++)
        sqlite3_close(opened());
}
