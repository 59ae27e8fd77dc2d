/* SPDX-License-Identifier: Apache-2.0 */
/* Which handles of the real SQLite are held, lost or in use, by where their addresses stand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <ucontext.h>

#include "scan_case.h"

/* Without glibc's malloc nothing is ever called lost, and of what is held not all is found. */
#define assert_reference(number, expected)                              \
    do {                                                                \
        if (MALLOC_IS_GLIBC)                                            \
            assert_int_equal(reference_of(number), expected);           \
        else                                                            \
            assert_int_not_equal(reference_of(number), REFERENCE_LOST); \
    } while (0)

static int case_begun(void **state)
{
    (void)state;
    scan_case.count = 0;
    scan_case.time_limit_ns = 0;
    scan_case.ignored = (struct scan_range){0};
    return 0;
}

/* --- places ------------------------------------------------------------------------------------------------------------ */

static void *global;
static _Thread_local void *thread_local_variable;
static struct node {
    struct node *next;
    void *handle;
    uint64_t more[3];
} * list;

static void a_handle_in_a_global_variable_is_held(void **state)
{
    (void)state;
    size_t handle = handle_stored(&global);
    scan_asked();
    if (MALLOC_IS_GLIBC) {
        assert_int_equal(scan_case.outcome, SCAN_DONE);
        assert_null(scan_case.reason);
    }
    assert_int_equal(reference_of(handle), REFERENCE_HELD);
    assert_int_equal(scan_case.answers[handle].through_handle, 0);
}

static void a_handle_that_nothing_refers_to_is_lost(void **state)
{
    (void)state;
    size_t lost[10];
    for (int i = 0; i < 10; i++)
        lost[i] = handle_lost();
    scan_asked();
    for (int i = 0; i < 10; i++)
        assert_reference(lost[i], REFERENCE_LOST);
}

static void a_handle_in_a_thread_local_variable_is_held(void **state)
{
    (void)state;
    size_t handle = handle_stored(&thread_local_variable);
    scan_asked();
    thread_local_variable = NULL;
    assert_reference(handle, REFERENCE_HELD);
}

static FAR struct node *node_made(struct node *next)
{
    struct node *node = calloc(1, sizeof(*node));
    handle_stored(&node->handle);
    node->next = next;
    return node;
}

static void handles_in_a_list_are_held_until_the_list_is_dropped(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        list = node_made(list);
    scan_asked();
    for (size_t i = 0; i < 20; i++)
        assert_reference(i, REFERENCE_HELD);
    list = NULL;
    scan_asked();
    for (size_t i = 0; i < 20; i++)
        assert_reference(i, REFERENCE_LOST);
}

static FAR void ring_dropped(void)
{
    struct node *first = node_made(NULL);
    first->next = node_made(node_made(first));
}

static void handles_in_a_ring_that_nothing_refers_to_are_lost(void **state)
{
    (void)state;
    ring_dropped();
    scan_asked();
    for (size_t i = 0; i < 3; i++)
        assert_reference(i, REFERENCE_LOST);
}

static void a_tagged_pointer_and_one_into_the_middle_count(void **state)
{
    (void)state;
    static volatile uintptr_t tagged, inner;
    size_t first = handle_stored(&tagged), second = handle_stored(&inner);
    tagged |= (uintptr_t)0xfff4 << 48 | 1;
    inner += 200;
    scan_asked();
    tagged = inner = 0;
    assert_reference(first, REFERENCE_HELD);
    assert_reference(second, REFERENCE_HELD);
}

static void a_handle_in_a_large_array_is_held_until_the_array_is_dropped(void **state)
{
    (void)state;
    static void **volatile array;
    array = malloc(1 << 20);
    memset(array, 0, 1 << 20);
    size_t handle = handle_stored(&array[100000]);
    scan_asked();
    assert_reference(handle, REFERENCE_HELD);
    array = NULL;
    scan_asked();
    assert_reference(handle, REFERENCE_LOST);
}

