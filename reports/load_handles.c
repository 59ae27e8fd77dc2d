/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables owner, handle, detail and child.
 *
 * There may be a million open handles, so they are read twice and kept never: a survey takes what is needed to find
 * roots and to see which of them rules cannot tell apart; then those go into one row, and the others into one each.
 *
 *     survey:   7 {site 3, parent -}   8 {site 4, parent 7}   9 {site 3}  …        72 bytes each
 *     folded:   {7, 9, …} are row 1, 8 stays alone
 *     rows:     {id 7, handles 100, columns of the oldest}, {id 8, handles 1, parent 7, root_site 3}
 */
#include <stdlib.h>
#include <string.h>

#include "loading.h"

enum {
    EQUALS_IN_ROWS = 64, /* this many equal handles still get a row each … */
    PLENTY = 10000,      /* … unless there are more handles than this */
    THREADS_APART = 8,   /* equal handles are kept apart by thread, for the first few threads */
    DETAILS_MAX = 64,    /* of one handle */
};
#define NOWHERE UINT32_MAX
#define BEING_WALKED (UINT32_MAX - 1)

/* Handles that share a row. */
struct folded_row {
    uint32_t first; /* number that the row's id comes from */
    uint32_t thread;
    uint32_t next;         /* row of an equal one in another thread, counted from 1; 0: none */
    uint32_t oldest_place; /* place in the survey of the oldest */
    uint64_t handles;      /* found again when the rows were made */
    struct trace_handle oldest;
};

struct group {                   /* equal handles */
    uint32_t handles, row, rows; /* row: the first, counted from 1 */
};

struct folding {
    struct subject *subject;
    struct map groups_by_key;
    struct group *groups;
    size_t group_count;
    struct folded_row *rows;
    size_t row_count;
    size_t at; /* place in the survey while the table is read again */
};

/* --- owners ---------------------------------------------------------------------------------------------------------------- */

static const char *owner_kind_name(unsigned kind)
{
    static const char *const names[] = {
        [OWNER_THREAD] = "thread", [OWNER_TASK] = "task", [OWNER_REQUEST] = "request", [OWNER_TEST] = "test"};

    return kind >= OWNER_THREAD && kind <= OWNER_TEST ? names[kind] : NULL;
}

static bool owner_visited(void *context, uint32_t number, const void *record)
{
    struct subject *subject = context;
    const struct trace_owner *owner = record;
    const char *kind = owner_kind_name(owner->kind), *label = trace_text(subject->trace, owner->label);

    if (!kind || !number) {
        subject->trace->damaged++;
        return true;
    }
    ROOM_FOR_ONE(subject->owners, subject->owner_count);
    subject->owners[subject->owner_count++] =
        (struct loaded_owner){number, owner->began, owner->ended,
                              mixed(text_hashed(MAP_SEED, label), (uint64_t)owner->kind << 1 | (owner->ended != 0))};
    INSERTED(&subject->loading->inserts.owner, integer(subject->owner_base + number), integer(subject->process),
             text(kind), text(label), owner->parent ? integer(subject->owner_base + owner->parent) : nothing(),
             moment(subject, owner->began), moment(subject, owner->ended), trace_text_value(subject, owner->end_reason),
             reference(owner->thread));
    return true;
}

void owners_loaded(struct subject *subject)
{
    trace_walked(subject->trace, TABLE_OWNER, owner_visited, subject);
}

static int owner_compared(const void *number, const void *owner)
{
    uint32_t one = *(const uint32_t *)number, other = ((const struct loaded_owner *)owner)->number;

    return one < other ? -1 : one > other;
}

const struct loaded_owner *owner_loaded(const struct subject *subject, uint32_t number)
{
    if (!number || !subject->owner_count)
        return NULL;
    return bsearch(&number, subject->owners, subject->owner_count, sizeof(*subject->owners), owner_compared);
}

bool is_owner_then(const struct loaded_owner *owner, uint64_t time)
{
    return owner && owner->began <= time && (!owner->ended || owner->ended >= time);
}

