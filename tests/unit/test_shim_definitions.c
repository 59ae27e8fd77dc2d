/* SPDX-License-Identifier: Apache-2.0 */
/* Definitions are found, followed through unloading, and answered for when there are none. Uses the real SQLite and a copy of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "definitions.h"
#include "elf_lookup.h"
#include "loaded_objects.h"

#ifdef __SANITIZE_THREAD__
/* The linker writes its list under a lock that ThreadSanitizer does not see. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:visit_list\nrace:_dl_close_worker\n";
}
#endif

static const char sqlite[] = "libsqlite3.so.0";
static char copy_of_sqlite[] = "/tmp/unclosed-definitions-XXXXXX.so";
static unsigned missing_told;

void definition_missing(enum function function)
{
    (void)function;
    ++missing_told;
}

static const struct link_map *map_of(void *library)
{
    struct link_map *map = NULL;
    assert_int_equal(dlinfo(library, RTLD_DI_LINKMAP, &map), 0);
    return map;
}

static void *loaded(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail_msg("%s", dlerror());
    return library;
}

/* The same file under another name, and with a DT_SONAME of its own. */
static int copy_made(void **state)
{
    (void)state;
    void *library = loaded(sqlite);
    FILE *from = fopen(map_of(library)->l_name, "rb");
    const int fd = mkstemps(copy_of_sqlite, 3);
    FILE *to = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!from || !to)
        return -1;
    fseek(from, 0, SEEK_END);
    const size_t size = (size_t)ftell(from);
    char *bytes = malloc(size);
    rewind(from);
    if (!bytes || fread(bytes, 1, size, from) != size)
        return -1;
    for (char *at = bytes; (at = memmem(at, size - (size_t)(at - bytes), sqlite, sizeof sqlite)); ++at)
        memcpy(at, "libsqlitb.so.0", sizeof sqlite - 1);
    const bool written = fwrite(bytes, 1, size, to) == size;
    free(bytes);
    fclose(from);
    dlclose(library);
    return fclose(to) == 0 && written ? 0 : -1;
}

static int copy_removed(void **state)
{
    (void)state;
    return unlink(copy_of_sqlite);
}

/* dladdr, because naming dlsym here would link ours into the test, and sanitizers call that before they are ready. */
static void a_definition_is_where_the_linker_says(void **state)
{
    (void)state;
    void *library = loaded(sqlite);
    struct elf_object object;
    unsigned found = 0;
    assert_true(elf_object_read(&object, map_of(library)));
    for (enum function function = 0; function < FUNCTION_COUNT; ++function) {
        const struct elf_name name = elf_name(name_of_function(function));
        const ElfW(Sym) *symbol = elf_function(&object, &name, NULL);
        Dl_info info;
        if (!symbol)
            continue;
        assert_int_equal(library_of_function(function), LIBRARY_sqlite3);
        assert_int_not_equal(dladdr(elf_address(&object, symbol), &info), 0);
        assert_string_equal(info.dli_sname, name.text);
        assert_ptr_equal(info.dli_saddr, elf_address(&object, symbol));
        ++found;
    }
    assert_true(found >= 20);
    dlclose(library);
}

static void both_hash_tables_and_versions_tell_the_same(void **state)
{
    (void)state;
    void *library = loaded("libc.so.6");
    struct elf_object object;
    assert_true(elf_object_read(&object, map_of(library)));
    const struct elf_name name = elf_name("dlsym"), data = elf_name("environ"), nothing = elf_name("no_such_function");
    assert_ptr_equal(elf_address(&object, elf_function(&object, &name, NULL)),
                     elf_address(&object, elf_function(&object, &name, "GLIBC_2.2.5")));
    assert_null(elf_function(&object, &name, "GLIBC_0"));
    assert_null(elf_function(&object, &data, NULL));
    assert_non_null(elf_symbol(&object, &data, NULL));
    assert_null(elf_function(&object, &nothing, NULL));
    if (object.sysv_hash) {
        object.gnu_hash = NULL;
        assert_non_null(elf_function(&object, &name, "GLIBC_2.2.5"));
    }
    dlclose(library);
}

