/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where CPython keeps what a walk needs: byte offsets inside its structures.
 *
 *     3.9, 3.10   thread state -> frame object -> f_back …               one eval call for each frame
 *     3.11        thread state -> cframe -> frame -> previous …          is_entry: where an eval call begins
 *     3.12        the same                                               a frame that belongs to the C stack stands between
 *     3.13, 3.14  thread state -> frame -> previous …                    the calls; offsets are the interpreter's own
 *
 * Sources: Include/cpython/{code,frameobject,pystate,unicodeobject,bytesobject}.h, Include/internal/pycore_{frame,runtime}.h
 * of 3.9.18, 3.10.13, 3.11.7 and 3.12.1 (offsets do not change between the patch versions of a minor version);
 * struct _Py_DebugOffsets in Include/internal/pycore_runtime.h of 3.13.5, pycore_debug_offsets.h of 3.14.10.
 */
#ifndef UNCLOSED_SHIM_PYTHON_LAYOUT_H
#define UNCLOSED_SHIM_PYTHON_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

enum python_frames {
    FRAME_OBJECTS,      /* to 3.10 */
    FRAMES_WITH_ENTRY,  /* 3.11 */
    FRAMES_WITH_C_STACK /* from 3.12 on */
};

/* Whose code objects, strings and bytes lie at the same offsets as in a version that is constant (layouts.h). */
enum python_objects { OBJECTS_OF_THEIR_OWN, OBJECTS_OF_3_9, OBJECTS_OF_3_11, OBJECTS_OF_3_12 };

struct python_layout {
    uint32_t version; /* PY_VERSION_HEX */
    enum python_objects objects;
    enum python_frames frames;
    bool free_threaded;
    bool frame_by_cframe;     /* the thread state points to a cframe, and that to the frame */
    bool place_is_index;      /* the frame has an index into the code (int), not a pointer into it */
    uint8_t index_unit;       /* … that counts this many bytes */
    uint8_t text_state_shift; /* bit where `kind` begins in the state of a str */
    uint16_t finalizing;      /* _PyRuntime: the thread state that finalizes */
    uint16_t
        interpreters; /* _PyRuntime, to 3.11: lock of the list of interpreters, the newest and the main one; else 0 */
    uint16_t thread_frame, thread_id;
    uint16_t thread_cframe, cframe_frame;                         /* 3.10 to 3.12; cframes lie on the C stack */
    uint16_t previous, code, place, owner, entry, bytecode_index; /* of a frame */
    uint16_t object_frame;                                        /* of a frame object; 0: the object is the frame */
    uint16_t file, name, qualified_name, line_table, first_line;  /* of a code object; qualified_name 0: has none */
    uint16_t bytecode, bytecodes; /* where its instructions begin; free-threaded 3.14: copies of them, by thread */
    uint16_t type;                /* of any object */
    uint16_t bytes_size, bytes_hash, bytes_data;
    uint16_t text_length, text_hash, text_state, text_ascii, text_compact; /* the last two: where characters begin */
};

/* False: this version is not known. `runtime` is its _PyRuntime. */
bool layout_found(struct python_layout *layout, uint32_t version, const void *runtime);

#endif
