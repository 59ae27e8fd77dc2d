/* SPDX-License-Identifier: Apache-2.0 */
/* build: -O1 */
/* Declares a kind and opens many handles of it; closes half of them with a second argument. Says "done" at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <unclosed/unclosed.h>

static char *handles;

int main(int count, char **arguments)
{
    long number = count > 1 ? atol(arguments[1]) : 10000;
    unclosed_kind_id lease = unclosed_kind("many.lease", NULL);
    handles = malloc((size_t)number);
    for (long i = 0; i < number; i++)
        unclosed_opened(lease, handles + i);
    for (long i = 0; count > 2 && i < number; i += 2)
        unclosed_closed(lease, handles + i, UNCLOSED_EXPLICIT);
    puts("done");
}
