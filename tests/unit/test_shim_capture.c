/* SPDX-License-Identifier: Apache-2.0 */
/* Stack capture against libgcc's unwinder, over everything that compilers, libraries and programs do to a stack. */
#include <dlfcn.h>
#include <link.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "call_shapes.h"
#include "capture.h"
#include "eh_frame.h"
#include "stack_reference.h"

/* Only the stack itself, of any thread. */
static uint32_t stack_copied(const struct native_stack *stack, void *copy)
{
    memcpy(copy, stack, sizeof *stack);
    return 0;
}

OUT_OF_LINE static void stack_here(struct native_stack *stack, unsigned depth_limit)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    capture_stack(&from, depth_limit, 0, stack_copied, stack);
    assert_int_not_equal(from.return_address, 0);
}

/* --- random call trees ------------------------------------------------------------------------------------------------ */

struct tally {
    uint64_t captures, interned, wrong, truncated;
    uint64_t epoch;
};

OUT_OF_LINE static void stack_compared(struct run *run)
{
    struct tally *tally = run->visitor;
    struct caller from = CALLER_OF_THIS_FUNCTION();
    struct reference reference;
    uint32_t id = capture_stack(&from, CAPTURE_DEPTH_MAX, tally->epoch, stack_interned, &tally->interned);
    stack_referred(&from, &reference);
    tally->captures++;
    tally->wrong += !is_same_stack(stack_of(id), &reference.stack);
    tally->truncated += stack_of(id)->truncated;
}

static struct tally random_trees_compared(uint64_t seed, uint64_t captures)
{
    struct tally tally = {.epoch = 1};
    struct run run;
    run_prepared(&run, seed);
    run.visit = stack_compared;
    run.visitor = &tally;
    while (tally.captures < captures)
        random_script_run(&run);
    run_released(&run);
    return tally;
}

static void random_trees_agree_with_libgcc(void **state)
{
    (void)state;
    struct tally tally = random_trees_compared(1, 400000);
    print_message("%lu captures, %lu remembered, %u stacks\n", tally.captures, tally.captures - tally.interned,
                  interned.count);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.truncated, 0);
    assert_in_range(tally.captures - tally.interned, HAS_OWN_STACK_ONLY ? 20000 : 100000, 400000);
    assert_in_range(interned.count, 500, STACKS_MAX);
}

struct worker {
    pthread_t thread;
    uint64_t seed;
    struct tally tally;
};

static void *trees_compared_in_thread(void *argument)
{
    struct worker *worker = argument;
    worker->tally = random_trees_compared(worker->seed, 10000);
    return NULL;
}

static void threads_share_what_is_remembered(void **state)
{
    enum { THREADS = 4, ROUNDS = 6 }; /* stacks of threads that have ended are used again by the next */
    uint64_t captures = 0, remembered = 0;
    (void)state;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct worker workers[THREADS];
        for (uint64_t i = 0; i < THREADS; i++) {
            workers[i].seed = 2 + (round + i) % THREADS;
            pthread_create(&workers[i].thread, NULL, trees_compared_in_thread, &workers[i]);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(workers[i].thread, NULL);
            assert_int_equal(workers[i].tally.wrong, 0);
            assert_int_equal(workers[i].tally.truncated, 0);
            captures += workers[i].tally.captures;
            remembered += workers[i].tally.captures - workers[i].tally.interned;
        }
    }
    print_message("%lu captures, %lu remembered\n", captures, remembered);
    assert_in_range(remembered, HAS_OWN_STACK_ONLY ? 5000 : 20000, captures);
}

/* --- what is remembered ----------------------------------------------------------------------------------------------- */

static uint64_t interned_count;

OUT_OF_LINE static uint32_t captured(uint64_t epoch, unsigned depth_limit)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    return capture_stack(&from, depth_limit, epoch, stack_interned, &interned_count);
}

/* The loops' counters are volatile for the sake of one call place. */
static void another_epoch_is_interned_anew(void **state)
{
    static const uint64_t epochs[] = {71, 71, 72, 72, 71}, interned_after[] = {1, 1, 2, 2, 2};
    uint32_t ids[5];
    (void)state;
    interned_count = 0;
    for (volatile int i = 0; i < 5; i++) {
        ids[i] = captured(epochs[i], CAPTURE_DEPTH_MAX);
        assert_int_equal(interned_count, interned_after[i]);
        assert_int_equal(ids[i], ids[0]);
    }
}

