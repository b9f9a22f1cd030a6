/*
 * spawn: starts the program of a process (process.h): a session of its own, signals as they are by
 * default, standard input empty, both outputs into one pipe, no other descriptor of the agent's.
 *
 * Threading: any thread. I/O: starts a program.
 */
#pragma once

#include "common/base/error.h"
#include "handlers/process.h"

#include <sys/types.h>

/* `mark_variable` is "KITSUNE_RUN=<mark>". The caller reaps *ret_pid and owns *ret_output_fd, the
 * pipe's reading end. Errors as of process_start(). */
enum error_code spawn_program(const struct process_config *config, const char *mark_variable,
                              pid_t *ret_pid, int *ret_output_fd, struct error *err) MUST_CHECK;
