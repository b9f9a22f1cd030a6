/* Trusted keys as text, and how many of them have signed. */
#include "unit/seal/support_seal.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KEY_A "ed25519 " GOLDEN_KEY " alice\n"
#define KEY_B "ed25519 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29 bob\n"

static void assert_wrong(const char *text, const char *why)
{
    struct seal_keys *keys = NULL;
    struct error err = {0};
    assert_int_equal(seal_keys_parse("file", text, strlen(text), &keys, &err), ERR_INVALID);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" is not in \"%s\"", why, err.message);
    assert_null(keys);
}

static void keys_are_read_with_names_comments_and_a_threshold(void **state)
{
    (void)state;
    AUTO(seal_keys_free)
    struct seal_keys *keys = keys_of("# who may\n\n threshold\t2 # of both\r\n" KEY_A "  " KEY_B);
    assert_int_equal(seal_keys_count(keys), 2);
    assert_int_equal(seal_keys_threshold(keys), 2);
    assert_string_equal(seal_keys_at(keys, 0)->name, "alice");
    assert_string_equal(seal_keys_at(keys, 0)->id, GOLDEN_KEY_ID);
    assert_string_equal(seal_keys_at(keys, 1)->name, "bob");
}

static void one_key_needs_no_threshold_and_no_name(void **state)
{
    (void)state;
    AUTO(seal_keys_free) struct seal_keys *keys = keys_of("ed25519 " GOLDEN_KEY);
    assert_int_equal(seal_keys_threshold(keys), 1);
    assert_string_equal(seal_keys_at(keys, 0)->name, "");
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    (void)state;
    assert_wrong("", "there is no key in it");
    assert_wrong("threshold 1\n", "there is no key in it");
    assert_wrong(KEY_A KEY_B, "a line \"threshold N\" is missing: how many of the 2 keys");
    assert_wrong(KEY_A KEY_B "threshold 3\n", "the threshold is 3, but there are only 2 keys");
    assert_wrong(KEY_A "threshold 1\nthreshold 1\n", "line 3: the threshold is there already");
    assert_wrong(KEY_A KEY_B KEY_A "threshold 2\n",
                 "line 3: key " GOLDEN_KEY_ID " is there already");
    static const char *const thresholds[] = {
        "threshold\n",    "threshold 0\n",   "threshold -1\n",
        "threshold 1x\n", "threshold +1\n",  "threshold 65\n",
        "threshold 01\n", "threshold 1e9\n", "threshold 4294967297\n"};
    for (size_t i = 0; i < ARRAY_LEN(thresholds); i++)
        assert_wrong(thresholds[i], "line 1: \"threshold\" and how many");
    assert_wrong("threshold 1 2\n", "line 1: is neither");
    assert_wrong("ed25519\n", "line 1: a key is");
    assert_wrong("ed25519 12\n", "line 1: a key is");
    assert_wrong("ed25519 D75A980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\n",
                 "line 1: a key is");
    assert_wrong("ed25519 " GOLDEN_KEY " two names\n", "line 1: is neither");
    assert_wrong("rsa " GOLDEN_KEY "\n", "line 1: is neither");
    struct seal_keys *keys = NULL;
    assert_int_equal(seal_keys_parse("file", KEY_A "\0", sizeof(KEY_A), &keys, NULL), ERR_INVALID);
}

static void there_are_not_more_keys_than_there_may_be(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "threshold 1\n");
    for (int i = 0; i < SEAL_KEYS_MAX; i++)
        buf_printf(&b, "ed25519 %064x k\n", (unsigned)i);
    AUTO(seal_keys_free) struct seal_keys *keys = keys_of(b.data);
    assert_int_equal(seal_keys_count(keys), SEAL_KEYS_MAX);
    buf_puts(&b, KEY_A);
    assert_wrong(b.data, "more than 64 keys");
}

static void a_line_is_read_back_as_the_key(void **state)
{
    (void)state;
    AUTO(seal_keys_free) struct seal_keys *keys = keys_of(KEY_A);
    char line[SEAL_KEY_LINE_MAX];
    struct seal_key key;
    seal_key_line(seal_keys_at(keys, 0), line);
    assert_string_equal(line, "ed25519 " GOLDEN_KEY " alice");
    /* A name is one word that harms no terminal. */
    assert_int_equal(
        seal_key_of(&seal_keys_at(keys, 0)->public, "uid 7@h\x1b[m#\xc3\xa9", &key, NULL), ERR_OK);
    assert_string_equal(key.name, "uid7@h[m");
}

/* ---- Signatures --------------------------------------------------------------------------------
 */

