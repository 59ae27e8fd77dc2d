/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_builder.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t record_sizes[TABLE_COUNT] = {
    [TABLE_PROCESS] = sizeof(struct trace_process),
    [TABLE_STRING] = 8,
    [TABLE_KIND] = sizeof(struct trace_kind),
    [TABLE_MODULE] = sizeof(struct trace_module),
    [TABLE_FRAME] = sizeof(struct trace_frame),
    [TABLE_CODE] = sizeof(struct trace_code),
    [TABLE_STACK] = sizeof(struct trace_stack),
    [TABLE_SITE] = sizeof(struct trace_site),
    [TABLE_HANDLE] = sizeof(struct trace_handle),
    [TABLE_CLOSED] = sizeof(struct trace_closed),
    [TABLE_FACT] = sizeof(struct trace_fact),
    [TABLE_OWNER] = sizeof(struct trace_owner),
    [TABLE_DETAIL] = sizeof(struct trace_detail),
    [TABLE_INCIDENT] = sizeof(struct trace_incident),
    [TABLE_HOLDER] = sizeof(struct trace_holder),
    [TABLE_TIMELINE] = sizeof(struct trace_timeline),
    [TABLE_LIBRARY] = sizeof(struct trace_library),
    [TABLE_INDEX_STRING] = 4,
    [TABLE_INDEX_FRAME] = 4,
    [TABLE_INDEX_STACK] = 4,
    [TABLE_INDEX_SITE] = 4,
    [TABLE_INDEX_HANDLE] = 4,
    [TABLE_INDEX_CODE] = 4,
    [TABLE_INDEX_FACT] = 4,
    [TABLE_INDEX_CLOSED] = 4,
};

static void required(int condition, const char *what)
{
    if (condition)
        return;
    perror(what);
    abort();
}

/* --- records -------------------------------------------------------------------------------------------------------------- */

static void *units_added(struct trace_builder *made, enum trace_table_id table, size_t units, uint32_t *number)
{
    size_t size = record_sizes[table], count = made->tables[table].count;

    if (count + units > made->tables[table].room) {
        made->tables[table].room = (count + units) * 2;
        made->tables[table].records = realloc(made->tables[table].records, made->tables[table].room * size);
        required(made->tables[table].records != NULL, "realloc");
    }
    memset(made->tables[table].records + count * size, 0, units * size);
    made->tables[table].count = count + units;
    if (number)
        *number = (uint32_t)count;
    return made->tables[table].records + count * size;
}

void *built_record(struct trace_builder *made, enum trace_table_id table, uint32_t *number)
{
    uint32_t *record = units_added(made, table, 1, number);

    if (table != TABLE_TIMELINE)
        *record = 1;
    return record;
}

void *built_at(struct trace_builder *made, enum trace_table_id table, uint32_t number)
{
    return made->tables[table].records + number * record_sizes[table];
}

struct trace_process *built_process(struct trace_builder *made)
{
    return built_at(made, TABLE_PROCESS, 0);
}

uint32_t built_bytes(struct trace_builder *made, const void *bytes, size_t length)
{
    uint32_t number;
    struct trace_string *string = units_added(made, TABLE_STRING, (sizeof(*string) + length + 1 + 7) / 8, &number);

    string->hash = 1;
    string->length = (uint32_t)length;
    memcpy(string->text, bytes, length);
    return number;
}

uint32_t built_string(struct trace_builder *made, const char *text)
{
    return built_bytes(made, text, strlen(text));
}

uint32_t built_module(struct trace_builder *made, const char *path)
{
    uint32_t number, string = built_string(made, path);
    struct trace_module *module = built_record(made, TABLE_MODULE, &number);

    module->path = string;
    module->end = 1 << 20;
    return number;
}

static void note_searched(struct trace_module *module, const unsigned char *at, const unsigned char *end)
{
    while (at + sizeof(Elf64_Nhdr) < end) {
        const Elf64_Nhdr *note = (const Elf64_Nhdr *)at;
        const unsigned char *contents = at + sizeof(*note) + (note->n_namesz + 3) / 4 * 4;

        if (note->n_type == NT_GNU_BUILD_ID && note->n_descsz <= TRACE_BUILD_ID_MAX) {
            memcpy(module->build_id, contents, note->n_descsz);
            module->build_id_size = note->n_descsz;
        }
        at = contents + (note->n_descsz + 3) / 4 * 4;
    }
}

