#include "common/seal/seal.h"

#include "common/base/clock.h"
#include "common/base/text.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

enum { NONCE_BYTES = PLAN_NONCE_DIGITS / 2 };

/* What each run of bytes begins with: the same bytes can never be taken for something else, and
 * another form has another name. */
static const char statement_label[] = "kitsune plan statement 1";
static const char steps_label[] = "kitsune plan steps 1";
/* Those of a plan that has vars or conditions; without them the bytes are as they always were. */
static const char steps_values_label[] = "kitsune plan steps 1 with values";
/* And those of a plan that has secrets. */
static const char steps_secrets_label[] = "kitsune plan steps 1 with secrets";
static const char strategy_label[] = "kitsune plan strategy 1";
static_assert(PLAN_SIGNING_VERSION == 1, "the labels say it");

/* ---- Values: big-endian numbers, texts with their length before them ---------------------------
 */

static void put_number(struct buf *b, uint64_t value, size_t bytes)
{
    while (bytes-- > 0)
        buf_putc(b, (char)(uint8_t)(value >> (8 * bytes)));
}

static void put_count(struct buf *b, size_t count)
{
    assert(count <= UINT32_MAX);
    put_number(b, count, 4);
}

static void put_int(struct buf *b, int64_t value)
{
    put_number(b, (uint64_t)value, 8);
}

static void put_flag(struct buf *b, bool value)
{
    put_number(b, value, 1);
}

/* The bits of IEEE 754; there is one zero. */
static void put_real(struct buf *b, double value)
{
    uint64_t bits = 0;
    static_assert(sizeof(bits) == sizeof(value), "a double has 64 bits");
    if (value != 0)
        memcpy(&bits, &value, sizeof(bits));
    put_number(b, bits, 8);
}

static void put_text(struct buf *b, const char *text)
{
    size_t len = strlen(text);
    put_count(b, len);
    buf_append(b, text, len);
}

static void put_hash(struct buf *b, const struct seal_hash *hash)
{
    buf_append(b, hash->bytes, sizeof(hash->bytes));
}

/* ---- Hashes ------------------------------------------------------------------------------------
 */

