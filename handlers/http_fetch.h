/*
 * http_fetch: one request of an HTTP health gate, and whether its answer is a healthy one.
 *
 * Threading: http_fetch_run blocks, on a thread of its own; http_fetch_stop from any thread; the
 * rest from the one that made it, while it does not run. I/O: the network, through libcurl.
 */
#pragma once

#include "common/base/error.h"
#include "handlers/catalog.h"

#include <stdbool.h>

struct http_fetch;

enum { HTTP_BODY_MAX = 1024 * 1024, HTTP_HEADERS_MAX = 256 * 1024, HTTP_OUTCOME_MAX = 320 };

struct http_outcome {
    bool healthy;
    bool broken; /* the request cannot be made at all: no further one will do better */
    char text[HTTP_OUTCOME_MAX]; /* one line, or nearly so */
};

/* `params` is borrowed until http_fetch_free. ERR_NO_MEMORY. */
enum error_code http_fetch_new(const struct http_check_params *params,
                               struct http_fetch **ret_fetch, struct error *err) MUST_CHECK;
void http_fetch_free(struct http_fetch *f); /* NULL is fine */
/* Once. */
void http_fetch_run(struct http_fetch *f, struct http_outcome *ret_outcome);
/* Makes the run end at once, also one that has not begun; what its outcome says is of no meaning
 * then. */
void http_fetch_stop(struct http_fetch *f);
