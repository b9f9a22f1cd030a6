/*
 * spawn_forked: starts a program that is to run as another user, within limits, or with descriptors
 * of its own, which posix_spawn(3) cannot: fork(2), then what process_setup says, then exec.
 *
 * Threading: any thread; what the child does before exec is safe in a copy of a process with
 * threads. I/O: starts a program.
 */
#pragma once

#include "handlers/process.h"

#include <sys/types.h>

/* As posix_spawnp(3): 0, or an errno. `out_fd` becomes both its output and its error stream. */
int spawn_forked(const struct process_config *config, int out_fd, char **args, char **env,
                 pid_t *ret_pid);