/* --- survey ------------------------------------------------------------------------------------------------------------------- */

static bool is_handle(uint32_t number, const struct trace_handle *handle)
{
    return number && (handle->state == HANDLE_OPEN || handle->state == HANDLE_CLOSING) && handle->kind != KIND_NONE &&
           handle->kind < KIND_LIMIT;
}

/* Rules ask "longer than 30 s?" (held) and "5 s?" (idle); `--held` may ask for more. Handles on either side of one of
 * these are not equal. */
static unsigned age_class(const struct subject *subject, uint64_t since)
{
    static const unsigned seconds[] = {5, 30, 60, 300, 3600};
    uint64_t age = since < subject->seen_until ? (subject->seen_until - since) / 1000000000u : 0;
    unsigned class = 0;

    while (class < sizeof(seconds) / sizeof(seconds[0]) && age >= seconds[class])
        class ++;
    return class;
}

/* What the record itself tells, but for thread, address and target. */
static uint64_t own_key(const struct subject *subject, const struct trace_handle *handle)
{
    uint64_t age = age_class(subject, handle->opened) * 16 + age_class(subject, handle->last_used);
    uint64_t key = mixed((uint64_t)handle->site << 32 | handle->kind, (uint64_t)handle->flags << 32 | handle->state);

    key = mixed(key, (uint64_t)handle->reference << 32 | (uint32_t)handle->close_result);
    key = mixed(key, (uint64_t)handle->close_stack << 32 | handle->failed_code);
    return mixed(key, age);
}

static bool handle_surveyed(void *context, uint32_t number, const void *record)
{
    struct subject *subject = context;
    const struct trace_handle *handle = record;

    if (!is_handle(number, handle)) {
        subject->trace->damaged++;
        return true;
    }
    ROOM_FOR_ONE(subject->handles, subject->handle_count);
    subject->handles[subject->handle_count++] = (struct surveyed_handle){
        .generation = handle->generation,
        .parent_generation = handle->parent_generation,
        .opened = handle->opened,
        .key = own_key(subject, handle),
        .number = number,
        .site = handle->site,
        .parent = handle->parent,
        .owner = handle->owner,
        .thread = handle->thread,
        .transaction = handle->transaction,
        .root = NOWHERE,
        .kind = handle->kind,
        .reference = (uint8_t)(handle->reference <= REFERENCE_THREAD ? handle->reference : REFERENCE_UNCERTAIN),
        .wrote = handle->flags & HANDLE_WROTE,
        .tx_failed = handle->flags & HANDLE_TX_FAILED,
        .in_transaction = handle->transaction || handle->flags & HANDLE_IN_TRANSACTION,
    };
    return true;
}

void handles_surveyed(struct subject *subject)
{
    trace_walked(subject->trace, TABLE_HANDLE, handle_surveyed, subject);
}

