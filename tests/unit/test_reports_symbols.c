/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and lines for places in binaries that are compiled here. The places are labels in the machine code: their
 * addresses are read from the symbol table before it is stripped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demangle.h"
#include "symbols.h"

#define LENGTH(list) (sizeof(list) / sizeof *(list))

static char directory[] = "/tmp/unclosed-symbols-XXXXXX";

/* --- what the tests look at ------------------------------------------------------------------------------------------- */

#define LABEL(name) "__asm__ volatile(\".globl " name "\\n" name ": nop\");"

static const char c_source[] =
    /* 1 */ "#define INLINED static inline __attribute__((always_inline))\n"
            /* 2 */ "INLINED void innermost(void) { " LABEL(
                "mark_inlined") " }\n"
                                /* 3 */ "INLINED void middle(void) { innermost(); }\n"
                                /* 4 */ "__attribute__((noinline)) int outer(int n) { middle(); return n; }\n"
                                /* 5 */ "static __attribute__((noinline)) int hidden(int n) { " LABEL(
                                    "mark_hidden") " return n; }\n"
                                                   /* 6 */ "__attribute__((noinline)) int calls(int n) {\n"
                                                   /* 7 */ "    __asm__ volatile(\"call outer\\n.globl "
                                                   "mark_return\\nmark_return:\");\n"
                                                   /* 8 */ "    __asm__ volatile(\"nop\");\n"
                                                   /* 9 */ "    return hidden(n); }\n"
                                                   /* 10 */ "int main(int argc, char **argv) { (void)argv; return "
                                                   "calls(argc) + outer(argc); }\n";

static const char cc_source[] =
    /* 1 */ "template <class T> struct Pool { __attribute__((noinline)) int open(T) { " LABEL(
        "mark_method") " return 1; } };\n"
                       /* 2 */ "namespace app { namespace {\n"
                       /* 3 */ "inline __attribute__((always_inline)) void inner() { " LABEL(
                           "mark_inner") " }\n"
                                         /* 4 */ "__attribute__((noinline)) void secret() { inner(); }\n"
                                         /* 5 */ "} __attribute__((noinline)) void shown() { secret(); " LABEL(
                                             "mark_shown") " } }\n"
                                                           /* 6 */ "int main() { Pool<int> p; app::shown(); return "
                                                           "p.open(1); }\n";

static const char asm_source[] =
    ".text\n"
    ".globl sized\n.type sized,@function\nsized:\nnop\ninside:\n.globl mark_sized\nmark_sized: nop\n"
    "nop\n.size sized,.-sized\n"
    ".globl unsized\n.type unsized,@function\nunsized:\nnop\n.globl mark_unsized\nmark_unsized: nop\n";

/* --- arranging -------------------------------------------------------------------------------------------------------- */

static int status_of(const char *format, va_list arguments)
{
    char command[4096];
    int length = snprintf(command, sizeof command, "exec 2>%s/errors; cd %s && unset LD_PRELOAD DEBUGINFOD_URLS && ",
                          directory, directory);
    vsnprintf(command + length, sizeof command - (size_t)length, format, arguments);
    return system(command);
}

static bool succeeds(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int status = status_of(format, arguments);
    va_end(arguments);
    return status == 0;
}

static const char *quoted(const char *command, const char *name)
{
    static char text[256];
    snprintf(text, sizeof text, "%s %s/%s >&2", command, directory, name);
    return text;
}

static void shell(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int status = status_of(format, arguments);
    va_end(arguments);
    if (status != 0)
        fail_msg("%s: status %d%s", format, status,
                 system(quoted("cat", "errors")) == 0 ? "" : ", and why is not known");
}

