/* SPDX-License-Identifier: Apache-2.0 */
#include "rules.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embedded.h"
#include "row.h"

/* --- the comment block ------------------------------------------------------------------------------------------- */

struct key {
    const char *name;
    size_t field;
    bool required, verbatim;
};
static const struct key keys[] = {
    {"id", offsetof(struct rule, id), true, false},
    {"severity", 0, true, false},
    {"title", offsetof(struct rule, title), true, false},
    {"phrase", offsetof(struct rule, phrase), true, false},
    {"explain", offsetof(struct rule, explain), true, false},
    {"fix", offsetof(struct rule, fix), true, false},
    {"wrong", offsetof(struct rule, wrong), false, true},
    {"right", offsetof(struct rule, right), false, true},
    {"misleads", offsetof(struct rule, misleads), false, false},
    {"outranks", offsetof(struct rule, outranks), false, false},
    {"includes", offsetof(struct rule, includes), false, false},
};
enum { KEY_COUNT = sizeof keys / sizeof keys[0], SEVERITY_KEY = 1, VERBATIM_INDENT = 4, TEXT_LIMIT = 1 << 20 };

static const struct key *key_at(const char *line, const char **value)
{
    for (const struct key *key = keys; key < keys + KEY_COUNT; key++) {
        size_t length = strlen(key->name);
        if (strncmp(line, key->name, length) == 0 && line[length] == ':') {
            *value = line + length + 1 + strspn(line + length + 1, " ");
            return key;
        }
    }
    return NULL;
}

/* Adds a line to a text: after a blank in prose, as it is in a snippet. */
static bool line_added(char **text, const char *line, size_t length, bool verbatim)
{
    size_t before = *text != NULL ? strlen(*text) : 0;
    char *larger = realloc(*text, before + length + 3);
    if (larger == NULL)
        return false;
    if (before > 0 && verbatim)
        larger[before++] = '\n';
    else if (before > 0 && length == 0)
        larger[before++] = '\n', larger[before++] = '\n';
    else if (before > 0 && larger[before - 1] != '\n')
        larger[before++] = ' ';
    memcpy(larger + before, line, length);
    larger[before + length] = '\0';
    *text = larger;
    return true;
}

static bool value_added(char *texts[KEY_COUNT], const struct key *key, const char *line, size_t length)
{
    size_t indent = strspn(line, " ");
    if (key->verbatim && indent > VERBATIM_INDENT)
        indent = VERBATIM_INDENT;
    if (indent > length)
        indent = length;
    return line_added(&texts[key - keys], line + indent, length - indent, key->verbatim);
}

/* Reads the block into texts[]; returns where the query begins, or NULL with a problem. */
static const char *block_read(char *texts[KEY_COUNT], const char *text, char *problem, size_t size)
{
    const struct key *key = NULL;
    unsigned number = 1;

    for (; strncmp(text, "--", 2) == 0 || *text == '\n'; number++) {
        size_t length = strcspn(text, "\n");
        const char *line = text + 2, *value = NULL;
        const char *next = text + length + (text[length] == '\n');
        if (length == 0) {
            text = next;
            continue;
        }
        size_t left = length - 2;
        if (left > 0 && *line == ' ')
            line++, left--;
        bool continues = left == 0 || *line == ' ';
        const struct key *begun = continues ? NULL : key_at(line, &value);
        if (begun != NULL) {
            key = begun;
            if (texts[key - keys] != NULL)
                return snprintf(problem, size, "line %u: '%s' is there twice", number, key->name), NULL;
            if (!value_added(texts, key, value, (size_t)(line + left - value)))
                return snprintf(problem, size, "out of memory"), NULL;
        } else if (!continues && strncmp(line, "SPDX-", 5) != 0) {
            return snprintf(problem, size,
                            "line %u: not one of the keys id, severity, title, phrase, explain, fix, "
                            "wrong, right, misleads, outranks, includes; lines that continue one are indented",
                            number),
                   NULL;
        } else if (continues && key != NULL && !value_added(texts, key, line, left)) {
            return snprintf(problem, size, "out of memory"), NULL;
        }
        text = next;
    }
    return text;
}

static bool id_is_good(const char *id)
{
    return id[0] != '\0' && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(id) && strlen(id) <= 64;
}

