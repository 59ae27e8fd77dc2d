/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack, innermost frame first. Of a Python program, what a reader looks for are a few lines of his own between dozens of
 * a framework's: those are folded, and the interpreter's are not shown.
 *
 *     list_orders  app/orders.py:42
 *                  session = Session(engine)
 *     > 14 library frames (fastapi, starlette, Python)
 *     > 31 interpreter frames are not shown: the whole stack
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unclosed/secrets.h>

#include "../map.h"
#include "../row.h"
#include "../source.h"
#include "html_page.h"
#include "render.h"

enum { FOLDED_MIN = 4, PACKAGES_MAX = 3, PACKAGE_SIZE = 48 };

struct shown_frame {
    char *function, *file, *module;
    int64_t line;
    bool is_user, is_system, is_python, is_hidden;
};

struct shown_stack {
    struct shown_frame *frames;
    size_t count, hidden;
    bool has_python;
};

static char *copied(const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        memory_exhausted();
    return copy;
}

static struct shown_stack stack_fetched(struct page *page, int64_t id)
{
    struct shown_stack stack = {0};

    begun_with(page->frames, integer(id));
    while (row_fetched(page->frames, &page->failed)) {
        const char *owner = text_of(page->frames, FRAME_OWNER);
        ROOM_FOR_ONE(stack.frames, stack.count);
        stack.frames[stack.count] = (struct shown_frame){
            .function = copied(text_of(page->frames, FRAME_FUNCTION)),
            .file = copied(text_of(page->frames, FRAME_FILE)),
            .module = copied(text_of(page->frames, FRAME_MODULE)),
            .line = integer_of(page->frames, FRAME_LINE),
            .is_user = strcmp(owner, "user") == 0,
            .is_system = strcmp(owner, "system") == 0,
            .is_python = strcmp(text_of(page->frames, FRAME_LANGUAGE), "python") == 0,
            .is_hidden = integer_of(page->frames, FRAME_HIDDEN) != 0,
        };
        stack.hidden += stack.frames[stack.count].is_hidden;
        stack.has_python |= stack.frames[stack.count].is_python;
        stack.count++;
    }
    return stack;
}

static void stack_freed(struct shown_stack *stack)
{
    for (size_t i = 0; i < stack->count; i++) {
        free(stack->frames[i].function);
        free(stack->frames[i].file);
        free(stack->frames[i].module);
    }
    free(stack->frames);
}

/* --- frames ------------------------------------------------------------------------------------------------------------ */

static void source_line_written(struct page *page, const struct shown_frame *frame)
{
    char shown[2048];
    struct source_lines *lines;

    if (page->options->no_source || frame->line <= 0 || frame->line > 100000000)
        return;
    lines =
        source_lines_read(page->options->sysroot, frame->file, (int)frame->line, (int)frame->line, page->run_started);
    if (lines != NULL && lines->count == 1 && lines->state == SOURCE_FOUND) {
        const char *line = lines->text[0] + strspn(lines->text[0], " \t");
        secrets_hidden(line, true, shown, sizeof shown);
        html_element(&page->html, "code", shown, {"class", "line"});
    }
    free(lines);
}

static void frame_written(struct page *page, const struct shown_frame *frame)
{
    struct html *html = &page->html;
    char line[32];

    html_open(html, "li", {"class", frame->is_user ? "user" : NULL});
    html_element(html, "span", frame->function, {"class", "function"});
    if (*frame->file != '\0') {
        html_text(html, "  ");
        html_open(html, "span", {"class", "path"});
        html_text(html, path_shown(&page->directories, frame->file));
        if (frame->line > 0) {
            snprintf(line, sizeof line, ":%" PRId64, frame->line);
            html_text(html, line);
        }
        html_close(html);
    } else if (*frame->module != '\0') {
        html_text(html, "  in ");
        html_element(html, "span", frame->module, {"class", "path"});
    }
    if (frame->is_user && frame->is_python)
        source_line_written(page, frame);
    html_close(html);
}

/* --- what is folded ----------------------------------------------------------------------------------------------------- */