static const char *path_of(const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % LENGTH(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A module as a trace records it, and where its labels are. */
struct recorded {
    char path[256];
    uint8_t build_id[64];
    size_t build_id_size;
};

static Elf *elf_of(const char *path, int *fd)
{
    elf_version(EV_CURRENT);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(*fd >= 0);
    Elf *elf = elf_begin(*fd, ELF_C_READ, NULL);
    assert_non_null(elf);
    return elf;
}

static struct recorded recorded(const char *name)
{
    struct recorded module = {0};
    int fd;
    const void *build_id = NULL;
    snprintf(module.path, sizeof module.path, "%s", path_of(name));
    Elf *elf = elf_of(module.path, &fd);
    ssize_t size = dwelf_elf_gnu_build_id(elf, &build_id);
    if (size > 0) {
        module.build_id_size = (size_t)size;
        memcpy(module.build_id, build_id, module.build_id_size);
    }
    elf_end(elf);
    close(fd);
    return module;
}

static uint64_t address_of(const char *name, const char *label)
{
    int fd;
    uint64_t address = 0;
    Elf *elf = elf_of(path_of(name), &fd);
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
        GElf_Shdr header;
        gelf_getshdr(section, &header);
        if (header.sh_type != SHT_SYMTAB)
            continue;
        Elf_Data *data = elf_getdata(section, NULL);
        GElf_Sym symbol;
        for (int i = 0; gelf_getsym(data, i, &symbol); i++)
            if (strcmp(elf_strptr(elf, header.sh_link, symbol.st_name), label) == 0)
                address = symbol.st_value;
    }
    elf_end(elf);
    close(fd);
    if (address == 0)
        fail_msg("no %s in %s", label, name);
    return address;
}

static const char *build_id_path(const struct recorded *module)
{
    static char path[256];
    int length = snprintf(path, sizeof path, ".build-id/%02x/", module->build_id[0]);
    for (size_t i = 1; i < module->build_id_size; i++)
        length += snprintf(path + length, sizeof path - (size_t)length, "%02x", module->build_id[i]);
    snprintf(path + length, sizeof path - (size_t)length, ".debug");
    return path;
}

/* --- acting and asserting ------------------------------------------------------------------------------------------------ */

static const struct symbol_options plain;

struct answer {
    struct symbols *symbols;
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    size_t count;
    enum module_state state;
};

static struct answer asked_with(const struct symbol_options *options, const struct recorded *module, uint64_t address)
{
    struct answer answer = {.symbols = symbols_opened(options)};
    assert_non_null(answer.symbols);
    answer.count = symbols_found(answer.symbols, module->path, module->build_id, module->build_id_size, address, false,
                                 answer.frames, SYMBOL_FRAMES_MAX);
    answer.state = symbols_module_state(answer.symbols, module->path, module->build_id, module->build_id_size);
    assert_true(answer.count >= 1);
    return answer;
}

static struct answer asked(const struct recorded *module, uint64_t address)
{
    return asked_with(&plain, module, address);
}

static void assert_frame(const struct symbol_frame *frame, const char *function, const char *file, int line,
                         bool inlined)
{
    assert_string_equal(frame->function, function);
    assert_int_equal(frame->line, line);
    assert_int_equal(frame->inlined, inlined);
    if (file)
        assert_string_equal(frame->file, path_of(file));
    else
        assert_null(frame->file);
}

static void assert_inlined_chain(const struct answer *answer)
{
    assert_int_equal(answer->count, 3);
    assert_frame(&answer->frames[0], "innermost", "a.c", 2, true);
    assert_frame(&answer->frames[1], "middle", "a.c", 3, true);
    assert_frame(&answer->frames[2], "outer", "a.c", 4, false);
    assert_string_equal(answer->frames[2].linkage_name, "outer");
    assert_int_equal(answer->state, MODULE_MATCHES);
}

static void assert_unknown(const struct answer *answer, const char *name, uint64_t address)
{
    char expected[300];
    snprintf(expected, sizeof expected, "%s+0x%llx", name, (unsigned long long)address);
    assert_int_equal(answer->count, 1);
    assert_frame(&answer->frames[0], expected, NULL, 0, false);
    assert_null(answer->frames[0].linkage_name);
}

/* --- DWARF -------------------------------------------------------------------------------------------------------------------- */

static void inlined_calls_are_frames_whatever_compiler_and_format(void **state)
{
    (void)state;
    static const char *const compilers[] = {
        "gcc -O2 -g",
        "gcc -O2 -g -gdwarf-4",
        "gcc -O2 -g -no-pie",
        "gcc -O2 -g -gz",
        "gcc -O2 -g -flto",
        "gcc -O1 -g -ffunction-sections -Wl,--gc-sections",
        "gcc -O2 -g -gsplit-dwarf",
        "gcc -O2 -g -shared -fPIC",
        "gcc -O2 -g -Wl,--build-id=none",
        "clang -O2 -g",
        "clang -O2 -g -gdwarf-4",
        "clang -O2 -g -gsplit-dwarf",
    };
    write_text("a.c", c_source);
    for (size_t i = 0; i < LENGTH(compilers); i++) {
        if (strncmp(compilers[i], "clang", 5) == 0 && !succeeds("command -v clang >/dev/null"))
            continue;
        /* Split units lie beside the directory of compilation. */
        shell("rm -f chain* && %s -o chain a.c", compilers[i]);
        struct recorded module = recorded("chain");
        struct answer answer = asked(&module, address_of("chain", "mark_inlined"));
        if (answer.count != 3)
            print_error("%s\n", compilers[i]);
        assert_inlined_chain(&answer);
        symbols_closed(answer.symbols);
    }
}

static void a_return_address_means_the_call_before_it(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    shell("gcc -g -O1 -o returning a.c");
    struct recorded module = recorded("returning");
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    uint64_t address = address_of("returning", "mark_return");
    struct symbols *symbols = symbols_opened(&plain);

    assert_int_equal(
        symbols_found(symbols, module.path, module.build_id, module.build_id_size, address, true, frames, 64), 1);
    assert_frame(&frames[0], "calls", "a.c", 7, false);
    assert_int_equal(
        symbols_found(symbols, module.path, module.build_id, module.build_id_size, address, false, frames, 64), 1);
    assert_frame(&frames[0], "calls", "a.c", 8, false);
    symbols_closed(symbols);
}

static void cxx_names_are_short_and_complete(void **state)
{
    (void)state;
    write_text("b.cc", cc_source);
    shell("g++ -O2 -g -o names b.cc");
    struct recorded module = recorded("names");
    struct answer method = asked(&module, address_of("names", "mark_method"));
    struct answer inner = asked(&module, address_of("names", "mark_inner"));
    struct answer shown = asked(&module, address_of("names", "mark_shown"));

    assert_frame(&method.frames[0], "Pool<int>::open", "b.cc", 1, false);
    assert_string_equal(method.frames[0].linkage_name, "_ZN4PoolIiE4openEi");
    assert_frame(&inner.frames[0], "app::(anonymous namespace)::inner", "b.cc", 3, true);
    assert_frame(&inner.frames[1], "app::(anonymous namespace)::secret", "b.cc", 4, false);
    assert_string_equal(inner.frames[1].linkage_name, "_ZN3app12_GLOBAL__N_16secretEv");
    assert_frame(&shown.frames[shown.count - 1], "app::shown", "b.cc", 5, false);
    symbols_closed(method.symbols);
    symbols_closed(inner.symbols);
    symbols_closed(shown.symbols);
}

static void a_function_in_a_function_has_its_own_name(void **state)
{
    (void)state;
    write_text("nested.c",
               "int main(int argc, char **argv) {\n (void)argv;\n"
               " __attribute__((noinline)) int within(int n) { " LABEL("mark_nested") " return n + argc; }\n"
                                                                                      " return within(1); }\n");
    shell("gcc -g -O1 -o nested nested.c");
    struct recorded module = recorded("nested");
    struct answer answer = asked(&module, address_of("nested", "mark_nested"));

    assert_frame(&answer.frames[answer.count - 1], "within", "nested.c", 3, false);
    symbols_closed(answer.symbols);
}

static void paths_lose_their_detours_unless_a_link_makes_them_matter(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    shell("mkdir -p build real/deep && ln -sfn real/deep link && cp a.c real/ && cd build && gcc -g -O2 -o ../short "
          "./../a.c && "
          "gcc -g -O2 -o ../linked %s/link/../a.c",
          directory);
    struct recorded module = recorded("short"), linked = recorded("linked");
    struct answer shortened = asked(&module, address_of("short", "mark_inlined"));
    struct answer kept = asked(&linked, address_of("linked", "mark_inlined"));

    assert_string_equal(shortened.frames[0].file, path_of("a.c"));
    assert_string_equal(kept.frames[0].file, path_of("link/../a.c"));
    symbols_closed(shortened.symbols);
    symbols_closed(kept.symbols);
}

/* --- symbol tables --------------------------------------------------------------------------------------------------------- */

static void without_debug_information_there_are_names_only(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    shell("gcc -O2 -o plain a.c");
    struct recorded module = recorded("plain");
    struct answer outer = asked(&module, address_of("plain", "mark_inlined"));
    struct answer hidden = asked(&module, address_of("plain", "mark_hidden"));

    assert_int_equal(outer.count, 1);
    assert_frame(&outer.frames[0], "outer", NULL, 0, false);
    assert_frame(&hidden.frames[0], "hidden", NULL, 0, false);
    assert_int_equal(outer.state, MODULE_NO_DEBUG_INFO);
    symbols_closed(outer.symbols);
    symbols_closed(hidden.symbols);
}

static void a_stripped_library_names_what_it_exports_and_invents_nothing(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    /* The labels would be exported, too, and they are no functions. */
    write_text("exports", "{ global: outer; calls; local: *; };\n");
    shell("gcc -O2 -shared -fPIC -Wl,-Bsymbolic -Wl,--version-script=exports -o libfull.so a.c && strip -o libbare.so "
          "libfull.so");
    struct recorded module = recorded("libbare.so");
    uint64_t secret = address_of("libfull.so", "mark_hidden");
    struct answer outer = asked(&module, address_of("libfull.so", "mark_inlined"));
    struct answer hidden = asked(&module, secret);

    assert_frame(&outer.frames[0], "outer", NULL, 0, false);
    assert_unknown(&hidden, "libbare.so", secret);
    assert_int_equal(hidden.state, MODULE_NO_DEBUG_INFO);
    symbols_closed(outer.symbols);
    symbols_closed(hidden.symbols);
}

static void assembler_without_sizes_ends_at_the_next_symbol(void **state)
{
    (void)state;
    write_text("c.s", asm_source);
    shell("gcc -shared -nostdlib -o libasm.so c.s");
    struct recorded module = recorded("libasm.so");
    struct answer sized = asked(&module, address_of("libasm.so", "mark_sized"));
    struct answer unsized = asked(&module, address_of("libasm.so", "unsized"));

    assert_string_equal(sized.frames[0].function, "sized");
    assert_string_equal(unsized.frames[0].function, "unsized");
    symbols_closed(sized.symbols);
    symbols_closed(unsized.symbols);
}

static void mini_debug_information_names_hidden_functions(void **state)
{
    (void)state;
    if (!succeeds("command -v xz >/dev/null")) {
        print_message("not tested: no xz\n");
        return;
    }
    write_text("a.c", c_source);
    shell("gcc -O2 -o mini.full a.c && cp mini.full mini && rm -f mini.xz && xz -k -c mini > mini.xz && strip mini && "
          "objcopy --add-section .gnu_debugdata=mini.xz mini");
    struct recorded module = recorded("mini");
    struct answer answer = asked(&module, address_of("mini.full", "mark_hidden"));

    assert_frame(&answer.frames[0], "hidden", NULL, 0, false);
    assert_int_equal(answer.state, MODULE_NO_DEBUG_INFO);
    symbols_closed(answer.symbols);
}

/* --- separate debug files ----------------------------------------------------------------------------------------------- */

/* NAME is stripped, NAME.full has everything, NAME.debug what was taken off. */
static struct recorded split(const char *name)
{
    write_text("a.c", c_source);
    shell("gcc -g -O2 -o %1$s.full a.c && objcopy --only-keep-debug %1$s.full %1$s.debug && strip -o %1$s %1$s.full",
          name);
    return recorded(name);
}

static void debug_files_are_found_by_build_id(void **state)
{
    (void)state;
    struct recorded module = split("by-id");
    shell("mkdir -p debug/$(dirname %1$s) && mv by-id.debug debug/%1$s", build_id_path(&module));
    const char *const paths[] = {"/nonexistent", path_of("debug"), NULL};
    const struct symbol_options options = {.debug_paths = paths};
    uint64_t address = address_of("by-id.full", "mark_inlined");
    struct answer without = asked(&module, address);
    struct answer with = asked_with(&options, &module, address);
    shell("rm by-id");
    struct answer deleted = asked_with(&options, &module, address);

    assert_int_equal(without.state, MODULE_NO_DEBUG_INFO);
    assert_inlined_chain(&with);
    assert_inlined_chain(&deleted);
    symbols_closed(without.symbols);
    symbols_closed(with.symbols);
    symbols_closed(deleted.symbols);
}

static void debug_files_are_found_below_a_sysroot(void **state)
{
    (void)state;
    struct recorded module = split("rooted");
    shell("mkdir -p root/opt root/usr/lib/debug/$(dirname %1$s) && mv rooted root/opt/ && "
          "mv rooted.debug root/usr/lib/debug/%1$s",
          build_id_path(&module));
    strcpy(module.path, "/opt/rooted");
    const struct symbol_options options = {.sysroot = path_of("root")};
    struct answer answer = asked_with(&options, &module, address_of("rooted.full", "mark_inlined"));

    assert_inlined_chain(&answer);
    symbols_closed(answer.symbols);
}

static void debug_files_are_found_by_link_and_by_name(void **state)
{
    (void)state;
    struct recorded module = split("linked-to");
    shell(
        "objcopy --add-gnu-debuglink=linked-to.debug linked-to && mkdir -p .debug named && mv linked-to.debug .debug/");
    uint64_t address = address_of("linked-to.full", "mark_inlined");
    struct answer linked = asked(&module, address);
    shell("rm .debug/linked-to.debug && cp linked-to.full named/linked-to");
    const char *const paths[] = {path_of("named"), NULL};
    const struct symbol_options options = {.debug_paths = paths};
    struct answer named = asked_with(&options, &module, address);

    assert_inlined_chain(&linked);
    assert_inlined_chain(&named);
    symbols_closed(linked.symbols);
    symbols_closed(named.symbols);
}

static void a_link_without_build_id_is_proved_by_its_checksum(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    shell("gcc -g -O2 -Wl,--build-id=none -o sum.full a.c && objcopy --only-keep-debug sum.full sum.debug && "
          "strip -o sum sum.full && objcopy --add-gnu-debuglink=sum.debug sum");
    struct recorded module = recorded("sum");
    assert_int_equal(module.build_id_size, 0);
    uint64_t address = address_of("sum.full", "mark_inlined");
    struct answer good = asked(&module, address);
    shell("printf x >> sum.debug");
    struct answer bad = asked(&module, address);

    assert_inlined_chain(&good);
    assert_int_equal(bad.state, MODULE_NO_DEBUG_INFO);
    symbols_closed(good.symbols);
    symbols_closed(bad.symbols);
}

static void what_dwz_shared_is_joined_again_or_nothing_is_used(void **state)
{
    (void)state;
    if (!succeeds("command -v dwz >/dev/null")) {
        print_message("not tested: no dwz\n");
        return;
    }
    write_text("b.cc", cc_source);
    shell("g++ -g -O2 -o dwz1 b.cc && g++ -g -O2 -DOTHER -fno-omit-frame-pointer -o dwz2 b.cc && "
          "dwz -m %s/dwz.shared dwz1 dwz2",
          directory);
    struct recorded module = recorded("dwz1");
    uint64_t address = address_of("dwz1", "mark_inner");
    struct answer joined = asked(&module, address);
    shell("cp dwz2 dwz.shared");
    struct answer other = asked(&module, address);

    assert_int_equal(joined.state, MODULE_MATCHES);
    assert_frame(&joined.frames[0], "app::(anonymous namespace)::inner", "b.cc", 3, true);
    assert_int_equal(other.state, MODULE_NO_DEBUG_INFO);
    assert_frame(&other.frames[0], "app::(anonymous namespace)::secret", NULL, 0, false);
    symbols_closed(joined.symbols);
    symbols_closed(other.symbols);
}

static void debuginfod_is_asked_only_on_request(void **state)
{
    (void)state;
    struct recorded module = split("served");
    uint64_t address = address_of("served.full", "mark_inlined");
    char url[300], id[130] = "";
    for (size_t i = 0; i < module.build_id_size; i++)
        sprintf(id + 2 * i, "%02x", module.build_id[i]);
    shell("mkdir -p served.d/buildid/%1$s && mv served.debug served.d/buildid/%1$s/debuginfo", id);
    snprintf(url, sizeof url, "file://%s", path_of("served.d"));
    setenv("DEBUGINFOD_URLS", url, 1);
    setenv("DEBUGINFOD_CACHE_PATH", path_of("cache"), 1);
    const struct symbol_options options = {.debuginfod = true};

    struct answer off = asked(&module, address);
    assert_int_equal(off.state, MODULE_NO_DEBUG_INFO);
    assert_int_equal(access(path_of("cache"), F_OK), -1);
    symbols_closed(off.symbols);
    if (succeeds(
            "ldconfig -p 2>/dev/null | grep -q libdebuginfod.so.1 || /sbin/ldconfig -p | grep -q libdebuginfod.so.1")) {
        struct answer on = asked_with(&options, &module, address);
        assert_inlined_chain(&on);
        symbols_closed(on.symbols);
    } else {
        print_message("asking is not tested: no libdebuginfod\n");
    }
    unsetenv("DEBUGINFOD_URLS");
}

/* --- files that must not be believed, or waited for -------------------------------------------------------------- */

static void a_rebuilt_file_gives_no_names(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    shell("gcc -g -O2 -o rebuilt a.c");
    struct recorded module = recorded("rebuilt");
    uint64_t address = address_of("rebuilt", "mark_inlined");
    shell("gcc -g -O1 -DREBUILT=1 -fno-pie -no-pie -o rebuilt a.c");
    struct answer answer = asked(&module, address);
    struct recorded unmarked = module;
    unmarked.build_id_size = 0;
    struct answer without_id = asked(&unmarked, address);

    assert_int_equal(answer.state, MODULE_DIFFERS);
    assert_unknown(&answer, "rebuilt", address);
    assert_int_equal(without_id.state, MODULE_DIFFERS);
    symbols_closed(answer.symbols);
    symbols_closed(without_id.symbols);
}

static void assert_missing(const char *path, const char *name)
{
    struct recorded module = {.build_id = {1, 2, 3}, .build_id_size = 20};
    snprintf(module.path, sizeof module.path, "%s", path);
    struct answer answer = asked(&module, 0x1234);
    assert_int_equal(answer.state, MODULE_MISSING);
    assert_unknown(&answer, name, 0x1234);
    symbols_closed(answer.symbols);
}

static void paths_that_name_no_binary_are_missing_and_nobody_waits(void **state)
{
    (void)state;
    shell("mkfifo pipe && mkdir folder && echo text > text && : > empty && truncate -s 1T huge && "
          "printf '\\177ELF\\002\\001\\001' > torn && truncate -s 1T torn && cp /bin/true relative");
    alarm(20);
    assert_missing("/nonexistent/libfoo.so", "libfoo.so");
    assert_missing("relative", "relative");
    assert_missing("", "");
    assert_missing("[vdso]", "[vdso]");
    assert_missing("/", "/");
    assert_missing(path_of("pipe"), "pipe");
    assert_missing(path_of("folder"), "folder");
    assert_missing(path_of("text"), "text");
    assert_missing(path_of("empty"), "empty");
    assert_missing(path_of("huge"), "huge");
    assert_missing(path_of("torn"), "torn");
    assert_missing("/dev/zero", "zero");
    assert_missing("/proc/kmsg", "kmsg");
    alarm(0);
}

static void a_split_unit_that_is_a_fifo_is_not_opened(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    shell("gcc -g -O2 -gsplit-dwarf -o waiting a.c && for f in *.dwo; do rm $f && mkfifo $f; done");
    struct recorded module = recorded("waiting");
    alarm(20);
    struct answer answer = asked(&module, address_of("waiting", "mark_inlined"));
    alarm(0);
    assert_string_equal(answer.frames[0].function, "outer");
    symbols_closed(answer.symbols);
    shell("rm -f *.dwo");
}

static uint32_t random_state = 12345;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % limit;
}

