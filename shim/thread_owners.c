/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads as owners. When one ends is told by the destructor of a thread-specific key, the only way that changes nothing
 * for the program:
 *   - a wrapped pthread_create would be one more frame on every stack, and needs memory for its argument;
 *     __cxa_thread_atexit_impl allocates, and aborts the program when it cannot;
 *   - the key is made when it is first needed, so who opens nothing in threads never sees one less; if its number is 32 or
 *     more, where storing a value would allocate, it is given back, and threads are no owners in that program;
 *   - other destructors may still close handles: ours asks to be called again until the last round but one (in the last one
 *     sanitizers and allocators end themselves);
 *   - a thread that the end of the program takes along has left nothing behind: exit() has begun, or Python's shutdown
 *     stops its daemon threads. Those still have Python's state of a thread, which goes first of all when one ends by
 *     itself. That is in a key, too, so in Python programs ours is made before Python's, and is looked at before it;
 *     Join returns when Python is done with a thread, which is a moment before it ends: that is waited for;
 *   - in a forked child the only thread is the first one, and no owner; nothing of the parent's trace is touched.
 * Weak: without libpthread (before glibc 2.34) there are no threads.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "injection.h"
#include "owners.h"
#include "python/interpreter.h"
#include "python/python.h"
#include "raw_syscall.h"

#pragma weak pthread_key_create
#pragma weak pthread_key_delete
#pragma weak pthread_setspecific

enum { KEYS_WITHOUT_ALLOCATION = 32, LAST_ROUND = PTHREAD_DESTRUCTOR_ITERATIONS - 1 };
enum key_state { KEY_NONE, KEY_BEING_MADE, KEY_MADE, KEY_UNUSABLE };
static _Atomic uint32_t key_state;
static pthread_key_t key;
static bool key_is_before_pythons;

static bool has_exit_begun(void)
{
    const struct trace_process *process = record_of(TABLE_PROCESS, 0);
    return atomic_load(&process->exit_began) != 0;
}

static bool is_stopped_by_python(void)
{
    if (!python_has_frames() || !python_is_finalizing())
        return false;
    for (unsigned i = 0; key_is_before_pythons && i < atomic_load(&interpreter_count); i++)
        if (atomic_load(&interpreters[i].is_loaded) && interpreters[i].thread_state() != 0)
            return true;
    return !key_is_before_pythons;
}

static void thread_ends(void *round)
{
    int error = errno;
    uintptr_t number = (uintptr_t)round;
    bool is_ours = atomic_load(shim.life) == LIFE_ON && thread.epoch == shim.epoch && guard_entered();
    if (is_ours && number == 1)
        thread.is_stopped = is_stopped_by_python();
    if (is_ours && number == LAST_ROUND) {
        uint64_t owner = thread.own_owner;
        thread.own_owner = 0;
        thread.has_ended = true;
        if (owner && !thread.is_stopped && !has_exit_begun())
            owner_ended(owner, "thread ended");
    }
    if (is_ours)
        guard_left();
    if (number < LAST_ROUND)
        pthread_setspecific(key, (void *)(number + 1));
    errno = error;
}

static bool key_is_made(void)
{
    uint32_t state = KEY_NONE;
    if (atomic_compare_exchange_strong(&key_state, &state, KEY_BEING_MADE)) {
        state = KEY_UNUSABLE;
        if (pthread_key_create && pthread_key_create(&key, thread_ends) == 0) {
            if (key < KEYS_WITHOUT_ALLOCATION)
                state = KEY_MADE;
            else
                pthread_key_delete(key);
        }
        atomic_store(&key_state, state);
    }
    return state == KEY_MADE;
}

__attribute__((constructor(102))) static void key_made_first(void)
{
    int error = errno;
    key_is_before_pythons = is_python_program() && !shim.passive && !shim.options.skipped && key_is_made();
    errno = error;
}

void thread_owner_began(void)
{
    uint32_t id = thread_id(time_now_coarse());
    if (!id || id == (uint32_t)shim.pid || thread.has_ended || !key_is_made() || pthread_setspecific(key, (void *)1))
        return;
    thread.own_owner = owner_began(OWNER_THREAD, thread.name, 0);
}

/* --- the last moment of a thread -------------------------------------------------------------------------------------------- */

enum { PAUSE = 200000, /* ns */ PAUSES_MOST = 100, PAUSES_IN_VAIN = 5 };

static bool is_running(uint32_t id)
{
    char path[48], stat[256];
    struct text text = text_in(path, sizeof(path));
    text_added(&text, "/proc/self/task/");
    number_added(&text, id);
    text_added(&text, "/stat");
    const char *name_end = file_read(path, stat, sizeof(stat)) ? strrchr(stat, ')') : NULL;
    return name_end && name_end[1] && name_end[2] == 'R';
}

/* Threads that have handles, and have not ended. */
static unsigned threads_left(bool *one_is_running)
{
    unsigned count = 0;
    uint64_t used = atomic_load(&shim.trace.header->tables[TABLE_OWNER].used);
    *one_is_running = false;
    for (uint64_t slot = 1; slot < used && slot < shim.trace.table[TABLE_OWNER].capacity; slot++) {
        const struct trace_owner *owner = record_of(TABLE_OWNER, slot);
        if (atomic_load(&owner->state) != RECORD_READY || owner->kind != OWNER_THREAD || atomic_load(&owner->ended) ||
            !atomic_load(&owner->handles))
            continue;
        count++;
        *one_is_running |= is_running(owner->thread);
    }
    return count;
}

/* One that sleeps is no thread that is just ending. */
void ending_threads_awaited(void)
{
    bool one_is_running;
    struct timespec pause = {.tv_nsec = PAUSE};
    if (atomic_load(&shim.sealed))
        return;
    for (unsigned pauses = 0, in_vain = 0; pauses < PAUSES_MOST && in_vain < PAUSES_IN_VAIN; pauses++) {
        if (threads_left(&one_is_running) == 0)
            return;
        in_vain = one_is_running ? 0 : in_vain + 1;
        raw_syscall2(SYS_nanosleep, (long)&pause, 0);
    }
}
