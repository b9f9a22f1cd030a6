/*
 * reboot_marks: what is on record of a reboot that the machine needs: the agent's own file, which
 * counts for the boot that it was written in alone, and /run/reboot-required, by which Debian's
 * packages and others say the same.
 *
 * Threading: one thread at a time. I/O: these files, a few hundred bytes.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stdbool.h>

enum { REBOOT_MARKS_MAX_BYTES = 16 * 1024, REBOOT_NAME_MAX = 200 };

struct reboot_marks {
    const char *root;     /* goes before /run: "" for this machine */
    const char *data_dir; /* the agent's */
    const char *boot_id;  /* "": not known, then nothing is kept */
};

/* Keeps it, durably; what is there already is not kept twice. ERR_IO and others: it is not kept. */
enum error_code reboot_marks_add(const struct reboot_marks *marks, const char *what,
                                 struct error *err) MUST_CHECK;
/* Whether a reboot is needed; appends a line for each reason that is known. */
bool reboot_marks_get(const struct reboot_marks *marks, struct buf *lines);
