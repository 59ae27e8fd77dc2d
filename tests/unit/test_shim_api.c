/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an adapter says through unclosed.h, and what the trace holds then: transactions that lie idle or have failed,
 * owners and their names, threads as owners, details, adapters.
 */
#define UNCLOSED_EXPORTS
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unclosed/unclosed.h>
#include <unistd.h>

#include "handles.h"
#include "shim.h"

#define NOINLINE __attribute__((noinline))
enum { ENGINE = KIND_SQLALCHEMY_ENGINE, SESSION = KIND_SQLALCHEMY_SESSION, CHECKOUT = KIND_SQLALCHEMY_CHECKOUT };
static const uint64_t SECOND = 1000000000;
static unclosed_kind_id connection;
static char engine, session, checkout, handle, other;

static struct trace_handle *found(unclosed_kind_id kind, const void *address)
{
    uint32_t slot = handle_found(kind, (uintptr_t)address);
    return slot ? handle_at(slot) : NULL;
}

static uint32_t flags_of(unclosed_kind_id kind, const void *address)
{
    return found(kind, address)->flags;
}

static const char *text_of(uint32_t string)
{
    return string ? ((const struct trace_string *)record_of(TABLE_STRING, string))->text : "";
}

static uint64_t used_of(enum trace_table_id table)
{
    return shim.trace.header->tables[table].used;
}

static const struct trace_fact *fact_of(enum trace_fact_type type, unclosed_kind_id kind)
{
    for (uint32_t i = (uint32_t)used_of(TABLE_FACT) - 1; i > 0; i--) {
        const struct trace_fact *fact = record_of(TABLE_FACT, i);
        if (fact->type == type && fact->kind == kind)
            return fact;
    }
    return NULL;
}

static const struct trace_owner *owner_of(unclosed_kind_id kind, const void *address)
{
    uint32_t owner = found(kind, address)->owner;
    return owner ? record_of(TABLE_OWNER, owner) : NULL;
}

static struct trace_closed closed_of(unclosed_kind_id kind, const void *address)
{
    struct trace_closed closed;
    assert_true(closed_recalled(&shim.trace, kind, (uintptr_t)address, &closed));
    return closed;
}

static void has_rested(unclosed_kind_id kind, const void *address, unsigned seconds)
{
    found(kind, address)->last_used -= seconds * SECOND;
}

static int session_opened(void **state)
{
    (void)state;
    unclosed_opened(ENGINE, &engine);
    unclosed_opened(SESSION, &session);
    unclosed_parent(SESSION, &session, ENGINE, &engine);
    unclosed_opened(CHECKOUT, &checkout);
    unclosed_parent(CHECKOUT, &checkout, SESSION, &session);
    return 0;
}

static int session_closed(void **state)
{
    (void)state;
    unclosed_closed(CHECKOUT, &checkout, UNCLOSED_EXPLICIT);
    unclosed_closed(SESSION, &session, UNCLOSED_EXPLICIT);
    unclosed_closed(ENGINE, &engine, UNCLOSED_EXPLICIT);
    return 0;
}

/* --- transactions ------------------------------------------------------------------------------------------------------------ */

static void the_table_has_every_function(void **state)
{
    (void)state;
    assert_int_equal(unclosed_api_table.size, sizeof(struct unclosed_api));
    const void *const *function = (const void *const *)&unclosed_api_table.kind;
    for (; function < (const void *const *)(&unclosed_api_table + 1); function++)
        assert_non_null(*function);
}

static void a_sessions_transaction_is_a_handle_of_its_own(void **state)
{
    (void)state;
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION);
    const struct trace_handle *transaction = found(KIND_SQLALCHEMY_TRANSACTION, &session);
    assert_non_null(transaction);
    assert_int_not_equal(site_at(transaction->site)->stack, site_at(found(SESSION, &session)->site)->stack);
    assert_true(flags_of(SESSION, &session) & HANDLE_IN_TRANSACTION);
    assert_false(transaction->flags & HANDLE_WROTE);
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION | UNCLOSED_TRANSACTION_WROTE);
    assert_ptr_equal(found(KIND_SQLALCHEMY_TRANSACTION, &session), transaction);
    assert_true(transaction->flags & HANDLE_WROTE);
    unclosed_transaction(SESSION, &session, UNCLOSED_NO_TRANSACTION);
    assert_null(found(KIND_SQLALCHEMY_TRANSACTION, &session));
    assert_false(flags_of(SESSION, &session) & HANDLE_IN_TRANSACTION);
}

