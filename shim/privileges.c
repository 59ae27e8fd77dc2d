/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Daemons connect, then give up the way to our directory (chroot) or the right to write there (setuid), and fork. The
 * child needs a trace of its own then, so traces for it are made just before.
 */
#include <errno.h>
#include <unistd.h>

#include "definitions.h"
#include "raw_syscall.h"
#include "shim.h"

#define PASSED_ON(name, declared, arguments)                  \
    EXPORT int name declared                                  \
    {                                                         \
        typedef __typeof__(name) function;                    \
        prepared();                                           \
        return ((function *)next_definition(#name))arguments; \
    }

static void prepared(void)
{
    int error = errno;
    if (!atomic_load(&shim.sealed) && raw_syscall0(SYS_geteuid) == 0)
        spares_reserved();
    errno = error;
}

PASSED_ON(chroot, (const char *path), (path))
PASSED_ON(setuid, (uid_t user), (user))
PASSED_ON(setreuid, (uid_t real, uid_t effective), (real, effective))
PASSED_ON(setresuid, (uid_t real, uid_t effective, uid_t saved), (real, effective, saved))
PASSED_ON(setgid, (gid_t group), (group))
PASSED_ON(setregid, (gid_t real, gid_t effective), (real, effective))
PASSED_ON(setresgid, (gid_t real, gid_t effective, gid_t saved), (real, effective, saved))
