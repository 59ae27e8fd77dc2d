/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what rules found to findings: one for a rule, a kind and a normalised stack, over all processes.
 *
 *     found        one row for each row of a rule's query                                  (rules.c)
 *     occurrence   the same with everything filled in, and the id of its finding
 *     finding      occurrences with one id; with evidence, places, children, threads, labels
 */
#ifndef UNCLOSED_REPORTS_FINDINGS_H
#define UNCLOSED_REPORTS_FINDINGS_H

#include <sqlite3.h>
#include <stdbool.h>

/* A finding's id: 16 hex digits of rule, kind and the normalised stack; never of a count, a line or an address. */
void finding_identified(const char *rule, const char *kind, const char *fingerprint, char id[17]);

/*
 * Fills the tables finding and finding_* from the temporary table `found`, replacing what was in them. Order of
 * presentation: severity, then what was at work in an incident, then count; equal ones by place, so that two runs of
 * the same program list them alike. False after a message.
 */
bool findings_made(sqlite3 *db);

#endif
