/* SPDX-License-Identifier: Apache-2.0 */
/* Who answered the roll call and who did not, told from records, programs and traces that are made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unclosed/trace.h>
#include <unistd.h>

#include "database.h"
#include "rollcall.h"

enum { COMMAND = 100, SECOND = 200, THIRD = 300, PARENT = 50, TICKS = 777 };

static char directory[] = "/tmp/unclosed-rollcall-XXXXXX";
static char user[64], plain[64], carrier[64], interpreter[64], script[64];
static sqlite3 *db;

static void shell(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = snprintf(command, sizeof(command), "cd %s && unset LD_PRELOAD && ", directory);
    vsnprintf(command + length, sizeof(command) - (size_t)length, format, arguments);
    va_end(arguments);
    if (system(command) != 0)
        fail_msg("%s", command);
}

static int programs_made(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(user, sizeof(user), "%s/user", directory);
    snprintf(plain, sizeof(plain), "%s/plain", directory);
    snprintf(carrier, sizeof(carrier), "%s/carrier", directory);
    snprintf(interpreter, sizeof(interpreter), "%s/python3.99", directory);
    snprintf(script, sizeof(script), "%s/script", directory);
    shell("echo 'int main(void) { return 0; }' >plain.c && gcc -o plain plain.c && cp plain python3.99");
    shell("echo '#include <sqlite3.h>\nint main(void) { return sqlite3_libversion_number() == 1; }' >user.c");
    shell("gcc -o user user.c -lsqlite3");
    shell("echo 'const char *a[] = {\"SQLite format 3\", \"malformed database schema\"};\n"
          "int main(int n, char **v) { (void)v; return a[n & 1][0] == 0; }' >carrier.c && gcc -o carrier carrier.c");
    shell("echo '#!%s' >script && chmod +x script", interpreter);
    return 0;
}

static int programs_removed(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static int database_made(void **state)
{
    (void)state;
    shell("rm -f rollcall *.trace");
    db = database_created(":memory:");
    return db ? 0 : -1;
}

static int database_freed(void **state)
{
    (void)state;
    database_closed(db);
    return 0;
}

static uint64_t own_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) ? 0 : status.st_ino;
}

static void called_with(unsigned flags, enum rollcall_type type, int pid, uint64_t start_ticks, const char *text)
{
    static uint64_t time = 100;
    struct rollcall_record record = {.magic = ROLLCALL_MAGIC,
                                     .size = sizeof(record),
                                     .type = (uint8_t)type,
                                     .flags = (uint8_t)flags,
                                     .time = time++,
                                     .pid = pid,
                                     .parent = PARENT,
                                     .start_ticks = start_ticks,
                                     .pid_namespace = own_namespace()};
    char file[96];
    snprintf(record.text, sizeof(record.text), "%s", text);
    snprintf(file, sizeof(file), "%s/%s", directory, ROLLCALL_FILE);
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT, 0600);
    assert_int_equal(write(fd, &record, sizeof(record)), sizeof(record));
    close(fd);
}

static void called(enum rollcall_type type, int pid, uint64_t start_ticks, const char *text)
{
    called_with(0, type, pid, start_ticks, text);
}

/* A trace that holds nothing but its process, and the row that loading it would have made. */
static void traced(const char *name, int pid, uint64_t started, enum trace_end end)
{
    struct {
        struct trace_header header;
        struct trace_process process;
    } file = {
        .header = {.magic = TRACE_MAGIC,
                   .layout = TRACE_LAYOUT,
                   .header_size = sizeof(struct trace_header),
                   .byte_order = TRACE_BYTE_ORDER,
                   .table_count = TABLE_COUNT,
                   .file_size = sizeof(file),
                   .ready = 1},
        .process = {.ready = 1, .pid = pid, .start_ticks = TICKS, .started = started, .end = end},
    };
    char path[128], sql[256];
    file.process.pid_namespace = own_namespace();
    for (unsigned id = 0; id < TABLE_COUNT; id++)
        file.header.tables[id] = (struct trace_table){.id = id, .record_size = 8};
    file.header.tables[TABLE_PROCESS] =
        (struct trace_table){TABLE_PROCESS, sizeof(file.process), sizeof(file.header), 1, 1};
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, &file, sizeof(file)), sizeof(file));
    close(fd);
    snprintf(
        sql, sizeof(sql),
        "INSERT INTO process (trace, pid, ended, end_words, scan) VALUES ('%s', %d, 'killed', 'killed', 'not-run')",
        name, pid);
    assert_true(executed(db, sql));
}

