/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PIECE = 256 * 1024, /* of a table that is read in pieces */
    IDENTITY = 24,      /* first bytes of a record that can be reused: state … generation, or as much */
    STRING_UNIT = 8,
    TEXT_MAX = 4095,
    BYTES_MAX = 65535,      /* line tables */
    CLEANED_MAX = 64 << 20, /* bytes of text that had to be repaired */
    REPLACEMENT_SIZE = 3,   /* U+FFFD in UTF-8 */
};
#define TRACE_SIZE_MAX ((uint64_t)64 << 30)
#define REPLACEMENT "\xEF\xBF\xBD"

static const struct {
    const char *name;
    size_t size; /* of the record that we know */
    bool reusable;
} known[] = {
    [TABLE_PROCESS] = {"process", sizeof(struct trace_process), false},
    [TABLE_STRING] = {"string", STRING_UNIT, false},
    [TABLE_KIND] = {"kind", sizeof(struct trace_kind), false},
    [TABLE_MODULE] = {"module", sizeof(struct trace_module), false},
    [TABLE_FRAME] = {"frame", sizeof(struct trace_frame), false},
    [TABLE_CODE] = {"code object", sizeof(struct trace_code), false},
    [TABLE_STACK] = {"stack", sizeof(struct trace_stack), false},
    [TABLE_SITE] = {"site", sizeof(struct trace_site), false},
    [TABLE_HANDLE] = {"handle", sizeof(struct trace_handle), true},
    [TABLE_CLOSED] = {"closed handle", sizeof(struct trace_closed), true},
    [TABLE_FACT] = {"fact", sizeof(struct trace_fact), false},
    [TABLE_OWNER] = {"owner", sizeof(struct trace_owner), true},
    [TABLE_DETAIL] = {"detail", sizeof(struct trace_detail), true},
    [TABLE_INCIDENT] = {"incident", sizeof(struct trace_incident), true},
    [TABLE_HOLDER] = {"holder", sizeof(struct trace_holder), false},
    [TABLE_TIMELINE] = {"timeline", sizeof(struct trace_timeline), false},
    [TABLE_LIBRARY] = {"library", sizeof(struct trace_library), false},
};
enum { KNOWN_COUNT = sizeof(known) / sizeof(known[0]) };
enum { RECORD_MAX = 1024 }; /* larger than any record that is published */
_Static_assert(sizeof(struct trace_site) <= RECORD_MAX, "walked records fit");

void trace_warned(struct trace *trace, const char *format, ...)
{
    size_t length = strlen(trace->warning);
    va_list arguments;

    if (length + 3 >= sizeof(trace->warning))
        return;
    if (length)
        length += (size_t)snprintf(trace->warning + length, sizeof(trace->warning) - length, "; ");
    va_start(arguments, format);
    vsnprintf(trace->warning + length, sizeof(trace->warning) - length, format, arguments);
    va_end(arguments);
}

/* --- the file --------------------------------------------------------------------------------------------------------- */

/* Reads what is there; the rest of `bytes` stays as it is. */
static size_t bytes_read(const struct trace *trace, uint64_t offset, void *bytes, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t count = pread(trace->fd, (char *)bytes + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    return done;
}

/* The first place at or after `offset` that may hold anything but zeros. */
static uint64_t data_after(const struct trace *trace, uint64_t offset, uint64_t end)
{
    off_t data = lseek(trace->fd, (off_t)offset, SEEK_DATA);

    if (data < 0)
        return errno == ENXIO ? end : offset;
    return (uint64_t)data < end ? (uint64_t)data : end;
}

static enum trace_opening file_opened(struct trace *trace, int directory_fd, const char *name, bool follow)
{
    struct stat status;

    trace->fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW));
    if (trace->fd < 0 || fstat(trace->fd, &status) != 0) {
        trace_warned(trace, "%s", strerror(errno));
        return TRACE_NONE;
    }
    if (!S_ISREG(status.st_mode)) {
        trace_warned(trace, "not a regular file");
        return TRACE_NONE;
    }
    trace->size = (uint64_t)status.st_size;
    return TRACE_OPENED;
}

