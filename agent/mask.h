/*
 * mask: replaces secrets in a stream of bytes by "***", however the stream is cut into pieces.
 *
 * What could still become a secret is held back until it cannot any more, at most the longest
 * secret's length; where secrets overlap, one "***" stands for all of them. The search looks at
 * each byte about once, whatever the secrets are (Aho and Corasick); where no secret begins it only
 * looks at pairs of bytes.
 *
 * Each line of a secret of several lines is masked by itself too. Other forms of a secret (Base64,
 * quoted for a shell, in pieces with something between them) are not found.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    MASK_SECRET_MIN = 4, /* bytes; less would be found everywhere */
    MASK_LINE_MIN = 8    /* of a line of a secret of several lines */
};
#define MASK_SHOWN "***"

struct mask;

/* Where the masked stream goes; `data` is borrowed for the call. */
struct mask_sink {
    void (*put)(void *ctx, const char *data, size_t len);
    void *ctx;
};

/* `secrets`: NUL-terminated, each of at least MASK_SECRET_MIN bytes; borrowed for the call.
 * ERR_NO_MEMORY. Caller owns. */
enum error_code mask_new(const char *const *secrets, size_t count, struct mask **ret_mask,
                         struct error *err) MUST_CHECK;
void mask_free(struct mask *m); /* wipes what it knew; NULL is fine */
void mask_write(struct mask *m, const char *data, size_t len, const struct mask_sink *sink);
/* The stream is over: what was held back goes on. The next one may begin. */
void mask_end(struct mask *m, const struct mask_sink *sink);
/* Appends a text by itself, masked, between streams. `cut`: it may have been cut off at its end, so
 * that what could be a secret's beginning there is masked too. */
void mask_text(struct mask *m, const char *text, bool cut, struct buf *out);
