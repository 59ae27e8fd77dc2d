/* SPDX-License-Identifier: Apache-2.0 */
#include "dlsym.h"

        .text

/* The entry: arguments are kept over the question, then control goes on with the caller's own return address on the stack. */
        .macro  entry name, destination
        .globl  \name
        .type   \name, @function
        .p2align 4
\name:
        .cfi_startproc
        endbr64
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        pushq   %rdx
        .cfi_adjust_cfa_offset 8
        call    \destination
        popq    %rdx
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        jmpq    *%rax
        .cfi_endproc
        .size   \name, . - \name
        .endm

        .hidden dlsym_destination
        .hidden dlvsym_destination
        entry   dlsym, dlsym_destination
        entry   dlvsym, dlvsym_destination

/* All argument registers are the wrapper's, %rax (variadic functions) and %r10 included: only %r11 is free. */
        .type   stub_taken, @function
        .p2align 4
stub_taken:
        .cfi_startproc
        pushq   %rax
        .cfi_adjust_cfa_offset 8
        pushq   %rcx
        .cfi_adjust_cfa_offset 8
        shll    $4, %r11d                       /* sizeof (struct stub) */
        leaq    dlsym_stubs(%rip), %rax
        addq    %rax, %r11
        movq    (%r11), %rax                    /* binding */
        movq    stub_binding@gottpoff(%rip), %rcx
        movq    %rax, %fs:(%rcx)
        movq    8(%r11), %r11                   /* wrapper */
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        popq    %rax
        .cfi_adjust_cfa_offset -8
        jmpq    *%r11
        .cfi_endproc
        .size   stub_taken, . - stub_taken

        .hidden dlsym_stubs
        .hidden stub_binding
        .hidden dlsym_stub_code
        .globl  dlsym_stub_code
        .type   dlsym_stub_code, @function
        .p2align 4
dlsym_stub_code:
        .cfi_startproc
        .set    number, 0
        .rept   STUB_COUNT
        endbr64
        movl    $number, %r11d
        jmp     stub_taken
        .p2align 4
        .set    number, number + 1
        .endr
        .cfi_endproc
        .size   dlsym_stub_code, . - dlsym_stub_code

        .section .note.GNU-stack, "", @progbits
