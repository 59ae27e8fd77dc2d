/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "render/render.h"

static const char *const severity_names[] = {"off", "note", "warning", "error", "never"};

bool severity_named(const char *name, bool never_too, enum severity *severity)
{
    for (enum severity each = SEVERITY_OFF; each <= (never_too ? SEVERITY_NEVER : SEVERITY_ERROR); each++) {
        if (strcmp(name, severity_names[each]) == 0) {
            *severity = each;
            return true;
        }
    }
    return false;
}

const char *severity_name(enum severity severity)
{
    return severity_names[severity];
}

void options_defaulted(struct report_options *options)
{
    *options = (struct report_options){
        .fail_on = SEVERITY_ERROR,
        .findings_status = STATUS_FINDINGS,
        .held_seconds = 30,
        .writes_page = true,
    };
}

void options_freed(struct report_options *options)
{
    free(options->formats);
    free(options->rules);
    free(options->rule_directories.items);
    free(options->required_kinds.items);
    free(options->app_roots.items);
    free(options->third_party.items);
    free(options->debug_paths.items);
    options_defaulted(options);
}

enum {
    KEY_FORMAT = 0x100,
    KEY_FAIL_ON,
    KEY_EXITCODE,
    KEY_EXIT_STATUS,
    KEY_RULES,
    KEY_RULE,
    KEY_HELD,
    KEY_ALLOW_UNOBSERVED,
    KEY_REQUIRE,
    KEY_NO_SOURCE,
    KEY_REDACT,
    KEY_APP_ROOT,
    KEY_THIRD_PARTY,
    KEY_SYSROOT,
    KEY_DEBUG_PATH,
    KEY_DEBUGINFOD,
    KEY_LABEL,
};

static const struct argp_option report_option_list[] = {
    {0, 0, 0, 0, "Results:", 10},
    {"output", 'o', "DIR", 0, "Put results into DIR", 10},
    {"format", KEY_FORMAT, "NAME[=FILE]", 0, "Write this format too: text, html, json. May be repeated", 10},
    {"label", KEY_LABEL, "TEXT", 0, "A name for this run (a version, a build number)", 10},
    {"no-source", KEY_NO_SOURCE, 0, 0, "Leave source lines out of the page", 10},
    {"redact", KEY_REDACT, 0, 0, "Leave targets, command lines, host and thread names out of all results", 10},
    {0, 0, 0, 0, "What fails:", 11},
    {"fail-on", KEY_FAIL_ON, "SEVERITY", 0, "error (default), warning, note or never", 11},
    {"exitcode", KEY_EXITCODE, "N", 0, "Exit status for findings (default 23)", 11},
    {"exit-status", KEY_EXIT_STATUS, "program|findings", 0, "Let only that one decide the exit status", 11},
    {"rules", KEY_RULES, "DIR", 0, "Add the rules (*.sql) in DIR, or replace built-in ones by their id", 11},
    {"rule", KEY_RULE, "ID=SEVERITY", 0, "Give a rule another severity: off, note, warning or error", 11},
    {"held", KEY_HELD, "SECONDS", 0, "What counts as held long (default 30)", 11},
    {"allow-unobserved", KEY_ALLOW_UNOBSERVED, 0, 0, "Do not fail because a process could not be observed", 11},
    {"require", KEY_REQUIRE, "KIND", 0, "Fail if no such handle was seen (libpq.connection)", 11},
    {0, 0, 0, 0, "Names and places:", 12},
    {"app-root", KEY_APP_ROOT, "DIR", 0, "Code below DIR is your own", 12},
    {"third-party", KEY_THIRD_PARTY, "PATTERN", 0, "Code in files that match PATTERN is not", 12},
    {"sysroot", KEY_SYSROOT, "DIR", 0, "Look for programs, libraries and sources below DIR", 12},
    {"debug-path", KEY_DEBUG_PATH, "DIR", 0, "Look for separate debug files in DIR, too", 12},
    {"debuginfod", KEY_DEBUGINFOD, 0, 0, "Ask the servers in DEBUGINFOD_URLS for debug files", 12},
    {0},
};

static void *grown(struct argp_state *state, void *items, size_t count, size_t size)
{
    void *larger = reallocarray(items, count + 2, size);
    if (larger == NULL)
        argp_failure(state, STATUS_NO_REPORT, ENOMEM, "options");
    return larger;
}

static void item_added(struct argp_state *state, struct string_list *list, const char *item)
{
    list->items = grown(state, list->items, list->count, sizeof list->items[0]);
    list->items[list->count++] = item;
    list->items[list->count] = NULL;
}