static void unloading_forgets(void **state)
{
    (void)state;
    interned_count = 0;
    for (volatile int i = 0; i < 3; i++) {
        captured(73, CAPTURE_DEPTH_MAX);
        capture_modules_unloaded();
    }
    assert_int_equal(interned_count, 3);
}

/* Frames of the same size: the stacks differ in one return address. */
OUT_OF_LINE static uint32_t captured_in_between(unsigned depth_limit)
{
    uint32_t id = captured(74, depth_limit);
    return id + !id;
}

OUT_OF_LINE static uint32_t captured_under_one(unsigned depth_limit)
{
    uint32_t id = captured_in_between(depth_limit);
    return id + !id;
}

OUT_OF_LINE static uint32_t captured_under_other(unsigned depth_limit)
{
    uint32_t id = captured_in_between(depth_limit);
    return id + 2 * !id;
}

static void each_frame_within_the_limit_counts_and_no_other(void **state)
{
    enum { LIMITS = 4, DIFFERENT = 2 };
    uint32_t (*const under[])(unsigned) = {captured_under_one, captured_under_other};
    uint32_t ids[LIMITS][2];
    (void)state;
    interned_count = 0;
    for (volatile unsigned limit = 0; limit < LIMITS; limit++)
        for (volatile int repeated = 0; repeated < 2; repeated++)
            for (volatile int i = 0; i < 2; i++)
                ids[limit][i] = under[i](limit);
    for (unsigned limit = 0; limit < LIMITS; limit++) {
        assert_int_equal(ids[limit][0] != ids[limit][1], limit >= DIFFERENT);
        assert_int_equal(stack_of(ids[limit][0])->count, limit);
    }
    assert_int_equal(interned_count, DIFFERENT + 2 * (LIMITS - DIFFERENT));
}

static uint32_t refused(const struct native_stack *stack, void *count)
{
    ++*(uint64_t *)count;
    return stack->count == 0;
}

OUT_OF_LINE static uint32_t captured_and_refused(uint64_t *count)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    return capture_stack(&from, CAPTURE_DEPTH_MAX, 1, refused, count);
}

static void no_id_is_not_remembered(void **state)
{
    uint64_t count = 0;
    (void)state;
    for (volatile int i = 0; i < 3; i++)
        assert_int_equal(captured_and_refused(&count), 0);
    assert_int_equal(count, 3);
}

/* Same return address, same stack pointer, other frames around: told apart by a saved frame pointer alone. */
static uint32_t id_in_frame;

OUT_OF_LINE static void with_frame_of(size_t bytes)
{
    volatile char variable[bytes];
    variable[0] = 1;
    id_in_frame = captured(81, CAPTURE_DEPTH_MAX);
    variable[0]++;
}

OUT_OF_LINE static void with_small_frame_around(size_t bytes)
{
    volatile char variables[64] = {1};
    with_frame_of(bytes);
    variables[0]++;
}

OUT_OF_LINE static void with_large_frame_around(size_t bytes)
{
    volatile char variables[512] = {1};
    with_frame_of(bytes);
    variables[0]++;
}

static void same_place_with_other_frames_is_told_apart(void **state)
{
    void (*const around[])(size_t) = {with_small_frame_around, with_large_frame_around};
    uint32_t ids[2] = {0, 0};
    (void)state;
    for (volatile int repeated = 0; repeated < 2; repeated++)
        for (volatile size_t bytes = 16; bytes <= 1024; bytes += 16)
            for (volatile int i = 0; i < 2; i++) {
                around[i](bytes);
                if (ids[i] == 0)
                    ids[i] = id_in_frame;
                assert_int_equal(id_in_frame, ids[i]);
                assert_int_not_equal(id_in_frame, ids[1 - i]);
            }
}

/* --- ends of stacks --------------------------------------------------------------------------------------------------- */

static void depth_limit_truncates(void **state)
{
    struct native_stack whole, limited;
    (void)state;
    stack_here(&whole, CAPTURE_DEPTH_MAX);
    assert_false(whole.truncated);
    for (unsigned limit = 0; limit <= whole.count + 1; limit++) {
        stack_here(&limited, limit);
        assert_int_equal(limited.count, limit < whole.count ? limit : whole.count);
        assert_int_equal(limited.truncated, limit < whole.count);
        if (limit > 1)
            assert_memory_equal(&limited.pc[1], &whole.pc[1], (limited.count - 1) * sizeof limited.pc[0]);
    }
}

