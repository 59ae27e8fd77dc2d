/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTML, escaped by construction: names of elements and attributes are constants of ours, everything else goes through
 * html_text() or an attribute's value, and there is no way around that. Text is shown as it is, except that controls and
 * characters that turn the direction of a line are shown as \xNN or \uNNNN; line ends and tabs stay.
 *
 *     html_open(&html, "p", {"class", "evidence"});  →  <p class="evidence">
 *     html_text(&html, "a < b");                          a &lt; b
 *     html_close(&html);                                  </p>
 */
#ifndef UNCLOSED_REPORTS_HTML_WRITER_H
#define UNCLOSED_REPORTS_HTML_WRITER_H

#include <stdio.h>

enum { HTML_DEPTH = 32 };

struct html {
    FILE *out;
    unsigned depth;
    const char *open[HTML_DEPTH];
};

struct html_attribute {
    const char *name, *value;
}; /* value NULL: the attribute is left out */

void html_opened(struct html *html, const char *element, const struct html_attribute *attributes);
#define html_open(html, element, ...) \
    html_opened(html, element, (const struct html_attribute[]){__VA_ARGS__ __VA_OPT__(, ){NULL, NULL}})

void html_close(struct html *html);
void html_text(struct html *html, const char *text);

/* An element with nothing but text in it; a void element (meta, br). */
#define html_element(html, element, text, ...) \
    (html_open(html, element __VA_OPT__(, ) __VA_ARGS__), html_text(html, text), html_close(html))
void html_void_written(struct html *html, const char *element, const struct html_attribute *attributes);
#define html_void(html, element, ...) \
    html_void_written(html, element, (const struct html_attribute[]){__VA_ARGS__ __VA_OPT__(, ){NULL, NULL}})

/* The document type and the first element. */
void html_begun(struct html *html, FILE *out);

/* A <style> with a text of ours (a file of reports/page/), which must not contain "</". */
void html_style(struct html *html, const char *style_sheet);

#endif
