/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `unclosed run` and `unclosed report` both understand: where results go, what fails, how places are named.
 *
 * Filled by argp: a command's own parser lists `report_options_child` among its children and hands the struct over as
 * that child's input (see reports/report.c). All strings belong to argv or to the struct; nothing here is a secret.
 */
#ifndef UNCLOSED_REPORTS_OPTIONS_H
#define UNCLOSED_REPORTS_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

/* In order: the worse, the greater. SEVERITY_NEVER is for --fail-on only. */
enum severity { SEVERITY_OFF, SEVERITY_NOTE, SEVERITY_WARNING, SEVERITY_ERROR, SEVERITY_NEVER };

/* Exit statuses of `run` and `report` that are not a program's own. */
enum {
    STATUS_USAGE = 2,
    STATUS_FINDINGS = 23, /* --exitcode */
    STATUS_UNOBSERVED = 24,
    STATUS_NO_REPORT = 25, /* nothing could be read, or a result could not be written */
};

struct string_list {
    const char **items; /* NULL after the last; NULL itself when empty */
    size_t count;
};

struct renderer; /* reports/render/render.h */

struct chosen_format { /* --format html=page.html */
    const struct renderer *renderer;
    const char *file; /* NULL: the renderer's usual name in the directory; "-": stdout */
};

struct rule_setting { /* --rule leaked=warning */
    const char *rule;
    enum severity severity;
};

enum exit_status_from { STATUS_FROM_BOTH, STATUS_FROM_PROGRAM, STATUS_FROM_FINDINGS };

struct report_options {
    const char *directory; /* -o; NULL: the command's own default */
    struct chosen_format *formats;
    size_t format_count;
    enum severity fail_on;
    int findings_status; /* 23 */
    enum exit_status_from status_from;
    struct string_list rule_directories;
    struct rule_setting *rules;
    size_t rule_count;
    double held_seconds; /* 30 */
    bool allow_unobserved;
    struct string_list required_kinds;
    bool no_source;
    bool redact;
    const char *label;
    /* how places are named and whose code is whose */
    struct string_list app_roots;
    struct string_list third_party;
    const char *sysroot;
    struct string_list debug_paths;
    bool debuginfod;
    /* set by the command, not by the user */
    bool stdout_is_ours; /* `=-` is allowed: `report`, where no program writes to stdout */
    bool writes_page;    /* page and database are made even if no --format asks for them */
};

extern const struct argp report_options_argp;
extern const struct argp_child report_options_child[2]; /* {report_options_argp, …}, {0} */

/* The defaults, for a struct of any content. */
void options_defaulted(struct report_options *options);

/* Frees what parsing allocated. */
void options_freed(struct report_options *options);

/* "error" → SEVERITY_ERROR; false: not a severity ("never" included only with `never_too`). */
bool severity_named(const char *name, bool never_too, enum severity *severity);
const char *severity_name(enum severity severity);

#endif
