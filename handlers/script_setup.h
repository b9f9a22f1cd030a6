/*
 * script_setup: what a script's programs need before they can be started: the user they run as, the
 * control group they are in, their standard input, and the text that is to be run. Texts and
 * standard input are in memory, sealed, with a descriptor as their only name: nothing is left of
 * them, whatever happens.
 *
 * Threading: script_setup_make and _end block, so they are for the thread pool; the rest is for the
 * loop's thread, while neither runs. I/O: users, control groups, memory files.
 */
#pragma once

#include "handlers/account.h"
#include "handlers/cgroup.h"
#include "handlers/handler.h"
#include "handlers/process.h"
#include "handlers/program.h"

enum { LIMITS_TEXT_MAX = 256 };

struct script_setup {
    struct account user;
    struct cgroup group;
    int stdin_fd, text_fd; /* -1: none */
    struct process_setup process;
    bool has_interpreter;              /* of the program that is started next */
    char limits_text[LIMITS_TEXT_MAX]; /* a line about the limits and what holds them; "": none */
    bool out_of_memory, group_left;    /* after script_setup_end */
};

void script_setup_init(struct script_setup *setup);
void script_setup_done(struct script_setup *setup);
/* Whether there is anything to be made. */
bool script_setup_is_needed(const struct script_params *params);
/* ERR_NOT_FOUND: no such user; ERR_DENIED: the agent may not run as that one. */
enum error_code script_setup_make(const struct handler_run *run, struct script_setup *setup,
                                  struct error *err) MUST_CHECK;

/* A program, or a text. */
struct script_source {
    const char *program, *text;
};
/* Fills in the program's path and setup; of a text it makes the file. */
enum error_code script_setup_program(struct script_setup *setup, const struct script_params *params,
                                     const struct script_source *source, struct program *program,
                                     struct error *err) MUST_CHECK;
/* The args with the text's path before them, for an interpreter. Caller frees *ret_items; the texts
 * are borrowed from `args`. */
enum error_code script_setup_args(const struct array *args, void **ret_items,
                                  struct array *ret_args, struct error *err) MUST_CHECK;

bool script_setup_has_group(const struct script_setup *setup);
/* Ends the control group. */
void script_setup_end(struct script_setup *setup);
