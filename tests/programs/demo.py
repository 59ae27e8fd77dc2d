# SPDX-License-Identifier: Apache-2.0
"""A little shop in Python. An order for what is sold out is written down for later; but nobody commits that."""
import os
import sqlite3
import tempfile


def order(shop, article):
    connection = sqlite3.connect(shop)
    [left] = connection.execute("SELECT stock FROM article WHERE name = ?", (article,)).fetchone()
    if left == 0:
        connection.execute("INSERT INTO waiting VALUES (?)", (article,))
        connection.close()      # the bug: what was written is rolled back, without a word
        return "later"
    connection.execute("UPDATE article SET stock = stock - 1 WHERE name = ?", (article,))
    connection.commit()
    connection.close()
    return "now"


def main():
    with tempfile.TemporaryDirectory() as directory:
        shop = os.path.join(directory, "shop.db")
        stock = sqlite3.connect(shop)
        stock.executescript("CREATE TABLE article (name, stock); INSERT INTO article VALUES ('apple', 9), ('pear', 0);"
                            "CREATE TABLE waiting (name)")
        for article in ("apple", "pear", "apple", "pear", "apple"):
            print(article, order(shop, article))
        print(stock.execute("SELECT count(*) FROM waiting").fetchone()[0], "customers wait")
        stock.close()


main()