static void a_signature_of_another_program_fits(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(golden_plan);
    AUTO_BUF struct buf statement = statement_of(plan);
    AUTO(seal_keys_free) struct seal_keys *one = keys_of(KEY_A);
    AUTO(seal_keys_free) struct seal_keys *either = keys_of("threshold 1\n" KEY_B KEY_A);
    AUTO(seal_keys_free) struct seal_keys *both = keys_of("threshold 2\n" KEY_A KEY_B);
    struct error err = {0};
    assert_int_equal(seal_keys_check(one, &plan->signing, &statement, &err), ERR_OK);
    assert_int_equal(seal_keys_check(either, &plan->signing, &statement, &err), ERR_OK);
    assert_int_equal(seal_keys_check(both, &plan->signing, &statement, &err), ERR_DENIED);
    assert_non_null(strstr(err.message, "by 1 of the trusted keys, and 2 must"));
    statement.data[statement.len - 1] ^= 1;
    assert_int_equal(seal_keys_check(one, &plan->signing, &statement, &err), ERR_DENIED);
    assert_non_null(strstr(err.message, "by key " GOLDEN_KEY_ID " alice does not fit"));
}

/* The same twice, and the same under the other's id: one person is one. */
static void a_key_counts_once(void **state)
{
    (void)state;
    static const char other_id[] = "139e3940e64b5491"; /* bob's */
    AUTO(plan_free) struct plan *plan = plan_of(golden_plan);
    AUTO_BUF struct buf statement = statement_of(plan);
    AUTO(seal_keys_free) struct seal_keys *both = keys_of("threshold 2\n" KEY_A KEY_B);
    struct plan_signature twice[2];
    struct plan_signing signing = plan->signing;
    assert_string_equal(seal_keys_at(both, 1)->id, other_id);
    twice[0] = twice[1] = *ARRAY_AT(&signing.signatures, struct plan_signature, 0);
    signing.signatures = (struct array){twice, 2};
    assert_int_equal(seal_keys_check(both, &signing, &statement, NULL), ERR_DENIED);
    char id[sizeof(other_id)];
    memcpy(id, other_id, sizeof(id));
    twice[1].key = id;
    assert_int_equal(seal_keys_check(both, &signing, &statement, NULL), ERR_DENIED);
}

static void a_wrong_signature_beside_a_right_one_takes_nothing_away(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(golden_plan);
    AUTO_BUF struct buf statement = statement_of(plan);
    AUTO(seal_keys_free) struct seal_keys *one = keys_of(KEY_A);
    struct plan_signature items[2];
    struct plan_signing signing = plan->signing;
    char zeroes[PLAN_SIGNATURE_DIGITS + 1];
    memset(zeroes, '0', PLAN_SIGNATURE_DIGITS);
    zeroes[PLAN_SIGNATURE_DIGITS] = '\0';
    items[0] = items[1] = *ARRAY_AT(&signing.signatures, struct plan_signature, 0);
    items[0].signature = zeroes;
    signing.signatures = (struct array){items, 2};
    assert_int_equal(seal_keys_check(one, &signing, &statement, NULL), ERR_OK);
    signing.signatures.count = 1;
    assert_int_equal(seal_keys_check(one, &signing, &statement, NULL), ERR_DENIED);
    zeroes[3] = 'x';
    assert_int_equal(seal_keys_check(one, &signing, &statement, NULL), ERR_DENIED);
    signing.signatures.count = 0;
    assert_int_equal(seal_keys_check(one, &signing, &statement, NULL), ERR_DENIED);
}

/* ---- The whole plan ----------------------------------------------------------------------------
 */

static void a_plan_that_was_changed_is_told_by_its_digest(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(golden_plan);
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    struct error err = {0};
    assert_int_equal(seal_tree_new(plan, &tree, NULL), ERR_OK);
    assert_int_equal(seal_plan_check(plan, tree, &err), ERR_OK);
    plan->confirm_timeout_ms++;
    assert_int_equal(seal_plan_check(plan, tree, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.message, "sign it again"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_read_with_names_comments_and_a_threshold),
        cmocka_unit_test(one_key_needs_no_threshold_and_no_name),
        cmocka_unit_test(what_is_wrong_is_told_with_its_line),
        cmocka_unit_test(there_are_not_more_keys_than_there_may_be),
        cmocka_unit_test(a_line_is_read_back_as_the_key),
        cmocka_unit_test(a_signature_of_another_program_fits),
        cmocka_unit_test(a_key_counts_once),
        cmocka_unit_test(a_wrong_signature_beside_a_right_one_takes_nothing_away),
        cmocka_unit_test(a_plan_that_was_changed_is_told_by_its_digest),
    };
    return cmocka_run_group_tests_name("seal_keys", tests, NULL, NULL);
}