static void a_sessions_end_is_its_transactions(void **state)
{
    (void)state;
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION);
    unclosed_closed(SESSION, &session, UNCLOSED_GC);
    assert_null(found(KIND_SQLALCHEMY_TRANSACTION, &session));
    assert_true(closed_of(SESSION, &session).flags & HANDLE_IN_TRANSACTION);
}

static void a_checkouts_transaction_is_only_a_flag(void **state)
{
    (void)state;
    uint64_t transactions = shim.trace.header->opened[KIND_SQLALCHEMY_TRANSACTION];
    unclosed_transaction(CHECKOUT, &checkout, UNCLOSED_TRANSACTION | UNCLOSED_TRANSACTION_FAILED);
    assert_true(flags_of(CHECKOUT, &checkout) & HANDLE_IN_TRANSACTION);
    assert_true(flags_of(CHECKOUT, &checkout) & HANDLE_TX_FAILED);
    unclosed_transaction(CHECKOUT, &checkout, UNCLOSED_NO_TRANSACTION);
    assert_false(flags_of(CHECKOUT, &checkout) & (HANDLE_IN_TRANSACTION | HANDLE_TX_FAILED));
    assert_int_equal(shim.trace.header->opened[KIND_SQLALCHEMY_TRANSACTION], transactions);
}

static void failure_is_seen_on_the_session_until_the_rollback(void **state)
{
    (void)state;
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION);
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION | UNCLOSED_TRANSACTION_FAILED);
    assert_true(flags_of(SESSION, &session) & HANDLE_TX_FAILED);
    assert_true(flags_of(KIND_SQLALCHEMY_TRANSACTION, &session) & HANDLE_TX_FAILED);
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION); /* rolled back to a savepoint */
    assert_false(flags_of(SESSION, &session) & HANDLE_TX_FAILED);
    assert_false(flags_of(KIND_SQLALCHEMY_TRANSACTION, &session) & HANDLE_TX_FAILED);
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION | UNCLOSED_TRANSACTION_FAILED);
    unclosed_transaction(SESSION, &session, UNCLOSED_NO_TRANSACTION);
    assert_false(flags_of(SESSION, &session) & HANDLE_TX_FAILED);
}

static NOINLINE void begin(void)
{
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION);
}

static NOINLINE void fail_in_it(void)
{
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION | UNCLOSED_TRANSACTION_FAILED);
}

static void use_after_failure_tells_what_had_failed(void **state)
{
    (void)state;
    begin();
    unclosed_detail(CHECKOUT, &checkout, "last_sql", "INSERT INTO users VALUES ('ada@example.org')");
    fail_in_it();
    uint32_t begun = site_at(found(KIND_SQLALCHEMY_TRANSACTION, &session)->site)->stack;
    unclosed_detail(CHECKOUT, &checkout, "last_sql", "SELECT 1");
    unclosed_used(SESSION, &session);
    const struct trace_fact *fact = fact_of(FACT_USED_WHILE_FAILED, SESSION);
    assert_non_null(fact);
    assert_string_equal(text_of(fact->text), "INSERT INTO users VALUES (?)");
    assert_int_equal(fact->begin_stack, begun);
    assert_int_not_equal(fact->close_stack, 0); /* where it failed */
    unclosed_transaction(SESSION, &session, UNCLOSED_NO_TRANSACTION);
    uint64_t count = fact->count;
    begin();
    unclosed_used(SESSION, &session);
    assert_int_equal(fact->count, count);
}

/* --- idle in transaction ------------------------------------------------------------------------------------------------------ */

static NOINLINE void use_session_after(unsigned seconds)
{
    has_rested(SESSION, &session, seconds);
    unclosed_used(SESSION, &session);
}

