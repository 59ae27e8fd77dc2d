/* SPDX-License-Identifier: Apache-2.0 */
/* build: -Itests/unit */
/*
 * A trace of a process that left many connections open: bench_trace FILE MODULE HANDLES SITES DEPTH. The frames are code
 * places in MODULE, a program or library of this machine, so that names and lines can be looked up.
 */
#include <stdlib.h>

#include "trace_builder.c"

int main(int count, char **arguments)
{
    required(count == 6, "usage: bench_trace FILE MODULE HANDLES SITES DEPTH");
    struct trace_builder *made = builder_of_many(arguments[2], (uint32_t)atol(arguments[3]),
                                                 (uint32_t)atol(arguments[4]), (unsigned)atoi(arguments[5]));
    trace_written(made, arguments[1]);
    builder_freed(made);
    return 0;
}
