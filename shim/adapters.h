/* SPDX-License-Identifier: Apache-2.0 */
/* Who reports through unclosed.h. Kept in private memory, and told to each trace of this process and of its children. */
#ifndef UNCLOSED_SHIM_ADAPTERS_H
#define UNCLOSED_SHIM_ADAPTERS_H

#include "shim.h"

/* Takes the place of what was known of the same name. In the guard; recording need not have begun. */
HIDDEN void adapter_known(const char *name, const char *version, const char *problem);

/* The interpreter has begun to end, perhaps, but not to clear its modules: what is collected now was garbage. False where no
 * adapter tells: unclosed_adapter(ADAPTER_OF_MODULES, version, NULL) while they are whole, (…, NULL, NULL) from then on. */
#define ADAPTER_OF_MODULES "python.modules"
HIDDEN bool python_modules_are_whole(void);

/* Tells the trace what it has not been told yet. In the guard, while recording, without a lock held. */
HIDDEN void adapters_described(void);

extern HIDDEN _Atomic uint64_t adapters_described_in; /* epoch of the trace that knows all; 0: something is new */
static inline void adapters_told(void)
{
    if (unlikely(atomic_load_explicit(&adapters_described_in, memory_order_relaxed) != shim.epoch))
        adapters_described();
}

#endif
