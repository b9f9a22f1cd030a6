/*
 * process: runs a program for a handler: its own session and process group, combined standard
 * output and error streamed, standard input closed, and at the end or on a kill the whole tree
 * gone.
 *
 * The tree is found by the process group and by a mark in the environment (KITSUNE_RUN=<mark>), so
 * children that called setsid(2) or double-forked are found too, also after the agent was
 * restarted. When the program exits while others of its tree hold the output open, they are ended
 * after the grace time, so that a step always ends. That holds for every process it leaves behind,
 * also for one that closed its output: what wants a daemon asks the service manager, whose children
 * are not of the tree. The program itself stays unreaped until its tree is gone, so its group's
 * number cannot come to mean another's processes.
 *
 * Threading: the loop's thread. I/O: processes, pipes, /proc.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct process;

struct account;

/* How a program is set up beyond what process_config says. All is borrowed for the call. */
struct process_setup {
    int stdin_fd;               /* -1: its standard input is empty */
    int text_fd;                /* becomes its descriptor 3; -1: none */
    int procs_fd;               /* of the control group it is to be in (cgroup.h); -1: none */
    const struct account *user; /* NULL: the agent's */
    int umask;                  /* -1: the agent's */
    int64_t address_space_bytes, pids, cpu_seconds; /* setrlimit(2); 0: as the agent has them */
};
#define PROCESS_SETUP_INIT                                                                         \
    ((struct process_setup){.stdin_fd = -1, .text_fd = -1, .procs_fd = -1, .umask = -1})

struct process_config {
    uv_loop_t *loop;
    const char *program;               /* a path, or a name looked up in PATH */
    const char *const *args;           /* without the program itself; NULL-terminated */
    const char *const *env;            /* "NAME=value" put on top of the agent's; NULL-terminated */
    const char *mark;                  /* unique to this run; see above */
    const char *cwd;                   /* NULL: / */
    const struct process_setup *setup; /* NULL: none */
    int64_t kill_grace_ms;             /* between TERM and KILL */
    int64_t linger_ms; /* between the program's exit and TERM for what it left running;
                        * 0: kill_grace_ms */
    void *ctx;
    void (*output)(void *ctx, const char *data, size_t len);
    /* Once, last; exit_code is meaningful when signal is 0. The process is freed when it returns.
     */
    void (*exited)(void *ctx, int64_t exit_code, int signal);
};

/* ERR_NOT_FOUND (no such program), ERR_DENIED, ERR_UNAVAILABLE (fork failed: try again). */
enum error_code process_start(const struct process_config *config, struct process **ret_process,
                              struct error *err) MUST_CHECK;
/* TERM to the whole tree, KILL after the grace time; `exited` comes when all is gone. */
void process_kill(struct process *p);
int process_pid(const struct process *p);
/* Ends at once (KILL) every process that carries the mark, and the control group of its name: what
 * an earlier agent left behind. Returns how many it found by the mark. */
size_t process_kill_marked(const char *mark);
