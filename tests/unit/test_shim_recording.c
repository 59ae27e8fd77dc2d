/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorder from inside: what the trace holds after handles were opened, closed, shared and lost. Uses the public
 * functions of unclosed.h, and looks into the mapped trace as a reader would.
 */
#define UNCLOSED_EXPORTS
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unclosed/unclosed.h>
#include <unistd.h>

#include "handles.h"
#include "shim.h"

enum { THREADS = 4, ROUNDS = 2000 };

static unclosed_kind_id thing, part;
static char handles[64];

static struct trace_site *site_with(unclosed_kind_id kind, uint64_t opened)
{
    for (uint32_t i = 1; i < shim.trace.header->tables[TABLE_SITE].used; i++)
        if (site_at(i)->kind == kind && site_at(i)->opened == opened)
            return site_at(i);
    return NULL;
}

static struct trace_fact *fact_of(enum trace_fact_type type, unclosed_kind_id kind)
{
    for (uint32_t i = 1; i < shim.trace.header->tables[TABLE_FACT].used; i++) {
        struct trace_fact *fact = record_of(TABLE_FACT, i);
        if (fact->type == type && fact->kind == kind)
            return fact;
    }
    return NULL;
}

/* Each test has a kind of its own, so that it finds its own records. */
static int kind_fresh(void **state)
{
    static int number;
    char name[32];
    (void)state;
    snprintf(name, sizeof(name), "test.thing%d", ++number);
    thing = unclosed_kind(name, NULL);
    snprintf(name, sizeof(name), "test.part%d", number);
    part = unclosed_kind(name, NULL);
    return thing && part ? 0 : -1;
}

static uint64_t open_now(unclosed_kind_id kind)
{
    return atomic_load(&shim.trace.header->open[kind]);
}

static void opened_and_closed_handles_are_counted_where_they_were_opened(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        unclosed_opened(thing, &handles[i]);
    unclosed_closed(thing, &handles[1], UNCLOSED_EXPLICIT);
    struct trace_site *site = site_with(thing, 3);
    assert_non_null(site);
    assert_int_equal(site->closed, 1);
    assert_int_equal(site->open, 2);
    assert_int_equal(site->peak, 3);
    assert_int_equal(site->ended[ENDED_EXPLICIT], 1);
    assert_int_equal(open_now(thing), 2);
}

static void a_second_close_is_a_fact_with_three_stacks(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    struct trace_fact *fact = fact_of(FACT_CLOSED_TWICE, thing);
    assert_non_null(fact);
    assert_int_not_equal(fact->site, 0);
    assert_int_not_equal(fact->close_stack, 0);
    assert_int_not_equal(fact->stack, fact->close_stack);
    assert_int_equal(fact->count, 1);
}

static void a_use_after_the_close_is_a_fact_and_one_before_is_not(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_used(thing, &handles[0]);
    assert_null(fact_of(FACT_USED_AFTER_CLOSE, thing));
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    unclosed_used(thing, &handles[0]);
    assert_non_null(fact_of(FACT_USED_AFTER_CLOSE, thing));
}

static void an_address_that_is_taken_again_is_a_new_handle(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    unclosed_opened(thing, &handles[0]);
    unclosed_used(thing, &handles[0]);
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    assert_null(fact_of(FACT_CLOSED_TWICE, thing));
    assert_null(fact_of(FACT_USED_AFTER_CLOSE, thing));
    assert_int_equal(open_now(thing), 0);
}

static void a_handle_that_appears_where_one_is_open_replaces_it(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_opened(thing, &handles[0]);
    assert_int_equal(open_now(thing), 1);
    uint64_t replaced = 0;
    for (uint32_t i = 1; i < shim.trace.header->tables[TABLE_SITE].used; i++)
        replaced += site_at(i)->kind == thing ? site_at(i)->ended[ENDED_REPLACED] : 0;
    assert_int_equal(replaced, 1);
}