static void mutated_file_asked(const char *path, uint64_t address)
{
    struct recorded module = {0};
    snprintf(module.path, sizeof module.path, "%s", path);
    struct symbols *symbols = symbols_opened(&plain);
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    for (uint64_t offset = address - 64; offset < address + 64; offset += 8) {
        size_t count = symbols_found(symbols, module.path, NULL, 0, offset, true, frames, SYMBOL_FRAMES_MAX);
        for (size_t i = 0; i < count; i++)
            if (strlen(frames[i].function) == 0)
                abort();
    }
    symbols_closed(symbols);
}

/* A mutation in a process of its own: it may neither crash nor take longer than a few seconds. */
static void mutation_survived(const char *bytes, size_t size, uint64_t address, int number)
{
    const char *path = path_of("mutated");
    char *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    random_state = (uint32_t)number;
    for (uint32_t i = 1 + random_below(24); i > 0; i--)
        copy[random_below((uint32_t)size)] = (char)(random_below(4) ? random_below(256) : 0xff * random_below(2));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(copy, 1, size - (random_below(8) ? 0 : random_below((uint32_t)size)), file) > 0, 1);
    fclose(file);
    free(copy);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        mutated_file_asked(path, address);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0)
        fail_msg("mutation %d: status %#x", number, (unsigned)status);
}