static void compared(const char *command, struct ended_process *ended, size_t count)
{
    struct supervised supervised = {.pid = COMMAND, .start_ticks = TICKS, .ended = ended, .ended_count = count};
    assert_true(rollcall_compared(db, directory, command, &supervised));
}

/* The only value of a query, as text. */
static const char *selected(const char *sql)
{
    static char value[1024];
    sqlite3_stmt *statement = prepared(db, sql);
    snprintf(value, sizeof(value), "%s",
             row_fetched(statement, NULL) && sqlite3_column_text(statement, 0)
                 ? (const char *)sqlite3_column_text(statement, 0)
                 : "");
    sqlite3_finalize(statement);
    return value;
}

#define UNOBSERVED "SELECT count(*) FROM process WHERE observed = 0"
#define REASON "SELECT unobserved_reason FROM process WHERE observed = 0"

static void assert_holds(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not hold \"%s\"", text, part);
}

static void process_that_answered_and_opened_nothing_has_no_row(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, user);
    compared(user, NULL, 0);
    assert_string_equal(selected("SELECT count(*) FROM process"), "0");
}

static void command_that_uses_a_database_and_never_answered_is_unobserved(void **state)
{
    (void)state;
    struct ended_process ended = {.pid = COMMAND, .inner_pid = COMMAND, .start_ticks = TICKS, .exit_status = 3};
    compared(user, &ended, 1);
    assert_string_equal(selected(UNOBSERVED), "1");
    assert_holds(selected(REASON), "user uses sqlite3, but was started without LD_PRELOAD");
    assert_string_equal(selected("SELECT executable FROM process"), user);
    assert_string_equal(selected("SELECT end_words FROM process"), "exit 3");
}

static void program_without_database_that_never_answered_does_not_matter(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, plain);
    called(ROLLCALL_STARTS, SECOND, TICKS, plain);
    compared(plain, NULL, 0);
    assert_string_equal(selected("SELECT count(*) FROM process"), "0");
}

static void child_that_was_announced_and_never_answered_is_unobserved(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, plain);
    called(ROLLCALL_STARTS, SECOND, TICKS, user);
    called(ROLLCALL_STARTS, THIRD, TICKS, user);
    compared(plain, NULL, 0);
    assert_string_equal(selected(UNOBSERVED), "1");
    assert_holds(selected(REASON), "(2 processes)");
}

static void announced_program_that_answered_is_fine_whoever_wrote_first(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, plain);
    called(ROLLCALL_STARTS, SECOND, TICKS, user);
    called(ROLLCALL_LOADED, SECOND, TICKS, user);
    called(ROLLCALL_LOADED, THIRD, TICKS, user);
    called(ROLLCALL_STARTS, THIRD, 0, user);
    compared(plain, NULL, 0);
    assert_string_equal(selected(UNOBSERVED), "0");
}

static void second_image_of_a_process_counts_for_itself(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, plain);
    called(ROLLCALL_STARTS, COMMAND, TICKS, user);
    compared(plain, NULL, 0);
    assert_string_equal(selected(UNOBSERVED), "1");
}

static void exec_that_failed_does_not_matter(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, plain);
    called(ROLLCALL_STARTS, COMMAND, TICKS, user);
    called(ROLLCALL_EXEC_FAILED, COMMAND, TICKS, "");
    compared(plain, NULL, 0);
    assert_string_equal(selected(UNOBSERVED), "0");
}

static void answer_of_a_later_process_with_the_same_pid_does_not_count(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, plain);
    called(ROLLCALL_STARTS, SECOND, TICKS, user);
    called(ROLLCALL_LOADED, SECOND, TICKS + 5, plain);
    compared(plain, NULL, 0);
    assert_string_equal(selected(UNOBSERVED), "1");
}

static void interpreter_that_never_answered_may_have_used_anything(void **state)
{
    (void)state;
    compared(script, NULL, 0);
    assert_holds(selected(REASON), "script may use a watched library (python");
}

