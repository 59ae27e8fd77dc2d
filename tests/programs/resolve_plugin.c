/* SPDX-License-Identifier: Apache-2.0 */
/* build: shared -fno-plt */
/* Calls a client library that it is linked against, in the ways that hide who calls. */
struct sqlite3;
int sqlite3_open(const char *file, struct sqlite3 **db);
int sqlite3_close(struct sqlite3 *db);

int plugin_open(const char *file, struct sqlite3 **db);
int plugin_tail_open(const char *file, struct sqlite3 **db);
int plugin_tail_close(struct sqlite3 *db);
int (*plugin_open_function(void))(const char *file, struct sqlite3 **db);
int (*plugin_close_function(void))(struct sqlite3 *db);

int plugin_open(const char *file, struct sqlite3 **db)
{
    const int result = sqlite3_open(file, db);
    __asm__ volatile("" ::: "memory"); /* not a tail call */
    return result;
}

int plugin_tail_open(const char *file, struct sqlite3 **db)
{
    return sqlite3_open(file, db);
}

int plugin_tail_close(struct sqlite3 *db)
{
    return sqlite3_close(db);
}

int (*plugin_open_function(void))(const char *file, struct sqlite3 **db)
{
    return sqlite3_open;
}

int (*plugin_close_function(void))(struct sqlite3 *db)
{
    return sqlite3_close;
}