uint32_t built_module_of_file(struct trace_builder *made, const char *path)
{
    uint32_t number = built_module(made, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    const unsigned char *file = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)file;

    required(fd >= 0 && file != MAP_FAILED, path);
    for (int i = 0; i < header->e_phnum; i++) {
        const Elf64_Phdr *segment = (const Elf64_Phdr *)(file + header->e_phoff) + i;
        if (segment->p_type == PT_NOTE)
            note_searched(built_at(made, TABLE_MODULE, number), file + segment->p_offset,
                          file + segment->p_offset + segment->p_filesz);
    }
    munmap((void *)file, (size_t)size);
    close(fd);
    return number;
}

uint32_t built_frame(struct trace_builder *made, uint32_t module, uint64_t offset)
{
    uint32_t number;
    struct trace_frame *frame = built_record(made, TABLE_FRAME, &number);

    frame->type = FRAME_NATIVE;
    frame->module = module;
    frame->offset = offset;
    return number;
}

uint32_t built_python_frame(struct trace_builder *made, const char *file, const char *function, uint32_t line)
{
    uint32_t number, code_number, file_string = built_string(made, file), name = built_string(made, function);
    struct trace_code *code = built_record(made, TABLE_CODE, &code_number);
    struct trace_frame *frame;

    code->file = file_string;
    code->name = code->qualified_name = name;
    code->first_line = line;
    code->python_version = 0x030b00f0;
    frame = built_record(made, TABLE_FRAME, &number);
    frame->type = FRAME_PYTHON;
    frame->module = code_number;
    frame->offset = 20;
    return number;
}

uint32_t built_stack(struct trace_builder *made, const uint32_t *frames, size_t count)
{
    uint32_t parent = 0, number = 0;

    for (size_t depth = 1; depth <= count; depth++, parent = number) {
        struct trace_stack *node = built_record(made, TABLE_STACK, &number);
        node->frame = frames[count - depth];
        node->parent = parent;
        node->depth = (uint32_t)depth;
    }
    return number;
}

uint32_t built_flagged(struct trace_builder *made, uint32_t frame, uint32_t flags)
{
    uint32_t number;
    struct trace_frame *flagged = built_record(made, TABLE_FRAME, &number);

    *flagged = *(struct trace_frame *)built_at(made, TABLE_FRAME, frame);
    flagged->flags = flags;
    return number;
}

uint32_t built_mixed(struct trace_builder *made, uint32_t python, uint32_t native, uint32_t flags)
{
    uint32_t frame_number, number;
    struct trace_frame *frame = built_record(made, TABLE_FRAME, &frame_number);
    struct trace_stack *node = built_record(made, TABLE_STACK, &number);

    frame->type = FRAME_MIXED;
    frame->flags = flags;
    frame->offset = python;
    node->frame = frame_number;
    node->parent = native;
    node->depth = native ? ((struct trace_stack *)built_at(made, TABLE_STACK, native))->depth + 1 : 1;
    return number;
}

uint32_t built_site(struct trace_builder *made, enum kind kind, uint32_t stack)
{
    uint32_t number;
    struct trace_site *site = built_record(made, TABLE_SITE, &number);

    site->kind = kind;
    site->stack = stack;
    return number;
}

struct trace_handle *built_handle(struct trace_builder *made, uint32_t site_number)
{
    struct trace_site *site = built_at(made, TABLE_SITE, site_number);
    struct trace_handle *handle;
    uint32_t place;

    handle = built_record(made, TABLE_HANDLE, &place);
    handle->state = HANDLE_OPEN;
    handle->kind = (uint16_t)site->kind;
    handle->address = 0x55d000000000u + place * 64u;
    handle->generation = place;
    handle->site = site_number;
    handle->opened = BUILT_AT(1);
    handle->last_used = BUILT_AT(1);
    handle->thread = 4242;
    handle->last_thread = 4242;
    handle->reference = REFERENCE_FOUND;
    site->opened++;
    site->open++;
    site->peak = site->open;
    site->first = handle->opened;
    site->last = handle->opened;
    site->peak_time = handle->opened;
    made->header.opened[site->kind]++;
    made->header.open[site->kind]++;
    made->header.peak[site->kind]++;
    return handle;
}

