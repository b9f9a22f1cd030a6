/* Signed plans at the orchestrator: what it takes, and what it says of them to agents. */
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/plan/plan_json.h"
#include "common/seal/seal_plan.h"
#include "unit/dispatch/support_dispatch.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { HOUR_MS = 3600 * 1000 };

static int setup(void **state)
{
    static struct bench b;
    bench_open(&b);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    return 0;
}

/* A plan for "a", "b" and "c" that is signed, as far as can be told without keys. Caller:
 * mem_free. */
static char *signed_plan(int64_t not_before_ms, int64_t expires_ms)
{
    static const char head[] =
        "{\"name\":\"n\",\"servers\":[\"a\",\"b\",\"c\"],\"steps\":[{\"name\":\"s\",\"type\":"
        "\"echo\",\"params\":{\"message\":\"m\"}}],\"rolloutStrategy\":{\"type\":\"Parallel\"},"
        "\"rollback\":{\"scope\":\"failed\",\"confirmTimeoutSeconds\":9},\"signing\":{"
        "\"version\":1,\"nonce\":\"000102030405060708090a0b0c0d0e0f\",\"notBefore\":"
        "\"2026-11-26T06:00:00.000Z\",\"expires\":\"2026-11-26T06:00:00.000Z\"";
    AUTO(plan_free) struct plan *plan = NULL;
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    AUTO_BUF struct buf statement = BUF_INIT;
    AUTO_BUF struct buf text = BUF_INIT;
    struct seal_hash hash;
    struct error err = {0};
    buf_printf(
        &text,
        "%s,\"digest\":\"%0*d\",\"signatures\":[{\"key\":\"%0*d\",\"signature\":\"%0*d\"}]}}", head,
        PLAN_DIGEST_DIGITS, 0, PLAN_KEY_DIGITS, 0, PLAN_SIGNATURE_DIGITS, 0);
    if (plan_read(text.data, text.len, &plan, &err) != ERR_OK)
        fail_msg("%s", err.message);
    plan->signing.not_before_ms = not_before_ms;
    plan->signing.expires_ms = expires_ms;
    assert_int_equal(seal_tree_new(plan, &tree, NULL), ERR_OK);
    assert_int_equal(seal_plan_write(plan, tree, &statement, NULL), ERR_OK);
    assert_int_equal(seal_hash_bytes(statement.data, statement.len, &hash, NULL), ERR_OK);
    text_hex(hash.bytes, sizeof(hash.bytes), plan->signing.digest);
    buf_clear(&text);
    plan_write(&text, plan);
    char *copy = buf_take(&text, NULL);
    assert_non_null(copy);
    return copy;
}

/* One that holds from an hour ago to one ahead. */
static char *signed_plan_now(const struct bench *b)
{
    return signed_plan(b->wall_ms - HOUR_MS, b->wall_ms + HOUR_MS);
}

static void assert_refused(struct bench *b, const char *plan, const char *why)
{
    struct error err = {0};
    assert_int_equal(bench_try_submit(b, "r", plan, false, &err), ERR_CONFLICT);
    if (!strstr(err.message, why))
        fail_msg("%s", err.message);
}

static void what_no_agent_would_run_is_not_taken(void **state)
{
    struct bench *b = *state;
    AUTO_FREE char *late = signed_plan(b->wall_ms - 2 * (int64_t)HOUR_MS, b->wall_ms - HOUR_MS);
    AUTO_FREE char *early = signed_plan(b->wall_ms + HOUR_MS, b->wall_ms + 2 * (int64_t)HOUR_MS);
    AUTO_FREE char *changed = signed_plan_now(b);
    assert_refused(b, late, "expired at");
    assert_refused(b, early, "is not to begin before");
    strstr(changed, "\"m\"")[1] = 'k';
    assert_refused(b, changed, "the plan is not what was signed");
}

