/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _unclosed._native: what the Python adapter says, passed on to the shim through unclosed.h.
 *
 * A kind, owner or state is an int. A handle is an int, which is the number itself, or any other object, which means its
 * address. `frame`, where it may be given: a frame object at which the Python part of the stack begins, or None.
 *
 * None of the functions raises, keeps an object, or touches a reference count but its result's. What they cannot make
 * sense of they pass over. Python code calls them, which never runs while an exception is pending; only thread_ended may,
 * and touches none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unclosed/unclosed.h>

#include "cpython.h"

enum { PLAIN_HEAD = 16, FREE_THREADED_HEAD = 32, HEAD_MAX = 32 };

static struct {
    size_t head;         /* bytes of an object's head in this interpreter */
    unsigned version[2]; /* {3, 12} */
} python;

/* --- what is given ------------------------------------------------------------------------------------------------------ */

static PyObject *type_of(PyObject *object)
{
    PyObject *type;
    memcpy(&type, (const char *)object + python.head - sizeof(type), sizeof(type));
    return type;
}

static bool is_a(PyObject *object, unsigned long built_in)
{
    return PyType_GetFlags(type_of(object)) & built_in;
}

static bool is_none(const PyObject *object)
{
    return object == &_Py_NoneStruct;
}

static unsigned long long number_of(PyObject *object)
{
    return is_a(object, TYPE_IS_INT) ? PyLong_AsUnsignedLongLongMask(object) : 0;
}

static const void *handle_of(PyObject *object)
{
    if (is_none(object))
        return NULL;
    return is_a(object, TYPE_IS_INT) ? (const void *)(uintptr_t)number_of(object) : object;
}

/* Valid while the object lives. NULL: it is no text, or has no UTF-8 form (lone surrogates). */
static const char *text_of(PyObject *object)
{
    if (!is_a(object, TYPE_IS_STR))
        return NULL;
    const char *text = PyUnicode_AsUTF8AndSize(object, NULL);
    if (!text)
        PyErr_Clear();
    return text;
}

/* --- what is given back --------------------------------------------------------------------------------------------------- */

