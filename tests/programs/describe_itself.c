/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -pthread */
/* Says whatever a preload may change in a process: at its start, while a database is open, at its end. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void descriptors_said(void)
{
    DIR *directory = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory))
            printf(" fd %s", entry->d_name);
    closedir(directory);
    int next = open("/dev/null", O_RDONLY);
    printf(" next fd %d\n", next);
    close(next);
}

/* Names of our own options, which injection needs, are left out. */
static void environment_said(void)
{
    for (char **each = environ; *each; each++)
        if (strncmp(*each, "LD_PRELOAD=", 11) != 0 && strncmp(*each, "UNCLOSED_OPTIONS=", 17) != 0)
            puts(*each);
}

static void status_said(void)
{
    static const char *const wanted[] = {
        "Threads:", "SigPnd:", "SigBlk:", "SigIgn:", "SigCgt:", "ShdPnd:", "Umask:", "Seccomp", "NoNewPrivs:", "Cap"};
    char line[4096];
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof(line), status))
        for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
            if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
                fputs(line, stdout);
    fclose(status);
}

static void signals_said(void)
{
    for (int number = 1; number < 65; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0)
            printf(" %d", action.sa_handler == SIG_DFL ? 0 : action.sa_handler == SIG_IGN ? 1 : 2);
    }
    stack_t alternative;
    sigaltstack(NULL, &alternative);
    printf(" alternative stack %d\n", alternative.ss_flags);
}

static void limits_said(void)
{
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        getrlimit(resource, &limit);
        printf(" %ld/%ld", (long)limit.rlim_cur, (long)limit.rlim_max);
    }
    char here[4096];
    printf(" in %s\n", getcwd(here, sizeof(here)));
}

static void everything_said(const char *when)
{
    printf("--- %s\n", when);
    descriptors_said();
    status_said();
    signals_said();
    limits_said();
    environment_said();
    fflush(stdout);
}

static void at_the_end(void)
{
    everything_said("at exit");
}

int main(int count, char **arguments)
{
    static sqlite3 *db;
    atexit(at_the_end);
    everything_said("start");
    if (count > 1 && strcmp(arguments[1], "database") == 0) {
        sqlite3_open(":memory:", &db);
        sqlite3_exec(db, "CREATE TABLE t (a); INSERT INTO t VALUES (1)", NULL, NULL, NULL);
        everything_said("open");
        for (int i = 0; i < 100; i++) {
            sqlite3 *other;
            sqlite3_open(":memory:", &other);
            sqlite3_close(other);
        }
        everything_said("used");
    }
    return 42;
}
