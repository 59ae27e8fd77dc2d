/* SPDX-License-Identifier: Apache-2.0 */
#include "python_lines.h"

#include <stdbool.h>

enum {
    VERSION_3_10 = 0x030a0000,
    VERSION_3_11 = 0x030b0000,
    PAIR = 2,        /* bytes of an entry before 3.11 */
    NO_LINE = -128,  /* 3.10: a pair's line */
    ENTRY = 0x80,    /* 3.11: set in the first byte of an entry only */
    CODE_UNIT = 2,   /* 3.11: bytes; lengths are in these */
    VARINT_BITS = 6, /* of a byte */
    VARINT_MORE = 0x40,
    VARINT_BYTES_MAX = 6,
};

/* How an entry of 3.11's table tells of its line. */
enum location { LOCATION_ONE_LINE_0 = 10, LOCATION_ONE_LINE_2 = 12, LOCATION_NO_COLUMNS, LOCATION_LONG, LOCATION_NONE };

struct table_walk {
    const unsigned char *at, *limit;
    uint64_t end; /* of the instructions that were passed */
    int64_t line; /* as the table counts */
    int64_t told; /* of the latest instructions that had one */
};

static bool is_line(int64_t line)
{
    return line > 0 && line <= INT32_MAX;
}

/* --- up to 3.9: {bytes, lines} to step before the next line begins ---------------------------------------------------------- */

static void steps_walked(struct table_walk *walk, uint64_t offset)
{
    for (; walk->limit - walk->at >= PAIR; walk->at += PAIR) {
        walk->end += walk->at[0];
        if (walk->end > offset)
            return;
        walk->line += (int8_t)walk->at[1];
        walk->told = walk->line;
    }
}

/* --- 3.10: {bytes that belong to it, lines to step} --------------------------------------------------------------------------- */

static void ranges_walked(struct table_walk *walk, uint64_t offset)
{
    for (; walk->limit - walk->at >= PAIR && walk->end <= offset; walk->at += PAIR) {
        int8_t step = (int8_t)walk->at[1];
        walk->end += walk->at[0];
        if (step == NO_LINE)
            continue;
        walk->line += step;
        if (walk->at[0])
            walk->told = walk->line;
    }
}

/* --- from 3.11 on -------------------------------------------------------------------------------------------------------------- */

static int64_t signed_varint(const unsigned char *at, const unsigned char *limit)
{
    uint64_t number = 0;

    for (int i = 0; i < VARINT_BYTES_MAX && at < limit; i++, at++) {
        number |= (uint64_t)(*at & (VARINT_MORE - 1)) << (i * VARINT_BITS);
        if (!(*at & VARINT_MORE))
            break;
    }
    return number & 1 ? -(int64_t)(number >> 1) : (int64_t)(number >> 1);
}

static int64_t line_step(const struct table_walk *walk, unsigned location)
{
    if (location == LOCATION_NO_COLUMNS || location == LOCATION_LONG)
        return signed_varint(walk->at + 1, walk->limit);
    return location >= LOCATION_ONE_LINE_0 && location <= LOCATION_ONE_LINE_2 ? location - LOCATION_ONE_LINE_0 : 0;
}

static void locations_walked(struct table_walk *walk, uint64_t offset)
{
    while (walk->at < walk->limit && walk->end <= offset) {
        unsigned location = *walk->at >> 3 & 15;

        walk->end += ((*walk->at & 7u) + 1) * CODE_UNIT;
        walk->line += line_step(walk, location);
        if (location != LOCATION_NONE)
            walk->told = walk->line;
        do
            walk->at++;
        while (walk->at < walk->limit && !(*walk->at & ENTRY));
    }
}

static int64_t line_walked(const struct python_line_table *table, uint64_t offset)
{
    struct table_walk walk = {table->bytes, table->bytes + table->size, 0, table->first_line, table->first_line};

    if (table->python_version < VERSION_3_10) { /* the last line goes on to the end of the code, wherever that is */
        steps_walked(&walk, offset);
        return walk.told;
    }
    if (table->python_version < VERSION_3_11)
        ranges_walked(&walk, offset);
    else
        locations_walked(&walk, offset);
    return walk.end > offset ? walk.told : table->first_line;
}

int python_line(const struct python_line_table *table, uint64_t offset)
{
    int64_t line = table->bytes ? line_walked(table, offset) : 0;

    if (!is_line(line))
        line = table->first_line;
    return is_line(line) ? (int)line : 0;
}