/* --- the header ----------------------------------------------------------------------------------------------------------- */

/* Records of a table that can be there at all: not more than the file has room for. */
static uint64_t records_possible(const struct trace *trace, enum trace_table_id id)
{
    const struct trace_table *table = &trace->header.tables[id];
    uint64_t room = table->offset < trace->size ? (trace->size - table->offset) / table->record_size : 0;

    return table->capacity < room ? table->capacity : room;
}

/* … and that were ever handed out. */
static uint64_t records_used(const struct trace *trace, enum trace_table_id id)
{
    uint64_t possible = records_possible(trace, id), used = trace->header.tables[id].used;

    if (id == TABLE_PROCESS || id == TABLE_TIMELINE || id == TABLE_CLOSED)
        return possible;
    return used < possible ? used : possible;
}

static void table_checked(struct trace *trace, unsigned id)
{
    struct trace_table *table = &trace->header.tables[id];
    const char *trouble = NULL;

    if (table->id != id)
        trouble = "is not where it should be";
    else if (table->record_size < known[id].size || table->record_size > RECORD_MAX * 64 || table->record_size % 8 ||
             (id == TABLE_STRING && table->record_size != STRING_UNIT))
        trouble = "has records of an impossible size";
    else if (table->offset % 8 || (table->offset < sizeof(struct trace_header) && table->capacity))
        trouble = "has an impossible place";
    if (!trouble)
        return;
    trace_warned(trace, "its %s table %s and was left out", known[id].name, trouble);
    *table = (struct trace_table){.id = id, .record_size = (uint32_t)known[id].size};
}

static void cut_noticed(struct trace *trace)
{
    uint64_t expected = trace->header.file_size;

    if (trace->size < expected)
        trace_warned(trace, "cut at %llu of %llu bytes; what was behind is missing", (unsigned long long)trace->size,
                     (unsigned long long)expected);
}

static enum trace_opening header_checked(struct trace *trace, size_t have)
{
    const struct trace_header *header = &trace->header;

    if (have < sizeof(header->magic) || memcmp(header->magic, TRACE_MAGIC, sizeof(header->magic)) != 0) {
        trace_warned(trace, "not a trace");
        return TRACE_NONE;
    }
    if (have < sizeof(*header))
        trace_warned(trace, "cut inside its header; nothing can be read");
    else if (header->byte_order != TRACE_BYTE_ORDER)
        trace_warned(trace, header->byte_order == __builtin_bswap32(TRACE_BYTE_ORDER)
                                ? "written by a machine of the other byte order; read it on one like that"
                                : "its header is damaged; nothing can be read");
    else if (header->layout != TRACE_LAYOUT)
        trace_warned(trace, "has layout %u, this version of unclosed reads layout %d; use the version that wrote it",
                     header->layout, TRACE_LAYOUT);
    else if (!header->ready)
        return TRACE_EMPTY; /* nothing is recorded before: a spare that nobody took, or an end at the start */
    else if (header->header_size != sizeof(*header) || header->table_count != TABLE_COUNT)
        trace_warned(trace, "its header is damaged; nothing can be read");
    else if (trace->size > TRACE_SIZE_MAX)
        trace_warned(trace, "too large to be a trace");
    else
        return TRACE_OPENED;
    return TRACE_UNREADABLE;
}

enum trace_opening trace_opened(struct trace *trace, int directory_fd, const char *name, bool follow)
{
    enum trace_opening opening;

