/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python frames, over an interpreter's memory that is made here: layouts, chains, code objects that come and go, and stacks of
 * both parts. tests/python/test_frames.py compares real interpreters.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "intern.h"
#include "python/chain.h"
#include "python/code.h"
#include "python/native_marks.h"
#include "python/python.h"
#include "python_memory.h"

#define OUT_OF_LINE __attribute__((noinline))

/* --- what was recorded -------------------------------------------------------------------------------------------------- */

static const struct trace_stack *node_at(uint32_t stack)
{
    return record_of(TABLE_STACK, stack);
}

static const struct trace_frame *frame_at(uint32_t stack)
{
    return record_of(TABLE_FRAME, node_at(stack)->frame);
}

static const char *text_at(uint32_t string)
{
    return ((const struct trace_string *)record_of(TABLE_STRING, string))->text;
}

static const struct trace_code *code_at(uint32_t number)
{
    return record_of(TABLE_CODE, number);
}

/* "f+4 g+8! h+12!", innermost first; ! ends a call of the loop, ? is a frame without code, … marks a cut. */
static const char *described(uint32_t stack)
{
    static char text[1024];
    size_t length = 0;
    for (text[0] = 0; stack; stack = node_at(stack)->parent) {
        const struct trace_frame *frame = frame_at(stack);
        const char *end = frame->flags & FRAME_ENTRY ? "!" : "", *space = length ? " " : "";
        if (frame->type == FRAME_TRUNCATED)
            length += (size_t)snprintf(text + length, sizeof text - length, "%s…", space);
        else if (!frame->module)
            length += (size_t)snprintf(text + length, sizeof text - length, "%s?%s", space, end);
        else
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%s+%u%s", space,
                                       text_at(code_at(frame->module)->name), (unsigned)frame->offset, end);
    }
    return text;
}

/* --- layouts ------------------------------------------------------------------------------------------------------------ */

static void only_versions_that_are_known_have_a_layout(void **state)
{
    (void)state;
    static const uint32_t known[] = {0x030900f0, 0x030912f0, 0x030a0df0, 0x030b02f0, 0x030b00c1, 0x030c01f0};
    static const uint32_t unknown[] = {0x020712f0, 0x030812f0, 0x030b00a7, 0x030c00b4, 0x030f00f0, 0x040000f0, 0};
    struct python_layout layout;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_true(layout_found(&layout, known[i], runtime));
        assert_int_equal(layout.version, known[i]);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_false(layout_found(&layout, unknown[i], runtime));
}

/* struct _Py_DebugOffsets of 3.13, as 3.13.0 has it (x86-64). */
enum { WORDS_3_13 = 71 };
static void table_made(uint64_t *table, uint64_t version)
{
    static const uint64_t from_runtime[] = {
        0,   608, 632,                                               /* runtime state */
        0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,  0,  0, /* interpreter state */
        304, 0,   8,   16,  72,  152, 160, 232, 36,                  /* thread state */
        88,  8,   0,   56,  72,  70,                                 /* frame */
        208, 112, 120, 128, 136, 68,  52,  96,  104, 200,            /* code */
        16,  8,   416, 24,  88,  168, 32,  24,  16,  40,  24, 16,    /* object, type, tuple, list */
        48,  32,  40,  24,  16,  32,  16,  24,                       /* dict, float, long */
        40,  16,  32,  64,  32,  16,  40};                           /* bytes, unicode */
    memcpy(table, "xdebugpy", 8);
    table[1] = version;
    table[2] = 0;
    memcpy(table + 3, from_runtime, sizeof from_runtime);
}

static void a_published_layout_is_taken_from_the_interpreter(void **state)
{
    (void)state;
    uint64_t table[WORDS_3_13 + 8] = {0};
    struct python_layout layout;
    table_made(table, 0x030d00f0);
    assert_true(layout_found(&layout, 0x030d00f0, table));
    assert_int_equal(layout.frames, FRAMES_WITH_C_STACK);
    assert_int_equal(layout.thread_frame, 72);
    assert_int_equal(layout.owner, 70);
    assert_int_equal(layout.bytecode, 200);
    assert_int_equal(layout.finalizing, 608);
    assert_int_equal(layout.text_ascii, 40);
    assert_int_equal(layout.text_compact, 56);
    assert_int_equal(layout.object_frame, 24);
    assert_int_equal(layout.objects, OBJECTS_OF_3_12);
}

