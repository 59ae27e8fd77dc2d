/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unwind tables (.eh_frame, through .eh_frame_hdr) of loaded objects, reduced to what a walk needs to know of one
 * place in the code: how to find the caller's stack pointer, frame pointer and return address.
 *
 *     pushq %rbp; movq %rsp, %rbp; …; call f         ->  FRAME_BY_FRAME_POINTER, cfa = rbp + 16, ra at cfa - 8, rbp at cfa - 16
 *     subq $24, %rsp; …; call f                      ->  FRAME_BY_STACK_POINTER, cfa = rsp + 32, ra at cfa - 8, rbp kept
 *
 * Reads memory of loaded objects only. No lock and no system call with glibc 2.35 and newer (_dl_find_object); the
 * loader's lock, by dl_iterate_phdr, before.
 */
#ifndef UNCLOSED_SHIM_EH_FRAME_H
#define UNCLOSED_SHIM_EH_FRAME_H

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

enum frame_kind {
    FRAME_UNKNOWN,          /* not looked up yet */
    FRAME_WITHOUT_TABLE,    /* generated code, assembly without CFI, garbage: nothing leads further out */
    FRAME_OUTERMOST,        /* return address undefined: _start, a thread's or a context's first function */
    FRAME_BY_STACK_POINTER, /* cfa = stack pointer + cfa_offset */
    FRAME_BY_FRAME_POINTER, /* cfa = frame pointer + cfa_offset */
    FRAME_REALIGNED,        /* cfa = word at (frame pointer + cfa_offset); saved frame pointer at frame pointer */
    FRAME_OF_SIGNAL,        /* the trampoline; the next frame outward was interrupted, it made no call */
    FRAME_DIFFICULT,        /* anything else: an unwinder's job */
};

/* One word, so that it is read and written at once. */
struct frame_rule {
    int32_t cfa_offset;           /* bytes */
    int16_t frame_pointer_offset; /* bytes from the cfa; 0: not saved */
    int8_t return_address_offset; /* words from the cfa */
    uint8_t kind;                 /* enum frame_kind */
};
_Static_assert(sizeof(struct frame_rule) == sizeof(uint64_t), "read and written at once");

/* The rule at an instruction (for a frame that made a call: any byte of the call instruction). */
struct frame_rule frame_rule_at(uintptr_t instruction);

/* In a child that may find the loader's lock taken for ever: what would need it is not found from now on. */
void loader_lock_avoided(void);

/* False if addresses cannot be found any more, by this or by libgcc, without that lock. */
bool addresses_can_be_found(void);

/* The loaded object that holds an address and has an .eh_frame_hdr. */
struct loaded_object {
    const char *name;
    uintptr_t bias;             /* address in memory - address in the file */
    const ElfW(Phdr) * headers; /* NULL if they are not in memory */
    unsigned header_count;
    const uint8_t *eh_frame_hdr;
};
bool loaded_object_found(uintptr_t address, struct loaded_object *object);

#endif
