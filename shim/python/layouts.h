/* SPDX-License-Identifier: Apache-2.0 */
/* The layouts that are constant, for who knows them by version, and for loops that are faster with constants. */
#ifndef UNCLOSED_SHIM_PYTHON_LAYOUTS_H
#define UNCLOSED_SHIM_PYTHON_LAYOUTS_H

#include "layout.h"

/* What these have in common: 16 bytes of header, then a str's length, hash, state, and a bytes object's size, hash. */
#define OBJECTS_TO_3_11                                                                                  \
    .type = 8, .bytes_size = 16, .bytes_hash = 24, .bytes_data = 32, .text_length = 16, .text_hash = 24, \
    .text_state = 32, .text_state_shift = 2, .text_ascii = 48, .text_compact = 72

static const struct python_layout layout_3_9 = {.frames = FRAME_OBJECTS,
                                                .place_is_index = true,
                                                .index_unit = 1,
                                                .finalizing = 16,
                                                .interpreters = 24,
                                                .thread_frame = 24,
                                                .thread_id = 176,
                                                .previous = 24,
                                                .code = 32,
                                                .place = 104,
                                                .file = 104,
                                                .name = 112,
                                                .line_table = 120,
                                                .first_line = 40,
                                                OBJECTS_TO_3_11};

static const struct python_layout layout_3_10 = {.frames = FRAME_OBJECTS,
                                                 .place_is_index = true,
                                                 .index_unit = 2,
                                                 .finalizing = 16,
                                                 .interpreters = 24,
                                                 .thread_frame = 24,
                                                 .thread_cframe = 48,
                                                 .thread_id = 176,
                                                 .previous = 24,
                                                 .code = 32,
                                                 .place = 96,
                                                 .file = 104,
                                                 .name = 112,
                                                 .line_table = 120,
                                                 .first_line = 40,
                                                 OBJECTS_TO_3_11};

static const struct python_layout layout_3_11 = {.frames = FRAMES_WITH_ENTRY,
                                                 .frame_by_cframe = true,
                                                 .finalizing = 24,
                                                 .interpreters = 32,
                                                 .thread_cframe = 56,
                                                 .cframe_frame = 8,
                                                 .thread_id = 152,
                                                 .previous = 48,
                                                 .code = 32,
                                                 .place = 56,
                                                 .owner = 69,
                                                 .entry = 68,
                                                 .object_frame = 24,
                                                 .file = 112,
                                                 .name = 120,
                                                 .qualified_name = 128,
                                                 .line_table = 136,
                                                 .first_line = 72,
                                                 .bytecode = 184,
                                                 OBJECTS_TO_3_11};

static const struct python_layout layout_3_12 = {.frames = FRAMES_WITH_C_STACK,
                                                 .frame_by_cframe = true,
                                                 .finalizing = 24,
                                                 .thread_cframe = 56,
                                                 .cframe_frame = 0,
                                                 .thread_id = 136,
                                                 .previous = 8,
                                                 .code = 0,
                                                 .place = 56,
                                                 .owner = 70,
                                                 .object_frame = 24,
                                                 .file = 112,
                                                 .name = 120,
                                                 .qualified_name = 128,
                                                 .line_table = 136,
                                                 .first_line = 68,
                                                 .bytecode = 192,
                                                 .type = 8,
                                                 .bytes_size = 16,
                                                 .bytes_hash = 24,
                                                 .bytes_data = 32,
                                                 .text_length = 16,
                                                 .text_hash = 24,
                                                 .text_state = 32,
                                                 .text_state_shift = 2,
                                                 .text_ascii = 40,
                                                 .text_compact = 56};

#endif