static void the_longest_rest_in_a_transaction_is_noted(void **state)
{
    (void)state;
    use_session_after(60);
    assert_null(fact_of(FACT_IDLE_IN_TRANSACTION, SESSION)); /* not in a transaction */
    begin();
    uint32_t begun = site_at(found(KIND_SQLALCHEMY_TRANSACTION, &session)->site)->stack;
    use_session_after(4);
    assert_null(fact_of(FACT_IDLE_IN_TRANSACTION, SESSION));
    for (unsigned seconds = 6; seconds <= 8; seconds++) /* the same place */
        use_session_after(seconds == 7 ? 9 : seconds);
    const struct trace_fact *fact = fact_of(FACT_IDLE_IN_TRANSACTION, SESSION);
    assert_non_null(fact);
    assert_int_equal(fact->count, 3);
    assert_in_range(fact->code, 9000, 9900);
    assert_int_equal(fact->begin_stack, begun);
    assert_int_equal(fact->site, found(SESSION, &session)->site);
}

static uint64_t idle_count(void)
{
    uint64_t count = 0;
    for (uint32_t i = 1; i < used_of(TABLE_FACT); i++) {
        const struct trace_fact *fact = record_of(TABLE_FACT, i);
        count += fact->type == FACT_IDLE_IN_TRANSACTION ? fact->count : 0;
    }
    return count;
}

static void a_rest_is_the_outermosts_and_noted_once(void **state)
{
    (void)state;
    uint64_t before = idle_count();
    begin();
    unclosed_transaction(CHECKOUT, &checkout, UNCLOSED_TRANSACTION);
    has_rested(SESSION, &session, 7);
    has_rested(CHECKOUT, &checkout, 7);
    unclosed_used(CHECKOUT, &checkout);
    unclosed_used(SESSION, &session);
    assert_int_equal(idle_count(), before + 1);
    assert_null(fact_of(FACT_IDLE_IN_TRANSACTION, CHECKOUT));
    has_rested(CHECKOUT, &checkout, 7); /* its session was used just now */
    unclosed_used(CHECKOUT, &checkout);
    assert_int_equal(idle_count(), before + 1);
}

static void the_end_and_the_close_end_a_rest(void **state)
{
    (void)state;
    uint64_t before = idle_count();
    begin();
    has_rested(SESSION, &session, 7);
    unclosed_transaction(SESSION, &session, UNCLOSED_NO_TRANSACTION);
    assert_int_equal(idle_count(), before + 1);
    begin();
    has_rested(SESSION, &session, 7);
    unclosed_closed(SESSION, &session, UNCLOSED_EXPLICIT);
    assert_int_equal(idle_count(), before + 2);
}

static void a_long_statement_is_no_rest(void **state)
{
    (void)state;
    uint64_t before = idle_count();
    begin();
    has_rested(SESSION, &session, 7);
    begin(); /* still in it: it has been at work */
    unclosed_used(SESSION, &session);
    assert_int_equal(idle_count(), before);
}

/* --- owners -------------------------------------------------------------------------------------------------------------------- */

static int connection_kind_fresh(void **state)
{
    static int number;
    char name[32];
    (void)state;
    snprintf(name, sizeof(name), "test.connection%d", ++number);
    connection = unclosed_kind(name, NULL);
    return connection ? 0 : -1;
}

static void a_request_may_learn_its_route_later(void **state)
{
    (void)state;
    unclosed_owner_id request = unclosed_owner_begin(UNCLOSED_REQUEST, "GET /orders/17", 0);
    unclosed_opened(connection, &handle);
    unclosed_owned_by(connection, &handle, request);
    unclosed_owner_label(request, "GET /orders/{id}");
    assert_string_equal(text_of(owner_of(connection, &handle)->label), "GET /orders/{id}");
    unclosed_owner_end(request, NULL);
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
    unclosed_owner_label(request, "too late");
    assert_string_equal(text_of(closed_of(connection, &handle).owner_label), "GET /orders/{id}");
}

