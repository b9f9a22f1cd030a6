/*
 * program: a process (process.h) started for a step, with what every program of a step finds in
 * its environment, and with the step's mark.
 *
 * Threading: the loop's thread. I/O: starts a program.
 */
#pragma once

#include "handlers/handler.h"
#include "handlers/process.h"

/* Borrowed for the call, but for `ctx`. */
struct program {
    const char *path;                  /* or a name looked up in PATH */
    const struct array *args;          /* char * */
    const struct array *env;           /* char *: "NAME=value" on top of all others; NULL: none */
    const char *cwd;                   /* NULL: / */
    const char *output_path;           /* KITSUNE_OUTPUT, see outputs.h; NULL: none */
    const struct process_setup *setup; /* NULL: none; its user's HOME and so on are in the
                                        * environment */
    bool is_check; /* it only looks, in whatever operation: KITSUNE_PHASE is check */
    void *ctx;
    void (*output)(void *ctx, const char *data, size_t len);
    void (*exited)(void *ctx, int64_t exit_code, int signal); /* see process_config */
};

/* Errors as of process_start(). */
enum error_code program_start(const struct handler_run *run, const struct program *program,
                              struct process **ret_process, struct error *err) MUST_CHECK;
/* Says in a few words how it ended: "exit status 3", "killed by signal 9 (KILL)". */
enum { PROGRAM_END_MAX = 64 };
void program_end_text(int64_t exit_code, int signal, char ret_text[PROGRAM_END_MAX]);