    *trace = (struct trace){.fd = -1};
    opening = file_opened(trace, directory_fd, name, follow);
    if (opening == TRACE_OPENED)
        opening = header_checked(trace, bytes_read(trace, 0, &trace->header, sizeof(trace->header)));
    if (opening != TRACE_OPENED)
        return opening;
    cut_noticed(trace);
    for (unsigned id = 0; id < KNOWN_COUNT; id++)
        table_checked(trace, id);
    if (trace_record(trace, TABLE_PROCESS, 0, &trace->process))
        return TRACE_OPENED;
    if (!trace->warning[0] && records_used(trace, TABLE_HANDLE) <= 1)
        return TRACE_EMPTY;
    trace_warned(trace, "tells nothing about its process");
    return TRACE_UNREADABLE;
}

void trace_closed(struct trace *trace)
{
    for (unsigned id = 0; id < KNOWN_COUNT; id++)
        if (trace->copies[id].bytes)
            munmap(trace->copies[id].bytes, trace->copies[id].size);
    for (size_t i = 0; i < trace->cleaned.size; i++)
        free((char *)(uintptr_t)trace->cleaned.entries[i].value);
    map_freed(&trace->cleaned);
    if (trace->fd >= 0)
        close(trace->fd);
    trace->fd = -1;
}

/* --- tables in memory --------------------------------------------------------------------------------------------------------- */

static void extents_read(struct trace *trace, uint64_t offset, unsigned char *bytes, uint64_t size)
{
    for (uint64_t at = data_after(trace, offset, offset + size); at < offset + size;) {
        uint64_t left = offset + size - at, piece = left < PIECE ? left : PIECE;

        if (bytes_read(trace, at, bytes + (at - offset), piece) < piece)
            return;
        at = data_after(trace, at + piece, offset + size);
    }
}

/* Room for all that the table can hold, so that what is published later finds its place; storage only where it is
 * written. False: the table is empty. */
static bool table_copied(struct trace *trace, enum trace_table_id id)
{
    struct trace_copy *copy = &trace->copies[id];
    const struct trace_table *table = &trace->header.tables[id];
    size_t size = records_possible(trace, id) * table->record_size;

    if (copy->bytes || !size)
        return copy->bytes;
    copy->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copy->bytes == MAP_FAILED) {
        copy->bytes = NULL;
        trace_warned(trace, "no memory for its %s table", known[id].name);
        return false;
    }
    copy->size = size;
    extents_read(trace, table->offset, copy->bytes, records_used(trace, id) * table->record_size);
    return true;
}

/* What was not there when the table was read may be there by now. */
static void copy_refreshed(struct trace *trace, enum trace_table_id id, uint64_t at, size_t size)
{
    struct trace_copy *copy = &trace->copies[id];

    if (!trace->live || at >= copy->size)
        return;
    if (size > copy->size - at)
        size = copy->size - at;
    bytes_read(trace, trace->header.tables[id].offset + at, copy->bytes + at, size);
}

static bool is_published(const void *record)
{
    uint32_t published;

    memcpy(&published, record, sizeof(published));
    return published != 0;
}

bool trace_record(struct trace *trace, enum trace_table_id id, uint64_t number, void *record)
{
    size_t stride = trace->header.tables[id].record_size;
    const unsigned char *there;

    memset(record, 0, known[id].size);
    if (number >= records_possible(trace, id) || !table_copied(trace, id))
        return false;
    there = trace->copies[id].bytes + number * stride;
    if (!is_published(there))
        copy_refreshed(trace, id, number * stride, stride);
    if (!is_published(there))
        return false;
    memcpy(record, there, known[id].size);
    return true;
}

/* --- tables in pieces --------------------------------------------------------------------------------------------------------- */

struct walk {
    struct trace *trace;
    enum trace_table_id id;
    size_t stride;
    unsigned char *piece, *again; /* `again`: NULL where records stay what they are */
    bool (*visit)(void *context, uint32_t number, const void *record);
    void *context;
};

