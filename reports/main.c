/* SPDX-License-Identifier: Apache-2.0 */
/* The command: finds out which of its parts is meant. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unclosed/unclosed.h>

#include "bare.h"
#include "report.h"

const char *argp_program_version = "unclosed " UNCLOSED_VERSION;

static const struct command {
    const char *name, *full_name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "unclosed run", command_run},
    {"report", "unclosed report", command_report},
    {"explain", "unclosed explain", command_explain},
    {"bare", "unclosed bare", command_bare}, /* run by the shim when nobody runs `run`; see libunclosed(7) */
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static const char about[] =
    "Finds database connections, transactions and statements that a program opened and never closed.\v"
    "Commands:\n"
    "  run [--] COMMAND [ARG…]   run it, watch it, and report\n"
    "  report TRACE|DIR|DB…      make reports from what was recorded\n"
    "  explain [RULE]            what a finding means, and how to fix it\n\n"
    "`unclosed COMMAND --help` tells more.";

struct choice {
    int status;
};

static error_t command_parsed(int key, char *argument, struct argp_state *state)
{
    struct choice *choice = state->input;

    if (key == ARGP_KEY_NO_ARGS)
        argp_error(state, "name a command: run, report or explain");
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    for (const struct command *command = commands; command < commands + COMMAND_COUNT; command++) {
        if (strcmp(argument, command->name) == 0) {
            char **arguments = state->argv + state->next - 1;
            int count = state->argc - state->next + 1;
            arguments[0] = (char *)command->full_name;
            state->next = state->argc;
            choice->status = command->run(count, arguments);
            return 0;
        }
    }
    argp_error(state, "there is no command '%s'; to watch a program: unclosed run -- %s", argument, argument);
    return 0;
}

int main(int argc, char **argv)
{
    const struct argp argp = {.parser = command_parsed, .args_doc = "run|report|explain …", .doc = about};
    struct choice choice = {STATUS_USAGE};
    char name[] = "unclosed";

    argp_err_exit_status = STATUS_USAGE;
    if (argc > 0)
        argv[0] = name;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &choice);
    if (fflush(stdout) != 0 && choice.status == 0) {
        perror("unclosed: error: cannot write to stdout");
        return STATUS_NO_REPORT;
    }
    return choice.status;
}
