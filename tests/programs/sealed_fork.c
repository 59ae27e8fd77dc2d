/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 */
/* Opens a database, forbids itself (on pain of death) to open files, forks; the child opens a database in memory. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int sealed(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof(rules) / sizeof(*rules), rules};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
}

int main(void)
{
    sqlite3 *db, *childs;
    int status = 0;
    sqlite3_open(":memory:", &db);
    if (sealed() != 0)
        return 3;
    pid_t child = fork();
    if (child == 0) {
        int opened = sqlite3_open(":memory:", &childs);
        sqlite3_close(childs);
        _exit(opened);
    }
    waitpid(child, &status, 0);
    printf("child ended with %x\n", (unsigned)status);
    sqlite3_close(db);
    return 0;
}