static void corrupt_files_neither_crash_nor_hang(void **state)
{
    (void)state;
    static const char *const compilers[] = {"g++ -gdwarf-5", "g++ -gdwarf-4"};
    write_text("b.cc", cc_source);
    for (size_t i = 0; i < LENGTH(compilers); i++) {
        /* Without the C library's start code most of the file is what is read here. */
        shell("%s -O2 -shared -fPIC -nostdlib -Wl,--build-id=none -o fuzzed b.cc", compilers[i]);
        uint64_t address = address_of("fuzzed", "mark_inner");
        struct stat status;
        assert_int_equal(stat(path_of("fuzzed"), &status), 0);
        size_t size = (size_t)status.st_size;
        char *bytes = malloc(size);
        FILE *file = fopen(path_of("fuzzed"), "r");
        assert_true(bytes && file);
        assert_int_equal(fread(bytes, 1, size, file), size);
        fclose(file);
        for (int number = 0; number < 300; number++)
            mutation_survived(bytes, size, address, number);
        free(bytes);
    }
}

/* --- the interface ------------------------------------------------------------------------------------------------------------ */

static void the_same_place_is_answered_from_memory(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    shell("gcc -g -O2 -o cached a.c");
    struct recorded module = recorded("cached");
    uint64_t address = address_of("cached", "mark_inlined");
    struct answer answer = asked(&module, address);
    struct symbol_frame again[SYMBOL_FRAMES_MAX];
    shell("rm cached");
    size_t count = symbols_found(answer.symbols, module.path, module.build_id, module.build_id_size, address, false,
                                 again, SYMBOL_FRAMES_MAX);

    assert_int_equal(count, answer.count);
    assert_memory_equal(again, answer.frames, count * sizeof *again);
    symbols_closed(answer.symbols);
}