/* Place of a handle in the survey. A full table has number n at place n-1; only gaps need a search. */
static uint32_t place_of(const struct subject *subject, uint32_t number)
{
    size_t low = 0, high = subject->handle_count;

    if (number && number <= high && subject->handles[number - 1].number == number)
        return number - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (subject->handles[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return number && low < subject->handle_count && subject->handles[low].number == number ? (uint32_t)low : NOWHERE;
}

static uint32_t parent_place(const struct subject *subject, uint32_t place)
{
    const struct surveyed_handle *handle = &subject->handles[place];
    uint32_t parent = handle->parent ? place_of(subject, handle->parent) : NOWHERE;

    if (parent == NOWHERE || subject->handles[parent].generation != handle->parent_generation)
        return NOWHERE;
    return parent;
}

/* The ancestor that is to be reported for it. An engine is none of what it made: sessions and checkouts come and go while
 * it stands. Nor is a session that holds no connection. */
static uint32_t ancestor_place(const struct subject *subject, uint32_t place)
{
    const struct surveyed_handle *handle = &subject->handles[place], *parent;
    uint32_t up = parent_place(subject, place);

    if (up == NOWHERE)
        return NOWHERE;
    parent = &subject->handles[up];
    if (parent->kind == KIND_SQLALCHEMY_ENGINE &&
        (handle->kind == KIND_SQLALCHEMY_SESSION || handle->kind == KIND_SQLALCHEMY_CHECKOUT))
        return NOWHERE;
    return parent->kind == KIND_SQLALCHEMY_SESSION && !parent->in_transaction ? NOWHERE : up;
}

/* Up to an ancestor whose root is known, and back. A damaged trace may have a ring of parents: it is cut where the walk
 * meets itself. */
static void root_found(struct subject *subject, uint32_t place)
{
    uint32_t top = place, up;

    for (;;) {
        subject->handles[top].root = BEING_WALKED;
        up = ancestor_place(subject, top);
        if (up == NOWHERE || subject->handles[up].root == BEING_WALKED)
            break;
        top = up;
        if (subject->handles[top].root != NOWHERE) {
            top = subject->handles[top].root;
            break;
        }
    }
    for (; place != NOWHERE && subject->handles[place].root == BEING_WALKED; place = ancestor_place(subject, place))
        subject->handles[place].root = top;
}

static const struct surveyed_handle *root_of(const struct subject *subject, const struct surveyed_handle *handle)
{
    return &subject->handles[handle->root];
}

static const struct surveyed_handle *transaction_of(const struct subject *subject, const struct surveyed_handle *handle)
{
    uint32_t place = handle->transaction ? place_of(subject, handle->transaction) : NOWHERE;

    if (place == NOWHERE || subject->handles[place].parent != handle->number)
        return NULL;
    return &subject->handles[place];
}

static int64_t site_id(const struct subject *subject, const struct surveyed_handle *handle)
{
    return site_loaded(subject, handle->site) ? subject->site_base + handle->site : siteless_id(subject, handle->kind);
}

/* --- folding --------------------------------------------------------------------------------------------------------------------- */

static uint64_t whole_key(const struct subject *subject, const struct surveyed_handle *handle)
{
    const struct surveyed_handle *root = root_of(subject, handle), *transaction = transaction_of(subject, handle);
    const struct loaded_owner *owner = owner_loaded(subject, handle->owner);
    uint64_t key = handle->key;

    if (root != handle)
        key = mixed(key, (uint64_t)root->site << 8 | root->reference);
    if (owner)
        key = mixed(key, owner->state);
    if (transaction)
        key = mixed(key, (uint64_t)transaction->site << 2 | transaction->tx_failed << 1 | transaction->wrote);
    return key;
}

static struct group *group_of(struct folding *folding, uint64_t key)
{
    uint64_t group = map_value(&folding->groups_by_key, key);

    if (!group) {
        ROOM_FOR_ONE(folding->groups, folding->group_count);
        folding->groups[folding->group_count++] = (struct group){0};
        group = folding->group_count;
        map_set(&folding->groups_by_key, key, group);
    }
    return &folding->groups[group - 1];
}

static uint32_t row_of(struct folding *folding, struct group *group, const struct surveyed_handle *handle)
{
    uint32_t last = 0;

    for (uint32_t row = group->row; row; row = folding->rows[row - 1].next) {
        if (folding->rows[row - 1].thread == handle->thread)
            return row;
        last = row;
    }
    if (group->rows == THREADS_APART)
        return last;
    ROOM_FOR_ONE(folding->rows, folding->row_count);
    folding->rows[folding->row_count++] = (struct folded_row){.first = handle->number, .thread = handle->thread};
    if (last)
        folding->rows[last - 1].next = (uint32_t)folding->row_count;
    else
        group->row = (uint32_t)folding->row_count;
    group->rows++;
    return (uint32_t)folding->row_count;
}

static void handles_folded(struct folding *folding)
{
    struct subject *subject = folding->subject;
    uint32_t alone = subject->handle_count > PLENTY ? 1 : EQUALS_IN_ROWS;

    for (size_t place = 0; place < subject->handle_count; place++) {
        struct surveyed_handle *handle = &subject->handles[place];
        handle->key = whole_key(subject, handle);
        group_of(folding, handle->key)->handles++;
    }
    for (size_t place = 0; place < subject->handle_count; place++) {
        struct surveyed_handle *handle = &subject->handles[place];
        struct group *group = group_of(folding, handle->key);
        if (group->handles > alone)
            handle->row = row_of(folding, group, handle);
    }
}

/* --- rows --------------------------------------------------------------------------------------------------------------------------- */

static const char *reference_name(unsigned reference)
{
    static const char *const names[] = {[REFERENCE_NOT_LOOKED] = "not-looked",
                                        [REFERENCE_UNCERTAIN] = "uncertain",
                                        [REFERENCE_FOUND] = "found",
                                        [REFERENCE_NONE] = "none",
                                        [REFERENCE_THREAD] = "thread"};

    return names[reference];
}

static int64_t row_id(const struct folding *folding, const struct surveyed_handle *handle)
{
    return folding->subject->handle_base + (handle->row ? folding->rows[handle->row - 1].first : handle->number);
}

static void details_loaded(struct subject *subject, int64_t id, uint32_t number, const struct trace_handle *handle)
{
    struct trace_detail detail;
    uint32_t next = handle->details;

    for (int count = 0; next && count < DETAILS_MAX; count++, next = detail.next) {
        if (!trace_record(subject->trace, TABLE_DETAIL, next, &detail) || detail.handle != number ||
            detail.generation != handle->generation)
            return;
        if (trace_text(subject->trace, detail.key) && trace_text(subject->trace, detail.value))
            INSERTED(&subject->loading->inserts.detail, integer(id), trace_text_value(subject, detail.key),
                     trace_text_value(subject, detail.value));
    }
}

static struct value flag_value(const struct trace_handle *handle, enum trace_handle_flag flag)
{
    return integer(handle->flags & flag ? 1 : 0);
}

static int64_t opening_stack(struct subject *subject, const struct surveyed_handle *handle)
{
    const struct loaded_site *site = site_loaded(subject, handle->site);

    return site ? site->stack : stack_of(subject, STACK_OTHER);
}

static void handle_loaded(struct folding *folding, const struct surveyed_handle *surveyed,
                          const struct trace_handle *handle, uint64_t handles)
{
    struct subject *subject = folding->subject;
    const struct surveyed_handle *root = root_of(subject, surveyed), *transaction = transaction_of(subject, surveyed);
    const struct loaded_owner *owner = owner_loaded(subject, surveyed->owner);
    uint32_t parent = parent_place(subject, (uint32_t)(surveyed - subject->handles));
    int64_t id = row_id(folding, surveyed);

    INSERTED(
        &subject->loading->inserts.handle, integer(id), integer(subject->process), integer(site_id(subject, surveyed)),
        kind_value(subject, handle->kind), reference(opening_stack(subject, surveyed)), counted(handles),
        integer((int64_t)handle->address), counted(handle->generation), integer(handle->copy),
        moment(subject, handle->opened), moment(subject, handle->last_used), integer(handle->thread),
        text(trace_characters(subject->trace, handle->thread_name, sizeof(handle->thread_name))),
        reference(handle->last_thread), trace_text_value(subject, handle->target),
        parent == NOWHERE ? nothing() : integer(row_id(folding, &subject->handles[parent])),
        integer(site_id(subject, root)), text(reference_name(root->reference)), integer(root != surveyed),
        owner ? integer(subject->owner_base + owner->number) : nothing(),
        owner ? moment(subject, owner->ended) : nothing(), flag_value(handle, HANDLE_FAILED_OPEN),
        reference(handle->failed_code), flag_value(handle, HANDLE_ZOMBIE), flag_value(handle, HANDLE_CLOSE_FAILED),
        reference(stack_of(subject, handle->close_stack)), reference(handle->close_result),
        flag_value(handle, HANDLE_IGNORED), flag_value(handle, HANDLE_CONNECTING), integer(surveyed->in_transaction),
        transaction ? reference(opening_stack(subject, transaction)) : nothing(),
        transaction ? moment(subject, transaction->opened) : nothing(),
        integer(surveyed->wrote || (transaction && transaction->wrote)),
        integer(surveyed->tx_failed || (transaction && transaction->tx_failed)), flag_value(handle, HANDLE_POOLED),
        text(reference_name(surveyed->reference)), integer(handle->state == HANDLE_CLOSING));
    details_loaded(subject, id, surveyed->number, handle);
}

/* A handle that was closed since the survey is left out: it is open no more. */
static bool handle_gathered(void *context, uint32_t number, const void *record)
{
    struct folding *folding = context;
    struct subject *subject = folding->subject;
    const struct trace_handle *handle = record;
    const struct surveyed_handle *surveyed;
    struct folded_row *row;

    while (folding->at < subject->handle_count && subject->handles[folding->at].number < number)
        folding->at++;
    if (folding->at == subject->handle_count)
        return false;
    surveyed = &subject->handles[folding->at];
    if (surveyed->number != number || surveyed->generation != handle->generation || !is_handle(number, handle))
        return true;
    if (!site_loaded(subject, surveyed->site))
        subject->siteless[surveyed->kind]++;
    if (!surveyed->row) {
        handle_loaded(folding, surveyed, handle, 1);
        return true;
    }
    row = &folding->rows[surveyed->row - 1];
    if (row->handles++ == 0 || handle->opened < row->oldest.opened) {
        row->oldest = *handle;
        row->oldest_place = (uint32_t)folding->at;
    }
    return true;
}

static void rows_loaded(struct folding *folding)
{
    trace_walked(folding->subject->trace, TABLE_HANDLE, handle_gathered, folding);
    for (size_t i = 0; i < folding->row_count; i++) {
        const struct folded_row *row = &folding->rows[i];
        if (row->handles)
            handle_loaded(folding, &folding->subject->handles[row->oldest_place], &row->oldest, row->handles);
    }
}

/* --- children ------------------------------------------------------------------------------------------------------------------------- */

struct children {
    int64_t root_site, site;
    uint32_t kind;
    uint64_t handles;
};

struct families {
    struct map places;
    struct children *list;
    size_t count;
};

static struct children *children_of(struct families *families, const struct subject *subject,
                                    const struct surveyed_handle *root, const struct surveyed_handle *handle)
{
    uint64_t key = mixed(mixed(root->site, handle->site), (uint64_t)root->kind << 16 | handle->kind);
    uint64_t place = map_value(&families->places, key);

    if (!place) {
        ROOM_FOR_ONE(families->list, families->count);
        families->list[families->count++] =
            (struct children){site_id(subject, root), site_id(subject, handle), handle->kind, 0};
        place = families->count;
        map_set(&families->places, key, place);
    }
    return &families->list[place - 1];
}

static void children_loaded(struct subject *subject)
{
    struct families families = {0};

    for (size_t i = 0; i < subject->handle_count; i++) {
        const struct surveyed_handle *handle = &subject->handles[i], *root = root_of(subject, handle);
        if (root != handle)
            children_of(&families, subject, root, handle)->handles++;
    }
    for (size_t i = 0; i < families.count; i++) {
        const struct children *children = &families.list[i];
        INSERTED(&subject->loading->inserts.child, integer(children->root_site), kind_value(subject, children->kind),
                 integer(children->site), counted(children->handles));
    }
    map_freed(&families.places);
    free(families.list);
}

void handles_loaded(struct subject *subject)
{
    struct folding folding = {.subject = subject};

    for (uint32_t place = 0; place < subject->handle_count; place++)
        if (subject->handles[place].root == NOWHERE)
            root_found(subject, place);
    handles_folded(&folding);
    rows_loaded(&folding);
    children_loaded(subject);
    map_freed(&folding.groups_by_key);
    free(folding.groups);
    free(folding.rows);
}
