/* The signatures of a plan: their tables, and the rules across their fields. What they are over is
 * common/seal's. */
#include "common/plan/plan_json_internal.h"

#include <stdio.h>
#include <string.h>

const char *plan_hex_check(const char *s)
{
    return s[strspn(s, "0123456789abcdef")] == '\0' ? NULL : "lower-case hexadecimal digits";
}

#define HEX(name_, type_, member_, digits_, doc_)                                                  \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(type_, member_), .flags = JSON_REQUIRED,     \
        .min = (digits_), .max = (digits_), .check = plan_hex_check, .doc = (doc_)                 \
    }

static const struct json_field signature_fields[] = {
    HEX("key", struct plan_signature, key, PLAN_KEY_DIGITS, "The id of the key that signed."),
    HEX("signature", struct plan_signature, signature, PLAN_SIGNATURE_DIGITS,
        "Its Ed25519 signature."),
};
static const struct json_table signature_table =
    JSON_TABLE("signature", struct plan_signature, signature_fields, "One signature.");
static const struct json_field signature_item = {.type = JSON_OBJECT, .table = &signature_table};

static const struct json_field signing_fields[] = {
    {.name = "version",
     .type = JSON_INT,
     JSON_AT(struct plan_signing, version),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = 1000000,
     .doc = "The form of what is signed."},
    HEX("nonce", struct plan_signing, nonce, PLAN_NONCE_DIGITS,
        "Random: an agent runs what has this nonce once."),
    {.name = "notBefore",
     .type = JSON_CUSTOM,
     JSON_AT(struct plan_signing, not_before_ms),
     .flags = JSON_REQUIRED,
     .custom = &json_time_custom,
     .doc = "No agent begins before this time."},
    {.name = "expires",
     .type = JSON_CUSTOM,
     JSON_AT(struct plan_signing, expires_ms),
     .flags = JSON_REQUIRED,
     .custom = &json_time_custom,
     .doc = "No agent begins after this time. What it has begun it ends."},
    HEX("digest", struct plan_signing, digest, PLAN_DIGEST_DIGITS,
        "SHA-256 of what was signed: tells a plan that was changed since."),
    {.name = "signatures",
     .type = JSON_ARRAY,
     JSON_AT(struct plan_signing, signatures),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PLAN_MAX_SIGNATURES,
     .item = &signature_item,
     .doc = "The signatures, one a key."},
};
const struct json_table plan_signing_table =
    JSON_TABLE("signing", struct plan_signing, signing_fields,
               "Who has signed the plan, and for how long that holds.");

static const char *key_of(const struct plan_signing *signing, size_t i)
{
    return ARRAY_AT(&signing->signatures, struct plan_signature, i)->key;
}

static void check_keys(const struct plan_signing *signing, struct problems *ps)
{
    for (size_t i = 0; i < signing->signatures.count; i++) {
        for (size_t before = 0; before < i; before++) {
            const char *key = key_of(signing, i);
            const char *other = key_of(signing, before);
            if (!key || !other || strcmp(key, other) != 0)
                continue;
            char path[PROBLEM_PATH_MAX];
            (void)snprintf(path, sizeof(path), "signing.signatures[%zu].key", i);
            problems_add(ps, path, "\"%s\" has signed already (signatures[%zu])", key, before);
        }
    }
}

void plan_signing_check(const struct plan_signing *signing, struct problems *ps)
{
    if (signing->version > PLAN_SIGNING_VERSION)
        problems_add(ps, "signing.version", "only version %d is known here", PLAN_SIGNING_VERSION);
    bool timed = signing->not_before_ms != 0 && signing->expires_ms != 0; /* else a problem apart */
    int64_t lifetime_ms = signing->expires_ms - signing->not_before_ms;
    if (timed && lifetime_ms <= 0)
        problems_add(ps, "signing.expires", "must be later than notBefore");
    if (timed && lifetime_ms > PLAN_MAX_SECONDS * INT64_C(1000))
        problems_add(ps, "signing.expires", "must be at most %d days after notBefore",
                     PLAN_MAX_SECONDS / (24 * 3600));
    check_keys(signing, ps);
}
