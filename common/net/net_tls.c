#include "common/net/net_internal.h"

#include "common/base/cleanup.h"
#include "common/pki/pki_openssl.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

enum {
    CERT_LIST_MAX = 32 * 1024, /* bytes of certificates that a peer may show */
    SECURITY_LEVEL = 2         /* nothing weaker than 112 bits */
};

/* ---- SSL_CTX ----------------------------------------------------------------------------------
 */

enum error_code net_tls_ctx_prepare(SSL_CTX *ctx, struct error *err)
{
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1 ||
        SSL_CTX_set_num_tickets(ctx, 0) != 1 || SSL_CTX_set_max_early_data(ctx, 0) != 1)
        return pki_error(err, ERR_INTERNAL, "preparing TLS");
    return ERR_OK;
}

enum error_code net_tls_use(SSL_CTX *ctx, SSL *ssl, const struct pki_certs *certs,
                            const struct pki_key *key, struct error *err)
{
    pki_stack *rest = sk_X509_new_null(); /* shares its certificates */
    bool good = rest != NULL;
    for (int i = 1; good && i < sk_X509_num(certs->list); i++)
        good = sk_X509_push(rest, sk_X509_value(certs->list, i)) != 0;
    X509 *first = sk_X509_value(certs->list, 0);
    if (good)
        good = ctx != NULL ? SSL_CTX_use_cert_and_key(ctx, first, key->pkey, rest, 1) == 1
                           : SSL_use_cert_and_key(ssl, first, key->pkey, rest, 1) == 1;
    sk_X509_free(rest);
    return good ? ERR_OK : pki_error(err, ERR_INVALID, "the certificate cannot be used");
}

/* ---- Reasons ----------------------------------------------------------------------------------
 */

static const char *alert_text(int alert)
{
    static const struct {
        int alert;
        const char *text;
    } texts[] = {
        {SSL_AD_UNKNOWN_CA, "it does not trust the CA of the certificate that it was shown"},
        {SSL_AD_BAD_CERTIFICATE, "it takes the certificate that it was shown for bad"},
        {SSL_AD_CERTIFICATE_EXPIRED, "by its clock the certificate that it was shown has expired"},
        {SSL_AD_CERTIFICATE_UNKNOWN, "it does not take the certificate that it was shown"},
        {SSL_AD_UNSUPPORTED_CERTIFICATE, "the certificate that it was shown is for something else"},
        {SSL_AD_CERTIFICATE_REQUIRED, "it wants a certificate"},
        {SSL_AD_PROTOCOL_VERSION, "it does not speak TLS 1.3"},
        {SSL_AD_HANDSHAKE_FAILURE, "nothing that both ends can do was found"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].alert == alert)
            return texts[i].text;
    }
    return SSL_alert_desc_string_long(alert);
}

void net_tls_alert(enum net_side side, int alert, char *ret_text, size_t room)
{
    (void)snprintf(ret_text, room, "the %s ended the TLS handshake: %s",
                   side == NET_SERVER_SIDE ? "client" : "server", alert_text(alert & 0xff));
}

static const char *failure_text(enum net_side side, unsigned long what)
{
    switch (ERR_GET_REASON(what)) {
    case SSL_R_HTTP_REQUEST:
        return "it spoke plain HTTP where TLS is spoken: its URL must begin with https:// or "
               "wss://";
    case SSL_R_WRONG_VERSION_NUMBER:
        return side == NET_SERVER_SIDE
                   ? "what it sent is not TLS"
                   : "what answers there does not speak TLS: wrong port, or a plain http:// server";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
        return side == NET_SERVER_SIDE ? "the client does not speak TLS 1.3"
                                       : "the server does not speak TLS 1.3";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return side == NET_SERVER_SIDE ? "the client went away in the TLS handshake"
                                       : "the server closed the connection in the TLS handshake";
    default:
        return NULL;
    }
}

bool net_tls_failure(enum net_side side, char *ret_text, size_t room)
{
    unsigned long what = ERR_peek_error();
    if (what == 0)
        return false;
    const char *text = ERR_GET_LIB(what) == ERR_LIB_SSL ? failure_text(side, what) : NULL;
    if (text != NULL) {
        (void)snprintf(ret_text, room, "%s", text);
        return true;
    }
    const char *reason = ERR_reason_error_string(what);
    (void)snprintf(ret_text, room, "TLS handshake: %s", reason == NULL ? "failed" : reason);
    return true;
}

/* ---- Who the peer is --------------------------------------------------------------------------
 */

/* A handshake with a certificate that is not good does not end well, so one that is there is. */
static const struct pki_facts *identity_of(struct lws *wsi, struct pki_facts **known)
{
    if (*known != NULL || wsi == NULL)
        return *known;
    SSL *ssl = lws_get_ssl(wsi);
    X509 *x509 = ssl == NULL ? NULL : SSL_get0_peer_certificate(ssl);
    if (x509 == NULL || SSL_get_verify_result(ssl) != X509_V_OK)
        return NULL;
    AUTO_FREE struct pki_facts *facts = MEM_NEW(struct pki_facts);
    if (facts == NULL || pki_x509_facts(x509, facts, NULL) != ERR_OK)
        return NULL;
    *known = TAKE(facts);
    return *known;
}

const struct pki_facts *net_conn_identity(struct net_conn *conn)
{
    return identity_of(conn->open ? conn->wsi : NULL, &conn->identity);
}

const struct pki_facts *net_request_identity(struct net_request *req)
{
    return identity_of(req->wsi, &req->identity);
}