static void a_published_layout_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    enum {
        COOKIE = 0,
        VERSION = 1,
        FREE_THREADED = 2,
        CURRENT_FRAME = 23,
        FRAME_OWNER = 33,
        CODE_NAME = 36,
        OBJECT = 44,
        ASCII = 70
    };
    static const struct {
        unsigned word;
        uint64_t value;
    } damages[] = {{COOKIE, 0},           {VERSION, 0x030d01f0}, {FREE_THREADED, 1},
                   {FREE_THREADED, 7},    {CURRENT_FRAME, 304},  {FRAME_OWNER, 88},
                   {CODE_NAME, 1u << 20}, {OBJECT, 24},          {ASCII, 48}};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        uint64_t table[WORDS_3_13 + 8] = {0};
        struct python_layout layout;
        table_made(table, 0x030d00f0);
        table[damages[i].word] = damages[i].value;
        assert_false(layout_found(&layout, 0x030d00f0, table));
    }
}

/* --- chains --------------------------------------------------------------------------------------------------------------- */

static void frames_of_3_11_end_a_call_where_one_was_entered(void **state)
{
    (void)state;
    static struct made_function f, g;
    struct made_frame frames[3];
    struct python_chain chain;
    frame_made(&frames[2], &f, 8, true, NULL);
    frame_made(&frames[1], &g, 6, true, &frames[2]);
    frame_made(&frames[0], &f, 4, false, &frames[1]);
    struct python_layout layout = layout_3_11;
    layout.version = 0x030b02f0;
    chain_walked(&layout, (uintptr_t)&frames[0], CHAIN_MAX, &chain);
    assert_int_equal(chain.count, 3);
    assert_false(chain.is_cut);
    assert_int_equal(chain.code[1], code_of(&g));
    assert_int_equal(chain.place[0] & CHAIN_ENTRY, 0);
    assert_int_equal(chain.place[1] & CHAIN_ENTRY, CHAIN_ENTRY);
    assert_int_equal(chain.place[2] & CHAIN_ENTRY, CHAIN_ENTRY);
}

static void a_chain_is_cut_at_the_limit(void **state)
{
    (void)state;
    static struct made_function f;
    struct made_frame frames[5];
    struct python_chain chain;
    for (int i = 4; i >= 0; i--)
        frame_made(&frames[i], &f, 4, false, i < 4 ? &frames[i + 1] : NULL);
    struct python_layout layout = layout_3_11;
    layout.version = 0x030b02f0;
    chain_walked(&layout, (uintptr_t)&frames[0], 5, &chain);
    assert_false(chain.is_cut);
    chain_walked(&layout, (uintptr_t)&frames[0], 4, &chain);
    assert_int_equal(chain.count, 4);
    assert_true(chain.is_cut);
    chain_walked(&layout, 0, 4, &chain);
    assert_int_equal(chain.count, 0);
    assert_false(chain.is_cut);
}

/* 3.12: frames that belong to the C stack stand for the calls of the loop. */
static void a_call_of_the_loop_whose_frame_has_gone_stays_in_the_chain(void **state)
{
    (void)state;
    enum { OF_THREAD = 0, OF_C_STACK = 3, TAG = 1 };
    static struct made_function f;
    struct made_frame frames[5];
    struct python_chain chain;
    struct python_layout layout = layout_3_12;
    layout.version = 0x030c01f0;
    static const char owners[] = {OF_C_STACK, OF_C_STACK, OF_THREAD, OF_THREAD, OF_C_STACK};
    for (int i = 0; i < 5; i++) {
        memset(&frames[i], 0, sizeof frames[i]);
        word_put(&frames[i], layout.code, code_of(&f) | TAG);
        word_put(&frames[i], layout.place, code_of(&f) + layout.bytecode + 2 * (unsigned)i);
        word_put(&frames[i], layout.previous, i < 4 ? (uintptr_t)&frames[i + 1] : 0);
        frames[i].bytes[layout.owner] = owners[i];
    }
    chain_walked(&layout, (uintptr_t)&frames[0], CHAIN_MAX, &chain);
    assert_int_equal(chain.count, 4);
    assert_int_equal(chain.code[0], 0);
    assert_int_equal(chain.code[1], 0);
    assert_int_equal(chain.place[0], CHAIN_ENTRY);
    assert_int_equal(chain.code[2], code_of(&f));
    assert_int_equal(chain.place[2] & CHAIN_ENTRY, 0);
    assert_int_equal(chain.place[3] & CHAIN_ENTRY, CHAIN_ENTRY);
}