/* --- whole traces -------------------------------------------------------------------------------------------------------------- */

struct trace_builder *builder_begun(void)
{
    struct trace_builder *made = calloc(1, sizeof(*made));
    struct trace_process *process;

    required(made != NULL, "calloc");
    for (int table = 0; table < TABLE_COUNT; table++)
        if (table != TABLE_PROCESS && table != TABLE_CLOSED && table != TABLE_TIMELINE)
            units_added(made, table, 1, NULL);
    process = built_record(made, TABLE_PROCESS, NULL);
    process->pid = 4242;
    process->parent = 1;
    process->start_ticks = 1;
    process->clock_monotonic = process->started = BUILT_MONOTONIC;
    process->clock_realtime = BUILT_REALTIME;
    process->executable = built_string(made, "/usr/bin/true");
    process->command = built_string(made, "true --quietly");
    process->directory = built_string(made, "/");
    process->host = built_string(made, "built");
    process->capture_method = built_string(made, "libunwind");
    process->end = END_EXIT;
    process->exit_began = BUILT_AT(60);
    process->ended = BUILT_AT(60);
    process->last_event = BUILT_AT(60);
    process->scan = SCAN_COMPLETE;
    process->scan_ns = 5000000;
    built_stack(made, (uint32_t[]){0}, 1); /* STACK_OTHER */
    return made;
}

void builder_freed(struct trace_builder *made)
{
    for (int table = 0; table < TABLE_COUNT; table++)
        free(made->tables[table].records);
    free(made);
}

static size_t rounded_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* Offset of each table, and the size of all; small, so that a fuzzer's seeds are. */
static size_t layout_planned(const struct trace_builder *made, struct trace_header *header)
{
    size_t offset = rounded_up(sizeof(*header) + 1, 64);

    for (int id = 0; id < TABLE_COUNT; id++) {
        struct trace_table *table = &header->tables[id];
        table->id = (uint32_t)id;
        table->record_size = (uint32_t)record_sizes[id];
        table->offset = offset;
        table->capacity = made->tables[id].count;
        table->used = made->tables[id].count;
        offset += rounded_up(made->tables[id].count * record_sizes[id], 64);
    }
    return offset;
}

static struct trace_header header_made(const struct trace_builder *made, size_t *size)
{
    struct trace_header header = made->header;

    memcpy(header.magic, TRACE_MAGIC, sizeof(header.magic));
    header.layout = TRACE_LAYOUT;
    header.header_size = sizeof(header);
    header.byte_order = TRACE_BYTE_ORDER;
    header.page_size = 4096;
    header.granule_map = sizeof(header);
    header.granule_size = TRACE_GRANULE;
    header.table_count = TABLE_COUNT;
    header.ready = 1;
    *size = header.file_size = layout_planned(made, &header);
    return header;
}

unsigned char *trace_laid_out(const struct trace_builder *made, size_t *size)
{
    struct trace_header header = header_made(made, size);
    unsigned char *bytes = calloc(1, *size);

    required(bytes != NULL, "calloc");
    memcpy(bytes, &header, sizeof(header));
    for (int id = 0; id < TABLE_COUNT; id++)
        if (made->tables[id].count)
            memcpy(bytes + header.tables[id].offset, made->tables[id].records,
                   made->tables[id].count * record_sizes[id]);
    return bytes;
}

void bytes_written(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "we");

    required(file != NULL, path);
    required(fwrite(bytes, 1, size, file) == size && fclose(file) == 0, path);
}

void trace_written(const struct trace_builder *made, const char *path)
{
    size_t size;
    unsigned char *bytes = trace_laid_out(made, &size);

    bytes_written(path, bytes, size);
    free(bytes);
}

/* --- ready-made ------------------------------------------------------------------------------------------------------------------ */

static void closed_built(struct trace_builder *made, uint32_t site, uint32_t stack)
{
    struct trace_closed *closed = built_record(made, TABLE_CLOSED, NULL);

    closed->kind = KIND_SQLITE3_CONNECTION;
    closed->how = ENDED_EXPLICIT;
    closed->address = 0x55d000001000u;
    closed->generation = 77;
    closed->site = site;
    closed->close_stack = stack;
    closed->opened = BUILT_AT(2);
    closed->closed = BUILT_AT(3);
}

