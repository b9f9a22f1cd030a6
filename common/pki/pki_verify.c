#include "common/pki/pki_verify.h"

#include "common/base/buf.h"
#include "common/pki/pki_openssl.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

enum {
    DEPTH_MAX = 4,      /* certificates between the one in question and the CA's own */
    AUTH_LEVEL = 2,     /* nothing weaker than 112 bits: no SHA-1, no RSA below 2048 */
    HOST_MAX = 256,     /* a DNS name has at most 253 */
    NAMES_TEXT_MAX = 96 /* of the names that a certificate is for, in a message */
};

enum error_code pki_fingerprint_parse(const char *text, char ret_hex[PKI_FINGERPRINT_MAX],
                                      struct error *err)
{
    char digits[PKI_FINGERPRINT_MAX];
    size_t count = 0;
    for (const char *p = text; *p != '\0' && count < PKI_FINGERPRINT_MAX; p++) {
        if (*p == ':')
            continue;
        digits[count++] = isxdigit((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '?';
    }
    if (count != PKI_FINGERPRINT_MAX - 1 || memchr(digits, '?', count) != NULL)
        return error_set(err, ERR_INVALID,
                         "\"%.80s\" is not a fingerprint: the SHA-256 of a certificate is 64 "
                         "hexadecimal digits",
                         text);
    digits[count] = '\0';
    memcpy(ret_hex, digits, sizeof(digits));
    return ERR_OK;
}

/* ---- Whom to trust ----------------------------------------------------------------------------
 */

static X509 *find_fingerprint(pki_stack *list, const char *wanted)
{
    for (int i = 0; i < sk_X509_num(list); i++) { /* a NULL list has -1 */
        char fingerprint[PKI_FINGERPRINT_MAX];
        if (pki_x509_fingerprint(sk_X509_value(list, i), fingerprint) &&
            strcmp(fingerprint, wanted) == 0)
            return sk_X509_value(list, i);
    }
    return NULL;
}

static enum error_code store_pinned(X509_STORE *store, pki_stack *rest,
                                    const struct pki_check *check, struct error *err)
{
    char wanted[PKI_FINGERPRINT_MAX];
    enum error_code code = pki_fingerprint_parse(check->ca_fingerprint, wanted, err);
    if (code != ERR_OK)
        return code;
    X509 *ca = find_fingerprint(rest, wanted);
    if (ca == NULL)
        return error_set(err, ERR_DENIED,
                         "%.60s does not come from the CA with the fingerprint %.16s...: that is "
                         "another server, or somebody is in between; compare the fingerprint",
                         check->name, wanted);
    if (X509_STORE_add_cert(store, ca) != 1)
        return pki_error(err, ERR_INTERNAL, "%.60s", check->name);
    return ERR_OK;
}

static enum error_code store_fill(X509_STORE *store, pki_stack *rest, const struct pki_check *check,
                                  struct error *err)
{
    if (check->ca == NULL)
        return store_pinned(store, rest, check, err);
    for (int i = 0; i < sk_X509_num(check->ca->list); i++) {
        if (X509_STORE_add_cert(store, sk_X509_value(check->ca->list, i)) != 1)
            return pki_error(err, ERR_INTERNAL, "%.60s", check->name);
    }
    return ERR_OK;
}

/* ---- What is wrong ----------------------------------------------------------------------------
 */

static enum error_code refuse_time(const struct pki_check *check, X509 *x509, bool expired,
                                   struct error *err)
{
    const ASN1_TIME *limit = expired ? X509_get0_notAfter(x509) : X509_get0_notBefore(x509);
    char subject[PKI_NAME_TEXT_MAX];
    char when[PKI_TIME_TEXT_MAX];
    char now[PKI_TIME_TEXT_MAX];
    pki_name_text(X509_get_subject_name(x509), subject);
    pki_time_text(pki_asn1_time_ms(limit), when);
    pki_time_text(check->now_ms, now);
    return error_set(err, ERR_DENIED,
                     expired ? "%.40s: \"%s\" has expired on %s, and it is %s here: renew it, or "
                               "check the clock"
                             : "%.40s: \"%s\" is not valid before %s, and it is %s here: check the "
                               "clocks of both machines",
                     check->name, subject, when, now);
}

static enum error_code refuse_issuer(const struct pki_check *check, X509 *leaf, X509_STORE *store,
                                     struct error *err)
{
    char signer[PKI_NAME_TEXT_MAX];
    char trusted[PKI_NAME_TEXT_MAX] = "nobody";
    pki_name_text(X509_get_issuer_name(leaf), signer);
    const X509_OBJECT *first = sk_X509_OBJECT_value(X509_STORE_get0_objects(store), 0);
    if (first != NULL)
        pki_name_text(X509_get_subject_name(X509_OBJECT_get0_X509(first)), trusted);
    return error_set(err, ERR_DENIED,
                     "%.40s was signed by \"%s\", and trusted here is \"%s\": it belongs to "
                     "another fleet, or the CA has changed",
                     check->name, signer, trusted);
}

static enum error_code refuse_signature(const struct pki_check *check, X509 *x509,
                                        struct error *err)
{
    char signer[PKI_NAME_TEXT_MAX];
    pki_name_text(X509_get_issuer_name(x509), signer);
    return error_set(err, ERR_DENIED,
                     "%.60s says that \"%s\" has signed it, and that is not so: it is damaged or "
                     "forged",
                     check->name, signer);
}

static enum error_code refuse_purpose(const struct pki_check *check, struct error *err)
{
    return error_set(err, ERR_DENIED, "%.60s is not one for a %s (extended key usage)", check->name,
                     check->purpose == PKI_PURPOSE_SERVER ? "server" : "client");
}

static enum error_code refuse(const struct pki_check *check, X509 *leaf, X509_STORE_CTX *ctx,
                              struct error *err)
{
    int depth = X509_STORE_CTX_get_error_depth(ctx);
    X509 *at = X509_STORE_CTX_get_current_cert(ctx);
    if (at == NULL)
        at = leaf;
    switch (X509_STORE_CTX_get_error(ctx)) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return refuse_time(check, at, true, err);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return refuse_time(check, at, false, err);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
    case X509_V_ERR_AKID_SKID_MISMATCH:
        return refuse_issuer(check, leaf, X509_STORE_CTX_get0_store(ctx), err);
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return refuse_signature(check, at, err);
    case X509_V_ERR_INVALID_PURPOSE:
        if (depth == 0)
            return refuse_purpose(check, err);
        break;
    default:
        break;
    }
    char subject[PKI_NAME_TEXT_MAX];
    pki_name_text(X509_get_subject_name(at), subject);
    return error_set(err, ERR_DENIED, "%.60s: \"%s\": %.90s", check->name, subject,
                     X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
}

/* ---- The rules --------------------------------------------------------------------------------
 */

static bool ctx_set(X509_STORE_CTX *ctx, const struct pki_check *check)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    int purpose =
        check->purpose == PKI_PURPOSE_SERVER ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
    X509_VERIFY_PARAM_set_depth(param, DEPTH_MAX);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    X509_VERIFY_PARAM_set_time(param, (time_t)(check->now_ms / 1000));
    return X509_VERIFY_PARAM_set_purpose(param, purpose) == 1 &&
           X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT) == 1;
}

