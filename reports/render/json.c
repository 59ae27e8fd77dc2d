/* SPDX-License-Identifier: Apache-2.0 */
/* The run for other programs: schema 1, to which things are only ever added. */
#include "../row.h"
#include "../words.h"
#include "json_writer.h"
#include "render.h"

/* Lists that belong to one process or finding: parameter 1 is its id. Prepared once. */
enum list {
    LIST_WATCHED,
    LIST_UNWATCHED,
    LIST_ADAPTERS,
    LIST_REQUESTS,
    LIST_TESTS,
    LIST_TASKS,
    LIST_DETAILS,
    LIST_THREADS,
    LIST_CHILDREN,
    LIST_HOLDERS,
    LIST_COUNT
};
static const char *const list_queries[LIST_COUNT] = {
    [LIST_WATCHED] = "SELECT name FROM library WHERE process = ?1 UNION "
                     "SELECT name FROM adapter WHERE process = ?1 ORDER BY name",
    [LIST_UNWATCHED] = "SELECT coalesce(unobserved_reason, 'unknown reason') FROM process "
                       "WHERE id = ?1 AND NOT observed UNION ALL "
                       "SELECT python_problem FROM process WHERE id = ?1 AND python_problem IS NOT NULL UNION ALL "
                       "SELECT name || ': ' || problem FROM adapter WHERE process = ?1 AND problem IS NOT NULL",
    [LIST_ADAPTERS] = "SELECT name, version, problem FROM adapter WHERE process = ?1 ORDER BY name",
    [LIST_REQUESTS] = "SELECT label FROM finding_label WHERE finding = ?1 AND kind = 'request' "
                      "ORDER BY count DESC, label LIMIT 100",
    [LIST_TESTS] = "SELECT label FROM finding_label WHERE finding = ?1 AND kind = 'test' "
                   "ORDER BY count DESC, label LIMIT 100",
    [LIST_TASKS] = "SELECT label FROM finding_label WHERE finding = ?1 AND kind = 'task' "
                   "ORDER BY count DESC, label LIMIT 100",
    [LIST_DETAILS] =
        "SELECT replace(key, '_', ' ') || ': ' || value FROM finding_detail WHERE finding = ?1 ORDER BY key",
    [LIST_THREADS] = "SELECT thread, name FROM finding_thread WHERE finding = ?1 ORDER BY thread LIMIT 100",
    [LIST_CHILDREN] =
        "SELECT finding_child.kind, count, finding_child.stack, where_function, where_file, where_line, where_module,"
        "       where_language FROM finding_child LEFT JOIN stack ON stack.id = finding_child.stack "
        "WHERE finding = ?1 ORDER BY count DESC, finding_child.kind, finding_child.stack",
    [LIST_HOLDERS] =
        "SELECT kind, where_function, where_file, where_line, where_module, where_language, stack, opened_at, age_ns,"
        "       unused_ns, thread, owner_label, owner_ended_at, in_transaction, transaction_stack, last_sql, state "
        "FROM holder_then LEFT JOIN stack ON stack.id = holder_then.stack "
        "WHERE incident = ?1 ORDER BY opened_at, generation",
};

struct writing {
    struct json json;
    sqlite3 *db;
    sqlite3_stmt *frames, *lists[LIST_COUNT];
    bool failed;
};

static const char *text_or_null(sqlite3_stmt *statement, int column)
{
    return is_null(statement, column) ? NULL : text_of(statement, column);
}

static void text_column(struct writing *writing, const char *key, sqlite3_stmt *statement, int column)
{
    json_text(&writing->json, key, text_or_null(statement, column));
}

static void integer_column(struct writing *writing, const char *key, sqlite3_stmt *statement, int column)
{
    if (is_null(statement, column))
        json_null(&writing->json, key);
    else
        json_integer(&writing->json, key, integer_of(statement, column));
}

static void seconds_column(struct writing *writing, const char *key, sqlite3_stmt *statement, int column)
{
    if (is_null(statement, column))
        json_null(&writing->json, key);
    else
        json_seconds(&writing->json, key, integer_of(statement, column));
}

