/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MOST_LINES = 1000,
    LONGEST_LINE = 400, /* bytes as shown, without the "…" */
    MOST_BYTES = 32 * 1024 * 1024,
    NANOSECONDS = 1000000000,
};

static const char *const code_endings[] = {
    ".c",    ".h",  ".cc",    ".cpp", ".cxx", ".c++", ".hh",   ".hpp",  ".hxx", ".h++", ".inc", ".inl",   ".ipp",
    ".tcc",  ".m",  ".mm",    ".py",  ".pyx", ".pxd", ".pyi",  ".rs",   ".go",  ".d",   ".f",   ".f90",   ".for",
    ".java", ".kt", ".scala", ".cs",  ".js",  ".ts",  ".php",  ".rb",   ".pl",  ".pm",  ".lua", ".swift", ".zig",
    ".nim",  ".s",  ".y",     ".l",   ".pc",  ".pgc", ".ecpp", ".vala", ".ml",  ".hs",  ".adb", ".ads",   ".cr",
};

static bool is_named_like_code(const char *path)
{
    const char *base = strrchr(path, '/');
    const char *ending = base ? strrchr(base, '.') : NULL;
    for (size_t i = 0; ending && i < sizeof code_endings / sizeof *code_endings; i++)
        if (strcasecmp(ending, code_endings[i]) == 0)
            return true;
    /* The standard C++ headers have no ending. */
    return base && !ending && strstr(path, "/include/c++/");
}

/* Where `fd` really leads, symbolic links resolved. */
static bool is_really_code(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    return is_named_like_code(path);
}

/* A descriptor of a regular file that is source code; -1 and *state for all else. Asked before it is opened, too: to
 * open some devices is to use them. */
static int source_opened(const char *path, enum source_state *state, struct stat *status)
{
    *state = SOURCE_MISSING;
    if (path[0] == '\0' || stat(path, status) != 0)
        return -1;
    *state = SOURCE_NOT_TEXT;
    if (!S_ISREG(status->st_mode) || !is_named_like_code(path))
        return -1;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        *state = SOURCE_MISSING;
        return -1;
    }
    if (fstat(fd, status) == 0 && S_ISREG(status->st_mode) && is_really_code(fd))
        return fd;
    close(fd);
    return -1;
}

/* How many bytes the UTF-8 character at `text` has, 0 if it is none that may be shown as it is. */
static size_t character_size(const unsigned char *text, size_t left)
{
    unsigned char first = text[0];
    if (first < 0x80)
        return first == '\t' || (first >= 0x20 && first != 0x7f);
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || size > left)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    bool is_overlong = (first == 0xe0 && text[1] < 0xa0) || (first == 0xf0 && text[1] < 0x90);
    bool is_surrogate = first == 0xed && text[1] > 0x9f, is_beyond = first == 0xf4 && text[1] > 0x8f;
    bool is_control = first == 0xc2 && text[1] < 0xa0;
    /* U+202A…E, U+2066…9: would show the line in another order than the compiler reads it. */
    bool is_direction = first == 0xe2 && ((text[1] == 0x80 && text[2] >= 0xaa && text[2] <= 0xae) ||
                                          (text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9));
    return is_overlong || is_surrogate || is_beyond || is_control || is_direction ? 0 : size;
}

/* Room for LONGEST_LINE + 4 bytes at `to`. Returns the bytes written, the final 0 included. */
static size_t line_shown(char *to, const char *line, size_t length)
{
    static const char replacement[] = "\xef\xbf\xbd", more[] = "…";
    const unsigned char *from = (const unsigned char *)line;
    size_t written = 0;
    while (length > 0 && (from[length - 1] == '\n' || from[length - 1] == '\r'))
        length--;
    for (size_t i = 0; i < length;) {
        size_t size = character_size(from + i, length - i);
        const void *shown = size ? (const void *)(from + i) : replacement;
        size_t shown_size = size ? size : sizeof replacement - 1;
        if (written + shown_size > LONGEST_LINE) {
            memcpy(to + written, more, sizeof more - 1);
            written += sizeof more - 1;
            break;
        }
        memcpy(to + written, shown, shown_size);
        written += shown_size;
        i += size ? size : 1;
    }
    to[written] = '\0';
    return written + 1;
}

struct reading {
    struct source_lines *lines;
    int last;
    char *text; /* room for the next line */
};

static void line_taken(struct reading *reading, int number, const char *line, size_t length)
{
    struct source_lines *lines = reading->lines;
    if (number < lines->first)
        return;
    lines->text[lines->count++] = reading->text;
    reading->text += line_shown(reading->text, line, length);
}

/* False: not text. What goes beyond one buffer of a line is not kept: it would not be shown. */
static bool lines_taken(struct reading *reading, FILE *file)
{
    char piece[4096];
    size_t total = 0, length;
    int number = 1;
    bool is_rest = false;
    while (number <= reading->last && total < MOST_BYTES && fgets(piece, sizeof piece, file)) {
        length = strlen(piece);
        total += length;
        bool is_end = length > 0 && piece[length - 1] == '\n';
        /* fgets does not say how much it read, but a 0 byte inside makes the text too short for its buffer. */
        if (!is_end && length + 1 < sizeof piece && !feof(file))
            return false;
        if (!is_rest)
            line_taken(reading, number, piece, length);
        is_rest = !is_end;
        number += is_end;
    }
    return true;
}

static struct source_lines *lines_made(enum source_state state, int first, int room)
{
    struct source_lines *lines =
        calloc(1, sizeof *lines + (size_t)room * (sizeof *lines->text + LONGEST_LINE + sizeof "…"));
    if (lines) {
        lines->state = state;
        lines->first = first;
    }
    return lines;
}

static bool is_newer(const struct stat *status, int64_t not_after)
{
    return not_after > 0 &&
           (status->st_mtim.tv_sec > not_after / NANOSECONDS ||
            (status->st_mtim.tv_sec == not_after / NANOSECONDS && status->st_mtim.tv_nsec > not_after % NANOSECONDS));
}

struct source_lines *source_lines_read(const char *sysroot, const char *path, int first, int last, int64_t not_after)
{
    char whole[PATH_MAX] = "";
    struct stat status;
    enum source_state state;
    first = first < 1 ? 1 : first;
    if (last > first + MOST_LINES - 1)
        last = first + MOST_LINES - 1;
    int room = last < first ? 0 : last - first + 1;
    if (path[0] == '/' && strlen(path) + (sysroot ? strlen(sysroot) : 0) < sizeof whole)
        sprintf(whole, "%s%s", sysroot ? sysroot : "", path);
    int fd = source_opened(whole, &state, &status);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (!file) {
        if (fd >= 0)
            close(fd);
        return lines_made(state, first, 0);
    }
    struct source_lines *lines = lines_made(is_newer(&status, not_after) ? SOURCE_CHANGED : SOURCE_FOUND, first, room);
    if (lines) {
        struct reading reading = {lines, last, (char *)(lines->text + room)};
        if (!lines_taken(&reading, file)) {
            lines->state = SOURCE_NOT_TEXT;
            lines->count = 0;
        }
    }
    fclose(file);
    return lines;
}

const char *source_line(const struct source_lines *lines, int number)
{
    return number >= lines->first && number - lines->first < lines->count ? lines->text[number - lines->first] : NULL;
}
