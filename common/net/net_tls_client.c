/*
 * All TLS clients of a net share an SSL_CTX; what one of them wants is set on its own SSL when the
 * handshake begins. lws does not give the SSL out before, so that is noticed by OpenSSL's callback.
 */
#include "common/net/net_internal.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/pki/pki_openssl.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

struct net_tls_dial {
    struct net *net;
    struct net_conn *conn;
    struct net_tls_dial *prev;
    struct net_tls_dial *next;
    struct pki_certs *ca; /* NULL: by the fingerprint */
    char ca_fingerprint[PKI_FINGERPRINT_MAX];
    struct pki_certs *certs; /* NULL: none of its own */
    struct pki_key *key;
    bool begun;
    bool done;
    enum net_end end;
    char host[NET_HOST_MAX];
    char failure[ERROR_MESSAGE_MAX];
};

void net_tls_dial_free(struct net_tls_dial *dial)
{
    if (dial == NULL)
        return;
    if (dial->conn != NULL) {
        if (dial->prev != NULL)
            dial->prev->next = dial->next;
        else
            dial->net->tls_dials = dial->next;
        if (dial->next != NULL)
            dial->next->prev = dial->prev;
    }
    pki_certs_free(dial->ca);
    pki_certs_free(dial->certs);
    pki_key_free(dial->key);
    mem_free(dial);
}
DEFINE_CLEANUP(net_tls_dial_free, struct net_tls_dial)

void net_tls_dial_bind(struct net_tls_dial *dial, struct net_conn *conn)
{
    dial->conn = conn;
    dial->next = dial->net->tls_dials;
    if (dial->next != NULL)
        dial->next->prev = dial;
    dial->net->tls_dials = dial;
}

void net_tls_forget(struct lws *wsi)
{
    SSL *ssl = lws_get_ssl(wsi);
    if (ssl != NULL)
        (void)SSL_set_app_data(ssl, NULL);
}

const char *net_tls_dial_failure(struct net_tls_dial *dial)
{
    if (dial->failure[0] != '\0')
        return dial->failure;
    if (dial->begun && !dial->done)
        return "the server closed the connection in the TLS handshake";
    return NULL;
}

enum net_end net_tls_dial_end(const struct net_tls_dial *dial)
{
    return dial->end;
}

/* ---- During a handshake -----------------------------------------------------------------------
 */

static void failure_set(struct net_tls_dial *dial, const char *failure)
{
    if (dial->failure[0] == '\0')
        (void)snprintf(dial->failure, sizeof(dial->failure), "%s", failure);
}

static void handshake_begin(struct net *net, const SSL *ssl)
{
    struct net_tls_dial *dial = net->tls_dials;
    while (dial != NULL && (dial->conn->wsi == NULL || lws_get_ssl(dial->conn->wsi) != ssl))
        dial = dial->next;
    if (dial == NULL)
        return; /* given up meanwhile: on_verify refuses it */
    SSL *own = lws_get_ssl(dial->conn->wsi);
    (void)SSL_set_app_data(own, dial);
    dial->begun = true;
    dial->done = false;
    dial->failure[0] = '\0';
    dial->end = NET_END_LOST;
    /* lws would send addresses too, which are no server names (RFC 6066, section 3), and not whole
     * when they are IPv6. */
    struct in6_addr address;
    bool is_address = inet_pton(AF_INET, dial->host, &address) == 1 ||
                      inet_pton(AF_INET6, dial->host, &address) == 1;
    (void)SSL_set_tlsext_host_name(own, is_address ? NULL : dial->host);
}

/* Of an alert: whether it says that our certificate is not taken. */
static bool about_certificate(int alert)
{
    static const int alerts[] = {SSL_AD_UNKNOWN_CA,          SSL_AD_BAD_CERTIFICATE,
                                 SSL_AD_CERTIFICATE_EXPIRED, SSL_AD_CERTIFICATE_UNKNOWN,
                                 SSL_AD_CERTIFICATE_REVOKED, SSL_AD_UNSUPPORTED_CERTIFICATE,
                                 SSL_AD_ACCESS_DENIED,       SSL_AD_CERTIFICATE_REQUIRED};
    for (size_t i = 0; i < ARRAY_LEN(alerts); i++) {
        if (alerts[i] == (alert & 0xff))
            return true;
    }
    return false;
}

