/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unclosed/unclosed.h>
#include <unistd.h>

#include "findings.h"
#include "output.h"
#include "program.h"
#include "render/render.h"
#include "row.h"
#include "rules.h"
#include "verdict.h"
#include "words.h"

void loading_prepared(struct loading *loading, const struct report_options *options, const char *const *paths,
                      size_t count)
{
    loading->symbols = (struct symbol_options){
        .sysroot = options->sysroot, .debug_paths = options->debug_paths.items, .debuginfod = options->debuginfod};
    loading->code =
        (struct code_rules){.app_roots = options->app_roots.items, .third_party = options->third_party.items};
    loading->load =
        (struct load_options){.paths = paths, .count = count, .symbols = &loading->symbols, .code = &loading->code};
}

bool options_usable(const struct report_options *options)
{
    struct rule_set set;
    bool good = rules_read(&set, options);
    rules_freed(&set);
    return good;
}

/* --- judging ------------------------------------------------------------------------------------------------------- */

static bool run_described(sqlite3 *db, const struct report_options *options)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (integer_selected(db, "SELECT count(*) FROM run", 0) == 0) {
        struct insert insert = insert_prepared(db, "run", "schema_version tool_version made_at");
        INSERTED(&insert, integer(1), text(UNCLOSED_VERSION), integer(now.tv_sec * 1000000000LL + now.tv_nsec));
        if (!insert_finished(&insert))
            return false;
    }
    bool failed = false;
    sqlite3_stmt *statement = prepared(
        db, "UPDATE run SET host = coalesce(host, (SELECT host FROM process WHERE host <> '' ORDER BY id LIMIT 1)),"
            "               label = coalesce(?1, label, (SELECT label FROM process WHERE label <> '' ORDER BY id LIMIT "
            "1))");
    if (statement == NULL)
        return false;
    begun_with(statement, text(options->label));
    row_fetched(statement, &failed);
    sqlite3_finalize(statement);
    return !failed;
}

static bool settings_stored(sqlite3 *db, const struct report_options *options)
{
    bool failed = false;
    sqlite3_stmt *statement = prepared(db, "INSERT OR REPLACE INTO setting VALUES ('held_seconds', ?1)");
    if (statement == NULL)
        return false;
    sqlite3_bind_double(statement, 1, options->held_seconds);
    row_fetched(statement, &failed);
    sqlite3_finalize(statement);
    return !failed;
}

/* Whatever could name people, machines or data. Places in code stay: without them a report is of no use. */
static const char redacted[] =
    "UPDATE run SET host = NULL, command = NULL;"
    "UPDATE process SET host = NULL, command = NULL, directory = NULL;"
    "UPDATE site SET target = NULL; UPDATE handle SET target = NULL, thread_name = NULL; DELETE FROM detail;"
    /* Rules ask whether there was an owner. */
    "UPDATE closed_handle SET target = NULL, owner_label = CASE WHEN owner_label IS NOT NULL THEN '' END;"
    "UPDATE fact SET target = NULL, text = NULL;"
    "UPDATE incident SET target = NULL, message = NULL, owner_label = NULL;"
    "UPDATE holder SET owner_label = NULL, last_sql = NULL; UPDATE owner SET label = NULL;";

