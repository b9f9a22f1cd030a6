/*
 * prompt: asks for a secret: without an echo where a person types it, or else the first line of
 * what is piped in.
 *
 * Threading: one thread. I/O: the streams; blocks.
 */
#pragma once

#include "common/base/error.h"
#include "common/pki/pki_file.h"

#include <stdio.h>

enum { PROMPT_MAX = 1024 /* bytes of a line */ };

/* `question` goes to `err_out` when `in` is a terminal. ERR_CANCELLED: Ctrl-C; ERR_NOT_FOUND:
 * nothing came; ERR_LIMIT. Caller owns. */
enum error_code prompt_secret(FILE *in, FILE *err_out, const char *question,
                              struct pki_secret *ret_secret, struct error *err) MUST_CHECK;
