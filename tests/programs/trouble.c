/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 -pthread */
/* Moments of trouble with SQLite, one for each first argument; and how things end that nobody closes. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unclosed/unclosed.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
enum { IDLE = 5300000 }; /* µs */

static unclosed_kind_id connection;

static void done(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        exit(1);
}

static sqlite3 *opened(const char *name)
{
    sqlite3 *db;
    if (sqlite3_open_v2(name, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, NULL) != SQLITE_OK)
        exit(1);
    return db;
}

NOINLINE static void begin(sqlite3 *db)
{
    sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL); /* begun */
    __asm__ volatile("");
}

NOINLINE static void wait_in_vain(sqlite3 *db)
{
    sqlite3_busy_timeout(db, 200);
    if (sqlite3_exec(db, "INSERT INTO t VALUES (1)", NULL, NULL, NULL) != SQLITE_BUSY)
        exit(1);
}

/* --- locked out -------------------------------------------------------------------------------------------------------------- */

/* Others are in a transaction, too, but not in the way. */
static void locked_out(void)
{
    sqlite3 *holder = opened("trouble.db"), *victim = opened("file:./trouble.db?mode=rw"),
            *elsewhere = opened("other.db"), *memory = opened(":memory:"), *idle = opened("trouble.db");
    done(holder, "CREATE TABLE t (a)");
    begin(elsewhere);
    begin(memory);
    unclosed_owner_id request = unclosed_owner_begin(UNCLOSED_REQUEST, "GET /orders", 0);
    unclosed_owned_by(connection, holder, request);
    unclosed_detail(connection, holder, "last_sql", "UPDATE t SET a = 'secret'");
    begin(holder);
    done(holder, "INSERT INTO t VALUES (2)");
    for (volatile int i = 0; i < 3; i++) /* one place, not three */
        wait_in_vain(victim);
    sqlite3 *all[] = {holder, victim, elsewhere, memory, idle};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        sqlite3_close(all[i]);
}

/* The one in the way is another process. */
static void locked_out_by_another_process(void)
{
    sqlite3 *db = opened("trouble.db");
    done(db, "CREATE TABLE t (a)");
    int told[2], over[2];
    char byte;
    if (pipe(told) != 0 || pipe(over) != 0)
        exit(1);
    if (fork() == 0) {
        sqlite3 *holder = opened("trouble.db");
        begin(holder);
        if (write(told[1], "x", 1) != 1 || read(over[0], &byte, 1) != 1)
            _exit(1);
        sqlite3_close(holder);
        _exit(0);
    }
    if (read(told[0], &byte, 1) != 1)
        exit(1);
    wait_in_vain(db);
    if (write(over[1], "x", 1) != 1)
        exit(1);
    wait(NULL);
    sqlite3_close(db);
}

static void outdated(void)
{
    sqlite3 *db = opened("trouble.db"), *reader = opened("trouble.db");
    done(db, "PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    sqlite3_extended_result_codes(reader, 1);
    done(reader, "BEGIN; SELECT * FROM t");
    done(db, "INSERT INTO t VALUES (1)");
    sqlite3_exec(reader, "INSERT INTO t VALUES (2)", NULL, NULL, NULL); /* SQLITE_BUSY_SNAPSHOT */
    sqlite3_close(reader);
    sqlite3_close(db);
}

/* --- idle in a transaction ------------------------------------------------------------------------------------------------------ */

static void rested(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)values;
    usleep(IDLE);
    sqlite3_result_int(context, count);
}

NOINLINE static void use(sqlite3 *db)
{
    sqlite3_exec(db, "SELECT 1", NULL, NULL, NULL); /* used */
    __asm__ volatile("");
}

static void idle(void)
{
    sqlite3 *db = opened(":memory:");
    begin(db);
    usleep(IDLE);
    use(db);
    done(db, "COMMIT");
    sqlite3_close(db);
}

static void idle_until_closed(void)
{
    sqlite3 *db = opened(":memory:");
    begin(db);
    usleep(IDLE);
    sqlite3_close(db);
}

