/* SPDX-License-Identifier: Apache-2.0 */
#include "bare.h"

#include <argp.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "database.h"
#include "map.h"
#include "processes.h"
#include "render/render.h"
#include "report.h"
#include "trace_reader.h"

enum { KEEP_USUALLY = 20, KEY_DIRECTORY = 0x400, KEY_TRACE, KEY_FAIL_ON, KEY_KEEP, KEY_HELD };
#define SHORT_NS 10000000000LL /* a program that ran no longer and closed everything leaves nothing behind */

struct bare_options {
    struct report_options report;
    const char *directory, *trace;
    bool fails;
    size_t keep;
};

/* --- options ------------------------------------------------------------------------------------------------------------ */

static const struct argp_option bare_option_list[] = {
    {"dir", KEY_DIRECTORY, "DIR", 0, "Where traces and pages are", 0},
    {"trace", KEY_TRACE, "FILE", 0, "The trace to report about", 0},
    {"fail-on", KEY_FAIL_ON, "SEVERITY", 0, "error, warning or note", 0},
    {"keep", KEY_KEEP, "N", 0, "Newest reports that are kept (default 20)", 0},
    {"held", KEY_HELD, "SECONDS", 0, "What counts as held long (default 30)", 0},
    {0},
};

static error_t option_parsed(int key, char *argument, struct argp_state *state)
{
    struct bare_options *options = state->input;
    char *end = NULL;
    switch (key) {
    case KEY_DIRECTORY:
        options->directory = argument;
        break;
    case KEY_TRACE:
        options->trace = argument;
        break;
    case KEY_FAIL_ON:
        if (!severity_named(argument, true, &options->report.fail_on) || options->report.fail_on == SEVERITY_OFF)
            argp_error(state, "fail_on=%s: expected error, warning, note or never", argument);
        options->fails = true;
        break;
    case KEY_KEEP:
        options->keep = strtoul(argument, &end, 10);
        break;
    case KEY_HELD:
        options->report.held_seconds = strtod(argument, &end);
        if (end == argument || *end || !(options->report.held_seconds > 0))
            argp_error(state, "held=%s: expected seconds", argument);
        break;
    case ARGP_KEY_END:
        if (!options->trace || !options->directory)
            argp_error(state, "the shim starts this with --dir and --trace; for traces there is `unclosed report`");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* --- what is kept --------------------------------------------------------------------------------------------------------- */

struct kept {
    char name[NAME_MAX + 1]; /* without .trace and .html */
    int64_t changed;         /* ns since 1970, the later of the two */
    bool has_trace;
};

/* Cuts the ending off "app.4711.123456.trace" or ….html; false: the name is of another shape. */
static bool stem_cut(char *name)
{
    char *ending = strrchr(name, '.');
    if (!ending || (strcmp(ending, ".trace") != 0 && strcmp(ending, ".html") != 0))
        return false;
    *ending = 0;
    const char *at = ending;
    for (int number = 0; number < 2; number++) {
        const char *last = at;
        while (at > name && isdigit((unsigned char)at[-1]))
            at--;
        if (at == last || at == name || at[-1] != '.')
            return false;
        at--;
    }
    return at > name;
}

static size_t kept_listed(int directory, struct kept **list)
{
    size_t count = 0;
    DIR *entries = fdopendir(dup(directory));
    *list = NULL;
    for (const struct dirent *entry; entries && (entry = readdir(entries)) != NULL;) {
        struct kept one = {.has_trace = strstr(entry->d_name, ".trace") != NULL};
        struct stat status;
        snprintf(one.name, sizeof one.name, "%s", entry->d_name);
        if (!stem_cut(one.name) || fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) ||
            !S_ISREG(status.st_mode))
            continue;
        one.changed = status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec;
        size_t i = 0;
        while (i < count && strcmp((*list)[i].name, one.name) != 0)
            i++;
        if (i == count) {
            *list = memory_resized(*list, count + 1, sizeof **list);
            (*list)[count++] = one;
        } else {
            (*list)[i].has_trace |= one.has_trace;
            (*list)[i].changed = (*list)[i].changed > one.changed ? (*list)[i].changed : one.changed;
        }
    }
    if (entries)
        closedir(entries);
    return count;
}

static int newest_first(const void *left, const void *right)
{
    const struct kept *a = left, *b = right;
    return a->changed > b->changed ? -1 : a->changed < b->changed;
}

static bool is_running(int directory, const char *name)
{
    struct trace *trace = memory(sizeof *trace);
    bool opened = trace_opened(trace, directory, name, false) == TRACE_OPENED;
    bool running = opened && trace->process.end == END_NONE &&
                   process_presence(&trace->process, trace_text(trace, trace->process.host)) != PRESENCE_GONE;
    trace_closed(trace);
    free(trace);
    return running;
}

static void oldest_removed(const char *path, size_t keep)
{
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct kept *list = NULL;
    size_t count = directory < 0 ? 0 : kept_listed(directory, &list);
    if (count)
        qsort(list, count, sizeof *list, newest_first);
    for (size_t i = keep; i < count; i++) {
        char trace[NAME_MAX + 16], page[NAME_MAX + 16];
        snprintf(trace, sizeof trace, "%s.trace", list[i].name);
        snprintf(page, sizeof page, "%s.html", list[i].name);
        if (list[i].has_trace && is_running(directory, trace))
            continue;
        unlinkat(directory, trace, 0);
        unlinkat(directory, page, 0);
    }
    free(list);
    if (directory >= 0)
        close(directory);
}

/* --- the report ------------------------------------------------------------------------------------------------------------ */

/* Judges without a word; what goes wrong here goes wrong again, and aloud, when the report is made. */
static int judged_in_silence(sqlite3 *db, const struct report_options *options)
{
    int before = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0)
        dup2(nowhere, STDERR_FILENO);
    int status = reported(db, options, NULL, NULL);
    if (before >= 0)
        dup2(before, STDERR_FILENO);
    close(before);
    close(nowhere);
    return status;
}