static void handles_in_mappings_of_the_programs_own_are_held(void **state)
{
    (void)state;
    size_t size = 1 << 20;
    void **shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void **private = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void **frozen = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t in_shared = handle_stored(&shared[70000]), in_private = handle_stored(&private[70000]);
    size_t in_frozen = handle_stored(&frozen[70000]);
    assert_int_equal(mprotect(frozen, size, PROT_READ), 0);
    scan_asked();
    munmap(shared, size);
    munmap(private, size);
    munmap(frozen, size);
    assert_reference(in_shared, REFERENCE_HELD);
    assert_reference(in_private, REFERENCE_HELD);
    assert_reference(in_frozen, REFERENCE_HELD);
}

static void ignored_memory_holds_nothing(void **state)
{
    (void)state;
    static void *ours[512];
    scan_case.ignored = (struct scan_range){(uintptr_t)ours, (uintptr_t)(ours + 512)};
    size_t handle = handle_stored(&ours[200]);
    scan_asked();
    memset(ours, 0, sizeof(ours));
    assert_reference(handle, REFERENCE_LOST);
}

static void what_is_no_address_stays_unknown(void **state)
{
    (void)state;
    static uintptr_t descriptor = 7;
    size_t number = asked_about(~descriptor), nothing = asked_about(~(uintptr_t)0), far_away = asked_about(1);
    scan_asked();
    assert_int_equal(reference_of(number), REFERENCE_UNKNOWN);
    assert_int_equal(reference_of(nothing), REFERENCE_UNKNOWN);
    assert_int_equal(reference_of(far_away), REFERENCE_UNKNOWN);
    if (MALLOC_IS_GLIBC)
        assert_int_equal(scan_case.outcome, SCAN_NOT_POSSIBLE);
}

static void a_handle_that_is_a_variable_is_held(void **state)
{
    (void)state;
    static char variable[64];
    char local[64] = {0};
    size_t in_module = asked_about(~(uintptr_t)variable), on_stack = asked_about(~(uintptr_t)local);
    scan_asked();
    assert_int_equal(reference_of(in_module), REFERENCE_HELD);
    assert_int_equal(reference_of(on_stack), REFERENCE_HELD);
}

/* --- freed memory -------------------------------------------------------------------------------------------------------- */

static FAR void stored_in(struct node **nodes, int count)
{
    for (int i = 0; i < count; i++) {
        nodes[i] = malloc(sizeof(struct node));
        handle_stored(&nodes[i]->more[1]);
    }
}

static FAR void freed(struct node **nodes, int count)
{
    for (int i = 0; i < count; i++)
        free(nodes[i]);
}

/* Seven go to the thread's cache, the others to the fast bin of their size. */
static void handles_in_freed_blocks_are_lost(void **state)
{
    (void)state;
    static struct node *nodes[20];
    stored_in(nodes, 20);
    scan_asked();
    for (size_t i = 0; i < 20; i++)
        assert_reference(i, REFERENCE_HELD);
    freed(nodes, 20);
    scan_asked();
    memset(nodes, 0, sizeof(nodes));
    for (size_t i = 0; i < 20; i++)
        assert_reference(i, REFERENCE_LOST);
}

static void a_handle_in_a_freed_array_is_lost(void **state)
{
    (void)state;
    static void **volatile array, **volatile after;
    array = calloc(5000, sizeof(*array));
    after = calloc(1, sizeof(*after));
    size_t handle = handle_stored(&array[2500]);
    scan_asked();
    assert_reference(handle, REFERENCE_HELD);
    free(array);
    scan_asked();
    array = NULL;
    assert_reference(handle, REFERENCE_LOST);
    free(after);
}

static void a_freed_handle_is_neither_held_nor_lost(void **state)
{
    (void)state;
    static void *volatile block;
    block = malloc(800);
    size_t handle = asked_about(~(uintptr_t)block);
    free(block);
    scan_asked();
    block = NULL;
    assert_int_not_equal(reference_of(handle), REFERENCE_LOST);
    assert_reference(handle, REFERENCE_UNKNOWN);
}

/* --- stacks and registers --------------------------------------------------------------------------------------------------- */

static FAR void words_left_on_the_stack(int depth)
{
    void *volatile words[200];
    handle_stored(&words[depth % 200]);
    if (depth)
        words_left_on_the_stack(depth - 1);
    words[0] = NULL;
}

