/*
 * client: requests to the orchestrator's HTTP API, over libcurl: TLS 1.3, or without it on this
 * machine.
 *
 * It goes straight to the orchestrator (no proxy), follows no redirects, and bounds the size of an
 * answer and the time without a byte. A token goes to the orchestrator alone, once its certificate
 * was found good. Threading: one thread at a time. I/O: sockets; blocks.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CLIENT_CONNECT_MS = 10000,
    CLIENT_SILENCE_SECONDS = 30,           /* without a byte of an answer */
    CLIENT_REPEAT_MS = 15000,              /* how long a repeatable request is tried again */
    CLIENT_MAX_ANSWER = 256 * 1024 * 1024, /* bytes */
    API_REFUSED = 300,                     /* statuses from here on are refusals */
    API_UNAUTHORIZED = 401,
    API_TOO_MANY = 429 /* requests of this client, for now */
};

struct client;

/* Texts are copied. */
struct client_config {
    const char *url;   /* https:// or http://, with an optional path before the API's; or
                          unix:///PATH,   a socket */
    const char *ca;    /* certificates in PEM, who alone may vouch for an https:// one; NULL: those
                          that this machine trusts */
    const char *token; /* NULL: none */
    bool anybody;      /* any certificate will do: for finding out which one there is. No token */
};
/* ERR_INVALID: the URL, or a token over http:// to another machine. Caller owns. */
enum error_code client_new(const struct client_config *config, struct client **ret_client,
                           struct error *err) MUST_CHECK;
void client_free(struct client *client); /* NULL is fine */
DEFINE_CLEANUP(client_free, struct client)
const char *client_url(const struct client *client);

struct request {
    const char *method; /* "GET", "POST", "PUT", "DELETE" */
    const char *path;   /* "/v1/rollouts?limit=10", escaped already */
    const char *body;   /* NULL: none */
    size_t len;
    const char *type;  /* of the body, "Content-Type: ..."; NULL: JSON */
    int64_t silence_s; /* how long no byte may come; 0: CLIENT_SILENCE_SECONDS */
    /* Doing it twice is doing it once: tried again when an answer was lost on the way. */
    bool repeatable;
};

struct answer {
    long status;
    struct buf body;
    int64_t attempt;       /* of X-Kitsune-Attempt; 0: not said */
    int64_t retry_after_s; /* of Retry-After; 0: not said */
};
void answer_done(struct answer *answer); /* wipes it: an answer may tell a secret */
#define AUTO_ANSWER __attribute__((cleanup(answer_done)))

/* Any status is ERR_OK. ERR_UNAVAILABLE: not reached, nothing was sent; ERR_DENIED: whoever answers
 * cannot be taken for the orchestrator (the message says why), nothing was sent; ERR_IO,
 * ERR_TIMEOUT: the connection failed later, so the request may have been done; ERR_LIMIT: too long
 * an answer. A repeatable request waits when the orchestrator says that there are too many. */
enum error_code client_call(struct client *client, const struct request *request,
                            struct answer *ret_answer, struct error *err) MUST_CHECK;

/* Appends `s` percent-encoded, for a path's part or a query's value. */
void url_put(struct buf *b, const char *s);

/* ---- Event streams -----------------------------------------------------------------------------
 */

struct stream;

enum stream_result {
    STREAM_CONNECTED, /* once: a 200 has come */
    STREAM_EVENT,     /* *ret_event is set, borrowed until the next call */
    STREAM_DEADLINE,  /* nothing came in time */
    STREAM_WOKEN,     /* wake_fd is readable */
    STREAM_REFUSED,   /* another status than 200: see stream_answer */
    STREAM_CLOSED     /* ended or lost; err says why */
};

struct sse_event;

/* Begins to connect to a path that answers with server-sent events after `after`. */
enum error_code stream_open(struct client *client, const char *path, int64_t after,
                            struct stream **ret_stream, struct error *err) MUST_CHECK;
/* Waits until something comes; deadline_ms: monotonic, INT64_MAX: none. wake_fd: a descriptor that
 * ends the waiting, or -1. */
enum stream_result stream_next(struct stream *stream, int64_t deadline_ms, int wake_fd,
                               struct sse_event *ret_event, struct error *err);
/* The refusal's answer; borrowed. */
const struct answer *stream_answer(const struct stream *stream);
void stream_free(struct stream *stream); /* NULL is fine */
DEFINE_CLEANUP(stream_free, struct stream)