enum error_code seal_hash_bytes(const void *data, size_t len, struct seal_hash *ret,
                                struct error *err)
{
    struct seal_hash hash;
    unsigned int hash_len = 0;
    if (EVP_Digest(data, len, hash.bytes, &hash_len, EVP_sha256(), NULL) != 1 ||
        hash_len != sizeof(hash.bytes)) {
        ERR_clear_error();
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    *ret = hash;
    return ERR_OK;
}

static enum error_code hash_buf(const struct buf *b, struct seal_hash *ret, struct error *err)
{
    enum error_code code = buf_check(b, err);
    return code == ERR_OK ? seal_hash_bytes(b->data, b->len, ret, err) : code;
}

static void put_step(struct buf *b, const struct plan_step *step)
{
    const struct plan_retry *retry = &step->retry;
    put_text(b, step->name);
    put_text(b, step->type);
    put_text(b, step->params_json);
    put_flag(b, step->required);
    put_flag(b, step->continue_on_failure);
    put_int(b, step->timeout_ms);
    put_int(b, retry->maximum_attempts);
    put_int(b, retry->initial_interval_ms);
    put_real(b, retry->backoff_coefficient);
    put_int(b, retry->maximum_interval_ms);
    put_count(b, retry->non_retryable_exit_codes.count);
    for (size_t i = 0; i < retry->non_retryable_exit_codes.count; i++)
        put_int(b, *ARRAY_AT(&retry->non_retryable_exit_codes, int64_t, i));
    put_text(b, plan_interrupt_name((enum plan_interrupt)step->on_interrupt));
}

static void put_optional(struct buf *b, const char *text)
{
    put_flag(b, text != NULL);
    put_text(b, text ? text : "");
}

static bool has_values(const struct array *steps, const char *vars)
{
    for (size_t i = 0; i < steps->count; i++) {
        if (ARRAY_AT(steps, struct plan_step, i)->when)
            return true;
    }
    return vars != NULL;
}

enum error_code seal_hash_steps(const struct array *steps, const char *vars, const char *secrets,
                                struct seal_hash *ret, struct error *err)
{
    AUTO_BUF struct buf b = BUF_INIT;
    bool values = secrets || has_values(steps, vars);
    put_text(&b, secrets ? steps_secrets_label : values ? steps_values_label : steps_label);
    if (values)
        put_optional(&b, vars);
    if (secrets)
        put_text(&b, secrets);
    put_count(&b, steps->count);
    for (size_t i = 0; i < steps->count; i++) {
        const struct plan_step *step = ARRAY_AT(steps, struct plan_step, i);
        put_step(&b, step);
        if (values)
            put_optional(&b, step->when);
    }
    return hash_buf(&b, ret, err);
}

static void put_size(struct buf *b, const struct plan_size *size)
{
    put_flag(b, size->percent);
    put_real(b, size->value);
}

static void put_limit(struct buf *b, const struct plan_limit *limit)
{
    static const char *const kinds[] = {
        [LIMIT_ABSENT] = "absent", [LIMIT_NONE] = "none", [LIMIT_SIZE] = "size"};
    put_text(b, kinds[limit->kind]);
    if (limit->kind == LIMIT_SIZE)
        put_size(b, &limit->size);
}

enum error_code seal_hash_strategy(const struct plan_strategy *strategy, struct seal_hash *ret,
                                   struct error *err)
{
    AUTO_BUF struct buf b = BUF_INIT;
    put_text(&b, strategy_label);
    put_text(&b, plan_strategy_name((enum plan_strategy_type)strategy->type));
    put_count(&b, strategy->batch_sizes.count);
    for (size_t i = 0; i < strategy->batch_sizes.count; i++)
        put_size(&b, ARRAY_AT(&strategy->batch_sizes, struct plan_size, i));
    put_int(&b, strategy->batch_delay_ms);
    put_limit(&b, &strategy->max_failures);
    put_limit(&b, &strategy->max_unreachable);
    put_real(&b, strategy->canary_percentage);
    put_int(&b, strategy->max_parallel);
    put_int(&b, strategy->max_touched);
    put_int(&b, strategy->start_timeout_ms);
    put_int(&b, strategy->reconnect_timeout_ms);
    return hash_buf(&b, ret, err);
}

/* ---- The statement -----------------------------------------------------------------------------
 */

enum error_code seal_write(const struct seal_statement *statement, struct buf *out,
                           struct error *err)
{
    const struct plan_signing *signing = statement->signing;
    uint8_t nonce[NONCE_BYTES];
    if (signing->version != PLAN_SIGNING_VERSION)
        return error_set(err, ERR_UNSUPPORTED,
                         "the plan is signed in form %lld, and only form %d is known here",
                         (long long)signing->version, PLAN_SIGNING_VERSION);
    if (!signing->nonce || !text_unhex(signing->nonce, nonce, sizeof(nonce)))
        return error_set(err, ERR_INVALID, "the nonce of the signed plan is none");
    put_text(out, statement_label);
    put_flag(out, statement->name != NULL);
    put_text(out, statement->name ? statement->name : "");
    put_hash(out, &statement->steps);
    put_hash(out, &statement->strategy);
    put_text(out, plan_scope_name((enum plan_scope)statement->scope));
    put_int(out, statement->confirm_ms);
    put_count(out, statement->server_count);
    put_hash(out, &statement->servers);
    put_int(out, signing->not_before_ms);
    put_int(out, signing->expires_ms);
    buf_append(out, nonce, sizeof(nonce));
    return buf_check(out, err);
}

enum error_code seal_check_time(const struct plan_signing *signing, int64_t now_ms,
                                struct error *err)
{
    char now[CLOCK_TEXT_MAX];
    char limit[CLOCK_TEXT_MAX];
    clock_format(now_ms, now);
    if (now_ms > signing->expires_ms + SEAL_CLOCK_TOLERANCE_MS) {
        clock_format(signing->expires_ms, limit);
        return error_set(err, ERR_STALE,
                         "the signed plan expired at %s, and it is %s here; sign it again", limit,
                         now);
    }
    if (now_ms < signing->not_before_ms - SEAL_CLOCK_TOLERANCE_MS) {
        clock_format(signing->not_before_ms, limit);
        return error_set(err, ERR_STALE,
                         "the signed plan is not to begin before %s, and it is %s here", limit,
                         now);
    }
    return ERR_OK;
}
