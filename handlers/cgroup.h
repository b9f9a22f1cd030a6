/*
 * cgroup: a control group (version 2) for the programs of one step, where the agent may make one:
 * below its own group, or, as root, below one at the top. It bounds what they use together, and
 * nothing in it outlives the step, however it detached itself.
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: the control groups' file
 * system.
 */
#pragma once

#include "common/base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum { CGROUP_NAME_MAX = 64 };

struct cgroup_limits {
    int64_t memory_bytes, pids; /* 0: none */
};

struct cgroup {
    char path[PATH_MAX];
    int procs_fd;              /* who writes "0" to it is in; -1: there is no group */
    bool has_memory, has_pids; /* the limit holds */
};
#define CGROUP_INIT ((struct cgroup){.procs_fd = -1})

/* The name of the group of the programs that carry a mark (process.h). */
void cgroup_name(const char *mark, char ret_name[CGROUP_NAME_MAX]);
/* Makes a group of that name, and sets the limits as far as there are controllers for them. One
 * that an earlier run left is ended first. ERR_UNSUPPORTED: the agent can make none here. */
enum error_code cgroup_make(const char *name, const struct cgroup_limits *limits,
                            struct cgroup *ret_group, struct error *err) MUST_CHECK;
/* Whether something in it was killed because its memory was used up. */
bool cgroup_was_out_of_memory(const struct cgroup *group);
/* Kills all that is in it, and removes it. False: it could not be. */
bool cgroup_end(struct cgroup *group);
/* The same of one that an earlier agent made; nothing when there is none. */
void cgroup_end_named(const char *name);

/* ---- Its parts, for tests ---------------------------------------------------------------- */

/* What the kernel says of this process: where version 2 is mounted, and the group below it. Both
 * are the texts of /proc/self/mountinfo and /proc/self/cgroup. False: there is none. */
bool cgroup_locate(const char *mountinfo, const char *groups, char ret_mount[PATH_MAX],
                   char ret_own[PATH_MAX]);
/* Writes the limits into the files of a group's folder, and notes which hold. */
void cgroup_limits_write(struct cgroup *group, const struct cgroup_limits *limits);