static enum error_code verify_chain(X509 *leaf, pki_stack *rest, const struct pki_check *check,
                                    int *ret_reason, struct error *err)
{
    AUTO(X509_STORE_free) X509_STORE *store = X509_STORE_new();
    AUTO(X509_STORE_CTX_free) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (store == NULL || ctx == NULL)
        return pki_error(err, ERR_NO_MEMORY, "%.60s", check->name);
    *ret_reason = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    enum error_code code = store_fill(store, rest, check, err);
    if (code != ERR_OK)
        return code;
    if (X509_STORE_CTX_init(ctx, store, leaf, rest) != 1 || !ctx_set(ctx, check)) {
        *ret_reason = X509_V_ERR_UNSPECIFIED;
        return pki_error(err, ERR_INTERNAL, "%.60s", check->name);
    }
    if (X509_verify_cert(ctx) == 1)
        return ERR_OK;
    *ret_reason = X509_STORE_CTX_get_error(ctx);
    if (*ret_reason == X509_V_OK)
        *ret_reason = X509_V_ERR_UNSPECIFIED;
    code = refuse(check, leaf, ctx, err);
    ERR_clear_error();
    return code;
}

/* A certificate without this field could be used for anything: none is made like that here. */
static bool purpose_named(X509 *leaf, enum pki_purpose purpose)
{
    uint32_t usage = X509_get_extended_key_usage(leaf);
    uint32_t wanted = purpose == PKI_PURPOSE_SERVER ? XKU_SSL_SERVER : XKU_SSL_CLIENT;
    return usage != UINT32_MAX && (usage & wanted) != 0;
}