bool rule_parsed(struct rule *rule, const char *origin, const char *text, char *problem, size_t problem_size)
{
    char *texts[KEY_COUNT] = {NULL};
    bool good = false;

    *rule = (struct rule){0};
    const char *text_of_query = block_read(texts, text, problem, problem_size);
    if (text_of_query == NULL)
        goto out;
    for (const struct key *key = keys; key < keys + KEY_COUNT; key++) {
        if (key->required && (texts[key - keys] == NULL || texts[key - keys][0] == '\0')) {
            snprintf(problem, problem_size, "its comment block lacks '-- %s: …'", key->name);
            goto out;
        }
    }
    if (!id_is_good(texts[0])) {
        snprintf(problem, problem_size, "id '%.80s': use a-z, 0-9 and '-'", texts[0]);
        goto out;
    }
    if (!severity_named(texts[SEVERITY_KEY], false, &rule->default_severity)) {
        snprintf(problem, problem_size, "severity '%.80s': use off, note, warning or error", texts[SEVERITY_KEY]);
        goto out;
    }
    rule->severity = rule->default_severity;
    rule->query = strdup(text_of_query);
    rule->origin = strdup(origin);
    good = rule->query != NULL && rule->origin != NULL;
    if (!good)
        snprintf(problem, problem_size, "out of memory");
out:
    for (const struct key *key = keys; key < keys + KEY_COUNT; key++) {
        if (key - keys != SEVERITY_KEY)
            memcpy((char *)rule + key->field, &texts[key - keys], sizeof(char *));
        else
            free(texts[SEVERITY_KEY]);
    }
    return good;
}

/* --- the set --------------------------------------------------------------------------------------------------------- */

static void rule_freed(struct rule *rule)
{
    for (const struct key *key = keys; key < keys + KEY_COUNT; key++) {
        char *text;
        memcpy(&text, (char *)rule + key->field, sizeof text);
        if (key - keys != SEVERITY_KEY)
            free(text);
    }
    free(rule->query);
    free(rule->origin);
}

void rules_freed(struct rule_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        rule_freed(&set->rules[i]);
    free(set->rules);
    *set = (struct rule_set){0};
}

const struct rule *rule_named(const struct rule_set *set, const char *id)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->rules[i].id, id) == 0)
            return &set->rules[i];
    return NULL;
}

static bool rule_added(struct rule_set *set, const char *origin, const char *text)
{
    char problem[400];
    struct rule rule;

    if (!rule_parsed(&rule, origin, text, problem, sizeof problem)) {
        fprintf(stderr, "unclosed: error: rule %s: %s\n", origin, problem);
        rule_freed(&rule);
        return false;
    }
    struct rule *there = (struct rule *)rule_named(set, rule.id);
    if (there != NULL) {
        rule_freed(there);
        *there = rule;
        return true;
    }
    struct rule *larger = reallocarray(set->rules, set->count + 1, sizeof *larger);
    if (larger == NULL) {
        rule_freed(&rule);
        return false;
    }
    set->rules = larger;
    set->rules[set->count++] = rule;
    return true;
}

static char *file_read(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;

    if (file != NULL && (text = malloc(TEXT_LIMIT + 1)) != NULL) {
        size = fread(text, 1, TEXT_LIMIT, file);
        text[size] = '\0';
    }
    if (file == NULL || text == NULL || ferror(file) || size == TEXT_LIMIT || strlen(text) != size) {
        fprintf(stderr, "unclosed: error: rule %s: %s\n", path,
                file == NULL || ferror(file) ? strerror(errno) : "not a text of less than 1 MiB");
        free(text);
        text = NULL;
    }
    if (file != NULL)
        fclose(file);
    return text;
}

static int is_rule_file(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + length - 4, ".sql") == 0;
}