static void frame_objects_have_an_index_into_their_code(void **state)
{
    (void)state;
    static const struct {
        const struct python_layout *layout;
        uint32_t version, index, offset;
    } cases[] = {{&layout_3_9, 0x030912f0, 14, 14},
                 {&layout_3_10, 0x030a0df0, 7, 14},
                 {&layout_3_9, 0x030912f0, (uint32_t)-1, 0},
                 {&layout_3_10, 0x030a0df0, (uint32_t)-1, 0}};
    static struct made_function f;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct made_frame frame = {{0}};
        struct python_chain chain;
        struct python_layout layout = *cases[i].layout;
        layout.version = cases[i].version;
        word_put(&frame, layout.code, code_of(&f));
        number_put(&frame, layout.place, cases[i].index);
        chain_walked(&layout, (uintptr_t)&frame, CHAIN_MAX, &chain);
        assert_int_equal(chain.count, 1);
        assert_int_equal(chain.place[0] & CHAIN_ENTRY, CHAIN_ENTRY);
        assert_int_equal(chain_offset(&layout, chain.code[0], chain.place[0]), cases[i].offset);
    }
}

static void an_instruction_has_an_offset_in_its_code_or_in_a_copy_of_it(void **state)
{
    (void)state;
    static struct made_function f;
    char copy[200];
    uintptr_t copies[] = {2, 0, (uintptr_t)copy};
    struct python_layout layout = layout_3_11;
    function_made(&f, "f");
    uintptr_t begin = code_of(&f) + layout.bytecode;
    assert_int_equal(chain_offset(&layout, code_of(&f), (begin + 10) | CHAIN_ENTRY), 10);
    assert_int_equal(chain_offset(&layout, code_of(&f), begin - 2), 0); /* not begun yet */
    assert_int_equal(chain_offset(&layout, code_of(&f), (uintptr_t)copy + 12), 0);
    layout.bytecodes = 160;
    word_put(&f.code, 160, (uintptr_t)copies);
    assert_int_equal(chain_offset(&layout, code_of(&f), (uintptr_t)copy + 12), 12);
    assert_int_equal(chain_offset(&layout, code_of(&f), begin + 10), 10);
}

/* --- code objects --------------------------------------------------------------------------------------------------------- */

static uint32_t recorded(struct made_function *function)
{
    struct code_identity identity;
    return code_recorded(&interpreters[0], code_of(function), &identity);
}

static void a_code_object_is_recorded_once(void **state)
{
    (void)state;
    static struct made_function f;
    function_made(&f, "once");
    uint32_t number = recorded(&f);
    const struct trace_code *code = code_at(number);
    assert_string_equal(text_at(code->file), "/srv/app/views.py");
    assert_string_equal(text_at(code->name), "once");
    assert_string_equal(text_at(code->qualified_name), "once");
    assert_int_equal(code->first_line, 12);
    assert_int_equal(code->python_version, 0x030b02f0);
    const struct trace_string *table = record_of(TABLE_STRING, code->line_table);
    assert_int_equal(table->length, 37);
    assert_memory_equal(table->text, "\x80\x00\xd8\x05\x0c\x00\xff\x10 a line", 15);
    assert_int_equal(recorded(&f), number);
    static struct made_function moved;
    function_made(&moved, "once");
    assert_int_equal(recorded(&moved), number);
}

/* Everything stays where it was, and one thing says something else. */
static void another_code_object_in_the_same_place_is_another(void **state)
{
    (void)state;
    static struct made_function f;
    function_made(&f, "f");
    uint32_t before = recorded(&f);

    ascii_made(&f.name, "g", 17);
    uint32_t now = recorded(&f);
    assert_int_not_equal(now, before);
    assert_string_equal(text_at(code_at(now)->name), "g");

    ascii_made(&f.file, "/srv/app/model.py", -1); /* as long as before, and without hash */
    before = now;
    now = recorded(&f);
    assert_int_not_equal(now, before);
    assert_string_equal(text_at(code_at(now)->file), "/srv/app/model.py");

    ascii_made(&f.qualified_name, "h", -1);
    before = now;
    now = recorded(&f);
    assert_int_not_equal(now, before);
    assert_string_equal(text_at(code_at(now)->qualified_name), "h");

    bytes_made(&f.line_table, "\x80\x00\xd8\x05\x0c\x00\xff\x10 a LINE table of some length", 37, 4712);
    before = now;
    now = recorded(&f);
    assert_int_not_equal(now, before);

    number_put(&f.code, layout_3_11.first_line, 13);
    before = now;
    now = recorded(&f);
    assert_int_not_equal(now, before);
    assert_int_equal(code_at(now)->first_line, 13);
}

