/* SPDX-License-Identifier: Apache-2.0 */
/* Tables process, loss, library, kind, kind_count and timeline. */
#include <stdio.h>
#include <string.h>

#include "loading.h"

static const struct {
    const char *name, *noun, *plural;
    enum kind parent;
    unsigned traits;
} built_in[] = {
#define KIND(id, name, noun, plural, parent, traits) {name, noun, plural, KIND_##parent, traits},
#include <unclosed/kinds.def>
#undef KIND
};

static const char *const loss_names[] = {
    [LOSS_HANDLES] = "handles",     [LOSS_SITES] = "sites",           [LOSS_STACKS] = "stacks",
    [LOSS_FRAMES] = "frames",       [LOSS_MODULES] = "modules",       [LOSS_STRINGS] = "strings",
    [LOSS_FACTS] = "facts",         [LOSS_OWNERS] = "owners",         [LOSS_DETAILS] = "details",
    [LOSS_INCIDENTS] = "incidents", [LOSS_SPACE] = "space",           [LOSS_BEFORE_START] = "before-start",
    [LOSS_REENTERED] = "reentered", [LOSS_UNRESOLVED] = "unresolved", [LOSS_SEALED] = "sealed",
};
enum { LOSS_NAMES = sizeof(loss_names) / sizeof(loss_names[0]) };

/* --- kinds ------------------------------------------------------------------------------------------------------------- */

void kinds_loaded(struct loading *loading)
{
    for (unsigned kind = KIND_NONE + 1; kind < KIND_BUILT_IN_COUNT; kind++)
        INSERTED(&loading->inserts.kind, text(built_in[kind].name), text(built_in[kind].noun),
                 text(built_in[kind].plural),
                 built_in[kind].parent ? text(built_in[built_in[kind].parent].name) : nothing(),
                 integer(built_in[kind].traits & KIND_CHEAP ? 1 : 0));
}

static unsigned declared_parent(struct trace *trace, unsigned kind)
{
    struct trace_kind record;

    for (uint32_t number = 1; number <= KIND_LIMIT - KIND_DECLARED; number++)
        if (trace_record(trace, TABLE_KIND, number, &record) && record.kind == kind)
            return record.parent;
    return KIND_NONE;
}

static void declared_kind_loaded(struct subject *subject, unsigned kind)
{
    const char *name = trace_kind_name(subject->trace, kind);
    unsigned parent = declared_parent(subject->trace, kind);
    char noun[256], plural[260];

    snprintf(noun, sizeof(noun), "%.200s handle", name);
    snprintf(plural, sizeof(plural), "%ss", noun);
    INSERTED(&subject->loading->inserts.kind, text(name), text(noun), text(plural),
             parent ? kind_value(subject, parent) : nothing(), integer(0));
}

void kind_counts_loaded(struct subject *subject)
{
    const struct trace_header *header = &subject->trace->header;

    for (unsigned kind = 0; kind < KIND_LIMIT; kind++) {
        if (!header->opened[kind] && !header->closed[kind] && !header->open[kind])
            continue;
        INSERTED(&subject->loading->inserts.kind_count, integer(subject->process), kind_value(subject, kind),
                 counted(header->opened[kind]), counted(header->closed[kind]), counted(header->open[kind]),
                 counted(header->peak[kind]));
    }
    for (unsigned kind = 0; kind < KIND_LIMIT; kind++)
        if (subject->trace->kind_names[kind])
            declared_kind_loaded(subject, kind);
}

/* --- libraries ------------------------------------------------------------------------------------------------------------ */

static bool library_visited(void *context, uint32_t number, const void *record)
{
    struct subject *subject = context;
    const struct trace_library *library = record;
    const char *name = trace_text(subject->trace, library->name);

    (void)number;
    if (!name)
        return true;
    if (library->is_adapter && strcmp(name, "python") == 0) /* our sitecustomize itself, which is no library's */
        subject->python_reason = trace_text(subject->trace, library->problem);
    else if (library->is_adapter)
        INSERTED(&subject->loading->inserts.adapter, integer(subject->process), text(name),
                 trace_text_value(subject, library->path), trace_text_value(subject, library->problem));
    else
        INSERTED(&subject->loading->inserts.library, integer(subject->process), text(name),
                 trace_text_value(subject, library->path), integer(library->copy));
    return true;
}