static bool piece_visited(const struct walk *walk, uint64_t first, size_t size)
{
    uint64_t record[RECORD_MAX / sizeof(uint64_t)];

    for (size_t at = 0; at + walk->stride <= size; at += walk->stride) {
        if (!is_published(walk->piece + at))
            continue;
        if (walk->again && memcmp(walk->piece + at, walk->again + at, IDENTITY) != 0)
            continue;
        memcpy(record, walk->piece + at, known[walk->id].size);
        if (!walk->visit(walk->context, (uint32_t)(first + at / walk->stride), record))
            return false;
    }
    return true;
}

static bool table_walked(const struct walk *walk)
{
    const struct trace *trace = walk->trace;
    uint64_t begin = trace->header.tables[walk->id].offset;
    uint64_t end = begin + records_used(trace, walk->id) * walk->stride;
    size_t whole = PIECE / walk->stride ? PIECE / walk->stride * walk->stride : walk->stride;

    for (uint64_t at = begin; at < end;) {
        uint64_t data = data_after(trace, at, end);
        size_t size;

        at += (data - at) / walk->stride * walk->stride;
        if (at >= end)
            break;
        size = end - at < whole ? end - at : whole;
        size = bytes_read(trace, at, walk->piece, size);
        if (walk->again)
            size = bytes_read(trace, at, walk->again, size);
        if (!piece_visited(walk, (at - begin) / walk->stride, size))
            return false;
        if (size < walk->stride)
            break;
        at += size / walk->stride * walk->stride;
    }
    return true;
}

bool trace_walked(struct trace *trace, enum trace_table_id id,
                  bool (*visit)(void *context, uint32_t number, const void *record), void *context)
{
    struct walk walk = {trace, id, trace->header.tables[id].record_size, NULL, NULL, visit, context};
    uint64_t whole = records_used(trace, id) * walk.stride;
    size_t size = whole < PIECE ? whole : walk.stride > PIECE ? walk.stride : PIECE;
    bool walked;

    if (!whole)
        return true;
    walk.piece = memory(size);
    if (trace->live && known[id].reusable)
        walk.again = memory(size);
    walked = table_walked(&walk);
    free(walk.piece);
    free(walk.again);
    return walked;
}

bool trace_timeline(struct trace *trace, struct trace_timeline *timeline)
{
    uint64_t offset = trace->header.tables[TABLE_TIMELINE].offset;
    uint32_t version;

    if (!records_possible(trace, TABLE_TIMELINE))
        return false;
    for (int attempt = 0; attempt < 16; attempt++) {
        if (bytes_read(trace, offset, timeline, sizeof(*timeline)) < sizeof(*timeline) ||
            bytes_read(trace, offset, &version, sizeof(version)) < sizeof(version))
            return false;
        if (!trace->live || (version == timeline->version && version % 2 == 0))
            return timeline->start && timeline->width;
    }
    return false;
}

/* --- text ------------------------------------------------------------------------------------------------------------------------- */

/* Bytes of the valid UTF-8 character at `at`, 0: there is none. */
static size_t character_size(const unsigned char *at, size_t left)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : *at < 0xf5 ? 4 : 0;
    uint32_t character = size > 1 ? *at & (0xffu >> (size + 1)) : *at;

    if (!size || size > left || !*at)
        return 0;
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (at[i] & 0x3f);
    }
    if (size > 1 && (character < smallest[size] || character > 0x10ffff || (character >= 0xd800 && character < 0xe000)))
        return 0;
    return size;
}

static bool is_text(const unsigned char *bytes, size_t length)
{
    for (size_t at = 0, size; at < length; at += size)
        if (!(size = character_size(bytes + at, length - at)))
            return false;
    return true;
}

static char *text_cleaned(const unsigned char *bytes, size_t length)
{
    char *text = memory(length * REPLACEMENT_SIZE + 1), *end = text;

    for (size_t at = 0; at < length;) {
        size_t size = character_size(bytes + at, length - at);

        memcpy(end, size ? (const char *)bytes + at : REPLACEMENT, size ? size : REPLACEMENT_SIZE);
        end += size ? size : REPLACEMENT_SIZE;
        at += size ? size : 1;
    }
    return text;
}