static PyObject *nothing(void)
{
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

static PyObject *result(PyObject *made)
{
    if (made)
        return made;
    PyErr_Clear(); /* no memory */
    return nothing();
}

static PyObject *number(unsigned long long value)
{
    return result(PyLong_FromUnsignedLongLong(value));
}

/* --- behind a greenlet ---------------------------------------------------------------------------------------------------- */

struct frames {
    bool entered;
    const void *before;
};

/* Argument `place`, if it is there and is a frame, is where stacks begin until frames_left(). */
static struct frames frames_entered(PyObject *const *given, Py_ssize_t count, Py_ssize_t place)
{
    struct frames frames = {false, NULL};
    if (count > place && type_of(given[place]) == &PyFrame_Type) {
        frames.before = unclosed_frame_enter(given[place]);
        frames.entered = true;
    }
    return frames;
}

static void frames_left(struct frames frames)
{
    if (frames.entered)
        unclosed_frame_enter(frames.before);
}

/* --- handles ---------------------------------------------------------------------------------------------------------------- */

#define FUNCTION(name) static PyObject *name(PyObject *module, PyObject *const *given, Py_ssize_t count)
#define UNLESS_GIVEN(needed) \
    (void)module;            \
    if (count < (needed))    \
        return nothing();

/* kind(name[, parent_name]) -> int */
FUNCTION(kind)
{
    UNLESS_GIVEN(1)
    const char *name = text_of(given[0]);
    return number(name ? unclosed_kind(name, count > 1 ? text_of(given[1]) : NULL) : 0);
}

/* opened(kind, handle[, frame]) */
FUNCTION(opened)
{
    UNLESS_GIVEN(2)
    struct frames frames = frames_entered(given, count, 2);
    unclosed_opened((unclosed_kind_id)number_of(given[0]), handle_of(given[1]));
    frames_left(frames);
    return nothing();
}

/* closed(kind, handle, how[, frame]) */
FUNCTION(closed)
{
    UNLESS_GIVEN(3)
    struct frames frames = frames_entered(given, count, 3);
    unclosed_closed((unclosed_kind_id)number_of(given[0]), handle_of(given[1]),
                    (enum unclosed_ended)number_of(given[2]));
    frames_left(frames);
    return nothing();
}

/* used(kind, handle[, frame]) */
FUNCTION(used)
{
    UNLESS_GIVEN(2)
    struct frames frames = frames_entered(given, count, 2);
    unclosed_used((unclosed_kind_id)number_of(given[0]), handle_of(given[1]));
    frames_left(frames);
    return nothing();
}

/* transaction(kind, handle, state[, frame]) */
FUNCTION(transaction)
{
    UNLESS_GIVEN(3)
    struct frames frames = frames_entered(given, count, 3);
    unclosed_transaction((unclosed_kind_id)number_of(given[0]), handle_of(given[1]), (unsigned)number_of(given[2]));
    frames_left(frames);
    return nothing();
}

/* target(kind, handle, text) */
FUNCTION(target)
{
    UNLESS_GIVEN(3)
    unclosed_target((unclosed_kind_id)number_of(given[0]), handle_of(given[1]), text_of(given[2]));
    return nothing();
}

/* parent(kind, handle, parent_kind, parent_handle or None) */
FUNCTION(parent)
{
    UNLESS_GIVEN(4)
    unclosed_parent((unclosed_kind_id)number_of(given[0]), handle_of(given[1]), (unclosed_kind_id)number_of(given[2]),
                    handle_of(given[3]));
    return nothing();
}

/* detail(kind, handle, key, value) */
FUNCTION(detail)
{
    UNLESS_GIVEN(4)
    const char *key = text_of(given[2]);
    if (key)
        unclosed_detail((unclosed_kind_id)number_of(given[0]), handle_of(given[1]), key, text_of(given[3]));
    return nothing();
}

/* ignore(kind, handle) */
FUNCTION(ignore)
{
    UNLESS_GIVEN(2)
    unclosed_ignore((unclosed_kind_id)number_of(given[0]), handle_of(given[1]));
    return nothing();
}

/* --- moments ---------------------------------------------------------------------------------------------------------------- */

/* noticed(rule, kind, handle, text or None[, frame]) */
FUNCTION(noticed)
{
    UNLESS_GIVEN(4)
    const char *rule = text_of(given[0]);
    if (!rule)
        return nothing();
    struct frames frames = frames_entered(given, count, 4);
    unclosed_noticed(rule, (unclosed_kind_id)number_of(given[1]), handle_of(given[2]), text_of(given[3]));
    frames_left(frames);
    return nothing();
}

/* incident(rule, held_kind, target or None, text or None, waited_ns[, frame]) */
FUNCTION(incident)
{
    UNLESS_GIVEN(5)
    const char *rule = text_of(given[0]);
    if (!rule)
        return nothing();
    struct frames frames = frames_entered(given, count, 5);
    unclosed_incident(rule, (unclosed_kind_id)number_of(given[1]), text_of(given[2]), text_of(given[3]),
                      number_of(given[4]));
    frames_left(frames);
    return nothing();
}

/* --- owners ------------------------------------------------------------------------------------------------------------------- */

/* owner_begin(owner_kind, label or None, parent_id) -> int */
FUNCTION(owner_begin)
{
    UNLESS_GIVEN(3)
    return number(
        unclosed_owner_begin((enum unclosed_owner_kind)number_of(given[0]), text_of(given[1]), number_of(given[2])));
}

/* owner_enter(id) -> int */
FUNCTION(owner_enter)
{
    UNLESS_GIVEN(1)
    return number(unclosed_owner_enter(number_of(given[0])));
}

/* owner_end(id, reason or None) */
FUNCTION(owner_end)
{
    UNLESS_GIVEN(1)
    unclosed_owner_end(number_of(given[0]), count > 1 ? text_of(given[1]) : NULL);
    return nothing();
}

/* owner_label(id, label) */
FUNCTION(owner_label)
{
    UNLESS_GIVEN(2)
    const char *label = text_of(given[1]);
    if (label)
        unclosed_owner_label(number_of(given[0]), label);
    return nothing();
}

/* owned_by(kind, handle, owner_id) */
FUNCTION(owned_by)
{
    UNLESS_GIVEN(3)
    unclosed_owned_by((unclosed_kind_id)number_of(given[0]), handle_of(given[1]), number_of(given[2]));
    return nothing();
}

static const char sentinel_name[] = "_unclosed.thread";

static void thread_ended(PyObject *sentinel)
{
    unclosed_owner_end((uintptr_t)PyCapsule_GetPointer(sentinel, sentinel_name), "thread ended");
}

/* thread_sentinel(owner_id) -> an object whose end is the owner's: to be kept by nobody but the thread */
FUNCTION(thread_sentinel)
{
    UNLESS_GIVEN(1)
    uintptr_t owner = number_of(given[0]);
    return owner ? result(PyCapsule_New((void *)owner, sentinel_name, thread_ended)) : nothing();
}

/* --- who speaks, and about what ------------------------------------------------------------------------------------------------ */

/* adapter(name, version or None, problem or None) */
FUNCTION(adapter)
{
    UNLESS_GIVEN(1)
    const char *name = text_of(given[0]);
    if (name)
        unclosed_adapter(name, count > 1 ? text_of(given[1]) : NULL, count > 2 ? text_of(given[2]) : NULL);
    return nothing();
}

/* tp_dealloc, behind the head, ob_size, tp_name, tp_basicsize and tp_itemsize (Doc/c-api/typeobj.rst), of any type in any
 * version. */
static const void *destructor_at(PyObject *type)
{
    const void *destructor;
    memcpy(&destructor, (const char *)type + python.head + 4 * sizeof(void *), sizeof(destructor));
    return destructor;
}

/* The collector of cycles calls it by itself. */
static const void *finalizer_at(PyObject *type)
{
    const void *finalizer = PyType_GetSlot(type, Py_tp_finalize);
    if (!finalizer)
        PyErr_Clear();
    return finalizer;
}

/* What all classes written in Python share. NULL: it could not be found out. */
static const void *destructor_of_classes(void)
{
    PyObject *class = PyErr_NewException("_unclosed.class", NULL, NULL);
    if (!class) {
        PyErr_Clear();
        return NULL;
    }
    const void *destructor = destructor_at(class);
    Py_DecRef(class);
    return destructor;
}

/* destructor_of(type): what a client library closes below this type's destructor was closed by the garbage collector. A
 * destructor that is not the type's own tells nothing, and is passed over. */
FUNCTION(destructor_of)
{
    UNLESS_GIVEN(1)
    if (!is_a(given[0], TYPE_IS_TYPE))
        return nothing();
    const void *own = destructor_at(given[0]), *of_classes = destructor_of_classes();
    if (!own || !of_classes || own == of_classes || own == destructor_at(&PyBaseObject_Type))
        return nothing();
    unclosed_destructor(own);
    if (finalizer_at(given[0]))
        unclosed_destructor(finalizer_at(given[0]));
    return nothing();
}

/* Is it of the type that a module which is loaded has under this name? */
static bool is_instance(PyObject *object, const char *module_name, const char *type_name)
{
    PyObject *module = PyDict_GetItemString(PyImport_GetModuleDict(), module_name);
    PyObject *type = module ? PyObject_GetAttrString(module, type_name) : NULL;
    if (!type) {
        PyErr_Clear();
        return false;
    }
    bool is = is_a(type, TYPE_IS_TYPE) && PyType_IsSubtype(type_of(object), type);
    Py_DecRef(type);
    return is;
}

/* sqlite_handle(connection) -> the sqlite3 * of a sqlite3.Connection, 0: none. No attribute is read, which another thread
 * might not. The first member of pysqlite_Connection (Modules/_sqlite/connection.h, 3.9 to 3.14). */
FUNCTION(sqlite_handle)
{
    UNLESS_GIVEN(1)
    uintptr_t database = 0;
    if (python.version[1] <= 14 && is_instance(given[0], "_sqlite3", "Connection"))
        memcpy(&database, (const char *)given[0] + python.head, sizeof(database));
    return number(database);
}

/* mysql_handle(connection) -> the MYSQL * of a MySQLdb connection, 0: none. MYSQL itself is the first member
 * (mysqlclient, MySQLdb/_mysql.c, 1.3 to 2.2). */
FUNCTION(mysql_handle)
{
    UNLESS_GIVEN(1)
    return number(is_instance(given[0], "MySQLdb._mysql", "connection") ? (uintptr_t)given[0] + python.head : 0);
}

/* --- the module ------------------------------------------------------------------------------------------------------------------- */

#define METHOD(name)                               \
    {                                              \
#name, (void *)(name), METH_FASTCALL, NULL \
    }
static struct PyMethodDef methods[] = {
    METHOD(kind),          METHOD(opened),       METHOD(closed),
    METHOD(used),          METHOD(transaction),  METHOD(target),
    METHOD(parent),        METHOD(detail),       METHOD(ignore),
    METHOD(noticed),       METHOD(incident),     METHOD(owner_begin),
    METHOD(owner_enter),   METHOD(owner_end),    METHOD(owner_label),
    METHOD(owned_by),      METHOD(adapter),      METHOD(destructor_of),
    METHOD(sqlite_handle), METHOD(mysql_handle), METHOD(thread_sentinel),
    {NULL, NULL, 0, NULL},
};

static int constants_added(PyObject *module)
{
    static const struct {
        const char *name;
        long value;
    } constants[] = {
        {"EXPLICIT", UNCLOSED_EXPLICIT},
        {"GC", UNCLOSED_GC},
        {"FINALIZATION", UNCLOSED_FINALIZATION},
        {"INVALIDATED", UNCLOSED_INVALIDATED},
        {"DETACHED", UNCLOSED_DETACHED},
        {"OWNER_GONE", UNCLOSED_OWNER_GONE},
        {"WITH_PARENT", UNCLOSED_WITH_PARENT},
        {"THREAD", UNCLOSED_THREAD},
        {"TASK", UNCLOSED_TASK},
        {"REQUEST", UNCLOSED_REQUEST},
        {"TEST", UNCLOSED_TEST},
        {"NO_TRANSACTION", UNCLOSED_NO_TRANSACTION},
        {"TRANSACTION", UNCLOSED_TRANSACTION},
        {"TRANSACTION_WROTE", UNCLOSED_TRANSACTION_WROTE},
        {"TRANSACTION_FAILED", UNCLOSED_TRANSACTION_FAILED},
    };
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) != 0)
            return -1;
    return 0;
}

