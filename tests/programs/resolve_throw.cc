/* SPDX-License-Identifier: Apache-2.0 */
/* resolve_throw LIBRARY: an exception thrown in a callback passes the client library, called through dlsym. */
#include <cstdio>
#include <dlfcn.h>
#include <stdexcept>

struct sqlite3;

static int throws(void *, int, char **, char **)
{
    throw std::runtime_error("thrown in a callback");
}

int main(int, char **argv)
{
    void *library = dlopen(argv[1], RTLD_NOW);
    auto open = reinterpret_cast<int (*)(const char *, sqlite3 **)>(dlsym(library, "sqlite3_open"));
    auto exec =
        reinterpret_cast<int (*)(sqlite3 *, const char *, int (*)(void *, int, char **, char **), void *, char **)>(
            dlsym(library, "sqlite3_exec"));
    sqlite3 *db = nullptr;
    open("file", &db);
    try {
        exec(db, "select 1", throws, nullptr, nullptr);
    } catch (const std::exception &error) {
        std::puts(error.what());
    }
    return 0;
}