/* "…/site-packages/starlette/routing.py" → "starlette"; "Python" for its own library; false: nothing to name it by. */
static bool package_named(const struct shown_frame *frame, char package[PACKAGE_SIZE])
{
    static const char *const directories[] = {"/site-packages/", "/dist-packages/"};

    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
        const char *found = strstr(frame->file, directories[i]);
        if (found != NULL) {
            found += strlen(directories[i]);
            snprintf(package, PACKAGE_SIZE, "%.*s", (int)strcspn(found, "/."), found);
            return *package != '\0';
        }
    }
    snprintf(package, PACKAGE_SIZE, "Python");
    return frame->is_system && frame->is_python;
}

/* " (fastapi, starlette, Python)" for frames first…end-1. */
static void packages_listed(const struct shown_stack *stack, size_t first, size_t end, FILE *out)
{
    char packages[PACKAGES_MAX][PACKAGE_SIZE], package[PACKAGE_SIZE];
    size_t count = 0;

    for (size_t i = first; i < end && count < PACKAGES_MAX; i++) {
        bool is_known = !package_named(&stack->frames[i], package);
        for (size_t j = 0; j < count; j++)
            is_known |= strcmp(packages[j], package) == 0;
        if (is_known)
            continue;
        strcpy(packages[count], package);
        fprintf(out, "%s%s", count > 0 ? ", " : " (", package);
        count++;
    }
    fputs(count > 0 ? ")" : "", out);
}

static void fold_begun(struct page *page, const struct shown_stack *stack, size_t first, size_t end, size_t count)
{
    char *summary = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&summary, &size);

    if (out == NULL)
        memory_exhausted();
    fprintf(out, "%zu library frames", count);
    packages_listed(stack, first, end, out);
    if (fclose(out) != 0)
        memory_exhausted();
    html_open(&page->html, "li");
    html_open(&page->html, "details");
    html_element(&page->html, "summary", summary);
    html_open(&page->html, "ol", {"class", "stack"});
    free(summary);
}

/* From `first` on: where the frames end that are not the user's; *count: how many of them are shown. */
static size_t library_end(const struct shown_stack *stack, size_t first, size_t *count)
{
    size_t end = first;

    for (*count = 0; end < stack->count && (stack->frames[end].is_hidden || !stack->frames[end].is_user); end++)
        *count += !stack->frames[end].is_hidden;
    return end;
}

static void frames_written(struct page *page, const struct shown_stack *stack)
{
    size_t folded_until = 0, count;

    for (size_t i = 0; i < stack->count; i++) {
        if (folded_until > 0 && i == folded_until) {
            for (int element = 0; element < 3; element++) /* ol, details, li */
                html_close(&page->html);
            folded_until = 0;
        }
        if (stack->frames[i].is_hidden)
            continue;
        if (stack->has_python && folded_until == 0 && !stack->frames[i].is_user) {
            size_t end = library_end(stack, i, &count);
            if (count >= FOLDED_MIN) {
                fold_begun(page, stack, i, end, count);
                folded_until = end;
            }
        }
        frame_written(page, &stack->frames[i]);
    }
    for (int element = 0; element < 3 && folded_until > 0; element++)
        html_close(&page->html);
}

static void whole_written(struct page *page, const struct shown_stack *stack)
{
    char summary[120];

    snprintf(summary, sizeof summary, "%zu interpreter frame%s not shown: the whole stack", stack->hidden,
             stack->hidden == 1 ? " is" : "s are");
    html_open(&page->html, "details", {"class", "quiet"});
    html_element(&page->html, "summary", summary);
    html_open(&page->html, "ol", {"class", "stack"});
    for (size_t i = 0; i < stack->count; i++)
        frame_written(page, &(struct shown_frame){.function = stack->frames[i].function,
                                                  .file = stack->frames[i].file,
                                                  .module = stack->frames[i].module,
                                                  .line = stack->frames[i].line});
    html_close(&page->html);
    html_close(&page->html);
}

void stack_written(struct page *page, const char *title, int64_t id)
{
    struct shown_stack stack;

    if (id == 0 || page->frames == NULL)
        return;
    stack = stack_fetched(page, id);
    if (stack.count > 0) {
        html_element(&page->html, "h4", title);
        html_open(&page->html, "ol", {"class", "stack"});
        frames_written(page, &stack);
        html_close(&page->html);
    }
    if (stack.hidden > 0)
        whole_written(page, &stack);
    stack_freed(&stack);
}
