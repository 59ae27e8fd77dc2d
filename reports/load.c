/* SPDX-License-Identifier: Apache-2.0 */
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loading.h"

/* --- one trace ------------------------------------------------------------------------------------------------------------- */

static uint64_t last_moment(const struct subject *subject)
{
    const struct trace_process *process = &subject->trace->process;

    if (process->ended)
        return process->ended;
    if (subject->trace->live && subject->presence == PRESENCE_RUNNING &&
        (uint64_t)subject->loading->now > process->clock_realtime)
        return (uint64_t)subject->loading->now - process->clock_realtime + process->clock_monotonic;
    return process->last_event ? process->last_event : process->started;
}

static void image_noted(struct subject *subject)
{
    const struct trace_process *process = &subject->trace->process;
    uint64_t boot = bytes_hashed(MAP_SEED, process->boot_id, sizeof(process->boot_id));

    image_added(&subject->loading->images,
                &(struct image){
                    .id = subject->process,
                    .pid = process->pid,
                    .forked_from = process->forked_from,
                    .start_ticks = process->start_ticks,
                    .forked_start_ticks = process->forked_start_ticks,
                    .started = process->started,
                    .boot = mixed(boot, process->pid_namespace),
                    .site_base = subject->site_base,
                    .site_limit = subject->site_count ? subject->sites[subject->site_count - 1].number + 1 : 0,
                });
}

/* The ids behind those of this trace. */
static void ids_taken(struct subject *subject)
{
    struct loading *loading = subject->loading;

    loading->sites = siteless_id(subject, KIND_LIMIT - 1);
    if (subject->handle_count)
        loading->handles += subject->handles[subject->handle_count - 1].number;
    if (subject->owner_count)
        loading->owners += subject->owners[subject->owner_count - 1].number;
}

/* Handles are surveyed first: what they refer to was there before them, also in a process that runs. */
static void tables_loaded(struct subject *subject)
{
    handles_surveyed(subject);
    owners_loaded(subject);
    sites_loaded(subject);
    handles_loaded(subject);
    siteless_loaded(subject);
    facts_loaded(subject);
    incidents_loaded(subject);
    closed_handles_loaded(subject);
    libraries_loaded(subject);
    timeline_loaded(subject);
    kind_counts_loaded(subject);
    process_loaded(subject);
    image_noted(subject);
    ids_taken(subject);
}

static void trace_loaded(struct loading *loading, struct trace *trace, const char *file)
{
    struct subject subject = {
        .loading = loading,
        .trace = trace,
        .file = file,
        .process = ++loading->processes,
        .site_base = loading->sites,
        .handle_base = loading->handles,
        .owner_base = loading->owners,
    };

    subject.presence = process_presence(&trace->process, trace_text(trace, trace->process.host));
    trace->live = subject.presence != PRESENCE_GONE && trace->process.end == END_NONE;
    subject.seen_until = last_moment(&subject);
    tables_loaded(&subject);
    renumbering_freed(&subject.renumbering);
    free(subject.handles);
    free(subject.sites);
    free(subject.owners);
}

static void warned(const char *name, const char *warning)
{
    fprintf(stderr, "unclosed: warning: %s: %s\n", name, warning);
}

static bool was_read_before(struct loading *loading, const struct trace *trace)
{
    struct stat status;
    uint64_t key;

    if (trace->fd < 0 || fstat(trace->fd, &status) != 0)
        return false;
    key = mixed(status.st_dev, status.st_ino);
    if (map_value(&loading->files, key))
        return true;
    map_set(&loading->files, key, 1);
    return false;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);

    return length >= tail && strcmp(name + length - tail, ending) == 0;
}

/* A file that the user named must be a trace; one that lies in a directory may be anything. */
static void file_loaded(struct loading *loading, int directory, const char *name, bool named)
{
    const char *slash = strrchr(name, '/'), *file = slash ? slash + 1 : name;
    struct trace trace;
    enum trace_opening opening = trace_opened(&trace, directory, name, named);

    if (opening == TRACE_NONE) {
        loading->refused += named;
        if (named || ends_with(name, ".trace"))
            warned(name, trace.warning);
    } else if (opening == TRACE_EMPTY) {
        if (named)
            warned(name, "nothing was recorded in it");
    } else if (!was_read_before(loading, &trace)) {
        loading->loaded++;
        if (opening == TRACE_OPENED)
            trace_loaded(loading, &trace, file);
        else
            unreadable_loaded(
                &(struct subject){.loading = loading, .trace = &trace, .file = file, .process = ++loading->processes});
        if (trace.warning[0])
            warned(name, trace.warning);
    }
    trace_closed(&trace);
}

