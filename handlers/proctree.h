/*
 * proctree: finds the living processes of a program that was started with a mark in its
 * environment, and signals them.
 *
 * A process is of the tree when its environment carries KITSUNE_RUN=<mark>, when it is in the
 * program's session or process group, or when its parent is of the tree. Zombies do not count. A
 * process is signalled through a pidfd, so that a number that was used again hits nobody else.
 *
 * Threading: no shared state; made for the thread pool, since a scan reads all of /proc. I/O:
 * /proc.
 */
#pragma once

#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCTREE_MARK_VARIABLE "KITSUNE_RUN="

enum { PROCTREE_WATCH_MAX = 1024 };

struct proctree_query {
    const char *mark;
    pid_t leader;          /* the program, alive or not yet reaped; 0: look for the mark alone */
    uint64_t leader_start; /* its start time; processes older than it are passed over */
    int signal; /* sent to each that is not in the leader's process group; 0: none. The group is for
                 * kill(2), which reaches all of it at once */
};

/* What a scan found; zero-initialise. */
struct proctree {
    size_t unknown; /* processes to be looked at again: one that is just starting another program
                     * has no environment for a moment, and one of the tree that ended during the
                     * scan may have started another that the scan had passed */
    uint64_t unknown_sum; /* of their numbers: another one shows that they are others */
    size_t alive;         /* processes of the tree, the leader not counted */
    int *pidfds; /* of those that could be had, at most PROCTREE_WATCH_MAX; each readable when its
                  * process ends */
    size_t watched;
};

/* The time a process started, in clock ticks since boot. ERR_NOT_FOUND when there is none. */
enum error_code proctree_start_time(pid_t pid, uint64_t *ret_start, struct error *err) MUST_CHECK;
enum error_code proctree_scan(const struct proctree_query *query, struct proctree *ret_tree,
                              struct error *err) MUST_CHECK;
/* Closes the pidfds. */
void proctree_done(struct proctree *tree);