/* The proof that an agent gets leads from its server to the root of them all. */
static void assert_proof(const struct fake_conn *c, const char *server, int64_t index)
{
    struct seal_hash path[SEAL_PROOF_MAX];
    struct seal_hash root;
    const struct wire_frame *frame = conn_last(c, WIRE_EXECUTE);
    assert_non_null(frame);
    const struct wire_execute *execute = &frame->execute;
    assert_true(execute->is_signed);
    assert_int_equal(execute->seal.index, index);
    assert_int_equal(execute->seal.servers, 3);
    assert_int_equal(execute->seal.scope, SCOPE_FAILED);
    assert_string_equal(execute->seal.plan, "n");
    assert_string_equal(execute->seal.signing.nonce, "000102030405060708090a0b0c0d0e0f");
    assert_int_equal(execute->seal.signing.signatures.count, 1);
    assert_true(text_unhex(execute->seal.root, root.bytes, sizeof(root.bytes)));
    for (size_t i = 0; i < execute->seal.path.count; i++)
        assert_true(
            text_unhex(*ARRAY_AT(&execute->seal.path, char *, i), path[i].bytes, SEAL_HASH_BYTES));
    const struct seal_proof proof = {(uint32_t)index, 3, path, execute->seal.path.count};
    assert_int_equal(seal_proof_check(&proof, server, &root, NULL), ERR_OK);
}

static void each_agent_gets_the_signatures_and_the_proof_for_its_server(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, c;
    AUTO_FREE char *plan = signed_plan_now(b);
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &c, "c", "i3", NULL);
    bench_submit(b, "r1", plan);
    bench_settle(b);
    assert_proof(&a, "a", 0);
    assert_proof(&c, "c", 2);
    conn_drop(&a);
    conn_drop(&c);
    /* Also what is sent again after a restart, from what the journal has. */
    bench_restart(b);
    conn_connect(b, &c, "c", "i3", NULL);
    bench_settle(b);
    assert_proof(&c, "c", 2);
    conn_drop(&c);
}

static void what_is_not_signed_says_nothing_of_it(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    conn_connect(b, &a, "a", "i1", NULL);
    bench_submit(b, "r1",
                 "{\"servers\":[\"a\"],\"steps\":[{\"name\":\"s\",\"type\":\"echo\",\"params\":{"
                 "\"message\":\"m\"}}]}");
    bench_settle(b);
    assert_false(conn_last(&a, WIRE_EXECUTE)->execute.is_signed);
    conn_drop(&a);
}

static void the_same_again_is_a_repeat_also_past_its_time(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    AUTO_FREE char *plan = signed_plan_now(b);
    bench_submit(b, "r1", plan);
    bench_settle(b);
    b->wall_ms += 2 * (int64_t)HOUR_MS;
    assert_int_equal(bench_try_submit(b, "r1", plan, false, &err), ERR_OK);
    assert_int_equal(bench_try_submit(b, "r2", plan, false, &err), ERR_CONFLICT);
}

static void what_is_signed_is_not_retried(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    struct error err = {0};
    AUTO_FREE char *plan = signed_plan_now(b);
    conn_connect(b, &a, "a", "i1", NULL);
    bench_submit(b, "r1", plan);
    bench_settle(b);
    conn_ended(b, &a, "r1", EXECUTION_FAILED);
    bench_pass(b, HOUR_MS);
    bench_settle(b);
    assert_true(rollout_state_final(bench_state(b, "r1")));
    assert_int_equal(bench_retry(b, "r1", "r2", &err), ERR_CONFLICT);
    assert_non_null(strstr(err.message, "kitsune sign --anew"));
    conn_drop(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(what_no_agent_would_run_is_not_taken),
        TEST(each_agent_gets_the_signatures_and_the_proof_for_its_server),
        TEST(what_is_not_signed_says_nothing_of_it),
        TEST(the_same_again_is_a_repeat_also_past_its_time),
        TEST(what_is_signed_is_not_retried),
#undef TEST
    };
    return cmocka_run_group_tests_name("sealed", tests, NULL, NULL);
}
