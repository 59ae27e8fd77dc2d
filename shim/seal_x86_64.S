/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall(): passes on by a jump, all registers and the stack as they came, for syscall(SYS_clone, …) returns twice.
 * Only seccomp (317), and the first call of all, take the way round.
 */
        .text
        .globl  syscall
        .type   syscall, @function
syscall:
        .cfi_startproc
        cmp     $317, %rdi
        je      1f
        mov     real_syscall(%rip), %rax
        test    %rax, %rax
        je      1f
        jmp     *%rax
1:
        push    %rdi
        .cfi_adjust_cfa_offset 8
        push    %rsi
        .cfi_adjust_cfa_offset 8
        push    %rdx
        .cfi_adjust_cfa_offset 8
        push    %rcx
        .cfi_adjust_cfa_offset 8
        push    %r8
        .cfi_adjust_cfa_offset 8
        push    %r9
        .cfi_adjust_cfa_offset 8
        sub     $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    real_syscall_found
        mov     48(%rsp), %rdi
        mov     40(%rsp), %rsi
        mov     32(%rsp), %rdx
        mov     24(%rsp), %rcx
        call    syscall_seen
        add     $8, %rsp
        .cfi_adjust_cfa_offset -8
        pop     %r9
        .cfi_adjust_cfa_offset -8
        pop     %r8
        .cfi_adjust_cfa_offset -8
        pop     %rcx
        .cfi_adjust_cfa_offset -8
        pop     %rdx
        .cfi_adjust_cfa_offset -8
        pop     %rsi
        .cfi_adjust_cfa_offset -8
        pop     %rdi
        .cfi_adjust_cfa_offset -8
        mov     real_syscall(%rip), %rax
        jmp     *%rax
        .cfi_endproc
        .size   syscall, . - syscall
        .section .note.GNU-stack, "", @progbits
