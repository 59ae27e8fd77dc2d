/* SPDX-License-Identifier: Apache-2.0 */
/* Moments of trouble, and who held what then. Callers are in the guard and record. */
#ifndef UNCLOSED_SHIM_INCIDENTS_H
#define UNCLOSED_SHIM_INCIDENTS_H

#include "shim.h"

struct incident {
    const char *rule;   /* who judges it: "pool-exhausted" */
    const char *target; /* of what; passwords are taken out. NULL: not known */
    const char *text;   /* what the library said, or NULL */
    uint64_t waited;    /* ns */
    uint32_t stack;     /* where */
};

/* … and who holds the open handles of `held`: those of the target, where some are known by it. */
HIDDEN void incident_noted(const struct incident *incident, enum kind held);

/* PostgreSQL gives no more connections: these are ours. */
HIDDEN void server_full_noted(const char *message, const char *target, uint32_t stack);

/* A SQLite connection (slot, just used) was locked out: by transactions of other connections to the same file, or by none
 * of this process, which is not noted. */
HIDDEN void blocking_noted(uint32_t victim, const char *message, uint32_t stack);

#endif
