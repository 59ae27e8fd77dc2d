/* SPDX-License-Identifier: Apache-2.0 */
#include "findings.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "row.h"
#include "words.h"

/* --- identity ------------------------------------------------------------------------------------------------------ */

/* FNV-1a, then a mixer: short texts that differ in one letter get ids that differ everywhere. */
static uint64_t hashed(uint64_t hash, const char *text)
{
    for (const unsigned char *byte = (const unsigned char *)text;; byte++) {
        hash = (hash ^ *byte) * 0x100000001b3u;
        if (*byte == '\0')
            return hash;
    }
}

void finding_identified(const char *rule, const char *kind, const char *fingerprint, char id[17])
{
    uint64_t hash = hashed(hashed(hashed(0xcbf29ce484222325u, rule), kind), fingerprint);

    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    snprintf(id, 17, "%016llx", (unsigned long long)(hash ^ (hash >> 31)));
}

static void identified_in_sql(sqlite3_context *context, int count, sqlite3_value **values)
{
    const char *texts[3];
    char id[17];

    for (int i = 0; i < count; i++) {
        texts[i] = (const char *)sqlite3_value_text(values[i]);
        if (texts[i] == NULL)
            texts[i] = "";
    }
    finding_identified(texts[0], texts[1], texts[2], id);
    sqlite3_result_text(context, id, -1, SQLITE_TRANSIENT);
}

static void filled_in_sql(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    const char *text = (const char *)sqlite3_value_text(values[0]);
    const char *noun = (const char *)sqlite3_value_text(values[1]);
    const char *kind = (const char *)sqlite3_value_text(values[2]);
    sqlite3_result_text(context,
                        text != NULL ? filled_in(text, noun != NULL ? noun : "handle", kind != NULL ? kind : "") : NULL,
                        -1, free);
}

/* --- the steps ------------------------------------------------------------------------------------------------------- */

static const char indexed[] = "CREATE INDEX IF NOT EXISTS finding_process_by_finding ON finding_process (finding);"
                              "CREATE INDEX IF NOT EXISTS finding_thread_by_finding ON finding_thread (finding);"
                              "CREATE INDEX IF NOT EXISTS finding_label_by_finding ON finding_label (finding);"
                              "CREATE INDEX IF NOT EXISTS finding_child_by_finding ON finding_child (finding);";

static const char emptied[] = "DELETE FROM finding; DELETE FROM finding_process; DELETE FROM finding_thread;"
                              "DELETE FROM finding_label; DELETE FROM finding_child; DELETE FROM finding_detail;"
                              "DROP TABLE IF EXISTS temp.occurrence; DROP TABLE IF EXISTS temp.gathered;";

/* The outermost open handle that found.handle goes down with; itself, mostly. */
#define FAMILY                                                                                    \
    "coalesce((WITH RECURSIVE up (id, parent, is_child) AS ("                                     \
    "              SELECT id, parent, is_child FROM handle WHERE id = found.handle"               \
    "              UNION SELECT above.id, above.parent, above.is_child"                           \
    "                    FROM up JOIN handle AS above ON above.id = up.parent WHERE up.is_child)" \
    "          SELECT id FROM up WHERE NOT is_child OR parent IS NULL LIMIT 1), found.handle)"

/* One mistake, one finding: of two rules that found the same handle, or its parent, the one that outranks the other is
 * told. */
static const char outranked_dropped[] =
    "CREATE TEMP TABLE stronger AS SELECT DISTINCT rule, " FAMILY " AS family FROM temp.found"
    "    WHERE handle IS NOT NULL AND rule IN (SELECT by_rule FROM temp.outranked);"
    "CREATE INDEX temp.stronger_by_family ON stronger (family, rule);"
    "DELETE FROM temp.found WHERE handle IS NOT NULL AND EXISTS (SELECT 1 FROM temp.stronger)"
    "    AND rule IN (SELECT rule FROM temp.outranked)"
    "    AND EXISTS (SELECT 1 FROM temp.outranked JOIN temp.stronger ON stronger.rule = by_rule"
    "                WHERE outranked.rule = found.rule AND stronger.family = " FAMILY ");"
    "DROP TABLE temp.stronger;";

/*
 * The same for what rules count at a place without naming handles, because they are closed: it is not told, or, where
 * the stronger rule includes the other, added to what that one has found there.
 */
