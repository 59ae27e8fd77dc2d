/* SPDX-License-Identifier: Apache-2.0 */
#include "json_writer.h"

#include <inttypes.h>

#include "characters.h"

enum { LINES_DEPTH = 3 }; /* deeper values stay on their parent's line */

static void string_written(FILE *out, const char *text)
{
    putc('"', out);
    while (*text != '\0') {
        unsigned char byte = (unsigned char)*text;
        size_t length = utf8_length(text);
        if (length == 0)
            fputs("\xef\xbf\xbd", out);
        else if (byte == '"' || byte == '\\')
            fprintf(out, "\\%c", byte);
        else if (byte == '\n')
            fputs("\\n", out);
        else if (byte < 0x20 || byte == 0x7f)
            fprintf(out, "\\u%04x", byte);
        else
            fwrite(text, 1, length, out);
        text += length > 0 ? length : 1;
    }
    putc('"', out);
}

/* What comes before a value: a comma, a new line in the outer levels, the key. */
static void value_begun(struct json *json, const char *key)
{
    if (json->depth > 0) {
        if (json->has_items[json->depth - 1])
            fputs(json->depth <= LINES_DEPTH ? "," : ", ", json->out);
        json->has_items[json->depth - 1] = true;
        if (json->depth <= LINES_DEPTH)
            fprintf(json->out, "\n%*s", (int)(2 * json->depth), "");
    }
    if (key != NULL) {
        string_written(json->out, key);
        fputs(": ", json->out);
    }
}

static void nest_begun(struct json *json, const char *key, bool is_array)
{
    value_begun(json, key);
    putc(is_array ? '[' : '{', json->out);
    if (json->depth < JSON_DEPTH) {
        json->is_array[json->depth] = is_array;
        json->has_items[json->depth] = false;
    }
    json->depth++;
}

void json_object(struct json *json, const char *key)
{
    nest_begun(json, key, false);
}

void json_array(struct json *json, const char *key)
{
    nest_begun(json, key, true);
}

void json_end(struct json *json)
{
    json->depth--;
    if (json->has_items[json->depth] && json->depth < LINES_DEPTH)
        fprintf(json->out, "\n%*s", (int)(2 * json->depth), "");
    putc(json->is_array[json->depth] ? ']' : '}', json->out);
    if (json->depth == 0)
        putc('\n', json->out);
}

void json_text(struct json *json, const char *key, const char *text)
{
    value_begun(json, key);
    if (text != NULL)
        string_written(json->out, text);
    else
        fputs("null", json->out);
}

void json_integer(struct json *json, const char *key, int64_t number)
{
    value_begun(json, key);
    fprintf(json->out, "%" PRId64, number);
}

void json_seconds(struct json *json, const char *key, int64_t nanoseconds)
{
    int64_t milliseconds = nanoseconds > 0 ? nanoseconds / 1000000 : 0;

    value_begun(json, key);
    fprintf(json->out, "%" PRId64 ".%03" PRId64, milliseconds / 1000, milliseconds % 1000);
}

void json_boolean(struct json *json, const char *key, bool is_true)
{
    value_begun(json, key);
    fputs(is_true ? "true" : "false", json->out);
}

void json_null(struct json *json, const char *key)
{
    value_begun(json, key);
    fputs("null", json->out);
}
