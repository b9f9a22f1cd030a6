#include "agent/mask.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "simulation/rng.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct mask *mask_of(const char *const *secrets, size_t count)
{
    struct mask *m = NULL;
    struct error err = {0};
    assert_int_equal(mask_new(secrets, count, &m, &err), ERR_OK);
    return m;
}

static void put(void *ctx, const char *data, size_t len)
{
    assert_true(len > 0);
    buf_append(ctx, data, len);
}

/* The text in pieces of `size` bytes. */
static void stream(struct mask *m, const char *text, size_t len, size_t size, struct buf *out)
{
    const struct mask_sink sink = {put, out};
    for (size_t at = 0; at < len; at += size)
        mask_write(m, text + at, len - at < size ? len - at : size, &sink);
    mask_end(m, &sink);
}

static void expect(struct mask *m, const char *text, const char *wanted)
{
    for (size_t size = 1; size <= strlen(text) + 1; size++) {
        AUTO_BUF struct buf out = BUF_INIT;
        stream(m, text, strlen(text), size, &out);
        assert_string_equal(out.data ? out.data : "", wanted);
    }
}

static void a_secret_is_masked_wherever_the_stream_is_cut(void **state)
{
    (void)state;
    static const char *const secrets[] = {"tiger-42"};
    struct mask *m = mask_of(secrets, 1);
    expect(m, "", "");
    expect(m, "tiger-42", "***");
    expect(m, "a tiger-42, and tiger-42tiger-42.", "a ***, and ******.");
    expect(m, "tiger-4 ttiger-42 tiger-43", "tiger-4 t*** tiger-43");
    expect(m, "titiger-42", "ti***");
    mask_free(m);
}

static void the_longest_and_overlapping_secrets_leave_nothing_behind(void **state)
{
    (void)state;
    static const char *const secrets[] = {"abcd", "abcdefgh", "cdXY", "aaaa", "bcdeZ"};
    struct mask *m = mask_of(secrets, ARRAY_LEN(secrets));
    expect(m, "abcdefgh", "***");
    expect(m, "abcdefgX", "***efgX");
    expect(m, "abcdXY!", "***!");
    expect(m, "abcdeZ", "***");
    expect(m, "aaaaaaa-aaa", "***-aaa");
    expect(m, "aaaab", "***b");
    mask_free(m);
}

static void a_match_within_a_longer_beginning_is_not_forgotten(void **state)
{
    (void)state;
    static const char *const secrets[] = {"12QQQQ34RRRR56", "QQQQ", "RRRR"};
    struct mask *m = mask_of(secrets, ARRAY_LEN(secrets));
    expect(m, "12QQQQ34RRRR56", "***");
    expect(m, "12QQQQ34RRRR57", "12***34***57");
    mask_free(m);
}

static void lines_of_a_secret_are_masked_by_themselves(void **state)
{
    (void)state;
    static const char *const secrets[] = {"-BEGIN-\r\nAAAABBBBCCCC\r\nshort\nDDDDEEEE\n"};
    struct mask *m = mask_of(secrets, 1);
    expect(m, secrets[0], "***");
    expect(m, "x AAAABBBBCCCC\nshort\nDDDDEEEE.", "x ***\nshort\n***.");
    mask_free(m);
}

static void what_is_held_back_goes_on_as_soon_as_it_can_be_no_secret(void **state)
{
    (void)state;
    static const char *const secrets[] = {"tiger-42"};
    struct mask *m = mask_of(secrets, 1);
    AUTO_BUF struct buf out = BUF_INIT;
    const struct mask_sink sink = {put, &out};
    mask_write(m, "one tig", 7, &sink);
    assert_string_equal(out.data, "one ");
    mask_write(m, "htly", 4, &sink);
    assert_string_equal(out.data, "one tightly");
    mask_write(m, "tiger-", 6, &sink);
    assert_string_equal(out.data, "one tightly");
    mask_end(m, &sink);
    assert_string_equal(out.data, "one tightlytiger-");
    /* The next stream knows nothing of it. */
    mask_write(m, "42", 2, &sink);
    assert_string_equal(out.data, "one tightlytiger-42");
    mask_end(m, &sink);
    mask_free(m);
}

static void a_text_that_was_cut_off_in_a_secret_does_not_give_its_beginning_away(void **state)
{
    (void)state;
    static const char *const secrets[] = {"tiger-42"};
    struct mask *m = mask_of(secrets, 1);
    AUTO_BUF struct buf out = BUF_INIT;
    mask_text(m, "cannot open tiger-42 or tiger", true, &out);
    assert_string_equal(out.data, "cannot open *** or ***");
    buf_clear(&out);
    mask_text(m, "cannot open tiger", false, &out);
    assert_string_equal(out.data, "cannot open tiger");
    buf_clear(&out);
    mask_text(m, "a tig", true, &out);
    assert_string_equal(out.data, "a tig");
    mask_free(m);
}

