/* SPDX-License-Identifier: Apache-2.0 */
/* build: -O1 */
/* A timer's signal handler opens and closes a handle while the main program, also within the shim, does the same. Says
 * how many opens each had. */
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <unclosed/unclosed.h>

static unclosed_kind_id inside, outside;
static volatile unsigned long interrupted;

static void handler(int number)
{
    static char handle;
    (void)number;
    unclosed_opened(inside, &handle);
    unclosed_closed(inside, &handle, UNCLOSED_EXPLICIT);
    interrupted++;
}

int main(void)
{
    static char handle;
    const struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    unsigned long opened = 0;
    inside = unclosed_kind("storm.inside", NULL);
    outside = unclosed_kind("storm.outside", NULL);
    signal(SIGALRM, handler);
    setitimer(ITIMER_REAL, &often, NULL);
    while (interrupted < 5000) {
        unclosed_opened(outside, &handle);
        unclosed_closed(outside, &handle, UNCLOSED_EXPLICIT);
        opened++;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    printf("%lu %lu\n", opened, interrupted);
}