static void a_task_of_a_request_is_the_requests(void **state)
{
    (void)state;
    unclosed_owner_id request = unclosed_owner_begin(UNCLOSED_REQUEST, "GET /orders", 0), task = request;
    for (int i = 0; i < 100; i++) { /* each starts the next, and ends */
        unclosed_owner_id next = unclosed_owner_begin(UNCLOSED_TASK, "load", task);
        unclosed_owner_end(task, NULL);
        task = next;
    }
    unclosed_owner_id before = unclosed_owner_enter(task);
    unclosed_opened(connection, &handle);
    unclosed_incident("test", connection, NULL, NULL, 0);
    unclosed_owner_enter(before);
    unclosed_owner_end(task, NULL);
    const struct trace_holder *holder = record_of(TABLE_HOLDER, used_of(TABLE_HOLDER) - 1);
    assert_string_equal(text_of(holder->owner_label), "GET /orders");
    const struct trace_owner *owner = owner_of(connection, &handle);
    assert_string_equal(text_of(owner->label), "load");
    assert_string_equal(text_of(((struct trace_owner *)record_of(TABLE_OWNER, owner->parent))->label), "GET /orders");
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
    assert_string_equal(text_of(closed_of(connection, &handle).owner_label), "GET /orders");
}

static void owners_take_no_more_room_than_is_held(void **state)
{
    (void)state;
    unclosed_owner_id task = unclosed_owner_begin(UNCLOSED_TASK, "first", 0);
    uint64_t used = used_of(TABLE_OWNER);
    for (int i = 0; i < 5000; i++) {
        unclosed_owner_id next = unclosed_owner_begin(UNCLOSED_TASK, "next", task);
        unclosed_owner_end(task, NULL);
        task = next;
    }
    unclosed_owner_end(task, NULL);
    assert_in_range(used_of(TABLE_OWNER), used, used + 3);
}

static void whom_a_fact_tells_of_is_kept(void **state)
{
    (void)state;
    unclosed_owner_id request = unclosed_owner_begin(UNCLOSED_REQUEST, "GET /fact", 0);
    unclosed_opened(connection, &handle);
    unclosed_owned_by(connection, &handle, request);
    unclosed_noticed("test-rule", connection, &handle, NULL);
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
    unclosed_owner_end(request, NULL);
    for (int i = 0; i < 100; i++)
        unclosed_owner_end(unclosed_owner_begin(UNCLOSED_REQUEST, "GET /other", 0), NULL);
    const struct trace_fact *fact = fact_of(FACT_NOTICED, connection);
    assert_string_equal(text_of(((struct trace_owner *)record_of(TABLE_OWNER, fact->owner))->label), "GET /fact");
}

static int owners_left;
static void *owner_ends_and_begins(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20000; i++) {
        unclosed_owner_id owner = unclosed_owner_begin(UNCLOSED_REQUEST, "mine", 0);
        unclosed_owned_by(connection, &handle, owner);
        unclosed_owner_end(owner, NULL);
        unclosed_owned_by(connection, &handle, 0);
    }
    return NULL;
}

/* Threads that give one handle to their owners and take it away again: every owner is free in the end. */
static void owners_are_freed_whoever_lets_go_last(void **state)
{
    (void)state;
    pthread_t threads[3];
    unclosed_opened(connection, &handle);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, owner_ends_and_begins, NULL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    unclosed_owned_by(connection, &handle, 0);
    for (uint32_t i = 1; i < used_of(TABLE_OWNER); i++) {
        const struct trace_owner *owner = record_of(TABLE_OWNER, i);
        owners_left += owner->state == RECORD_READY && strcmp(text_of(owner->label), "mine") == 0;
        assert_true(owner->handles < 1000); /* nobody let go of what he did not hold */
    }
    assert_int_equal(owners_left, 0);
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
}

/* --- threads ---------------------------------------------------------------------------------------------------------------------- */

static pid_t opener;
static void *opening_thread(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "worker-7");
    opener = gettid();
    unclosed_opened(connection, &handle);
    return NULL;
}

static void in_a_thread(void *(*work)(void *))
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work, NULL), 0);
    pthread_join(thread, NULL);
}

static void a_thread_owns_what_it_opens_until_it_ends(void **state)
{
    (void)state;
    in_a_thread(opening_thread);
    const struct trace_owner *owner = owner_of(connection, &handle);
    assert_non_null(owner);
    assert_int_equal(owner->kind, OWNER_THREAD);
    assert_int_equal(owner->thread, opener);
    assert_string_equal(text_of(owner->label), "worker-7");
    assert_int_not_equal(owner->ended, 0);
    assert_string_equal(text_of(owner->end_reason), "thread ended");
    unclosed_closed(connection, &handle, UNCLOSED_GC);
    assert_int_equal(closed_of(connection, &handle).owner_label, 0); /* the name of a thread says nothing there */
    assert_int_equal(closed_of(connection, &handle).how, ENDED_OWNER_GONE);
}

