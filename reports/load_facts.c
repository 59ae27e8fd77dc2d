/* SPDX-License-Identifier: Apache-2.0 */
/* Tables fact, incident and holder; and what is known only when all traces are in. */
#include "loading.h"

static const char *const fact_names[FACT_TYPE_COUNT] = {
    [FACT_CLOSED_TWICE] = "closed-twice",
    [FACT_USED_AFTER_CLOSE] = "used-after-close",
    [FACT_CLOSE_FAILED] = "close-failed",
    [FACT_CLOSE_LATER_DONE] = "close-later-done",
    [FACT_ZOMBIE] = "zombie",
    [FACT_OPEN_FAILED] = "open-failed",
    [FACT_OPEN_FAILED_CLOSED] = "open-failed-closed",
    [FACT_CLOSED_IN_TRANSACTION] = "closed-in-transaction",
    [FACT_CLOSED_ELSEWHERE] = "closed-elsewhere",
    [FACT_USED_ELSEWHERE] = "used-elsewhere",
    [FACT_PARENT_CLOSED_FIRST] = "parent-closed-first",
    [FACT_BUSY] = "busy",
    [FACT_UNRESOLVED] = "unresolved",
    [FACT_IDLE_IN_TRANSACTION] = "idle-in-transaction",
    [FACT_USED_WHILE_FAILED] = "used-while-failed",
    [FACT_NOTICED] = "noticed",
};

/* --- facts ------------------------------------------------------------------------------------------------------------------ */

static struct value flag_value(const struct trace_fact *fact, enum trace_fact_flag flag)
{
    return integer(fact->flags & flag ? 1 : 0);
}

static void fact_elsewhere_noted(struct loading *loading, int64_t process, const struct trace_fact *fact)
{
    if (!fact->other_pid)
        return;
    ROOM_FOR_ONE(loading->elsewhere, loading->elsewhere_count);
    loading->elsewhere[loading->elsewhere_count++] =
        (struct fact_elsewhere){loading->facts, process, fact->other_pid, fact->other_site};
}

static bool fact_visited(void *context, uint32_t number, const void *record)
{
    struct subject *subject = context;
    const struct trace_fact *fact = record;
    const struct loaded_site *site = site_loaded(subject, fact->site);
    const struct loaded_owner *owner = owner_loaded(subject, fact->owner);
    int64_t id = subject->loading->facts + 1;

    if (!number || fact->type == FACT_NONE || fact->type >= FACT_TYPE_COUNT) {
        subject->trace->damaged++;
        return true;
    }
    INSERTED(&subject->loading->inserts.fact, integer(id), integer(subject->process), text(fact_names[fact->type]),
             kind_value(subject, fact->kind), site_value(subject, fact->site),
             reference(stack_of(subject, fact->stack)), site ? reference(site->stack) : nothing(),
             reference(stack_of(subject, fact->close_stack)), reference(stack_of(subject, fact->begin_stack)),
             flag_value(fact, FACT_WROTE), flag_value(fact, FACT_HANDLE_LEFT), flag_value(fact, FACT_UNWINDING),
             flag_value(fact, FACT_TX_FAILED), counted(fact->count), moment(subject, fact->first),
             moment(subject, fact->last), moment(subject, fact->opened), moment(subject, fact->closed),
             reference(fact->thread), trace_text_value(subject, fact->target), integer(fact->code),
             trace_text_value(subject, fact->function), reference(fact->other_pid), counted(fact->generation),
             trace_text_value(subject, fact->text),
             is_owner_then(owner, fact->first) ? integer(subject->owner_base + owner->number) : nothing());
    subject->loading->facts = id;
    fact_elsewhere_noted(subject->loading, subject->process, fact);
    return true;
}

void facts_loaded(struct subject *subject)
{
    trace_walked(subject->trace, TABLE_FACT, fact_visited, subject);
}

/* --- incidents ---------------------------------------------------------------------------------------------------------------- */

static void holder_loaded(struct subject *subject, int64_t incident, const struct trace_holder *holder)
{
    const struct loaded_site *site = site_loaded(subject, holder->site);

    INSERTED(&subject->loading->inserts.holder, integer(incident), site_value(subject, holder->site),
             kind_value(subject, holder->kind), site ? reference(site->stack) : nothing(),
             moment(subject, holder->opened), moment(subject, holder->last_used), reference(holder->thread),
             trace_text_value(subject, holder->owner_label), moment(subject, holder->owner_ended),
             reference(stack_of(subject, holder->transaction_stack)), trace_text_value(subject, holder->last_sql),
             integer(holder->transaction_stack || holder->flags & HANDLE_IN_TRANSACTION),
             holder->generation ? counted(holder->generation) : nothing());
}