static void stale_words_below_the_stack_pointer_hide_nothing(void **state)
{
    (void)state;
    words_left_on_the_stack(5);
    scan_asked_by_wrapper();
    for (size_t i = 0; i < 6; i++)
        assert_reference(i, REFERENCE_LOST);
}

static void a_local_variable_of_the_caller_is_a_root_even_in_a_register(void **state)
{
    (void)state;
    void *local = NULL;
    size_t on_stack = handle_stored(&local);
    register uintptr_t variable = handle_opened_hidden();
    size_t in_register = asked_about(variable);
    variable = ~variable;
    __asm__ volatile("" : "+r"(variable));
    scan_asked();
    __asm__ volatile("" ::"r"(variable), "m"(local));
    assert_reference(on_stack, REFERENCE_HELD);
    assert_reference(in_register, REFERENCE_HELD);
}

static sem_t ready;
static int pipe_ends[2];

static FAR void awaited(void)
{
    char byte;
    sem_post(&ready);
    if (read(pipe_ends[0], &byte, 1) < 0)
        abort();
}

static void *holds_and_sleeps(void *unused)
{
    void *volatile handle;
    (void)unused;
    handle_stored(&handle);
    awaited();
    return NULL;
}

static void *forgets_and_sleeps(void *unused)
{
    words_left_on_the_stack(3);
    awaited();
    return unused;
}

static atomic_bool stop;
static FAR void spins_with(uintptr_t hidden)
{
    register uintptr_t variable __asm__("r13") = 0;
    __asm__ volatile("mov %1, %0\n not %0" : "=r"(variable) : "r"(hidden));
    sem_post(&ready);
    while (!atomic_load(&stop))
        __asm__ volatile("pause" : "+r"(variable));
}

static void *holds_in_a_register(void *unused)
{
    size_t number = handle_lost();
    stack_below_cleared();
    spins_with(scan_case.hidden[number]);
    return unused;
}

static void thread_begun(pthread_t *thread, void *(*function)(void *))
{
    if (!pipe_ends[0] && (pipe(pipe_ends) != 0 || sem_init(&ready, 0, 0) != 0))
        abort();
    assert_int_equal(pthread_create(thread, NULL, function, NULL), 0);
    sem_wait(&ready);
    usleep(20000);
}

static void thread_ended(pthread_t thread)
{
    atomic_store(&stop, true);
    assert_int_equal(write(pipe_ends[1], "", 1), 1);
    pthread_join(thread, NULL);
}

static void a_handle_on_the_stack_of_a_sleeping_thread_is_held(void **state)
{
    (void)state;
    pthread_t thread;
    thread_begun(&thread, holds_and_sleeps);
    scan_asked();
    thread_ended(thread);
    assert_reference(0, REFERENCE_HELD);
}

static void what_a_live_thread_used_last_is_in_use_and_never_lost(void **state)
{
    (void)state;
    pthread_t thread;
    thread_begun(&thread, forgets_and_sleeps);
    scan_asked();
    uint32_t self = (uint32_t)gettid();
    for (size_t i = 0; i < scan_case.count; i++)
        assert_reference(i, REFERENCE_IN_USE);
    for (size_t i = 0; i < scan_case.count; i++)
        scan_case.threads[i] = self;
    scan_asked();
    thread_ended(thread);
    for (size_t i = 0; i < scan_case.count; i++)
        assert_reference(i, REFERENCE_LOST);
}

static void a_handle_in_a_register_of_a_running_thread_is_in_use(void **state)
{
    (void)state;
    pthread_t thread;
    atomic_store(&stop, false);
    thread_begun(&thread, holds_in_a_register);
    scan_asked();
    char byte;
    thread_ended(thread);
    assert_int_equal(read(pipe_ends[0], &byte, 1), 1);
    if (MALLOC_IS_GLIBC)
        assert_int_not_equal(reference_of(0), REFERENCE_LOST);
    assert_reference(0, REFERENCE_IN_USE);
}