static bool directory_read(struct rule_set *set, const char *directory)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, is_rule_file, alphasort);
    bool good = count >= 0;

    if (count < 0)
        fprintf(stderr, "unclosed: error: --rules %s: %s\n", directory, strerror(errno));
    else if (count == 0)
        fprintf(stderr, "unclosed: warning: --rules %s: no *.sql in it\n", directory);
    for (int i = 0; i < count; i++) {
        char *path = NULL;
        if (good && asprintf(&path, "%s/%s", directory, entries[i]->d_name) >= 0) {
            char *text = file_read(path);
            good = text != NULL && rule_added(set, path, text);
            free(text);
            free(path);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return good;
}

static int by_id(const void *one, const void *other)
{
    return strcmp(((const struct rule *)one)->id, ((const struct rule *)other)->id);
}

static bool severities_set(struct rule_set *set, const struct report_options *options)
{
    for (size_t i = 0; i < options->rule_count; i++) {
        struct rule *rule = (struct rule *)rule_named(set, options->rules[i].rule);
        if (rule == NULL) {
            fprintf(stderr, "unclosed: error: --rule %s=…: there is no such rule; `unclosed explain` lists them\n",
                    options->rules[i].rule);
            return false;
        }
        rule->severity = options->rules[i].severity;
    }
    return true;
}

bool rules_read(struct rule_set *set, const struct report_options *options)
{
    *set = (struct rule_set){0};
    for (const struct embedded_file *file = embedded_files; file->name != NULL; file++)
        if (strncmp(file->name, "rules/", 6) == 0 && !rule_added(set, file->name, file->text))
            return false;
    for (size_t i = 0; i < options->rule_directories.count; i++)
        if (!directory_read(set, options->rule_directories.items[i]))
            return false;
    if (set->count > 0)
        qsort(set->rules, set->count, sizeof set->rules[0], by_id);
    return severities_set(set, options);
}

/* --- running ------------------------------------------------------------------------------------------------------------- */

/* What a rule may say about a finding, in the order of table `found` (after the rule's id). */
static const char *const columns[] = {
    "handle",      "fact",       "site",        "process",   "kind",     "stack",    "count",
    "at_least",    "undecided",  "severity",    "title",     "evidence", "target",   "closed_stack",
    "begin_stack", "used_stack", "where_stack", "opened_at", "thread",   "incident", "label",
};
enum { COLUMN_COUNT = sizeof columns / sizeof columns[0] };
#define COLUMN_NAMES                                                                                    \
    "handle, fact, site, process, kind, stack, count, at_least, undecided, severity, title, evidence, " \
    "target, closed_stack, begin_stack, used_stack, where_stack, opened_at, thread, incident, label"

static bool rules_stored(sqlite3 *db, const struct rule_set *set)
{
    if (!executed(db, "DELETE FROM rule"))
        return false;
    struct insert insert = insert_prepared(db, "rule",
                                           "id severity default_severity title phrase explain fix wrong "
                                           "right misleads position");
    for (size_t i = 0; i < set->count; i++) {
        const struct rule *rule = &set->rules[i];
        INSERTED(&insert, text(rule->id), text(severity_name(rule->severity)),
                 text(severity_name(rule->default_severity)), text(rule->title), text(rule->phrase),
                 text(rule->explain), text(rule->fix), text(rule->wrong), text(rule->right), text(rule->misleads),
                 integer((int64_t)i + 1));
    }
    return insert_finished(&insert);
}

static int only_reading(void *unused, int action, const char *one, const char *two, const char *three, const char *four)
{
    (void)unused, (void)one, (void)three, (void)four;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_FUNCTION:
        return two != NULL && strcmp(two, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    default:
        return SQLITE_DENY;
    }
}

static sqlite3_stmt *rule_prepared(sqlite3 *db, const struct rule *rule)
{
    sqlite3_stmt *statement = NULL, *second = NULL;
    const char *rest = "";

    sqlite3_set_authorizer(db, only_reading, NULL);
    int rc = sqlite3_prepare_v2(db, rule->query, -1, &statement, &rest);
    if (rc == SQLITE_AUTH)
        fprintf(stderr, "unclosed: error: rule %s: its query may only read (SELECT)\n", rule->origin);
    else if (rc != SQLITE_OK)
        fprintf(stderr, "unclosed: error: rule %s: %s\n", rule->origin, sqlite3_errmsg(db));
    else if (statement == NULL || sqlite3_prepare_v2(db, rest, -1, &second, NULL) != SQLITE_OK || second != NULL) {
        fprintf(stderr, "unclosed: error: rule %s: expected one query after the comment block\n", rule->origin);
        sqlite3_finalize(statement);
        statement = NULL;
    }
    sqlite3_finalize(second);
    sqlite3_set_authorizer(db, NULL, NULL);
    return statement;
}

static void relation_stored(struct insert *insert, const char *others, const char *rule)
{
    char *names = others != NULL ? strdup(others) : NULL, *rest = NULL;

    for (char *name = names != NULL ? strtok_r(names, " ", &rest) : NULL; name != NULL;
         name = strtok_r(NULL, " ", &rest))
        INSERTED(insert, text(name), text(rule));
    free(names);
}

/* Tables outranked and included: what is told instead of what, and what is counted with what. */
static bool relations_stored(sqlite3 *db, const struct rule_set *set)
{
    if (!executed(db, "DROP TABLE IF EXISTS temp.outranked; DROP TABLE IF EXISTS temp.included;"
                      "CREATE TEMP TABLE outranked (rule, by_rule); CREATE TEMP TABLE included (rule, by_rule)"))
        return false;
    struct insert outranked = insert_prepared(db, "outranked", "rule by_rule");
    struct insert included = insert_prepared(db, "included", "rule by_rule");
    for (size_t i = 0; i < set->count; i++) {
        relation_stored(&outranked, set->rules[i].outranks, set->rules[i].id);
        relation_stored(&included, set->rules[i].includes, set->rules[i].id);
    }
    bool good = insert_finished(&outranked);
    return insert_finished(&included) && good;
}

/* site.place. */
static const char places_found[] =
    "CREATE TEMP TABLE spot AS"
    "    SELECT site.id AS site, min(site.id) OVER ("
    "        PARTITION BY process, kind, coalesce(fingerprint, site.id), where_file, where_line) AS place"
    "    FROM site LEFT JOIN stack ON stack.id = site.stack;"
    "CREATE INDEX temp.spot_by_site ON spot (site);"
    "UPDATE site SET place = (SELECT spot.place FROM temp.spot WHERE spot.site = site.id);"
    "DROP TABLE temp.spot;";

/* What rules look up by. */
static const char indexed[] =
    "CREATE INDEX IF NOT EXISTS handle_by_site ON handle (site);"
    "CREATE INDEX IF NOT EXISTS handle_by_parent ON handle (parent) WHERE parent IS NOT NULL;"
    "CREATE INDEX IF NOT EXISTS closed_handle_by_generation ON closed_handle (process, generation);"
    "CREATE INDEX IF NOT EXISTS closed_handle_by_site ON closed_handle (site);"
    "CREATE INDEX IF NOT EXISTS site_by_place ON site (place);";

/* places[i]: which of the query's columns is columns[i], -1: none. */
static bool columns_placed(sqlite3_stmt *statement, const struct rule *rule, int places[COLUMN_COUNT])
{
    for (int i = 0; i < COLUMN_COUNT; i++)
        places[i] = -1;
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
        int column = 0;
        while (column < COLUMN_COUNT && strcmp(columns[column], sqlite3_column_name(statement, i)) != 0)
            column++;
        if (column == COLUMN_COUNT) {
            fprintf(stderr,
                    "unclosed: error: rule %s: nobody knows what its column '%s' means; there is " COLUMN_NAMES "\n",
                    rule->origin, sqlite3_column_name(statement, i));
            return false;
        }
        places[column] = i;
    }
    return true;
}