static const char places_compared[] =
    "CREATE TEMP TABLE stronger AS"
    "    SELECT found.rule AS rule, handle.id IS NULL AS is_closed, site.kind AS kind, fingerprint, min(title) AS title"
    "    FROM temp.found LEFT JOIN handle ON handle.id = found.handle"
    "         JOIN site ON site.id = coalesce(found.site, handle.site) JOIN stack ON stack.id = site.stack"
    "    WHERE rule IN (SELECT by_rule FROM temp.outranked UNION SELECT by_rule FROM temp.included)"
    "        AND fact IS NULL AND incident IS NULL GROUP BY 1, 2, 3, 4;"
    "CREATE INDEX temp.stronger_by_place ON stronger (fingerprint, kind, rule);"
    "CREATE TEMP TABLE weaker AS"
    "    SELECT found.rowid AS id, found.rule AS rule, site.kind AS kind, fingerprint"
    "    FROM temp.found JOIN site ON site.id = found.site JOIN stack ON stack.id = site.stack"
    "    WHERE handle IS NULL AND fact IS NULL AND incident IS NULL"
    "        AND rule IN (SELECT rule FROM temp.outranked UNION SELECT rule FROM temp.included);"
    "DELETE FROM temp.found WHERE rowid IN ("
    "    SELECT id FROM temp.weaker JOIN temp.stronger USING (kind, fingerprint)"
    "         JOIN temp.outranked ON outranked.rule = weaker.rule AND by_rule = stronger.rule"
    "    WHERE is_closed);"
    "UPDATE temp.found SET (rule, title, severity) = ("
    "    SELECT stronger.rule, title, NULL FROM temp.weaker JOIN temp.stronger USING (kind, fingerprint)"
    "         JOIN temp.included ON included.rule = weaker.rule AND by_rule = stronger.rule"
    "    WHERE weaker.id = found.rowid LIMIT 1) "
    "WHERE rowid IN (SELECT id FROM temp.weaker JOIN temp.stronger USING (kind, fingerprint)"
    "                     JOIN temp.included ON included.rule = weaker.rule AND by_rule = stronger.rule);"
    "DROP TABLE temp.stronger; DROP TABLE temp.weaker;";

/* Third-party code is nobody's fault here: whatever the rule says, it is a note. A severity that was asked for holds for
 * all that the rule finds. */
static const char occurrences_made[] =
    "CREATE TEMP TABLE occurrence AS "
    "SELECT finding_id(rule, kind, coalesce(fingerprint, '')) AS finding, * "
    "FROM (SELECT found.rule AS rule, found.handle AS handle, found.fact AS fact, found.incident AS incident,"
    "             coalesce(found.site, handle.site, fact.site) AS site,"
    "             coalesce(found.process, handle.process, fact.process, site.process,"
    "                      incident.process) AS process,"
    "             coalesce(found.kind, handle.kind, fact.kind, site.kind, '') AS kind,"
    "             coalesce(found.stack, handle.stack, fact.opened_stack, site.stack,"
    "                      incident.stack) AS stack,"
    "             max(coalesce(found.count, handle.handles, fact.count, incident.count, 1), 1) AS count,"
    "             coalesce(found.at_least, 0) AS at_least, coalesce(found.undecided, 0) AS undecided,"
    "             coalesce(CASE WHEN rule.severity = rule.default_severity THEN found.severity END, rule.severity)"
    "                 AS severity,"
    "             coalesce(found.title, rule.title) AS title,"
    "             coalesce(found.evidence, rule.phrase) AS evidence,"
    "             coalesce(found.target, handle.target, fact.target, site.target, incident.target)"
    "                 AS target,"
    "             found.closed_stack AS closed_stack,"
    "             coalesce(found.begin_stack, handle.transaction_stack) AS begin_stack,"
    "             coalesce(found.label, incident.owner_label) AS label,"
    "             found.used_stack AS used_stack,"
    "             place.fingerprint AS fingerprint, place.id AS where_stack,"
    "             coalesce(place.where_owner, 'user') <> 'user' AS foreign_code,"
    "             coalesce(found.opened_at, handle.opened_at, fact.opened_at) AS opened_at,"
    "             coalesce(found.thread, handle.thread, fact.thread, incident.thread) AS thread,"
    "             handle.thread_name AS thread_name, coalesce(handle.owner, fact.owner) AS owner,"
    "             handle.reference AS reference, coalesce(handle.is_child, 0) AS is_child "
    "      FROM temp.found JOIN rule ON rule.id = found.rule"
    "           LEFT JOIN handle ON handle.id = found.handle"
    "           LEFT JOIN fact ON fact.id = found.fact"
    "           LEFT JOIN incident ON incident.id = found.incident"
    "           LEFT JOIN site ON site.id = coalesce(found.site, handle.site, fact.site)"
    "           LEFT JOIN stack AS place ON place.id = coalesce(found.where_stack, found.stack, handle.stack,"
    "                                                           fact.opened_stack, site.stack, incident.stack));"
    "CREATE INDEX temp.occurrence_by_finding ON occurrence (finding);"
    "CREATE INDEX temp.occurrence_by_handle ON occurrence (handle);";