/* --- many ------------------------------------------------------------------------------------------------------------------- */

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Of a directory that a `run` made, the traces are below it. */
static int directory_opened(const char *path)
{
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int traces = directory < 0 ? -1 : openat(directory, "traces", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (traces < 0)
        return directory;
    close(directory);
    return traces;
}

static bool directory_loaded(struct loading *loading, const char *path)
{
    struct dirent **entries;
    int directory = directory_opened(path), count;

    if (directory < 0)
        return false;
    count = scandirat(directory, ".", &entries, not_hidden, alphasort);
    for (int i = 0; i < count; i++) {
        file_loaded(loading, directory, entries[i]->d_name, false);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    close(directory);
    return count >= 0;
}

static void path_loaded(struct loading *loading, const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode)) {
        file_loaded(loading, AT_FDCWD, path, true);
    } else if (!directory_loaded(loading, path)) {
        loading->refused++;
        warned(path, strerror(errno));
    }
}

static struct inserts inserts_prepared(sqlite3 *db)
{
    return (struct inserts){
        .process = insert_prepared(
            db, "process",
            "id trace pid parent_pid host label executable command directory started_at ended_at seen_until_at ended "
            "end_status end_words scan scan_reason scan_ns capture fork_generation opened closed open dropped observed "
            "unobserved_reason sealed python python_frames python_adapted python_problem warning"),
        .loss = insert_prepared(db, "loss", "process name count"),
        .library = insert_prepared(db, "library", "process name path copy"),
        .adapter = insert_replacing_prepared(db, "adapter", "process name version problem"),
        .kind_count = insert_prepared(db, "kind_count", "process kind opened closed open peak"),
        .kind = insert_unless_there_prepared(db, "kind", "name noun plural parent cheap"),
        .timeline = insert_prepared(db, "timeline", "process kind at width_ns peak"),
        .site = insert_prepared(
            db, "site",
            "id process kind stack target opened closed failed open peak first_at last_at peak_at ended_explicit "
            "ended_gc ended_finalization ended_invalidated ended_detached ended_owner_gone ended_with_parent "
            "ended_replaced held_p50_ns held_p99_ns held_max_ns"),
        .hold_time = insert_prepared(db, "hold_time", "site bucket low_ns high_ns count"),
        .closed_handle = insert_prepared(
            db, "closed_handle",
            "process kind address generation site close_stack opened_at closed_at how target owner_label "
            "in_transaction last_used_at thread owner_left"),
        .owner = insert_prepared(db, "owner", "id process kind label parent began_at ended_at end_reason thread"),
        .handle = insert_prepared(
            db, "handle",
            "id process site kind stack handles address generation copy opened_at last_used_at thread thread_name "
            "last_thread target parent root_site root_reference is_child owner owner_ended_at failed_open failed_code "
            "zombie close_refused close_stack close_result ignored connecting in_transaction transaction_stack "
            "transaction_began_at wrote tx_failed pooled reference closing"),
        .detail = insert_prepared(db, "detail", "handle key value"),
        .child = insert_prepared(db, "child", "root_site kind site handles"),
        .fact = insert_prepared(
            db, "fact",
            "id process type kind site stack opened_stack close_stack begin_stack wrote handle_left unwinding "
            "tx_failed "
            "count first_at last_at opened_at closed_at thread target code function other_pid generation text "
            "owner"),
        .incident = insert_prepared(
            db, "incident", "id process rule at waited_ns stack thread owner_label target message count last_at"),
        .holder = insert_prepared(db, "holder",
                                  "incident site kind stack opened_at last_used_at thread owner_label owner_ended_at "
                                  "transaction_stack last_sql in_transaction generation"),
    };
}

static bool inserts_finished(struct inserts *inserts)
{
    struct insert *all = (struct insert *)inserts;
    bool finished = true;

    for (size_t i = 0; i < sizeof(*inserts) / sizeof(*all); i++)
        finished &= insert_finished(&all[i]);
    return finished;
}

/* What rules look up for each handle: made at once, after the rows. */
static const char indexes[] = "CREATE INDEX IF NOT EXISTS handle_by_site ON handle (site);"
                              "CREATE INDEX IF NOT EXISTS handle_by_parent ON handle (parent) WHERE parent IS NOT NULL;"
                              "CREATE INDEX IF NOT EXISTS fact_by_site ON fact (site);";

static int64_t calendar_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int traces_loaded(sqlite3 *db, const struct load_options *options, unsigned *loaded)
{
    struct loading loading = {.db = db, .options = options, .stacks = stacks_opened(), .now = calendar_now()};
    bool done = executed(db, "BEGIN");

    loading.inserts = inserts_prepared(db);
    kinds_loaded(&loading);
    for (size_t i = 0; i < options->count; i++)
        path_loaded(&loading, options->paths[i]);
    done &= inserts_finished(&loading.inserts);
    done =
        done && relations_found(&loading) && names_loaded(&loading) && executed(db, indexes) && executed(db, "COMMIT");
    stacks_closed(loading.stacks);
    free(loading.images.list);
    free(loading.elsewhere);
    map_freed(&loading.files);
    *loaded = loading.loaded;
    if (done && !loading.loaded && loading.refused)
        fprintf(stderr, "unclosed: error: no trace could be read\n");
    return done && (loading.loaded || !loading.refused) ? 0 : -1;
}
