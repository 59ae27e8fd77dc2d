/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 */
/* Handles in containers that live until static destructors run, after exit has begun: `free` closes them there, `keep` does not. */
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <sqlite3.h>
#include <string>
#include <vector>

static bool closes;

struct Database {
    sqlite3 *handle = nullptr;
    Database()
    {
        sqlite3_open(":memory:", &handle);
    }
    Database(Database &&other) noexcept : handle(other.handle)
    {
        other.handle = nullptr;
    }
    ~Database()
    {
        if (closes)
            sqlite3_close(handle);
    }
};

static std::map<std::string, Database> by_name;
static std::vector<Database> in_a_row;
static std::set<std::unique_ptr<Database>> owned;

int main(int, char **arguments)
{
    closes = !std::strcmp(arguments[1], "free");
    for (int i = 0; i < 20; i++) {
        by_name[std::to_string(i)];
        in_a_row.emplace_back();
        owned.insert(std::make_unique<Database>());
    }
}