static void the_first_thread_is_no_owner(void **state)
{
    (void)state;
    unclosed_opened(connection, &handle);
    assert_null(owner_of(connection, &handle));
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
}

static void *opening_for_a_request(void *unused)
{
    (void)unused;
    unclosed_owner_id request = unclosed_owner_begin(UNCLOSED_REQUEST, "GET /", 0);
    unclosed_owner_enter(request);
    unclosed_opened(connection, &handle);
    unclosed_owner_enter(0);
    unclosed_opened(connection, &other);
    unclosed_owner_end(request, NULL);
    return NULL;
}

static void the_program_knows_better(void **state)
{
    (void)state;
    in_a_thread(opening_for_a_request);
    assert_int_equal(owner_of(connection, &handle)->kind, OWNER_REQUEST);
    assert_int_equal(owner_of(connection, &other)->kind, OWNER_THREAD);
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
    unclosed_closed(connection, &other, UNCLOSED_EXPLICIT);
}

static pthread_key_t program_key;
static bool had_ended;
static void opening_destructor(void *unused)
{
    (void)unused;
    had_ended = owner_of(connection, &handle)->ended;
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
    unclosed_opened(connection, &other);
}

static void *thread_with_a_destructor(void *unused)
{
    unclosed_opened(connection, &handle);
    pthread_key_create(&program_key, opening_destructor); /* runs after ours: its number is higher */
    pthread_setspecific(program_key, &handle);
    return unused;
}

static void destructors_of_the_program_run_before_a_thread_has_ended(void **state)
{
    (void)state;
    in_a_thread(thread_with_a_destructor);
    pthread_key_delete(program_key);
    assert_false(had_ended);
    assert_int_equal(closed_of(connection, &handle).how, ENDED_EXPLICIT);
    assert_int_equal(owner_of(connection, &other)->kind, OWNER_THREAD);
    assert_int_not_equal(owner_of(connection, &other)->ended, 0);
    unclosed_closed(connection, &other, UNCLOSED_EXPLICIT);
}

/* Gives the status of a forked child that runs `work`. */
static int status_of_child(int (*work)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(work());
    while (waitpid(child, &status, 0) != child)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int child_opens(void)
{
    unclosed_opened(connection, &other);
    if (owner_of(connection, &other))
        return 1;
    in_a_thread(opening_thread);
    const struct trace_owner *owner = owner_of(connection, &handle);
    return owner && owner->kind == OWNER_THREAD && owner->ended ? 0 : 2;
}

static void *end_awaited(void *forked)
{
    pthread_join((pthread_t)forked, NULL);
    _exit(0);
}

/* The destructors of a thread that was one of the parent's run. */
static int child_does_nothing(void)
{
    pthread_t waiting;
    pthread_create(&waiting, NULL, end_awaited, (void *)pthread_self());
    pthread_exit(NULL);
}

static void *forking_thread(void *status)
{
    unclosed_opened(connection, &handle);
    unclosed_owner_enter(unclosed_owner_begin(UNCLOSED_REQUEST, "GET /fork", 0));
    *(int *)status = status_of_child(child_opens);
    *(int *)status |= status_of_child(child_does_nothing) << 8;
    *(int *)status |= owner_of(connection, &handle)->ended ? 1 << 16 : 0;
    return NULL;
}

static void a_forked_child_inherits_no_owner(void **state)
{
    (void)state;
    int status = 255;
    pthread_t thread;
#ifdef __SANITIZE_THREAD__
    skip(); /* it allows no threads in a child of one with threads */
#endif
    assert_int_equal(pthread_create(&thread, NULL, forking_thread, &status), 0);
    pthread_join(thread, NULL);
    assert_int_equal(status, 0);
}

static int child_without_keys(void)
{
    static pthread_key_t key;
    int count = 0;
    while (pthread_key_create(&key, NULL) == 0)
        count++;
    in_a_thread(opening_thread);
    return found(connection, &handle) && !owner_of(connection, &handle) && count >= PTHREAD_KEYS_MAX / 2 ? 0 : 1;
}

static int child_with_many_keys(void)
{
    static pthread_key_t key;
    for (int i = 0; i < 40; i++)
        pthread_key_create(&key, NULL);
    pthread_key_t next, after;
    pthread_key_create(&next, NULL);
    pthread_key_delete(next);
    in_a_thread(opening_thread);
    pthread_key_create(&after, NULL); /* ours was given back */
    return found(connection, &handle) && !owner_of(connection, &handle) && after == next ? 0 : 1;
}

/* First of all: later there is a key already. */
static void without_a_cheap_key_threads_are_no_owners(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(child_without_keys), 0);
    assert_int_equal(status_of_child(child_with_many_keys), 0);
}