OUT_OF_LINE static int captured_below(int levels, struct native_stack *stack)
{
    volatile int kept = levels;
    if (levels == 0)
        stack_here(stack, 1000000);
    else
        captured_below(levels - 1, stack);
    return kept;
}

static void depth_has_a_maximum(void **state)
{
    struct native_stack stack;
    (void)state;
    captured_below(2 * CAPTURE_DEPTH_MAX, &stack);
    assert_int_equal(stack.count, CAPTURE_DEPTH_MAX);
    assert_true(stack.truncated);
}

static struct native_stack in_constructor;

__attribute__((constructor)) static void stack_captured_before_main(void)
{
    stack_here(&in_constructor, CAPTURE_DEPTH_MAX);
}

static void constructor_stack_is_complete(void **state)
{
    (void)state;
    assert_in_range(in_constructor.count, 2, 10);
    assert_false(in_constructor.truncated);
}

/* From where the loader calls the constructors of libraries, before any function of libc has begun. */
static void loader_is_outermost(void **state)
{
    const ElfW(Ehdr) *loader = (const void *)getauxval(AT_BASE);
    (void)state;
    assert_non_null(loader);
    assert_int_equal(frame_rule_at((uintptr_t)loader + loader->e_entry).kind, FRAME_OUTERMOST);
}

typedef void callback(void *argument);

static void captured_by_callback(void *stack)
{
    stack_here(stack, CAPTURE_DEPTH_MAX);
    ((volatile struct native_stack *)stack)->count += 0; /* no tail call */
}

/* Calls its first argument with its second and the third in the frame pointer, and has no unwind tables. */
void function_without_tables(callback *called, void *argument, const void *frame_pointer);
__asm__(".text\n"
        ".type function_without_tables, @function\n"
        "function_without_tables:\n"
        "push %rbp\n"
        "mov %rdx, %rbp\n"
        "mov %rdi, %rax\n"
        "mov %rsi, %rdi\n"
        "call *%rax\n"
        "pop %rbp\n"
        "ret\n"
        "function_without_tables_end:\n"
        ".size function_without_tables, . - function_without_tables\n");
extern const char function_without_tables_end[];
static const void *const garbage = (const void *)0x5ca1ab1e0badf00d;

static void ends_at_code_without_tables(const struct native_stack *stack, uintptr_t begin, uintptr_t end)
{
    assert_int_equal(stack->count, 2);
    assert_true(stack->truncated);
    assert_in_range(stack->pc[1], begin, end);
}

static void code_without_tables_ends_the_stack(void **state)
{
    struct native_stack stack;
    (void)state;
    function_without_tables(captured_by_callback, &stack, garbage);
    ends_at_code_without_tables(&stack, (uintptr_t)function_without_tables, (uintptr_t)function_without_tables_end);
}

static void generated_code_ends_the_stack(void **state)
{
    struct native_stack stack;
    size_t size = (size_t)(function_without_tables_end - (const char *)function_without_tables);
    char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)state;
    assert_ptr_not_equal(code, MAP_FAILED);
    memcpy(code, (const void *)function_without_tables, size);
    for (int i = 0; i < 3; i++) {
        ((void (*)(callback *, void *, const void *))code)(captured_by_callback, &stack, garbage);
        ends_at_code_without_tables(&stack, (uintptr_t)code, (uintptr_t)code + size);
    }
    munmap(code, 4096);
}

/* The trampoline's tables make it difficult, so an unwinder walks: it too must stop before it has to guess. */
static __thread struct native_stack in_handler;

static void stack_captured_in_handler(int signal)
{
    (void)signal;
    stack_here(&in_handler, CAPTURE_DEPTH_MAX);
    ((volatile struct native_stack *)&in_handler)->count += 0; /* no tail call */
}

static void signal_raised(void *unused)
{
    (void)unused;
    signal(SIGUSR1, stack_captured_in_handler);
    raise(SIGUSR1);
}

static void unwinder_stops_at_code_without_tables(void **state)
{
    struct native_stack whole;
    stack_here(&whole, CAPTURE_DEPTH_MAX);
    const void *const false_frame[] = {NULL,
                                       (const void *)whole.pc[whole.count - 1]}; /* a stack of one more, to a guesser */
    const void *const frame_pointers[] = {garbage, NULL, false_frame};
    (void)state;
    if (HAS_OWN_STACK_ONLY)
        skip();
    for (int i = 0; i < 3; i++) {
        function_without_tables(signal_raised, NULL, frame_pointers[i]);
        assert_in_range(in_handler.count, 4, 12);
        assert_true(in_handler.truncated);
        assert_in_range(in_handler.pc[in_handler.count - 1], (uintptr_t)function_without_tables,
                        (uintptr_t)function_without_tables_end);
    }
}