static int trace_reported(struct bare_options *options, sqlite3 *db, const char *page)
{
    options->report.writes_page = false;
    int status = judged_in_silence(db, &options->report);
    int64_t findings = integer_selected(db, "SELECT count(*) FROM finding WHERE suppressed IS NULL", 0);
    int64_t worse =
        integer_selected(db, "SELECT count(*) FROM finding WHERE suppressed IS NULL AND severity <> 'note'", 0);
    int64_t unseen = integer_selected(db, "SELECT count(*) FROM process WHERE observed = 0 OR dropped > 0", 0);
    int64_t ran = integer_selected(db, "SELECT max(ended_at - started_at) FROM process", 0);

    if (status == 0 && findings == 0 && unseen == 0 && ran < SHORT_NS) {
        unlink(options->trace);
        return 0;
    }
    struct chosen_format format = {&html_renderer, page};
    options->report.formats = memory(sizeof format);
    options->report.formats[options->report.format_count++] = format;
    if (worse || unseen || status)
        status = reported(db, &options->report, NULL, NULL);
    else
        status = judged_in_silence(db, &options->report);
    oldest_removed(options->directory, options->keep);
    return status;
}

int command_bare(int argc, char **argv)
{
    const struct argp argp = {.options = bare_option_list, .parser = option_parsed};
    struct bare_options options = {.keep = KEEP_USUALLY};
    struct loading loading;
    unsigned loaded;
    int status = STATUS_NO_REPORT;
    char page[PATH_MAX];

    options_defaulted(&options.report);
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (!options.fails) {
        options.report.fail_on = SEVERITY_NEVER;
        options.report.allow_unobserved = true;
    }
    size_t length = strlen(options.trace);
    bool ends = length > 6 && !strcmp(options.trace + length - 6, ".trace");
    if (snprintf(page, sizeof page, "%.*s.html", (int)(ends ? length - 6 : length), options.trace) >= PATH_MAX)
        return STATUS_USAGE;
    loading_prepared(&loading, &options.report, &options.trace, 1);
    sqlite3 *db = database_created(":memory:");
    if (db && traces_loaded(db, &loading.load, &loaded) == 0)
        status = trace_reported(&options, db, page);
    database_closed(db);
    options_freed(&options.report);
    return status;
}
