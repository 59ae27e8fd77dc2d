/* SPDX-License-Identifier: Apache-2.0 */
/* Whose code a path is, and which frame of a stack is the place to look at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "place.h"

struct expectation {
    const char *module, *source;
    enum code_owner owner;
};

static void expect(const struct code_rules *rules, enum code_language language, const struct expectation *list)
{
    for (; list->module || list->source; list++) {
        enum code_owner owner = code_owner_of(rules, list->module, list->source, language);
        if (owner != list->owner)
            print_error("%s %s is %s\n", list->module ? list->module : "-", list->source ? list->source : "-",
                        code_owner_name(owner));
        assert_int_equal(owner, list->owner);
    }
}

static void native_code_belongs_to_the_user_unless_a_path_says_otherwise(void **state)
{
    (void)state;
    expect(NULL, CODE_C,
           (const struct expectation[]){
               {"/srv/app/bin/server", "/build/server/src/pool.c", CODE_USER},
               {"/srv/app/bin/server", NULL, CODE_USER},
               {"/home/me/libmine.so", "", CODE_USER},
               {"/usr/local/bin/server", NULL, CODE_USER},
               {"/srv/app/bin/server", "/usr/include/c++/12/bits/std_function.h", CODE_SYSTEM},
               {"/srv/app/bin/server",
                "/rustc/90c541806f23a127002de5b4038be731ba1458ca/library/core/src/ops/function.rs", CODE_SYSTEM},
               {"/srv/app/bin/server", "/usr/include/boost/asio.hpp", CODE_THIRD_PARTY},
               {"/srv/app/bin/server",
                "/home/me/.cargo/registry/src/github.com-1ecc6299db9ec823/r2d2-0.8.10/src/lib.rs", CODE_THIRD_PARTY},
               {"/usr/lib/x86_64-linux-gnu/libcurl.so.4.8.0", "./lib/url.c", CODE_SYSTEM},
               {"/lib/x86_64-linux-gnu/libc.so.6", "./csu/../sysdeps/nptl/libc_start_call_main.h", CODE_SYSTEM},
               {"/opt/bundle/ld-linux-x86-64.so.2", NULL, CODE_SYSTEM},
               {"/opt/bundle/libstdc++.so.6.0.30", NULL, CODE_SYSTEM},
               {"[vdso]", NULL, CODE_SYSTEM},
               {"/usr/bin/postgres", NULL, CODE_THIRD_PARTY},
               {"/usr/bin/python3.11", NULL, CODE_SYSTEM},
               {"/home/me/.pyenv/versions/3.12.1/lib/libpython3.12.so.1.0", NULL, CODE_SYSTEM},
               {"/usr/lib/python3.11/lib-dynload/_ctypes.cpython-311-x86_64-linux-gnu.so", NULL, CODE_SYSTEM},
               {"/srv/venv/lib/python3.11/site-packages/greenlet/_greenlet.cpython-311-x86_64-linux-gnu.so", NULL,
                CODE_THIRD_PARTY},
               {NULL, NULL, CODE_USER},
           });
}

static void the_library_that_opened_the_handle_is_the_driver(void **state)
{
    (void)state;
    expect(
        NULL, CODE_C,
        (const struct expectation[]){
            {"/usr/lib/x86_64-linux-gnu/libpq.so.5.15", NULL, CODE_DRIVER},
            {"/usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6", "./sqlite3.c", CODE_DRIVER},
            {"/srv/venv/lib/python3.11/site-packages/psycopg2_binary.libs/libpq-9b38f5e3.so.5.16", NULL, CODE_DRIVER},
            {"/srv/app/bin/server", "/build/server/vendor/sqlite3.c", CODE_DRIVER},
            {"/usr/lib/unclosed/libunclosed.so", NULL, CODE_DRIVER},
            {"/usr/lib/unclosed/python/_unclosed/_native.so", "shim/python/native/module.c", CODE_DRIVER},
            {"/srv/app/libpqueue.so", NULL, CODE_USER},
            {"/srv/app/libpq-tools/server", NULL, CODE_USER},
            {"/srv/app/bin/server", "/build/server/src/my_sqlite3.c", CODE_USER},
            {NULL, NULL, CODE_USER},
        });
}

static void python_code_is_told_by_its_file_alone(void **state)
{
    (void)state;
    expect(NULL, CODE_PYTHON,
           (const struct expectation[]){
               {NULL, "/srv/app/main.py", CODE_USER},
               {"/usr/bin/python3.11", "/srv/app/main.py", CODE_USER},
               {NULL, "<string>", CODE_USER},
               {NULL, "/usr/lib/python3.11/asyncio/base_events.py", CODE_SYSTEM},
               {NULL, "/usr/local/lib/python3.12/threading.py", CODE_SYSTEM},
               {NULL, "/home/me/.pyenv/versions/3.12.1/lib/python3.12/threading.py", CODE_SYSTEM},
               {NULL, "<frozen importlib._bootstrap>", CODE_SYSTEM},
               {NULL, "/srv/app/.venv/lib/python3.11/site-packages/sqlalchemy/pool/base.py", CODE_THIRD_PARTY},
               {NULL, "/usr/lib/python3/dist-packages/sqlalchemy/pool/base.py", CODE_THIRD_PARTY},
               {NULL, "/usr/bin/pip", CODE_THIRD_PARTY},
               {NULL, "/srv/lib/python/tool.py", CODE_USER},
               {NULL, NULL, CODE_USER},
           });
}

static void python_installs_itself_in_many_ways(void **state)
{
    (void)state;
    expect(NULL, CODE_PYTHON,
           (const struct expectation[]){
               {NULL, "/lib/python3.11/threading.py", CODE_SYSTEM},
               {NULL, "/usr/lib64/python3.9/threading.py", CODE_SYSTEM},
               {NULL, "/usr/lib/python311.zip/json/decoder.py", CODE_SYSTEM},
               {NULL, "/opt/python/lib/python3.13t/threading.py", CODE_SYSTEM},
               {NULL, "/opt/conda/envs/shop/lib/python3.12/asyncio/runners.py", CODE_SYSTEM},
               {NULL, "/opt/conda/lib/python3.12/site-packages/sqlalchemy/orm/session.py", CODE_THIRD_PARTY},
               {NULL, "/home/me/.local/lib/python3.11/site-packages/flask/app.py", CODE_THIRD_PARTY},
               {NULL, "/home/me/.shiv/shop_5f1c/site-packages/flask/app.py", CODE_THIRD_PARTY},
               {NULL, "/srv/shop.pyz/shop/__main__.py", CODE_USER},
               {NULL, "/srv/venv/src/shop/shop/db.py", CODE_USER}, /* an editable install */
               {NULL, "/srv/lib/python311.zipped/x.py", CODE_USER},
               {NULL, "<stdin>", CODE_USER},
               {NULL, "/usr/lib/unclosed/python/_unclosed/alchemy.py", CODE_DRIVER},
               {NULL, NULL, CODE_USER},
           });
}