/* --- details, notices, adapters, frames ----------------------------------------------------------------------------------------------- */

static const char *detail_of(const void *address, const char *key)
{
    return text_of(detail_value(handle_found(connection, (uintptr_t)address), key));
}

static void the_last_statement_is_kept_without_what_was_in_it(void **state)
{
    (void)state;
    unclosed_opened(connection, &handle);
    for (int i = 0; i < 3; i++) {
        unclosed_detail(connection, &handle, "last_sql", "SELECT * FROM users WHERE mail = 'ada@example.org'");
        assert_string_equal(detail_of(&handle, "last_sql"), "SELECT * FROM users WHERE mail = ?");
        unclosed_detail(connection, &handle, "last_sql", "COMMIT");
        assert_string_equal(detail_of(&handle, "last_sql"), "COMMIT");
    }
    unclosed_detail(connection, &handle, "last_sql", NULL);
    assert_string_equal(detail_of(&handle, "last_sql"), "");
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
}

static void a_handle_has_so_many_details_and_no_more(void **state)
{
    (void)state;
    char key[16];
    uint64_t lost = shim.trace.header->losses[LOSS_DETAILS], used = used_of(TABLE_DETAIL);
    unclosed_opened(connection, &handle);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "key%d", i % 100);
        unclosed_detail(connection, &handle, key, "x");
    }
    assert_string_equal(detail_of(&handle, "key0"), "x");
    assert_in_range(used_of(TABLE_DETAIL) - used, 1, 64);
    assert_int_equal(shim.trace.header->losses[LOSS_DETAILS] - lost, 72);
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
}

static NOINLINE void notice(const char *rule)
{
    unclosed_noticed(rule, connection, &handle, "two at once; password=s3cret");
}

static void what_is_noticed_is_one_fact_for_each_rule_and_place(void **state)
{
    (void)state;
    unclosed_opened(connection, &handle);
    uint32_t site = found(connection, &handle)->site;
    for (int i = 0; i < 6; i++)
        notice(i % 2 ? "nested-checkout" : "another-rule");
    const struct trace_fact *second = fact_of(FACT_NOTICED, connection), *first = second - 1;
    assert_int_equal(first->count, 3);
    assert_int_equal(second->count, 3);
    assert_string_equal(text_of(first->function), "another-rule");
    assert_string_equal(text_of(second->function), "nested-checkout");
    assert_string_equal(text_of(second->text), "two at once; password=***");
    assert_int_equal(second->site, site);
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
    notice("after-the-close");
    assert_string_equal(text_of(fact_of(FACT_NOTICED, connection)->function), "after-the-close");
    assert_int_equal(fact_of(FACT_NOTICED, connection)->site, site);
}

static const struct trace_library *adapter_named(const char *name)
{
    for (uint32_t i = (uint32_t)used_of(TABLE_LIBRARY) - 1; i > 0; i--) {
        const struct trace_library *library = record_of(TABLE_LIBRARY, i);
        if (library->is_adapter && strcmp(text_of(library->name), name) == 0)
            return library;
    }
    return NULL;
}

static int child_knows_the_adapter(void)
{
    uint64_t parent = shim.epoch;
    unclosed_opened(connection, &other);
    const struct trace_library *adapter = adapter_named("sqlalchemy");
    const struct trace_process *process = record_of(TABLE_PROCESS, 0);
    return shim.epoch != parent && adapter && strcmp(text_of(adapter->path), "2.0.45") == 0 &&
                   process->python & PYTHON_ADAPTED
               ? 0
               : 1;
}

