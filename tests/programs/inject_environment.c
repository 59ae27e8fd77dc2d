/* SPDX-License-Identifier: Apache-2.0 */
/* build: -rdynamic */
/* A program that looks like a Python interpreter to the shim, changes its environment in every way, and shows it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

void Py_InitializeEx(int signals);
void Py_InitializeEx(int signals)
{
    (void)signals;
}

static void shown(const char *when)
{
    const char *value = getenv("PYTHONPATH");
    size_t count = 0, variables = 0;
    for (char **entry = environ; entry && *entry; entry++, variables++)
        count += strncmp(*entry, "PYTHONPATH=", 11) == 0;
    printf("%s|%s|%zu|%s\n", when, value ? value : "(none)", count, getenv("AFTER") ? getenv("AFTER") : "(none)");
}

int main(int count, char **arguments, char **environment)
{
    static char entry[] = "PYTHONPATH=put";
    (void)count, (void)arguments;
    printf("same %d\n", environment == environ);
    shown("start");
    setenv("AFTER", "1", 1);
    shown("another set");
    setenv("PYTHONPATH", "changed", 1);
    shown("set");
    putenv(entry);
    shown("put");
    unsetenv("PYTHONPATH");
    shown("unset");
    clearenv();
    setenv("PYTHONPATH", "new", 0);
    shown("cleared");
    return 0;
}
