/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that installs a seccomp filter allows itself only the system calls it knows it needs; one of ours would
 * kill it. So when it is about to, storage is reserved, and from then on the shim makes none.
 *
 * Filters that were there at load (a container's) are no concern: they allow what ordinary programs do.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>

#include "definitions.h"
#include "raw_syscall.h"
#include "shim.h"

static bool uses_a_library(void)
{
    struct copy_description library;
    return shim.trace.base || copies_known(&library, 1) > 0;
}

static void sealed_is(bool sealed)
{
    if (shim.trace.base && has_own_trace())
        atomic_store(&((struct trace_process *)record_of(TABLE_PROCESS, 0))->sealed, sealed);
    atomic_store(&shim.sealed, sealed);
}

HIDDEN void about_to_seal(void)
{
    int error = errno;
    if (atomic_load(&shim.sealed))
        return; /* a second filter */
    shim_loaded();
    if (uses_a_library() && is_recording() && guard_entered()) {
        storage_reserved();
        capture_sealed();
        guard_left();
    }
    sealed_is(true);
    errno = error;
}

EXPORT int prctl(int option, ...)
{
    typedef int function(int, unsigned long, unsigned long, unsigned long, unsigned long);
    va_list list;
    va_start(list, option);
    unsigned long a = va_arg(list, unsigned long), b = va_arg(list, unsigned long);
    unsigned long c = va_arg(list, unsigned long), d = va_arg(list, unsigned long);
    va_end(list);
    bool was_sealed = atomic_load(&shim.sealed), seals = option == PR_SET_SECCOMP;
    if (seals)
        about_to_seal();
    int result = ((function *)next_definition("prctl"))(option, a, b, c, d);
    if (seals && !was_sealed && result != 0)
        sealed_is(false);
    return result;
}

/* syscall(SYS_seccomp, SECCOMP_SET_MODE_*): noticed on the way by seal_x86_64.S. Calls that only ask whether the kernel
 * can do it (and cannot succeed) seal nothing. */
HIDDEN void syscall_seen(long number, long operation, long flags, long filter)
{
    if (number == SYS_seccomp && ((operation == SECCOMP_SET_MODE_STRICT && (unsigned)flags == 0) ||
                                  (operation == SECCOMP_SET_MODE_FILTER && filter != 0)))
        about_to_seal();
}

HIDDEN function_address real_syscall;

HIDDEN void real_syscall_found(void)
{
    int error = errno;
    real_syscall = next_definition("syscall");
    errno = error;
}
