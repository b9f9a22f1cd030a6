#include "common/pki/pki_openssl.h"

#include "common/base/clock.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum error_code pki_error(struct error *err, enum error_code code, const char *fmt, ...)
{
    unsigned long what = ERR_get_error(); /* the first one is the cause of the others */
    const char *reason = what == 0 ? NULL : ERR_reason_error_string(what);
    if (what != 0 && ERR_GET_REASON(what) == ERR_R_MALLOC_FAILURE)
        code = ERR_NO_MEMORY;
    ERR_clear_error();
    char text[ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (reason == NULL)
        return error_set(err, code, "%s", text);
    return error_set(err, code, "%s: %s", text, reason);
}

/* ---- Owners -----------------------------------------------------------------------------------
 */

enum error_code pki_key_wrap(EVP_PKEY *pkey, struct pki_key **ret_key, struct error *err)
{
    struct pki_key *key = MEM_NEW(struct pki_key);
    if (key == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    key->pkey = pkey;
    *ret_key = key;
    return ERR_OK;
}

void pki_key_free(struct pki_key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_free(key->pkey);
    mem_free(key);
}

enum error_code pki_key_share(const struct pki_key *key, struct pki_key **ret_key,
                              struct error *err)
{
    enum error_code code = pki_key_wrap(key->pkey, ret_key, err);
    if (code == ERR_OK)
        (void)EVP_PKEY_up_ref(key->pkey);
    return code;
}

void pki_stack_free(pki_stack *list)
{
    sk_X509_pop_free(list, X509_free);
}

enum error_code pki_certs_wrap(pki_stack *list, struct pki_certs **ret_certs, struct error *err)
{
    struct pki_certs *certs = MEM_NEW(struct pki_certs);
    if (certs == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    certs->list = list;
    *ret_certs = certs;
    return ERR_OK;
}

enum error_code pki_certs_share(const struct pki_certs *certs, struct pki_certs **ret_certs,
                                struct error *err)
{
    AUTO(pki_stack_free) pki_stack *list = X509_chain_up_ref(certs->list);
    if (list == NULL)
        return pki_error(err, ERR_NO_MEMORY, "sharing a certificate");
    enum error_code code = pki_certs_wrap(list, ret_certs, err);
    if (code == ERR_OK)
        list = NULL;
    return code;
}

void pki_certs_free(struct pki_certs *certs)
{
    if (certs == NULL)
        return;
    pki_stack_free(certs->list);
    mem_free(certs);
}

/* ---- Texts ------------------------------------------------------------------------------------
 */

int64_t pki_asn1_time_ms(const ASN1_TIME *time)
{
    struct tm tm = {0};
    if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1) {
        ERR_clear_error();
        return INT64_MIN;
    }
    return (int64_t)timegm(&tm) * 1000;
}

void pki_time_text(int64_t wall_ms, char ret_text[PKI_TIME_TEXT_MAX])
{
    char text[CLOCK_TEXT_MAX];
    clock_format(wall_ms, text);
    char *fraction = strchr(text, '.');
    (void)snprintf(ret_text, PKI_TIME_TEXT_MAX, "%.*sZ",
                   fraction == NULL ? 0 : (int)(fraction - text), text);
}

void pki_name_text(const X509_NAME *name, char ret_text[PKI_NAME_TEXT_MAX])
{
    (void)snprintf(ret_text, PKI_NAME_TEXT_MAX, "nobody");
    AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
    /* This form escapes whatever a terminal or a log might stumble over. */
    if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) > 0) {
        char *text = NULL;
        long len = BIO_get_mem_data(bio, &text);
        if (len > 0)
            (void)snprintf(ret_text, PKI_NAME_TEXT_MAX, "%.*s", (int)len, text);
    }
    ERR_clear_error();
}
