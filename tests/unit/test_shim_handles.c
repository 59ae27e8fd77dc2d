/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles where threads meet, and where the trace is full: nobody is left open, nothing is said that did not happen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handles.h"
#include "owners.h"
#include "shim.h"

enum { ROUNDS = 20000 };

static const enum kind CONNECTION = KIND_SQLITE3_CONNECTION, STATEMENT = KIND_SQLITE3_STATEMENT,
                       TRANSACTION = KIND_SQLITE3_TRANSACTION;

static char places[64];
static pthread_barrier_t barrier;

static uintptr_t address_of(int place)
{
    return (uintptr_t)&places[16 * place];
}

static uint32_t opened_at(enum kind kind, uintptr_t address, uint32_t parent)
{
    return handle_opened(kind, address, STACK_OTHER, &(struct opening){.parent = parent, .function = "test"});
}

static void closed_at(enum kind kind, uintptr_t address)
{
    uint32_t slot = handle_closing(kind, address, STACK_OTHER);
    if (slot)
        handle_finished(slot, ENDED_EXPLICIT);
    else
        stranger_closed(kind, address, STACK_OTHER, "test");
}

static uint64_t facts_of(enum trace_fact_type type)
{
    uint64_t count = 0;
    for (uint32_t i = 1; i < shim.trace.header->tables[TABLE_FACT].used; i++) {
        const struct trace_fact *fact = record_of(TABLE_FACT, i);
        count += fact->type == type ? fact->count : 0;
    }
    return count;
}

static uint64_t open_now(enum kind kind)
{
    return atomic_load(&shim.trace.header->open[kind]);
}

static void *in_a_thread(void *work)
{
    thread.busy = 1; /* as in the guard */
    ((void (*)(void))work)();
    return NULL;
}

static void met(void (*one)(void), void (*other)(void))
{
    pthread_t first, second;
    pthread_barrier_init(&barrier, NULL, 2);
    assert_int_equal(pthread_create(&first, NULL, in_a_thread, (void *)one), 0);
    assert_int_equal(pthread_create(&second, NULL, in_a_thread, (void *)other), 0);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    pthread_barrier_destroy(&barrier);
}

/* --- a zombie ends with its last child, whoever is first ------------------------------------------------------------------- */

static void connections_opened_and_closed(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t connection = opened_at(CONNECTION, address_of(0), 0);
        opened_at(STATEMENT, address_of(1), connection);
        pthread_barrier_wait(&barrier);
        uint32_t slot = handle_closing(CONNECTION, address_of(0), STACK_OTHER);
        if (children_alive(slot))
            handle_made_zombie(slot, "test", ENDED_EXPLICIT);
        else
            handle_finished(slot, ENDED_EXPLICIT);
        pthread_barrier_wait(&barrier);
    }
}

static void statements_closed(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&barrier);
        for (volatile int wait = 0; wait < i % 400; wait++)
            ;
        closed_at(STATEMENT, address_of(1));
        pthread_barrier_wait(&barrier);
    }
}

static void zombies_end_with_their_last_child(void **state)
{
    (void)state;
    met(connections_opened_and_closed, statements_closed);
    assert_int_equal(open_now(CONNECTION), 0);
    assert_int_equal(open_now(STATEMENT), 0);
    assert_int_equal(shim.trace.header->closed[CONNECTION], ROUNDS);
    struct trace_site *site = site_at(site_of(CONNECTION, STACK_OTHER));
    assert_int_equal(site->ended[ENDED_EXPLICIT], ROUNDS);
}

/* --- two threads share a connection ------------------------------------------------------------------------------------------ */

static uint32_t shared;

static void transactions_seen(void)
{
    const struct caller nobody = {0};
    for (int i = 0; i < ROUNDS; i++)
        transaction_seen(TRANSACTION, shared, &(struct transaction_state){.open = i % 2 == 0, .wrote = true}, &nobody);
}

static void a_shared_connections_transaction_is_never_anothers(void **state)
{
    (void)state;
    shared = opened_at(CONNECTION, address_of(0), 0);
    uint32_t other = opened_at(STATEMENT, address_of(1), 0);
    met(transactions_seen, transactions_seen);
    closed_at(CONNECTION, address_of(0));
    assert_int_equal(open_now(TRANSACTION), 0);
    assert_int_equal(atomic_load(&handle_at(other)->flags), 0);
    closed_at(STATEMENT, address_of(1));
}