static void interrupted_instruction_is_marked(void **state)
{
    unsigned marked = 0;
    (void)state;
    if (HAS_OWN_STACK_ONLY)
        skip();
    signal_raised(NULL);
    assert_false(in_handler.truncated);
    for (unsigned i = 0; i < in_handler.count; i++)
        marked += is_interrupted(&in_handler, i);
    assert_int_equal(marked, 1);
    assert_true(is_interrupted(&in_handler, 2)); /* handler, trampoline, then whatever in libc sent the signal */
}

/* --- stacks that are gone --------------------------------------------------------------------------------------------- */

enum { PAGE = 4096, WHOLE_STACK = 16 * PAGE, LEFT_STACK = 6 * PAGE };

static ucontext_t inside, outside;
static char *stack_begin;
static uintptr_t captured_stack_pointer;
static struct native_stack captured_on_stack;

OUT_OF_LINE static void captured_and_compared(void)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    struct reference reference;
    uint64_t count = 0;
    captured_on_stack = *stack_of(capture_stack(&from, CAPTURE_DEPTH_MAX, 91, stack_interned, &count));
    captured_stack_pointer = from.stack_pointer;
    stack_referred(&from, &reference);
    assert_true(is_same_stack(&captured_on_stack, &reference.stack));
}

OUT_OF_LINE static void with_frame_in_between(volatile char *variable)
{
    captured_and_compared();
    variable[0]++;
}

/* Calls on from the same stack pointer, wherever its own frame is. */
static void function_on_stack(void)
{
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    volatile char variable[frame - (uintptr_t)(stack_begin + 4 * PAGE)];
    variable[0] = 0;
    with_frame_in_between(variable);
}

static uintptr_t run_on_stack(size_t size)
{
    getcontext(&inside);
    inside.uc_stack.ss_sp = stack_begin;
    inside.uc_stack.ss_size = size;
    inside.uc_link = &outside;
    makecontext(&inside, function_on_stack, 0);
    swapcontext(&outside, &inside);
    return captured_stack_pointer;
}

static void stack_that_is_gone_is_not_read(void **state)
{
    (void)state;
    if (HAS_OWN_STACK_ONLY)
        skip();
    stack_begin = mmap(NULL, WHOLE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(stack_begin, MAP_FAILED);
    uintptr_t stack_pointer = run_on_stack(WHOLE_STACK);
    assert_int_equal(run_on_stack(WHOLE_STACK), stack_pointer);
    munmap(stack_begin + LEFT_STACK, WHOLE_STACK - LEFT_STACK);
    assert_int_equal(run_on_stack(LEFT_STACK), stack_pointer);
    munmap(stack_begin, LEFT_STACK);
}

/* --- modules that are gone -------------------------------------------------------------------------------------------- */

enum { SMALL = 192, LARGE = 960 };
static char directory[] = "/tmp/test_shim_capture.XXXXXX";

static int modules_compiled(void **state)
{
    /* Sizes that take the same instructions, so that the same return address stands for two frames. */
    static const char source[] =
        "void called(void (*callback)(void *), void *argument)\n"
        "{ volatile char variables[SIZE]; variables[0] = 1; callback(argument); variables[0]++; }\n";
    char command[512];
    (void)state;
    assert_non_null(mkdtemp(directory));
    for (int size = SMALL; size <= LARGE; size += LARGE - SMALL) {
        snprintf(command, sizeof command,
                 "echo '%s' | ${CC:-cc} -x c -O1 -fomit-frame-pointer -fno-stack-protector -DSIZE=%d -shared -fPIC "
                 "-Wl,-e,called -o %s/%d.so -",
                 source, size, directory, size);
        assert_int_equal(system(command), 0);
    }
    return 0;
}

static int modules_removed(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command);
}

typedef void module_function(callback *called, void *argument);

/* Its function is its entry point: naming dlsym here would link the shim's into the test. */
static module_function *module_loaded(int size, void **handle)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%d.so", directory, size);
    *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(*handle);
    const ElfW(Ehdr) *elf = (const void *)((struct link_map *)*handle)->l_addr;
    return (module_function *)((uintptr_t)elf + elf->e_entry);
}