static void copy_that_is_built_in_is_unobserved_though_the_program_answered(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, carrier);
    compared(carrier, NULL, 0);
    assert_holds(selected(REASON), "carrier has its own copy of sqlite3 built in");
}

static void program_left_out_by_choice_is_not_unobserved(void **state)
{
    (void)state;
    struct rollcall_record record = {.magic = ROLLCALL_MAGIC,
                                     .size = sizeof(record),
                                     .type = ROLLCALL_LOADED,
                                     .flags = ROLLCALL_SKIPPED,
                                     .pid = COMMAND,
                                     .start_ticks = TICKS};
    char file[96];
    record.pid_namespace = own_namespace();
    snprintf(record.text, sizeof(record.text), "%s", carrier);
    snprintf(file, sizeof(file), "%s/%s", directory, ROLLCALL_FILE);
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, &record, sizeof(record)), sizeof(record));
    close(fd);
    compared(carrier, NULL, 0);
    assert_string_equal(selected(UNOBSERVED), "0");
}

static void process_that_could_not_record_says_so_itself(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, user);
    called(ROLLCALL_FAILED, COMMAND, TICKS, "cannot make its trace (no space left on device)");
    compared(user, NULL, 0);
    assert_string_equal(selected(REASON), "cannot make its trace (no space left on device)");
    assert_string_equal(selected("SELECT executable FROM process"), user);
}

static void failure_in_the_middle_is_noted_at_the_trace(void **state)
{
    (void)state;
    traced("user.100.777.trace", COMMAND, 1, END_EXIT);
    called(ROLLCALL_LOADED, COMMAND, TICKS, user);
    called(ROLLCALL_FAILED, COMMAND, TICKS, "no space");
    compared(user, NULL, 0);
    assert_string_equal(selected("SELECT trace FROM process WHERE observed = 0"), "user.100.777.trace");
    assert_string_equal(selected("SELECT count(*) FROM process"), "1");
}

static void signal_that_run_saw_completes_the_last_image(void **state)
{
    (void)state;
    struct ended_process ended = {
        .pid = COMMAND, .inner_pid = COMMAND, .start_ticks = TICKS, .exit_status = -1, .signal = 9};
    traced("first.trace", COMMAND, 1, END_EXEC);
    traced("second.trace", COMMAND, 2, END_NONE);
    called(ROLLCALL_LOADED, COMMAND, TICKS, user);
    compared(user, &ended, 1);
    assert_string_equal(
        selected("SELECT ended || ' ' || end_words || ' ' || end_status FROM process WHERE trace = 'second.trace'"),
        "signal signal 9 9");
    assert_string_equal(selected("SELECT ended FROM process WHERE trace = 'first.trace'"), "killed");
}

static void end_mark_is_believed_more_than_the_wait_status(void **state)
{
    (void)state;
    struct ended_process ended = {.pid = COMMAND, .inner_pid = COMMAND, .start_ticks = TICKS, .exit_status = 9};
    traced("marked.trace", COMMAND, 1, END_EXIT);
    called(ROLLCALL_LOADED, COMMAND, TICKS, user);
    compared(user, &ended, 1);
    assert_string_equal(selected("SELECT end_words FROM process"), "killed");
}

static void damaged_roll_call_is_read_as_far_as_it_goes(void **state)
{
    (void)state;
    called(ROLLCALL_LOADED, COMMAND, TICKS, plain);
    called(ROLLCALL_STARTS, SECOND, TICKS, user);
    shell("head -c 300 /dev/urandom >>rollcall");
    compared(plain, NULL, 0);
    assert_string_equal(selected(UNOBSERVED), "1");
}

#define PYTHON_PROBLEM "SELECT python_problem FROM process"

static void python_that_our_adapters_started_in_has_no_problem(void **state)
{
    (void)state;
    called_with(ROLLCALL_PYTHON, ROLLCALL_LOADED, COMMAND, TICKS, interpreter);
    called(ROLLCALL_ADAPTED, COMMAND, TICKS, "3.99.0");
    compared(interpreter, NULL, 0);
    assert_string_equal(selected("SELECT count(*) FROM process"), "0");
}

