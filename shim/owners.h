/* SPDX-License-Identifier: Apache-2.0 */
/* Who handles belong to; see owners.c. Callers are in the guard and record. */
#ifndef UNCLOSED_SHIM_OWNERS_H
#define UNCLOSED_SHIM_OWNERS_H

#include "shim.h"

HIDDEN uint64_t owner_began(enum trace_owner_kind kind, const char *label, uint64_t parent); /* 0: table full */
HIDDEN void owner_ended(uint64_t id, const char *reason);
HIDDEN void owner_labelled(uint64_t id, const char *label);
HIDDEN void owner_changed(uint32_t handle, uint64_t id);

/* Records an incident and who holds every open handle of `kind` now. */
HIDDEN void incident_noted(const char *rule, enum kind kind, const char *target, const char *text, uint64_t waited,
                           uint32_t stack);

#endif
