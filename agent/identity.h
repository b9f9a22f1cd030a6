/*
 * identity: what one server's agent is known by to its orchestrator. It makes a key and has a
 * certificate signed for it, first with a ticket, then by the certificate that it has, in time; and
 * it knows by what the orchestrator is known. What is to be done when is identity_rule's to say.
 *
 * Nothing here can keep an agent from going on with what it has begun: what is wrong is logged,
 * once, with the remedy, and tried again.
 *
 * Threading: the loop's thread. I/O: identity_files, and requests through the carrier.
 */
#pragma once

#include "agent/carrier.h"
#include "agent/ticker.h"
#include "common/base/error.h"

#include <stdbool.h>

struct identity;

enum { IDENTITY_ASK_TIMEOUT_MS = 30000 };

struct identity_config {
    struct carrier *carrier; /* borrowed, as all that follows */
    struct ticker *ticker;   /* one alarm is reserved by the caller */
    const char *data_dir;    /* there is such a folder */
    const char *server;
    const char *url;            /* one that asks for TLS */
    const char *ca;             /* a file; NULL: none */
    const char *ca_fingerprint; /* NULL: none */
    const char *ticket;         /* a file; NULL: none */
    void *ctx;
    /* There is a certificate to connect with, for the first time or another one than before. */
    void (*changed)(void *ctx);
};

/* ERR_LIMIT, ERR_NO_MEMORY. */
enum error_code identity_new(const struct identity_config *config, struct identity **ret_identity,
                             struct error *err) MUST_CHECK;
/* Reads what there is; `changed` may come before this returns. */
void identity_start(struct identity *id);
/* Gives up what is under way. */
void identity_stop(struct identity *id);
void identity_free(struct identity *id); /* after identity_stop, or unused; NULL is fine */

/* For the link: see link_events. */
void identity_peer(const struct identity *id, struct carrier_peer *peer);
void identity_refused(struct identity *id, enum net_end end);
void identity_welcomed(struct identity *id);
