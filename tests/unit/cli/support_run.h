/* support_run: runs a command line of kitsune in this process. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct run {
    const char *url; /* --orchestrator; NULL: not given */
    const char *in;  /* standard input; NULL: empty */
    /* "NAME=VALUE", ended by NULL; NULL: none beyond TERM. */
    const char *const *env;
    const char *system_config, *local_socket; /* as in struct cli_io */
    bool terminal;                            /* standard output is one, 80 columns wide */
    long long give_up_ms;                     /* 0: as the program has it */
    int status;
    char *out, *err; /* freed by run_done */
};

/* The words of the command line after "kitsune", separated by single spaces. */
void run_cli(struct run *run, const char *words);
void run_done(struct run *run);
/* Fails the test unless the part is in the text (NULL: nothing is), or the text is JSON. */
void contains(const char *text, const char *part);
void expect_json(const char *text);
