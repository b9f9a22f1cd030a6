/* What is signed: known bytes, and that no field of a plan is left out of them. */
#include "common/base/text.h"
#include "common/plan/plan_json_internal.h"
#include "unit/seal/support_seal.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Known bytes -------------------------------------------------------------------------------
 */

/* Another program has made these of the description: they stay as they are for as long as there is
 * form 1. */
static void the_bytes_of_a_plan_are_those_of_the_description(void **state)
{
    static const char expected[] =
        "000000186b697473756e6520706c616e2073746174656d656e74203101000000057061746368"
        "b75074da081670d9395edbd96a92f3536c2e60003f7093bf0f172b9d13a05ba5"
        "c42a329d528469ebc26bd283f53494b3c53ebbd0a38a6c468a270f9f8c3ff33c"
        "000000066661696c6564000000000000232800000003"
        "fda8e1b27a019f4ab941d4ac6907ba32480544a17b5fca61919c2dcb34b053a2"
        "000001a216707b00000001a21827ef00000102030405060708090a0b0c0d0e0f";
    (void)state;
    char digits[sizeof(expected)];
    char digest[SEAL_HASH_TEXT];
    AUTO(plan_free) struct plan *plan = plan_of(golden_plan);
    AUTO_BUF struct buf b = statement_of(plan);
    assert_int_equal(2 * b.len, strlen(expected));
    text_hex(b.data, b.len, digits);
    assert_string_equal(digits, expected);
    digest_of(plan, digest);
    assert_string_equal(digest, GOLDEN_DIGEST);
}

static void a_plan_without_a_name_is_another_than_one_with_an_empty_place_for_it(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(golden_plan);
    AUTO_BUF struct buf with = statement_of(plan);
    mem_free(TAKE(plan->name));
    AUTO_BUF struct buf without = statement_of(plan);
    assert_int_equal(without.len, with.len - strlen("patch"));
    assert_int_equal(without.data[strlen("kitsune plan statement 1") + 4], 0);
    assert_int_equal(with.data[strlen("kitsune plan statement 1") + 4], 1);
}

static void another_version_is_not_taken_for_this_one(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(golden_plan);
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    AUTO_BUF struct buf b = BUF_INIT;
    struct error err = {0};
    assert_int_equal(seal_tree_new(plan, &tree, NULL), ERR_OK);
    plan->signing.version = 2;
    assert_int_equal(seal_plan_write(plan, tree, &b, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "form 2"));
}

/* ---- Each field --------------------------------------------------------------------------------
 */

enum { OTHERS_MAX = 6, PATH_MAX_BYTES = 128 };
#define LEFT_OUT "" /* in place of a value */

/* A field of a plan with a value, and others that mean something else. */
struct sample {
    const char *path, *base, *others[OTHERS_MAX];
    bool unsigned_; /* not of what is signed */
    bool used;
};
#define FIELD(path_, base_, ...)                                                                   \
    {                                                                                              \
        .path = (path_), .base = (base_), .others = { __VA_ARGS__ }                                \
    }
#define UNSIGNED_FIELD(path_, base_, ...)                                                          \
    {                                                                                              \
        .path = (path_), .base = (base_), .others = {__VA_ARGS__}, .unsigned_ = true               \
    }
