/* SPDX-License-Identifier: Apache-2.0 */
#include "interpreter.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <unclosed/trace.h>

#include "../elf_lookup.h"
#include "../loaded_objects.h"
#include "objects.h"

_Atomic unsigned interpreter_count;
struct interpreter interpreters[INTERPRETERS_MAX];

static _Atomic uint32_t found, found_version;
static _Atomic unsigned long long loads_at_last_search = UINT64_MAX;
static atomic_flag searching = ATOMIC_FLAG_INIT;

/* --- what one object has ------------------------------------------------------------------------------------------------ */

static uintptr_t address_in(const struct elf_object *object, const char *name)
{
    const struct elf_name wanted = elf_name(name);
    const ElfW(Sym) *symbol = elf_symbol(object, &wanted, NULL);
    return symbol ? (uintptr_t)elf_address(object, symbol) : 0;
}

/* A program that is not position-independent may have libpython's variables in itself. */
static uintptr_t runtime_of(const struct loaded_objects *objects, const struct elf_object *object)
{
    struct elf_object program;
    uintptr_t copied = elf_object_read(&program, objects->map[0]) ? address_in(&program, "_PyRuntime") : 0;
    return copied ? copied : address_in(object, "_PyRuntime");
}

static uint32_t digits_read(const char **text)
{
    uint32_t number = 0;
    for (; **text >= '0' && **text <= '9'; ++*text)
        number = number * 10 + (uint32_t)(**text - '0');
    return number;
}

/* 3.9 and 3.10 tell it in words only: "3.9.18 (main, …". Their candidates for release are taken for releases. */
static uint32_t version_told(const char *(*told)(void))
{
    const char *text = told();
    uint32_t version = digits_read(&text) << 24;
    if (*text++ != '.')
        return 0;
    version |= digits_read(&text) << 16;
    if (*text++ != '.')
        return 0;
    version |= digits_read(&text) << 8;
    return *text == 'a' || *text == 'b' ? version : version | 0xf0;
}

static uint32_t version_of(const struct elf_object *object)
{
    uintptr_t version = address_in(object, "Py_Version"); /* since 3.11: const unsigned long */
    uintptr_t told = address_in(object, "Py_GetVersion");
    if (version)
        return (uint32_t)word_at(version, 0);
    return told ? version_told((const char *(*)(void))told) : 0;
}

/* To 3.12 a debug build has other structures. */
static bool is_debug_build(const struct elf_object *object)
{
    return address_in(object, "_Py_NegativeRefcount") != 0;
}

static bool interpreter_read(const struct loaded_objects *objects, const struct elf_object *object, uint32_t version,
                             struct interpreter *out)
{
    *out = (struct interpreter){
        .is_loaded = true,
        .runtime = runtime_of(objects, object),
        .code_type = address_in(object, "PyCode_Type"),
        .text_type = address_in(object, "PyUnicode_Type"),
        .bytes_type = address_in(object, "PyBytes_Type"),
        .frame_type = address_in(object, "PyFrame_Type"),
        .loop_start = address_in(object, "_PyEval_EvalFrameDefault"),
        .thread_state = (uintptr_t(*)(void))address_in(object, "PyGILState_GetThisThreadState"),
        .is_initialized = (int (*)(void))address_in(object, "Py_IsInitialized"),
        .first_interpreter = (uintptr_t(*)(void))address_in(object, "PyInterpreterState_Head"),
        .next_interpreter = (uintptr_t(*)(uintptr_t))address_in(object, "PyInterpreterState_Next"),
        .first_thread = (uintptr_t(*)(uintptr_t))address_in(object, "PyInterpreterState_ThreadHead"),
        .next_thread = (uintptr_t(*)(uintptr_t))address_in(object, "PyThreadState_Next"),
        .lock_tried = (int (*)(void *, long long, int))address_in(object, "PyThread_acquire_lock_timed"),
        .unlock = (void (*)(void *))address_in(object, "PyThread_release_lock"),
    };
    bool is_whole = out->runtime && out->code_type && out->text_type && out->bytes_type && out->frame_type &&
                    out->thread_state && out->is_initialized && out->first_interpreter && out->next_interpreter &&
                    out->first_thread && out->next_thread && out->lock_tried && out->unlock;
    return is_whole && layout_found(&out->layout, version, (const void *)out->runtime) &&
           (out->layout.version >= 0x030d0000 || !is_debug_build(object));
}

/* --- search --------------------------------------------------------------------------------------------------------------- */

static bool is_same(const struct interpreter *one, const struct interpreter *other)
{
    return one->runtime == other->runtime && one->thread_state == other->thread_state &&
           one->loop_start == other->loop_start && one->layout.version == other->layout.version;
}

struct search {
    const struct loaded_objects *objects;
    bool is_there[INTERPRETERS_MAX];
    bool is_new; /* one was found that was not there before */
};

static void interpreter_kept(struct search *search, const struct interpreter *interpreter)
{
    unsigned count = atomic_load(&interpreter_count), place = 0;
    while (place < count && !is_same(&interpreters[place], interpreter))
        place++;
    if (place == INTERPRETERS_MAX)
        return;
    search->is_there[place] = true;
    if (place < count)
        return;
    interpreters[place] = *interpreter;
    atomic_store_explicit(&interpreter_count, count + 1, memory_order_release);
    search->is_new = true;
}

static void interpreter_found(struct search *search, const struct elf_object *object)
{
    struct interpreter interpreter;
    uint32_t version = version_of(object), flags = PYTHON_PRESENT;
    if (interpreter_read(search->objects, object, version, &interpreter)) {
        flags |= PYTHON_FRAMES | (interpreter.layout.free_threaded ? PYTHON_FREE_THREADED : 0);
        interpreter_kept(search, &interpreter);
    }
    if (atomic_load(&found) & PYTHON_FRAMES)
        return;
    search->is_new |= atomic_load(&found) != flags;
    atomic_store(&found_version, version);
    atomic_store(&found, flags);
}

