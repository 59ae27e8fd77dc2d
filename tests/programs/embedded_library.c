/* SPDX-License-Identifier: Apache-2.0 */
/* build: */
/* Loads embeds_library.so, named by its argument, and lets it work. */
#include <dlfcn.h>
#include <stddef.h>

int main(int count, char **words)
{
    void *module = count > 1 ? dlopen(words[1], RTLD_NOW) : NULL;
    if (!module)
        return 1;
    ((void (*)(void))dlsym(module, "module_used"))();
    return 0;
}
