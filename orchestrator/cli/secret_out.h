/*
 * secret_out: where a new secret goes, which is told once: alone on the standard output, so that it
 * can be piped on, or with --out into a new file that its owner alone may read.
 *
 * Threading: one thread. I/O: the file; standard output.
 */
#pragma once

#include "orchestrator/cli/cli.h"

struct secret_out {
    struct cli *cli;
    const char *file; /* --out; NULL: standard output */
    int fd;
    bool written;
};

/* Before the secret is asked for: what cannot be written shall not be made. CLI_OK, or an exit
 * status after a message. */
int secret_out_open(struct secret_out *out, struct cli *cli);
/* Writes it, and a newline. */
int secret_out_put(struct secret_out *out, const char *secret);
/* Takes an empty file away again. */
void secret_out_done(struct secret_out *out);
#define AUTO_SECRET_OUT __attribute__((cleanup(secret_out_done)))