static const char gathered[] =
    "CREATE TEMP TABLE gathered AS "
    "SELECT finding, rule, kind, sum(count) AS count,"
    "       max(at_least) OR max(process.dropped > 0 OR (process.scan = 'gave-up' AND rule IN "
    "           ('leaked', 'failed-open-not-closed', 'result-not-freed'))) AS at_least,"
    "       max(undecided) AS undecided, severity, occurrence.title AS title, site, stack, closed_stack, begin_stack, "
    "used_stack, where_stack,"
    "       foreign_code, target, max(incident) AS incident, fact IS NULL AND incident IS NULL AS about_handles,"
    "       max(max(coalesce(seen_until_at, ended_at, 0) - opened_at, 0)) AS oldest_ns "
    "FROM temp.occurrence LEFT JOIN process ON process.id = occurrence.process "
    "GROUP BY finding;";

/* Above it is open which occurrence the bare columns come from; here it is said: the one that stands for most. */
static const char representatives_chosen[] =
    "UPDATE temp.gathered SET (severity, title, site, stack, closed_stack, begin_stack, used_stack, where_stack,"
    "                          foreign_code, target) = "
    "    (SELECT severity, title, site, stack, closed_stack, begin_stack, used_stack, where_stack, foreign_code, target"
    "     FROM temp.occurrence WHERE occurrence.finding = gathered.finding"
    "     ORDER BY count DESC, process, stack, rowid LIMIT 1);";

static const char findings_inserted[] =
    /* All that was opened at that place, whatever lay between it and the library. */
    "WITH site_of AS (SELECT finding, site FROM temp.occurrence WHERE site IS NOT NULL"
    "                 UNION SELECT finding, other.id FROM temp.occurrence JOIN site ON site.id = occurrence.site"
    "                       JOIN site AS other ON other.place = site.place),"
    "     total AS (SELECT finding, sum(opened) AS opened,"
    "                      sum(closed - ended_gc - ended_finalization - ended_owner_gone) AS closed,"
    "                      max(held_p50_ns) AS p50,"
    "                      max(held_p99_ns) AS p99, max(held_max_ns) AS longest"
    "               FROM site_of JOIN site ON site.id = site_of.site GROUP BY finding),"
    "     reason AS (SELECT finding, group_concat(evidence, '; ') AS evidence"
    "                FROM (SELECT finding, evidence,"
    "                             row_number() OVER (PARTITION BY finding ORDER BY sum(count) DESC, evidence) AS place"
    "                      FROM temp.occurrence GROUP BY finding, evidence) WHERE place <= 2 GROUP BY finding),"
    "     trouble AS (SELECT finding FROM site_of JOIN holder ON holder.site = site_of.site"
    "                 UNION SELECT occurrence.finding FROM handle AS held"
    "                 JOIN holder ON holder.generation = held.generation"
    "                 JOIN incident ON incident.id = holder.incident AND incident.process = held.process"
    "                 JOIN temp.occurrence ON occurrence.handle = held.parent WHERE held.parent IS NOT NULL) "
    "INSERT INTO finding (id, rule, severity, kind, count, at_least, undecided, title, evidence, site, stack, "
    "closed_stack,"
    "    begin_stack, used_stack, where_function, where_file, where_line, where_module, where_language, where_owner,"
    "    target, oldest_ns, held_p50_ns, held_p99_ns, held_max_ns, position) "
    "SELECT gathered.finding, rule, CASE WHEN foreign_code THEN 'note' ELSE severity END, gathered.kind, count, "
    "at_least, undecided,"
    "       filled_in(title, coalesce(kind.noun, 'handle'), gathered.kind),"
    "       filled_in(reason.evidence, coalesce(kind.noun, 'handle'), gathered.kind)"
    "           || CASE WHEN about_handles AND total.opened IS NOT NULL"
    "                   THEN '; opened ' || counted(total.opened) || CASE total.opened WHEN 1 THEN ' time' ELSE ' "
    "times' END"
    "                        || ' here, closed ' || counted(total.closed) ELSE '' END"
    "           || CASE WHEN at_least THEN '; the count is a lower bound' ELSE '' END"
    "           || CASE WHEN foreign_code THEN '; none of the code that led there is yours' ELSE '' END,"
    "       gathered.site, gathered.stack, closed_stack, begin_stack, used_stack,"
    "       place.where_function, place.where_file, place.where_line, place.where_module, place.where_language,"
    "       place.where_owner, target, CASE WHEN about_handles THEN oldest_ns END,"
    "       total.p50, total.p99, total.longest,"
    "       row_number() OVER (ORDER BY"
    "           CASE CASE WHEN foreign_code THEN 'note' ELSE severity END"
    "                WHEN 'error' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END,"
    "           incident IS NULL, trouble.finding IS NULL, foreign_code, count DESC,"
    "           place.where_file, place.where_line, place.where_function, gathered.finding) "
    "FROM temp.gathered LEFT JOIN total USING (finding) LEFT JOIN reason USING (finding)"
    "     LEFT JOIN trouble USING (finding)"
    "     LEFT JOIN kind ON kind.name = gathered.kind LEFT JOIN stack AS place ON place.id = where_stack;";

