#include "common/pki/pki_ca.h"

#include "common/base/id.h"
#include "common/pki/pki_file.h"
#include "common/pki/pki_openssl.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum {
    X509_VERSION_THREE = 2,
    SERIAL_BYTES = 16,    /* random: never the same twice, and not to be guessed */
    COMMON_NAME_MAX = 64, /* RFC 5280, appendix A: ub-common-name */
    HOST_MAX = 253
};

struct pki_ca {
    struct pki_key *key;
    struct pki_certs *certs; /* one, or more when others are to be sent along */
};

DEFINE_CLEANUP(pki_ca_free, struct pki_ca)
DEFINE_CLEANUP(BN_free, BIGNUM)
DEFINE_CLEANUP(X509_EXTENSION_free, X509_EXTENSION)
DEFINE_CLEANUP(GENERAL_NAMES_free, GENERAL_NAMES)
DEFINE_CLEANUP(GENERAL_NAME_free, GENERAL_NAME)
DEFINE_CLEANUP(ASN1_OCTET_STRING_free, ASN1_OCTET_STRING)
DEFINE_CLEANUP(ASN1_IA5STRING_free, ASN1_IA5STRING)

static X509 *ca_x509(const struct pki_ca *ca)
{
    return sk_X509_value(ca->certs->list, 0);
}

struct span {
    int64_t from_ms;
    int64_t until_ms;
};

/* ---- A certificate, piece by piece ------------------------------------------------------------
 */

static bool serial_set(X509 *x509)
{
    unsigned char bytes[SERIAL_BYTES];
    if (id_random_bytes(bytes, sizeof(bytes), NULL) != ERR_OK)
        return false;
    AUTO(BN_free) BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    return number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509)) != NULL;
}

static bool times_set(X509 *x509, const struct span *span)
{
    return ASN1_TIME_set(X509_getm_notBefore(x509), (time_t)(span->from_ms / 1000)) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x509), (time_t)(span->until_ms / 1000)) != NULL;
}

static bool subject_set(X509 *x509, const char *common_name)
{
    size_t len = strlen(common_name);
    if (len > COMMON_NAME_MAX)
        len = COMMON_NAME_MAX;
    return X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                                      (const unsigned char *)common_name, (int)len, -1, 0) == 1;
}

/* All but the extensions and the signature. The issuer's name is `issuer`'s, NULL: its own. */
static enum error_code x509_begin(EVP_PKEY *pkey, const char *common_name, const X509 *issuer,
                                  const struct span *span, X509 **ret_x509, struct error *err)
{
    AUTO(X509_free) X509 *x509 = X509_new();
    if (x509 == NULL || X509_set_version(x509, X509_VERSION_THREE) != 1 || !serial_set(x509) ||
        !times_set(x509, span) || !subject_set(x509, common_name) ||
        X509_set_pubkey(x509, pkey) != 1 ||
        X509_set_issuer_name(x509, X509_get_subject_name(issuer == NULL ? x509 : issuer)) != 1)
        return pki_error(err, ERR_INTERNAL, "making a certificate");
    *ret_x509 = TAKE(x509);
    return ERR_OK;
}

struct extension {
    int nid;
    const char *value; /* in OpenSSL's words */
};

/* Up to one with nid 0. */
static enum error_code extensions_add(X509 *x509, X509 *issuer, const struct extension *extensions,
                                      struct error *err)
{
    for (; extensions->nid != 0; extensions++) {
        X509V3_CTX ctx = {0};
        X509V3_set_ctx(&ctx, issuer, x509, NULL, NULL, 0);
        AUTO(X509_EXTENSION_free)
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, &ctx, extensions->nid, extensions->value);
        if (extension == NULL || X509_add_ext(x509, extension, -1) != 1)
            return pki_error(err, ERR_INTERNAL, "making a certificate");
    }
    return ERR_OK;
}

static enum error_code x509_sign(X509 *x509, const struct pki_key *key, struct error *err)
{
    if (X509_sign(x509, key->pkey, EVP_sha256()) == 0)
        return pki_error(err, ERR_INTERNAL, "signing a certificate");
    ERR_clear_error();
    return ERR_OK;
}

/* ---- The CA itself ----------------------------------------------------------------------------
 */

