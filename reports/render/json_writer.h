/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON, written as it goes. Commas, quotes and escapes are the writer's business: whatever text is given, the output is
 * valid JSON in valid UTF-8 (bytes that are not UTF-8 become U+FFFD).
 *
 *     json_object(&json, NULL);
 *     json_text(&json, "rule", "leaked");
 *     json_array(&json, "stack"); … json_end(&json);
 *     json_end(&json);
 *
 * `key` is NULL inside an array and for the outermost value.
 */
#ifndef UNCLOSED_REPORTS_JSON_WRITER_H
#define UNCLOSED_REPORTS_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { JSON_DEPTH = 16 };

struct json {
    FILE *out;
    unsigned depth;
    bool is_array[JSON_DEPTH];
    bool has_items[JSON_DEPTH];
};

void json_object(struct json *json, const char *key);
void json_array(struct json *json, const char *key);
void json_end(struct json *json);

void json_text(struct json *json, const char *key, const char *text); /* NULL: null */
void json_integer(struct json *json, const char *key, int64_t number);
void json_seconds(struct json *json, const char *key, int64_t nanoseconds); /* three decimals; negative: 0 */
void json_boolean(struct json *json, const char *key, bool is_true);
void json_null(struct json *json, const char *key);

#endif