void libraries_loaded(struct subject *subject)
{
    trace_walked(subject->trace, TABLE_LIBRARY, library_visited, subject);
}

/* --- Python ------------------------------------------------------------------------------------------------------------ */

enum { PYTHON_WORDS = 400 };

/* PY_VERSION_HEX 0x030e00c1 → "3.14.0rc1". */
static const char *python_version(const struct trace_process *process, char words[PYTHON_WORDS])
{
    static const char *const levels[16] = {[0xa] = "a", [0xb] = "b", [0xc] = "rc"};
    uint32_t version = process->python_version;
    const char *level = levels[version >> 4 & 15];
    int length;

    if (!(process->python & PYTHON_PRESENT))
        return NULL;
    if (!version)
        return "of an unknown version";
    length = snprintf(words, PYTHON_WORDS, "%u.%u.%u", version >> 24, version >> 16 & 255, version >> 8 & 255);
    if (level)
        length += snprintf(words + length, PYTHON_WORDS - (size_t)length, "%s%u", level, version & 15);
    if (process->python & PYTHON_FREE_THREADED)
        snprintf(words + length, PYTHON_WORDS - (size_t)length, " free-threaded");
    return words;
}

static const char *python_problem(const struct subject *subject, char words[PYTHON_WORDS])
{
    unsigned python = subject->trace->process.python;
    const char *reason = subject->python_reason;

    if (!(python & PYTHON_PRESENT) || (python & PYTHON_FRAMES && python & PYTHON_ADAPTED))
        return NULL;
    if (python & PYTHON_ADAPTED)
        return "no Python frames: this interpreter is not one whose frames can be read";
    snprintf(words, PYTHON_WORDS, "native view only: SQLAlchemy sessions were not seen (%.200s)%s",
             reason ? reason : "Python ran with -I, -E or -S, PYTHONPATH was cleared, or the program has it built in",
             python & PYTHON_FRAMES ? ""
                                    : "; nor were Python frames: this interpreter is not one of those that are known");
    return words;
}

/* --- process ---------------------------------------------------------------------------------------------------------------- */

static uint64_t summed(const _Atomic uint64_t *counts, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(sum, counts[i], &sum))
            return UINT64_MAX;
    return sum;
}

static uint64_t losses_loaded(struct subject *subject)
{
    const struct trace_header *header = &subject->trace->header;
    char other[32];

    for (unsigned loss = 0; loss < LOSS_COUNT; loss++) {
        snprintf(other, sizeof(other), "other-%u", loss);
        if (header->losses[loss])
            INSERTED(&subject->loading->inserts.loss, integer(subject->process),
                     text(loss < LOSS_NAMES ? loss_names[loss] : other), counted(header->losses[loss]));
    }
    return summed(header->losses, LOSS_COUNT);
}

static struct value scan_value(const struct trace_process *process)
{
    switch ((enum trace_scan)process->scan) {
    case SCAN_COMPLETE:
        return text("complete");
    case SCAN_RUNNING:
    case SCAN_GAVE_UP:
        return text("gave-up");
    case SCAN_NOT_RUN:
        break;
    }
    return text("not-run");
}

static struct value scan_reason(const struct subject *subject)
{
    const struct trace_process *process = &subject->trace->process;
    const char *reason = trace_text(subject->trace, process->scan_reason);

    if (reason || process->scan == SCAN_COMPLETE)
        return text(reason);
    if (process->scan == SCAN_RUNNING)
        return text("the search for references did not come to its end");
    if (process->scan == SCAN_GAVE_UP)
        return text("the search for references gave up");
    switch ((enum trace_end)process->end) {
    case END_NONE:
        return text(subject->presence == PRESENCE_RUNNING ? "it is still running"
                                                          : "it was killed before its exit began");
    case END_IMMEDIATE:
        return text("it ended by _exit");
    case END_QUICK:
        return text("it ended by quick_exit");
    case END_EXEC:
        return text("it became another program");
    case END_EXIT:
    case END_THREADS:
        break;
    }
    return nothing();
}

