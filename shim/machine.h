/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stack capture knows of the processor: the DWARF numbers of three registers. A new one goes here, and into
 * CALLER_OF_THIS_FUNCTION() if its frames do not begin with {saved frame pointer, return address}.
 */
#ifndef UNCLOSED_SHIM_MACHINE_H
#define UNCLOSED_SHIM_MACHINE_H

#if defined(__x86_64__) && !defined(__ILP32__)
enum { DWARF_FRAME_POINTER = 6, DWARF_STACK_POINTER = 7, DWARF_RETURN_ADDRESS = 16 };
#else
#error "stack capture does not know this processor yet"
#endif

#endif