static void what_is_no_code_object_is_not_read(void **state)
{
    (void)state;
    static struct made_function f;
    function_made(&f, "f");
    word_put(&f.code, layout_3_11.type, (uintptr_t)&text_type);
    assert_int_equal(recorded(&f), 0);
    function_made(&f, "f");
    word_put(&f.name, layout_3_11.type, (uintptr_t)&bytes_type);
    ascii_made(&f.file, "/another", -1);
    assert_int_equal(recorded(&f), 0);
}

static void names_are_recorded_in_utf8(void **state)
{
    (void)state;
    static const uint8_t latin[] = {'g', 'r', 0xf6, 0xdf, 'e'};
    static const uint16_t two[] = {0x540d, 0x524d, 0xd800, 0xdfff, 0x7ff, 0x800};
    static const uint32_t four[] = {0x1f40d, 'x', 0x10ffff, 0xdc80};
    static const struct {
        unsigned kind;
        const void *characters;
        uint64_t count;
        const char *encoded;
    } cases[] = {{1, latin, 5,
                  "gr\xc3\xb6\xc3\x9f"
                  "e"},
                 {2, two, 6, "\xe5\x90\x8d\xe5\x89\x8d\xef\xbf\xbd\xef\xbf\xbd\xdf\xbf\xe0\xa0\x80"},
                 {4, four, 4, "\xf0\x9f\x90\x8dx\xf4\x8f\xbf\xbf\xef\xbf\xbd"}};
    static struct made_function f;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        function_made(&f, "f");
        text_made(&f.name, cases[i].kind, false, cases[i].characters, cases[i].count, (int64_t)i);
        text_made(&f.file, cases[i].kind, false, cases[i].characters, cases[i].count, -1);
        uint32_t number = recorded(&f);
        assert_string_equal(text_at(code_at(number)->name), cases[i].encoded);
        assert_int_equal(recorded(&f), number);
    }
}

static void names_that_are_too_long_are_cut_at_a_character(void **state)
{
    (void)state;
    static struct made_function f;
    static char many[6000];
    static uint16_t wide[3000];
    memset(many, 'a', sizeof many - 1);
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        wide[i] = 0x540d;
    function_made(&f, "f");
    ascii_made(&f.file, many, -1);
    text_made(&f.name, 2, false, wide, 3000, 5);
    uint32_t number = recorded(&f);
    assert_int_equal(strlen(text_at(code_at(number)->file)), 4095);
    assert_int_equal(strlen(text_at(code_at(number)->name)) % 3, 0);
    assert_in_range(strlen(text_at(code_at(number)->name)), 4089, 4095);
    assert_int_equal(recorded(&f), number);
}

/* --- parts ---------------------------------------------------------------------------------------------------------------- */

static uint32_t part_here(void)
{
    return python_part_here(NULL).stack;
}

static void the_same_frames_are_the_same_stack(void **state)
{
    (void)state;
    static struct made_function f, g;
    struct made_frame frames[2];
    function_made(&f, "f");
    function_made(&g, "g");
    frame_made(&frames[1], &g, 8, true, NULL);
    frame_made(&frames[0], &f, 4, false, &frames[1]);
    frame_entered(&frames[0]);
    uint32_t stack = part_here();
    assert_string_equal(described(stack), "f+4 g+8!");
    for (int i = 0; i < 3; i++)
        assert_int_equal(part_here(), stack);
    frame_made(&frames[1], &g, 10, true, NULL);
    assert_string_equal(described(part_here()), "f+4 g+10!");
    frame_made(&frames[1], &g, 8, true, NULL);
    assert_int_equal(part_here(), stack);
    frame_entered(&frames[1]);
    assert_string_equal(described(part_here()), "g+8!");
    frame_entered(NULL);
    assert_int_equal(part_here(), 0);
}

