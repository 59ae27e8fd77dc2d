/* SPDX-License-Identifier: Apache-2.0 */
/*
 * symbols.h: names and lines for (module, offset).
 *
 * One instance per report; not thread-safe. Nothing in a trace is trusted: module paths may name anything, and only
 * absolute paths of regular ELF files are read, whose build-id is the recorded one. A wrong name is worse than none.
 *
 * Where names come from, best first: DWARF (2-5, split, dwz) of the file itself or of its separate debug file; .symtab;
 * .dynsym and .gnu_debugdata. Separate debug files are looked for by build-id in each of debug_paths and in
 * /usr/lib/debug, then by .gnu_debuglink beside the module, in its .debug/ and under those directories, then, only if
 * `debuginfod`, asked of the servers in DEBUGINFOD_URLS. A debug path may also simply hold the module with its symbols
 * (DIR/libfoo.so). A file that was replaced or deleted still gets its names where its debug file is found.
 */
#ifndef UNCLOSED_REPORTS_SYMBOLS_H
#define UNCLOSED_REPORTS_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct symbol_options {
    const char *sysroot;            /* put before module paths and /usr/lib/debug; NULL: none */
    const char *const *debug_paths; /* NULL-terminated, or NULL; sysroot is not put before them */
    bool debuginfod;
};

struct symbols;

/* Keeps `options` and what it points at: they must outlive the instance. NULL: out of memory. */
struct symbols *symbols_opened(const struct symbol_options *options);
void symbols_closed(struct symbols *symbols); /* NULL is fine */

struct symbol_frame {
    /* For people: demangled, without parameters, Rust's hash or a compiler's suffix (.cold, .constprop.0); template
     * arguments of long names are "<…>". "libfoo.so+0x1234" if nothing is known. Never NULL. */
    const char *function;
    /* For machines: as in the symbol table, without the suffixes, a symbol version and Rust's hash, which change from
     * build to build. NULL if and only if nothing is known. */
    const char *linkage_name;
    const char *file; /* absolute unless recorded otherwise; NULL: unknown */
    int line, column; /* 0: unknown */
    bool inlined;     /* into the next frame */
};

enum { SYMBOL_FRAMES_MAX = 64 }; /* more calls inlined into one place are cut off in the middle */

/*
 * The functions at a place, innermost (most inlined) first; the last one is the function that was really called.
 * offset: address minus the module's load bias, i.e. an ELF virtual address. is_return_address: the call before it is meant.
 * build_id NULL or of size 0: the module has none, and whether the file is still the same cannot be known.
 * Returns how many frames were written: at least 1 and at most `capacity`, which must be at least 1 (SYMBOL_FRAMES_MAX
 * for all; if there is less room the innermost and the last are kept). Strings live as long as `symbols`.
 * Asking again for the same place costs one hash lookup.
 */
size_t symbols_found(struct symbols *symbols, const char *module_path, const uint8_t *build_id, size_t build_id_size,
                     uint64_t offset, bool is_return_address, struct symbol_frame *frames, size_t capacity);

enum module_state {
    MODULE_MATCHES,       /* names and lines, of the very file that ran (or its debug file) */
    MODULE_MISSING,       /* no such file, or not one that may be read: no names */
    MODULE_DIFFERS,       /* the file has another build-id: its names would be lies, none are given */
    MODULE_NO_DEBUG_INFO, /* the file that ran, but function names at most: install debug symbols */
};

enum module_state symbols_module_state(struct symbols *symbols, const char *module_path, const uint8_t *build_id,
                                       size_t build_id_size);
const char *module_state_name(enum module_state state); /* "matches" "missing" "differs" "no-debug-info" */

#endif