static void a_prefix_is_what_a_python_is_installed_in(void **state)
{
    (void)state;
    assert_int_equal(python_prefix("/srv/venv/lib/python3.11/site-packages/x.py"), 9);
    assert_int_equal(python_prefix("/usr/lib64/python3.9/threading.py"), 4);
    assert_int_equal(python_prefix("/lib/python3/dist-packages/x.py"), 0);
    assert_int_equal(python_prefix("/srv/app/main.py"), 0);
    assert_int_equal(python_prefix(""), 0);
}

static void an_app_root_makes_code_the_users_but_not_the_packages_inside_it(void **state)
{
    (void)state;
    const char *const roots[] = {"/usr/bin/mine", "/srv/app/", "/usr/lib/python3/dist-packages/mine", NULL};
    const struct code_rules rules = {.app_roots = roots};
    expect(&rules, CODE_C,
           (const struct expectation[]){
               {"/usr/bin/mine", NULL, CODE_USER},
               {"/usr/bin/mine-not", NULL, CODE_THIRD_PARTY},
               {"/srv/app/lib/libpq.so.5", NULL, CODE_DRIVER},
               {"/usr/lib/apache2/modules/mod_mine.so", "/srv/app/module/mod_mine.c", CODE_USER},
               {NULL, NULL, CODE_USER},
           });
    expect(&rules, CODE_PYTHON,
           (const struct expectation[]){
               {NULL, "/usr/lib/python3/dist-packages/mine/db.py", CODE_USER},
               {NULL, "/usr/lib/python3/dist-packages/other/db.py", CODE_THIRD_PARTY},
               {NULL, "/srv/app/.venv/lib/python3.11/site-packages/sqlalchemy/engine.py", CODE_THIRD_PARTY},
               {NULL, "/srv/app/.venv/lib/python3.11/threading.py", CODE_SYSTEM},
               {NULL, NULL, CODE_USER},
           });
}

static void third_party_patterns_win_over_app_roots(void **state)
{
    (void)state;
    const char *const roots[] = {"/srv/app", NULL};
    const char *const foreign[] = {"/srv/app/vendor", "*/generated/*.py", NULL};
    const struct code_rules rules = {.app_roots = roots, .third_party = foreign};
    expect(&rules, CODE_PYTHON,
           (const struct expectation[]){
               {NULL, "/srv/app/vendor/x.py", CODE_THIRD_PARTY},
               {NULL, "/srv/app/vendored.py", CODE_USER},
               {NULL, "/srv/app/api/generated/deep/client.py", CODE_THIRD_PARTY},
               {NULL, NULL, CODE_USER},
           });
    expect(&rules, CODE_C,
           (const struct expectation[]){
               {"/srv/app/vendor/libx.so", "/srv/app/src/x.c", CODE_THIRD_PARTY},
               {NULL, NULL, CODE_USER},
           });
}

static void the_place_is_the_innermost_code_of_the_user(void **state)
{
    (void)state;
    const enum code_owner usual[] = {CODE_DRIVER, CODE_SYSTEM, CODE_THIRD_PARTY, CODE_USER, CODE_USER, CODE_SYSTEM};
    const enum code_owner foreign[] = {CODE_DRIVER, CODE_DRIVER, CODE_THIRD_PARTY, CODE_SYSTEM};
    const enum code_owner driver[] = {CODE_DRIVER, CODE_DRIVER};

    assert_int_equal(place_found(usual, 6), 3);
    assert_int_equal(place_found(foreign, 4), 2);
    assert_int_equal(place_found(driver, 2), 0);
    assert_int_equal(place_found(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_code_belongs_to_the_user_unless_a_path_says_otherwise),
        cmocka_unit_test(the_library_that_opened_the_handle_is_the_driver),
        cmocka_unit_test(python_code_is_told_by_its_file_alone),
        cmocka_unit_test(python_installs_itself_in_many_ways),
        cmocka_unit_test(a_prefix_is_what_a_python_is_installed_in),
        cmocka_unit_test(an_app_root_makes_code_the_users_but_not_the_packages_inside_it),
        cmocka_unit_test(third_party_patterns_win_over_app_roots),
        cmocka_unit_test(the_place_is_the_innermost_code_of_the_user),
    };
    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
