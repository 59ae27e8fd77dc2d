/* SPDX-License-Identifier: Apache-2.0 */
#include "rollcall.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unclosed/trace.h>
#include <unistd.h>

#include "database.h"
#include "map.h"
#include "program.h"
#include "trace_reader.h"

enum { RECORDS_MAX = 4 << 20 }; /* 1 GiB of roll call: more processes than one report can speak of */

/* A process, as far as pid, start time and namespace tell. */
struct identity {
    uint64_t namespace, start_ticks;
    int32_t pid;
};

struct call { /* a record, in the order of the file */
    struct rollcall_record record;
    size_t order;
};

struct traced { /* a trace's process */
    struct identity identity;
    uint64_t started;
    bool has_end;
    char *file;
};

struct inspected {
    char *file;
    struct program *program; /* NULL: cannot be read */
};

enum unseen_part {
    ALL_UNSEEN,
    LIBRARY_UNSEEN, /* of an interpreter: only a warning */
    PYTHON_UNSEEN,  /* what our adapters would have told */
};

struct unseen { /* processes that one row will speak of */
    char *executable, *reason;
    int32_t pid, parent;
    enum unseen_part part;
    size_t count;
    struct identity identity;
};

struct comparison {
    sqlite3 *db;
    const char *command;
    const struct supervised *supervised;
    uint64_t namespace; /* ours */
    struct call *calls;
    size_t call_count;
    struct traced *traces;
    size_t trace_count;
    struct inspected *programs;
    size_t program_count;
    struct unseen *unseen;
    size_t unseen_count;
    bool failed;
};

#define APPENDED(list, count) ((list) = memory_resized((list), (count) + 1, sizeof *(list)), &(list)[(count)++])

static char *text_kept(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(memory(size), text, size);
}

/* --- what there is ---------------------------------------------------------------------------------------------------- */

static uint64_t own_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) ? 0 : status.st_ino;
}