struct incident_walk {
    struct subject *subject;
    uint32_t next_holder; /* holders belong to one incident each, in order: a bound for a hostile trace */
};

static void holders_loaded(struct incident_walk *walk, int64_t id, const struct trace_incident *incident)
{
    struct trace_holder holder;
    uint64_t first = incident->first_holder, end = first + incident->holder_count;

    if (!first || first < walk->next_holder)
        return;
    for (uint64_t number = first; number < end && number < UINT32_MAX; number++) {
        if (!trace_record(walk->subject->trace, TABLE_HOLDER, number, &holder))
            break;
        holder_loaded(walk->subject, id, &holder);
        walk->next_holder = (uint32_t)number + 1;
    }
}

/* Of who owned that number then: the slot may have gone to another. */
static const char *owner_label(struct subject *subject, uint32_t number, uint64_t time)
{
    struct trace_owner owner;

    if (!is_owner_then(owner_loaded(subject, number), time) ||
        !trace_record(subject->trace, TABLE_OWNER, number, &owner))
        return NULL;
    return trace_text(subject->trace, owner.label);
}

static bool incident_visited(void *context, uint32_t number, const void *record)
{
    struct incident_walk *walk = context;
    struct subject *subject = walk->subject;
    const struct trace_incident *incident = record;
    const char *rule = trace_text(subject->trace, incident->rule);
    int64_t id = ++subject->loading->incidents;

    (void)number;
    INSERTED(&subject->loading->inserts.incident, integer(id), integer(subject->process), text(rule ? rule : "unknown"),
             moment(subject, incident->at), counted(incident->waited), reference(stack_of(subject, incident->stack)),
             reference(incident->thread), text(owner_label(subject, incident->owner, incident->at)),
             trace_text_value(subject, incident->target), trace_text_value(subject, incident->text),
             counted(incident->count), moment(subject, incident->last));
    holders_loaded(walk, id, incident);
    return true;
}

void incidents_loaded(struct subject *subject)
{
    struct incident_walk walk = {subject, 0};

    trace_walked(subject->trace, TABLE_INCIDENT, incident_visited, &walk);
}

/* --- over all traces -------------------------------------------------------------------------------------------------------------- */

static bool forks_linked(struct loading *loading)
{
    sqlite3_stmt *update = prepared(loading->db, "UPDATE process SET forked_from = ?1 WHERE id = ?2");
    bool failed = !update;

    for (size_t i = 0; i < loading->images.count && !failed; i++) {
        const struct image *image = &loading->images.list[i], *parent = image_forked_from(&loading->images, image);
        if (!parent)
            continue;
        sqlite3_bind_int64(update, 1, parent->id);
        sqlite3_bind_int64(update, 2, image->id);
        row_fetched(update, &failed);
        sqlite3_reset(update);
    }
    sqlite3_finalize(update);
    return !failed;
}

static const struct image *image_with_id(const struct images *images, int64_t id)
{
    for (size_t i = 0; i < images->count; i++)
        if (images->list[i].id == id)
            return &images->list[i];
    return NULL;
}

/* A handle that was opened before the fork: its site is in the trace of the process that opened it. */
static void fact_linked(const struct loading *loading, const struct fact_elsewhere *fact, sqlite3_stmt *update,
                        bool *failed)
{
    const struct image *here = image_with_id(&loading->images, fact->process);
    const struct image *other = here ? image_of_pid(&loading->images, fact->pid, here) : NULL;

    if (!other)
        return;
    sqlite3_bind_int64(update, 1, other->id);
    sqlite3_bind_int64(update, 2, fact->site && fact->site < other->site_limit ? other->site_base + fact->site : -1);
    sqlite3_bind_int64(update, 3, fact->id);
    row_fetched(update, failed);
    sqlite3_reset(update);
}

static bool facts_linked(struct loading *loading)
{
    sqlite3_stmt *update = prepared(loading->db, "UPDATE fact SET other_process = ?1, "
                                                 "opened_stack = (SELECT stack FROM site WHERE id = ?2), "
                                                 "site = (SELECT id FROM site WHERE id = ?2) WHERE id = ?3");
    bool failed = !update;

    for (size_t i = 0; i < loading->elsewhere_count && !failed; i++)
        fact_linked(loading, &loading->elsewhere[i], update, &failed);
    sqlite3_finalize(update);
    return !failed;
}

bool relations_found(struct loading *loading)
{
    return forks_linked(loading) && facts_linked(loading);
}