static void on_info(const SSL *ssl, int where, int ret)
{
    if ((where & SSL_CB_HANDSHAKE_START) != 0 && SSL_get_app_data(ssl) == NULL)
        handshake_begin(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)), ssl);
    struct net_tls_dial *dial = SSL_get_app_data(ssl);
    if (dial == NULL)
        return;
    char failure[ERROR_MESSAGE_MAX];
    if ((where & SSL_CB_HANDSHAKE_DONE) != 0)
        dial->done = true;
    /* A server looks at our certificate when we are done already: it may still say no. */
    if (where == SSL_CB_READ_ALERT && (ret & 0xff) != SSL_AD_CLOSE_NOTIFY) {
        net_tls_alert(NET_CLIENT_SIDE, ret, failure, sizeof(failure));
        failure_set(dial, failure);
        if (dial->end == NET_END_LOST && about_certificate(ret))
            dial->end = NET_END_NOT_ADMITTED;
    }
    if (where == SSL_CB_CONNECT_EXIT && ret <= 0 &&
        net_tls_failure(NET_CLIENT_SIDE, failure, sizeof(failure))) {
        failure_set(dial, failure);
        net_linger_start(dial->net, SSL_get_fd(ssl), NULL);
    }
}

static enum error_code verify(struct net_tls_dial *dial, SSL *ssl, X509_STORE_CTX *store,
                              int *ret_reason, struct error *err)
{
    const struct pki_check check = {
        .ca = dial->ca,
        .ca_fingerprint = dial->ca_fingerprint,
        .purpose = PKI_PURPOSE_SERVER,
        .host = dial->host,
        .now_ms = clock_wall_ms(),
        .name = "the server's certificate",
    };
    enum error_code code =
        pki_x509_verify(X509_STORE_CTX_get0_cert(store), X509_STORE_CTX_get0_untrusted(store),
                        &check, ret_reason, err);
    if (code != ERR_OK || dial->certs == NULL)
        return code;
    *ret_reason = X509_V_ERR_UNSPECIFIED;
    /* Only now: who we are is shown to the right one alone. */
    return net_tls_use(NULL, ssl, dial->certs, dial->key, err);
}

static int on_verify(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct net_tls_dial *dial = SSL_get_app_data(ssl);
    int reason = X509_V_ERR_UNSPECIFIED;
    struct error err = {0};
    enum error_code code = dial == NULL ? ERR_CANCELLED : verify(dial, ssl, store, &reason, &err);
    if (code != ERR_OK && dial != NULL) {
        failure_set(dial, err.message);
        dial->end = NET_END_NOT_TRUSTED;
    }
    X509_STORE_CTX_set_error(store, code == ERR_OK ? X509_V_OK : reason);
    return code == ERR_OK ? 1 : 0;
}

/* ---- Making one -------------------------------------------------------------------------------
 */

DEFINE_CLEANUP(SSL_CTX_free, SSL_CTX)

enum error_code net_tls_client_ctx(struct net *net, struct error *err)
{
    if (net->tls_ctx != NULL)
        return ERR_OK;
    AUTO(SSL_CTX_free) SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL)
        return pki_error(err, ERR_NO_MEMORY, "preparing TLS");
    enum error_code code = net_tls_ctx_prepare(ctx, err);
    if (code != ERR_OK)
        return code;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, on_verify, NULL);
    SSL_CTX_set_info_callback(ctx, on_info);
    (void)SSL_CTX_set_app_data(ctx, net);
    net->tls_ctx = TAKE(ctx);
    return ERR_OK;
}

static enum error_code client_start(struct net *net, struct error *err)
{
    if (net->tls_vhost != NULL)
        return ERR_OK;
    enum error_code code = net_tls_client_ctx(net, err);
    if (code != ERR_OK)
        return code;
    net->tls_vhost = net_vhost_new(net, "TLS client", false);
    return net->tls_vhost == NULL ? error_set(err, ERR_NO_MEMORY, NULL) : ERR_OK;
}

static enum error_code dial_fill(struct net_tls_dial *dial, const struct net_tls_client *tls,
                                 struct error *err)
{
    if ((tls->ca == NULL) == (tls->ca_fingerprint == NULL))
        return error_set(err, ERR_INVALID,
                         "TLS needs the CA's certificate, or its fingerprint instead");
    enum error_code code =
        tls->ca != NULL ? pki_certs_share(tls->ca, &dial->ca, err)
                        : pki_fingerprint_parse(tls->ca_fingerprint, dial->ca_fingerprint, err);
    if (code != ERR_OK || tls->certs == NULL)
        return code;
    code = pki_pair_check(tls->key, tls->certs, "the client's certificate", err);
    if (code == ERR_OK)
        code = pki_certs_share(tls->certs, &dial->certs, err);
    if (code == ERR_OK)
        code = pki_key_share(tls->key, &dial->key, err);
    return code;
}

enum error_code net_tls_dial_new(struct net *net, const struct net_tls_client *tls,
                                 const char *host, struct net_tls_dial **ret_dial,
                                 struct error *err)
{
    AUTO(net_tls_dial_free) struct net_tls_dial *dial = MEM_NEW(struct net_tls_dial);
    if (dial == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    dial->net = net;
    (void)snprintf(dial->host, sizeof(dial->host), "%s", host);
    enum error_code code = dial_fill(dial, tls, err);
    if (code == ERR_OK)
        code = client_start(net, err);
    if (code != ERR_OK)
        return code;
    *ret_dial = TAKE(dial);
    return ERR_OK;
}
