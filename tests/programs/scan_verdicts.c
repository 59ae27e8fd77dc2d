/* SPDX-License-Identifier: Apache-2.0 */
/* build: -pthread -Itests/unit shim */
/*
 * Loses 20 handles in main and 10 in a thread that has ended, keeps 5 in a list and one in a global variable, and prints
 * how many of the lost and of the kept were found to be what: "outcome 0 lost: U H L I kept: U H L I reason".
 */
#include <pthread.h>

#include "scan_case.h"

static struct node {
    struct node *next;
    void *handle;
} *volatile list;
static void *volatile global;

static void *ten_lost(void *unused)
{
    for (int i = 0; i < 10; i++)
        handle_lost();
    return unused;
}

static FAR void five_kept(void)
{
    for (int i = 0; i < 5; i++) {
        struct node *node = malloc(sizeof(*node));
        node->next = list;
        handle_stored(&node->handle);
        list = node;
    }
}

static void counts_printed(const char *title, size_t from, size_t to)
{
    int counts[4] = {0};
    for (size_t i = from; i < to; i++)
        counts[reference_of(i) & 3]++;
    printf("%s: %d %d %d %d ", title, counts[0], counts[1], counts[2], counts[3]);
}

int main(void)
{
    pthread_t thread;
    for (int i = 0; i < 20; i++)
        handle_lost();
    if (pthread_create(&thread, NULL, ten_lost, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    size_t kept = scan_case.count;
    five_kept();
    handle_stored(&global);
    scan_asked();
    printf("outcome %d ", scan_case.outcome);
    counts_printed("lost", 0, kept);
    counts_printed("kept", kept, scan_case.count);
    printf("%s\n", scan_case.reason ? scan_case.reason : "");
    return 0;
}
