/* SPDX-License-Identifier: Apache-2.0 */
#include "demangle.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libiberty/demangle.h>

enum {
    LONG_NAME = 100, /* bytes from which template arguments go */
    MOST_DEMANGLED = 64 * 1024,
};

/* A suffix is `.word` or `.word.123`; the last may be followed by any number of others. */
static const char *const clone_words[] = {"constprop",  "isra", "part",     "cold",       "lto_priv",
                                          "localalias", "llvm", "__uniq",   "clone",      "resolver",
                                          "warm",       "hot",  "unlikely", "lto_discard"};

static bool is_clone_word(const char *word, size_t length)
{
    for (size_t i = 0; i < sizeof clone_words / sizeof *clone_words; i++)
        if (strlen(clone_words[i]) == length && memcmp(clone_words[i], word, length) == 0)
            return true;
    return false;
}

/* Where the last `.component` of name[0, length) begins (at its dot); `length` if there is none. */
static size_t last_component(const char *name, size_t length)
{
    for (size_t i = length; i-- > 1;)
        if (name[i] == '.')
            return i;
    return length;
}

static bool is_number(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isdigit((unsigned char)text[i]))
            return false;
    return length > 0;
}

static size_t length_without_clones(const char *name)
{
    size_t version = strcspn(name, "@");
    size_t length = version > 0 ? version : strlen(name);
    for (;;) {
        size_t word_end = length, dot = last_component(name, length);
        if (dot < length && is_number(name + dot + 1, length - dot - 1)) {
            word_end = dot;
            dot = last_component(name, dot);
        }
        if (dot >= word_end || !is_clone_word(name + dot + 1, word_end - dot - 1))
            return length;
        length = dot;
    }
}

/* Rust's legacy mangling is C++'s, with a last component of its own: 17h and 16 hexadecimal digits. */
static bool has_rust_hash(const char *name, size_t length)
{
    enum { HASH = sizeof "17h0123456789abcdefE" - 1 };
    if (length < sizeof "_ZN1a" - 1 + HASH || strncmp(name, "_ZN", 3) != 0)
        return false;
    const char *hash = name + length - HASH;
    if (strncmp(hash, "17h", 3) != 0 || hash[HASH - 1] != 'E')
        return false;
    for (int i = 3; i < HASH - 1; i++)
        if (!isxdigit((unsigned char)hash[i]) || isupper((unsigned char)hash[i]))
            return false;
    return true;
}

char *linkage_name_normalised(const char *linkage_name)
{
    size_t length = length_without_clones(linkage_name);
    char *name = strndup(linkage_name, length);
    if (name && has_rust_hash(name, length))
        memcpy(name + length - sizeof "17h0123456789abcdefE" + 1, "E", sizeof "E");
    return name;
}

struct output {
    char *text;
    size_t length, room;
    bool out_of_memory;
    jmp_buf too_much;
};

/* Forty bytes of substitutions can stand for gigabytes: the only way out of the demangler is to jump. */
static void output_extended(const char *piece, size_t length, void *context)
{
    struct output *output = context;
    if (output->length + length > MOST_DEMANGLED)
        longjmp(output->too_much, 1);
    if (output->length + length + 1 > output->room) {
        size_t room = 2 * (output->length + length + 1);
        char *text = realloc(output->text, room);
        if (!text) {
            output->out_of_memory = true;
            longjmp(output->too_much, 1);
        }
        output->text = text;
        output->room = room;
    }
    memcpy(output->text + output->length, piece, length);
    output->length += length;
    output->text[output->length] = '\0';
}

static bool is_demangled(const char *name, struct output *output, bool *is_rust)
{
    if (setjmp(output->too_much))
        return false;
    *is_rust = true;
    if (rust_demangle_callback(name, DMGL_RUST, output_extended, output) && output->length > 0)
        return true;
    output->length = 0;
    *is_rust = false;
    return cplus_demangle_v3_callback(name, DMGL_GNU_V3, output_extended, output) && output->length > 0;
}

/* How many bytes at `text` belong to "operator<", "operator->*" and so on, whose brackets are no brackets. */
static size_t operator_length(const char *text, const char *start)
{
    static const char word[] = "operator";
    if (strncmp(text, word, sizeof word - 1) != 0 ||
        (text > start && (isalnum((unsigned char)text[-1]) || text[-1] == '_')))
        return 0;
    size_t length = sizeof word - 1;
    size_t marks = strspn(text + length, "<>-=*");
    /* "operator<<int>" is operator< with an argument, "operator<< <int>" is written with a space. */
    if (marks > 1 && text[length] == '<' && text[length + 1] == '<' && text[length + 2] != '=' &&
        text[length + 2] != ' ' && text[length + 2] != '\0')
        marks = 1;
    return length + marks;
}

/* The ">" that closes the "<" at `open`, NULL if none does. */
static const char *bracket_closed(const char *open)
{
    int depth = 0;
    for (const char *c = open; *c; c++) {
        if (*c == '<')
            depth++;
        else if (*c == '>' && c[-1] != '-' && --depth == 0)
            return c;
    }
    return NULL;
}

static void template_arguments_elided(char *name)
{
    static const char elided[] = "<…>";
    char *to = name;
    for (const char *from = name; *from;) {
        size_t kept = operator_length(from, name);
        const char *end = !kept && *from == '<' ? bracket_closed(from) : NULL;
        if (end && (size_t)(end + 1 - from) >= sizeof elided - 1) {
            memcpy(to, elided, sizeof elided - 1);
            to += sizeof elided - 1;
            from = end + 1;
            continue;
        }
        kept += kept == 0;
        memmove(to, from, kept);
        to += kept;
        from += kept;
    }
    *to = '\0';
}

char *name_demangled(const char *linkage_name)
{
    char *plain = strndup(linkage_name, length_without_clones(linkage_name));
    if (!plain)
        return NULL;
    struct output output = {0};
    bool is_rust = false, is_mangled = is_demangled(plain, &output, &is_rust);
    char *name = is_mangled ? output.text : output.out_of_memory ? NULL : plain;
    if (name != plain)
        free(plain);
    if (name != output.text)
        free(output.text);
    if (name && !(is_mangled && is_rust) && strlen(name) > LONG_NAME)
        template_arguments_elided(name);
    return name;
}