static void time_column(struct writing *writing, const char *key, sqlite3_stmt *statement, int column)
{
    struct words words;

    json_text(&writing->json, key,
              is_null(statement, column) ? NULL : time_said(&words, integer_of(statement, column)));
}

static void boolean_column(struct writing *writing, const char *key, sqlite3_stmt *statement, int column)
{
    json_boolean(&writing->json, key, integer_of(statement, column) != 0);
}

/* --- processes ------------------------------------------------------------------------------------------------------- */

static sqlite3_stmt *list_begun(struct writing *writing, enum list list, struct value id)
{
    if (writing->lists[list] == NULL)
        writing->lists[list] = prepared(writing->db, list_queries[list]);
    if (writing->lists[list] != NULL)
        begun_with(writing->lists[list], id);
    return writing->lists[list];
}

static void texts_written(struct writing *writing, const char *key, enum list list, struct value id)
{
    sqlite3_stmt *statement = list_begun(writing, list, id);

    json_array(&writing->json, key);
    while (row_fetched(statement, &writing->failed))
        json_text(&writing->json, NULL, text_of(statement, 0));
    json_end(&writing->json);
}

static void adapters_written(struct writing *writing, struct value process)
{
    sqlite3_stmt *statement = list_begun(writing, LIST_ADAPTERS, process);

    json_array(&writing->json, "adapters");
    while (row_fetched(statement, &writing->failed)) {
        json_object(&writing->json, NULL);
        text_column(writing, "name", statement, 0);
        text_column(writing, "version", statement, 1);
        text_column(writing, "problem", statement, 2);
        json_end(&writing->json);
    }
    json_end(&writing->json);
}

static void process_written(struct writing *writing, sqlite3_stmt *process)
{
    struct json *json = &writing->json;
    struct value id = integer(integer_of(process, 0));

    json_object(json, NULL);
    text_column(writing, "host", process, 1);
    integer_column(writing, "pid", process, 2);
    integer_column(writing, "parent", process, 3);
    time_column(writing, "started", process, 4);
    text_column(writing, "label", process, 5);
    text_column(writing, "command", process, 6);
    text_column(writing, "ended", process, 7);
    integer_column(writing, "opened", process, 8);
    integer_column(writing, "closed", process, 9);
    integer_column(writing, "open", process, 10);
    integer_column(writing, "dropped_records", process, 11);
    texts_written(writing, "watched", LIST_WATCHED, id);
    texts_written(writing, "unwatched", LIST_UNWATCHED, id);
    text_column(writing, "python", process, 12);
    adapters_written(writing, id);
    json_end(json);
}

static void processes_written(struct writing *writing)
{
    sqlite3_stmt *statement = prepared(
        writing->db,
        "SELECT id, host, pid, parent_pid, started_at, label, coalesce(command, executable), end_words, opened, closed,"
        "       open, dropped, python FROM process ORDER BY started_at, id");

    json_array(&writing->json, "processes");
    while (row_fetched(statement, &writing->failed))
        process_written(writing, statement);
    json_end(&writing->json);
    sqlite3_finalize(statement);
}

/* --- findings ------------------------------------------------------------------------------------------------------------ */

static void stack_written(struct writing *writing, const char *key, int64_t stack)
{
    struct json *json = &writing->json;
    sqlite3_stmt *frames = writing->frames;

    json_array(json, key);
    if (frames != NULL)
        begun_with(frames, integer(stack));
    while (row_fetched(frames, &writing->failed)) {
        if (integer_of(frames, FRAME_HIDDEN))
            continue;
        json_object(json, NULL);
        text_column(writing, "function", frames, FRAME_FUNCTION);
        text_column(writing, "file", frames, FRAME_FILE);
        integer_column(writing, "line", frames, FRAME_LINE);
        text_column(writing, "module", frames, FRAME_MODULE);
        text_column(writing, "language", frames, FRAME_LANGUAGE);
        json_end(json);
    }
    json_end(json);
}

/* A place from five columns: function, file, line, module, language. */
static void place_written(struct writing *writing, const char *key, sqlite3_stmt *statement, int column)
{
    json_object(&writing->json, key);
    text_column(writing, "function", statement, column);
    text_column(writing, "file", statement, column + 1);
    integer_column(writing, "line", statement, column + 2);
    text_column(writing, "module", statement, column + 3);
    text_column(writing, "language", statement, column + 4);
    json_end(&writing->json);
}

