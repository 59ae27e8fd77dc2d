/* SPDX-License-Identifier: Apache-2.0 */
/* build: -Itests/unit -fno-ipa-icf */
/*
 * A trace of a process that left many connections open: bench_trace FILE HANDLES SITES DEPTH. Each site is in a function
 * of its own of this very program, 10,000 at most, so that each has a name and a line to be looked up and none is like
 * another; the frames around it are common to all, as in a server.
 */
#include <stdlib.h>

#include "trace_builder.c"

/* clang-format off */
#define TEN(make, n) \
    make(n##0) make(n##1) make(n##2) make(n##3) make(n##4) make(n##5) make(n##6) make(n##7) make(n##8) make(n##9)
#define HUNDRED(make, n) \
    TEN(make, n##0) TEN(make, n##1) TEN(make, n##2) TEN(make, n##3) TEN(make, n##4) \
    TEN(make, n##5) TEN(make, n##6) TEN(make, n##7) TEN(make, n##8) TEN(make, n##9)
#define THOUSAND(make, n) \
    HUNDRED(make, n##0) HUNDRED(make, n##1) HUNDRED(make, n##2) HUNDRED(make, n##3) HUNDRED(make, n##4) \
    HUNDRED(make, n##5) HUNDRED(make, n##6) HUNDRED(make, n##7) HUNDRED(make, n##8) HUNDRED(make, n##9)
#define TEN_THOUSAND(make) \
    THOUSAND(make, 0) THOUSAND(make, 1) THOUSAND(make, 2) THOUSAND(make, 3) THOUSAND(make, 4) \
    THOUSAND(make, 5) THOUSAND(make, 6) THOUSAND(make, 7) THOUSAND(make, 8) THOUSAND(make, 9)
/* clang-format on */

static volatile int called;
#define FUNCTION(number)                         \
    static void connection_opened_##number(void) \
    {                                            \
        called = 1##number;                      \
    }
#define NAME(number) connection_opened_##number,
TEN_THOUSAND(FUNCTION)
static void (*const functions[])(void) = {TEN_THOUSAND(NAME)};

extern const char first_byte[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));

static uint32_t frame_in(struct trace_builder *made, uint32_t module, uint32_t function)
{
    return built_frame(made, module, (uint64_t)((const char *)functions[function] - first_byte) + 2);
}

static void handles_left_open(struct trace_builder *made, uint32_t handles, uint32_t sites, unsigned depth)
{
    char path[4096] = "";
    required(readlink("/proc/self/exe", path, sizeof path - 1) > 0, "readlink");
    uint32_t module = built_module_of_file(made, path), frames[64], first = 0;
    for (unsigned i = 1; i < depth; i++)
        frames[i] = frame_in(made, module, i);
    for (uint32_t i = 0; i < sites; i++) {
        frames[0] = frame_in(made, module, i);
        first = built_site(made, KIND_SQLITE3_CONNECTION, built_stack(made, frames, depth)) - i;
    }
    for (uint32_t i = 0; i < handles; i++) {
        struct trace_handle *handle = built_handle(made, first + i % sites);
        handle->reference = REFERENCE_NONE;
        handle->opened = handle->last_used = BUILT_AT(1) + i * 10000u;
    }
}

int main(int count, char **arguments)
{
    required(count == 5, "usage: bench_trace FILE HANDLES SITES DEPTH");
    unsigned sites = (unsigned)atoi(arguments[3]), depth = (unsigned)atoi(arguments[4]);
    required(sites > 0 && sites <= sizeof functions / sizeof functions[0] && depth > 0 && depth <= 64, "range");
    struct trace_builder *made = builder_begun();
    handles_left_open(made, (uint32_t)atol(arguments[2]), sites, depth);
    trace_written(made, arguments[1]);
    builder_freed(made);
    return 0;
}