static void with_little_room_the_innermost_and_the_real_function_are_kept(void **state)
{
    (void)state;
    write_text("a.c", c_source);
    shell("gcc -g -O2 -o room a.c");
    struct recorded module = recorded("room");
    struct answer answer = asked(&module, address_of("room", "mark_inlined"));
    struct symbol_frame two[2];
    size_t count = symbols_found(answer.symbols, module.path, module.build_id, module.build_id_size,
                                 address_of("room", "mark_inlined"), false, two, 2);

    assert_int_equal(count, 2);
    assert_frame(&two[0], "innermost", "a.c", 2, true);
    assert_frame(&two[1], "outer", "a.c", 4, false);
    symbols_closed(answer.symbols);
}

static void chains_too_deep_for_an_answer_lose_their_middle(void **state)
{
    (void)state;
    FILE *file = fopen(path_of("deep.c"), "w");
    assert_non_null(file);
    fprintf(file, "#define I static inline __attribute__((always_inline))\nI void f0(void) { %s }\n",
            LABEL("mark_deep"));
    for (int i = 1; i < 100; i++)
        fprintf(file, "I void f%d(void) { f%d(); }\n", i, i - 1);
    fputs("void real(void) { f99(); }\n", file);
    fclose(file);
    shell("gcc -g -O2 -shared -fPIC -o deep deep.c");
    struct recorded module = recorded("deep");
    struct answer answer = asked(&module, address_of("deep", "mark_deep"));

    assert_int_equal(answer.count, SYMBOL_FRAMES_MAX);
    assert_frame(&answer.frames[0], "f0", "deep.c", 2, true);
    assert_frame(&answer.frames[SYMBOL_FRAMES_MAX - 1], "real", "deep.c", 102, false);
    symbols_closed(answer.symbols);
}