static void threads_written(struct writing *writing, const char *finding)
{
    sqlite3_stmt *statement = list_begun(writing, LIST_THREADS, text(finding));

    json_array(&writing->json, "threads");
    while (row_fetched(statement, &writing->failed)) {
        json_object(&writing->json, NULL);
        integer_column(writing, "id", statement, 0);
        text_column(writing, "name", statement, 1);
        json_end(&writing->json);
    }
    json_end(&writing->json);
}

static void children_written(struct writing *writing, const char *finding)
{
    sqlite3_stmt *statement = list_begun(writing, LIST_CHILDREN, text(finding));

    json_array(&writing->json, "children");
    while (row_fetched(statement, &writing->failed)) {
        json_object(&writing->json, NULL);
        text_column(writing, "kind", statement, 0);
        integer_column(writing, "count", statement, 1);
        place_written(writing, "where", statement, 3);
        stack_written(writing, "stack", integer_of(statement, 2));
        json_end(&writing->json);
    }
    json_end(&writing->json);
}

enum {
    FINDING_ID,
    FINDING_RULE,
    FINDING_SEVERITY,
    FINDING_KIND,
    FINDING_COUNT,
    FINDING_TITLE,
    FINDING_EVIDENCE,
    FINDING_WHERE,
    FINDING_STACK = FINDING_WHERE + 5,
    FINDING_CLOSED_STACK,
    FINDING_BEGIN_STACK,
    FINDING_USED_STACK,
    FINDING_TARGET,
    FINDING_OLDEST,
    FINDING_P50,
    FINDING_P99,
    FINDING_MAX,
    FINDING_SUPPRESSED,
    FINDING_BASELINE,
};
static const char findings_query[] =
    "SELECT id, rule, severity, kind, count, title, evidence, where_function, where_file, where_line, where_module,"
    "       where_language, stack, closed_stack, begin_stack, used_stack, target, oldest_ns, held_p50_ns, held_p99_ns,"
    "       held_max_ns, suppressed, baseline FROM finding ORDER BY position";

static void stacks_written(struct writing *writing, sqlite3_stmt *finding)
{
    static const struct {
        const char *key;
        int column;
    } others[] = {{"closed_stack", FINDING_CLOSED_STACK},
                  {"begin_stack", FINDING_BEGIN_STACK},
                  {"used_stack", FINDING_USED_STACK}};

    stack_written(writing, "stack", integer_of(finding, FINDING_STACK));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (integer_of(finding, others[i].column) != 0)
            stack_written(writing, others[i].key, integer_of(finding, others[i].column));
}

static void finding_written(struct writing *writing, sqlite3_stmt *finding)
{
    struct json *json = &writing->json;
    const char *id = text_of(finding, FINDING_ID);

    json_object(json, NULL);
    text_column(writing, "id", finding, FINDING_ID);
    text_column(writing, "rule", finding, FINDING_RULE);
    text_column(writing, "severity", finding, FINDING_SEVERITY);
    text_column(writing, "kind", finding, FINDING_KIND);
    integer_column(writing, "count", finding, FINDING_COUNT);
    text_column(writing, "title", finding, FINDING_TITLE);
    text_column(writing, "evidence", finding, FINDING_EVIDENCE);
    place_written(writing, "where", finding, FINDING_WHERE);
    stacks_written(writing, finding);
    text_column(writing, "target", finding, FINDING_TARGET);
    seconds_column(writing, "oldest_s", finding, FINDING_OLDEST);
    json_object(json, "held_s");
    seconds_column(writing, "p50", finding, FINDING_P50);
    seconds_column(writing, "p99", finding, FINDING_P99);
    seconds_column(writing, "max", finding, FINDING_MAX);
    json_end(json);
    threads_written(writing, id);
    texts_written(writing, "requests", LIST_REQUESTS, text(id));
    texts_written(writing, "tests", LIST_TESTS, text(id));
    texts_written(writing, "tasks", LIST_TASKS, text(id));
    texts_written(writing, "details", LIST_DETAILS, text(id));
    children_written(writing, id);
    text_column(writing, "suppressed", finding, FINDING_SUPPRESSED);
    text_column(writing, "baseline", finding, FINDING_BASELINE);
    json_end(json);
}