static void adapters_are_told_to_every_trace(void **state)
{
    (void)state;
    const struct trace_library *early = adapter_named("early"); /* from main, before anything was recorded */
    assert_non_null(early);
    assert_string_equal(text_of(early->path), "1");
    uint64_t used = used_of(TABLE_LIBRARY);
    unclosed_adapter("sqlalchemy", NULL, "cannot see it: no attribute _pool");
    assert_string_equal(text_of(adapter_named("sqlalchemy")->problem), "cannot see it: no attribute _pool");
    for (int i = 0; i < 100; i++)
        unclosed_adapter("sqlalchemy", "2.0.45", NULL);
    assert_string_equal(text_of(adapter_named("sqlalchemy")->path), "2.0.45");
    assert_int_equal(adapter_named("sqlalchemy")->problem, 0);
    assert_int_equal(used_of(TABLE_LIBRARY), used + 2);
    const struct trace_process *process = record_of(TABLE_PROCESS, 0);
    assert_false(process->python & PYTHON_ADAPTED);
    unclosed_adapter("python", "3.11.2", NULL);
    assert_true(process->python & PYTHON_ADAPTED);
    assert_int_equal(status_of_child(child_knows_the_adapter), 0);
}

static void the_frame_is_what_it_was_before(void **state)
{
    (void)state;
    assert_null(unclosed_frame_enter(&handle));
    assert_ptr_equal(thread.python_frame, &handle);
    unclosed_opened_at(0, &other, &other); /* nothing is recorded, and nothing stays */
    assert_ptr_equal(unclosed_frame_enter(NULL), &handle);
    assert_null(thread.python_frame);
}

static void what_is_in_a_pool_is_the_pools(void **state)
{
    (void)state;
    unclosed_owner_id request = unclosed_owner_begin(UNCLOSED_REQUEST, "GET /", 0),
                      before = unclosed_owner_enter(request);
    unclosed_opened(connection, &handle);
    assert_non_null(owner_of(connection, &handle));
    unclosed_parent(connection, &handle, CHECKOUT, &checkout);
    assert_false(flags_of(connection, &handle) & HANDLE_POOLED);
    unclosed_parent(connection, &handle, ENGINE, &engine);
    assert_true(flags_of(connection, &handle) & HANDLE_POOLED);
    assert_null(owner_of(connection, &handle));
    assert_false(flags_of(SESSION, &session) & HANDLE_POOLED);
    unclosed_parent(connection, &handle, CHECKOUT, &checkout);
    assert_true(flags_of(connection, &handle) & HANDLE_POOLED);
    unclosed_parent(connection, &handle, CHECKOUT, NULL); /* detached */
    assert_false(flags_of(connection, &handle) & HANDLE_POOLED);
    unclosed_owner_enter(before);
    unclosed_closed(connection, &handle, UNCLOSED_EXPLICIT);
}

static void an_incident_tells_of_the_pool_that_was_asked(void **state)
{
    (void)state;
    unclosed_target(ENGINE, &engine, "postgresql://db/orders");
    unclosed_opened(CHECKOUT, &other); /* of another pool */
    unclosed_incident("asked-for-one", CHECKOUT, "postgresql://db/orders", NULL, 0);
    const struct trace_incident *incident = record_of(TABLE_INCIDENT, used_of(TABLE_INCIDENT) - 1);
    const struct trace_holder *holder = record_of(TABLE_HOLDER, incident->first_holder);
    assert_int_equal(incident->holder_count, 1);
    assert_int_equal(holder->kind, SESSION); /* whose checkout it is */
    assert_int_equal(holder->generation, found(SESSION, &session)->generation);
    unclosed_incident("asked-for-another", CHECKOUT, "postgresql://db/unknown", NULL, 0);
    incident = record_of(TABLE_INCIDENT, used_of(TABLE_INCIDENT) - 1);
    assert_int_equal(incident->holder_count, 2);
    unclosed_closed(CHECKOUT, &other, UNCLOSED_EXPLICIT);
}

