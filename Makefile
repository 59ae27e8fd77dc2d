# SPDX-License-Identifier: Apache-2.0
#
# unclosed: build/libunclosed.so (shim/) and build/unclosed (reports/). `make help` lists the targets.
#
# Sources are found by name: a new .c file in shim/, reports/ or tests/, a new rule or a new page file needs no change
# here. Everything that is built goes below $(BUILD).

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
CLANG ?= clang
PYTHON ?= /usr/bin/python3
LIBUNWIND_SRC ?=
FUZZ_SECONDS ?= 60

export BUILD CC CXX CLANG PYTHON LIBUNWIND_SRC FUZZ_SECONDS
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

# ---- what there is ---------------------------------------------------------------------------------------------------

SHIM_SOURCES := $(sort $(wildcard shim/*.c shim/*.S shim/libraries/*.c shim/python/*.c))
REPORTS_SOURCES := $(sort $(wildcard reports/*.c reports/render/*.c))
EMBEDDED_FILES := $(shell find reports -name '*.sql' -o -name '*.css' -o -name '*.js' -o -name '*.svg' -o -name '*.html' | LC_ALL=C sort)
ADAPTER_FILES := $(patsubst shim/python/%,$(BUILD)/python/%,$(wildcard shim/python/*.py shim/python/_unclosed/*.py)) \
                 $(BUILD)/python/_unclosed/_native.so
EXPORTS := $(wildcard shim/libraries/functions.def shim/exports.list)

SHIM_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_shim_*.c))
REPORTS_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_reports_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
PROGRAM_SOURCES := $(wildcard $(foreach room,programs bench,tests/$(room)/*.c tests/$(room)/*.cc))
SHARED_SOURCES := $(shell grep -lsE '^/\* build: (.* )?shared ' $(PROGRAM_SOURCES) /dev/null)
PROGRAMS := $(patsubst %,$(BUILD)/%,$(basename $(filter-out $(SHARED_SOURCES),$(PROGRAM_SOURCES))) \
                                   $(addsuffix .so,$(basename $(SHARED_SOURCES))))

# ---- how it is compiled ----------------------------------------------------------------------------------------------

POSTGRESQL_INCLUDE := $(firstword $(wildcard /usr/include/postgresql) $(shell pg_config --includedir 2>/dev/null))
WARNINGS := -Wall -Wextra -Werror
COMMON_FLAGS = -std=c17 -D_GNU_SOURCE= $(WARNINGS) -g -fno-omit-frame-pointer -MMD -MP -Iinclude
ROOM_FLAGS_shim = -fPIC -fvisibility=hidden -fexceptions -ftls-model=initial-exec \
                  -Ishim -isystem $(BUILD)/libunwind/include $(addprefix -isystem ,$(POSTGRESQL_INCLUDE))
ROOM_FLAGS_reports = -fPIE -Ireports -DUNCLOSED_LIBRARY_DIR='"$(PREFIX)/lib/unclosed"'
ROOM_LIBRARIES_shim = $(BUILD)/libunwind/libunwind.a -static-libgcc
ROOM_LIBRARIES_reports = -lsqlite3 -ldw -lelf -liberty

# The same sources, built several times: for use, and for the tests under each sanitizer. The shim for use is
# optimised as a whole (gcc only): every watched call goes through it, and that takes a tenth off its time.
VARIANTS := plain whole asan ubsan tsan fuzz
TESTED_VARIANTS := plain asan ubsan tsan
VARIANT_FLAGS_plain := -O2 -fomit-frame-pointer
VARIANT_FLAGS_whole := -O3 -fomit-frame-pointer $(if $(findstring clang,$(CC)),,-flto=auto)
VARIANT_FLAGS_asan := -O1 -fsanitize=address
VARIANT_FLAGS_ubsan := -O1 -fsanitize=undefined -fno-sanitize-recover=undefined
VARIANT_FLAGS_tsan := -O1 -fsanitize=thread -Wno-unknown-warning-option -Wno-tsan
VARIANT_FLAGS_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
compiler_of = $(if $(filter fuzz,$(1)),$(CLANG),$(CC))

SHIM_LINK = -shared -static-libgcc -Wl,--exclude-libs,ALL -Wl,--as-needed -Wl,-z,defs -Wl,-z,now -Wl,-z,relro \
            -Wl,-z,nodelete -Wl,-soname,libunclosed.so -Wl,--version-script=$(BUILD)/exports.map

# What a person may change from one run to the next is written down, so that a change rebuilds what it concerns.
remember = $(shell mkdir -p $(BUILD) && { echo '$(subst ','\'',$(2))' | cmp -s - $(1) || echo '$(subst ','\'',$(2))' >$(1); })
$(call remember,$(BUILD)/flags,$(CC) $(CLANG) $(CFLAGS) $(LDFLAGS) $(WARNINGS))
$(call remember,$(BUILD)/prefix,$(PREFIX))
$(call remember,$(BUILD)/embedded.list,$(EMBEDDED_FILES))
$(call remember,$(BUILD)/members.list,$(SHIM_SOURCES) $(REPORTS_SOURCES))

# One short line for each command; V=1 shows the commands.
brief = $(if $(V),,@echo '  $(1)';)

objects_of = $(patsubst %,$(BUILD)/objects/$(1)/%.o,$(2))

define variant_rules
$(BUILD)/objects/$(1)/shim/%.o: shim/% $(BUILD)/flags | $(BUILD)/libunwind/libunwind.a
	@mkdir -p $$(@D)
	$$(call brief,compile $$< ($(1)))$$(call compiler_of,$(1)) $$(COMMON_FLAGS) $$(ROOM_FLAGS_shim) $$(VARIANT_FLAGS_$(1)) $$(CFLAGS) -c -o $$@ $$<

$(BUILD)/objects/$(1)/reports/%.o: reports/% $(BUILD)/flags $(BUILD)/prefix | $(BUILD)/dependencies
	@mkdir -p $$(@D)
	$$(call brief,compile $$< ($(1)))$$(call compiler_of,$(1)) $$(COMMON_FLAGS) $$(ROOM_FLAGS_reports) $$(VARIANT_FLAGS_$(1)) $$(CFLAGS) -c -o $$@ $$<

# Archives, so that a test takes only what it names. What the shim exports is called shim_NAME there: a test that calls
# exit or sqlite3_open means libc's or SQLite's, and so does a sanitizer that looks for dlsym before it is ready. A test
# of a wrapper says shim_sqlite3_open. dlclose keeps its name: it harms nobody, and tests that unload mean ours.
$(BUILD)/objects/$(1)/libshim.a: $$(call objects_of,$(1),$$(SHIM_SOURCES)) $(BUILD)/members.list $(BUILD)/renamed.list
	@rm -f $$@ $$@.new
	@ar -rcs $$@.new $$(filter %.o,$$^)
	@objcopy --redefine-syms=$(BUILD)/renamed.list $$@.new $$@
	@rm -f $$@.new

$(BUILD)/objects/$(1)/libreports.a: $$(call objects_of,$(1),$$(filter-out reports/main.c,$$(REPORTS_SOURCES))) $(BUILD)/embedded.o $(BUILD)/members.list
	@rm -f $$@
	@ar -rcs $$@ $$(filter %.o,$$^)

$(BUILD)/tests/unit/$(1)/test_shim_%: tests/unit/test_shim_%.c $(BUILD)/objects/$(1)/libshim.a $(BUILD)/libunwind/libunwind.a
	@mkdir -p $$(@D)
	$$(call brief,link $$@)$$(CC) $$(COMMON_FLAGS) $$(ROOM_FLAGS_shim) $$(VARIANT_FLAGS_$(1)) -MF $$@.d -MT $$@ $$(CFLAGS) -o $$@ $$< \
	    $(BUILD)/objects/$(1)/libshim.a $$(ROOM_LIBRARIES_shim) $$(LDFLAGS) -lcmocka

$(BUILD)/tests/unit/$(1)/test_reports_%: tests/unit/test_reports_%.c $(BUILD)/objects/$(1)/libreports.a
	@mkdir -p $$(@D)
	$$(call brief,link $$@)$$(CC) $$(COMMON_FLAGS) $$(ROOM_FLAGS_reports) $$(VARIANT_FLAGS_$(1)) -MF $$@.d -MT $$@ $$(CFLAGS) -o $$@ $$< \
	    $(BUILD)/objects/$(1)/libreports.a $$(LDFLAGS) $$(ROOM_LIBRARIES_reports) -lcmocka

unit-tests-$(1) := $(patsubst %,$(BUILD)/tests/unit/$(1)/%,$(SHIM_TESTS) $(REPORTS_TESTS))
-include $(patsubst %.o,%.d,$(call objects_of,$(1),$(SHIM_SOURCES) $(REPORTS_SOURCES)))
-include $$(addsuffix .d,$$(unit-tests-$(1)))
endef
$(foreach variant,$(VARIANTS),$(eval $(call variant_rules,$(variant))))
-include $(addsuffix .d,$(PROGRAMS)) $(patsubst %,$(BUILD)/fuzz/%.d,$(FUZZERS))

# ---- for people ------------------------------------------------------------------------------------------------------

.PHONY: all demo check check-unit check-asan check-ubsan check-tsan check-programs check-fuzz fuzz bench tests programs \
        format lint install uninstall clean distclean help build-dependencies test-dependencies

all: $(BUILD)/libunclosed.so $(BUILD)/unclosed $(ADAPTER_FILES) $(BUILD)/objects/native/compiled ## build the shim and the command

demo: build-dependencies ## install what is needed, build, and report a small leaky program
	@$(MAKE) --no-print-directory all $(BUILD)/tests/programs/demo
	@make/demo

check: test-dependencies ## install what is needed, build, and run every test
	+@MAKE='$(MAKE)' make/check

check-unit: $(unit-tests-plain) ## unit tests
	@make/run-unit-tests $^

check-asan: $(unit-tests-asan) ## unit tests under AddressSanitizer (-ubsan, -tsan: the others)
	@make/run-unit-tests $^

check-ubsan: $(unit-tests-ubsan)
	@make/run-unit-tests $^

check-tsan: $(unit-tests-tsan)
	@make/run-unit-tests $^

check-programs: all programs ## tests of whole programs (pytest); TESTS= chooses some
	@make/run-program-tests $(TESTS)

check-fuzz: $(patsubst %,$(BUILD)/fuzz/%,$(FUZZERS)) ## fuzz the trace reader for a minute
	@make/run-fuzzers $(FUZZ_SECONDS) $^

fuzz: FUZZ_SECONDS = 3600
fuzz: check-fuzz ## fuzz for an hour (FUZZ_SECONDS=)

tests: $(foreach variant,$(TESTED_VARIANTS),$(unit-tests-$(variant))) programs $(patsubst %,$(BUILD)/fuzz/%,$(FUZZERS))

programs: $(PROGRAMS)

bench: all $(filter $(BUILD)/tests/bench/%,$(PROGRAMS)) ## measure, and print a table of ratios
	@tests/bench/run

# ---- what is built ---------------------------------------------------------------------------------------------------

$(BUILD)/dependencies:
	@make/dependencies build
	@touch $@

build-dependencies:
	@make/dependencies --install build demo
	@make/venv demo

test-dependencies:
	@make/dependencies --install build demo test
	@make/venv

$(BUILD)/libunwind/libunwind.a: make/fetch-libunwind make/build-libunwind | $(BUILD)/dependencies
	@$(if $(LIBUNWIND_SRC),,make/fetch-libunwind $(BUILD)/cache)
	@make/build-libunwind $(or $(LIBUNWIND_SRC),$(BUILD)/cache/libunwind_*.orig.tar.*) $(@D)

$(BUILD)/exports.map: $(EXPORTS) make/exports
	@make/exports $(EXPORTS) >$@

$(BUILD)/renamed.list: $(BUILD)/exports.map Makefile
	@sed -n -e '/^ *unclosed_/d' -e '/^ *dlclose;/d' -e 's/^ *\([A-Za-z_].*\);$$/\1 shim_\1/p' $< >$@

$(BUILD)/libunclosed.so: $(call objects_of,whole,$(SHIM_SOURCES)) $(BUILD)/libunwind/libunwind.a $(BUILD)/exports.map $(BUILD)/members.list
	$(call brief,link $@)$(CC) $(SHIM_LINK) $(ROOM_FLAGS_shim) $(VARIANT_FLAGS_whole) $(CFLAGS) -o $@ $(filter %.o,$^) $(BUILD)/libunwind/libunwind.a $(LDFLAGS)

# ---- the Python adapter: beside the shim, which puts its directory in front of PYTHONPATH ------------------------------

$(BUILD)/python/%.py: shim/python/%.py
	@install -D -m 644 $< $@

NATIVE_SOURCES := $(wildcard shim/python/native/*.c)
NATIVE_FLAGS = -fPIC -fvisibility=hidden -O2 -fomit-frame-pointer

# The interpreter that loads it defines what it leaves undefined.
$(BUILD)/python/_unclosed/_native.so: $(NATIVE_SOURCES) $(BUILD)/flags | $(BUILD)/dependencies
	@mkdir -p $(@D) $(BUILD)/objects/native
	$(call brief,link $@)$(CC) $(COMMON_FLAGS) $(NATIVE_FLAGS) -MF $(BUILD)/objects/native/module.d -MT $@ $(CFLAGS) -shared \
	    -static-libgcc -Wl,--as-needed -Wl,-z,now -Wl,-z,relro -o $@ $(NATIVE_SOURCES) $(LDFLAGS)
-include $(BUILD)/objects/native/module.d

# Where no program may write it there, each would compile the adapter anew: 3 ms at every start. Other versions of Python
# than this one do so, and none is needed for the build.
compiled = $(PYTHON) -m compileall -q $(1) >/dev/null 2>&1 || true
$(BUILD)/objects/native/compiled: $(filter %.py,$(ADAPTER_FILES)) | $(BUILD)/python/_unclosed/_native.so
	@$(call compiled,$(BUILD)/python)
	@touch $@

$(BUILD)/embedded.S: make/embed $(BUILD)/embedded.list
	@make/embed $(EMBEDDED_FILES) >$@

$(BUILD)/embedded.o: $(BUILD)/embedded.S $(EMBEDDED_FILES)
	@$(CC) -c -o $@ $<

$(BUILD)/unclosed: $(call objects_of,plain,$(REPORTS_SOURCES)) $(BUILD)/embedded.o $(BUILD)/members.list
	$(call brief,link $@)$(CC) -pie -Wl,--as-needed $(CFLAGS) -o $@ $(filter %.o,$^) $(LDFLAGS) $(ROOM_LIBRARIES_reports)

# ---- programs that only tests use ------------------------------------------------------------------------------------

# A program that asks for the objects of a room (its build: comment says "shim" or "reports") waits for them.
export LINK_SHIM = -Ishim -isystem $(BUILD)/libunwind/include $(BUILD)/objects/plain/libshim.a $(ROOM_LIBRARIES_shim)
export LINK_REPORTS = -Ireports $(BUILD)/objects/plain/libreports.a $(ROOM_LIBRARIES_reports)
needing = $(patsubst %,$(BUILD)/%,$(basename $(shell grep -lsE '^/\* build: (.* )?$(1) ' $(PROGRAM_SOURCES) /dev/null)))
$(call needing,shim): $(BUILD)/objects/plain/libshim.a $(BUILD)/libunwind/libunwind.a
$(call needing,reports): $(BUILD)/objects/plain/libreports.a

define program_rules
$(BUILD)/tests/$(1)/%.so: tests/$(1)/%.c make/build-program | $(BUILD)/dependencies
	@mkdir -p $$(@D)
	$$(call brief,link $$@)make/build-program $$< $$@

$(BUILD)/tests/$(1)/%.so: tests/$(1)/%.cc make/build-program | $(BUILD)/dependencies
	@mkdir -p $$(@D)
	$$(call brief,link $$@)make/build-program $$< $$@

$(BUILD)/tests/$(1)/%: tests/$(1)/%.c make/build-program | $(BUILD)/dependencies
	@mkdir -p $$(@D)
	$$(call brief,link $$@)make/build-program $$< $$@

$(BUILD)/tests/$(1)/%: tests/$(1)/%.cc make/build-program | $(BUILD)/dependencies
	@mkdir -p $$(@D)
	$$(call brief,link $$@)make/build-program $$< $$@
endef
$(foreach room,programs bench,$(eval $(call program_rules,$(room))))

$(BUILD)/fuzz/%: tests/fuzz/%.c $(BUILD)/objects/fuzz/libreports.a
	@mkdir -p $(@D)
	$(call brief,link $@)$(CLANG) $(COMMON_FLAGS) $(ROOM_FLAGS_reports) $(subst fuzzer-no-link,fuzzer,$(VARIANT_FLAGS_fuzz)) -MF $@.d -MT $@ \
	    -o $@ $< $(BUILD)/objects/fuzz/libreports.a $(ROOM_LIBRARIES_reports)

# ---- style -----------------------------------------------------------------------------------------------------------

C_SOURCES := $(filter %.c,$(SHIM_SOURCES) $(REPORTS_SOURCES)) $(NATIVE_SOURCES) $(wildcard tests/unit/*.c tests/fuzz/*.c tests/programs/*.c tests/bench/*.c)
FORMATTED := $(C_SOURCES) $(wildcard include/unclosed/*.h shim/*.h shim/*/*.h shim/python/native/*.h reports/*.h reports/render/*.h \
             tests/*/*.h tests/programs/*.cc tests/bench/*.cc)

format: ## format the C sources
	clang-format -i $(FORMATTED)

lint: ## clang-format, clang-tidy, cppcheck, shellcheck, ruff
	+@MAKE='$(MAKE)' make/lint $(filter %.c,$(SHIM_SOURCES) $(REPORTS_SOURCES)) $(NATIVE_SOURCES)

# A source is read again only when its object had to be built again.
tidied = $(patsubst %,$(BUILD)/lint/%.tidy,$(filter %.c,$(1)))
$(BUILD)/lint/shim/%.tidy: $(BUILD)/objects/plain/shim/%.o .clang-tidy
	@mkdir -p $(@D)
	$(call brief,tidy shim/$*)clang-tidy --quiet shim/$* -- $(filter-out -MMD -MP,$(COMMON_FLAGS)) $(ROOM_FLAGS_shim)
	@touch $@

$(BUILD)/lint/reports/%.tidy: $(BUILD)/objects/plain/reports/%.o .clang-tidy
	@mkdir -p $(@D)
	$(call brief,tidy reports/$*)clang-tidy --quiet reports/$* -- $(filter-out -MMD -MP,$(COMMON_FLAGS)) $(ROOM_FLAGS_reports)
	@touch $@

$(BUILD)/lint/native.tidy: $(BUILD)/python/_unclosed/_native.so .clang-tidy
	@mkdir -p $(@D)
	$(call brief,tidy $(NATIVE_SOURCES))clang-tidy --quiet $(NATIVE_SOURCES) -- $(filter-out -MMD -MP,$(COMMON_FLAGS)) $(NATIVE_FLAGS)
	@touch $@

.PHONY: tidy formatted
tidy: $(call tidied,$(SHIM_SOURCES) $(REPORTS_SOURCES)) $(BUILD)/lint/native.tidy

formatted:
	@for file in $(FORMATTED); do \
	    clang-format --dry-run -Werror $$file 2>/dev/null || { echo "$$file: not as \`make format' leaves it"; bad=1; }; \
	done; test -z "$$bad"

# ---- elsewhere -------------------------------------------------------------------------------------------------------

MAN1 := $(wildcard docs/man/*.1)
MAN7 := $(wildcard docs/man/*.7)
place = $(DESTDIR)$(PREFIX)

install: all ## install below PREFIX (/usr/local), DESTDIR in front
	install -d $(place)/bin $(place)/lib/unclosed $(place)/include/unclosed $(place)/share/man/man1 $(place)/share/man/man7
	install $(BUILD)/unclosed $(place)/bin/unclosed
	install -m 644 $(BUILD)/libunclosed.so $(place)/lib/unclosed/libunclosed.so
	install -d $(place)/lib/unclosed/python/_unclosed
	install -m 644 $(wildcard $(BUILD)/python/*.py) $(place)/lib/unclosed/python
	install -m 644 $(filter $(BUILD)/python/_unclosed/%,$(ADAPTER_FILES)) $(place)/lib/unclosed/python/_unclosed
	@$(call compiled,-d $(PREFIX)/lib/unclosed/python $(place)/lib/unclosed/python)
	install -m 644 $(filter-out %/secrets.h,$(wildcard include/unclosed/*.h include/unclosed/*.def)) $(place)/include/unclosed
	$(if $(MAN1),install -m 644 $(MAN1) $(place)/share/man/man1)
	$(if $(MAN7),install -m 644 $(MAN7) $(place)/share/man/man7)

uninstall: ## remove what install put there
	rm -f $(place)/bin/unclosed $(addprefix $(place)/share/man/man1/,$(notdir $(MAN1))) \
	    $(addprefix $(place)/share/man/man7/,$(notdir $(MAN7)))
	rm -rf $(place)/lib/unclosed $(place)/include/unclosed

clean: ## remove what was built, but not what was downloaded
	@mkdir -p $(BUILD)
	find $(BUILD) -mindepth 1 -maxdepth 1 ! -name cache ! -name venv -exec rm -rf {} +

distclean: ## remove everything
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24
	@echo 'Variables: CC CFLAGS LDFLAGS PREFIX DESTDIR BUILD (directory of everything built) V=1 LIBUNWIND_SRC (tarball or directory)'