/* What goes down with a finding: everything below its handles that is no finding of its own. */
static const char details_inserted[] =
    "INSERT INTO finding_process SELECT finding, process, sum(count) FROM temp.occurrence"
    "    WHERE process IS NOT NULL GROUP BY finding, process;"
    "INSERT INTO finding_thread SELECT DISTINCT finding, thread, thread_name FROM temp.occurrence"
    "    WHERE coalesce(thread, 0) <> 0;"
    /* A task's request is named with it. What is closed has left only a label. */
    "INSERT INTO finding_label"
    "    WITH RECURSIVE owned (finding, owner, count) AS ("
    "        SELECT finding, owner, sum(count) FROM temp.occurrence WHERE owner IS NOT NULL GROUP BY finding, owner),"
    "    chain (finding, owner, innermost, count) AS ("
    "        SELECT finding, owner, owner, count FROM owned"
    "        UNION SELECT finding, owner.parent, innermost, count FROM chain JOIN owner ON owner.id = chain.owner"
    "              WHERE owner.parent IS NOT NULL)"
    "    SELECT finding, kind, label, sum(count) FROM ("
    "        SELECT finding, owner.kind AS kind, owner.label AS label, count"
    "        FROM chain JOIN owner ON owner.id = chain.owner"
    "        UNION ALL"
    "        SELECT finding, CASE WHEN label LIKE '%::%' THEN 'test' WHEN label LIKE '% /%' THEN 'request'"
    "                             ELSE 'task' END, label, count FROM temp.occurrence)"
    "    WHERE label <> '' GROUP BY finding, kind, label;"
    "INSERT INTO finding_detail (finding, key, value)"
    "    SELECT finding, key, value FROM ("
    "        SELECT occurrence.finding AS finding, key, value,"
    "               row_number() OVER (PARTITION BY occurrence.finding, key ORDER BY occurrence.handle) AS place"
    "        FROM detail JOIN handle ON handle.id = detail.handle"
    "             JOIN temp.occurrence ON occurrence.handle = CASE WHEN handle.is_child THEN handle.parent"
    "                                                              ELSE handle.id END)"
    "    WHERE place = 1 ORDER BY finding, key;"
    "INSERT INTO finding_child (finding, kind, stack, count)"
    "    WITH RECURSIVE below (finding, handle) AS ("
    "        SELECT finding, handle FROM temp.occurrence WHERE handle IS NOT NULL"
    "        UNION"
    "        SELECT below.finding, child.id FROM below JOIN handle AS child ON child.parent = below.handle"
    "                                                      AND child.is_child)"
    "    SELECT below.finding, handle.kind, min(handle.stack), sum(handle.handles)"
    "    FROM below JOIN handle ON handle.id = below.handle LEFT JOIN stack ON stack.id = handle.stack"
    "    WHERE NOT EXISTS (SELECT 1 FROM temp.occurrence WHERE occurrence.handle = below.handle)"
    "        AND handle.kind NOT IN ('sqlite3.transaction', 'libpq.transaction', 'mysql.transaction',"
    "                                'odbc.transaction', 'sqlalchemy.transaction')"
    /* What a driver keeps prepared for its connection has nothing to do with the session that has it just now. */
    "        AND NOT (handle.kind LIKE '%.statement' AND EXISTS (SELECT 1 FROM finding WHERE finding.id = below.finding"
    "                                                            AND finding.kind LIKE 'sqlalchemy.%'))"
    "    GROUP BY below.finding, handle.kind, where_file, where_line, where_function"
    "    ORDER BY below.finding, sum(handle.handles) DESC;";

static bool functions_registered(sqlite3 *db)
{
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    return sqlite3_create_function(db, "finding_id", 3, flags, NULL, identified_in_sql, NULL, NULL) == SQLITE_OK &&
           sqlite3_create_function(db, "filled_in", 3, flags, NULL, filled_in_sql, NULL, NULL) == SQLITE_OK;
}

bool findings_made(sqlite3 *db)
{
    return functions_registered(db) && executed(db, indexed) && executed(db, emptied) &&
           executed(db, outranked_dropped) && executed(db, places_compared) && executed(db, occurrences_made) &&
           executed(db, gathered) && executed(db, representatives_chosen) && executed(db, findings_inserted) &&
           executed(db, details_inserted) &&
           executed(db, "DROP TABLE temp.occurrence; DROP TABLE temp.gathered; DROP TABLE temp.found;"
                        "DROP TABLE temp.outranked; DROP TABLE temp.included");
}