static void facts_built(struct trace_builder *made, uint32_t site, uint32_t stack)
{
    uint32_t target = built_string(made, "/tmp/orders.db"), function = built_string(made, "sqlite3_close");

    for (unsigned type = FACT_NONE + 1; type < FACT_TYPE_COUNT; type++) {
        struct trace_fact *fact = built_record(made, TABLE_FACT, NULL);
        fact->type = (uint16_t)type;
        fact->kind = KIND_SQLITE3_CONNECTION;
        fact->flags = FACT_WROTE;
        fact->site = site;
        fact->stack = fact->close_stack = stack;
        fact->count = type;
        fact->first = BUILT_AT(4);
        fact->last = BUILT_AT(4);
        fact->target = target;
        fact->function = function;
    }
}

static uint32_t owner_built(struct trace_builder *made)
{
    uint32_t number, label = built_string(made, "GET /orders"), reason = built_string(made, "exception ValueError");
    struct trace_owner *owner = built_record(made, TABLE_OWNER, &number);

    owner->kind = OWNER_REQUEST;
    owner->id = 9;
    owner->label = label;
    owner->began = BUILT_AT(1);
    owner->ended = BUILT_AT(2);
    owner->end_reason = reason;
    owner->handles = 1;
    return number;
}

static void detail_built(struct trace_builder *made, uint32_t handle)
{
    uint32_t number, key = built_string(made, "tenant"), value = built_string(made, "acme");
    struct trace_detail *detail = built_record(made, TABLE_DETAIL, &number);

    detail->handle = handle;
    detail->generation = handle;
    detail->key = key;
    detail->value = value;
    ((struct trace_handle *)built_at(made, TABLE_HANDLE, handle))->details = number;
}

static void incident_built(struct trace_builder *made, uint32_t site, uint32_t stack)
{
    uint32_t rule = built_string(made, "pool-exhausted"), text = built_string(made, "QueuePool limit reached"), first;
    struct trace_holder *holder = built_record(made, TABLE_HOLDER, &first);
    struct trace_incident *incident = built_record(made, TABLE_INCIDENT, NULL);

    holder->site = site;
    holder->kind = KIND_SQLITE3_CONNECTION;
    holder->opened = BUILT_AT(1);
    incident->rule = rule;
    incident->text = text;
    incident->at = BUILT_AT(30);
    incident->waited = 30000000000u;
    incident->stack = stack;
    incident->first_holder = first;
    incident->holder_count = 1;
    incident->count = 1;
}

static void timeline_built(struct trace_builder *made)
{
    struct trace_timeline *timeline = built_record(made, TABLE_TIMELINE, NULL);

    timeline->start = BUILT_MONOTONIC;
    timeline->width = 1000000000u;
    for (uint32_t bucket = 0; bucket < 3; bucket++) {
        timeline->buckets[bucket * 2].touched = 1;
        timeline->buckets[bucket * 2].peak[KIND_SQLITE3_CONNECTION] = bucket == 2 ? 0 : 5;
    }
}

static void library_built(struct trace_builder *made)
{
    uint32_t name = built_string(made, "sqlite3"), path = built_string(made, "/usr/lib/libsqlite3.so.0");
    struct trace_library *library = built_record(made, TABLE_LIBRARY, NULL);

    library->name = name;
    library->path = path;
    library->copy = 1;
}

static void declared_kind_built(struct trace_builder *made)
{
    uint32_t name = built_string(made, "myapp.lease");
    struct trace_kind *kind = built_record(made, TABLE_KIND, NULL);

    kind->kind = KIND_DECLARED;
    kind->name = name;
    made->header.opened[KIND_DECLARED] = made->header.closed[KIND_DECLARED] = 3;
}

