/*
 * reboot_need: why this machine needs a reboot to run what is installed: the seam between handlers,
 * which find that out or ask for it, and the agent's host, which keeps it until the next boot.
 *
 * Threading: the loop's thread. I/O: whoever stands behind it.
 */
#pragma once

#include "common/base/buf.h"

#include <stdbool.h>

struct reboot_need {
    void *ctx;
    /* `what` (a package's name) runs on with its old code until then. */
    void (*add)(void *ctx, const char *what);
    /* Whether it is needed; appends what is known of why, "kernel-core, glibc", perhaps nothing. */
    bool (*get)(void *ctx, struct buf *why);
};