/* Thousands of functions of the same shape, each in the place of the one before. */
static void a_remembered_stack_is_not_believed_when_its_code_was_replaced(void **state)
{
    (void)state;
    static struct made_function f, g;
    struct made_frame frames[2];
    char name[16];
    function_made(&g, "outer");
    frame_made(&frames[1], &g, 8, true, NULL);
    frame_made(&frames[0], &f, 4, false, &frames[1]);
    frame_entered(&frames[0]);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "f%04d", i % 2500);
        function_made(&f, name);
        word_put(&f.line_table, layout_3_11.bytes_hash, i % 2 ? UINT64_MAX : 4711);
        char expected[64];
        snprintf(expected, sizeof expected, "%s+4 outer+8!", name);
        assert_string_equal(described(part_here()), expected);
        assert_string_equal(described(part_here()), expected);
    }
}

static void replaced_parts_of_a_remembered_stack_are_seen(void **state)
{
    (void)state;
    static struct made_function f;
    struct made_frame frame;
    function_made(&f, "f");
    frame_made(&frame, &f, 4, true, NULL);
    frame_entered(&frame);
    uint32_t before = part_here();
    assert_int_equal(part_here(), before);
    ascii_made(&f.file, "/srv/app/model.py", -1);
    uint32_t now = part_here();
    assert_int_not_equal(now, before);
    assert_string_equal(text_at(code_at(frame_at(now)->module)->file), "/srv/app/model.py");
    ascii_made(&f.qualified_name, "q", -1);
    assert_string_equal(text_at(code_at(frame_at(part_here())->module)->qualified_name), "q");
    number_put(&f.code, layout_3_11.first_line, 99);
    assert_int_equal(code_at(frame_at(part_here())->module)->first_line, 99);
    bytes_made(&f.line_table, "\x80\x01", 2, 4713);
    assert_int_equal(
        ((const struct trace_string *)record_of(TABLE_STRING, code_at(frame_at(part_here())->module)->line_table))
            ->length,
        2);
}

static void a_part_that_is_cut_says_so(void **state)
{
    (void)state;
    static struct made_function f;
    struct made_frame frames[4];
    function_made(&f, "f");
    for (int i = 3; i >= 0; i--)
        frame_made(&frames[i], &f, 2 * (unsigned)i, false, i < 3 ? &frames[i + 1] : NULL);
    frame_entered(&frames[0]);
    unsigned depth = shim.options.depth;
    shim.options.depth = 3;
    struct python_part part = python_part_here(NULL), again = python_part_here(NULL);
    shim.options.depth = depth;
    assert_true(part.approximate);
    assert_string_equal(described(part.stack), "f+0 f+2 f+4 …");
    assert_int_equal(again.stack, part.stack);
    assert_true(again.approximate);
    assert_false(python_part_here(NULL).approximate);
}

static void more_frames_than_are_remembered_are_read_all_the_same(void **state)
{
    (void)state;
    enum { MANY = 200 };
    static struct made_function f;
    static struct made_frame frames[MANY];
    function_made(&f, "f");
    for (int i = MANY - 1; i >= 0; i--)
        frame_made(&frames[i], &f, 4, false, i < MANY - 1 ? &frames[i + 1] : NULL);
    frame_entered(&frames[0]);
    unsigned depth = shim.options.depth;
    shim.options.depth = CAPTURE_DEPTH_MAX;
    uint32_t stack = part_here();
    assert_int_equal(node_at(stack)->depth, MANY);
    assert_int_equal(part_here(), stack);
    shim.options.depth = depth;
}

static void while_another_thread_finalizes_nothing_is_read(void **state)
{
    (void)state;
    static struct made_function f;
    struct made_frame frame;
    function_made(&f, "f");
    frame_made(&frame, &f, 4, true, NULL);
    frame_entered(&frame);
    assert_false(python_is_finalizing());
    word_put(runtime, layout_3_11.finalizing, (uintptr_t)&frame);
    assert_true(python_is_finalizing());
    assert_int_equal(part_here(), 0);
    word_put(runtime, layout_3_11.finalizing, (uintptr_t)thread_state_made);
    assert_string_equal(described(part_here()), "f+4!");
    word_put(runtime, layout_3_11.finalizing, 0);
}