static void an_indirect_function_is_resolved(void **state)
{
    (void)state;
    void *library = loaded("libc.so.6");
    struct elf_object object;
    assert_true(elf_object_read(&object, map_of(library)));
    const struct elf_name name = elf_name("strlen");
    size_t (*length)(const char *) = (size_t(*)(const char *))elf_address(&object, elf_function(&object, &name, NULL));
    assert_int_equal(length("four"), 4);
    dlclose(library);
}

static void an_import_is_no_definition(void **state)
{
    (void)state;
    void *library = loaded(sqlite);
    struct elf_object object;
    const char *version;
    assert_true(elf_object_read(&object, map_of(library)));
    const struct elf_name imported = elf_name("malloc");
    assert_null(elf_function(&object, &imported, NULL));
    assert_true(elf_imports(&object, "malloc", &version));
    assert_string_equal(version, "GLIBC_2.2.5");
    assert_false(elf_imports(&object, "no_such_function", &version));
    dlclose(library);
}

static void nobody_defines_it(void **state)
{
    (void)state;
    void *db = &db, *blob = &blob;
    assert_int_equal(copy_for_call(FUNCTION_sqlite3_open, __builtin_return_address(0)), COPY_NONE);
    assert_null(definition_in_copy(FUNCTION_sqlite3_open, COPY_NONE));
    const unsigned told = missing_told;
    int (*open)(const char *, void **) =
        (int (*)(const char *, void **))definition_or_failure(FUNCTION_sqlite3_open, COPY_NONE);
    assert_int_equal(missing_told, told + 1);
    assert_int_equal(open("file", &db), 1);
    assert_null(db);
    int (*blob_open)(void *, const char *, const char *, const char *, long long, int, void **) =
        (int (*)(void *, const char *, const char *, const char *, long long, int, void **))failure_of_function(
            FUNCTION_sqlite3_blob_open);
    assert_int_equal(blob_open(NULL, "main", "t", "c", 1, 0, &blob), 1);
    assert_null(blob);
    void *(*connect)(const char *) = (void *(*)(const char *))failure_of_function(FUNCTION_PQconnectdb);
    assert_null(connect("host=nowhere"));
}

static void an_unloaded_copy_is_not_called_and_comes_back(void **state)
{
    (void)state;
    void *library = loaded(sqlite);
    const unsigned copy = copy_for_call(FUNCTION_sqlite3_open, (const void *)nobody_defines_it);
    assert_int_not_equal(copy, COPY_NONE);
    assert_int_equal(copy_count(LIBRARY_sqlite3), 1);
    assert_int_equal(copy_of_definition(FUNCTION_sqlite3_open, definition_in_copy(FUNCTION_sqlite3_open, copy)), copy);

    dlclose(library);
    assert_null(definition_in_copy(FUNCTION_sqlite3_open, copy));
    assert_int_equal(copy_count(LIBRARY_sqlite3), 0);
    assert_ptr_equal(definition_or_failure(FUNCTION_sqlite3_open, copy), failure_of_function(FUNCTION_sqlite3_open));

    library = loaded(sqlite);
    assert_ptr_not_equal(definition_or_failure(FUNCTION_sqlite3_open, copy),
                         failure_of_function(FUNCTION_sqlite3_open));
    assert_ptr_equal(definition_or_failure(FUNCTION_sqlite3_open, copy),
                     definition_in_copy(FUNCTION_sqlite3_open, copy));
    dlclose(library);
}

/* libpq defines no function of SQLite; nor is it in the global scope, so that none is taken from elsewhere for our own calls. */
static void a_helper_that_a_copy_lacks_fails_quietly(void **state)
{
    (void)state;
    void *library = loaded("libpq.so.5");
    const unsigned copy = copy_for_call(FUNCTION_PQfinish, (const void *)nobody_defines_it);
    assert_int_not_equal(copy, COPY_NONE);
    const unsigned told = missing_told;
    for (int i = 0; i < 2; ++i)
        assert_ptr_equal(definition_or_failure(FUNCTION_sqlite3_get_autocommit, copy),
                         failure_of_function(FUNCTION_sqlite3_get_autocommit));
    assert_int_equal(missing_told, told);
    dlclose(library);
}