static void *holds_and_returns(void *unused)
{
    void *volatile handles[4];
    for (int i = 0; i < 4; i++)
        handle_stored(&handles[i]);
    return unused;
}

/* glibc keeps the stack of a thread that has ended for the next one, with all that stood on it. */
static void handles_of_a_thread_that_has_ended_are_lost(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, holds_and_returns, NULL), 0);
    pthread_join(thread, NULL);
    scan_asked();
    for (size_t i = 0; i < 4; i++)
        assert_reference(i, REFERENCE_LOST);
}

static void *many_opened(void *place)
{
    struct node **kept = place;
    for (int i = 0; i < 50; i++)
        handle_lost();
    for (int i = 0; i < 50; i++)
        *kept = node_made(*kept);
    return NULL;
}

static void handles_from_the_heaps_of_other_threads_are_told_apart(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, many_opened, &list), 0);
        pthread_join(thread, NULL);
    }
    scan_asked();
    list = NULL;
    for (size_t i = 0; i < 400; i++)
        assert_reference(i, i % 100 < 50 ? REFERENCE_LOST : REFERENCE_HELD);
}

static ucontext_t main_context, coroutine_context;

static void coroutine(void)
{
    void *volatile handle;
    handle_stored(&handle);
    swapcontext(&coroutine_context, &main_context);
}

static void a_handle_on_the_stack_of_a_coroutine_is_held(void **state)
{
    (void)state;
    size_t size = 256 << 10;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    getcontext(&coroutine_context);
    coroutine_context.uc_stack.ss_sp = stack;
    coroutine_context.uc_stack.ss_size = size;
    makecontext(&coroutine_context, coroutine, 0);
    swapcontext(&main_context, &coroutine_context);
    scan_asked();
    munmap(stack, size);
    assert_reference(0, REFERENCE_HELD);
}

static void *volatile *in_low_memory;

static void coroutine_asks(void)
{
    scan_asked();
    swapcontext(&coroutine_context, &main_context);
}

static void whoever_asks_from_a_coroutine_does_not_hide_memory_below_it(void **state)
{
    (void)state;
    static char stack[256 << 10];
    in_low_memory = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    handle_stored(&in_low_memory[5000]);
    getcontext(&coroutine_context);
    coroutine_context.uc_stack.ss_sp = stack;
    coroutine_context.uc_stack.ss_size = sizeof(stack);
    makecontext(&coroutine_context, coroutine_asks, 0);
    swapcontext(&main_context, &coroutine_context);
    munmap((void *)in_low_memory, 65536);
    assert_reference(0, REFERENCE_HELD);
}

static void *asks(void *unused)
{
    void *volatile local;
    handle_stored(&local);
    words_left_on_the_stack(3);
    scan_asked_by_wrapper();
    return unused;
}

static void a_thread_that_asks_sees_variables_of_its_own_and_of_main(void **state)
{
    (void)state;
    void *volatile local;
    pthread_t thread;
    handle_stored(&local);
    assert_int_equal(pthread_create(&thread, NULL, asks, NULL), 0);
    pthread_join(thread, NULL);
    assert_reference(0, REFERENCE_HELD);
    assert_reference(1, REFERENCE_HELD);
    for (size_t i = 2; i < 6; i++)
        assert_reference(i, REFERENCE_LOST);
}

/* --- handles that lead to handles -------------------------------------------------------------------------------------------- */

static FAR size_t statement_lost(void *connection)
{
    int (*config)(void *, int, ...) = (int (*)(void *, int, ...))sqlite_function("sqlite3_db_config");
    int (*prepare)(void *, const char *, int, void **, const char **) =
        (int (*)(void *, const char *, int, void **, const char **))sqlite_function("sqlite3_prepare_v2");
    void *statement;
    assert_int_equal(config(connection, 1001 /* SQLITE_DBCONFIG_LOOKASIDE */, NULL, 0, 0), 0);
    assert_int_equal(prepare(connection, "select 1", -1, &statement, NULL), 0);
    return asked_about(~(uintptr_t)statement);
}

