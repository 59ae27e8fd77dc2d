/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "rules.h"
#include "words.h"

enum { LINE_WIDTH = 92 };

struct explain_command {
    struct report_options options;
    struct string_list rules;
};

static error_t argument_parsed(int key, char *argument, struct argp_state *state)
{
    struct explain_command *command = state->input;

    switch (key) {
    case 'r':
    case ARGP_KEY_ARG: {
        struct string_list *list = key == 'r' ? &command->options.rule_directories : &command->rules;
        const char **larger = reallocarray(list->items, list->count + 1, sizeof *larger);
        if (larger == NULL)
            argp_failure(state, STATUS_NO_REPORT, ENOMEM, "arguments");
        list->items = larger;
        list->items[list->count++] = argument;
        return 0;
    }
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Paragraphs are set apart by empty lines; the first line of each goes behind `label`. */
static void prose_said(const char *label, const char *text, const char *kind)
{
    char *filled = filled_in(text, "handle", kind);
    size_t column = (size_t)printf("%s", label), indent = column;

    for (const char *at = filled != NULL ? filled : text; *at != '\0';) {
        size_t length = strcspn(at, " \n"), columns = 0;
        for (size_t i = 0; i < length; i++)
            columns += ((unsigned char)at[i] & 0xc0) != 0x80;
        if (column > indent && column + 1 + columns > LINE_WIDTH) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        }
        column += (size_t)printf("%s%.*s", column > indent ? " " : "", (int)length, at) - (length - columns);
        at += length;
        size_t lines = 0;
        for (; *at == ' ' || *at == '\n'; at++)
            lines += *at == '\n';
        if (lines > 0 && *at != '\0') {
            printf("\n\n%*s", (int)indent, "");
            column = indent;
        }
    }
    printf("\n");
    free(filled);
}

static void snippet_said(const char *label, const char *snippet)
{
    if (snippet == NULL)
        return;
    printf("\n  %s\n", label);
    for (const char *at = snippet; *at != '\0';) {
        size_t length = strcspn(at, "\n");
        printf("%s%.*s\n", length > 0 ? "      " : "", (int)length, at);
        at += length + (at[length] == '\n');
    }
}

static void rule_explained(const struct rule *rule)
{
    char *title = filled_in(rule->title, "handle", "");

    printf("%s (%s)\n%s\n\n", rule->id, severity_name(rule->severity), title != NULL ? title : rule->title);
    prose_said("  said as    ", rule->phrase, "");
    prose_said("  what       ", rule->explain, "");
    printf("\n");
    prose_said("  fix        ", rule->fix, "");
    snippet_said("wrong", rule->wrong);
    snippet_said("right", rule->right);
    if (rule->misleads != NULL) {
        printf("\n");
        prose_said("  misleads   ", rule->misleads, "");
    }
    free(title);
}

static void rules_listed(const struct rule_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        char *title = filled_in(set->rules[i].title, "handle", "");
        printf("%-8s %-24s %s\n", severity_name(set->rules[i].severity), set->rules[i].id,
               title != NULL ? title : set->rules[i].title);
        free(title);
    }
    printf("\nunclosed explain RULE tells what it means and how to fix it.\n");
}

static int explained(const struct explain_command *command)
{
    struct rule_set set;
    int status = rules_read(&set, &command->options) ? 0 : STATUS_USAGE;

    if (status == 0 && command->rules.count == 0)
        rules_listed(&set);
    for (size_t i = 0; status == 0 && i < command->rules.count; i++) {
        const struct rule *rule = rule_named(&set, command->rules.items[i]);
        if (rule == NULL) {
            fprintf(stderr, "unclosed: error: there is no rule '%s'; `unclosed explain` lists them\n",
                    command->rules.items[i]);
            status = STATUS_USAGE;
        } else {
            printf("%s", i > 0 ? "\n" : "");
            rule_explained(rule);
        }
    }
    rules_freed(&set);
    return status;
}

int command_explain(int argc, char **argv)
{
    static const struct argp_option options[] = {{"rules", 'r', "DIR", 0, "Add the rules (*.sql) in DIR", 0}, {0}};
    const struct argp argp = {.options = options,
                              .parser = argument_parsed,
                              .args_doc = "[RULE…]",
                              .doc = "What a finding means, why it matters, how to fix it, and when it can mislead."};
    struct explain_command command = {0};
    int status = STATUS_USAGE;

    options_defaulted(&command.options);
    if (argp_parse(&argp, argc, argv, 0, NULL, &command) == 0)
        status = explained(&command);
    free(command.rules.items);
    options_freed(&command.options);
    return status;
}
