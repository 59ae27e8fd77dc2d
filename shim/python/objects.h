/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an interpreter's memory. What is read must be alive: held by a frame of the calling thread, or by its caller. */
#ifndef UNCLOSED_SHIM_PYTHON_OBJECTS_H
#define UNCLOSED_SHIM_PYTHON_OBJECTS_H

#include "layout.h"

typedef uintptr_t __attribute__((may_alias)) object_word;
typedef int32_t __attribute__((may_alias)) object_number;
typedef uint8_t __attribute__((may_alias)) object_byte;

static inline uintptr_t word_at(uintptr_t object, unsigned offset)
{
    return *(const object_word *)(object + offset);
}

static inline int32_t number_at(uintptr_t object, unsigned offset)
{
    return *(const object_number *)(object + offset);
}

static inline uint8_t byte_at(uintptr_t object, unsigned offset)
{
    return *(const object_byte *)(object + offset);
}

#endif
