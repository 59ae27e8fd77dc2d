/* SPDX-License-Identifier: Apache-2.0 */
/* Programs are recognised from their files: what keeps the shim out of them, and which watched libraries they use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

static char directory[] = "/tmp/unclosed-program-XXXXXX";

static void shell(const char *format, ...)
{
    char command[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = snprintf(command, sizeof(command), "cd %s && unset LD_PRELOAD && ", directory);
    vsnprintf(command + length, sizeof(command) - (size_t)length, format, arguments);
    va_end(arguments);
    if (system(command) != 0)
        fail_msg("%s", command);
}

static const char *in_directory(const char *name)
{
    static char path[2][128];
    static unsigned turn;
    snprintf(path[turn ^= 1], sizeof(path[0]), "%s/%s", directory, name);
    return path[turn];
}

static const struct program *inspected(const char *name)
{
    static struct program program;
    if (!program_inspected(name[0] == '/' ? name : in_directory(name), &program))
        fail_msg("%s cannot be inspected", name);
    return &program;
}

static int prepared(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    shell("echo 'int main(void) { return 0; }' >plain.c && gcc -o plain plain.c");
    shell("echo '#include <sqlite3.h>\nint main(void) { return sqlite3_libversion_number() == 1; }' >user.c");
    shell("echo 'const char *a[] = {\"SQLite\" \" format 3\", \"malformed\" \" database schema\"};\n"
          "int main(int n, char **v) { (void)v; return a[n & 1][0] == 0; }' >carrier.c");
    return 0;
}

static int removed(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static void nothing_keeps_the_shim_out_of_an_ordinary_program(void **state)
{
    (void)state;
    assert_int_equal(inspected("plain")->obstacle, OBSTACLE_NONE);
    assert_false(program_uses_database(inspected("plain")));
    assert_string_equal(inspected("plain")->interpreter, "");
    assert_false(inspected("plain")->address_sanitizer);
}

static void shared_library_is_found_among_the_needed(void **state)
{
    (void)state;
    shell("gcc -o user user.c -lsqlite3");
    assert_int_equal(inspected("user")->linked, 1u << WATCHED_SQLITE3);
    assert_int_equal(inspected("user")->embedded, 0);
}

static void shared_library_is_found_behind_another_one(void **state)
{
    (void)state;
    shell("mkdir -p lib && echo '#include <sqlite3.h>\nint middle(void) { return sqlite3_libversion_number(); }' "
          ">middle.c");
    shell("gcc -shared -fPIC -o lib/libmiddle.so middle.c -lsqlite3");
    shell("echo 'int middle(void); int main(void) { return middle() == 1; }' >behind.c");
    shell("gcc -o behind behind.c -Llib -lmiddle '-Wl,-rpath,$ORIGIN/lib' -Wl,--allow-shlib-undefined");
    assert_int_equal(inspected("behind")->linked, 1u << WATCHED_SQLITE3);
}

static void copy_inside_a_program_is_found_though_it_is_stripped(void **state)
{
    (void)state;
    shell("gcc -s -o carrier carrier.c");
    assert_int_equal(inspected("carrier")->obstacle, OBSTACLE_NONE);
    assert_int_equal(inspected("carrier")->embedded, 1u << WATCHED_SQLITE3);
}

static void copy_inside_a_private_library_is_found(void **state)
{
    (void)state;
    shell("sed 's/main/carried/' carrier.c >carried.c && mkdir -p own && gcc -shared -fPIC -o own/libcarried.so "
          "carried.c");
    shell("gcc -o holder plain.c -Wl,--no-as-needed -Lown -lcarried '-Wl,-rpath,$ORIGIN/own'");
    assert_int_equal(inspected("holder")->embedded, 1u << WATCHED_SQLITE3);
}

static void user_of_the_library_that_speaks_of_its_format_holds_no_copy(void **state)
{
    (void)state;
    shell("{ cat carrier.c; echo 'int sqlite3_libversion_number(void); int (*f)(void) = sqlite3_libversion_number;'; } "
          ">gdal.c");
    shell("gcc -o gdal gdal.c -lsqlite3");
    assert_int_equal(inspected("gdal")->linked, 1u << WATCHED_SQLITE3);
    assert_int_equal(inspected("gdal")->embedded, 0);
}

static void marks_are_those_of_the_real_libraries(void **state)
{
    (void)state;
    shell("ln -s \"$(gcc -print-file-name=libsqlite3.so)\" sqlite && ln -s \"$(gcc -print-file-name=libpq.so)\" pq");
    assert_int_equal(inspected("sqlite")->embedded, 1u << WATCHED_SQLITE3);
    assert_int_equal(inspected("pq")->embedded, 1u << WATCHED_LIBPQ);
}

static void own_code_does_not_pass_for_a_library(void **state)
{
    (void)state;
    assert_int_equal(inspected("/proc/self/exe")->embedded, 0);
}

static void static_program_is_an_obstacle(void **state)
{
    (void)state;
    shell("gcc -static -o static carrier.c && gcc -static-pie -o static-pie plain.c");
    assert_int_equal(inspected("static")->obstacle, OBSTACLE_STATIC);
    assert_int_equal(inspected("static")->embedded, 1u << WATCHED_SQLITE3);
    assert_int_equal(inspected("static-pie")->obstacle, OBSTACLE_STATIC);
    assert_false(program_uses_database(inspected("static-pie")));
}

static void foreign_loaders_are_obstacles(void **state)
{
    (void)state;
    shell("gcc -o musl plain.c -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1");
    shell("gcc -o other plain.c -Wl,--dynamic-linker=/system/bin/linker64");
    assert_int_equal(inspected("musl")->obstacle, OBSTACLE_MUSL);
    assert_int_equal(inspected("other")->obstacle, OBSTACLE_LOADER);
}

static void narrow_program_is_an_obstacle(void **state)
{
    (void)state;
    struct {
        Elf32_Ehdr header;
        Elf32_Phdr segment;
        char loader[24];
    } file = {
        .header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_386,
                   .e_version = EV_CURRENT,
                   .e_phoff = sizeof(Elf32_Ehdr),
                   .e_ehsize = sizeof(Elf32_Ehdr),
                   .e_phentsize = sizeof(Elf32_Phdr),
                   .e_phnum = 1},
        .segment = {.p_type = PT_INTERP, .p_offset = offsetof(__typeof__(file), loader), .p_filesz = 19},
        .loader = "/lib/ld-linux.so.2",
    };
    int fd = open(in_directory("narrow"), O_WRONLY | O_CREAT, 0700);
    assert_int_equal(write(fd, &file, sizeof(file)), sizeof(file));
    close(fd);
    assert_int_equal(inspected("narrow")->obstacle, OBSTACLE_CLASS);
}

static void program_of_another_user_that_sets_its_id_is_an_obstacle(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    shell("gcc -o setuid plain.c");
    assert_int_equal(chown(in_directory("setuid"), 65534, 65534), 0);
    assert_int_equal(chmod(in_directory("setuid"), 04755), 0);
    assert_int_equal(inspected("setuid")->obstacle, OBSTACLE_PRIVILEGED);
}

static void script_is_seen_through_to_its_interpreter(void **state)
{
    (void)state;
    shell("cp plain python3.99");
    shell("echo \"#! $PWD/python3.99 -u\" >script && echo \"#!$PWD/script\" >outer && chmod +x script outer");
    assert_string_equal(inspected("script")->interpreter, "python");
    assert_string_equal(inspected("script")->script, in_directory("script"));
    assert_string_equal(inspected("outer")->script, in_directory("outer"));
    assert_true(strstr(inspected("outer")->path, "/python3.99"));
}

static void need_of_a_sanitizer_runtime_is_known(void **state)
{
    (void)state;
    shell("gcc -fsanitize=address -o asan plain.c");
    assert_true(inspected("asan")->address_sanitizer);
}

static void command_is_looked_up_as_a_shell_would(void **state)
{
    (void)state;
    char found[PATH_MAX], path[256];
    int error;
    shell("mkdir -p first second && echo >first/tool && cp plain second/tool");
    snprintf(path, sizeof(path), "%s/first:%s/second", directory, directory);
    assert_true(program_located("tool", path, found, &error));
    assert_string_equal(found, in_directory("second/tool"));
    *strchr(path, ':') = 0;
    assert_false(program_located("tool", path, found, &error));
    assert_int_equal(error, EACCES);
    assert_false(program_located("no-such-tool", path, found, &error));
    assert_int_equal(error, ENOENT);
    assert_false(program_located(directory, path, found, &error));
    assert_int_equal(error, EISDIR);
}

static void damaged_programs_do_no_harm(void **state)
{
    (void)state;
    static struct program program;
    shell("gcc -o whole user.c -lsqlite3");
    FILE *file = fopen(in_directory("whole"), "r");
    static char bytes[65536];
    size_t size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    assert_true(size > 8192);
    unsigned random = 1;
    for (unsigned round = 0; round < 400; round++) {
        static char damaged[sizeof(bytes)];
        memcpy(damaged, bytes, size);
        for (unsigned i = 0; i < 8; i++) {
            random = random * 1103515245 + 12345;
            damaged[(random >> 8) % (i < 4 ? 1024 : size)] = (char)(random >> 3);
        }
        size_t cut = round % 4 ? size : (random >> 4) % size;
        int fd = open(in_directory("damaged"), O_WRONLY | O_CREAT | O_TRUNC, 0700);
        assert_int_equal(write(fd, damaged, cut), cut);
        close(fd);
        program_inspected(in_directory("damaged"), &program);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_keeps_the_shim_out_of_an_ordinary_program),
        cmocka_unit_test(shared_library_is_found_among_the_needed),
        cmocka_unit_test(shared_library_is_found_behind_another_one),
        cmocka_unit_test(copy_inside_a_program_is_found_though_it_is_stripped),
        cmocka_unit_test(copy_inside_a_private_library_is_found),
        cmocka_unit_test(user_of_the_library_that_speaks_of_its_format_holds_no_copy),
        cmocka_unit_test(marks_are_those_of_the_real_libraries),
        cmocka_unit_test(own_code_does_not_pass_for_a_library),
        cmocka_unit_test(static_program_is_an_obstacle),
        cmocka_unit_test(foreign_loaders_are_obstacles),
        cmocka_unit_test(narrow_program_is_an_obstacle),
        cmocka_unit_test(program_of_another_user_that_sets_its_id_is_an_obstacle),
        cmocka_unit_test(script_is_seen_through_to_its_interpreter),
        cmocka_unit_test(need_of_a_sanitizer_runtime_is_known),
        cmocka_unit_test(command_is_looked_up_as_a_shell_would),
        cmocka_unit_test(damaged_programs_do_no_harm),
    };
    return cmocka_run_group_tests(tests, prepared, removed);
}
