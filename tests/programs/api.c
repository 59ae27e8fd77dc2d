/* SPDX-License-Identifier: Apache-2.0 */
/* build: -O1 -pthread */
/* Every function of unclosed.h. Without the shim they do nothing; what it prints is the same. */
#include <stdio.h>
#include <unclosed/unclosed.h>

#define NOINLINE __attribute__((noinline))

static char parent, child, ignored, twice, ended[7], owned, given, unknown;

NOINLINE static void open_parent_and_child(unclosed_kind_id pool, unclosed_kind_id lease)
{
    unclosed_opened(pool, &parent); /* parent */
    unclosed_target(pool, &parent, "https://user:hunter2@example.org/db?password=hunter2");
    unclosed_detail(pool, &parent, "tenant", "first");
    unclosed_detail(pool, &parent, "tenant", "second");
    unclosed_opened_at(lease, &child, NULL);
    unclosed_parent(lease, &child, pool, &parent);
}

static void close_twice_and_use(unclosed_kind_id lease)
{
    unclosed_opened(lease, &twice);
    unclosed_used(lease, &twice);
    unclosed_closed(lease, &twice, UNCLOSED_EXPLICIT);
    unclosed_closed(lease, &twice, UNCLOSED_EXPLICIT);
    unclosed_used(lease, &twice);
}

static void end_in_every_way(unclosed_kind_id lease)
{
    for (int how = UNCLOSED_EXPLICIT; how <= UNCLOSED_OWNER_GONE; how++) {
        unclosed_opened(lease, &ended[how]);
        unclosed_closed(lease, &ended[how], (enum unclosed_ended)how);
    }
}

static void work_for_owners(unclosed_kind_id lease)
{
    unclosed_owner_id request = unclosed_owner_begin(UNCLOSED_REQUEST, "GET /orders", 0);
    unclosed_owner_id task = unclosed_owner_begin(UNCLOSED_TASK, "load", request);
    unclosed_owner_id before = unclosed_owner_enter(task);
    unclosed_opened(lease, &owned);
    unclosed_owner_enter(before);
    unclosed_opened(lease, &given);
    unclosed_owned_by(lease, &given, request);
    unclosed_incident("pool-exhausted", lease, "https://example.org", "no lease for 3 s", 3000000000u);
    unclosed_owner_end(task, "ValueError");
    unclosed_owner_end(request, NULL);
    unclosed_closed(lease, &owned, UNCLOSED_EXPLICIT);
    unclosed_closed(lease, &given, UNCLOSED_EXPLICIT);
}

static void nonsense_is_harmless(unclosed_kind_id lease)
{
    unclosed_opened(0, &unknown);
    unclosed_closed(0, &unknown, UNCLOSED_EXPLICIT);
    unclosed_closed(lease, &unknown, UNCLOSED_EXPLICIT);
    unclosed_used(lease, &unknown);
    unclosed_target(lease, &unknown, NULL);
    unclosed_detail(lease, &unknown, NULL, NULL);
    unclosed_opened(12345, &unknown);
    unclosed_opened(lease, NULL);
    unclosed_parent(lease, &unknown, lease, &unknown);
    unclosed_owner_end(12345, NULL);
    unclosed_owner_enter(0);
    unclosed_incident(NULL, 0, NULL, NULL, 0);
    unclosed_kind(NULL, NULL);
    unclosed_kind("a name that is too long for a kind, which may have 63 bytes, no more", NULL);
}

int main(void)
{
    unclosed_kind_id pool = unclosed_kind("api.pool", NULL);
    unclosed_kind_id lease = unclosed_kind("api.lease", "api.pool");
    if (unclosed_kind("api.lease", NULL) != lease)
        return 1;
    open_parent_and_child(pool, lease);
    unclosed_opened(lease, &ignored);
    unclosed_ignore(lease, &ignored);
    close_twice_and_use(lease);
    end_in_every_way(lease);
    work_for_owners(lease);
    nonsense_is_harmless(lease);
    puts("done");
}