/* --- both parts ----------------------------------------------------------------------------------------------------------- */

OUT_OF_LINE static uint32_t stack_recorded_here(void)
{
    struct caller from = CALLER_OF_THIS_FUNCTION();
    uint32_t stack = stack_here(&from);
    assert_int_not_equal(from.return_address, 0);
    return stack;
}

static void a_stack_has_both_parts(void **state)
{
    (void)state;
    static struct made_function f;
    struct made_frame frame;
    function_made(&f, "f");
    frame_made(&frame, &f, 4, true, NULL);
    frame_entered(NULL);
    uint32_t native = 0, mixed[2] = {0};
    for (volatile int i = 0; i < 3; i++) { /* from one place */
        uint32_t stack = stack_recorded_here();
        if (i == 0)
            native = stack;
        else
            mixed[i - 1] = stack;
        frame_entered(&frame);
    }
    assert_int_equal(frame_at(native)->type, FRAME_NATIVE);
    assert_int_equal(frame_at(mixed[0])->type, FRAME_MIXED);
    assert_int_equal(node_at(mixed[0])->parent, native);
    assert_string_equal(described((uint32_t)frame_at(mixed[0])->offset), "f+4!");
    assert_int_equal(frame_at(mixed[0])->flags, 0);
    assert_int_equal(mixed[1], mixed[0]);
    assert_true(frame_at(mixed[0])->offset < mixed[0]);
}

static void a_frame_that_is_given_has_no_native_part(void **state)
{
    (void)state;
    static struct made_function f, g;
    struct made_frame here, given;
    uint64_t object[8] = {0};
    function_made(&f, "here");
    function_made(&g, "given");
    frame_made(&here, &f, 4, true, NULL);
    frame_made(&given, &g, 6, true, NULL);
    frame_entered(&here);
    word_put(object, layout_3_11.type, (uintptr_t)&frame_type);
    word_put(object, layout_3_11.object_frame, (uintptr_t)&given);
    thread.python_frame = object;
    uint32_t stack = stack_recorded_here();
    assert_int_equal(node_at(stack)->parent, 0);
    assert_string_equal(described((uint32_t)frame_at(stack)->offset), "given+6!");
    word_put(object, layout_3_11.type, (uintptr_t)&text_type); /* no frame at all: the thread's own */
    stack = stack_recorded_here();
    assert_string_equal(described((uint32_t)frame_at(stack)->offset), "here+4!");
    thread.python_frame = NULL;
}

static void a_method_del_is_a_destructor(void **state)
{
    (void)state;
    static struct made_function f, g;
    struct made_frame frames[2];
    function_made(&f, "close");
    function_made(&g, "__del__");
    frame_made(&frames[1], &g, 8, true, NULL);
    frame_made(&frames[0], &f, 4, false, &frames[1]);
    frame_entered(&frames[0]);
    assert_true(is_in_destructor(stack_recorded_here()));
    function_made(&g, "__delete__");
    assert_false(is_in_destructor(stack_recorded_here()));
    assert_false(is_in_destructor(0));
}

static volatile unsigned kept;

OUT_OF_LINE static uint32_t deallocated(void)
{
    uint32_t stack = stack_recorded_here();
    kept = stack;
    return stack;
}

OUT_OF_LINE static uint32_t python_loop(void)
{
    uint32_t stack = deallocated();
    kept = stack;
    return stack;
}

static void a_destructor_counts_only_inside_the_innermost_call_of_the_loop(void **state)
{
    (void)state;
    static struct made_function f;
    struct made_frame frame;
    function_made(&f, "f");
    frame_made(&frame, &f, 4, true, NULL);
    frame_entered(&frame);
    assert_false(is_in_destructor(python_loop()));
    destructor_known((uintptr_t)python_loop);
    assert_true(is_in_destructor(python_loop())); /* what was remembered of this stack is forgotten */
    function_marked((uintptr_t)deallocated, FRAME_EVAL);
    assert_false(is_in_destructor(python_loop()));
    frame_entered(NULL);
    assert_false(is_in_destructor(python_loop()));
}

static volatile bool seldom;
static uint32_t stack_of_cold_part;

__attribute__((cold, noinline)) static void seldom_called(void)
{
    stack_of_cold_part = stack_recorded_here();
}