static bool judged(sqlite3 *db, const struct report_options *options, const struct rule_set *rules,
                   const struct run_outcome *program, struct verdict *verdict)
{
    if (!executed(db, "BEGIN"))
        return false;
    bool good = words_registered(db) == SQLITE_OK && run_described(db, options) && settings_stored(db, options) &&
                (!options->redact || executed(db, redacted)) && rules_run(db, rules) && findings_made(db) &&
                verdict_reached(db, options, program, verdict);
    executed(db, good ? "COMMIT" : "ROLLBACK");
    return good;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

static char *file_in(const char *directory, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

static bool rendered_to(struct rendering *rendering, const struct renderer *renderer, const char *path)
{
    struct output output;
    if (path == NULL || !output_begun(&output, path))
        return false;
    rendering->out = output.file;
    return output_finished(&output, renderer->rendered(rendering));
}

static bool format_written(struct rendering *rendering, const struct chosen_format *format, const char *directory)
{
    if (format->file != NULL)
        return rendered_to(rendering, format->renderer, format->file);
    char *path = file_in(directory, format->renderer->file_name);
    bool good = rendered_to(rendering, format->renderer, path);
    free(path);
    return good;
}

static bool database_written(sqlite3 *db, const char *directory)
{
    char *path = file_in(directory, "report.db");
    char *temporary = path != NULL ? output_reserved(path) : NULL;
    bool good = temporary != NULL;

    if (good) {
        bool failed = false;
        sqlite3_stmt *statement = prepared(db, "VACUUM INTO ?1");
        if (statement != NULL) {
            begun_with(statement, text(temporary));
            row_fetched(statement, &failed);
        }
        if (statement == NULL || failed)
            fprintf(stderr, "unclosed: error: cannot write %s\n", path);
        sqlite3_finalize(statement);
        good = output_placed(temporary, path, statement != NULL && !failed);
    }
    free(path);
    return good;
}

/* The page that was asked for by --format, if one was. */
static const struct chosen_format *page_chosen(const struct report_options *options)
{
    for (size_t i = 0; i < options->format_count; i++)
        if (options->formats[i].renderer == &html_renderer)
            return &options->formats[i];
    return NULL;
}

/* Where the page will be; allocated, NULL: nowhere that could be told. */
static char *page_path(const struct report_options *options, const char *directory)
{
    const struct chosen_format *chosen = page_chosen(options);

    if (chosen == NULL ? !options->writes_page : chosen->file != NULL && strcmp(chosen->file, "-") == 0)
        return NULL;
    return chosen != NULL && chosen->file != NULL ? strdup(chosen->file) : file_in(directory, html_renderer.file_name);
}

static bool all_written(struct rendering *rendering, const char *directory)
{
    const struct report_options *options = rendering->options;
    bool good = true;

    if (options->writes_page && page_chosen(options) == NULL)
        good = format_written(rendering, &(struct chosen_format){&html_renderer, NULL}, directory);
    for (size_t i = 0; i < options->format_count; i++)
        good = format_written(rendering, &options->formats[i], directory) && good;
    if (options->writes_page)
        good = database_written(rendering->db, directory) && good;
    return good;
}

/* --- saying ------------------------------------------------------------------------------------------------------------- */

static bool colour_wanted(void)
{
    const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(STDERR_FILENO) && (no == NULL || *no == '\0') && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

static unsigned terminal_width(void)
{
    struct winsize size;
    return isatty(STDERR_FILENO) && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* In one piece, so that lines of a program that still writes do not come in between. */
static bool summary_said(struct rendering *rendering)
{
    char *summary = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&summary, &size);

    if (out == NULL)
        return false;
    rendering->out = out;
    rendering->colour = colour_wanted();
    rendering->width = terminal_width();
    bool good = text_renderer.rendered(rendering);
    if (fclose(out) == 0)
        fwrite(summary, 1, size, stderr);
    free(summary);
    return good;
}

int reported(sqlite3 *db, const struct report_options *options, const char *directory,
             const struct run_outcome *program)
{
    struct rule_set rules;
    struct verdict verdict = {0};
    int status = STATUS_NO_REPORT;

    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is then an error like a full disk */
    if (!rules_read(&rules, options)) {
        rules_freed(&rules);
        return STATUS_USAGE;
    }
    if (judged(db, options, &rules, program, &verdict)) {
        char *page = page_path(options, directory);
        char watched[64];
        struct rendering rendering = {.db = db,
                                      .options = options,
                                      .page = page,
                                      .watched = watched_libraries_named((1u << WATCHED_COUNT) - 1, watched)};
        bool good = all_written(&rendering, directory);
        good = summary_said(&rendering) && good;
        status = verdict.exit_status != 0 || good ? verdict.exit_status : STATUS_NO_REPORT;
        free(page);
    } else if (program != NULL && program->exit_status != 0) {
        status = program->exit_status;
    }
    rules_freed(&rules);
    return status;
}

/* --- unclosed report ---------------------------------------------------------------------------------------------------- */

struct report_command {
    struct report_options options;
    struct string_list inputs;
};

static error_t argument_parsed(int key, char *argument, struct argp_state *state)
{
    struct report_command *command = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &command->options;
        return 0;
    case ARGP_KEY_ARG: {
        const char **larger = reallocarray(command->inputs.items, command->inputs.count + 1, sizeof *larger);
        if (larger == NULL)
            argp_failure(state, STATUS_NO_REPORT, ENOMEM, "arguments");
        command->inputs.items = larger;
        command->inputs.items[command->inputs.count++] = argument;
        return 0;
    }
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "name a trace, a directory of traces, or a report.db");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char report_about[] =
    "Make reports from traces, also of processes that still run, were killed, or ran on another machine.\v"
    "TRACE is a trace file, DIR a directory of them or the directory of a `run`, DB a report.db to be judged again.\n\n"
    "Without --format, index.html and report.db are written into DIR (for the traces/ of a run: into the run's "
    "directory), or where -o says. With --format, only what it names is written, unless -o is given, too. "
    "A summary goes to stderr in any case.\n\n"
    "Exit status: 23 findings at or above --fail-on; 24 something could not be observed; 0 otherwise; 2 wrong usage; "
    "25 nothing could be read, or a result could not be written.";

/* Beside the traces: the directory itself, the run's directory for its traces/, a file's directory. Allocated. */
static char *usual_directory(const char *input)
{
    struct stat status;
    char *path = realpath(input, NULL);

    if (path == NULL)
        return NULL;
    if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode))
        *(strrchr(path, '/') == path ? path + 1 : strrchr(path, '/')) = '\0';
    size_t length = strlen(path);
    if (length > 7 && strcmp(path + length - 7, "/traces") == 0)
        path[length - 7] = '\0';
    return path;
}

static sqlite3 *inputs_loaded(const struct report_command *command)
{
    const struct string_list *inputs = &command->inputs;

    for (size_t i = 0; i < inputs->count; i++) {
        if (!is_run_database(inputs->items[i]))
            continue;
        if (inputs->count == 1)
            return database_copied(inputs->items[0]);
        fprintf(stderr,
                "unclosed: error: %s: a report.db cannot be put together with anything else; "
                "give its traces instead\n",
                inputs->items[i]);
        return NULL;
    }
    struct loading loading;
    unsigned loaded;
    sqlite3 *db = database_created(":memory:");
    loading_prepared(&loading, &command->options, inputs->items, inputs->count);
    if (db != NULL && traces_loaded(db, &loading.load, &loaded) != 0) {
        database_closed(db);
        db = NULL;
    }
    return db;
}

static bool directory_made(const char *directory)
{
    if (mkdir(directory, 0777) == 0 || errno == EEXIST)
        return true;
    fprintf(stderr, "unclosed: error: cannot make %s: %s\n", directory, strerror(errno));
    return false;
}

static int inputs_reported(struct report_command *command)
{
    struct report_options *options = &command->options;
    char *usual = options->directory == NULL ? usual_directory(command->inputs.items[0]) : NULL;
    const char *directory = options->directory != NULL ? options->directory : usual != NULL ? usual : ".";
    int status = STATUS_NO_REPORT;

    options->writes_page = options->directory != NULL || options->format_count == 0;
    sqlite3 *db = inputs_loaded(command);
    if (db != NULL && (options->directory == NULL || directory_made(directory)))
        status = reported(db, options, directory, NULL);
    database_closed(db);
    free(usual);
    return status;
}

int command_report(int argc, char **argv)
{
    const struct argp argp = {
        .parser = argument_parsed, .args_doc = "TRACE|DIR|DB…", .doc = report_about, .children = report_options_child};
    struct report_command command = {0};
    int status = STATUS_USAGE;

    options_defaulted(&command.options);
    command.options.stdout_is_ours = true;
    if (argp_parse(&argp, argc, argv, 0, NULL, &command) == 0 && options_usable(&command.options))
        status = inputs_reported(&command);
    free(command.inputs.items);
    options_freed(&command.options);
    return status;
}