static void unknown_closes_are_only_counted(void **state)
{
    (void)state;
    uint64_t before = shim.trace.header->unknown_closes;
    unclosed_closed(thing, &handles[7], UNCLOSED_EXPLICIT);
    assert_int_equal(shim.trace.header->unknown_closes, before + 1);
    assert_null(fact_of(FACT_CLOSED_TWICE, thing));
}

static void children_outlive_their_parent_without_it(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_opened(part, &handles[1]);
    unclosed_parent(part, &handles[1], thing, &handles[0]);
    uint32_t child = handle_found(part, (uintptr_t)&handles[1]);
    assert_int_equal(handle_at(child)->parent, handle_found(thing, (uintptr_t)&handles[0]));
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    assert_int_equal(handle_at(child)->parent, 0);
    unclosed_closed(part, &handles[1], UNCLOSED_EXPLICIT);
    assert_int_equal(open_now(part), 0);
}

static void the_use_of_a_child_is_a_use_of_its_parent(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_opened(part, &handles[1]);
    unclosed_parent(part, &handles[1], thing, &handles[0]);
    struct trace_handle *parent = handle_at(handle_found(thing, (uintptr_t)&handles[0]));
    atomic_store(&parent->last_used, 0);
    atomic_store(&parent->last_thread, 0);
    unclosed_used(part, &handles[1]);
    assert_int_not_equal(parent->last_used, 0);
    assert_int_equal(parent->last_thread, gettid());
}

static void details_and_targets_belong_to_the_open_handle(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_target(thing, &handles[0], "redis://app:s3cret@cache/0");
    unclosed_detail(thing, &handles[0], "tenant", "a");
    unclosed_detail(thing, &handles[0], "tenant", "b");
    struct trace_handle *handle = handle_at(handle_found(thing, (uintptr_t)&handles[0]));
    struct trace_string *target = record_of(TABLE_STRING, handle->target);
    assert_string_equal(target->text, "redis://app:***@cache/0");
    struct trace_detail *detail = record_of(TABLE_DETAIL, handle->details);
    assert_string_equal(((struct trace_string *)record_of(TABLE_STRING, detail->value))->text, "b");
    assert_int_equal(detail->next, 0);
}

static void an_owner_keeps_its_slot_until_it_ended_and_holds_nothing(void **state)
{
    (void)state;
    unclosed_owner_id request = unclosed_owner_begin(UNCLOSED_REQUEST, "GET /orders", 0);
    assert_int_equal(unclosed_owner_enter(request), 0);
    unclosed_opened(thing, &handles[0]);
    assert_int_equal(unclosed_owner_enter(0), request);
    unclosed_owner_end(request, "returned");
    uint32_t slot = handle_at(handle_found(thing, (uintptr_t)&handles[0]))->owner;
    struct trace_owner *owner = record_of(TABLE_OWNER, slot);
    assert_int_equal(owner->state, RECORD_READY);
    assert_int_not_equal(owner->ended, 0);
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    assert_int_equal(owner->state, RECORD_FREE);
}

static void ignored_handles_are_marked(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_ignore(thing, &handles[0]);
    assert_true(handle_at(handle_found(thing, (uintptr_t)&handles[0]))->flags & HANDLE_IGNORED);
}

static void incidents_name_the_holders(void **state)
{
    (void)state;
    unclosed_opened(thing, &handles[0]);
    unclosed_opened(thing, &handles[1]);
    unclosed_incident("pool-exhausted", thing, "db", "QueuePool limit", 30000000000u);
    uint32_t number = (uint32_t)shim.trace.header->tables[TABLE_INCIDENT].used - 1;
    struct trace_incident *incident = record_of(TABLE_INCIDENT, number);
    assert_int_equal(incident->state, RECORD_READY);
    assert_int_equal(incident->holder_count, 2);
    assert_int_equal(incident->waited, 30000000000u);
}

static void nonsense_does_nothing_and_errno_stays(void **state)
{
    (void)state;
    errno = 77;
    unclosed_opened(0, &handles[0]);
    unclosed_opened(9999, &handles[0]);
    unclosed_opened(thing, NULL);
    unclosed_closed(thing, NULL, UNCLOSED_EXPLICIT);
    unclosed_closed(thing, &handles[0], (enum unclosed_ended)99);
    unclosed_detail(thing, &handles[0], "key", "value");
    unclosed_owner_end(12345, "never begun");
    unclosed_opened(thing, &handles[0]);
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    assert_int_equal(errno, 77);
    assert_int_equal(open_now(thing), 0);
}