struct trace_builder *builder_of_everything(void)
{
    struct trace_builder *made = builder_begun();
    uint32_t module = built_module(made, "/srv/app/server");
    uint32_t frames[] = {built_frame(made, module, 0x1234),
                         built_python_frame(made, "/srv/app/orders.py", "list_orders", 42),
                         built_frame(made, module, 0x2345)};
    uint32_t stack = built_stack(made, frames, 3), site = built_site(made, KIND_SQLITE3_CONNECTION, stack);
    uint32_t statements = built_site(made, KIND_SQLITE3_STATEMENT, stack), owner = owner_built(made);
    struct trace_handle *connection, *statement;

    connection = built_handle(made, site);
    connection->reference = REFERENCE_NONE;
    connection->owner = owner;
    memcpy(connection->thread_name, "worker-1", 9);
    statement = built_handle(made, statements);
    statement->parent = statement->parent_generation = 1;
    detail_built(made, 1);
    closed_built(made, site, stack);
    facts_built(made, site, stack);
    incident_built(made, site, stack);
    timeline_built(made);
    library_built(made);
    declared_kind_built(made);
    made->header.losses[LOSS_DETAILS] = 2;
    return made;
}

static uint32_t built_below(struct trace_builder *made, enum kind kind, uint32_t stack, uint32_t parent)
{
    struct trace_handle *handle = built_handle(made, built_site(made, kind, stack));

    handle->parent = handle->parent_generation = parent;
    handle->flags = HANDLE_IN_TRANSACTION;
    return (uint32_t)handle->generation;
}

struct trace_builder *builder_of_python(void)
{
    static const unsigned char locations[] = {0xf0, 0x03, 0x02, 0x05, 0x0a, 0xe8, 0x02, 0xd0, 0x00, 0x01};
    struct trace_builder *made = builder_begun();
    uint32_t module = built_module(made, "/usr/bin/python3.11"),
             table = built_bytes(made, locations, sizeof(locations));
    uint32_t eval = built_flagged(made, built_frame(made, module, 0x1000), FRAME_EVAL);
    uint32_t native[] = {built_frame(made, module, 0x500), eval, built_frame(made, module, 0x600), eval};
    uint32_t python[] = {
        built_python_frame(made, "/srv/app/orders.py", "list_orders", 40),
        built_flagged(made, built_python_frame(made, "app.py", "<listcomp>", 9), FRAME_ENTRY),
        built_flagged(made, built_python_frame(made, "<string>", "<module>", 1), FRAME_ENTRY),
    };
    uint32_t native_stack = built_stack(made, native, 4), stack, engine, session;

    ((struct trace_code *)built_at(made, TABLE_CODE, 1))->line_table = table;
    stack = built_mixed(made, built_stack(made, python, 3), native_stack, MIXED_APPROXIMATE);
    engine = built_below(made, KIND_SQLALCHEMY_ENGINE, built_mixed(made, stack - 1, 0, 0), 0);
    session = built_below(made, KIND_SQLALCHEMY_SESSION, stack, engine);
    built_below(made, KIND_SQLITE3_CONNECTION, stack, built_below(made, KIND_SQLALCHEMY_CHECKOUT, stack, session));
    facts_built(made, 1, stack);
    incident_built(made, 1, stack);
    library_built(made);
    ((struct trace_library *)built_at(made, TABLE_LIBRARY, 1))->is_adapter = 1;
    built_process(made)->python = PYTHON_PRESENT | PYTHON_FRAMES;
    built_process(made)->python_version = 0x030b02f0;
    return made;
}

struct trace_builder *builder_of_many(const char *module_path, uint32_t handles, uint32_t sites, unsigned depth)
{
    struct trace_builder *made = builder_begun();
    uint32_t module = built_module_of_file(made, module_path), shared[64], first = 0;

    if (depth > 64)
        depth = 64;
    for (unsigned i = 1; i < depth; i++)
        shared[i] = built_frame(made, module, 0x1000 + 0x10 * i);
    for (uint32_t i = 0; i < sites; i++) {
        shared[0] = built_frame(made, module, 0x2000 + 4 * i);
        first = built_site(made, KIND_SQLITE3_CONNECTION, built_stack(made, shared, depth)) - i;
    }
    for (uint32_t i = 0; i < handles; i++) {
        struct trace_handle *handle = built_handle(made, first + i % sites);
        handle->reference = REFERENCE_NONE;
        handle->opened = BUILT_AT(1) + i * 10000u;
        handle->last_used = handle->opened;
    }
    return made;
}
