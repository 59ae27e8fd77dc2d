/* SPDX-License-Identifier: Apache-2.0 */
#include "html_writer.h"

#include <stdbool.h>
#include <string.h>

#include "characters.h"

static void character_written(FILE *out, const char *text, size_t length)
{
    char escape[16];

    if (length == 1 && (*text == '\n' || *text == '\t'))
        putc(*text, out);
    else if (length == 0 || is_treacherous(character_at(text, length)))
        fputs(character_escaped(text, length, escape), out);
    else if (*text == '&')
        fputs("&amp;", out);
    else if (*text == '<')
        fputs("&lt;", out);
    else if (*text == '>')
        fputs("&gt;", out);
    else if (*text == '"')
        fputs("&quot;", out);
    else
        fwrite(text, 1, length, out);
}

static void escaped(FILE *out, const char *text)
{
    while (*text != '\0') {
        size_t length = utf8_length(text);
        character_written(out, text, length);
        text += length > 0 ? length : 1;
    }
}

static void tag_written(FILE *out, const char *element, const struct html_attribute *attributes)
{
    fprintf(out, "<%s", element);
    for (; attributes->name != NULL; attributes++) {
        if (attributes->value == NULL)
            continue;
        fprintf(out, " %s=\"", attributes->name);
        escaped(out, attributes->value);
        putc('"', out);
    }
    putc('>', out);
}

/* A line end after one of these would be seen, as a blank. */
static bool is_inline(const char *element)
{
    static const char *const names[] = {"span", "code", "strong", "a"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(element, names[i]) == 0)
            return true;
    return false;
}

void html_opened(struct html *html, const char *element, const struct html_attribute *attributes)
{
    tag_written(html->out, element, attributes);
    if (html->depth < HTML_DEPTH)
        html->open[html->depth] = element;
    html->depth++;
}

void html_close(struct html *html)
{
    html->depth--;
    fprintf(html->out, "</%s>", html->open[html->depth]);
    if (!is_inline(html->open[html->depth]))
        putc('\n', html->out);
}

void html_text(struct html *html, const char *text)
{
    escaped(html->out, text);
}

void html_void_written(struct html *html, const char *element, const struct html_attribute *attributes)
{
    tag_written(html->out, element, attributes);
}

void html_begun(struct html *html, FILE *out)
{
    *html = (struct html){.out = out};
    fputs("<!doctype html>\n", out);
    html_open(html, "html", {"lang", "en"});
}

void html_style(struct html *html, const char *style_sheet)
{
    fprintf(html->out, "<style>%s</style>\n", style_sheet);
}