static struct sample samples[] = {
    FIELD("name", "\"n\"", "\"m\"", LEFT_OUT),
    FIELD("serverID", LEFT_OUT, NULL), /* another way to write servers */
    FIELD("servers", "[\"a\",\"b\",\"c\"]", "[\"a\",\"b\"]", "[\"a\",\"c\",\"b\"]",
          "[\"a\",\"b\",\"d\"]", "[\"a\",\"b\",\"c\",\"d\"]", "[\"ab\",\"c\"]"),
    FIELD("vars", "{\"v\":1}", "{\"v\":2}", "{\"w\":1}", LEFT_OUT),
    FIELD("secrets", "{\"s\":{\"env\":\"A\"}}", "{\"s\":{\"env\":\"B\"}}",
          "{\"s\":{\"file\":\"/A\"}}", "{\"t\":{\"env\":\"A\"}}", LEFT_OUT),
    FIELD("steps[].name", "\"s\"", "\"t\"", "\"se\""),
    FIELD("steps[].type", "\"echo\"", "\"sleep\""),
    FIELD("steps[].params", "{\"message\":\"m\"}", "{\"message\":\"n\"}", "{}"),
    FIELD("steps[].when", "\"vars.v == 1\"", "\"vars.v != 1\"", LEFT_OUT),
    FIELD("steps[].required", "true", "false"),
    FIELD("steps[].continueOnFailure", "false", "true"),
    FIELD("steps[].timeoutSeconds", "60", "61", "60.001"),
    FIELD("steps[].retry.maximumAttempts", "3", "4", LEFT_OUT),
    FIELD("steps[].retry.initialIntervalSeconds", "1", "2"),
    FIELD("steps[].retry.backoffCoefficient", "2", "2.5", "3"),
    FIELD("steps[].retry.maximumIntervalSeconds", "60", "70"),
    FIELD("steps[].retry.nonRetryableExitCodes", "[64,65]", "[64]", "[64,66]", "[64,65,66]",
          LEFT_OUT),
    FIELD("steps[].onInterrupt", "\"fail\"", "\"retry\"", "\"default\""),
    FIELD("rolloutStrategy.type", "\"Canary\"", "\"Rolling\"", "\"Parallel\""),
    FIELD("rolloutStrategy.batchSize", "[1,\"10%\"]", "[1,10]", "[2,\"10%\"]", "1", LEFT_OUT),
    FIELD("rolloutStrategy.batchDelaySeconds", "5", "6", LEFT_OUT),
    FIELD("rolloutStrategy.maxFailures", "2", "\"2%\"", "3", "-1", LEFT_OUT),
    FIELD("rolloutStrategy.maxUnreachable", "2", "\"2%\"", "3", "-1", "0", LEFT_OUT),
    FIELD("rolloutStrategy.canaryPercentage", "10", "20"),
    FIELD("rolloutStrategy.maxParallel", "4", "5", LEFT_OUT),
    FIELD("rolloutStrategy.maxTouched", "9", "8", LEFT_OUT),
    FIELD("rolloutStrategy.startTimeoutSeconds", "300", "301"),
    FIELD("rolloutStrategy.reconnectTimeoutSeconds", "300", "301"),
    FIELD("rollback.scope", "\"all\"", "\"failed\"", "\"none\""),
    FIELD("rollback.confirmTimeoutSeconds", "7", "8", LEFT_OUT),
    FIELD("signing.version", "1", NULL), /* has its own test */
    FIELD("signing.nonce", "\"00000000000000000000000000000000\"",
          "\"00000000000000000000000000000001\"", "\"10000000000000000000000000000000\""),
    FIELD("signing.notBefore", "\"2026-11-26T06:00:00.000Z\"", "\"2026-11-26T06:00:00.001Z\""),
    FIELD("signing.expires", "\"2026-11-27T06:00:00.000Z\"", "\"2026-11-28T06:00:00.000Z\""),
    UNSIGNED_FIELD("signing.digest", "\"" GOLDEN_DIGEST "\"", "\"" GOLDEN_KEY "\""),
    UNSIGNED_FIELD("signing.signatures[].key", "\"" GOLDEN_KEY_ID "\"", "\"0000000000000000\""),
    UNSIGNED_FIELD("signing.signatures[].signature", "\"" GOLDEN_SIGNATURE "\"",
                   "\"" GOLDEN_DIGEST GOLDEN_DIGEST "\""),
};

/* A plan's text in which one field has another value. */
struct writer {
    struct buf *b;
    const struct sample *changed;
    size_t other;
};

static struct sample *sample_of(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        if (strcmp(samples[i].path, path) == 0)
            return &samples[i];
    fail_msg(
        "the field %s of a plan is new: it must be signed (common/seal/seal.c), or stand in the "
        "way of nothing",
        path);
    return NULL;
}

static void put_object(const struct writer *w, const struct json_table *table, const char *path);

/* The members of the table, by the table: a field that is added to it is met here. */
static bool put_value(const struct writer *w, const struct json_field *field, const char *path)
{
    if (field->type == JSON_OBJECT) {
        buf_printf(w->b, "\"%s\":", field->name);
        put_object(w, field->table, path);
        return true;
    }
    if (field->type == JSON_ARRAY && field->item->type == JSON_OBJECT) {
        char item[PATH_MAX_BYTES];
        (void)snprintf(item, sizeof(item), "%s[]", path);
        buf_printf(w->b, "\"%s\":[", field->name);
        put_object(w, field->item->table, item);
        buf_puts(w->b, "]");
        return true;
    }
    struct sample *sample = sample_of(path);
    sample->used = true;
    const char *value = sample == w->changed ? sample->others[w->other] : sample->base;
    if (*value != '\0')
        buf_printf(w->b, "\"%s\":%s", field->name, value);
    return *value != '\0';
}

