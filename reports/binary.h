/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binary.h: the ELF files of a module: its own, the debug file split off it, and that one's shared part (dwz).
 *
 * A file is taken only if it is the one that ran: its build-id is the recorded one, or that of the file which names it.
 * Nothing that a path may name makes us wait or do harm: no FIFO, device or directory is opened. Files are mapped, no
 * descriptor is kept; to truncate one meanwhile is fatal, to replace it is not. Not thread-safe.
 */
#ifndef UNCLOSED_REPORTS_BINARY_H
#define UNCLOSED_REPORTS_BINARY_H

#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debuginfod.h"
#include "symbols.h"

struct elf_file { /* all NULL: no such file */
    Elf *elf;
    Dwarf *dwarf;    /* NULL: holds no DWARF */
    char *directory; /* where it lies, symbolic links resolved; NULL: unknown */
};

struct binary {
    enum module_state state;
    struct elf_file main; /* none if missing or different */
    struct elf_file debug;
    struct elf_file shared;
    const struct elf_file *named; /* main or debug, whichever has usable DWARF; NULL: neither */
    Elf *mini;                    /* .gnu_debugdata, unpacked, where there is no other .symtab; NULL: none */
    Dwfl *mini_owner;
};

/* build_id of size 0: the module has none; then a file without a build-id is taken for it. server NULL: ask nobody. */
void binary_opened(struct binary *binary, const struct symbol_options *options, struct debuginfod *server,
                   const char *path, const uint8_t *build_id, size_t build_id_size);
void binary_closed(struct binary *binary);

/* The file has a table of all its functions. */
bool has_symbol_table(Elf *elf);

/* A regular file that holds something (those of /proc do not). */
bool is_regular_file(const char *path);

#endif
