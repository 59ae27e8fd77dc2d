/* SPDX-License-Identifier: Apache-2.0 */
/* build: shim -fno-optimize-sibling-calls */
/*
 * What one stack capture costs, against the unwinders themselves, on the same stack and interleaved with them; and what the
 * Python part of a stack costs, in an interpreter that is embedded here.
 *
 *     bench_capture [DEPTH [PYTHON_DEPTH [LIBPYTHON]]]       native frames, 28 by default; Python frames, 18
 *
 * remembered: the same stack again.  walked: known places, but a stack that is not remembered (another epoch each time).
 */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <libunwind.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unwind.h>

#include "capture.h"
#include "python/python.h"

enum { ROUNDS = 101, CALLS = 2000, FRAMES_MAX = 128 };

static volatile unsigned result;

static uint32_t depth_interned(const struct native_stack *stack, void *context)
{
    (void)context;
    return stack->count;
}

static uint64_t epoch;

__attribute__((noinline)) static void remembered(void)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    result = capture_stack(&from, CAPTURE_DEPTH_MAX, 1, depth_interned, NULL);
}

__attribute__((noinline)) static void walked(void)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    result = capture_stack(&from, CAPTURE_DEPTH_MAX, ++epoch + 1, depth_interned, NULL);
}

__attribute__((noinline)) static void by_libunwind(void)
{
    void *frames[FRAMES_MAX];
    result = (unsigned)unw_backtrace(frames, FRAMES_MAX) - 1;
}

static _Unwind_Reason_Code frame_counted(struct _Unwind_Context *context, void *count)
{
    *(volatile uintptr_t *)count = *(volatile uintptr_t *)count + (_Unwind_GetIP(context) != 0);
    return _URC_NO_REASON;
}

__attribute__((noinline)) static void by_libgcc(void)
{
    uintptr_t count = 0;
    _Unwind_Backtrace(frame_counted, &count);
    result = (unsigned)count - 1;
}

struct way {
    const char *name;
    void (*capture)(void);
};
static const struct way native_ways[] = {{"unclosed, remembered", remembered},
                                         {"unclosed, walked", walked},
                                         {"libunwind, unw_backtrace", by_libunwind},
                                         {"libgcc, _Unwind_Backtrace", by_libgcc}};

/* The depth of a stack that is recorded in the trace. */
static unsigned recorded_depth(uint32_t stack)
{
    return ((const struct trace_stack *)record_of(TABLE_STACK, stack))->depth;
}

__attribute__((noinline)) static void python_remembered(void)
{
    result = recorded_depth(python_part_here(NULL).stack);
}

__attribute__((noinline)) static void python_recorded(void)
{
    uint64_t before = shim.epoch;
    shim.epoch = ++epoch + 1;
    result = recorded_depth(python_part_here(NULL).stack);
    shim.epoch = before;
}

__attribute__((noinline)) static void native_part_remembered(void)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    result = capture_stack(&from, CAPTURE_DEPTH_MAX, 2, depth_interned, NULL);
}

static uint32_t mixed;

__attribute__((noinline)) static void both_remembered(void)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    mixed = stack_here(&from);
    result = 0;
}

/* The node of a mixed stack is one more than its native part. */
static unsigned both_depth(uint32_t stack)
{
    const struct trace_stack *node = record_of(TABLE_STACK, stack);
    const struct trace_frame *frame = record_of(TABLE_FRAME, node->frame);
    return node->depth - 1 + recorded_depth((uint32_t)frame->offset);
}

static const struct way python_ways[] = {{"Python, remembered", python_remembered},
                                         {"Python, copied anew", python_recorded},
                                         {"native below Python, remembered", native_part_remembered},
                                         {"both parts, remembered", both_remembered}};
enum { WAYS = 4 };

static void (*at_the_bottom)(void);
static int python_depth;

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double ns_per_call(void (*capture)(void))
{
    double begin = now_ns();
    for (int i = 0; i < CALLS; i++)
        capture();
    return (now_ns() - begin) / CALLS;
}

