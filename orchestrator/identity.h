/*
 * identity: what the orchestrator is known by, and what it makes agents known by: the CA and the
 * server's certificate, in DIR/pki:
 *
 *   ca.key      the CA's key; whoever has it can be anybody to everybody
 *   ca.crt      its certificate, which is no secret
 *   hosts       the names that the server's certificate is made for, one a line
 *   server.pem  the server's key and certificate
 *
 * Threading: one thread at a time. I/O: those files.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "common/net/net_tls.h"

#include <stdbool.h>
#include <stdint.h>

struct identity;

enum { IDENTITY_AGENT_MAX = 160 };
#define IDENTITY_AGENT_PREFIX "kitsune:agent:" /* and the server's id */

/* Makes what is not there yet of CA and certificate. With `hosts` (ended by NULL; may be NULL) the
 * certificate is made anew for those. ERR_INVALID names a host that is none. */
enum error_code identity_make(const char *dir, const char *const *hosts, int64_t lifetime_ms,
                              int64_t now_ms, struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND: there is none; the message says how one is made. */
enum error_code identity_load(const char *dir, struct identity **ret_identity,
                              struct error *err) MUST_CHECK;
void identity_free(struct identity *identity);
DEFINE_CLEANUP(identity_free, struct identity)

/* What to serve with; borrowed until the next renewal. */
const struct net_tls_server *identity_tls(const struct identity *identity);
int64_t identity_expires_ms(const struct identity *identity);    /* the server's certificate */
int64_t identity_ca_expires_ms(const struct identity *identity); /* the CA's */
const char *identity_ca_pem(const struct identity *identity);
const char *identity_ca_fingerprint(const struct identity *identity);
/* Two thirds of the life of the server's certificate have passed, or it has not begun. */
bool identity_is_due(const struct identity *identity, int64_t now_ms);
/* Makes a key and a certificate anew, for the same names. On an error all stays as it was. */
enum error_code identity_renew(struct identity *identity, int64_t lifetime_ms, int64_t now_ms,
                               struct error *err) MUST_CHECK;

/* What is asked for by an agent. */
struct identity_request {
    const char *csr; /* PEM */
    const char *server;
    int64_t now_ms, lifetime_ms;
};
/* Errors: as pki_ca_sign_client. Caller owns. */
enum error_code identity_sign(const struct identity *identity,
                              const struct identity_request *request, struct pki_certs **ret_certs,
                              struct error *err) MUST_CHECK;
/* The server that a certificate's identity names; NULL: it is no agent's. Borrowed from it. */
const char *identity_server(const char *identity);
