/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debuginfod.h: debug files from the servers in DEBUGINFOD_URLS, through elfutils' client library, loaded when first asked.
 *
 * This is the only way to the network; who does not call it does not use it. Waits as long as DEBUGINFOD_TIMEOUT says.
 */
#ifndef UNCLOSED_REPORTS_DEBUGINFOD_H
#define UNCLOSED_REPORTS_DEBUGINFOD_H

#include <stddef.h>
#include <stdint.h>

struct debuginfod;

/* Does not fail but for lack of memory (NULL): without the library or DEBUGINFOD_URLS, nothing is ever found. */
struct debuginfod *debuginfod_opened(void);
void debuginfod_closed(struct debuginfod *server); /* NULL is fine */

/* The path of the debug file in the client's cache, malloc'ed; NULL: not found. After a server that cannot be reached
 * no other question is asked. */
char *debuginfod_found(struct debuginfod *server, const uint8_t *build_id, size_t build_id_size);

#endif
