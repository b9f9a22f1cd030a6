/*
 * net_tls: TLS 1.3 (RFC 8446) on net's connections, and who the peer is.
 *
 * Nothing older is spoken. Sessions are not resumed, so that every connection shows its certificate
 * anew, and nothing is taken before the handshake is done (no 0-RTT).
 *
 * Certificates and keys are copied: what is passed in may be freed afterwards.
 *
 * Threading: all calls on the loop's thread. I/O: none of its own.
 */
#pragma once

#include "common/base/error.h"
#include "common/net/net.h"
#include "common/pki/pki_cert.h"
#include "common/pki/pki_key.h"

/* A server's. */
struct net_tls_server {
    /* Its own, and behind it what is sent along. With its CA's, one who knows only the CA's
     * fingerprint can check it. */
    const struct pki_certs *certs;
    const struct pki_key *key;
    /* Who may have signed a client's certificate. A client need not show one; one that is not good
     * ends the handshake. NULL: none is asked for. */
    const struct pki_certs *client_ca;
};

/* A client's: one of ca and ca_fingerprint. The server must be the one that the URL names. */
struct net_tls_client {
    const struct pki_certs *ca; /* who may have signed the server's certificate */
    /* For the first contact: SHA-256 of that CA's certificate, which the server sends along. */
    const char *ca_fingerprint;
    const struct pki_certs *certs; /* its own; NULL: it shows none */
    const struct pki_key *key;
};

/* From the next connection on; those that are there stay. ERR_INVALID: the server is a plain one;
 * ERR_CONFLICT: the key is not the certificate's. On failure all stays as it was. */
enum error_code net_server_set_tls(struct net_server *server, const struct net_tls_server *tls,
                                   struct error *err) MUST_CHECK;

/* The certificate that the peer has shown, which was good when it did: expiry and revocation since
 * are the caller's to look at. NULL: it has shown none, or memory is out. Static to the conn or the
 * request. */
const struct pki_facts *net_conn_identity(struct net_conn *conn);
const struct pki_facts *net_request_identity(struct net_request *req);