static void calls_read(struct comparison *all, int directory)
{
    int fd = openat(directory, ROLLCALL_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    struct rollcall_record record;
    size_t room = 0;
    while (file && all->call_count < RECORDS_MAX && fread(&record, sizeof record, 1, file) == 1) {
        if (record.magic != ROLLCALL_MAGIC || record.size != sizeof record)
            continue;
        record.text[sizeof record.text - 1] = 0;
        if (all->call_count >= room)
            all->calls = memory_resized(all->calls, room = 2 * all->call_count + 256, sizeof *all->calls);
        all->calls[all->call_count] = (struct call){record, all->call_count + 1};
        all->call_count++;
    }
    if (file)
        fclose(file);
    else if (fd >= 0)
        close(fd);
}

/* The command itself, which nobody announced. */
static void command_called(struct comparison *all)
{
    struct call *call = APPENDED(all->calls, all->call_count);
    *call = (struct call){.record = {
                              .type = ROLLCALL_STARTS,
                              .pid = all->supervised->pid,
                              .parent = getpid(),
                              .start_ticks = all->supervised->start_ticks,
                              .pid_namespace = all->namespace,
                              .text_cut = strlen(all->command) >= sizeof call->record.text,
                          }};
    snprintf(call->record.text, sizeof call->record.text, "%s", all->command);
}

static void traces_read(struct comparison *all, int directory)
{
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    for (const struct dirent *entry; list && (entry = readdir(list)) != NULL;) {
        struct trace *trace = memory(sizeof *trace);
        if (*entry->d_name != '.' && trace_opened(trace, directory, entry->d_name, false) == TRACE_OPENED) {
            const struct trace_process *process = &trace->process;
            *APPENDED(all->traces, all->trace_count) = (struct traced){
                .identity = {process->pid_namespace, process->start_ticks, process->pid},
                .started = process->started,
                .has_end = process->end != END_NONE,
                .file = text_kept(entry->d_name),
            };
        }
        trace_closed(trace);
        free(trace);
    }
    if (list)
        closedir(list);
    else if (copy >= 0)
        close(copy);
}

static bool is_same_process(const struct identity *a, const struct identity *b)
{
    return a->pid == b->pid && a->start_ticks == b->start_ticks &&
           (a->namespace == b->namespace || !a->namespace || !b->namespace);
}

static const struct traced *last_trace_of(const struct comparison *all, const struct identity *identity)
{
    const struct traced *last = NULL;
    for (size_t i = 0; i < all->trace_count; i++)
        if (is_same_process(&all->traces[i].identity, identity) && (!last || all->traces[i].started >= last->started))
            last = &all->traces[i];
    return last;
}

/* Reads a program's file once. NULL: it cannot be read, or nobody knows where it is. */
static const struct program *program_of(struct comparison *all, const char *file)
{
    char found[PATH_MAX];
    int error;
    for (size_t i = 0; i < all->program_count; i++)
        if (!strcmp(all->programs[i].file, file))
            return all->programs[i].program;
    struct inspected *inspected = APPENDED(all->programs, all->program_count);
    *inspected = (struct inspected){text_kept(file), memory(sizeof(struct program))};
    if (!program_located(file, getenv("PATH"), found, &error) || !program_inspected(found, inspected->program)) {
        free(inspected->program);
        inspected->program = NULL;
    }
    return inspected->program;
}

/* --- how they ended --------------------------------------------------------------------------------------------------- */

static void statement_done(struct comparison *all, sqlite3_stmt *statement)
{
    if (!statement || sqlite3_step(statement) != SQLITE_DONE) {
        if (statement)
            fprintf(stderr, "unclosed: error: report.db: %s\n", sqlite3_errmsg(all->db));
        all->failed = true;
    }
    sqlite3_finalize(statement);
}

static void end_said(const struct ended_process *ended, char words[32])
{
    if (ended->signal)
        snprintf(words, 32, "signal %d", ended->signal);
    else
        snprintf(words, 32, "exit %d", ended->exit_status);
}

/* A trace without an end mark whose process `run` saw end. */
static void ends_filled_in(struct comparison *all)
{
    for (size_t i = 0; i < all->supervised->ended_count && !all->failed; i++) {
        const struct ended_process *ended = &all->supervised->ended[i];
        struct identity identity = {ended->inner_pid == ended->pid ? all->namespace : 0, ended->start_ticks,
                                    ended->inner_pid};
        const struct traced *trace = last_trace_of(all, &identity);
        if (!trace || trace->has_end)
            continue;
        char words[32];
        end_said(ended, words);
        sqlite3_stmt *statement =
            prepared(all->db, "UPDATE process SET ended = ?1, end_status = ?2, end_words = ?3, ended_at = ?4,"
                              " seen_until_at = max(ifnull(seen_until_at, 0), ?4) WHERE trace = ?5");
        if (statement) {
            sqlite3_bind_text(statement, 1, ended->signal ? "signal" : "exit", -1, SQLITE_STATIC);
            sqlite3_bind_int(statement, 2, ended->signal ? ended->signal : ended->exit_status);
            sqlite3_bind_text(statement, 3, words, -1, SQLITE_TRANSIENT);
            sqlite3_bind_int64(statement, 4, ended->at);
            sqlite3_bind_text(statement, 5, trace->file, -1, SQLITE_TRANSIENT);
        }
        statement_done(all, statement);
    }
}

/* --- who was not seen --------------------------------------------------------------------------------------------------- */

static void unseen_noted(struct comparison *all, const struct rollcall_record *record, const char *executable,
                         const char *reason, enum unseen_part part)
{
    struct identity identity = {record->pid_namespace, record->start_ticks, record->pid};
    for (size_t i = 0; i < all->unseen_count; i++) {
        struct unseen *unseen = &all->unseen[i];
        if (!strcmp(unseen->executable, executable) && !strcmp(unseen->reason, reason)) {
            unseen->count++;
            return;
        }
    }
    *APPENDED(all->unseen, all->unseen_count) =
        (struct unseen){text_kept(executable), text_kept(reason), record->pid, record->parent, part, 1, identity};
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Programs whose purpose is to start another one, with other rights. */
static bool is_launcher(const char *name)
{
    static const char *const names[] = {"sudo", "su", "doas", "pkexec", "sg", "runuser"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

static void obstacle_said(const struct program *program, const char *libraries, char reason[512])
{
    switch (program->obstacle) {
    case OBSTACLE_STATIC:
        snprintf(reason, 512,
                 "is a static program, on which LD_PRELOAD has no effect; link it to the shared %s library "
                 "to watch it",
                 libraries);
        break;
    case OBSTACLE_CLASS:
        snprintf(reason, 512, "is a 32-bit program and cannot load the 64-bit shim; build it for 64 bits to watch it");
        break;
    case OBSTACLE_MACHINE:
        snprintf(reason, 512,
                 "is built for another processor and cannot load the shim; build it for this one to watch it");
        break;
    case OBSTACLE_MUSL:
        snprintf(reason, 512, "is linked with musl, and the shim needs glibc; build it for glibc to watch it");
        break;
    case OBSTACLE_LOADER:
        snprintf(reason, 512, "has a dynamic loader that is not glibc's; build it for glibc to watch it");
        break;
    case OBSTACLE_PRIVILEGED:
        snprintf(reason, 512,
                 "is setuid, setgid or has file capabilities, so the loader drops LD_PRELOAD; run it as the "
                 "user that it becomes to watch it");
        break;
    case OBSTACLE_NONE:
        snprintf(reason, 512,
                 "was started without LD_PRELOAD (env -i, sudo and su take it away); put `unclosed run` "
                 "behind what removes it");
        break;
    }
}

/* `record` announced a program that never answered. */
static void unanswered(struct comparison *all, const struct rollcall_record *record)
{
    const struct program *program = record->text_cut ? NULL : program_of(all, record->text);
    if (!program)
        return;
    char obstacle[512], reason[1024], libraries[64];
    const char *path = *program->script ? program->script : program->path;
    const char *name = base_name(path);
    watched_libraries_named(program->linked | program->embedded, libraries);
    obstacle_said(program, libraries, obstacle);
    if (program_uses_database(program))
        snprintf(reason, sizeof reason, "%.200s uses %s, but %s", name, libraries, obstacle);
    else if (*program->interpreter)
        snprintf(reason, sizeof reason, "%.200s may use a watched library (%s loads them as needed), but %s", name,
                 program->interpreter, obstacle);
    else if (is_launcher(name) && program->obstacle == OBSTACLE_PRIVILEGED)
        snprintf(reason, sizeof reason,
                 "what %.200s started is not seen: the loader drops LD_PRELOAD from setuid programs; "
                 "put `unclosed run` behind it",
                 name);
    else
        return;
    unseen_noted(all, record, path, reason, ALL_UNSEEN);
}

static unsigned libraries_traced(struct comparison *all, const struct traced *trace)
{
    unsigned seen = 0;
    sqlite3_stmt *statement =
        prepared(all->db, "SELECT l.name FROM library l JOIN process p ON p.id = l.process WHERE p.trace = ?");
    if (statement)
        sqlite3_bind_text(statement, 1, trace->file, -1, SQLITE_TRANSIENT);
    while (statement && row_fetched(statement, &all->failed))
        for (unsigned library = 0; library < WATCHED_COUNT; library++)
            if (!strcmp((const char *)sqlite3_column_text(statement, 0), watched_library_name(library)))
                seen |= 1u << library;
    sqlite3_finalize(statement);
    return seen;
}

/* `record` answered the roll call; but a copy of a library inside the program never passes through the shim. */
static void answered(struct comparison *all, const struct rollcall_record *record)
{
    struct identity identity = {record->pid_namespace, record->start_ticks, record->pid};
    if (record->flags & (ROLLCALL_PASSIVE | ROLLCALL_SKIPPED) || record->text_cut || *record->text != '/')
        return;
    const struct program *program = program_of(all, record->text);
    if (!program || !program->embedded)
        return;
    const struct traced *trace = last_trace_of(all, &identity);
    unsigned inside = program->embedded & ~(trace ? libraries_traced(all, trace) : 0);
    if (!inside)
        return;
    char reason[512], libraries[64];
    snprintf(reason, sizeof reason,
             "%.200s has its own copy of %s built in, whose calls cannot be seen; link it to the shared "
             "library to watch it",
             base_name(program->path), watched_libraries_named(inside, libraries));
    /* An interpreter carries its copy whether the script uses it or not. */
    unseen_noted(all, record, program->path, reason, *program->interpreter ? LIBRARY_UNSEEN : ALL_UNSEEN);
}

/* --- Python without our adapters ---------------------------------------------------------------------------------------- */

struct interpreter {                      /* an image of the process that is looked at */
    const struct rollcall_record *record; /* NULL: no interpreter, or all is well with it */
    const char *reason;                   /* as the shim said it, NULL: it did not */
    uint64_t since;                       /* what happened before belongs to other images */
};

/* "python3.11" → 3.11; any other name → 0, true for a name without numbers. */
static bool is_python_named(const char *name, unsigned *major, unsigned *minor)
{
    *major = *minor = 0;
    return !strncmp(name, "python", 6) && (sscanf(name + 6, "%u.%u", major, minor) || !name[6]);
}

static const struct traced *trace_of_image(const struct comparison *all, const struct interpreter *image)
{
    const struct rollcall_record *record = image->record;
    const struct identity identity = {record->pid_namespace, record->start_ticks, record->pid};
    for (size_t i = 0; i < all->trace_count; i++)
        if (is_same_process(&all->traces[i].identity, &identity) && all->traces[i].started > image->since &&
            all->traces[i].started <= record->time)
            return &all->traces[i];
    return NULL;
}

static void problem_recorded(struct comparison *all, const struct traced *trace, const char *words)
{
    sqlite3_stmt *statement = prepared(all->db, "UPDATE process SET python_problem = ? WHERE trace = ?");
    if (statement) {
        sqlite3_bind_text(statement, 1, words, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(statement, 2, trace->file, -1, SQLITE_TRANSIENT);
    }
    statement_done(all, statement);
}

/* This image is over, and our sitecustomize did not run in it. A program that only has an interpreter inside may never have
 * started it. */
static void interpreter_passed(struct comparison *all, struct interpreter *image)
{
    const struct rollcall_record *record = image->record;
    char words[256], age[64];
    unsigned major, minor;
    if (record) {
        const struct traced *trace = trace_of_image(all, image);
        bool is_python = is_python_named(base_name(record->text), &major, &minor);
        const char *reason = image->reason;
        if (!reason && is_python && major && (major < 3 || (major == 3 && minor < 9))) {
            snprintf(age, sizeof age, "Python %u.%u is older than 3.9", major, minor);
            reason = age;
        }
        snprintf(words, sizeof words, "native view only: SQLAlchemy sessions were not seen (%s)",
                 reason ? reason : "PYTHONPATH was cleared, or the interpreter was started in another way");
        if (trace)
            problem_recorded(all, trace, words);
        else if (is_python)
            unseen_noted(all, record, record->text, words, PYTHON_UNSEEN);
    }
    *image = (struct interpreter){.since = record ? record->time : image->since};
}

static void interpreter_followed(struct comparison *all, struct interpreter *image,
                                 const struct rollcall_record *record)
{
    switch (record->type) {
    case ROLLCALL_LOADED:
        interpreter_passed(all, image);
        if (record->flags & ROLLCALL_PYTHON && !(record->flags & (ROLLCALL_PASSIVE | ROLLCALL_SKIPPED)))
            image->record = record;
        else
            image->since = record->time;
        break;
    case ROLLCALL_ADAPTED:
        *image = (struct interpreter){.since = record->time};
        break;
    case ROLLCALL_NOT_ADAPTED:
        if (*record->text)
            image->reason = record->text;
        else
            *image = (struct interpreter){.since = record->time};
        break;
    }
}

/* --- each process --------------------------------------------------------------------------------------------------------- */

static bool is_same_program(struct comparison *all, const char *announced, const char *loaded)
{
    const struct program *program = program_of(all, announced);
    return program && !strcmp(program->path, loaded);
}

/*
 * The calls of one pid, in order. STARTS by exec comes before its LOADED; after posix_spawn the parent writes it and may
 * be the later of the two. A pid may have been given to a second process: another start time.
 */
static void pid_compared(struct comparison *all, const struct call *calls, size_t count)
{
    const struct rollcall_record *announced = NULL;
    const char *first_loaded = NULL, *image = "";
    struct interpreter interpreter = {0};
    uint64_t start_ticks = 0;
    bool is_command = false;
    for (size_t i = 0; i < count; i++) {
        const struct rollcall_record *record = &calls[i].record;
        if (record->start_ticks && start_ticks && record->start_ticks != start_ticks) {
            if (announced && announced->start_ticks)
                unanswered(all, announced);
            announced = announced && announced->start_ticks ? NULL : announced;
            first_loaded = NULL;
            is_command = false;
        }
        start_ticks = record->start_ticks ? record->start_ticks : start_ticks;
        interpreter_followed(all, &interpreter, record);
        is_command |= calls[i].order == 0;
        switch (record->type) {
        case ROLLCALL_STARTS:
            if (!first_loaded || is_command || !is_same_program(all, record->text, first_loaded))
                announced = record;
            first_loaded = NULL;
            break;
        case ROLLCALL_LOADED:
            first_loaded = announced || i > 0 ? NULL : record->text;
            announced = NULL;
            image = record->text;
            answered(all, record);
            break;
        case ROLLCALL_EXEC_FAILED:
            announced = NULL;
            break;
        case ROLLCALL_FAILED:
            unseen_noted(all, record, image, record->text, ALL_UNSEEN);
            break;
        }
    }
    if (announced)
        unanswered(all, announced);
    interpreter_passed(all, &interpreter);
}

static int by_process(const void *left, const void *right)
{
    const struct call *a = left, *b = right;
    if (a->record.pid_namespace != b->record.pid_namespace)
        return a->record.pid_namespace < b->record.pid_namespace ? -1 : 1;
    if (a->record.pid != b->record.pid)
        return a->record.pid < b->record.pid ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static void calls_compared(struct comparison *all)
{
    qsort(all->calls, all->call_count, sizeof *all->calls, by_process);
    for (size_t first = 0, end; first < all->call_count; first = end) {
        for (end = first + 1; end < all->call_count && all->calls[end].record.pid == all->calls[first].record.pid &&
                              all->calls[end].record.pid_namespace == all->calls[first].record.pid_namespace;)
            end++;
        pid_compared(all, all->calls + first, end - first);
    }
}

/* --- rows ------------------------------------------------------------------------------------------------------------------ */

static const struct ended_process *end_of(const struct comparison *all, const struct identity *identity)
{
    for (size_t i = 0; i < all->supervised->ended_count; i++) {
        const struct ended_process *ended = &all->supervised->ended[i];
        if (ended->inner_pid == identity->pid &&
            (!identity->start_ticks || ended->start_ticks == identity->start_ticks))
            return ended;
    }
    return NULL;
}

static void row_completed(struct comparison *all, const struct unseen *unseen, const char *trace, const char *reason)
{
    sqlite3_stmt *statement =
        prepared(all->db, unseen->part == LIBRARY_UNSEEN
                              ? "UPDATE process SET warning = coalesce(warning || '; ', '') || ?1 WHERE trace = ?2"
                              : "UPDATE process SET observed = 0, unobserved_reason = coalesce(unobserved_reason || '; "
                                "', '') || ?1 WHERE trace = ?2");
    if (statement) {
        sqlite3_bind_text(statement, 1, reason, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(statement, 2, trace, -1, SQLITE_TRANSIENT);
    }
    statement_done(all, statement);
}

static void rows_inserted(struct comparison *all)
{
    struct insert insert = insert_prepared(all->db, "process",
                                           "pid parent_pid executable ended end_status end_words scan "
                                           "observed unobserved_reason warning python_problem");
    for (size_t i = 0; i < all->unseen_count; i++) {
        const struct unseen *unseen = &all->unseen[i];
        const struct ended_process *ended = end_of(all, &unseen->identity);
        const struct traced *trace = unseen->part == PYTHON_UNSEEN ? NULL : last_trace_of(all, &unseen->identity);
        char reason[768], words[32] = "unknown";
        int length = snprintf(reason, sizeof reason, "%s", unseen->reason);
        if (unseen->count > 1)
            snprintf(reason + length, sizeof reason - (size_t)length, " (%zu processes)", unseen->count);
        if (ended)
            end_said(ended, words);
        if (trace)
            row_completed(all, unseen, trace->file, reason);
        else
            INSERTED(&insert, integer(unseen->pid), integer(unseen->parent),
                     text(*unseen->executable ? unseen->executable : NULL),
                     text(!ended          ? "unknown"
                          : ended->signal ? "signal"
                                          : "exit"),
                     ended ? integer(ended->signal ? ended->signal : ended->exit_status) : nothing(), text(words),
                     text("not-run"), integer(unseen->part != ALL_UNSEEN),
                     text(unseen->part == ALL_UNSEEN ? reason : NULL),
                     text(unseen->part == LIBRARY_UNSEEN ? reason : NULL),
                     text(unseen->part == PYTHON_UNSEEN ? reason : NULL));
    }
    if (!insert_finished(&insert))
        all->failed = true;
}

static void comparison_freed(struct comparison *all)
{
    for (size_t i = 0; i < all->trace_count; i++)
        free(all->traces[i].file);
    for (size_t i = 0; i < all->program_count; i++) {
        free(all->programs[i].file);
        free(all->programs[i].program);
    }
    for (size_t i = 0; i < all->unseen_count; i++) {
        free(all->unseen[i].executable);
        free(all->unseen[i].reason);
    }
    free(all->calls);
    free(all->traces);
    free(all->programs);
    free(all->unseen);
}

bool rollcall_compared(sqlite3 *db, const char *traces, const char *command, const struct supervised *supervised)
{
    struct comparison all = {.db = db, .command = command, .supervised = supervised, .namespace = own_namespace()};
    int directory = open(traces, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    command_called(&all);
    if (directory >= 0) {
        calls_read(&all, directory);
        traces_read(&all, directory);
        close(directory);
    }
    if (executed(db, "BEGIN")) {
        ends_filled_in(&all);
        calls_compared(&all);
        rows_inserted(&all);
        all.failed = !executed(db, all.failed ? "ROLLBACK" : "COMMIT") || all.failed;
    } else {
        all.failed = true;
    }
    comparison_freed(&all);
    return !all.failed;
}