static void a_forgotten_statement_is_held_by_its_connection_only(void **state)
{
    (void)state;
    size_t connection = handle_stored(&global), statement = statement_lost(global);
    scan_asked();
    assert_reference(connection, REFERENCE_HELD);
    assert_reference(statement, REFERENCE_HELD);
    assert_int_equal(scan_case.answers[connection].through_handle, 0);
    if (MALLOC_IS_GLIBC)
        assert_int_equal(scan_case.answers[statement].through_handle, 1);
    global = NULL;
    scan_asked();
    assert_reference(connection, REFERENCE_LOST);
    assert_reference(statement, REFERENCE_LOST);
}

static FAR size_t kept_node_made(void)
{
    list = node_made(NULL);
    return scan_case.count - 1;
}

enum { BLOCKS = 20000 };
void *many[BLOCKS];

static void twenty_thousand_handles_are_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < BLOCKS; i++) {
        void *block = malloc(100 + i % 700);
        memset(block, 0, 100);
        asked_about(~(uintptr_t)block);
        many[i] = i % 3 ? block : NULL;
    }
    size_t node = kept_node_made();
    scan_asked();
    list = NULL;
    assert_reference(node, REFERENCE_HELD);
    for (size_t i = 10; i < BLOCKS; i++)
        if (MALLOC_IS_GLIBC && reference_of(i) != (i % 3 ? REFERENCE_HELD : REFERENCE_LOST))
            fail_msg("block %zu: %d", i, reference_of(i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_handle_in_a_global_variable_is_held, case_begun),
        cmocka_unit_test_setup(a_handle_that_nothing_refers_to_is_lost, case_begun),
        cmocka_unit_test_setup(a_handle_in_a_thread_local_variable_is_held, case_begun),
        cmocka_unit_test_setup(handles_in_a_list_are_held_until_the_list_is_dropped, case_begun),
        cmocka_unit_test_setup(handles_in_a_ring_that_nothing_refers_to_are_lost, case_begun),
        cmocka_unit_test_setup(a_tagged_pointer_and_one_into_the_middle_count, case_begun),
        cmocka_unit_test_setup(a_handle_in_a_large_array_is_held_until_the_array_is_dropped, case_begun),
        cmocka_unit_test_setup(handles_in_mappings_of_the_programs_own_are_held, case_begun),
        cmocka_unit_test_setup(ignored_memory_holds_nothing, case_begun),
        cmocka_unit_test_setup(what_is_no_address_stays_unknown, case_begun),
        cmocka_unit_test_setup(a_handle_that_is_a_variable_is_held, case_begun),
        cmocka_unit_test_setup(handles_in_freed_blocks_are_lost, case_begun),
        cmocka_unit_test_setup(a_handle_in_a_freed_array_is_lost, case_begun),
        cmocka_unit_test_setup(a_freed_handle_is_neither_held_nor_lost, case_begun),
        cmocka_unit_test_setup(stale_words_below_the_stack_pointer_hide_nothing, case_begun),
        cmocka_unit_test_setup(a_local_variable_of_the_caller_is_a_root_even_in_a_register, case_begun),
        cmocka_unit_test_setup(a_handle_on_the_stack_of_a_sleeping_thread_is_held, case_begun),
        cmocka_unit_test_setup(what_a_live_thread_used_last_is_in_use_and_never_lost, case_begun),
        cmocka_unit_test_setup(a_handle_in_a_register_of_a_running_thread_is_in_use, case_begun),
        cmocka_unit_test_setup(handles_of_a_thread_that_has_ended_are_lost, case_begun),
        cmocka_unit_test_setup(handles_from_the_heaps_of_other_threads_are_told_apart, case_begun),
        cmocka_unit_test_setup(a_handle_on_the_stack_of_a_coroutine_is_held, case_begun),
        cmocka_unit_test_setup(whoever_asks_from_a_coroutine_does_not_hide_memory_below_it, case_begun),
        cmocka_unit_test_setup(a_thread_that_asks_sees_variables_of_its_own_and_of_main, case_begun),
        cmocka_unit_test_setup(a_forgotten_statement_is_held_by_its_connection_only, case_begun),
        cmocka_unit_test_setup(twenty_thousand_handles_are_told_apart, case_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
