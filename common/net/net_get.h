/*
 * net_get: a GET whose body is handed on piece by piece, as it comes, and from an offset on: for
 * what is too large to be held. The peer is read from only as far as there is credit: what it sends
 * beyond that waits with the kernel, and then with the peer.
 *
 * Redirects are not followed. The answer has to say how long it is (Content-Length), else it is a
 * failure: an end that was cut off could not be told from a good one.
 *
 * Threading: all calls on the loop's thread. I/O: sockets.
 */
#pragma once

#include "common/base/error.h"
#include "common/net/net.h"
#include "common/net/net_tls.h"

#include <stddef.h>
#include <stdint.h>

struct net_get;

enum { NET_GET_PIECE_MAX = 16 * 1024 }; /* bytes handed on at once */

struct net_get_config {
    const char *url;                  /* as net_client_config's, as the next one */
    const struct net_tls_client *tls; /* NULL: without TLS */
    const char *path;                 /* goes behind the URL's own */
    int64_t offset;                   /* bytes that are there already; 0: all is wanted */
    size_t credit;                    /* bytes that may come before net_get_more */
    uint32_t silence_ms; /* for the next piece to come, or the head, or the connection; what waits
                            for credit has time */
    void *ctx;
    /* Once, before any data, with a status of 200 or 206: the body begins at byte `offset` (the one
     * asked for, or 0 where the server gives all of it) of `total_bytes`. */
    void (*began)(void *ctx, int64_t offset, int64_t total_bytes);
    /* Borrowed for the call. */
    void (*data)(void *ctx, const char *data, size_t len);
    /* Once, last, never before net_get_start returns. `status` is HTTP's; 0: there was no answer.
     * With another one than 200 and 206 the body is not read. `failure` is NULL when all of the
     * body has come. */
    void (*done)(void *ctx, int status, const char *failure);
};

/* Begins. Errors are those of net_connect. */
enum error_code net_get_start(struct net *net, const struct net_get_config *config,
                              struct net_get **ret_get, struct error *err) MUST_CHECK;
/* So many bytes more may come. */
void net_get_more(struct net_get *get, size_t bytes);
/* Gives it up; nothing is called any more. Before `done` only. */
void net_get_cancel(struct net_get *get);