static void an_incident_tells_of_the_sessions_transaction(void **state)
{
    (void)state;
    begin();
    unclosed_transaction(SESSION, &session, UNCLOSED_TRANSACTION | UNCLOSED_TRANSACTION_WROTE);
    unclosed_detail(CHECKOUT, &checkout, "last_sql", "UPDATE t SET a = 1");
    unclosed_incident("asked-for-any", CHECKOUT, NULL, NULL, 0);
    const struct trace_incident *incident = record_of(TABLE_INCIDENT, used_of(TABLE_INCIDENT) - 1);
    const struct trace_holder *holder = record_of(TABLE_HOLDER, incident->first_holder);
    assert_int_equal(holder->transaction_stack, site_at(found(KIND_SQLALCHEMY_TRANSACTION, &session)->site)->stack);
    assert_int_equal(holder->flags & (HANDLE_IN_TRANSACTION | HANDLE_WROTE), HANDLE_IN_TRANSACTION | HANDLE_WROTE);
    assert_string_equal(text_of(holder->last_sql), "UPDATE t SET a = ?");
}

#define WITH_SESSION(test) cmocka_unit_test_setup_teardown(test, session_opened, session_closed)
#define WITH_KIND(test) cmocka_unit_test_setup(test, connection_kind_fresh)

int main(void)
{
    char directory[] = "/tmp/unclosed-api-XXXXXX", options[128], command[128];
    if (!mkdtemp(directory))
        return 1;
    snprintf(options, sizeof(options), "dir=%s:report=off:scan=off", directory);
    setenv("UNCLOSED_OPTIONS", options, 1);
    options_read(&shim.options); /* the constructor ran before the environment was set */
    unclosed_adapter("early", "1", NULL);
    if (shim.trace.base) /* that alone begins no trace */
        return 1;
    unclosed_opened(ENGINE, &engine);
    unclosed_closed(ENGINE, &engine, UNCLOSED_EXPLICIT);
    const struct CMUnitTest tests[] = {
        WITH_KIND(without_a_cheap_key_threads_are_no_owners),
        cmocka_unit_test(the_table_has_every_function),
        WITH_SESSION(a_sessions_transaction_is_a_handle_of_its_own),
        WITH_SESSION(a_sessions_end_is_its_transactions),
        WITH_SESSION(a_checkouts_transaction_is_only_a_flag),
        WITH_SESSION(failure_is_seen_on_the_session_until_the_rollback),
        WITH_SESSION(use_after_failure_tells_what_had_failed),
        WITH_SESSION(the_longest_rest_in_a_transaction_is_noted),
        WITH_SESSION(a_rest_is_the_outermosts_and_noted_once),
        WITH_SESSION(the_end_and_the_close_end_a_rest),
        WITH_SESSION(a_long_statement_is_no_rest),
        WITH_KIND(a_request_may_learn_its_route_later),
        WITH_KIND(a_task_of_a_request_is_the_requests),
        WITH_KIND(owners_take_no_more_room_than_is_held),
        WITH_KIND(whom_a_fact_tells_of_is_kept),
        WITH_KIND(owners_are_freed_whoever_lets_go_last),
        WITH_KIND(a_thread_owns_what_it_opens_until_it_ends),
        WITH_KIND(the_first_thread_is_no_owner),
        WITH_KIND(the_program_knows_better),
        WITH_KIND(destructors_of_the_program_run_before_a_thread_has_ended),
        WITH_KIND(a_forked_child_inherits_no_owner),
        WITH_KIND(the_last_statement_is_kept_without_what_was_in_it),
        WITH_KIND(a_handle_has_so_many_details_and_no_more),
        WITH_KIND(what_is_noticed_is_one_fact_for_each_rule_and_place),
        WITH_KIND(adapters_are_told_to_every_trace),
        WITH_KIND(the_frame_is_what_it_was_before),
        WITH_SESSION(an_incident_tells_of_the_pool_that_was_asked),
        WITH_SESSION(an_incident_tells_of_the_sessions_transaction),
        WITH_SESSION(what_is_in_a_pool_is_the_pools),
    };
    int failed = cmocka_run_group_tests_name("api", tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command) == 0 ? failed : 1;
}