static void objects_searched(const struct loaded_objects *objects, void *context)
{
    const struct elf_name name = elf_name("PyGILState_GetThisThreadState");
    struct search *search = context;
    search->objects = objects;
    for (size_t i = 0; i < objects->count; i++) {
        struct elf_object object;
        if (elf_object_read(&object, objects->map[i]) && elf_function(&object, &name, NULL))
            interpreter_found(search, &object);
    }
    for (unsigned i = 0; i < atomic_load(&interpreter_count); i++)
        search->is_new |= !atomic_exchange(&interpreters[i].is_loaded, search->is_there[i]) && search->is_there[i];
}

/* In the child of a process with threads nobody can tell: then ever more rarely. */
static bool something_was_loaded(void)
{
    static _Atomic unsigned asked;
    unsigned long long loaded, unloaded;
    if (load_counts(&loaded, &unloaded))
        return loaded != atomic_exchange_explicit(&loads_at_last_search, loaded, memory_order_relaxed);
    unsigned times = atomic_fetch_add(&asked, 1) + 1;
    return (times & (times - 1)) == 0;
}

static bool searched(void)
{
    struct search search = {.is_new = false};
    if (atomic_flag_test_and_set_explicit(&searching, memory_order_acquire))
        return false;
    visit_loaded_objects(objects_searched, &search);
    atomic_flag_clear_explicit(&searching, memory_order_release);
    return search.is_new;
}

bool interpreters_looked_for(void)
{
    return something_was_loaded() && searched();
}

void interpreters_unloading(void)
{
    for (unsigned i = 0; i < atomic_load(&interpreter_count); i++)
        if (atomic_load(&interpreters[i].is_loaded) && !interpreters[i].is_initialized())
            atomic_store(&interpreters[i].is_loaded, false);
}

void interpreters_unloaded(void)
{
    if (atomic_load(&interpreter_count))
        searched();
}

void interpreters_forked(void)
{
    atomic_flag_clear(&searching);
}

uint32_t interpreters_described(uint32_t *version)
{
    *version = atomic_load(&found_version);
    return atomic_load(&found);
}

/* --- whose frames --------------------------------------------------------------------------------------------------------- */

static uintptr_t frame_of_thread(const struct python_layout *layout, uintptr_t thread)
{
    if (!layout->frame_by_cframe)
        return word_at(thread, layout->thread_frame);
    uintptr_t cframe = word_at(thread, layout->thread_cframe);
    return cframe ? word_at(cframe, layout->cframe_frame) : 0;
}

/* struct pyinterpreters: lock, newest interpreter, main interpreter. */
static bool has_several_interpreters(const struct interpreter *in)
{
    return word_at(in->runtime, in->layout.interpreters + 8u) != word_at(in->runtime, in->layout.interpreters + 16u);
}

/* The outer end of the calling thread's stack: glibc puts a thread's descriptor there, the kernel the program's vector. */
static uintptr_t end_of_stack(uintptr_t here)
{
    const uintptr_t enough = (uintptr_t)1 << 32;
    uintptr_t descriptor = (uintptr_t)pthread_self();
    return descriptor > here && descriptor - here < enough ? descriptor : (uintptr_t)getauxval(AT_RANDOM);
}

/* Which thread made a state says nothing about who runs in it. But its cframe lies on the stack of who does, and of those
 * on ours the innermost is the lowest. 3.9 has none: the state must be the only one that this thread has made and that runs. */
static uintptr_t innermost_of_several(const struct interpreter *in)
{
    const struct python_layout *layout = &in->layout;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), lowest = end_of_stack(here), innermost = 0;
    unsigned candidates = 0;
    for (uintptr_t interpreter = in->first_interpreter(); interpreter;
         interpreter = in->next_interpreter(interpreter)) {
        for (uintptr_t state = in->first_thread(interpreter); state; state = in->next_thread(state)) {
            uintptr_t entered = layout->thread_cframe ? word_at(state, layout->thread_cframe) : here + 1;
            if (entered <= here || entered >= lowest || !frame_of_thread(layout, state))
                continue;
            if (!layout->thread_cframe && word_at(state, layout->thread_id) != (uintptr_t)pthread_self())
                continue;
            innermost = frame_of_thread(layout, state);
            lowest = layout->thread_cframe ? entered : lowest;
            candidates++;
        }
    }
    return layout->thread_cframe || candidates == 1 ? innermost : 0;
}

/* Up to 3.11 only the thread's first state can be asked for. The lock of the list is only tried: it is never held for long,
 * but the interpreter may have been interrupted or forked while it had it. */
static uintptr_t innermost_frame_searched(const struct interpreter *in, bool *is_doubtful)
{
    enum { TRIES = 1000 };
    void *lock = (void *)word_at(in->runtime, in->layout.interpreters);
    for (unsigned i = 0; lock && i < TRIES; i++) {
        if (in->lock_tried(lock, 0, 0) != 1)
            continue;
        uintptr_t frame = innermost_of_several(in);
        in->unlock(lock);
        *is_doubtful = in->layout.thread_cframe == 0;
        return frame;
    }
    return 0;
}

uintptr_t innermost_frame(const struct interpreter *in, bool *is_doubtful)
{
    uintptr_t thread = in->thread_state();
    uintptr_t finalizing = word_at(in->runtime, in->layout.finalizing);
    if (!thread || (finalizing && finalizing != thread))
        return 0;
    if (in->layout.interpreters && has_several_interpreters(in))
        return innermost_frame_searched(in, is_doubtful);
    return frame_of_thread(&in->layout, thread);
}
