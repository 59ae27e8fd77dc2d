/* SPDX-License-Identifier: Apache-2.0 */
/* build: -lsqlite3 -pthread */
/*
 * A program with Python in it. Python's functions open connections through a function of ours; so does C, before the
 * interpreter is there, beside it, in a thread that it does not know, and after it is gone.
 *
 *     python_embedded local|global LIBPYTHON     loads it
 *     python_embedded again LIBPYTHON            loads it, unloads it, and loads it again
 *     python_embedded linked                     built with -DLINKED and libpython, shared or static
 *     python_embedded unused LIBPYTHON           loads it, and never starts the interpreter
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *object;
struct method {
    const char *name;
    object (*function)(object, object);
    int flags;
    const char *text;
};
enum { METHOD_NOARGS = 4 };

struct python {
    void (*initialize)(int signals);
    int (*finalize)(void);
    int (*run)(const char *source);
    object (*function)(struct method *, object self, object module);
    object (*module)(const char *name);
    int (*set)(object, const char *name, object value);
    object none;
};

static void opened_by_c(void)
{
    sqlite3 *database;
    if (sqlite3_open(":memory:", &database) != SQLITE_OK)
        abort();
    sqlite3_close(database);
}

static object opened_by_python(object self, object nothing)
{
    (void)nothing;
    opened_by_c();
    return self;
}

static void *opened_in_thread(void *nothing)
{
    opened_by_c();
    return nothing;
}

static const char program[] = "\n"
                              "def inner():\n"
                              "    opened()\n"
                              "def outer():\n"
                              "    list(map(lambda x: inner(), [1]))\n"
                              "outer()\n";

static void python_used(const struct python *python)
{
    static struct method method = {"opened", opened_by_python, METHOD_NOARGS, NULL};
    pthread_t thread;
    python->initialize(0);
    opened_by_c();
    if (pthread_create(&thread, NULL, opened_in_thread, NULL) != 0 || pthread_join(thread, NULL) != 0)
        abort();
    python->set(python->module("__main__"), "opened", python->function(&method, python->none, NULL));
    if (python->run(program) != 0 || python->finalize() != 0)
        abort();
    opened_by_c();
}

#ifdef LINKED
extern void Py_InitializeEx(int);
extern int Py_FinalizeEx(void);
extern int PyRun_SimpleString(const char *);
extern object PyCFunction_NewEx(struct method *, object, object);
extern object PyImport_AddModule(const char *);
extern int PyObject_SetAttrString(object, const char *, object);
extern char _Py_NoneStruct;

int main(void)
{
    opened_by_c();
    python_used(&(struct python){Py_InitializeEx, Py_FinalizeEx, PyRun_SimpleString, PyCFunction_NewEx,
                                 PyImport_AddModule, PyObject_SetAttrString, &_Py_NoneStruct});
    return 0;
}
#else
static void *loaded(const char *path, int flags)
{
    void *library = dlopen(path, flags);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    return library;
}

static struct python python_of(void *library)
{
    return (struct python){
        .initialize = (void (*)(int))dlsym(library, "Py_InitializeEx"),
        .finalize = (int (*)(void))dlsym(library, "Py_FinalizeEx"),
        .run = (int (*)(const char *))dlsym(library, "PyRun_SimpleString"),
        .function = (object(*)(struct method *, object, object))dlsym(library, "PyCFunction_NewEx"),
        .module = (object(*)(const char *))dlsym(library, "PyImport_AddModule"),
        .set = (int (*)(object, const char *, object))dlsym(library, "PyObject_SetAttrString"),
        .none = dlsym(library, "_Py_NoneStruct"),
    };
}

int main(int count, char **arguments)
{
    const char *way = count > 1 ? arguments[1] : "";
    opened_by_c();
    if (count < 3)
        return 2;
    for (int i = 0; i < (strcmp(way, "again") == 0 ? 2 : 1); i++) {
        void *library = loaded(arguments[2], RTLD_NOW | (strcmp(way, "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL));
        struct python python = python_of(library);
        if (strcmp(way, "unused") != 0)
            python_used(&python);
        dlclose(library);
        opened_by_c();
    }
    return 0;
}
#endif