/* ---- Against a model ---------------------------------------------------------------------------
 * Every match anywhere; those that overlap are one.
 */

enum { TEXT_MAX = 400, SECRETS_MAX = 5, SECRET_LEN_MAX = 12, ROUNDS = 3000 };

struct world {
    struct rng rng;
    char text[TEXT_MAX + 1];
    char secrets[SECRETS_MAX][SECRET_LEN_MAX + 1];
    const char *list[SECRETS_MAX];
    size_t count;
};

static void model(const struct world *w, struct buf *out)
{
    size_t len = strlen(w->text), ends[TEXT_MAX] = {0};
    for (size_t at = 0; at < len; at++) {
        for (size_t i = 0; i < w->count; i++) {
            size_t secret = strlen(w->list[i]);
            if (strncmp(w->text + at, w->list[i], secret) == 0 && at + secret > ends[at])
                ends[at] = at + secret;
        }
    }
    for (size_t at = 0; at < len;) {
        size_t end = ends[at];
        for (size_t i = at; i < end; i++)
            end = ends[i] > end ? ends[i] : end;
        buf_puts(out, end > at ? MASK_SHOWN : "");
        if (end == at || end == 0)
            buf_putc(out, w->text[at]);
        at = end > at ? end : at + 1;
    }
}

/* Few letters, so that beginnings of secrets, and secrets in secrets, are everywhere. */
static void make_world(struct world *w)
{
    size_t len = rng_below(&w->rng, TEXT_MAX);
    w->count = 1 + rng_below(&w->rng, SECRETS_MAX);
    for (size_t i = 0; i < w->count; i++) {
        size_t secret = MASK_SECRET_MIN + rng_below(&w->rng, SECRET_LEN_MAX - MASK_SECRET_MIN + 1);
        for (size_t j = 0; j < secret; j++)
            w->secrets[i][j] = (char)('a' + rng_below(&w->rng, 2));
        w->secrets[i][secret] = '\0';
        w->list[i] = w->secrets[i];
    }
    for (size_t i = 0; i < len; i++)
        w->text[i] = (char)('a' + rng_below(&w->rng, rng_below(&w->rng, 8) == 0 ? 3 : 2));
    w->text[len] = '\0';
}

static void however_it_is_split_the_result_is_that_of_a_simple_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        AUTO_BUF struct buf wanted = BUF_INIT;
        AUTO_BUF struct buf out = BUF_INIT;
        const struct mask_sink sink = {put, &out};
        struct world w = {0};
        rng_init(&w.rng, seed);
        make_world(&w);
        struct mask *m = mask_of(w.list, w.count);
        model(&w, &wanted);
        size_t len = strlen(w.text);
        uint32_t most = 1 + rng_below(&w.rng, 20);
        for (size_t at = 0; at < len;) {
            size_t size = rng_below(&w.rng, most + 1);
            size = size < len - at ? size : len - at;
            mask_write(m, w.text + at, size, &sink);
            at += size;
        }
        mask_end(m, &sink);
        mask_free(m);
        if (strcmp(out.data ? out.data : "", wanted.data ? wanted.data : "") != 0)
            fail_msg("seed %u: %s\ngives  %s\nwanted %s", (unsigned)seed, w.text,
                     out.data ? out.data : "", wanted.data ? wanted.data : "");
    }
}

static void no_memory_is_an_error(void **state)
{
    (void)state;
    static const char *const secrets[] = {"tiger-42", "abcd"};
    for (uint64_t n = 0;; n++) {
        struct mask *m = NULL;
        mem_fail_after(n);
        enum error_code code = mask_new(secrets, 2, &m, NULL);
        bool failed = mem_fail_count() > 0;
        mem_fail_never();
        assert_int_equal(code, failed ? ERR_NO_MEMORY : ERR_OK);
        mask_free(m);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_masked_wherever_the_stream_is_cut),
        cmocka_unit_test(the_longest_and_overlapping_secrets_leave_nothing_behind),
        cmocka_unit_test(a_match_within_a_longer_beginning_is_not_forgotten),
        cmocka_unit_test(lines_of_a_secret_are_masked_by_themselves),
        cmocka_unit_test(what_is_held_back_goes_on_as_soon_as_it_can_be_no_secret),
        cmocka_unit_test(a_text_that_was_cut_off_in_a_secret_does_not_give_its_beginning_away),
        cmocka_unit_test(however_it_is_split_the_result_is_that_of_a_simple_model),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