static void *thread_works(void *mine)
{
    char *own = mine;
    for (int i = 0; i < ROUNDS; i++) {
        unclosed_opened(thing, own);
        unclosed_opened(part, own);
        unclosed_parent(part, own, thing, own);
        unclosed_detail(thing, own, "round", i % 2 ? "odd" : "even");
        unclosed_used(part, own);
        unclosed_closed(i % 2 ? part : thing, own, UNCLOSED_EXPLICIT);
        unclosed_closed(i % 2 ? thing : part, own, UNCLOSED_EXPLICIT);
    }
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_works, &handles[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(shim.trace.header->opened[thing], THREADS * ROUNDS);
    assert_int_equal(shim.trace.header->closed[part], THREADS * ROUNDS);
    assert_int_equal(open_now(thing), 0);
    assert_int_equal(open_now(part), 0);
}

static int in_the_child(void)
{
    uint64_t parents_open = atomic_load(&shim.trace.header->open[thing]);
    struct trace_header *parents = shim.trace.header;
    unclosed_used(thing, &handles[0]); /* inherited */
    unclosed_closed(thing, &handles[0], UNCLOSED_EXPLICIT);
    unclosed_closed(thing, &handles[9], UNCLOSED_EXPLICIT); /* never was */
    unclosed_opened(thing, &handles[1]);
    if (shim.trace.header == parents || atomic_load(&parents->open[thing]) != parents_open)
        return 1;
    if (!fact_of(FACT_USED_ELSEWHERE, thing) || !fact_of(FACT_CLOSED_ELSEWHERE, thing))
        return 2;
    if (fact_of(FACT_USED_ELSEWHERE, thing)->other_pid != getppid())
        return 3;
    if (open_now(thing) != 1 || shim.trace.header->unknown_closes != 1)
        return 4;
    return 0;
}

static void a_forked_child_has_a_trace_of_its_own(void **state)
{
    (void)state;
    int status;
    unclosed_opened(thing, &handles[0]);
    pid_t child = fork();
    if (child == 0)
        _exit(in_the_child());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(open_now(thing), 1);
}

int main(void)
{
    char directory[] = "/tmp/unclosed-recording-XXXXXX", options[128], command[128];
    if (!mkdtemp(directory))
        return 1;
    snprintf(options, sizeof(options), "dir=%s:report=off:scan=off:max_size=32m", directory);
    setenv("UNCLOSED_OPTIONS", options, 1);
    options_read(&shim.options); /* the constructor ran before the environment was set */
    shim.start = shim.end = 0;   /* we and the shim are one program here: no frame is the shim's own */
#define TEST(name) cmocka_unit_test_setup(name, kind_fresh)
    const struct CMUnitTest tests[] = {
        TEST(opened_and_closed_handles_are_counted_where_they_were_opened),
        TEST(a_second_close_is_a_fact_with_three_stacks),
        TEST(a_use_after_the_close_is_a_fact_and_one_before_is_not),
        TEST(an_address_that_is_taken_again_is_a_new_handle),
        TEST(a_handle_that_appears_where_one_is_open_replaces_it),
        TEST(unknown_closes_are_only_counted),
        TEST(children_outlive_their_parent_without_it),
        TEST(the_use_of_a_child_is_a_use_of_its_parent),
        TEST(details_and_targets_belong_to_the_open_handle),
        TEST(an_owner_keeps_its_slot_until_it_ended_and_holds_nothing),
        TEST(ignored_handles_are_marked),
        TEST(incidents_name_the_holders),
        TEST(nonsense_does_nothing_and_errno_stays),
        TEST(threads_lose_no_count),
        TEST(a_forked_child_has_a_trace_of_its_own),
    };
    int failed = cmocka_run_group_tests_name("recording", tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command) == 0 ? failed : 1;
}