static void python_that_our_adapters_did_not_start_in_is_told_with_the_reason(void **state)
{
    (void)state;
    called_with(ROLLCALL_PYTHON, ROLLCALL_LOADED, COMMAND, TICKS, interpreter);
    called(ROLLCALL_NOT_ADAPTED, COMMAND, TICKS, "started with -I");
    called_with(ROLLCALL_PYTHON, ROLLCALL_LOADED, SECOND, TICKS, interpreter);
    called_with(ROLLCALL_PYTHON, ROLLCALL_LOADED, THIRD, TICKS, interpreter);
    compared(interpreter, NULL, 0);
    assert_string_equal(selected(UNOBSERVED), "0");
    assert_string_equal(selected(PYTHON_PROBLEM " WHERE pid = 100"),
                        "native view only: SQLAlchemy sessions were not seen (started with -I)");
    assert_string_equal(selected(PYTHON_PROBLEM " WHERE pid = 200"),
                        "native view only: SQLAlchemy sessions were not seen (PYTHONPATH was cleared, or the "
                        "interpreter was started in another way) (2 processes)");
}

static void python_problem_belongs_to_the_trace_of_its_image(void **state)
{
    (void)state;
    called_with(ROLLCALL_PYTHON, ROLLCALL_LOADED, COMMAND, TICKS, interpreter);
    called(ROLLCALL_ADAPTED, COMMAND, TICKS, "3.99.0");
    called(ROLLCALL_STARTS, COMMAND, TICKS, interpreter);
    traced("first.trace", COMMAND, 1, END_EXEC);
    traced("second.trace", COMMAND, 1u << 30, END_EXIT);
    called_with(ROLLCALL_PYTHON, ROLLCALL_LOADED, COMMAND, TICKS, interpreter);
    called(ROLLCALL_NOT_ADAPTED, COMMAND, TICKS, "started with -S");
    compared(interpreter, NULL, 0);
    assert_string_equal(selected("SELECT count(python_problem) FROM process WHERE trace IS NOT NULL"), "0");
    assert_holds(selected(PYTHON_PROBLEM " WHERE trace IS NULL"), "started with -S");
}

static void interpreter_that_runs_nothing_has_no_problem(void **state)
{
    (void)state;
    called_with(ROLLCALL_PYTHON, ROLLCALL_LOADED, COMMAND, TICKS, interpreter);
    called(ROLLCALL_NOT_ADAPTED, COMMAND, TICKS, "");
    compared(interpreter, NULL, 0);
    assert_string_equal(selected("SELECT count(*) FROM process"), "0");
}

static void program_that_only_has_python_inside_may_never_have_started_it(void **state)
{
    (void)state;
    called_with(ROLLCALL_PYTHON, ROLLCALL_LOADED, COMMAND, TICKS, plain);
    compared(plain, NULL, 0);
    assert_string_equal(selected("SELECT count(*) FROM process"), "0");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, database_made, database_freed)
    const struct CMUnitTest tests[] = {
        TEST(process_that_answered_and_opened_nothing_has_no_row),
        TEST(command_that_uses_a_database_and_never_answered_is_unobserved),
        TEST(program_without_database_that_never_answered_does_not_matter),
        TEST(child_that_was_announced_and_never_answered_is_unobserved),
        TEST(announced_program_that_answered_is_fine_whoever_wrote_first),
        TEST(second_image_of_a_process_counts_for_itself),
        TEST(exec_that_failed_does_not_matter),
        TEST(answer_of_a_later_process_with_the_same_pid_does_not_count),
        TEST(interpreter_that_never_answered_may_have_used_anything),
        TEST(copy_that_is_built_in_is_unobserved_though_the_program_answered),
        TEST(program_left_out_by_choice_is_not_unobserved),
        TEST(process_that_could_not_record_says_so_itself),
        TEST(failure_in_the_middle_is_noted_at_the_trace),
        TEST(signal_that_run_saw_completes_the_last_image),
        TEST(end_mark_is_believed_more_than_the_wait_status),
        TEST(damaged_roll_call_is_read_as_far_as_it_goes),
        TEST(python_that_our_adapters_started_in_has_no_problem),
        TEST(python_that_our_adapters_did_not_start_in_is_told_with_the_reason),
        TEST(python_problem_belongs_to_the_trace_of_its_image),
        TEST(interpreter_that_runs_nothing_has_no_problem),
        TEST(program_that_only_has_python_inside_may_never_have_started_it),
    };
    return cmocka_run_group_tests(tests, programs_made, programs_removed);
}
