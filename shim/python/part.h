/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNCLOSED_SHIM_PYTHON_PART_H
#define UNCLOSED_SHIM_PYTHON_PART_H

#include "python.h"

/* In a forked child, where another thread may have been looking something up. */
HIDDEN void parts_forked(void);

#endif
