/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -lpq */
/* Calls every wrapped function with errno = 77 and says what came back, and what errno was then. */
#include <dlfcn.h>
#include <errno.h>
#include <libpq-fe.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unclosed/unclosed.h>
#include <unistd.h>

typedef struct sqlite3_session session;

#define SAID(function, result)                        \
    do {                                              \
        errno = 77;                                   \
        long said = (long)(result);                   \
        int error = errno;                            \
        if (said < -1 || said > 1000)                 \
            said = 1000; /* a pointer */              \
        printf("%s %ld %d\n", function, said, error); \
    } while (0)
#define NUMBER(function, ...) SAID(#function, function(__VA_ARGS__))
#define NOTHING(function, ...) SAID(#function, (function(__VA_ARGS__), 0))

/* Found at run time in that library, since it and its headers may lack it. */
#define LOOKED_UP(library, type, function, declared, ...)                    \
    do {                                                                     \
        type(*found) declared = (type(*) declared)dlsym(library, #function); \
        if (found)                                                           \
            SAID(#function, found(__VA_ARGS__));                             \
    } while (0)

static void sqlite_called(void)
{
    sqlite3 *db, *other;
    sqlite3_stmt *statement;
    sqlite3_blob *blob;
    session *changes;
    const char *tail;
    const void *tail16;
    void *library = dlopen("libsqlite3.so.0", RTLD_NOW);
    NUMBER(sqlite3_open, ":memory:", &db);
    NUMBER(sqlite3_close, db);
    NUMBER(sqlite3_open, "/nonexistent/file", &db);
    NUMBER(sqlite3_close_v2, db);
    NUMBER(sqlite3_open16, u":memory:", &other);
    NUMBER(sqlite3_open_v2, ":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    NUMBER(sqlite3_exec, db, "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(9))", NULL, NULL, NULL);
    NUMBER(sqlite3_prepare, db, "SELECT 1", -1, &statement, &tail);
    NUMBER(sqlite3_close, db); /* refused */
    NUMBER(sqlite3_step, statement);
    NUMBER(sqlite3_finalize, statement);
    NUMBER(sqlite3_prepare_v2, db, "nonsense", -1, &statement, &tail);
    NUMBER(sqlite3_prepare_v3, db, "SELECT 1", -1, 0, &statement, &tail);
    NUMBER(sqlite3_finalize, statement);
    NUMBER(sqlite3_prepare16, db, u"SELECT 1", -1, &statement, &tail16);
    NUMBER(sqlite3_finalize, statement);
    NUMBER(sqlite3_prepare16_v2, db, u"SELECT 1", -1, &statement, &tail16);
    NUMBER(sqlite3_finalize, statement);
    NUMBER(sqlite3_prepare16_v3, db, u"SELECT 1", -1, 0, &statement, &tail16);
    NUMBER(sqlite3_finalize, statement);
    NUMBER(sqlite3_blob_open, db, "main", "t", "a", 1, 0, &blob);
    NUMBER(sqlite3_blob_close, blob);
    sqlite3_backup *backup;
    NUMBER(backup = sqlite3_backup_init, other, "main", db, "main");
    NUMBER(sqlite3_backup_finish, backup);
    LOOKED_UP(library, int, sqlite3session_create, (sqlite3 *, const char *, session **), db, "main", &changes);
    void (*gone)(session *) = (void (*)(session *))dlsym(library, "sqlite3session_delete");
    if (gone)
        SAID("sqlite3session_delete", (gone(changes), 0));
    NUMBER(sqlite3_close, other);
    NUMBER(sqlite3_close_v2, db);
}

static void drained(PGconn *conn)
{
    for (PGresult *result; (result = PQgetResult(conn));)
        PQclear(result);
}

static void libpq_called(void)
{
    const char *const none[] = {NULL};
    PGconn *conn;
    PGresult *result, *copy;
    PGcancel *cancel;
    int integer, length;
    void *library = dlopen("libpq.so.5", RTLD_NOW);
    NUMBER(conn = PQconnectdb, "");
    NOTHING(PQreset, conn);
    NUMBER(result = PQexec, conn, "SELECT 1");
    NUMBER(copy = PQcopyResult, result, 0);
    NOTHING(PQclear, copy);
    NOTHING(PQclear, result);
    NUMBER(result = PQexecParams, conn, "SELECT 1", 0, NULL, NULL, NULL, NULL, 0);
    NUMBER(result = PQprepare, conn, "p", "SELECT 1", 0, NULL);
    NUMBER(result = PQexecPrepared, conn, "p", 0, NULL, NULL, NULL, 0);
    NUMBER(result = PQdescribePrepared, conn, "p");
    NUMBER(result = PQdescribePortal, conn, "");
    LOOKED_UP(library, PGresult *, PQclosePrepared, (PGconn *, const char *), conn, "p");
    LOOKED_UP(library, PGresult *, PQclosePortal, (PGconn *, const char *), conn, "");
    NUMBER(result = PQmakeEmptyPGresult, conn, PGRES_COMMAND_OK);
    NUMBER(result = PQfn, conn, 870, &integer, &length, 1, NULL, 0);
    NUMBER(PQsendQuery, conn, "SELECT 1");
    NUMBER(result = PQgetResult, conn);
    drained(conn);
    NUMBER(PQsendQueryParams, conn, "SELECT 1", 0, NULL, NULL, NULL, NULL, 0);
    drained(conn);
    NUMBER(PQsendPrepare, conn, "q", "SELECT 1", 0, NULL);
    drained(conn);
    NUMBER(PQsendQueryPrepared, conn, "q", 0, NULL, NULL, NULL, 0);
    drained(conn);
    NUMBER(PQsendDescribePrepared, conn, "q");
    drained(conn);
    NUMBER(PQsendDescribePortal, conn, "");
    drained(conn);
    LOOKED_UP(library, int, PQsendClosePrepared, (PGconn *, const char *), conn, "q");
    drained(conn);
    LOOKED_UP(library, int, PQsendClosePortal, (PGconn *, const char *), conn, "");
    drained(conn);
    NUMBER(cancel = PQgetCancel, conn);
    NOTHING(PQfreeCancel, cancel);
    LOOKED_UP(library, void *, PQcancelCreate, (PGconn *), conn);
    NUMBER(PQresetStart, conn);
    NUMBER(PQresetPoll, conn);
    NOTHING(PQfinish, conn);
    NUMBER(conn = PQconnectStart, "");
    NUMBER(PQconnectPoll, conn);
    NOTHING(PQfinish, conn);
    NUMBER(conn = PQconnectStartParams, none, none, 0);
    NOTHING(PQfinish, conn);
    NUMBER(conn = PQconnectdbParams, none, none, 0);
    NOTHING(PQfinish, conn);
    NUMBER(conn = PQsetdbLogin, NULL, NULL, NULL, NULL, "nowhere", NULL, NULL);
    NOTHING(PQfinish, conn);
}

static void libc_called(void)
{
    extern char **environ;
    char *words[] = {"nonexistent", NULL};
    pid_t child;
    void *self = dlopen("libsqlite3.so.0", RTLD_NOW);
    NUMBER(dlsym, self, "sqlite3_open");
    NUMBER(dlsym, self, "no_such_function");
    NUMBER(dlvsym, self, "sqlite3_open", "NOVERSION");
    NUMBER(dlclose, self);
    NUMBER(execve, "/nonexistent", words, environ);
    NUMBER(execv, "/nonexistent", words);
    NUMBER(execvp, "nonexistent-command", words);
    NUMBER(execvpe, "nonexistent-command", words, environ);
    NUMBER(fexecve, -1, words, environ);
    NUMBER(execl, "/nonexistent", "nonexistent", (char *)NULL);
    NUMBER(execlp, "nonexistent-command", "nonexistent", (char *)NULL);
    NUMBER(execle, "/nonexistent", "nonexistent", (char *)NULL, environ);
    LOOKED_UP(RTLD_DEFAULT, int, execveat, (int, const char *, char **, char **, int), -1, "/nonexistent", words,
              environ, 0);
    NUMBER(posix_spawn, &child, "/nonexistent", NULL, NULL, words, environ);
    NUMBER(posix_spawnp, &child, "nonexistent-command", NULL, NULL, words, environ);
    words[0] = "true";
    SAID("posix_spawn", posix_spawn(&child, "/bin/true", NULL, NULL, words, environ));
    wait(NULL);
    NUMBER(chroot, "/nonexistent");
    NUMBER(setuid, getuid());
    NUMBER(setreuid, -1, -1);
    NUMBER(setresuid, -1, -1, -1);
    NUMBER(setgid, getgid());
    NUMBER(setregid, -1, -1);
    NUMBER(setresgid, -1, -1, -1);
    NUMBER(prctl, PR_GET_DUMPABLE);
    NUMBER(prctl, -1);
    NUMBER(syscall, SYS_sched_yield);
    NUMBER(syscall, -1);
}

/* No operations when there is no shim; they must not be noticed where there is one. */
static void own_interface_called(void)
{
    char handle;
    unclosed_kind_id kind = unclosed_kind("errno.kept", NULL);
    NOTHING(unclosed_kind, "errno.kept2", NULL);
    NOTHING(unclosed_opened, kind, &handle);
    NOTHING(unclosed_target, kind, &handle, "somewhere");
    NOTHING(unclosed_used, kind, &handle);
    NOTHING(unclosed_detail, kind, &handle, "key", "value");
    NOTHING(unclosed_parent, kind, &handle, kind, NULL);
    NOTHING(unclosed_ignore, kind, &handle);
    NOTHING(unclosed_closed, kind, &handle, UNCLOSED_EXPLICIT);
    NOTHING(unclosed_closed, kind, &handle, UNCLOSED_EXPLICIT);
    NOTHING(unclosed_used, kind, &handle);
    NOTHING(unclosed_opened_at, kind, &handle, NULL);
    unclosed_owner_id owner = unclosed_owner_begin(UNCLOSED_TASK, "task", 0);
    NOTHING(unclosed_owner_begin, UNCLOSED_TASK, "other", owner);
    NOTHING(unclosed_owner_enter, owner);
    NOTHING(unclosed_owned_by, kind, &handle, owner);
    NOTHING(unclosed_owner_end, owner, "returned");
    NOTHING(unclosed_incident, "pool-exhausted", kind, "somewhere", "text", 1);
    NOTHING(unclosed_frame_enter, NULL);
    NOTHING(unclosed_transaction, kind, &handle, UNCLOSED_TRANSACTION);
    NOTHING(unclosed_noticed, "nested-checkout", kind, &handle, "text");
    NOTHING(unclosed_owner_label, owner, "label");
    NOTHING(unclosed_adapter, "errno", "1", NULL);
    NOTHING(unclosed_destructor, (const void *)(uintptr_t)own_interface_called);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    sqlite_called();
    libpq_called();
    own_interface_called();
    libc_called();
}
