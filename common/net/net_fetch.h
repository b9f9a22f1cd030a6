/*
 * net_fetch: one HTTP request to a server, on net's loop: a body is posted, the answer comes in
 * whole. Redirects are not followed.
 *
 * Threading: all calls on the loop's thread. I/O: sockets.
 */
#pragma once

#include "common/base/error.h"
#include "common/net/net.h"
#include "common/net/net_tls.h"

#include <stddef.h>
#include <stdint.h>

struct net_fetch;

struct net_fetch_config {
    const char *url;                  /* as net_client_config's, as the next one */
    const struct net_tls_client *tls; /* NULL: without TLS */
    const char *path;                 /* "/v1/enrol"; goes behind the URL's own */
    const char *content_type;
    const char *body; /* copied, and wiped once it is not needed any more */
    size_t len;
    size_t max_answer;   /* bytes of an answer's body; more is a failure */
    uint32_t timeout_ms; /* for all of it */
    void *ctx;
    /* Called once, never before net_fetch_post returns. `status` is HTTP's; 0: there was no (whole)
     * answer, and `failure` says why. The body is NUL-terminated and borrowed for the call. */
    void (*done)(void *ctx, int status, const char *body, size_t len, const char *failure);
};

/* Begins. Errors are those of net_connect, and ERR_LIMIT: the body is too long. */
enum error_code net_fetch_post(struct net *net, const struct net_fetch_config *config,
                               struct net_fetch **ret_fetch, struct error *err) MUST_CHECK;
/* Gives it up; `done` is not called any more. Before `done` only. */
void net_fetch_cancel(struct net_fetch *fetch);

enum { NET_FETCH_BODY_MAX = 64 * 1024 };