static int compared(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void measured(const struct way *ways)
{
    static double times[WAYS][ROUNDS];
    for (int round = -1; round < ROUNDS; round++)
        for (int way = 0; way < WAYS; way++)
            times[way][round < 0 ? 0 : round] = ns_per_call(ways[way].capture);
    for (int way = 0; way < WAYS; way++) {
        ways[way].capture();
        if (!result)
            result = both_depth(mixed);
        qsort(times[way], ROUNDS, sizeof times[way][0], compared);
        printf("%-34s %7u %9.1f %9.1f %9.1f\n", ways[way].name, result, times[way][ROUNDS / 2], times[way][ROUNDS / 10],
               times[way][ROUNDS * 9 / 10]);
    }
}

static char directory[] = "/tmp/unclosed-bench-XXXXXX";

/* --- an embedded interpreter ------------------------------------------------------------------------------------------- */

/* Of the stable C API, without its header: whatever libpython there is. */
typedef void *object;
struct method {
    const char *name;
    object (*function)(object, object);
    int flags;
    const char *text;
};
enum { METHOD_NOARGS = 4 };

static struct python {
    void *library;
    void (*initialize)(int signals);
    int (*run)(const char *source);
    object (*function)(struct method *, object self, object module);
    object (*module)(const char *name);
    int (*set)(object, const char *name, object value);
} python;

static void *in_python(const char *name)
{
    void *address = dlsym(python.library, name);
    if (!address) {
        fprintf(stderr, "bench_capture: libpython has no %s\n", name);
        exit(1);
    }
    return address;
}

static bool python_opened(const char *chosen)
{
    static const char *const names[] = {"libpython3.13.so.1.0", "libpython3.12.so.1.0", "libpython3.11.so.1.0",
                                        "libpython3.10.so.1.0", "libpython3.9.so.1.0"};
    if (chosen)
        python.library = dlopen(chosen, RTLD_NOW | RTLD_GLOBAL);
    for (unsigned i = 0; i < sizeof names / sizeof names[0] && !chosen && !python.library; i++)
        python.library = dlopen(names[i], RTLD_NOW | RTLD_GLOBAL);
    if (!python.library)
        return false;
    python.initialize = (void (*)(int))in_python("Py_InitializeEx");
    python.run = (int (*)(const char *))in_python("PyRun_SimpleString");
    python.function = (object(*)(struct method *, object, object))in_python("PyCFunction_NewEx");
    python.module = (object(*)(const char *))in_python("PyImport_AddModule");
    python.set = (int (*)(object, const char *, object))in_python("PyObject_SetAttrString");
    return true;
}

static object python_measured(object self, object nothing)
{
    (void)nothing;
    measured(python_ways);
    return self; /* None, which needs no reference more in an interpreter that ends here */
}

/* Functions of six modules, as in life, each of them different; compiled before, as they mostly are. */
static const char program[] =
    "import py_compile, sys\n"
    "def chain(depth, directory):\n"
    "    sys.path.insert(0, directory)\n"
    "    call, modules = measured, (depth + 1) // 3\n"
    "    for module in range(modules):\n"
    "        path = '%s/benched_%d.py' % (directory, module)\n"
    "        with open(path, 'w') as file:\n"
    "            for number in range(3 * module, min(3 * module + 3, depth - 2)):\n"
    "                file.write('def function_%d():\\n' % number + '    x = 1\\n' * (number % 4) +\n"
    "                           '    return call_%d()\\n' % number)\n"
    "        py_compile.compile(path)\n"
    "    for number in range(depth - 2):\n"
    "        module = __import__('benched_%d' % (number // 3))\n"
    "        setattr(module, 'call_%d' % number, call)\n"
    "        call = getattr(module, 'function_%d' % number)\n"
    "    return call()\n";

static void python_run(void)
{
    static struct method method = {"measured", python_measured, METHOD_NOARGS, NULL};
    object main_module = python.module("__main__");
    object none = in_python("_Py_NoneStruct");
    python.set(main_module, "measured", python.function(&method, none, NULL));
    python.run(program);
    char call[64 + sizeof directory];
    snprintf(call, sizeof call, "chain(%d, '%s')", python_depth, directory);
    python.run(call);
}

/* Distinct functions, as in life: with and without frame pointer, with and without variables. */
typedef void level(int remaining);
static level *const levels[];

#define LEVEL(name, next, words, attributes)                              \
    __attribute__((noinline, attributes)) static void name(int remaining) \
    {                                                                     \
        volatile uintptr_t variables[words] = {(uintptr_t)remaining};     \
        if (remaining > 0)                                                \
            levels[next](remaining - 1);                                  \
        else                                                              \
            at_the_bottom();                                              \
        result = (unsigned)variables[0];                                  \
    }
LEVEL(level_0, 1, 1, optimize("omit-frame-pointer"))
LEVEL(level_1, 2, 9, optimize("no-omit-frame-pointer"))
LEVEL(level_2, 3, 4, optimize("omit-frame-pointer"))
LEVEL(level_3, 4, 33, optimize("omit-frame-pointer"))
LEVEL(level_4, 5, 2, optimize("no-omit-frame-pointer"))
LEVEL(level_5, 6, 12, optimize("omit-frame-pointer"))
LEVEL(level_6, 7, 6, optimize("omit-frame-pointer"))
LEVEL(level_7, 0, 20, optimize("no-omit-frame-pointer"))
static level *const levels[] = {level_0, level_1, level_2, level_3, level_4, level_5, level_6, level_7};

static void directory_removed(void)
{
    char command[sizeof directory + 16];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        perror(command);
}

static bool recording_started(void)
{
    char options[sizeof directory + 64];
    if (!mkdtemp(directory) || atexit(directory_removed) != 0)
        return false;
    snprintf(options, sizeof options, "dir=%s:report=off:scan=off:depth=64", directory);
    setenv("UNCLOSED_OPTIONS", options, 1);
    options_read(&shim.options); /* the constructor ran before the environment was set */
    shim.start = shim.end = 0;   /* we and the shim are one program here: no frame is the shim's own */
    return is_recording() && guard_entered();
}

static void native_measured(void)
{
    measured(native_ways);
}

int main(int count, char **arguments)
{
    enum {
        FRAMES_AROUND = 6,
        FRAMES_AROUND_PYTHON = 18
    }; /* main and what calls it, measured and ns_per_call; the interpreter */
    int depth = count > 1 ? atoi(arguments[1]) : 28;
    python_depth = count > 2 ? atoi(arguments[2]) : 18;
    capture_started();
    printf("method: %s\n", capture_method());
    printf("%-34s %7s %9s %9s %9s\n", "ns per capture", "frames", "median", "p10", "p90");
    at_the_bottom = native_measured;
    levels[0](depth > FRAMES_AROUND ? depth - FRAMES_AROUND : 0);
    if (!python_opened(count > 3 ? arguments[3] : NULL) || !recording_started())
        return 0;
    python.initialize(0);
    at_the_bottom = python_run;
    levels[0](depth > FRAMES_AROUND_PYTHON ? depth - FRAMES_AROUND_PYTHON : 0);
    return 0;
}