static void captured_by_module(void *unused)
{
    (void)unused;
    captured_and_compared();
    captured_stack_pointer++;
}

static void module_at_the_same_address_is_told_apart(void **state)
{
    static const int sizes[] = {SMALL, LARGE, SMALL, LARGE};
    module_function *former = NULL;
    (void)state;
    for (int i = 0; i < 4; i++) {
        void *handle;
        module_function *function = module_loaded(sizes[i], &handle);
        assert_true(former == NULL || function == former);
        former = function;
        for (int repeated = 0; repeated < 2; repeated++) {
            function(captured_by_module, NULL);
            assert_false(captured_on_stack.truncated);
        }
        capture_modules_unloaded();
        dlclose(handle);
        capture_modules_unloaded();
    }
}

/* --- fork, seccomp, descriptors --------------------------------------------------------------------------------------- */

static atomic_bool hammering_stopped;

static void *unwinding_hammered(void *number)
{
    while (!atomic_load(&hammering_stopped)) {
        raise(SIGUSR1);
        if (number == NULL)
            capture_modules_unloaded(); /* every address is new again: the longest way through libunwind */
    }
    return NULL;
}

static void captured_in_child(void)
{
    alarm(20);
    capture_forked(true);
    raise(SIGUSR1);
    bool is_whole = (!in_handler.truncated && in_handler.count > 5) || !addresses_can_be_found();
    _exit(is_whole && strcmp(capture_method(), "libgcc") == 0 ? 0 : 1);
}

static void fork_amid_captures_does_not_hang(void **state)
{
    enum { THREADS = 3, FORKS = 300 };
    pthread_t threads[THREADS];
    (void)state;
    if (HAS_OWN_STACK_ONLY)
        skip();
    assert_string_equal(capture_method(), "libunwind");
    signal(SIGUSR1, stack_captured_in_handler);
    atomic_store(&hammering_stopped, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, unwinding_hammered, (void *)i);
    for (int i = 0; i < FORKS; i++) {
        int status = -1;
        pid_t child = fork();
        if (child == 0)
            captured_in_child();
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    atomic_store(&hammering_stopped, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* Strict seccomp kills at any system call but read, write, exit and rt_sigreturn. */
static void sealed_and_captured(int signal)
{
    capture_sealed();
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
        _exit(77);
    stack_captured_in_handler(signal);
    syscall(SYS_exit, in_handler.truncated || in_handler.count < 5);
}

static void sealed_process_makes_no_system_call(void **state)
{
    int status = -1;
    (void)state;
    if (HAS_OWN_STACK_ONLY)
        skip();
    pid_t child = fork();
    if (child == 0) {
        signal(SIGUSR1, sealed_and_captured);
        raise(SIGUSR1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

static int first_descriptor;

static int lowest_free_descriptor(void)
{
    int descriptor = dup(STDERR_FILENO);
    close(descriptor);
    return descriptor;
}

static void no_descriptor_is_kept(void **state)
{
    (void)state;
    assert_int_equal(lowest_free_descriptor(), first_descriptor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_trees_agree_with_libgcc),
        cmocka_unit_test(threads_share_what_is_remembered),
        cmocka_unit_test(another_epoch_is_interned_anew),
        cmocka_unit_test(unloading_forgets),
        cmocka_unit_test(each_frame_within_the_limit_counts_and_no_other),
        cmocka_unit_test(no_id_is_not_remembered),
        cmocka_unit_test(same_place_with_other_frames_is_told_apart),
        cmocka_unit_test(depth_limit_truncates),
        cmocka_unit_test(depth_has_a_maximum),
        cmocka_unit_test(constructor_stack_is_complete),
        cmocka_unit_test(loader_is_outermost),
        cmocka_unit_test(code_without_tables_ends_the_stack),
        cmocka_unit_test(generated_code_ends_the_stack),
        cmocka_unit_test(unwinder_stops_at_code_without_tables),
        cmocka_unit_test(interrupted_instruction_is_marked),
        cmocka_unit_test(stack_that_is_gone_is_not_read),
        cmocka_unit_test_setup_teardown(module_at_the_same_address_is_told_apart, modules_compiled, modules_removed),
        cmocka_unit_test(fork_amid_captures_does_not_hang),
        cmocka_unit_test(sealed_process_makes_no_system_call),
        cmocka_unit_test(no_descriptor_is_kept),
    };
    first_descriptor = lowest_free_descriptor();
    capture_started();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
