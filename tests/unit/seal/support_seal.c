#include "unit/seal/support_seal.h"

#include "common/base/text.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

const char golden_plan[] =
    "{\"name\":\"patch\",\"servers\":[\"web-1\",\"web-2\",\"web-3\"],\"steps\":[{\"name\":"
    "\"hello\","
    "\"type\":\"echo\",\"params\":{\"message\":\"h\xc3\xa9\"},\"required\":true,"
    "\"continueOnFailure\":false,\"timeoutSeconds\":1.5,\"retry\":{\"maximumAttempts\":3,"
    "\"initialIntervalSeconds\":1,\"backoffCoefficient\":2.5,\"maximumIntervalSeconds\":60,"
    "\"nonRetryableExitCodes\":[64,65]},\"onInterrupt\":\"retry\"}],\"rolloutStrategy\":{"
    "\"type\":\"Rolling\",\"batchSize\":[1,\"50%\"],\"batchDelaySeconds\":10,"
    "\"maxFailures\":\"12.5%\",\"maxUnreachable\":-1,\"startTimeoutSeconds\":300,"
    "\"reconnectTimeoutSeconds\":300},\"rollback\":{\"scope\":\"failed\","
    "\"confirmTimeoutSeconds\":9},\"signing\":{\"version\":1,"
    "\"nonce\":\"000102030405060708090a0b0c0d0e0f\",\"notBefore\":\"2026-11-26T06:00:00.000Z\","
    "\"expires\":\"2026-11-26T14:00:00.000Z\",\"digest\":\"" GOLDEN_DIGEST "\",\"signatures\":[{"
    "\"key\":\"" GOLDEN_KEY_ID "\",\"signature\":\"" GOLDEN_SIGNATURE "\"}]}}";

struct plan *plan_of(const char *text)
{
    struct plan *plan = NULL;
    struct error err = {0};
    if (plan_read(text, strlen(text), &plan, &err) != ERR_OK)
        fail_msg("%s: %s", err.message, text);
    assert_non_null(plan);
    return plan;
}

struct buf statement_of(const struct plan *plan)
{
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    struct buf b = BUF_INIT;
    struct error err = {0};
    if (seal_tree_new(plan, &tree, &err) != ERR_OK ||
        seal_plan_write(plan, tree, &b, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return b;
}

void digest_of(const struct plan *plan, char ret[SEAL_HASH_TEXT])
{
    AUTO_BUF struct buf b = statement_of(plan);
    struct seal_hash hash;
    assert_int_equal(seal_hash_bytes(b.data, b.len, &hash, NULL), ERR_OK);
    text_hex(hash.bytes, sizeof(hash.bytes), ret);
}

struct seal_keys *keys_of(const char *text)
{
    struct seal_keys *keys = NULL;
    struct error err = {0};
    if (seal_keys_parse("keys", text, strlen(text), &keys, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return keys;
}
