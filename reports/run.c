/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unclosed/unclosed.h>
#include <unistd.h>

#include "database.h"
#include "directory.h"
#include "program.h"
#include "render/render.h"
#include "report.h"
#include "rollcall.h"
#include "supervise.h"

enum { STATUS_CANNOT_RUN = 126, STATUS_NOT_FOUND = 127 };
enum { KEY_WAIT = 0x300, KEY_EXPECT_SIGNAL, KEY_MAX_SIZE, KEY_DEPTH, KEY_ONLY, KEY_SKIP };

struct run_options {
    struct report_options report;
    char **command;
    bool wait_first;
    uint64_t expected_signals; /* bit n-1: signal n */
    const char *max_size, *depth, *only, *skip;
};

/* --- options ------------------------------------------------------------------------------------------------------------ */

static const struct argp_option run_option_list[] = {
    {0, 0, 0, 0, "The program:", 1},
    {"wait", KEY_WAIT, "all|first", 0, "Wait for whatever COMMAND leaves running (default), or for COMMAND alone", 1},
    {"expect-signal", KEY_EXPECT_SIGNAL, "NAME", 0,
     "That COMMAND ends by this signal is no failure (TERM). May be repeated", 1},
    {"only", KEY_ONLY, "NAMES", 0, "Record only programs of these names (patterns, separated by commas)", 1},
    {"skip", KEY_SKIP, "NAMES", 0, "Record no programs of these names", 1},
    {"max-size", KEY_MAX_SIZE, "SIZE", 0, "Limit for the trace of one process (default 256m)", 1},
    {"depth", KEY_DEPTH, "N", 0, "Frames of a stack (default 64)", 1},
    {0},
};

/* "TERM", "SIGTERM", "15". 0: no signal. */
static int signal_named(const char *name)
{
    static const struct {
        const char *name;
        int signal;
    } names[] = {
        {"HUP", SIGHUP},       {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ILL", SIGILL},   {"TRAP", SIGTRAP},
        {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},   {"KILL", SIGKILL}, {"USR1", SIGUSR1},
        {"SEGV", SIGSEGV},     {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},
        {"XCPU", SIGXCPU},     {"XFSZ", SIGXFSZ}, {"IO", SIGIO},     {"PWR", SIGPWR},   {"SYS", SIGSYS},
        {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF},
    };
    char *end;
    long number = strtol(name, &end, 10);
    if (*name && !*end)
        return number > 0 && number < 65 ? (int)number : 0;
    if (!strncasecmp(name, "SIG", 3))
        name += 3;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcasecmp(name, names[i].name))
            return names[i].signal;
    return 0;
}

static void signal_expected(struct argp_state *state, struct run_options *options, const char *name)
{
    int signal = signal_named(name);
    if (signal < 1)
        argp_error(state, "--expect-signal=%s: expected the name or number of a signal, such as TERM", name);
    else
        options->expected_signals |= 1ull << (signal - 1);
}

static bool is_size(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits && digits < 12 && (!text[digits] || (strchr("kKmMgG", text[digits]) && !text[digits + 1]));
}

static bool is_depth(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 6 && atoi(text) > 0;
}