/* The copy is kept under `key` so that pointers stay good; too many of them, and the trace is a hostile one. */
static const char *text_kept(struct trace *trace, uint64_t key, const unsigned char *bytes, size_t length)
{
    const char *text = (const char *)(uintptr_t)map_value(&trace->cleaned, key);

    if (text)
        return text;
    trace->cleaned_size += length * REPLACEMENT_SIZE + 1;
    if (trace->cleaned_size > CLEANED_MAX)
        return REPLACEMENT;
    text = text_cleaned(bytes, length);
    map_set(&trace->cleaned, key, (uintptr_t)text);
    return text;
}

const unsigned char *trace_bytes(struct trace *trace, uint32_t string, size_t *length)
{
    uint64_t at = (uint64_t)string * STRING_UNIT;
    struct trace_string head;

    if (!string || !table_copied(trace, TABLE_STRING) || at + sizeof(head) > trace->copies[TABLE_STRING].size)
        return NULL;
    for (int attempt = 0; attempt < 2; attempt++) {
        memcpy(&head, trace->copies[TABLE_STRING].bytes + at, sizeof(head));
        if (head.length)
            break;
        copy_refreshed(trace, TABLE_STRING, at, sizeof(head) + BYTES_MAX + 1);
    }
    if (!head.length || head.length > BYTES_MAX || head.length > trace->copies[TABLE_STRING].size - at - sizeof(head))
        return NULL;
    *length = head.length;
    return trace->copies[TABLE_STRING].bytes + at + sizeof(head);
}

const char *trace_text(struct trace *trace, uint32_t string)
{
    size_t length = 0;
    const unsigned char *bytes = trace_bytes(trace, string, &length);
    const struct trace_copy *strings = &trace->copies[TABLE_STRING];

    if (!bytes || length > TEXT_MAX)
        return NULL;
    if (bytes + length < strings->bytes + strings->size && !bytes[length] && is_text(bytes, length))
        return (const char *)bytes;
    return text_kept(trace, string, bytes, length);
}

const char *trace_characters(struct trace *trace, const char *characters, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)characters;
    size_t length = strnlen(characters, size);

    return length ? text_kept(trace, bytes_hashed(MAP_SEED, bytes, length) | 1ull << 63, bytes, length) : NULL;
}

/* --- words and times ------------------------------------------------------------------------------------------------------------------ */

static const char *const built_in_kinds[] = {
#define KIND(id, name, noun, plural, parent, traits) name,
#include <unclosed/kinds.def>
#undef KIND
};

static const char *declared_kind(struct trace *trace, unsigned kind)
{
    char unknown[32];
    struct trace_kind record;

    for (uint64_t number = 1; number < records_used(trace, TABLE_KIND) && number <= KIND_LIMIT; number++)
        if (trace_record(trace, TABLE_KIND, number, &record) && record.kind == kind && trace_text(trace, record.name))
            return trace_text(trace, record.name);
    snprintf(unknown, sizeof(unknown), "unknown.kind-%u", kind);
    return trace_characters(trace, unknown, sizeof(unknown));
}

const char *trace_kind_name(struct trace *trace, unsigned kind)
{
    if (kind > 0 && kind < KIND_BUILT_IN_COUNT)
        return built_in_kinds[kind];
    if (kind >= KIND_LIMIT)
        kind = 0;
    if (!trace->kind_names[kind])
        trace->kind_names[kind] = declared_kind(trace, kind);
    return trace->kind_names[kind];
}

int64_t trace_calendar(const struct trace *trace, uint64_t monotonic)
{
    __int128 calendar = (__int128)trace->process.clock_realtime + monotonic - trace->process.clock_monotonic;

    if (!monotonic)
        return 0;
    return calendar < 1 ? 1 : calendar > INT64_MAX ? INT64_MAX : (int64_t)calendar;
}