static void busy_for_long(void)
{
    sqlite3 *db = opened(":memory:");
    sqlite3_create_function(db, "rest", 0, SQLITE_UTF8, NULL, rested, NULL, NULL);
    begin(db);
    done(db, "SELECT rest()");
    use(db);
    done(db, "COMMIT");
    sqlite3_close(db);
}

static void idle_outside(void)
{
    sqlite3 *db = opened(":memory:");
    begin(db);
    done(db, "COMMIT");
    usleep(IDLE);
    use(db);
    sqlite3_close(db);
}

/* --- a failed transaction --------------------------------------------------------------------------------------------------------- */

static char session, checkout;
static unclosed_kind_id sessions, checkouts;
enum { BEGUN = UNCLOSED_TRANSACTION, FAILED = UNCLOSED_TRANSACTION | UNCLOSED_TRANSACTION_FAILED };

NOINLINE static void session_begins(void)
{
    unclosed_transaction(sessions, &session, BEGUN); /* session begins */
    __asm__ volatile("");
}

NOINLINE static void session_fails(void)
{
    unclosed_transaction(sessions, &session, FAILED); /* session fails */
    __asm__ volatile("");
}

NOINLINE static void session_is_used(void)
{
    unclosed_used(sessions, &session); /* session is used */
    __asm__ volatile("");
}

static void used_while_failed(void)
{
    sessions = unclosed_kind("sqlalchemy.session", NULL);
    checkouts = unclosed_kind("sqlalchemy.checkout", NULL);
    unclosed_opened(sessions, &session);
    session_begins();
    unclosed_opened(checkouts, &checkout);
    unclosed_parent(checkouts, &checkout, sessions, &session);
    unclosed_detail(checkouts, &checkout, "last_sql", "INSERT INTO users VALUES ('ada')");
    session_fails();
    session_is_used();
    unclosed_transaction(sessions, &session, UNCLOSED_NO_TRANSACTION);
    unclosed_closed(checkouts, &checkout, UNCLOSED_EXPLICIT);
    unclosed_closed(sessions, &session, UNCLOSED_EXPLICIT);
}

/* --- how things end ---------------------------------------------------------------------------------------------------------------- */

NOINLINE static void collected(sqlite3 *db)
{
    sqlite3_close(db);
    __asm__ volatile("");
}

NOINLINE static sqlite3 *dropped(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
    return db;
}

NOINLINE static sqlite3 *pooled(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
    unclosed_parent(connection, db, unclosed_kind("sqlalchemy.engine", NULL), &session);
    return db;
}

NOINLINE static sqlite3 *closed(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
    return db;
}

NOINLINE static sqlite3 *failed(void)
{
    sqlite3 *db;
    sqlite3_open("/nowhere/at/all", &db);
    return db;
}

static void ended(void)
{
    unclosed_destructor((const void *)(uintptr_t)collected);
    collected(dropped());
    collected(pooled());
    collected(failed());
    sqlite3_close(closed());
    sqlite3 *db = dropped();
    sqlite3_stmt *statement;
    sqlite3_prepare_v2(db, "SELECT 1", -1, &statement, NULL);
    sqlite3_finalize(statement);
    collected(db);
}

/* --- threads ------------------------------------------------------------------------------------------------------------------------- */

static sqlite3 *left[2];

static void *leaving(void *number)
{
    pthread_setname_np(pthread_self(), "leaver");
    *(sqlite3 **)number = dropped();
    return NULL;
}

static void left_by_threads(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, leaving, &left[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*work)(void);
    } cases[] = {{"locked-out", locked_out},
                 {"locked-out-by-another-process", locked_out_by_another_process},
                 {"outdated", outdated},
                 {"idle", idle},
                 {"idle-until-closed", idle_until_closed},
                 {"busy-for-long", busy_for_long},
                 {"idle-outside", idle_outside},
                 {"used-while-failed", used_while_failed},
                 {"ended", ended},
                 {"left-by-threads", left_by_threads}};
    connection = unclosed_kind("sqlite3.connection", NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (count == 2 && strcmp(arguments[1], cases[i].name) == 0) {
            cases[i].work();
            return 0;
        }
    return 2;
}