static error_t option_parsed(int key, char *argument, struct argp_state *state)
{
    struct run_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->report;
        break;
    case KEY_WAIT:
        if (strcmp(argument, "all") != 0 && strcmp(argument, "first") != 0)
            argp_error(state, "--wait=%s: expected all or first", argument);
        options->wait_first = !strcmp(argument, "first");
        break;
    case KEY_EXPECT_SIGNAL:
        signal_expected(state, options, argument);
        break;
    case KEY_ONLY:
        options->only = argument;
        break;
    case KEY_SKIP:
        options->skip = argument;
        break;
    case KEY_MAX_SIZE:
        if (!is_size(argument))
            argp_error(state, "--max-size=%s: expected a size such as 64m", argument);
        options->max_size = argument;
        break;
    case KEY_DEPTH:
        if (!is_depth(argument))
            argp_error(state, "--depth=%s: expected a number of frames", argument);
        options->depth = argument;
        break;
    case ARGP_KEY_ARGS:
        options->command = state->argv + state->next;
        break;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which command?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp run_argp = {
    .options = run_option_list,
    .parser = option_parsed,
    .args_doc = "[--] COMMAND [ARG...]",
    .doc =
        "Run COMMAND with the shim loaded into it and everything it starts, then report what was never closed.\v"
        "The exit status is COMMAND's own unless that is 0; then 23 if there are findings that fail (--fail-on), 24 if "
        "a "
        "process that uses a watched library could not be observed, else 0. 126 and 127: COMMAND could not be run or "
        "found; 2: usage.",
    .children = report_options_child,
};

/* --- before ----------------------------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static int not_found(const char *command, int error)
{
    if (error != ENOENT)
        fprintf(stderr, "unclosed: error: cannot run %s: %s\n", command, strerror(error));
    else
        fprintf(stderr, "unclosed: error: %s: %s\n", command,
                strchr(command, '/') ? "no such file" : "command not found");
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
}

static int not_run(const char *command, int error)
{
    fprintf(stderr, "unclosed: error: cannot run %s: %s\n", command,
            error == ENOENT ? "the interpreter or loader that it names is not there" : strerror(error));
    return STATUS_CANNOT_RUN;
}

/* The traces directory of a run that we were started in; "": none. */
static void outer_traces_found(char outer[PATH_MAX])
{
    const char *at = getenv("UNCLOSED_OPTIONS");
    bool is_run = at && (!strncmp(at, "run=", 4) || strstr(at, ":run="));
    size_t length = 0;
    at = at && strncmp(at, "dir=", 4) != 0 ? strstr(at, ":dir=") : at;
    at += at ? (*at == ':' ? 5 : 4) : 0;
    for (; is_run && at && *at && *at != ':' && length < PATH_MAX - 1; at++) {
        if (*at == '\\' && at[1])
            at++;
        outer[length++] = *at;
    }
    outer[length] = 0;
}

static bool place_prepared(struct run_directory *directory, const struct run_options *options)
{
    char outer[PATH_MAX], named[PATH_MAX];
    outer_traces_found(outer);
    if (options->report.directory &&
        !directory_named(options->report.directory, base_name(*options->command), getpid(), named))
        return false;
    if (!directory_prepared(directory, options->report.directory ? named : NULL, *outer ? outer : NULL))
        return false;
    for (size_t i = 0; i < options->report.format_count; i++)
        if (!options->report.formats[i].file)
            directory_will_hold(directory, options->report.formats[i].renderer->file_name);
    return true;
}

static bool ran(const struct run_options *options, const char *shim, const char *file, const char *traces,
                struct supervised *result)
{
    char run[64];
    struct program *program = calloc(1, sizeof *program);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(run, sizeof run, "%ld.%lld%09ld", (long)getpid(), (long long)now.tv_sec, now.tv_nsec);
    bool known = program && program_inspected(file, program);
    struct injection injection = {
        .shim = shim,
        .traces = traces,
        .run = run,
        .label = options->report.label,
        .max_size = options->max_size,
        .depth = options->depth,
        .only = options->only,
        .skip = options->skip,
        .address_sanitizer = known && program->address_sanitizer,
    };
    extern char **environ;
    bool good = supervised_to_the_end(&(struct supervision){.command = options->command,
                                                            .file = file,
                                                            .environment = environment_with(environ, &injection),
                                                            .wait_first = options->wait_first},
                                      result);
    free(program);
    return good;
}

/* --- after -------------------------------------------------------------------------------------------------------------------- */

/* A shell that waited for a program which a signal ended says so by 128+n; the signal was ours all the same. */
static struct run_outcome outcome_of(const struct run_options *options, const struct supervised *result)
{
    int signal = result->signal                                            ? result->signal
                 : result->exit_status > 128 && result->exit_status <= 192 ? result->exit_status - 128
                                                                           : 0;
    bool passed = signal && result->passed_signals >> (signal - 1) & 1;
    bool expected = signal && options->expected_signals >> (signal - 1) & 1;
    return (struct run_outcome){
        .name = base_name(*options->command),
        .exit_status = result->exit_status,
        .signal = result->signal || passed ? signal : 0,
        .signal_expected = passed || (expected && result->signal),
    };
}

/* The command line as its trace has it, without secrets; a command without a trace is known by its name only. */
static bool command_described(sqlite3 *db, const struct run_outcome *outcome, pid_t pid)
{
    bool failed = false;
    sqlite3_stmt *statement = prepared(
        db, "INSERT INTO run (schema_version, tool_version, made_at, command, command_status, command_signal) VALUES "
            "(1, ?1, ?2, "
            "coalesce((SELECT command FROM process WHERE pid = ?3 ORDER BY id LIMIT 1), ?4), ?5, nullif(?6, 0))");
    if (!statement)
        return false;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    sqlite3_bind_text(statement, 1, UNCLOSED_VERSION, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, now.tv_sec * 1000000000LL + now.tv_nsec);
    sqlite3_bind_int64(statement, 3, pid);
    sqlite3_bind_text(statement, 4, outcome->name, -1, SQLITE_STATIC);
    sqlite3_bind_int(statement, 5, outcome->exit_status);
    sqlite3_bind_int(statement, 6, outcome->signal);
    row_fetched(statement, &failed);
    sqlite3_finalize(statement);
    return !failed;
}

static int reported_about(const struct run_options *options, const struct run_directory *directory, const char *file,
                          const struct supervised *result)
{
    struct run_outcome outcome = outcome_of(options, result);
    struct loading loading;
    unsigned loaded;
    const char *const traces = directory->traces;
    sqlite3 *db = database_created(":memory:");
    loading_prepared(&loading, &options->report, &traces, 1);
    int status = outcome.exit_status ? outcome.exit_status : STATUS_NO_REPORT;
    if (db && traces_loaded(db, &loading.load, &loaded) == 0 && rollcall_compared(db, traces, file, result) &&
        command_described(db, &outcome, result->pid))
        status = reported(db, &options->report, directory->path, &outcome);
    database_closed(db);
    return status;
}

int command_run(int argc, char **argv)
{
    struct run_options options = {0};
    struct run_directory directory = {.lock = -1};
    struct supervised result = {0};
    char shim[PATH_MAX], file[PATH_MAX];
    int status = STATUS_USAGE, error;

    options_defaulted(&options.report);
    argp_err_exit_status = STATUS_USAGE;
    argp_parse(&run_argp, argc, argv, ARGP_IN_ORDER, NULL, &options);
    if (!options_usable(&options.report) || !shim_located(shim))
        goto out;
    if (!program_located(*options.command, getenv("PATH"), file, &error)) {
        status = not_found(*options.command, error);
        goto out;
    }
    if (!place_prepared(&directory, &options))
        goto out;
    bool has_run = ran(&options, shim, file, directory.traces, &result);
    /* The summary may go to a pipe that nobody reads any more; the exit status must still be told. */
    signal(SIGPIPE, SIG_IGN);
    if (has_run)
        status = reported_about(&options, &directory, file, &result);
    else
        status = not_run(*options.command, result.error);
out:
    free(result.ended);
    directory_released(&directory);
    options_freed(&options.report);
    return status;
}
