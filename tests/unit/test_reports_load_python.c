/* SPDX-License-Identifier: Apache-2.0 */
/* From traces to rows of the run database: Python, its adapters, and the handles that they tell of. */
#include "load_scene.h"

/* --- processes ---------------------------------------------------------------------------------------------------------------- */

static void python_set(struct scene *scene, unsigned python, uint32_t version)
{
    built_process(scene->made)->python = python;
    built_process(scene->made)->python_version = version;
}

static void adapter_built(struct trace_builder *made, const char *name, const char *version, const char *problem)
{
    uint32_t name_string = built_string(made, name), version_string = version ? built_string(made, version) : 0;
    uint32_t problem_string = problem ? built_string(made, problem) : 0;
    struct trace_library *library = built_record(made, TABLE_LIBRARY, NULL);

    library->is_adapter = 1;
    library->name = name_string;
    library->path = version_string;
    library->problem = problem_string;
}

static void a_program_without_python_has_none(void **state)
{
    struct scene *scene = *state;

    loaded(scene);

    assert_selected(scene, "SELECT python, python_frames, python_adapted, python_problem FROM process", "- 0 0 -");
}

static void an_adapted_interpreter_has_no_problem(void **state)
{
    struct scene *scene = *state;

    python_set(scene, PYTHON_PRESENT | PYTHON_FRAMES | PYTHON_ADAPTED, 0x030b02f0);
    loaded(scene);

    assert_selected(scene, "SELECT python, python_frames, python_adapted, python_problem FROM process", "3.11.2 1 1 -");
}

static void an_interpreter_without_our_sitecustomize_is_a_native_view(void **state)
{
    struct scene *scene = *state;

    python_set(scene, PYTHON_PRESENT | PYTHON_FRAMES, 0x030d00c2);
    loaded(scene);

    assert_selected(scene,
                    "SELECT python, python_adapted, python_problem LIKE 'native view only: %', "
                    "python_problem LIKE '%frames%' FROM process",
                    "3.13.0rc2 0 1 0");
}

static void why_it_did_not_run_is_told(void **state)
{
    struct scene *scene = *state;

    python_set(scene, PYTHON_PRESENT | PYTHON_FRAMES, 0x030b02f0);
    adapter_built(scene->made, "python", NULL, "started with -I");
    loaded(scene);

    assert_selected(scene, "SELECT python_problem FROM process",
                    "native view only: SQLAlchemy sessions were not seen (started with -I)");
    assert_int_equal(number(scene, "SELECT count(*) FROM adapter"), 0);
}

static void an_interpreter_that_is_not_known_says_so(void **state)
{
    struct scene *scene = *state;

    python_set(scene, PYTHON_PRESENT | PYTHON_ADAPTED | PYTHON_FREE_THREADED, 0x030f00a1);
    loaded(scene);

    assert_selected(scene, "SELECT python, python_problem FROM process",
                    "3.15.0a1 free-threaded no Python frames: this interpreter is not one whose frames can be read");
}

static void the_last_word_of_an_adapter_counts(void **state)
{
    struct scene *scene = *state;

    adapter_built(scene->made, "sqlalchemy", NULL, "found, not looked at yet");
    adapter_built(scene->made, "uvicorn", "0.29.0", "its protocol class was replaced");
    adapter_built(scene->made, "sqlalchemy", "2.0.45", NULL);
    loaded(scene);

    assert_selected(scene, "SELECT name, version, problem FROM adapter ORDER BY name",
                    "sqlalchemy 2.0.45 - uvicorn 0.29.0 its protocol class was replaced");
    assert_int_equal(number(scene, "SELECT count(*) FROM library"), 0);
}

/* --- sessions, checkouts, engines -------------------------------------------------------------------------------------------- */

static uint32_t site_of(struct trace_builder *made, enum kind kind)
{
    return built_site(made, kind, STACK_OTHER);
}

static uint32_t opened_below(struct trace_builder *made, enum kind kind, uint32_t parent)
{
    struct trace_handle *handle = built_handle(made, site_of(made, kind));

    handle->parent = handle->parent_generation = parent;
    return (uint32_t)handle->generation;
}

static struct trace_handle *handle_of(struct trace_builder *made, uint32_t number)
{
    return built_at(made, TABLE_HANDLE, number);
}

