/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls without libc: for code that runs where a lock of libc may be held for ever (the copy of a process made
 * at exit), or where errno and hooks must not be touched.
 *
 * raw_syscall0 … raw_syscall6 take the call's number (SYS_…) and its arguments as long; pointers are cast by the caller.
 * They return what the kernel returns: a result, or -errno. errno is left alone; no cancellation point; safe in signal
 * handlers, in vfork children and after a raw clone.
 */
#ifndef UNCLOSED_RAW_SYSCALL_H
#define UNCLOSED_RAW_SYSCALL_H

#include <sys/syscall.h>

#if defined(__x86_64__)

static inline long raw_syscall6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

static inline long raw_syscall6(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
}

#else
#error "raw_syscall.h: write raw_syscall6 for this machine"
#endif

static inline long raw_syscall0(long number)
{
    return raw_syscall6(number, 0, 0, 0, 0, 0, 0);
}
static inline long raw_syscall1(long number, long a)
{
    return raw_syscall6(number, a, 0, 0, 0, 0, 0);
}
static inline long raw_syscall2(long number, long a, long b)
{
    return raw_syscall6(number, a, b, 0, 0, 0, 0);
}
static inline long raw_syscall3(long number, long a, long b, long c)
{
    return raw_syscall6(number, a, b, c, 0, 0, 0);
}
static inline long raw_syscall4(long number, long a, long b, long c, long d)
{
    return raw_syscall6(number, a, b, c, d, 0, 0);
}
static inline long raw_syscall5(long number, long a, long b, long c, long d, long e)
{
    return raw_syscall6(number, a, b, c, d, e, 0);
}

/* For calls whose result may be any address: mmap, mremap. */
static inline int raw_syscall_failed(long result)
{
    return (unsigned long)result > -4096ul;
}

#endif