/* --- priorities --------------------------------------------------------------------------------------------------------------- */

static spinlock lock;
static sem_t wanted;

static void prioritised(int priority)
{
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    if (sched_setaffinity(0, sizeof(first), &first) != 0 ||
        sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = priority}) != 0)
        _exit(77);
}

static void *urgent(void *unused)
{
    (void)unused;
    prioritised(2);
    sem_wait(&wanted);
    locked(&lock); /* held by one that this thread does not let run */
    unlocked(&lock);
    return NULL;
}

static void urgency_met(void)
{
    pthread_t thread;
    alarm(10);
    sem_init(&wanted, 0, 0);
    pthread_create(&thread, NULL, urgent, NULL);
    usleep(50000);
    prioritised(1);
    locked(&lock);
    sem_post(&wanted); /* at once it runs instead of this thread */
    unlocked(&lock);
    pthread_join(thread, NULL);
    _exit(0);
}

static void a_lock_is_left_to_a_less_urgent_thread(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    if (child == 0)
        urgency_met();
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* only root may ask for priorities */
    assert_int_equal(status, 0);
}

/* --- secrets ------------------------------------------------------------------------------------------------------------------- */

static const char *text_of(uint32_t string)
{
    return ((const struct trace_string *)record_of(TABLE_STRING, string))->text;
}

static void labels_and_details_lose_their_secrets(void **state)
{
    (void)state;
    uint64_t id = owner_began(OWNER_REQUEST, "GET /orders?token=s3cret", 0);
    const struct trace_owner *owner = record_of(TABLE_OWNER, id & 0xffffff);
    assert_string_equal(text_of(owner->label), "GET /orders?token=***");
    uint32_t connection = opened_at(CONNECTION, address_of(0), 0);
    detail_set(connection, "url", "mysql://app:s3cret@db/x");
    const struct trace_detail *detail = record_of(TABLE_DETAIL, handle_at(connection)->details);
    assert_string_equal(text_of(detail->value), "mysql://app:***@db/x");
    closed_at(CONNECTION, address_of(0));
}

/* --- no room ------------------------------------------------------------------------------------------------------------------- */

/* Last: the trace is full afterwards. */
static void what_could_not_be_recorded_is_not_closed_twice(void **state)
{
    (void)state;
    uint64_t twice = facts_of(FACT_CLOSED_TWICE);
    opened_at(CONNECTION, address_of(2), 0);
    closed_at(CONNECTION, address_of(2));
    for (uintptr_t address = 4096; opened_at(STATEMENT, address, 0); address += 16)
        ;
    uintptr_t address = UINTPTR_MAX / 2; /* the slots that closed handles left */
    for (int failed = 0; failed < 100000; address += 16)
        failed += !opened_at(STATEMENT, address, 0);
    assert_int_equal(opened_at(CONNECTION, address_of(2), 0), 0);
    closed_at(CONNECTION, address_of(2));
    assert_int_equal(facts_of(FACT_CLOSED_TWICE), twice);
    closed_at(CONNECTION, address_of(2)); /* nobody can know */
    assert_int_equal(facts_of(FACT_CLOSED_TWICE), twice);
}

int main(void)
{
    char directory[] = "/tmp/unclosed-handles-XXXXXX", options[128], command[128];
    if (!mkdtemp(directory))
        return 1;
    snprintf(options, sizeof(options), "dir=%s:report=off:scan=off:max_size=4m", directory);
    setenv("UNCLOSED_OPTIONS", options, 1);
    options_read(&shim.options); /* the constructor ran before the environment was set */
    if (!is_recording() || !guard_entered())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zombies_end_with_their_last_child),
        cmocka_unit_test(a_shared_connections_transaction_is_never_anothers),
        cmocka_unit_test(a_lock_is_left_to_a_less_urgent_thread),
        cmocka_unit_test(labels_and_details_lose_their_secrets),
        cmocka_unit_test(what_could_not_be_recorded_is_not_closed_twice),
    };
    int failed = cmocka_run_group_tests_name("handles", tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command) == 0 ? failed : 1;
}
