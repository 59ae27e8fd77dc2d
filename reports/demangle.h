/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demangle.h: linkage names made readable and comparable.
 *
 * Names come from files that are not trusted: any bytes, any length. Not thread-safe. Results are malloc'ed; NULL: out
 * of memory.
 */
#ifndef UNCLOSED_REPORTS_DEMANGLE_H
#define UNCLOSED_REPORTS_DEMANGLE_H

/*
 * The name without what differs from build to build: clone suffixes (foo.constprop.0 → foo), a symbol version
 * (foo@@V2 → foo), the hash of Rust's legacy mangling (_ZN1a1b17h0123456789abcdefE → _ZN1a1bE).
 */
char *linkage_name_normalised(const char *linkage_name);

/*
 * The name for people, of a linkage name as found: C++ and Rust demangled, without parameters, return types and Rust's
 * hash; others as they are, without clone suffixes and versions. Template arguments are replaced by "<…>" where the name is longer than
 * 100 bytes with them.
 */
char *name_demangled(const char *linkage_name);

#endif