/* ---- Hosts ------------------------------------------------------------------------------------
 */

static void names_add(struct buf *text, const GENERAL_NAME *name)
{
    int type = 0;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    const unsigned char *bytes =
        type == GEN_DNS || type == GEN_IPADD ? ASN1_STRING_get0_data(value) : NULL;
    if (bytes == NULL)
        return;
    int len = ASN1_STRING_length(value);
    char address[INET6_ADDRSTRLEN] = "";
    if (type == GEN_IPADD && (len == 4 || len == 16))
        (void)inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, address, sizeof(address));
    buf_puts(text, text->len > 0 ? ", " : "");
    if (type == GEN_IPADD)
        buf_puts(text, address);
    for (int i = 0; type == GEN_DNS && i < len; i++)
        buf_putc(text, isgraph(bytes[i]) ? (char)bytes[i] : '?');
}

static enum error_code refuse_host(const struct pki_check *check, const X509 *leaf,
                                   struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        names_add(&text, sk_GENERAL_NAME_value(names, i));
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return error_set(err, ERR_DENIED,
                     "%.40s is for %.*s, not for %.64s: connect by one of those names, or have "
                     "this one added to it",
                     check->name, NAMES_TEXT_MAX, text.len == 0 ? "no host" : text.data,
                     check->host);
}

static bool host_matches(X509 *leaf, const char *host)
{
    char plain[HOST_MAX];
    size_t len = strcspn(host, "%"); /* the zone of an IPv6 address is this machine's own affair */
    if (len > 0 && host[len - 1] == '.')
        len--;
    if (len == 0 || len >= sizeof(plain))
        return false;
    memcpy(plain, host, len);
    plain[len] = '\0';
    unsigned char address[sizeof(struct in6_addr)];
    bool matches = false;
    if (inet_pton(AF_INET, plain, address) == 1 || inet_pton(AF_INET6, plain, address) == 1)
        matches = X509_check_ip_asc(leaf, plain, 0) == 1;
    else
        matches = X509_check_host(leaf, plain, len,
                                  X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                      X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
                                  NULL) == 1;
    ERR_clear_error();
    return matches;
}

enum error_code pki_x509_verify(X509 *leaf, pki_stack *rest, const struct pki_check *check,
                                int *ret_reason, struct error *err)
{
    enum error_code code = verify_chain(leaf, rest, check, ret_reason, err);
    if (code != ERR_OK)
        return code;
    if (!purpose_named(leaf, check->purpose)) {
        *ret_reason = X509_V_ERR_INVALID_PURPOSE;
        return refuse_purpose(check, err);
    }
    if (check->host != NULL && !host_matches(leaf, check->host)) {
        *ret_reason = X509_V_ERR_HOSTNAME_MISMATCH;
        return refuse_host(check, leaf, err);
    }
    return ERR_OK;
}

enum error_code pki_verify(const struct pki_certs *certs, const struct pki_check *check,
                           struct error *err)
{
    int reason = X509_V_OK;
    return pki_x509_verify(sk_X509_value(certs->list, 0), certs->list, check, &reason, err);
}
