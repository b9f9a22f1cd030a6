/*
 * download: one long answer of the orchestrator, handed on piece by piece as it comes.
 *
 * Threading: one thread at a time. I/O: sockets; blocks.
 */
#pragma once

#include "orchestrator/cli/client.h"

enum {
    DOWNLOAD_SILENCE_SECONDS = 1800, /* without a byte: the orchestrator may be at work first */
    DOWNLOAD_MAX_REFUSAL = 64 * 1024 /* bytes of an answer that is none */
};

/* GETs `path`. Pieces of a 200 go to `take`, which ends the transfer by returning false; the body
 * of any other answer goes to *ret_answer, with the status. ERR_CANCELLED: `take` has ended it;
 * else as client_call. An answer that was cut off is an error. */
enum error_code client_download(struct client *client, const char *path,
                                bool (*take)(void *ctx, const char *data, size_t len), void *ctx,
                                struct answer *ret_answer, struct error *err) MUST_CHECK;