static void put_object(const struct writer *w, const struct json_table *table, const char *path)
{
    bool comma = false;
    buf_puts(w->b, "{");
    for (size_t i = 0; i < table->count; i++) {
        char below[PATH_MAX_BYTES];
        (void)snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "",
                       table->fields[i].name);
        size_t before = w->b->len;
        if (comma)
            buf_puts(w->b, ",");
        if (put_value(w, &table->fields[i], below))
            comma = true;
        else
            w->b->len = before;
    }
    buf_puts(w->b, "}");
}

static void digest_with(const struct sample *changed, size_t other, char ret[SEAL_HASH_TEXT])
{
    AUTO_BUF struct buf b = BUF_INIT;
    const struct writer w = {&b, changed, other};
    put_object(&w, &plan_document_table, "");
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    b.data[b.len] = '\0';
    AUTO(plan_free) struct plan *plan = plan_of(b.data);
    digest_of(plan, ret);
}

static void each_field_of_a_plan_is_signed(void **state)
{
    (void)state;
    char base[SEAL_HASH_TEXT];
    char changed[SEAL_HASH_TEXT];
    digest_with(NULL, 0, base);
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *s = &samples[i];
        if (!s->used)
            fail_msg("%s is no field of a plan any more", s->path);
        for (size_t other = 0; other < OTHERS_MAX && s->others[other]; other++) {
            digest_with(s, other, changed);
            if ((strcmp(base, changed) == 0) != s->unsigned_)
                fail_msg("%s: %s instead of %s", s->path, s->others[other], s->base);
        }
    }
}

/* What could be taken for each other if bytes only stood one behind the other. */
static void what_moves_from_one_field_to_the_next_is_another_plan(void **state)
{
    (void)state;
    char one[SEAL_HASH_TEXT];
    char two[SEAL_HASH_TEXT];
    AUTO(plan_free) struct plan *a = plan_of(golden_plan);
    AUTO(plan_free) struct plan *b = plan_of(golden_plan);
    struct plan_step *step = ARRAY_AT(&b->steps, struct plan_step, 0);
    mem_free(step->name);
    mem_free(step->type);
    step->name = mem_strdup("helloe");
    step->type = mem_strdup("cho");
    digest_of(a, one);
    digest_of(b, two);
    assert_string_not_equal(one, two);
}

/* ---- Time and digits ---------------------------------------------------------------------------
 */

static void a_plan_holds_from_one_time_to_another_give_or_take_a_little(void **state)
{
    static const struct plan_signing signing = {.not_before_ms = 1000000, .expires_ms = 2000000};
    struct error err = {0};
    (void)state;
    assert_int_equal(seal_check_time(&signing, 1000000 - SEAL_CLOCK_TOLERANCE_MS, &err), ERR_OK);
    assert_int_equal(seal_check_time(&signing, 2000000 + SEAL_CLOCK_TOLERANCE_MS, &err), ERR_OK);
    assert_int_equal(seal_check_time(&signing, 1000000 - SEAL_CLOCK_TOLERANCE_MS - 1, &err),
                     ERR_STALE);
    assert_non_null(strstr(err.message, "not to begin before 1970-01-01T00:16:40.000Z"));
    assert_int_equal(seal_check_time(&signing, 2000000 + SEAL_CLOCK_TOLERANCE_MS + 1, &err),
                     ERR_STALE);
    assert_non_null(strstr(err.message, "expired at 1970-01-01T00:33:20.000Z"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_a_plan_are_those_of_the_description),
        cmocka_unit_test(a_plan_without_a_name_is_another_than_one_with_an_empty_place_for_it),
        cmocka_unit_test(another_version_is_not_taken_for_this_one),
        cmocka_unit_test(each_field_of_a_plan_is_signed),
        cmocka_unit_test(what_moves_from_one_field_to_the_next_is_another_plan),
        cmocka_unit_test(a_plan_holds_from_one_time_to_another_give_or_take_a_little),
    };
    return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
