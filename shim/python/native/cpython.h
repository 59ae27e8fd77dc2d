/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of CPython's C API that _native uses, declared here instead of by Python.h: so that one file, built without
 * any Python, is loaded by every CPython from 3.9 on, also by builds without the GIL.
 *
 * All of it is documented API that did not change from 3.9 to 3.14 (Doc/c-api, Include/moduleobject.h, methodobject.h,
 * pycapsule.h), and all functions but those marked are part of the stable ABI. What differs between versions and builds
 * is known only at run time:
 *
 *     an object begins with        {refcount, type}                                     16 bytes
 *     on a build without the GIL   {thread, flags, mutex, gc, local, shared, type}      32 bytes (PEP 703)
 *
 * so that `type` is in the last 8 bytes of the head, and a C object's own members begin right behind it.
 */
#ifndef UNCLOSED_SHIM_PYTHON_NATIVE_CPYTHON_H
#define UNCLOSED_SHIM_PYTHON_NATIVE_CPYTHON_H

#include <stdint.h>

typedef intptr_t Py_ssize_t;
typedef struct _object PyObject;

/* --- modules (PEP 489) ------------------------------------------------------------------------------------------------- */

typedef PyObject *fast_function(PyObject *module, PyObject *const *given, Py_ssize_t count);
enum { METH_FASTCALL = 0x80 };

struct PyMethodDef {
    const char *name;
    void *function;
    int flags;
    const char *documentation;
};

/* From Include/moduleobject.h. A slot that a version does not know makes the import fail. */
enum module_slot {
    Py_mod_exec = 2,
    Py_mod_multiple_interpreters = 3, /* from 3.12 on */
    Py_mod_gil = 4,                   /* from 3.13 on */
};
enum { Py_MOD_PER_INTERPRETER_GIL_SUPPORTED = 2, Py_MOD_GIL_NOT_USED = 1 };

struct PyModuleDef_Slot {
    int slot;
    void *value;
};

struct module_definition { /* struct PyModuleDef behind its object head */
    PyObject *(*initial)(void);
    Py_ssize_t index;
    PyObject *copy;
    const char *name;
    const char *documentation;
    Py_ssize_t size;
    struct PyMethodDef *methods;
    struct PyModuleDef_Slot *slots;
    void *traverse, *clear, *free;
};

PyObject *PyModuleDef_Init(void *definition);
int PyModule_AddIntConstant(PyObject *module, const char *name, long value);

/* --- objects ----------------------------------------------------------------------------------------------------------- */

/* Of type objects, from Include/object.h: which built-in types a type derives from. */
static const unsigned long TYPE_IS_INT = 1ul << 24, TYPE_IS_STR = 1ul << 28, TYPE_IS_TYPE = 1ul << 31;

extern PyObject _Py_NoneStruct, PyBaseObject_Type, PyFrame_Type /* not stable ABI */;

const char *Py_GetVersion(void); /* "3.13.0 experimental free-threading build (main, …": needs no interpreter */
void Py_IncRef(PyObject *object);
void Py_DecRef(PyObject *object);
unsigned long PyType_GetFlags(PyObject *type);
int PyType_IsSubtype(PyObject *type, PyObject *base);
void *PyType_GetSlot(PyObject *type, int slot); /* before 3.10 fails for types that were not made at run time */
enum { Py_tp_finalize = 80 };
PyObject *PyObject_GetAttrString(PyObject *object, const char *name);
PyObject *PyImport_GetModuleDict(void);                                 /* borrowed */
PyObject *PyDict_GetItemString(PyObject *dictionary, const char *name); /* borrowed */
PyObject *PyErr_NewException(const char *name, PyObject *base, PyObject *dictionary);

unsigned long long PyLong_AsUnsignedLongLongMask(PyObject *integer); /* of an int: never fails */
PyObject *PyLong_FromUnsignedLongLong(unsigned long long number);
const char *PyUnicode_AsUTF8AndSize(PyObject *text,
                                    Py_ssize_t *size); /* stable ABI from 3.10 on; lives as long as text */

PyObject *PyCapsule_New(void *pointer, const char *name, void (*destructor)(PyObject *capsule));
void *PyCapsule_GetPointer(PyObject *capsule, const char *name);

PyObject *PyErr_Occurred(void); /* borrowed */
void PyErr_Fetch(PyObject **type, PyObject **value, PyObject **traceback);
void PyErr_Restore(PyObject *type, PyObject *value, PyObject *traceback);
void PyErr_Clear(void);

#endif