/* A session with a transaction that holds a connection; returns its number. */
static uint32_t busy_session(struct trace_builder *made, uint32_t engine, uint32_t *transaction)
{
    uint32_t session = opened_below(made, KIND_SQLALCHEMY_SESSION, engine);
    uint32_t checkout = opened_below(made, KIND_SQLALCHEMY_CHECKOUT, session);

    opened_below(made, KIND_LIBPQ_CONNECTION, checkout);
    *transaction = opened_below(made, KIND_SQLALCHEMY_TRANSACTION, session);
    handle_of(made, session)->transaction = *transaction;
    handle_of(made, session)->flags = HANDLE_IN_TRANSACTION;
    return session;
}

static void a_session_is_reported_with_what_it_holds_and_without_its_engine(void **state)
{
    struct scene *scene = *state;
    uint32_t engine = opened_below(scene->made, KIND_SQLALCHEMY_ENGINE, 0), transaction;

    busy_session(scene->made, engine, &transaction);
    opened_below(scene->made, KIND_SQLALCHEMY_SESSION, engine); /* was never used: holds nothing */
    opened_below(scene->made, KIND_SQLALCHEMY_CHECKOUT, engine);
    handle_of(scene->made, opened_below(scene->made, KIND_LIBPQ_CONNECTION, engine))->flags = HANDLE_POOLED;
    loaded(scene);

    assert_selected(scene, "SELECT kind FROM open_handle ORDER BY id",
                    "sqlalchemy.engine sqlalchemy.session sqlalchemy.checkout");
    assert_selected(scene,
                    "SELECT child.kind, site.kind FROM child JOIN site ON site.id = root_site "
                    "ORDER BY root_site, child.kind",
                    "libpq.connection sqlalchemy.engine libpq.connection sqlalchemy.session "
                    "sqlalchemy.checkout sqlalchemy.session sqlalchemy.transaction sqlalchemy.session");
    assert_selected(scene, "SELECT count(*), sum(pooled) FROM handle WHERE kind = 'libpq.connection'", "2 1");
}

static void a_checkout_of_a_session_that_ended_its_transaction_stands_alone(void **state)
{
    struct scene *scene = *state;

    opened_below(scene->made, KIND_SQLALCHEMY_CHECKOUT, opened_below(scene->made, KIND_SQLALCHEMY_SESSION, 0));
    loaded(scene);

    assert_selected(scene, "SELECT kind FROM open_handle", "sqlalchemy.checkout");
}

static void a_session_knows_its_transaction(void **state)
{
    struct scene *scene = *state;
    uint32_t transaction, session = busy_session(scene->made, 0, &transaction);

    handle_of(scene->made, transaction)->opened = BUILT_AT(7);
    handle_of(scene->made, transaction)->flags = HANDLE_WROTE | HANDLE_TX_FAILED;
    handle_of(scene->made, session)->flags = 0; /* the record was read between two stores */
    loaded(scene);

    assert_selected(scene,
                    "SELECT in_transaction, transaction_began_at - opened_at, wrote, tx_failed,"
                    "       transaction_stack IS NOT NULL FROM handle WHERE kind = 'sqlalchemy.session'",
                    "1 6000000000 1 1 1");
}

static void sessions_whose_transaction_failed_stay_apart(void **state)
{
    struct scene *scene = *state;
    uint32_t sessions = site_of(scene->made, KIND_SQLALCHEMY_SESSION);
    uint32_t transactions = site_of(scene->made, KIND_SQLALCHEMY_TRANSACTION);

    for (uint32_t i = 0; i < 200; i++) {
        uint32_t session = (uint32_t)built_handle(scene->made, sessions)->generation;
        struct trace_handle *transaction = built_handle(scene->made, transactions);
        transaction->parent = transaction->parent_generation = session;
        transaction->flags = i % 2 ? HANDLE_TX_FAILED : 0;
        handle_of(scene->made, session)->transaction = session + 1;
    }
    loaded(scene);

    assert_selected(scene, "SELECT tx_failed, handles FROM handle WHERE kind = 'sqlalchemy.session' ORDER BY tx_failed",
                    "0 100 1 100");
}

/* --- facts, owners, incidents -------------------------------------------------------------------------------------------------- */

static uint32_t request_built(struct trace_builder *made, const char *label, double began, double ended)
{
    uint32_t number, string = built_string(made, label);
    struct trace_owner *owner = built_record(made, TABLE_OWNER, &number);

    owner->kind = OWNER_REQUEST;
    owner->label = string;
    owner->began = BUILT_AT(began);
    owner->ended = BUILT_AT(ended);
    return number;
}

static struct trace_fact *noticed(struct trace_builder *made, uint32_t site, uint32_t owner, double at)
{
    uint32_t function = built_string(made, "nested-checkout"), text = built_string(made, "while 2 were out");
    struct trace_fact *fact = built_record(made, TABLE_FACT, NULL);