static void linkage_names_become_readable(void **state)
{
    (void)state;
    static const struct {
        const char *linkage, *readable, *normalised;
    } names[] = {
        {"main", "main", "main"},
        {"open_db.constprop.0", "open_db", "open_db"},
        {"open_db.part.3.cold", "open_db", "open_db"},
        {"open_db.constprop.0.isra.0", "open_db", "open_db"},
        {"open_db.lto_priv.12", "open_db", "open_db"},
        {"inner.0", "inner.0", "inner.0"},
        {"main.main", "main.main", "main.main"},
        {"memcpy@@GLIBC_2.14", "memcpy", "memcpy"},
        {"_ZN3app4Pool4openEi.cold", "app::Pool::open", "_ZN3app4Pool4openEi"},
        {"_ZN12_GLOBAL__N_13fooEv", "(anonymous namespace)::foo", "_ZN12_GLOBAL__N_13fooEv"},
        {"_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()", "_ZZ4mainENKUlvE_clEv"},
        {"_ZN4pool4open17h0123456789abcdefE", "pool::open", "_ZN4pool4openE"},
        {"_ZN4pool4open17h0123456789abcdefE.llvm.123", "pool::open", "_ZN4pool4openE"},
        {"_RNvCs1234_7mycrate3foo", "mycrate::foo", "_RNvCs1234_7mycrate3foo"},
        {"_ZNSt17_Function_handlerIFvRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEZ4mainEUlS7_E_E9_M_"
         "invokeERKSt9_Any_dataS7_",
         "std::_Function_handler<…>::_M_invoke", NULL},
        {"_Z", "_Z", "_Z"},
        {".cold", ".cold", ".cold"},
        {"", "", ""},
    };
    for (size_t i = 0; i < LENGTH(names); i++) {
        char *readable = name_demangled(names[i].linkage), *normalised = linkage_name_normalised(names[i].linkage);
        assert_string_equal(readable, names[i].readable);
        assert_string_equal(normalised, names[i].normalised ? names[i].normalised : names[i].linkage);
        free(readable);
        free(normalised);
    }
}

