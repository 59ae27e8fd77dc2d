/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* A little shop on SQLite. Each order opens the shop's database anew; an order for something unknown leaves it open. */
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>

static const char shop[] = "file:shop?mode=memory&cache=shared";

static sqlite3 *shop_opened(void)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(shop, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, NULL) == SQLITE_OK)
        return db;
    sqlite3_close(db);
    return NULL;
}

static int price_of(sqlite3 *db, const char *article)
{
    sqlite3_stmt *query = NULL;
    int price = -1;
    sqlite3_prepare_v2(db, "SELECT price FROM article WHERE name = ?", -1, &query, NULL);
    sqlite3_bind_text(query, 1, article, -1, SQLITE_STATIC);
    if (sqlite3_step(query) == SQLITE_ROW)
        price = sqlite3_column_int(query, 0);
    sqlite3_finalize(query);
    return price;
}

static bool order(const char *article)
{
    sqlite3 *db = shop_opened();
    int price = price_of(db, article);
    if (price < 0) {
        printf("there is no %s\n", article);
        return false; /* the leak: db is still open, and nobody knows it any more */
    }
    printf("one %s for %d\n", article, price);
    sqlite3_close(db);
    return true;
}

int main(void)
{
    static const char *const wanted[] = {"apple", "pear", "unicorn", "apple", "dragon", "pear", "phoenix", "apple"};
    sqlite3 *stock = shop_opened();
    int orders = 0;
    sqlite3_exec(stock, "CREATE TABLE article (name, price); INSERT INTO article VALUES ('apple', 3), ('pear', 4)",
                 NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        orders += order(wanted[i]);
    printf("%d orders\n", orders);
    sqlite3_close(stock);
}
