/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How our sitecustomize gets into a Python program: the directory python/ beside libunclosed.so comes in front of
 * PYTHONPATH, in this process only, before main.
 *
 *     PYTHONPATH=/a:/b   ->  /usr/lib/unclosed/python:/a:/b
 *     PYTHONPATH=        ->  /usr/lib/unclosed/python/       the last slash says: it was there, and empty
 *     (none)             ->  /usr/lib/unclosed/python
 *
 * An empty item would mean the current directory, hence no colon there. sitecustomize.py takes it away again before
 * anything of the program runs; what is exec'ed later comes by here again.
 */
#ifndef UNCLOSED_SHIM_INJECTION_H
#define UNCLOSED_SHIM_INJECTION_H

#include "shim.h"

/* The executable, or a library that it is linked with, is a Python interpreter. At load. */
HIDDEN bool is_python_program(void);

/* Where __libc_start_main is called: sets the variable, or tells as adapter "python" why not. Nothing in other programs. The
 * new environment is memory of ours that is never freed; setenv and its like copy it before they change it. */
HIDDEN void python_path_set(int count, char **arguments);

/* sitecustomize.py has taken the directory away: environ is the very array again that the kernel made, if nothing else was
 * changed meanwhile. What overwrites it to show a process title needs its strings side by side. */
HIDDEN void environment_given_back(void);

#endif
