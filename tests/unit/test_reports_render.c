/* SPDX-License-Identifier: Apache-2.0 */
/* What people and programs get to read: complete, valid whatever a program's names are, and small enough. */
#include "render_case.h"

#include <sys/stat.h>
#include <unistd.h>

#include "embedded.h"
#include "output.h"
#include "render/characters.h"
#include "sha256.h"

#define TEST(name) static void name(void **state)
#define TOLD     \
    (void)state; \
    struct run_case run = run_told()

static const char hostile[] = "<img src=x onerror=alert(1)></script>\"'&\x1b[31m\xff\xe2\x80\xae\n";

static void frame(struct run_case *run, int64_t stack_id, int position, const char *function, const char *owner)
{
    sqlite3_stmt *statement;

    sql(run, "INSERT INTO frame (type, module, offset) VALUES ('native', 1, 4660)");
    int64_t id = sqlite3_last_insert_rowid(run->db);
    sql(run, "INSERT INTO stack_frame (stack, position, frame) VALUES (%lld, %d, %lld)", (long long)stack_id, position,
        (long long)id);
    statement = prepared(run->db, "INSERT INTO symbol (frame, level, function, file, line, module, language, owner)"
                                  " VALUES (?1, 0, ?2, '/srv/app/server.c', 42, '/srv/app/server', 'c', ?3)");
    begun_with(statement, integer(id));
    sqlite3_bind_text(statement, 2, function, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(statement, 3, owner, -1, SQLITE_TRANSIENT);
    assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
    sqlite3_finalize(statement);
}

static void counted_in(struct run_case *run, const char *kind, int opened, int closed)
{
    sql(run, "INSERT INTO kind_count VALUES (1, '%s', %d, %d, %d, %d)", kind, opened, closed, opened - closed, opened);
    sql(run, "UPDATE process SET opened = opened + %d, closed = closed + %d, open = open + %d WHERE id = 1", opened,
        closed, opened - closed);
}

/* A finding with a stack of two frames, the outer one system code. */
static void leak_told(struct run_case *run)
{
    process(run, 1, "ended='exit'");
    handle(run, 1, "lose", "reference='none', handles=10, target='/srv/data/app.db'");
    frame(run, stack(run, "lose"), 0, "lose", "user");
    frame(run, stack(run, "lose"), 1, "__libc_start_main", "system");
    counted_in(run, "sqlite3.connection", 1010, 1000);
}

static void assert_valid_utf8(const char *text)
{
    for (size_t length; *text != '\0'; text += length) {
        length = utf8_length(text);
        assert_true(length > 0);
    }
}

/* --- JSON ------------------------------------------------------------------------------------------------------------ */

TEST(json_is_as_promised)
{
    TOLD;
    leak_told(&run);
    char *json = rendered(&run, &json_renderer);
    static const struct {
        const char *path, *value;
    } promised[] = {
        {"$.schema", "1"},
        {"$.verdict", "error"},
        {"$.processes[0].pid", "101"},
        {"$.processes[0].started", "1970-01-01T00:16:40.000Z"},
        {"$.processes[0].ended", "exit 0"},
        {"$.processes[0].opened", "1010"},
        {"$.processes[0].dropped_records", "0"},
        {"$.processes[0].unwatched", "[]"},
        {"$.findings[0].rule", "leaked"},
        {"$.findings[0].severity", "error"},
        {"$.findings[0].kind", "sqlite3.connection"},
        {"$.findings[0].count", "10"},
        {"$.findings[0].where",
         "{\"function\":\"lose\",\"file\":\"/srv/app/server.c\",\"line\":42,\"module\":\"/srv/app/"
         "server\",\"language\":\"c\"}"},
        {"$.findings[0].stack[0].function", "lose"},
        {"$.findings[0].stack[1].function", "__libc_start_main"},
        {"$.findings[0].closed_stack", ""},
        {"$.findings[0].target", "/srv/data/app.db"},
        {"$.findings[0].oldest_s", "60.0"},
        {"$.findings[0].held_s", "{\"p50\":null,\"p99\":null,\"max\":null}"},
        {"$.findings[0].threads[0].name", "main"},
        {"$.findings[0].children", "[]"},
        {"$.findings[0].suppressed", ""},
        {"$.findings[0].baseline", "new"},
        {"$.incidents", "[]"},
    };
    for (size_t i = 0; i < sizeof promised / sizeof promised[0]; i++)
        assert_string_equal(from_json(&run, json, promised[i].path), promised[i].value);
    free(json);
    run_forgotten(&run);
}

TEST(json_of_nothing_is_whole)
{
    TOLD;
    char *json = rendered(&run, &json_renderer);
    assert_string_equal(from_json(&run, json, "$.verdict"), "nothing");
    assert_string_equal(from_json(&run, json, "$.findings"), "[]");
    free(json);
    run_forgotten(&run);
}

TEST(json_is_valid_whatever_names_are)
{
    TOLD;
    leak_told(&run);
    sqlite3_stmt *statement = prepared(run.db, "UPDATE stack SET where_function = ?1, where_file = ?1");
    begun_with(statement, text(hostile));
    row_fetched(statement, NULL);
    sqlite3_finalize(statement);
    frame(&run, 1, 2, hostile, "user");
    char *json = rendered(&run, &json_renderer);
    assert_valid_utf8(json);
    assert_string_equal(from_json(&run, json, "$.findings[0].stack[2].function"),
                        "<img src=x onerror=alert(1)></script>\"'&\x1b[31m\xef\xbf\xbd\xe2\x80\xae\n");
    free(json);
    run_forgotten(&run);
}

TEST(json_has_all_stacks_and_children)
{
    TOLD;
    char setting[120];
    process(&run, 1, "ended='exit'");
    frame(&run, stack(&run, "close_it"), 0, "close_it", "user");
    frame(&run, stack(&run, "prepare_it"), 0, "prepare_it", "user");
    snprintf(setting, sizeof setting, "close_refused=1, close_stack=%lld", (long long)stack(&run, "close_it"));
    int64_t connection = handle(&run, 1, "open_it", setting);
    child_of(&run, connection, "sqlite3.statement", "prepare_it", "reference='none'");
    char *json = rendered(&run, &json_renderer);
    assert_string_equal(from_json(&run, json, "$.findings[0].closed_stack[0].function"), "close_it");
    assert_string_equal(from_json(&run, json, "$.findings[0].children[0].kind"), "sqlite3.statement");
    assert_string_equal(from_json(&run, json, "$.findings[0].children[0].stack[0].function"), "prepare_it");
    free(json);
    run_forgotten(&run);
}

/* --- the page ----------------------------------------------------------------------------------------------------------- */

TEST(the_page_says_the_verdict_first)
{
    TOLD;
    leak_told(&run);
    char *page = rendered(&run, &html_renderer);
    assert_has(page, "<title>10× SQLite connection never closed: app/server.c:42 lose – unclosed</title>");
    assert_has(page, "<h1>10× SQLite connection never closed: app/server.c:42 lose</h1>");
    assert_has(page, "no pointer to it was left in memory when exit began");
    assert_has(page, "<li class=\"user\"><span class=\"function\">lose</span>");
    assert_has(page, "<li><span class=\"function\">__libc_start_main</span>");
    assert_has(page, "call sqlite3_close() on every path");
    free(page);
    run_forgotten(&run);
}

TEST(the_pages_outcomes_differ_in_words)
{
    static const struct {
        const char *settings, *heading;
        int opened, closed;
    } cases[] = {
        {"observed=1", "Clean: 5 handles opened, all closed", 5, 5},
        {"observed=1", "Nothing to judge: no handle of a watched library was opened (looked for sqlite3, libpq)", 0, 0},
        {"observed=0, unobserved_reason='statically linked'", "Unobserved: ", 0, 0},
        {"dropped=1", "Unobserved: ", 5, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TOLD;
        process(&run, 1, cases[i].settings);
        counted_in(&run, "sqlite3.connection", cases[i].opened, cases[i].closed);
        char *page = rendered(&run, &html_renderer);
        assert_has(page, cases[i].heading);
        free(page);
        run_forgotten(&run);
    }
}

TEST(hostile_names_are_inert_on_the_page)
{
    TOLD;
    leak_told(&run);
    sqlite3_stmt *statement = prepared(run.db, "UPDATE stack SET where_function = ?1, where_file = ?1");
    begun_with(statement, text(hostile));
    row_fetched(statement, NULL);
    sqlite3_finalize(statement);
    statement = prepared(run.db, "UPDATE handle SET target = ?1, thread_name = ?1");
    begun_with(statement, text(hostile));
    row_fetched(statement, NULL);
    sqlite3_finalize(statement);
    sql(&run, "UPDATE process SET command = (SELECT target FROM handle), executable = command,"
              " warning = (SELECT target FROM handle)");
    frame(&run, 1, 2, hostile, "user");
    char *page = rendered(&run, &html_renderer);
    assert_valid_utf8(page);
    assert_has_not(page, "<img");
    assert_has_not(page, "</script");
    assert_has_not(page, "\x1b");
    assert_has_not(page, "\xe2\x80\xae");
    assert_has(page, "&lt;img src=x onerror=alert(1)&gt;&lt;/script&gt;&quot;'&amp;\\x1b[31m\\xff\\u202e");
    free(page);
    run_forgotten(&run);
}

TEST(the_pages_policy_allows_its_own_style_and_nothing_else)
{
    TOLD;
    char digest[SHA256_BASE64], policy[200];
    char *page = rendered(&run, &html_renderer);
    const char *style = strstr(page, "<style>") + 7;
    snprintf(policy, sizeof policy, "content=\"default-src 'none'; style-src 'sha256-%s'; base-uri 'none';",
             sha256_in_base64(style, (size_t)(strstr(style, "</style>") - style), digest));
    assert_has(page, policy);
    assert_has_not(page, "<script");
    assert_has_not(page, " style=");
    assert_has_not(page, "http://");
    assert_has_not(page, "https://");
    assert_true(strlen(style) > 1000);
    free(page);
    run_forgotten(&run);
}

TEST(the_page_names_what_was_not_seen)
{
    TOLD;
    process(&run, 1, "observed=0, executable='/opt/tool', unobserved_reason='it is statically linked'");
    process(&run, 2, "executable='/srv/app/server', dropped=12");
    sql(&run, "INSERT INTO loss VALUES (2, 'handles', 12)");
    char *page = rendered(&run, &html_renderer);
    assert_has(page, "<code>/opt/tool</code> (pid 101): it is statically linked");
    assert_has(page, "12 records could not be kept: 12 handles");
    free(page);
    run_forgotten(&run);
}

TEST(ten_thousand_findings_fit_on_a_page)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    sql(&run, "BEGIN");
    for (int i = 0; i < 10000; i++) {
        char function[32];
        snprintf(function, sizeof function, "function_%d", i);
        sql(&run,
            "INSERT INTO stack (id, depth, where_function, where_file, where_line, where_module, where_owner, "
            "fingerprint)"
            " VALUES (%d, 1, '%s', '/srv/app/some/longer/directory/%s.c', %d, '/srv/app/server', 'user', '%s')",
            i + 1, function, function, i, function);
        sql(&run,
            "INSERT INTO site (id, process, kind, stack, opened, closed, failed, open, peak)"
            " VALUES (%d, 1, 'sqlite3.connection', %d, 100, 0, 0, 100, 100)",
            i + 1, i + 1);
        sql(&run,
            "INSERT INTO handle (process, site, kind, stack, handles, root_site, root_reference, reference)"
            " VALUES (1, %d, 'sqlite3.connection', %d, 100, %d, 'none', 'none')",
            i + 1, i + 1, i + 1);
    }
    for (int position = 0; position < 30; position++)
        frame(&run, 1, position, "some_function_with_a_longer_name", "user");
    sql(&run,
        "INSERT INTO stack_frame (stack, position, frame) SELECT stack.id, position, frame FROM stack, stack_frame"
        " WHERE stack.id <> 1 AND stack_frame.stack = 1");
    sql(&run, "COMMIT");
    char *page = rendered(&run, &html_renderer);
    if (strlen(page) > 4000000)
        fail_msg("the page has %zu bytes", strlen(page));
    assert_has(page, "6,800 more are not on this page");
    free(page);
    run_forgotten(&run);
}

/* --- the summary ------------------------------------------------------------------------------------------------------------ */

TEST(the_summary_of_a_leak)
{
    TOLD;
    leak_told(&run);
    handle(&run, 1, "main", "reference='found', handles=3");
    sql(&run, "UPDATE process SET directory = '/srv/app'");
    char *summary = rendered_with(&run, &text_renderer, (struct rendering){.page = "unclosed-report/index.html"});
    assert_string_equal(
        summary, "unclosed: FAILED - 1 leak in your code\n"
                 "error  leaked 10×  SQLite connection never closed  server.c:42 lose\n"
                 "       no pointer to it was left in memory when exit began; opened 10 times here, closed 0\n"
                 "       target: /srv/data/app.db\n"
                 "       fix: call sqlite3_close() on every path that leaves the function, errors and early returns "
                 "included (unclosed explain leaked)\n"
                 "also   3 open at exit (notes: nothing wrong by themselves)\n"
                 "seen   1,010 SQLite connections opened in 1 process; nothing unobserved\n"
                 "page   unclosed-report/index.html\n"
                 "exit   23: 1 finding at or above --fail-on=error\n");
    free(summary);
    run_forgotten(&run);
}

TEST(the_first_line_tells_outcomes_apart)
{
    static const struct {
        const char *settings, *handle, *line;
        int opened, closed;
    } cases[] = {
        {"observed=1", NULL, "unclosed: OK - 5 SQLite connections opened, all closed\n", 5, 5},
        {"observed=1", NULL, "unclosed: OK - 1 SQLite connection opened, all closed\n", 1, 1},
        {"observed=1", "reference='found'", "unclosed: OK - 5 SQLite connections opened; 1 still open at the end\n", 5,
         4},
        {"observed=1", NULL, "unclosed: NOTHING TO JUDGE - no watched library was used (looked for sqlite3, libpq)\n",
         0, 0},
        {"observed=0", NULL, "unclosed: UNOBSERVED - what was not seen cannot be called clean\n", 0, 0},
        {"ended='signal', end_words='signal 9', scan='not-run'", "reference='not-looked', handles=1000",
         "unclosed: UNDECIDED - 1,000 handles still open; could not tell leaked from referenced\n", 1000, 0},
        {"ended='running', end_words='running', scan='not-run', open=2", "reference='not-looked', handles=2",
         "unclosed: UNDECIDED - 2 handles open now\n", 2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TOLD;
        process(&run, 1, cases[i].settings);
        if (cases[i].handle != NULL)
            handle(&run, 1, "main", cases[i].handle);
        counted_in(&run, "sqlite3.connection", cases[i].opened, cases[i].closed);
        char *summary = rendered(&run, &text_renderer);
        summary[strcspn(summary, "\n") + 1] = '\0';
        assert_string_equal(summary, cases[i].line);
        free(summary);
        run_forgotten(&run);
    }
}

TEST(the_summary_says_what_was_not_seen)
{
    TOLD;
    process(&run, 1, "observed=0, executable='/opt/tool', unobserved_reason='it is statically linked'");
    char *summary = rendered(&run, &text_renderer);
    assert_has(summary, "unseen /opt/tool (pid 101): it is statically linked\n");
    assert_has(summary, "exit   24: 1 process could not be observed completely");
    free(summary);
    run_forgotten(&run);
}

TEST(what_a_program_is_called_does_not_reach_the_terminal)
{
    TOLD;
    leak_told(&run);
    sqlite3_stmt *statement = prepared(run.db, "UPDATE stack SET where_function = ?1");
    begun_with(statement, text(hostile));
    row_fetched(statement, NULL);
    sqlite3_finalize(statement);
    char *summary = rendered(&run, &text_renderer);
    assert_has_not(summary, "\x1b");
    assert_has(summary, "\\x1b[31m\\xff\\u202e\\x0a\n");
    assert_valid_utf8(summary);
    free(summary);
    run_forgotten(&run);
}

TEST(colour_is_for_terminals)
{
    TOLD;
    leak_told(&run);
    char *plain = rendered(&run, &text_renderer);
    char *coloured = rendered_with(&run, &text_renderer, (struct rendering){.colour = true});
    assert_has_not(plain, "\x1b");
    assert_has(coloured, "\x1b[1;31mFAILED\x1b[0m");
    free(plain);
    free(coloured);
    run_forgotten(&run);
}

TEST(long_lines_are_broken_between_words)
{
    TOLD;
    leak_told(&run);
    char *summary = rendered_with(&run, &text_renderer, (struct rendering){.width = 60});
    assert_has(summary,
               "       no pointer to it was left in memory when exit began;\n       opened 10 times here, closed 0\n");
    free(summary);
    run_forgotten(&run);
}

TEST(many_findings_are_cut_with_a_count)
{
    TOLD;
    process(&run, 1, "ended='exit'");
    for (int i = 0; i < 50; i++) {
        char function[32];
        snprintf(function, sizeof function, "lose_%d", i);
        handle(&run, 1, function, "reference='none'");
    }
    char *summary = rendered(&run, &text_renderer);
    assert_has(summary, "unclosed: FAILED - 50 leaks in your code\n");
    assert_has(summary, "       … and 20 more errors and warnings\n");
    free(summary);
    run_forgotten(&run);
}

/* --- numbers and the like -------------------------------------------------------------------------------------------------------- */

TEST(numbers_and_durations_are_said_briefly)
{
    (void)state;
    struct words words;
    assert_string_equal(number_said(&words, 0), "0");
    assert_string_equal(number_said(&words, 999), "999");
    assert_string_equal(number_said(&words, 1234567), "1,234,567");
    assert_string_equal(number_said(&words, -1234), "-1,234");
    assert_string_equal(duration_said(&words, -5), "0 µs");
    assert_string_equal(duration_said(&words, 840000), "840 µs");
    assert_string_equal(duration_said(&words, 12000000), "12 ms");
    assert_string_equal(duration_said(&words, 3100000000), "3.1 s");
    assert_string_equal(duration_said(&words, 28000000000), "28 s");
    assert_string_equal(duration_said(&words, 252000000000), "4m12s");
    assert_string_equal(duration_said(&words, 22320000000000), "6h12m");
    assert_string_equal(duration_said(&words, 273600000000000), "3d4h");
    assert_string_equal(time_said(&words, 1795356131123456789), "2026-11-22T14:02:11.123Z");
}

TEST(placeholders_are_filled_in)
{
    (void)state;
    char *title = filled_in("{noun} never closed", "database socket", "socket.connection");
    char *declared = filled_in("{noun} never closed", "myapp.lease handle", "myapp.lease");
    char *fix = filled_in("call {close} for {kind}; {else}", "", "libpq.connection");
    assert_string_equal(title, "Database socket never closed");
    assert_string_equal(declared, "myapp.lease handle never closed");
    assert_string_equal(fix, "call PQfinish() for libpq.connection; {else}");
    free(title);
    free(declared);
    free(fix);
}

TEST(only_utf8_counts_as_utf8)
{
    (void)state;
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {{"a", 1},    {"\xc3\xa9", 2},         {"\xe2\x82\xac", 3},    {"\xf0\x9f\x98\x80", 4}, {"\xff", 0},
                 {"\x80", 0}, {"\xc0\x80", 0},         {"\xe0\x80\x80", 0},    {"\xed\xa0\x80", 0},     {"\xe2\x82", 0},
                 {"\xc3", 0}, {"\xf4\x90\x80\x80", 0}, {"\xf8\x88\x80\x80", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(utf8_length(cases[i].text), cases[i].length);
}

TEST(a_result_appears_whole_or_not_at_all)
{
    (void)state;
    char directory[] = "/tmp/unclosed-output-XXXXXX", path[64];
    struct output output;
    struct stat status;

    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/x.json", directory);
    assert_true(output_begun(&output, path));
    fputs("half", output.file);
    fflush(output.file);
    assert_int_not_equal(stat(path, &status), 0);
    assert_false(output_finished(&output, false));
    assert_int_not_equal(stat(path, &status), 0);
    assert_true(output_begun(&output, path));
    fputs("whole", output.file);
    assert_true(output_finished(&output, true));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 5);
    unlink(path);
    assert_int_equal(rmdir(directory), 0); /* nothing else was left there */
}

TEST(a_full_disk_is_a_failure)
{
    (void)state;
    struct output output;
    assert_true(output_begun(&output, "/dev/full"));
    fputs("text", output.file);
    assert_false(output_finished(&output, true));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_as_promised),
        cmocka_unit_test(json_of_nothing_is_whole),
        cmocka_unit_test(json_is_valid_whatever_names_are),
        cmocka_unit_test(json_has_all_stacks_and_children),
        cmocka_unit_test(the_page_says_the_verdict_first),
        cmocka_unit_test(the_pages_outcomes_differ_in_words),
        cmocka_unit_test(hostile_names_are_inert_on_the_page),
        cmocka_unit_test(the_pages_policy_allows_its_own_style_and_nothing_else),
        cmocka_unit_test(the_page_names_what_was_not_seen),
        cmocka_unit_test(ten_thousand_findings_fit_on_a_page),
        cmocka_unit_test(the_summary_of_a_leak),
        cmocka_unit_test(the_first_line_tells_outcomes_apart),
        cmocka_unit_test(the_summary_says_what_was_not_seen),
        cmocka_unit_test(what_a_program_is_called_does_not_reach_the_terminal),
        cmocka_unit_test(colour_is_for_terminals),
        cmocka_unit_test(long_lines_are_broken_between_words),
        cmocka_unit_test(many_findings_are_cut_with_a_count),
        cmocka_unit_test(numbers_and_durations_are_said_briefly),
        cmocka_unit_test(placeholders_are_filled_in),
        cmocka_unit_test(only_utf8_counts_as_utf8),
        cmocka_unit_test(a_result_appears_whole_or_not_at_all),
        cmocka_unit_test(a_full_disk_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