static void findings_written(struct writing *writing)
{
    sqlite3_stmt *statement = prepared(writing->db, findings_query);

    json_array(&writing->json, "findings");
    while (row_fetched(statement, &writing->failed))
        finding_written(writing, statement);
    json_end(&writing->json);
    sqlite3_finalize(statement);
}

/* --- incidents ----------------------------------------------------------------------------------------------------------- */

static void holder_written(struct writing *writing, sqlite3_stmt *holder)
{
    json_object(&writing->json, NULL);
    text_column(writing, "kind", holder, 0);
    place_written(writing, "where", holder, 1);
    stack_written(writing, "stack", integer_of(holder, 6));
    time_column(writing, "opened", holder, 7);
    seconds_column(writing, "age_s", holder, 8);
    seconds_column(writing, "unused_s", holder, 9);
    text_column(writing, "state", holder, 16);
    integer_column(writing, "thread", holder, 10);
    text_column(writing, "owner", holder, 11);
    time_column(writing, "owner_ended", holder, 12);
    boolean_column(writing, "in_transaction", holder, 13);
    if (integer_of(holder, 14) != 0)
        stack_written(writing, "begin_stack", integer_of(holder, 14));
    text_column(writing, "last_sql", holder, 15);
    json_end(&writing->json);
}

static void incident_written(struct writing *writing, sqlite3_stmt *incident)
{
    sqlite3_stmt *holder = list_begun(writing, LIST_HOLDERS, integer(integer_of(incident, 0)));

    json_object(&writing->json, NULL);
    text_column(writing, "rule", incident, 1);
    time_column(writing, "at", incident, 2);
    seconds_column(writing, "waited_s", incident, 3);
    integer_column(writing, "count", incident, 4);
    time_column(writing, "last", incident, 5);
    integer_column(writing, "pid", incident, 6);
    place_written(writing, "where", incident, 7);
    stack_written(writing, "stack", integer_of(incident, 12));
    text_column(writing, "owner", incident, 13);
    text_column(writing, "target", incident, 14);
    text_column(writing, "message", incident, 15);
    json_array(&writing->json, "holders");
    while (row_fetched(holder, &writing->failed))
        holder_written(writing, holder);
    json_end(&writing->json);
    json_end(&writing->json);
}

static void incidents_written(struct writing *writing)
{
    sqlite3_stmt *statement =
        prepared(writing->db, "SELECT incident.id, rule, at, waited_ns, count, last_at, pid, where_function, "
                              "where_file, where_line, where_module, where_language, incident.stack, owner_label, "
                              "incident.target, message "
                              "FROM incident JOIN process ON process.id = incident.process "
                              "LEFT JOIN stack ON stack.id = incident.stack ORDER BY at, incident.id");

    json_array(&writing->json, "incidents");
    while (row_fetched(statement, &writing->failed))
        incident_written(writing, statement);
    json_end(&writing->json);
    sqlite3_finalize(statement);
}

static bool json_rendered(const struct rendering *rendering)
{
    struct writing writing = {
        .json = {.out = rendering->out}, .db = rendering->db, .frames = frames_prepared(rendering->db)};
    sqlite3_stmt *verdict = prepared(rendering->db, "SELECT verdict FROM verdict");

    json_object(&writing.json, NULL);
    json_integer(&writing.json, "schema", 1);
    if (row_fetched(verdict, &writing.failed))
        text_column(&writing, "verdict", verdict, 0);
    processes_written(&writing);
    findings_written(&writing);
    incidents_written(&writing);
    json_end(&writing.json);
    sqlite3_finalize(verdict);
    sqlite3_finalize(writing.frames);
    for (enum list list = 0; list < LIST_COUNT; list++)
        sqlite3_finalize(writing.lists[list]);
    return !writing.failed;
}

const struct renderer json_renderer = {"json", "report.json", "for other programs; see the manual", json_rendered};
