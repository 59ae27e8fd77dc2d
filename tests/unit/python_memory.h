/* SPDX-License-Identifier: Apache-2.0 */
/* An interpreter of 3.11 that is nothing but memory: objects, code, frames and a thread that runs them. */
#ifndef UNCLOSED_TESTS_PYTHON_MEMORY_H
#define UNCLOSED_TESTS_PYTHON_MEMORY_H

#include <string.h>

#include "python/interpreter.h"
#include "python/layouts.h"
#include "shim.h"

static char code_type, text_type, bytes_type, frame_type;
static uint64_t runtime[16];
static _Thread_local uint64_t thread_state_made[32], cframe_made[2];

static void word_put(void *object, unsigned offset, uint64_t word)
{
    memcpy((char *)object + offset, &word, sizeof word);
}

static void number_put(void *object, unsigned offset, uint32_t number)
{
    memcpy((char *)object + offset, &number, sizeof number);
}

struct made_text {
    char bytes[8192];
};
struct made_bytes {
    char bytes[128];
};
struct made_code {
    char bytes[512];
};
struct made_frame {
    char bytes[128];
};

/* kind: bytes of a character; ASCII ones lie directly behind the head. */
static void text_made(struct made_text *text, unsigned kind, bool is_ascii, const void *characters, uint64_t count,
                      int64_t hash)
{
    enum { COMPACT = 1 << 3, ASCII = 1 << 4 };
    const struct python_layout *layout = &layout_3_11;
    memset(text, 0, sizeof *text);
    word_put(text, layout->type, (uintptr_t)&text_type);
    word_put(text, layout->text_length, count);
    word_put(text, layout->text_hash, (uint64_t)hash);
    number_put(text, layout->text_state, (kind | COMPACT | (is_ascii ? ASCII : 0)) << layout->text_state_shift);
    memcpy(text->bytes + (is_ascii ? layout->text_ascii : layout->text_compact), characters, count * kind);
}

static void ascii_made(struct made_text *text, const char *characters, int64_t hash)
{
    text_made(text, 1, true, characters, strlen(characters), hash);
}

static void bytes_made(struct made_bytes *bytes, const char *content, uint64_t size, int64_t hash)
{
    memset(bytes, 0, sizeof *bytes);
    word_put(bytes, layout_3_11.type, (uintptr_t)&bytes_type);
    word_put(bytes, layout_3_11.bytes_size, size);
    word_put(bytes, layout_3_11.bytes_hash, (uint64_t)hash);
    memcpy(bytes->bytes + layout_3_11.bytes_data, content, size);
}

/* A code object of 3.11 with all that it refers to, which stay where they are when they become another's. */
struct made_function {
    struct made_text file, name, qualified_name;
    struct made_bytes line_table;
    struct made_code code;
};

static void function_made(struct made_function *function, const char *name)
{
    enum { UNITS = 50 };
    const struct python_layout *layout = &layout_3_11;
    ascii_made(&function->file, "/srv/app/views.py", -1);
    ascii_made(&function->name, name, (int64_t)hash_of(name, strlen(name)));
    ascii_made(&function->qualified_name, name, -1);
    bytes_made(&function->line_table, "\x80\x00\xd8\x05\x0c\x00\xff\x10 a line table of some length", 37, 4711);
    memset(&function->code, 0, sizeof function->code);
    word_put(&function->code, layout->type, (uintptr_t)&code_type);
    word_put(&function->code, layout->bytes_size, UNITS);
    word_put(&function->code, layout->file, (uintptr_t)&function->file);
    word_put(&function->code, layout->name, (uintptr_t)&function->name);
    word_put(&function->code, layout->qualified_name, (uintptr_t)&function->qualified_name);
    word_put(&function->code, layout->line_table, (uintptr_t)&function->line_table);
    number_put(&function->code, layout->first_line, 12);
}

static uintptr_t code_of(struct made_function *function)
{
    return (uintptr_t)&function->code;
}

/* A frame of 3.11. */
static void frame_made(struct made_frame *frame, struct made_function *function, unsigned offset, bool is_entry,
                       struct made_frame *previous)
{
    const struct python_layout *layout = &layout_3_11;
    memset(frame, 0, sizeof *frame);
    word_put(frame, layout->code, code_of(function));
    word_put(frame, layout->place, code_of(function) + layout->bytecode + offset);
    word_put(frame, layout->previous, (uintptr_t)previous);
    frame->bytes[layout->entry] = (char)is_entry;
}

static uintptr_t thread_state(void)
{
    return (uintptr_t)thread_state_made;
}

static int is_initialized(void)
{
    return 1;
}

/* The calling thread's innermost frame is this; NULL: it runs none. */
static void frame_entered(struct made_frame *frame)
{
    word_put(thread_state_made, layout_3_11.thread_cframe, (uintptr_t)cframe_made);
    word_put(cframe_made, layout_3_11.cframe_frame, (uintptr_t)frame);
}

static struct interpreter *interpreter_made(void)
{
    interpreters[0] = (struct interpreter){.is_loaded = true,
                                           .layout = layout_3_11,
                                           .runtime = (uintptr_t)runtime,
                                           .code_type = (uintptr_t)&code_type,
                                           .text_type = (uintptr_t)&text_type,
                                           .bytes_type = (uintptr_t)&bytes_type,
                                           .frame_type = (uintptr_t)&frame_type,
                                           .thread_state = thread_state,
                                           .is_initialized = is_initialized};
    interpreters[0].layout.version = 0x030b02f0;
    interpreters[0].layout.objects = OBJECTS_OF_3_11;
    atomic_store(&interpreter_count, 1);
    return &interpreters[0];
}

#endif
