/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules: a comment block that tells people what it is about, and one query that finds it.
 *
 *     -- id: leaked
 *     -- severity: error
 *     -- title: {noun} never closed
 *     -- …
 *     SELECT handle.id AS handle, 'no pointer …' AS evidence FROM open_handle AS handle WHERE standing = 'lost';
 *
 * docs/HOWTO_ADD_A_RULE.md describes both parts. A rule says what it found by the names of its columns; what it leaves
 * out is taken from the handle, fact or site that it points to (reports/findings.c).
 */
#ifndef UNCLOSED_REPORTS_RULES_H
#define UNCLOSED_REPORTS_RULES_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

#include "options.h"

struct rule { /* all text allocated; wrong, right, misleads, outranks, includes may be NULL */
    char *id, *title, *phrase, *explain, *fix, *wrong, *right, *misleads;
    /* Ids of rules, separated by blanks: which say less about the same handle; whose closed handles, opened at the same
     * place, are the same mistake. */
    char *outranks, *includes;
    char *query;
    char *origin; /* file name for messages */
    enum severity default_severity, severity;
};

struct rule_set {
    struct rule *rules; /* sorted by id */
    size_t count;
};

/*
 * The built-in rules, those of `options->rule_directories` (which replace built-in ones of the same id), severities as
 * options->rules ask. False after a message that names file and line: unreadable directory, a rule that is not whole,
 * a rule that --rule names and that is not there. The set is to be freed in either case.
 */
bool rules_read(struct rule_set *set, const struct report_options *options);
void rules_freed(struct rule_set *set);
const struct rule *rule_named(const struct rule_set *set, const char *id);

/* One rule from the text of its file. False, with why in `problem`. */
bool rule_parsed(struct rule *rule, const char *origin, const char *text, char *problem, size_t problem_size);

/*
 * Fills table `rule`, runs every rule that is not off, and leaves what they yield in the temporary table `found`, one
 * row for each row of a rule; which rule outranks and includes which is in `outranked` and `included`. Queries may only read: anything else is refused before it runs. False after a message.
 */
bool rules_run(sqlite3 *db, const struct rule_set *set);

#endif
