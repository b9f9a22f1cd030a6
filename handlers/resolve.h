/*
 * resolve: the addresses of a host's name, off the loop. The resolver cannot be cut off and may
 * take long; an abandoned question ends by itself, unheard.
 *
 * Threading: the loop's thread. I/O: getaddrinfo(3) on a thread.
 */
#pragma once

#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

enum { RESOLVE_MAX = 16 }; /* addresses; those past it are left out */

struct resolved {
    struct sockaddr_storage addresses[RESOLVE_MAX]; /* with the port; IPv4 or IPv6 */
    size_t count;
    const char *failure; /* count is 0: why; static */
};

struct resolve;

struct resolve_reply {
    void (*done)(void *ctx, const struct resolved *resolved); /* borrowed for the call */
    void *ctx;
};

/* The reply comes once, later, unless it is abandoned. Errors as of offload_start(). */
enum error_code resolve_start(uv_loop_t *loop, const char *host, uint16_t port,
                              struct resolve_reply reply, struct resolve **ret_resolve,
                              struct error *err) MUST_CHECK;
/* Only before the reply. */
void resolve_abandon(struct resolve *r);
