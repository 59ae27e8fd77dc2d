/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -O1 */
/* Installs a seccomp filter of its own, by prctl or syscall, that kills it for every system call but the few that opening
 * and closing needs; then loses 5 connections and closes 1,000. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sqlite3.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALLOWED(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int sealed(const char *how)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOWED(SYS_write),
        ALLOWED(SYS_brk),
        ALLOWED(SYS_mmap),
        ALLOWED(SYS_munmap),
        ALLOWED(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog filter = {sizeof(rules) / sizeof(*rules), rules};
    /* Is it there? Neither seals anything. */
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0);
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL);
    syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL);
    if (strcmp(how, "asks") == 0)
        return 0;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (strcmp(how, "prctl") == 0)
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

__attribute__((noinline)) static void forget(void)
{
    sqlite3 *db;
    sqlite3_open(":memory:", &db);
}

int main(int count, char **arguments)
{
    sqlite3 *db;
    if (count < 3) /* a program may have been recorded before, or not */
        forget();
    sqlite3_initialize();
    if (sealed(arguments[1]) != 0)
        return 3;
    for (int i = 0; i < 4 + (count > 2); i++)
        forget();
    for (int i = 0; i < 1000; i++) {
        sqlite3_open(":memory:", &db);
        sqlite3_close(db);
    }
    return write(1, "survived\n", 9) != 9;
}