static bool rule_run(sqlite3 *db, const struct rule *rule, sqlite3_stmt *insert)
{
    int places[COLUMN_COUNT];
    bool failed = false;
    sqlite3_stmt *statement = rule_prepared(db, rule);

    if (statement == NULL)
        return false;
    if (!columns_placed(statement, rule, places)) {
        sqlite3_finalize(statement);
        return false;
    }
    while (!failed && row_fetched(statement, &failed)) {
        begun_with(insert, text(rule->id));
        for (int i = 0; i < COLUMN_COUNT; i++) {
            if (places[i] >= 0)
                sqlite3_bind_value(insert, i + 2, sqlite3_column_value(statement, places[i]));
            else
                sqlite3_bind_null(insert, i + 2);
        }
        row_fetched(insert, &failed);
    }
    if (failed)
        fprintf(stderr, "unclosed: error: rule %s could not be run to its end\n", rule->origin);
    sqlite3_finalize(statement);
    return !failed;
}

bool rules_run(sqlite3 *db, const struct rule_set *set)
{
    bool good = rules_stored(db, set) && relations_stored(db, set) && executed(db, places_found) &&
                executed(db, indexed) &&
                executed(db, "DROP TABLE IF EXISTS temp.found; CREATE TEMP TABLE found (rule, " COLUMN_NAMES ")");
    sqlite3_stmt *insert =
        good ? prepared(db, "INSERT INTO temp.found VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)") : NULL;

    good = insert != NULL;
    for (size_t i = 0; good && i < set->count; i++)
        if (set->rules[i].severity != SEVERITY_OFF)
            good = rule_run(db, &set->rules[i], insert);
    sqlite3_finalize(insert);
    return good;
}