void process_loaded(struct subject *subject)
{
    struct trace *trace = subject->trace;
    const struct trace_process *process = &trace->process;
    const struct trace_header *header = &trace->header;
    struct ending ending = process_ending(process, subject->presence);
    uint64_t dropped = losses_loaded(subject);
    char version[PYTHON_WORDS], problem[PYTHON_WORDS];

    if (trace->damaged)
        trace_warned(trace, "%llu damaged records were left out", (unsigned long long)trace->damaged);
    INSERTED(&subject->loading->inserts.process, integer(subject->process), text(subject->file), integer(process->pid),
             integer(process->parent), trace_text_value(subject, process->host),
             trace_text_value(subject, process->label), trace_text_value(subject, process->executable),
             trace_text_value(subject, process->command), trace_text_value(subject, process->directory),
             moment(subject, process->started), moment(subject, process->ended), moment(subject, subject->seen_until),
             text(ending.ended), ending.has_status ? integer(ending.status) : nothing(), text(ending.words),
             scan_value(process), scan_reason(subject), process->scan_ns ? counted(process->scan_ns) : nothing(),
             trace_text_value(subject, process->capture_method),
             process->forked_from ? counted(process->fork_generation) : nothing(),
             counted(summed(header->opened, KIND_LIMIT)), counted(summed(header->closed, KIND_LIMIT)),
             counted(summed(header->open, KIND_LIMIT)), counted(dropped), integer(1), nothing(),
             integer(process->sealed ? 1 : 0), text(python_version(process, version)),
             integer(process->python & PYTHON_FRAMES ? 1 : 0), integer(process->python & PYTHON_ADAPTED ? 1 : 0),
             text(python_problem(subject, problem)), text(trace->warning[0] ? trace->warning : NULL));
}

void unreadable_loaded(struct subject *subject)
{
    char reason[400];

    snprintf(reason, sizeof(reason), "its trace %.100s: %s", subject->file, subject->trace->warning);
    INSERTED(&subject->loading->inserts.process, integer(subject->process), text(subject->file), integer(0), nothing(),
             nothing(), nothing(), nothing(), nothing(), nothing(), nothing(), nothing(), nothing(), text("unknown"),
             nothing(), text("unknown"), text("not-run"), text("its trace cannot be read"), nothing(), nothing(),
             nothing(), integer(0), integer(0), integer(0), integer(0), integer(0), text(reason), integer(0), nothing(),
             integer(0), integer(0), nothing(), text(subject->trace->warning));
}

/* --- timeline --------------------------------------------------------------------------------------------------------------- */

/* Declared kinds share a column: it has the name of the only one, or none of its own. */
static const char *column_name(struct subject *subject, unsigned column)
{
    const struct trace_header *header = &subject->trace->header;
    unsigned declared = 0, kind = 0;

    if (column < KIND_BUILT_IN_COUNT)
        return trace_kind_name(subject->trace, column);
    for (unsigned i = KIND_DECLARED; i < KIND_LIMIT; i++)
        if (header->opened[i]) {
            declared++;
            kind = i;
        }
    return declared == 1 ? trace_kind_name(subject->trace, kind) : "declared";
}

static void column_loaded(struct subject *subject, const struct trace_timeline *timeline, unsigned column)
{
    uint64_t before = 0;

    for (uint64_t bucket = 0; bucket < TRACE_BUCKETS; bucket++) {
        const struct trace_bucket *span = &timeline->buckets[bucket];
        uint64_t peak = span->peak[column], offset;

        if (!span->touched || peak == before)
            continue;
        if (__builtin_mul_overflow(bucket, timeline->width, &offset) ||
            __builtin_add_overflow(offset, timeline->start, &offset))
            return;
        INSERTED(&subject->loading->inserts.timeline, integer(subject->process), text(column_name(subject, column)),
                 moment(subject, offset), counted(timeline->width), counted(peak));
        before = peak;
    }
}

void timeline_loaded(struct subject *subject)
{
    struct trace_timeline timeline;

    if (!trace_timeline(subject->trace, &timeline))
        return;
    for (unsigned column = 1; column < TIMELINE_KINDS; column++)
        column_loaded(subject, &timeline, column);
}