static void a_name_that_stands_for_gigabytes_stays_as_it_is(void **state)
{
    (void)state;
    /* f<a<a<…>, a<…>>>: each level names the one before it twice. */
    char name[2048] = "_Z1fI1aIiiE";
    for (int i = 0; i < 36; i++)
        sprintf(name + strlen(name), "S_IS%1$c_S%1$c_E", i < 10 ? '0' + i : 'A' + i - 10);
    strcat(name, "Evv");
    alarm(20);
    char *readable = name_demangled(name);
    alarm(0);
    assert_string_equal(readable, name);
    free(readable);
}

static int directory_made(void **state)
{
    (void)state;
    unsetenv("DEBUGINFOD_URLS");
    return mkdtemp(directory) ? 0 : -1;
}

static int directory_removed(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inlined_calls_are_frames_whatever_compiler_and_format),
        cmocka_unit_test(a_return_address_means_the_call_before_it),
        cmocka_unit_test(cxx_names_are_short_and_complete),
        cmocka_unit_test(a_function_in_a_function_has_its_own_name),
        cmocka_unit_test(paths_lose_their_detours_unless_a_link_makes_them_matter),
        cmocka_unit_test(without_debug_information_there_are_names_only),
        cmocka_unit_test(a_stripped_library_names_what_it_exports_and_invents_nothing),
        cmocka_unit_test(assembler_without_sizes_ends_at_the_next_symbol),
        cmocka_unit_test(mini_debug_information_names_hidden_functions),
        cmocka_unit_test(debug_files_are_found_by_build_id),
        cmocka_unit_test(debug_files_are_found_below_a_sysroot),
        cmocka_unit_test(debug_files_are_found_by_link_and_by_name),
        cmocka_unit_test(a_link_without_build_id_is_proved_by_its_checksum),
        cmocka_unit_test(what_dwz_shared_is_joined_again_or_nothing_is_used),
        cmocka_unit_test(debuginfod_is_asked_only_on_request),
        cmocka_unit_test(a_rebuilt_file_gives_no_names),
        cmocka_unit_test(paths_that_name_no_binary_are_missing_and_nobody_waits),
        cmocka_unit_test(a_split_unit_that_is_a_fifo_is_not_opened),
        cmocka_unit_test(corrupt_files_neither_crash_nor_hang),
        cmocka_unit_test(the_same_place_is_answered_from_memory),
        cmocka_unit_test(with_little_room_the_innermost_and_the_real_function_are_kept),
        cmocka_unit_test(chains_too_deep_for_an_answer_lose_their_middle),
        cmocka_unit_test(linkage_names_become_readable),
        cmocka_unit_test(a_name_that_stands_for_gigabytes_stays_as_it_is),
    };
    return cmocka_run_group_tests_name("symbols", tests, directory_made, directory_removed);
}
