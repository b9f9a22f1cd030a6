#include "unit/agent/support_sealed.h"

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/plan/plan_json.h"
#include "common/seal/seal_keys.h"
#include "common/seal/seal_plan.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { HOUR_MS = 3600 * 1000 };

void sealed_rig_init(struct sealed_rig *s)
{
    struct pki_public public;
    struct seal_key key;
    char line[SEAL_KEY_LINE_MAX];
    memset(s, 0, sizeof(*s));
    s->epoch = 1;
    assert_int_equal(pki_signer_new(&s->signer, NULL), ERR_OK);
    assert_int_equal(pki_signer_public(s->signer, &public, NULL), ERR_OK);
    assert_int_equal(seal_key_of(&public, "test", &key, NULL), ERR_OK);
    memcpy(s->key, key.id, sizeof(s->key));
    seal_key_line(&key, line);
    assert_int_equal(trust_parse("keys", line, strlen(line), &s->trust, NULL), ERR_OK);
}

void sealed_rig_done(struct sealed_rig *s)
{
    pki_signer_free(s->signer);
    trust_free(s->trust);
    plan_free(s->plan);
}

static void signature_put(struct sealed_rig *s)
{
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    AUTO_BUF struct buf statement = BUF_INIT;
    uint8_t bytes[PKI_SIGNATURE_BYTES];
    struct plan_signing *signing = &s->plan->signing;
    assert_int_equal(seal_tree_new(s->plan, &tree, NULL), ERR_OK);
    assert_int_equal(seal_plan_write(s->plan, tree, &statement, NULL), ERR_OK);
    assert_int_equal(pki_sign(s->signer, statement.data, statement.len, bytes, NULL), ERR_OK);
    struct plan_signature *signature = MEM_NEW(struct plan_signature);
    assert_non_null(signature);
    signature->key = mem_strdup(s->key);
    signature->signature = mem_alloc(PLAN_SIGNATURE_DIGITS + 1);
    text_hex(bytes, sizeof(bytes), signature->signature);
    signing->signatures = (struct array){signature, 1};
}

void sealed_rig_sign(struct sealed_rig *s, const char *steps)
{
    AUTO_BUF struct buf text = BUF_INIT;
    struct error err = {0};
    static unsigned nonces;
    plan_free(TAKE(s->plan));
    buf_printf(&text, "{\"servers\":[\"s0\",\"s1\",\"s2\"],\"steps\":[%s]}", steps);
    if (plan_read(text.data, text.len, &s->plan, &err) != ERR_OK)
        fail_msg("%s", err.message);
    s->plan->confirm_timeout_ms = s->confirm_ms;
    AUTO_BUF struct buf nonce = BUF_INIT;
    buf_printf(&nonce, "%032x", ++nonces);
    s->plan->is_signed = true;
    s->plan->signing = (struct plan_signing){
        .version = PLAN_SIGNING_VERSION,
        .nonce = mem_strdup(nonce.data),
        .digest = mem_strdup("0000000000000000000000000000000000000000000000000000000000000000"),
        .not_before_ms = clock_wall_ms() - HOUR_MS,
        .expires_ms = clock_wall_ms() + HOUR_MS,
    };
    signature_put(s);
}

char *sealed_rig_frame(const struct sealed_rig *s, const char *rollout, uint32_t server)
{
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    AUTO_BUF struct buf b = BUF_INIT;
    struct seal_hash path[SEAL_PROOF_MAX];
    struct seal_hash strategy;
    char texts[SEAL_PROOF_MAX + 2][SEAL_HASH_TEXT];
    char *items[SEAL_PROOF_MAX];
    const struct plan *plan = s->plan;
    assert_int_equal(seal_tree_new(plan, &tree, NULL), ERR_OK);
    assert_int_equal(seal_hash_strategy(&plan->strategy, &strategy, NULL), ERR_OK);
    size_t count = seal_tree_proof(tree, server, path);
    for (size_t i = 0; i < count; i++) {
        text_hex(path[i].bytes, SEAL_HASH_BYTES, texts[i]);
        items[i] = texts[i];
    }
    text_hex(seal_tree_root(tree)->bytes, SEAL_HASH_BYTES, texts[SEAL_PROOF_MAX]);
    text_hex(strategy.bytes, SEAL_HASH_BYTES, texts[SEAL_PROOF_MAX + 1]);
    const struct wire_frame frame = {
        .type = WIRE_EXECUTE,
        .execute = {.rollout = (char *)(uintptr_t)rollout,
                    .epoch = s->epoch,
                    .rollback_on_failure = true,
                    .confirm_ms = plan->confirm_timeout_ms,
                    .steps = plan->steps,
                    .is_signed = true,
                    .seal = {.strategy = texts[SEAL_PROOF_MAX + 1],
                             .scope = plan->rollback_scope,
                             .servers = plan_server_count(plan),
                             .root = texts[SEAL_PROOF_MAX],
                             .index = server,
                             .path = {items, count},
                             .signing = plan->signing}},
    };
    wire_encode(&b, &frame);
    char *text = buf_take(&b, NULL);
    assert_non_null(text);
    return text;
}