static enum error_code validity_check(const struct pki_validity *validity, struct error *err)
{
    if (validity->lifetime_ms <= 0 || validity->now_ms < PKI_BACKDATE_MS ||
        validity->now_ms > INT64_MAX - validity->lifetime_ms)
        return error_set(err, ERR_INVALID, "a certificate's lifetime must be positive");
    return ERR_OK;
}

static enum error_code ca_name(EVP_PKEY *pkey, char ret_name[COMMON_NAME_MAX], struct error *err)
{
    enum { DIGITS = 16 };
    char hex[PKI_FINGERPRINT_MAX];
    enum error_code code = pki_pkey_fingerprint(pkey, hex, err);
    if (code != ERR_OK)
        return code;
    (void)snprintf(ret_name, COMMON_NAME_MAX, "Kitsune CA %.*s", DIGITS, hex);
    return ERR_OK;
}

static enum error_code ca_certify(const struct pki_key *key, const struct pki_validity *validity,
                                  X509 **ret_x509, struct error *err)
{
    static const struct extension extensions[] = {
        {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
        {NID_key_usage, "critical,keyCertSign,cRLSign"},
        {NID_subject_key_identifier, "hash"},
        {0, NULL},
    };
    char name[COMMON_NAME_MAX];
    AUTO(X509_free) X509 *x509 = NULL;
    const struct span span = {.from_ms = validity->now_ms - PKI_BACKDATE_MS,
                              .until_ms = validity->now_ms + validity->lifetime_ms};
    enum error_code code = ca_name(key->pkey, name, err);
    if (code == ERR_OK)
        code = x509_begin(key->pkey, name, NULL, &span, &x509, err);
    if (code == ERR_OK)
        code = extensions_add(x509, x509, extensions, err);
    if (code == ERR_OK)
        code = x509_sign(x509, key, err);
    if (code == ERR_OK)
        *ret_x509 = TAKE(x509);
    return code;
}

/* A list of one or two. Takes ownership of the first on success only, and shares the second. */
static enum error_code certs_of(X509 *first, X509 *second, struct pki_certs **ret_certs,
                                struct error *err)
{
    AUTO(pki_stack_free) pki_stack *list = sk_X509_new_null();
    if (list == NULL || (second != NULL && sk_X509_push(list, second) == 0))
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (second != NULL)
        (void)X509_up_ref(second);
    enum error_code code = ERR_NO_MEMORY;
    if (sk_X509_unshift(list, first) == 0)
        return error_set(err, code, NULL);
    code = pki_certs_wrap(list, ret_certs, err);
    if (code == ERR_OK)
        list = NULL;
    else
        (void)sk_X509_shift(list);
    return code;
}

enum error_code pki_ca_new(const struct pki_validity *validity, struct pki_ca **ret_ca,
                           struct error *err)
{
    AUTO(pki_ca_free) struct pki_ca *ca = MEM_NEW(struct pki_ca);
    if (ca == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    AUTO(X509_free) X509 *x509 = NULL;
    enum error_code code = validity_check(validity, err);
    if (code == ERR_OK)
        code = pki_key_new(&ca->key, err);
    if (code == ERR_OK)
        code = ca_certify(ca->key, validity, &x509, err);
    if (code == ERR_OK)
        code = certs_of(x509, NULL, &ca->certs, err);
    if (code != ERR_OK)
        return code;
    x509 = NULL;
    *ret_ca = TAKE(ca);
    return ERR_OK;
}

enum error_code pki_ca_load(const char *key_path, const char *cert_path, struct pki_ca **ret_ca,
                            struct error *err)
{
    AUTO(pki_ca_free) struct pki_ca *ca = MEM_NEW(struct pki_ca);
    if (ca == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = pki_certs_load(cert_path, &ca->certs, err);
    if (code == ERR_OK)
        code = pki_key_load(key_path, &ca->key, err);
    if (code == ERR_OK)
        code = pki_pair_check(ca->key, ca->certs, key_path, err);
    if (code != ERR_OK)
        return code;
    bool may_sign = X509_check_ca(ca_x509(ca)) == 1;
    ERR_clear_error();
    if (!may_sign)
        return error_set(err, ERR_INVALID, "%.150s: that certificate is not one of a CA",
                         cert_path);
    *ret_ca = TAKE(ca);
    return ERR_OK;
}

enum error_code pki_ca_save(const struct pki_ca *ca, const char *key_path, const char *cert_path,
                            struct error *err)
{
    enum error_code code = pki_key_save(ca->key, key_path, err);
    if (code == ERR_OK)
        code = pki_certs_save(ca->certs, cert_path, err);
    return code;
}

void pki_ca_free(struct pki_ca *ca)
{
    if (ca == NULL)
        return;
    pki_key_free(ca->key);
    pki_certs_free(ca->certs);
    mem_free(ca);
}

const struct pki_certs *pki_ca_certs(const struct pki_ca *ca)
{
    return ca->certs;
}

/* ---- What it signs ----------------------------------------------------------------------------
 */

static enum error_code leaf_span(const struct pki_ca *ca, const struct pki_validity *validity,
                                 struct span *ret_span, struct error *err)
{
    enum error_code code = validity_check(validity, err);
    if (code != ERR_OK)
        return code;
    int64_t from_ms = pki_asn1_time_ms(X509_get0_notBefore(ca_x509(ca)));
    int64_t until_ms = pki_asn1_time_ms(X509_get0_notAfter(ca_x509(ca)));
    if (validity->now_ms < from_ms || validity->now_ms >= until_ms) {
        char from[PKI_TIME_TEXT_MAX];
        char until[PKI_TIME_TEXT_MAX];
        char now[PKI_TIME_TEXT_MAX];
        pki_time_text(from_ms, from);
        pki_time_text(until_ms, until);
        pki_time_text(validity->now_ms, now);
        return error_set(err, ERR_DENIED,
                         "the CA's certificate is valid from %s to %s, and it is %s here: check "
                         "the clock, or make a new CA",
                         from, until, now);
    }
    ret_span->from_ms = validity->now_ms - PKI_BACKDATE_MS;
    ret_span->until_ms = validity->now_ms + validity->lifetime_ms;
    if (ret_span->until_ms > until_ms)
        ret_span->until_ms = until_ms;
    return ERR_OK;
}

static enum error_code leaf_finish(const struct pki_ca *ca, X509 *x509, GENERAL_NAMES *names,
                                   const char *extended_usage, struct error *err)
{
    const struct extension extensions[] = {
        {NID_basic_constraints, "critical,CA:FALSE"},
        {NID_key_usage, "critical,digitalSignature"},
        {NID_ext_key_usage, extended_usage},
        {NID_subject_key_identifier, "hash"},
        {NID_authority_key_identifier, "keyid:always"},
        {0, NULL},
    };
    enum error_code code = extensions_add(x509, ca_x509(ca), extensions, err);
    if (code != ERR_OK)
        return code;
    if (X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1)
        return pki_error(err, ERR_INTERNAL, "naming whom a certificate is for");
    return x509_sign(x509, ca->key, err);
}

/* Takes ownership on success only. */
static bool names_push(GENERAL_NAMES *names, int type, void *value)
{
    AUTO(GENERAL_NAME_free) GENERAL_NAME *name = GENERAL_NAME_new();
    if (name == NULL || sk_GENERAL_NAME_push(names, name) == 0)
        return false;
    GENERAL_NAME_set0_value(name, type, value);
    name = NULL;
    return true;
}

static bool names_add_text(GENERAL_NAMES *names, int type, const char *text)
{
    AUTO(ASN1_IA5STRING_free) ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    if (value == NULL || ASN1_STRING_set(value, text, (int)strlen(text)) != 1 ||
        !names_push(names, type, value))
        return false;
    value = NULL;
    return true;
}

static bool names_add_address(GENERAL_NAMES *names, const unsigned char *address, size_t len)
{
    AUTO(ASN1_OCTET_STRING_free) ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    if (value == NULL || ASN1_OCTET_STRING_set(value, address, (int)len) != 1 ||
        !names_push(names, GEN_IPADD, value))
        return false;
    value = NULL;
    return true;
}

static bool host_valid(const char *host)
{
    size_t len = strlen(host);
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)host[i]) && strchr("-._", host[i]) == NULL)
            return false;
    }
    return len > 0 && len <= HOST_MAX && host[0] != '.' && host[0] != '-';
}

