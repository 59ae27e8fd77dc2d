/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that a file in shim/libraries/ needs: how a wrapper is written, and what it can say.
 *
 *     WRAP(int, sqlite3_close, (sqlite3 *db))
 *     {
 *         CALL(sqlite3_close, db);                        what is called, by whom, with which handle; declares `real`
 *         closing(SQLITE3_CONNECTION, db);                before the real close: its address may be reused at once
 *         int rc = real(db);
 *         closed(.refused = rc != SQLITE_OK, .code = rc);
 *         return rc;
 *     }
 *
 * CALL makes two locals: `real`, the library's own function (never NULL), and `call`, which the other macros use. A
 * call that the library makes to itself (PQconnectdb calls PQconnectStart), one that a signal handler makes into the
 * shim, and any call while nothing is recorded run `real` alone: then the macros do nothing. errno is as `real` leaves it.
 *
 * The function must be listed in functions.def. The compiler checks the wrapper against the library's own header.
 */
#ifndef UNCLOSED_SHIM_WRAP_H
#define UNCLOSED_SHIM_WRAP_H

#include "definitions.h"
#include "handles.h"
#include "shim.h"

struct call {
    const uintptr_t *frame;    /* of the wrapper: who called */
    function_address function; /* the real one */
    const char *name;          /* "sqlite3_open" */
    unsigned copy;             /* of the library */
    bool recorded;
    uint32_t closing; /* slot of the handle that this call closes, 0: none */
};

#define WRAP(type, name, parameters) EXPORT HOT type name parameters

#define CALL(name, ...)                                                                                \
    struct call call = call_begun(FUNCTION_##name, (uintptr_t)(FIRST_OF(__VA_OPT__(__VA_ARGS__, ) 0)), \
                                  (const uintptr_t *)__builtin_frame_address(0));                      \
    __typeof__(&name) real = (__typeof__(&name))call.function
#define FIRST_OF(first, ...) first

/* Another function of the same copy of the library, listed as HELPER in functions.def. */
#define HELPER_OF(name) ((__typeof__(&name))helper_found(FUNCTION_##name, call.copy))

/* The open handle's slot, or 0. */
#define open_handle(kind, handle) (call.recorded ? handle_known(&call, KIND_##kind, (uintptr_t)(handle)) : 0)

/* A handle was opened, or an open failed; see struct opening. A NULL handle of a successful open is no handle. */
#define opened(kind, handle, ...)                                                                          \
    (call.recorded ? call_opened(&call, KIND_##kind, (uintptr_t)(handle),                                  \
                                 &(struct opening){.function = call.name, .copy = call.copy, __VA_ARGS__}) \
                   : 0)

/* A close begins / has returned. */
struct closing_result {
    bool refused; /* the handle is still open */
    bool zombie;  /* accepted, but it lives until its last child is gone */
    int code;     /* the library's error code */
};
#define closing(kind, handle)                                      \
    do                                                             \
        if (call.recorded)                                         \
            call_closing(&call, KIND_##kind, (uintptr_t)(handle)); \
    while (0)
#define closed(...)                                                    \
    do                                                                 \
        if (call.closing)                                              \
            call_closed(&call, &(struct closing_result){__VA_ARGS__}); \
    while (0)

/* The handle is used; of one that was closed, that is a fact. Gives its slot or 0. Before the real call, which may crash.
 * still_used: by a call that belongs to an earlier one, which has kept it busy until now. */
#define used(kind, handle) (call.recorded ? call_used(&call, KIND_##kind, (uintptr_t)(handle), false) : 0)
#define still_used(kind, handle) (call.recorded ? call_used(&call, KIND_##kind, (uintptr_t)(handle), true) : 0)

/* How the connection's transaction stands now, after the real call; see struct transaction_state. */
#define transaction(kind, connection_slot, ...)                                                        \
    do {                                                                                               \
        struct transaction_state state_ = {__VA_ARGS__};                                               \
        if (call.recorded && (connection_slot) && (state_.open || is_in_transaction(connection_slot))) \
            call_transaction(&call, KIND_##kind, connection_slot, &state_);                            \
    } while (0)

static inline bool is_in_transaction(uint32_t connection)
{
    return atomic_load_explicit(&handle_at(connection)->flags, memory_order_relaxed) & HANDLE_IN_TRANSACTION;
}

/* The connection is closed while a transaction is open. `wrote`: besides what transaction() has said. */
#define closed_in_transaction(wrote)                      \
    do                                                    \
        if (call.closing && transaction_of(call.closing)) \
            call_cut_transaction(&call, wrote);           \
    while (0)

/* Somebody got "busy": recorded with the caller's stack, and with the transactions that are in the way. */
#define busy(kind, handle, code, message)                                      \
    do                                                                         \
        if (call.recorded)                                                     \
            call_busy(&call, KIND_##kind, (uintptr_t)(handle), code, message); \
    while (0)

/* The server has no more connections to give. */
#define server_full(message, target)                    \
    do                                                  \
        if (call.recorded)                              \
            call_server_full(&call, (message), target); \
    while (0)

/* What an asynchronous open has come to. */
#define connecting_ended(kind, handle, has_failed)                               \
    do                                                                           \
        if (call.recorded)                                                       \
            call_connected(&call, KIND_##kind, (uintptr_t)(handle), has_failed); \
    while (0)

HIDDEN HOT struct call call_begun(enum function function, uintptr_t handle, const uintptr_t *frame);
HIDDEN HOT function_address helper_found(enum function function, unsigned copy);
HIDDEN HOT uint32_t call_opened(struct call *call, enum kind kind, uintptr_t handle, const struct opening *opening);
HIDDEN HOT void call_closing(struct call *call, enum kind kind, uintptr_t handle);
HIDDEN HOT void call_closed(struct call *call, const struct closing_result *result);
HIDDEN HOT uint32_t call_used(struct call *call, enum kind kind, uintptr_t handle, bool continued);
HIDDEN uint32_t handle_known(struct call *call, enum kind kind, uintptr_t handle);
HIDDEN void call_transaction(struct call *call, enum kind kind, uint32_t connection,
                             const struct transaction_state *state);
HIDDEN void call_cut_transaction(struct call *call, bool wrote);
HIDDEN void call_busy(struct call *call, enum kind kind, uintptr_t handle, int code, const char *message);
HIDDEN void call_server_full(struct call *call, const char *message, const char *target);
HIDDEN void call_connected(struct call *call, enum kind kind, uintptr_t handle, bool failed);

#endif