static void two_copies_have_two_numbers(void **state)
{
    (void)state;
    void *first = loaded(sqlite), *second = loaded(copy_of_sqlite);
    copy_for_call(FUNCTION_sqlite3_close, (const void *)nobody_defines_it);
    assert_int_equal(copy_count(LIBRARY_sqlite3), 2);

    struct copy_description descriptions[8];
    const size_t count = copies_known(descriptions, 8);
    assert_int_equal(count, 2);
    assert_string_equal(descriptions[0].path, map_of(first)->l_name);
    assert_string_equal(descriptions[1].path, copy_of_sqlite);
    assert_true(descriptions[0].seen && descriptions[1].seen);
    assert_int_equal(descriptions[1].library, LIBRARY_sqlite3);
    dlclose(second);
    assert_int_equal(copy_count(LIBRARY_sqlite3), 1);
    dlclose(first);
}

static void names_are_known(void **state)
{
    (void)state;
    for (enum function function = 0; function < FUNCTION_WRAPPED_COUNT; ++function)
        assert_int_equal(wrapped_function_named(name_of_function(function)), function);
    static const char *const others[] = {
        "", "s", "sqlite3_openx", "sqlite3_ope", "PQ", "PyInit__sqlite3", "sqlite3_get_autocommit", "malloc"};
    for (size_t i = 0; i < sizeof others / sizeof *others; ++i)
        assert_int_equal(wrapped_function_named(others[i]), FUNCTION_WRAPPED_COUNT);
    assert_string_equal(name_of_library(LIBRARY_libpq), "libpq");
}

static void dlclose_keeps_the_error_and_says_what_it_did(void **state)
{
    (void)state;
    const unsigned long before = unload_count();
    void *library = loaded(sqlite), *again = loaded(sqlite);
    errno = 77;
    assert_int_equal(dlclose(again), 0);
    assert_int_equal(errno, 77);
    assert_int_equal(unload_count(), before);
    assert_int_equal(dlclose(library), 0);
    assert_int_equal(unload_count(), before + 1);
}

static atomic_bool finished;
static atomic_int nulls, calls;

static void *asking(void *unused)
{
    while (!atomic_load(&finished)) {
        const unsigned copy = copy_for_call(FUNCTION_sqlite3_open, (const void *)nobody_defines_it);
        atomic_fetch_add(definition_in_copy(FUNCTION_sqlite3_open, copy) ? &calls : &nulls, 1);
    }
    return unused;
}

static void threads_are_answered_while_copies_come_and_go(void **state)
{
    (void)state;
    pthread_t threads[2];
    void *library = loaded(sqlite);
    for (int i = 0; i < 2; ++i)
        assert_int_equal(pthread_create(&threads[i], NULL, asking, NULL), 0);
    for (int i = 0; i < 100; ++i) {
        void *second = loaded(copy_of_sqlite);
        assert_int_not_equal(copy_for_call(FUNCTION_sqlite3_close, (const void *)nobody_defines_it), COPY_NONE);
        dlclose(second);
    }
    while (!atomic_load(&calls))
        usleep(1000);
    atomic_store(&finished, true);
    for (int i = 0; i < 2; ++i)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&nulls), 0);
    dlclose(library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_definition_is_where_the_linker_says),
        cmocka_unit_test(both_hash_tables_and_versions_tell_the_same),
        cmocka_unit_test(an_indirect_function_is_resolved),
        cmocka_unit_test(an_import_is_no_definition),
        cmocka_unit_test(nobody_defines_it),
        cmocka_unit_test(an_unloaded_copy_is_not_called_and_comes_back),
        cmocka_unit_test(a_helper_that_a_copy_lacks_fails_quietly),
        cmocka_unit_test(two_copies_have_two_numbers),
        cmocka_unit_test(names_are_known),
        cmocka_unit_test(dlclose_keeps_the_error_and_says_what_it_did),
        cmocka_unit_test(threads_are_answered_while_copies_come_and_go),
    };
    return cmocka_run_group_tests(tests, copy_made, copy_removed);
}
