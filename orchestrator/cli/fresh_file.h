/*
 * fresh_file: a file that is written as a whole, or not at all: under another name beside it, which
 * becomes its own when all of it is there and on the disk. It is readable by its owner alone.
 *
 * Threading: one thread. I/O: the file.
 */
#pragma once

#include "orchestrator/cli/cli.h"

#include <stdbool.h>
#include <stddef.h>

struct fresh_file {
    struct cli *cli; /* --force: in place of a file that is there */
    const char *file;
    char *fresh; /* the temporary one beside it */
    int fd;
    int errnum; /* why a write failed */
};

/* Begins; cli and file are set by the caller. CLI_OK, or an exit status after a message. */
int fresh_file_begin(struct fresh_file *f);
/* False: it cannot be written, see fresh_file_fail. */
bool fresh_file_write(struct fresh_file *f, const char *data, size_t len);
/* Says why, and gives the exit status. */
int fresh_file_fail(const struct fresh_file *f, int errnum);
/* Gives it its name. CLI_OK, or an exit status after a message. */
int fresh_file_keep(struct fresh_file *f);
/* Removes what has not got its name. */
void fresh_file_done(struct fresh_file *f);
#define AUTO_FRESH_FILE __attribute__((cleanup(fresh_file_done)))