static enum error_code names_add_host(GENERAL_NAMES *names, const char *host, struct error *err)
{
    unsigned char address[sizeof(struct in6_addr)];
    bool added = false;
    if (inet_pton(AF_INET, host, address) == 1)
        added = names_add_address(names, address, sizeof(struct in_addr));
    else if (inet_pton(AF_INET6, host, address) == 1)
        added = names_add_address(names, address, sizeof(struct in6_addr));
    else if (!host_valid(host))
        return error_set(err, ERR_INVALID,
                         "\"%.80s\" is neither a DNS name nor an IP address (no port, no brackets, "
                         "no *)",
                         host);
    else
        added = names_add_text(names, GEN_DNS, host);
    return added ? ERR_OK : pki_error(err, ERR_NO_MEMORY, "naming whom a certificate is for");
}

static enum error_code names_add_hosts(GENERAL_NAMES *names, const char *const *hosts,
                                       struct error *err)
{
    if (hosts[0] == NULL)
        return error_set(err, ERR_INVALID, "a server's certificate needs a host's name");
    for (size_t i = 0; hosts[i] != NULL; i++) {
        if (i == PKI_HOSTS_MAX)
            return error_set(err, ERR_LIMIT, "more than %d names for one server", PKI_HOSTS_MAX);
        enum error_code code = names_add_host(names, hosts[i], err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum error_code pki_ca_sign_server(const struct pki_ca *ca, const struct pki_key *key,
                                   const char *const *hosts, const struct pki_validity *validity,
                                   struct pki_certs **ret_certs, struct error *err)
{
    struct span span = {0};
    AUTO(X509_free) X509 *x509 = NULL;
    AUTO(GENERAL_NAMES_free) GENERAL_NAMES *names = GENERAL_NAMES_new();
    if (names == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = names_add_hosts(names, hosts, err);
    if (code == ERR_OK)
        code = leaf_span(ca, validity, &span, err);
    if (code == ERR_OK)
        code = x509_begin(key->pkey, hosts[0], ca_x509(ca), &span, &x509, err);
    if (code == ERR_OK)
        code = leaf_finish(ca, x509, names, "serverAuth", err);
    if (code == ERR_OK)
        code = certs_of(x509, ca_x509(ca), ret_certs, err);
    if (code == ERR_OK)
        x509 = NULL;
    return code;
}

static bool identity_valid(const char *identity)
{
    static const char prefix[] = "kitsune:";
    if (strncmp(identity, prefix, sizeof(prefix) - 1) != 0 || strlen(identity) >= PKI_IDENTITY_MAX)
        return false;
    for (const char *p = identity; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr(":._-", *p) == NULL)
            return false;
    }
    return isalnum((unsigned char)strrchr(identity, ':')[1]);
}

enum error_code pki_ca_sign_client(const struct pki_ca *ca, const char *csr_pem,
                                   const char *identity, const struct pki_validity *validity,
                                   struct pki_certs **ret_certs, struct error *err)
{
    if (!identity_valid(identity))
        return error_set(err, ERR_INVALID, "\"%.80s\" cannot be an identity", identity);
    struct span span = {0};
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    AUTO(X509_free) X509 *x509 = NULL;
    AUTO(GENERAL_NAMES_free) GENERAL_NAMES *names = GENERAL_NAMES_new();
    if (names == NULL || !names_add_text(names, GEN_URI, identity))
        return pki_error(err, ERR_NO_MEMORY, "naming whom a certificate is for");
    enum error_code code = pki_csr_read(csr_pem, &pkey, err);
    if (code == ERR_OK)
        code = leaf_span(ca, validity, &span, err);
    if (code == ERR_OK)
        code = x509_begin(pkey, strrchr(identity, ':') + 1, ca_x509(ca), &span, &x509, err);
    if (code == ERR_OK)
        code = leaf_finish(ca, x509, names, "clientAuth", err);
    if (code == ERR_OK)
        code = certs_of(x509, NULL, ret_certs, err);
    if (code == ERR_OK)
        x509 = NULL;
    return code;
}
