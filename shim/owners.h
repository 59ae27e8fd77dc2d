/* SPDX-License-Identifier: Apache-2.0 */
/* Who handles belong to; see owners.c. Callers are in the guard and record. */
#ifndef UNCLOSED_SHIM_OWNERS_H
#define UNCLOSED_SHIM_OWNERS_H

#include "shim.h"

HIDDEN uint64_t owner_began(enum trace_owner_kind kind, const char *label, uint64_t parent); /* 0: table full */
HIDDEN void owner_ended(uint64_t id, const char *reason);                                    /* the first time counts */
HIDDEN void owner_labelled(uint64_t id, const char *label);
HIDDEN void owner_changed(uint32_t handle, uint64_t id);

/* What an owner (slot; 0: nobody) is called: a task of a request as the request, "GET /orders". A string, 0: nothing. */
HIDDEN uint32_t owner_label(uint32_t owner, bool of_threads);

/* thread_owners.c: this thread becomes an owner, until it ends, unless it is the first one. Sets thread.own_owner. */
HIDDEN void thread_owner_began(void);

/* Waits for threads that are just ending, 20 ms at most: for Python's shutdown, which comes when Python is done with them. */
HIDDEN void ending_threads_awaited(void);

#endif