    fact->type = FACT_NOTICED;
    fact->kind = KIND_SQLALCHEMY_CHECKOUT;
    fact->site = site;
    fact->count = 1;
    fact->function = function;
    fact->text = text;
    fact->owner = owner;
    fact->first = fact->last = BUILT_AT(at);
    return fact;
}

static void a_fact_has_the_owner_of_its_time_and_no_later_one(void **state)
{
    struct scene *scene = *state;
    uint32_t site = site_of(scene->made, KIND_SQLALCHEMY_CHECKOUT);
    uint32_t owner = request_built(scene->made, "GET /orders", 2, 9);

    noticed(scene->made, site, owner, 3);
    noticed(scene->made, site, owner, 1); /* of whoever had that slot before */
    noticed(scene->made, site, owner, 10);
    loaded(scene);

    assert_selected(scene,
                    "SELECT fact.function, fact.text, owner.label FROM fact LEFT JOIN owner ON owner.id = fact.owner "
                    "WHERE type = 'noticed' ORDER BY first_at",
                    "nested-checkout while 2 were out - nested-checkout while 2 were out GET /orders "
                    "nested-checkout while 2 were out -");
}

static void a_closed_handle_tells_whose_it_was(void **state)
{
    struct scene *scene = *state;
    uint32_t site = site_of(scene->made, KIND_SQLALCHEMY_SESSION), label = built_string(scene->made, "GET /orders");
    struct trace_closed *closed = built_record(scene->made, TABLE_CLOSED, NULL);

    closed->kind = KIND_SQLALCHEMY_SESSION;
    closed->site = site;
    closed->how = ENDED_GC;
    closed->flags = HANDLE_IN_TRANSACTION | HANDLE_OWNER_LEFT;
    closed->owner_label = label;
    closed->last_used = BUILT_AT(3);
    closed->opened_thread = 77;
    closed->closed = BUILT_AT(5);
    loaded(scene);

    assert_selected(scene,
                    "SELECT how, owner_label, in_transaction, closed_at - last_used_at, thread, owner_left "
                    "FROM closed_handle",
                    "gc GET /orders 1 2000000000 77 1");
}

static void a_holder_tells_how_its_transaction_stood(void **state)
{
    struct scene *scene = *state;
    uint32_t site = site_of(scene->made, KIND_SQLALCHEMY_CHECKOUT), rule = built_string(scene->made, "pool-exhausted");
    uint32_t sql = built_string(scene->made, "SELECT ?"), first;
    struct trace_holder *holder = built_record(scene->made, TABLE_HOLDER, &first);
    struct trace_incident *incident;

    holder->site = site;
    holder->kind = KIND_SQLALCHEMY_CHECKOUT;
    holder->flags = HANDLE_IN_TRANSACTION;
    holder->generation = 17;
    holder->last_sql = sql;
    holder = built_record(scene->made, TABLE_HOLDER, NULL);
    holder->site = site;
    holder->kind = KIND_SQLALCHEMY_CHECKOUT;
    incident = built_record(scene->made, TABLE_INCIDENT, NULL);
    incident->rule = rule;
    incident->first_holder = first;
    incident->holder_count = 2;
    incident->owner = request_built(scene->made, "GET /late", 50, 55);
    incident->at = BUILT_AT(30); /* before it began: another had its number */
    loaded(scene);

    assert_selected(scene, "SELECT in_transaction, generation, last_sql FROM holder ORDER BY in_transaction",
                    "0 - - 1 17 SELECT ?");
    assert_selected(scene, "SELECT rule, owner_label FROM incident", "pool-exhausted -");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_program_without_python_has_none),
        TEST(an_adapted_interpreter_has_no_problem),
        TEST(an_interpreter_without_our_sitecustomize_is_a_native_view),
        TEST(why_it_did_not_run_is_told),
        TEST(an_interpreter_that_is_not_known_says_so),
        TEST(the_last_word_of_an_adapter_counts),
        TEST(a_session_is_reported_with_what_it_holds_and_without_its_engine),
        TEST(a_checkout_of_a_session_that_ended_its_transaction_stands_alone),
        TEST(a_session_knows_its_transaction),
        TEST(sessions_whose_transaction_failed_stay_apart),
        TEST(a_fact_has_the_owner_of_its_time_and_no_later_one),
        TEST(a_closed_handle_tells_whose_it_was),
        TEST(a_holder_tells_how_its_transaction_stood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