static void format_added(struct argp_state *state, struct report_options *options, char *argument)
{
    char *file = strchr(argument, '=');
    size_t length = file != NULL ? (size_t)(file - argument) : strlen(argument);
    const struct renderer *renderer = renderer_named(argument, length);

    if (renderer == NULL)
        argp_error(state, "unknown format '%.*s'; there is %s", (int)length, argument, renderer_names());
    if (file != NULL && file[1] == '\0')
        argp_error(state, "--format=%s names no file; leave out '=' for %s", argument, renderer->file_name);
    if (file != NULL && strcmp(file, "=-") == 0 && !options->stdout_is_ours)
        argp_error(state, "--format=%s: stdout belongs to the program; name a file, or use `unclosed report`",
                   argument);
    options->formats = grown(state, options->formats, options->format_count, sizeof options->formats[0]);
    options->formats[options->format_count++] = (struct chosen_format){renderer, file != NULL ? file + 1 : NULL};
}

static void rule_set(struct argp_state *state, struct report_options *options, char *argument)
{
    char *equals = strchr(argument, '=');
    enum severity severity = SEVERITY_OFF;

    if (equals == NULL || !severity_named(equals + 1, false, &severity))
        argp_error(state, "--rule=%s: expected ID=off, ID=note, ID=warning or ID=error", argument);
    *equals = '\0';
    options->rules = grown(state, options->rules, options->rule_count, sizeof options->rules[0]);
    options->rules[options->rule_count++] = (struct rule_setting){argument, severity};
}

static long number_read(struct argp_state *state, const char *option, const char *argument, long low, long high)
{
    char *end;
    errno = 0;
    long number = strtol(argument, &end, 10);
    if (errno != 0 || end == argument || *end != '\0' || number < low || number > high)
        argp_error(state, "--%s=%s: expected a number from %ld to %ld", option, argument, low, high);
    return number;
}

static void held_read(struct argp_state *state, struct report_options *options, const char *argument)
{
    char *end;
    options->held_seconds = strtod(argument, &end);
    if (end == argument || *end != '\0' || !(options->held_seconds > 0 && options->held_seconds < 1e9))
        argp_error(state, "--held=%s: expected seconds", argument);
}

static error_t result_option_parsed(int key, char *argument, struct argp_state *state, struct report_options *options)
{
    switch (key) {
    case 'o':
        options->directory = argument;
        return 0;
    case KEY_FORMAT:
        format_added(state, options, argument);
        return 0;
    case KEY_LABEL:
        options->label = argument;
        return 0;
    case KEY_NO_SOURCE:
        options->no_source = true;
        return 0;
    case KEY_REDACT:
        options->redact = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void status_from_read(struct argp_state *state, struct report_options *options, const char *argument)
{
    if (strcmp(argument, "program") == 0)
        options->status_from = STATUS_FROM_PROGRAM;
    else if (strcmp(argument, "findings") == 0)
        options->status_from = STATUS_FROM_FINDINGS;
    else
        argp_error(state, "--exit-status=%s: expected program or findings", argument);
}

static error_t judging_option_parsed(int key, char *argument, struct argp_state *state, struct report_options *options)
{
    switch (key) {
    case KEY_FAIL_ON:
        if (!severity_named(argument, true, &options->fail_on) || options->fail_on == SEVERITY_OFF)
            argp_error(state, "--fail-on=%s: expected error, warning, note or never", argument);
        return 0;
    case KEY_EXITCODE:
        options->findings_status = (int)number_read(state, "exitcode", argument, 0, 255);
        return 0;
    case KEY_EXIT_STATUS:
        status_from_read(state, options, argument);
        return 0;
    case KEY_RULES:
        item_added(state, &options->rule_directories, argument);
        return 0;
    case KEY_RULE:
        rule_set(state, options, argument);
        return 0;
    case KEY_HELD:
        held_read(state, options, argument);
        return 0;
    case KEY_ALLOW_UNOBSERVED:
        options->allow_unobserved = true;
        return 0;
    case KEY_REQUIRE:
        item_added(state, &options->required_kinds, argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t naming_option_parsed(int key, char *argument, struct argp_state *state, struct report_options *options)
{
    switch (key) {
    case KEY_APP_ROOT:
        item_added(state, &options->app_roots, argument);
        return 0;
    case KEY_THIRD_PARTY:
        item_added(state, &options->third_party, argument);
        return 0;
    case KEY_SYSROOT:
        options->sysroot = argument;
        return 0;
    case KEY_DEBUG_PATH:
        item_added(state, &options->debug_paths, argument);
        return 0;
    case KEY_DEBUGINFOD:
        options->debuginfod = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t option_parsed(int key, char *argument, struct argp_state *state)
{
    error_t result = result_option_parsed(key, argument, state, state->input);
    if (result == ARGP_ERR_UNKNOWN)
        result = judging_option_parsed(key, argument, state, state->input);
    return result == ARGP_ERR_UNKNOWN ? naming_option_parsed(key, argument, state, state->input) : result;
}

const struct argp report_options_argp = {.options = report_option_list, .parser = option_parsed};
const struct argp_child report_options_child[2] = {{&report_options_argp, 0, NULL, 0}, {NULL, 0, NULL, 0}};
