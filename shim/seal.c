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

HIDDEN void about_to_seal(void)
{
    int error = errno;
    shim_loaded();
    if (is_recording() && guard_entered()) {
        storage_reserved();
        capture_sealed();
        atomic_store(&((struct trace_process *)record_of(TABLE_PROCESS, 0))->sealed, 1);
        guard_left();
    }
    atomic_store(&shim.sealed, true);
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
    if (option == PR_SET_SECCOMP)
        about_to_seal();
    return ((function *)next_definition("prctl"))(option, a, b, c, d);
}

/* syscall(SYS_seccomp, SECCOMP_SET_MODE_*): noticed on the way by seal_x86_64.S. */
HIDDEN void syscall_seen(long number, long operation)
{
    if (number == SYS_seccomp && (operation == SECCOMP_SET_MODE_STRICT || operation == SECCOMP_SET_MODE_FILTER))
        about_to_seal();
}

HIDDEN function_address real_syscall;

HIDDEN void real_syscall_found(void)
{
    int error = errno;
    real_syscall = next_definition("syscall");
    errno = error;
}