static struct PyModuleDef_Slot slots[4];

/* The head is as long as the interpreter's; the definition begins behind it. */
static _Alignas(16) unsigned char definition_with_head[HEAD_MAX + sizeof(struct module_definition)];

static void slots_filled(void)
{
    struct PyModuleDef_Slot *next = slots;
    *next++ = (struct PyModuleDef_Slot){Py_mod_exec, (void *)constants_added};
    if (python.version[1] >= 12)
        *next++ = (struct PyModuleDef_Slot){Py_mod_multiple_interpreters, (void *)Py_MOD_PER_INTERPRETER_GIL_SUPPORTED};
    if (python.version[1] >= 13)
        *next++ = (struct PyModuleDef_Slot){Py_mod_gil, (void *)Py_MOD_GIL_NOT_USED};
}

/* When the file is loaded, which is once, whatever interpreters and threads import it afterwards. */
__attribute__((constructor)) static void interpreter_recognised(void)
{
    const char *version = Py_GetVersion();
    python.head = strstr(version, "free-threading") ? FREE_THREADED_HEAD : PLAIN_HEAD;
    for (int part = 0; part < 2 && *version; part++, version += *version != 0)
        for (; *version >= '0' && *version <= '9'; version++)
            python.version[part] = python.version[part] * 10 + (unsigned)(*version - '0');
    slots_filled();
    const struct module_definition definition = {.name = "_native", .methods = methods, .slots = slots};
    memcpy(definition_with_head + python.head, &definition, sizeof(definition));
}

__attribute__((visibility("default"))) PyObject *PyInit__native(void)
{
    return PyModuleDef_Init(definition_with_head);
}
