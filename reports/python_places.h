/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose code a Python code object is. Paths decide (place.h), but some need to be seen beside the others of the run:
 *
 *     /srv/venv/bin/uvicorn      third-party: a few lines that pip wrote, because code of /srv/venv/lib/python3.11/ is there
 *     <string>, create_engine    third-party: a function that a library wrote; the user's `python -c` begins with <module>
 *     …/python/_unclosed/x.py    driver: our own adapter
 */
#ifndef UNCLOSED_REPORTS_PYTHON_PLACES_H
#define UNCLOSED_REPORTS_PYTHON_PLACES_H

#include <stdbool.h>

#include "place.h"
#include "stacks.h"

/* What all code objects of `stacks` together tell; points into it. End with python_places_freed(). */
struct python_places *python_places_known(const struct stacks *stacks);
void python_places_freed(struct python_places *places);

/* `line`: where it was executing. `rules` may be NULL. */
enum code_owner python_owner(const struct python_places *places, const struct code_rules *rules,
                             const struct code *code, int line);

/* Is that file of our adapter, or our sitecustomize? */
bool is_of_adapter(const struct python_places *places, const char *file);

/* Is that (qualified) name of a list, set or dict comprehension? From 3.12 on they have no frames of their own. */
bool is_comprehension(const char *function);

#endif