OUT_OF_LINE static int function_with_a_cold_part(int x)
{
    volatile int room[40] = {x};
    if (__builtin_expect(seldom, 0)) {
        seldom_called();
        room[x] += (int)stack_of_cold_part;
    }
    return room[0] * 3;
}

static void a_part_that_was_put_elsewhere_belongs_to_its_function(void **state)
{
    (void)state;
    seldom = true;
    frame_entered(NULL);
    function_marked((uintptr_t)function_with_a_cold_part, FRAME_DESTRUCTOR);
    kept = (unsigned)function_with_a_cold_part(1);
    assert_true(is_in_destructor(stack_of_cold_part));
}

/* --- threads -------------------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 20000 };

static void *stacks_compared(void *number)
{
    struct made_function *functions = calloc(8, sizeof *functions);
    struct made_frame frames[2];
    uintptr_t wrong = 0;
    char name[16], expected[64];
    for (int round = 0; round < ROUNDS; round++) {
        struct made_function *function = &functions[round % 8];
        snprintf(name, sizeof name, "t%d_%d", *(int *)number, round % 24);
        function_made(function, name);
        frame_made(&frames[1], function, 8, true, NULL);
        frame_made(&frames[0], function, 4, false, &frames[1]);
        frame_entered(&frames[0]);
        uint32_t stack = part_here();
        const struct trace_code *code = code_at(frame_at(stack)->module);
        snprintf(expected, sizeof expected, "%s", text_at(code->name));
        wrong += node_at(stack)->depth != 2 || strcmp(expected, name) != 0;
    }
    free(functions);
    return (void *)wrong; // NOLINT(performance-no-int-to-ptr)
}

static void threads_do_not_get_each_others_stacks(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, stacks_compared, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    char directory[] = "/tmp/unclosed-python-XXXXXX", options[128], command[128];
    if (!mkdtemp(directory))
        return 1;
    snprintf(options, sizeof(options), "dir=%s:report=off:scan=off:max_size=64m", directory);
    setenv("UNCLOSED_OPTIONS", options, 1);
    options_read(&shim.options); /* the constructor ran before the environment was set */
    shim.start = shim.end = 0;   /* we and the shim are one program here: no frame is the shim's own */
    if (!is_recording() || !guard_entered())
        return 1;
    interpreter_made();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_versions_that_are_known_have_a_layout),
        cmocka_unit_test(a_published_layout_is_taken_from_the_interpreter),
        cmocka_unit_test(a_published_layout_that_makes_no_sense_is_refused),
        cmocka_unit_test(frames_of_3_11_end_a_call_where_one_was_entered),
        cmocka_unit_test(a_chain_is_cut_at_the_limit),
        cmocka_unit_test(a_call_of_the_loop_whose_frame_has_gone_stays_in_the_chain),
        cmocka_unit_test(frame_objects_have_an_index_into_their_code),
        cmocka_unit_test(an_instruction_has_an_offset_in_its_code_or_in_a_copy_of_it),
        cmocka_unit_test(a_code_object_is_recorded_once),
        cmocka_unit_test(another_code_object_in_the_same_place_is_another),
        cmocka_unit_test(what_is_no_code_object_is_not_read),
        cmocka_unit_test(names_are_recorded_in_utf8),
        cmocka_unit_test(names_that_are_too_long_are_cut_at_a_character),
        cmocka_unit_test(the_same_frames_are_the_same_stack),
        cmocka_unit_test(a_remembered_stack_is_not_believed_when_its_code_was_replaced),
        cmocka_unit_test(replaced_parts_of_a_remembered_stack_are_seen),
        cmocka_unit_test(a_part_that_is_cut_says_so),
        cmocka_unit_test(more_frames_than_are_remembered_are_read_all_the_same),
        cmocka_unit_test(while_another_thread_finalizes_nothing_is_read),
        cmocka_unit_test(a_stack_has_both_parts),
        cmocka_unit_test(a_frame_that_is_given_has_no_native_part),
        cmocka_unit_test(a_method_del_is_a_destructor),
        cmocka_unit_test(a_destructor_counts_only_inside_the_innermost_call_of_the_loop),
        cmocka_unit_test(a_part_that_was_put_elsewhere_belongs_to_its_function),
        cmocka_unit_test(threads_do_not_get_each_others_stacks),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command) != 0 || failed != 0;
}
