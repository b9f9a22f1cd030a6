#include "common/base/output.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void write_all(struct output *o, const char *data, size_t len, size_t piece)
{
    for (size_t at = 0; at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        assert_int_equal(output_write(o, data + at, n, NULL), ERR_OK);
    }
}

/* A byte that depends on its place, so that a misplaced one shows. */
static char byte_at(size_t i)
{
    return (char)('!' + i * 7919 % 90);
}

static char *pattern(size_t len)
{
    char *text = mem_alloc(len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        text[i] = byte_at(i);
    return text;
}

/* Writes `len` bytes in pieces and compares with what must be kept. */
static void check_kept(size_t len, size_t piece)
{
    const size_t both = (size_t)OUTPUT_HEAD_MAX + OUTPUT_TAIL_MAX;
    AUTO_FREE char *text = pattern(len);
    AUTO_BUF struct buf expected = BUF_INIT;
    AUTO_BUF struct buf got = BUF_INIT;
    struct output o = OUTPUT_INIT;
    write_all(&o, text, len, piece);
    output_text(&o, &got);
    if (len > both) {
        buf_append(&expected, text, OUTPUT_HEAD_MAX);
        buf_printf(&expected, "\n[... %zu bytes left out ...]\n", len - both);
        buf_append(&expected, text + len - OUTPUT_TAIL_MAX, OUTPUT_TAIL_MAX);
    } else {
        buf_append(&expected, text, len);
    }
    assert_int_equal(got.len, expected.len);
    if (expected.len > 0)
        assert_memory_equal(got.data, expected.data, expected.len);
    assert_int_equal(output_truncated(&o), len > both);
    assert_int_equal(o.total, len);
    output_done(&o);
}

static void head_and_tail_are_kept_whatever_the_pieces(void **state)
{
    (void)state;
    static const size_t lens[] = {1,     1000,  32767, 32768, 32769,  40000,
                                  65535, 65536, 65537, 98304, 100001, 300000};
    static const size_t pieces[] = {1000, 4096, 32768, 32769, 65536, 1000000};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        for (size_t j = 0; j < ARRAY_LEN(pieces); j++)
            check_kept(lens[i], pieces[j]);
    }
    check_kept(70000, 1);
    check_kept(70000, 7);
}

static void nothing_written_is_no_text(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    struct output o = OUTPUT_INIT;
    assert_int_equal(output_write(&o, "", 0, NULL), ERR_OK);
    output_text(&o, &b);
    assert_int_equal(b.len, 0);
    assert_false(output_truncated(&o));
    output_done(&o);
}

static void what_is_not_utf8_and_a_nul_come_out_replaced(void **state)
{
    (void)state;
    static const char raw[] = "a\xFF"
                              "b\0c\xC3\xA9\xE2\x82";
    AUTO_BUF struct buf b = BUF_INIT;
    struct output o = OUTPUT_INIT;
    write_all(&o, raw, sizeof(raw) - 1, 1);
    output_text(&o, &b);
    assert_string_equal(b.data,
                        "a" TEXT_REPLACEMENT "b" TEXT_REPLACEMENT "c\xC3\xA9" TEXT_REPLACEMENT);
    output_done(&o);
}

static void a_character_across_head_and_tail_stays_whole(void **state)
{
    (void)state;
    AUTO_FREE char *text = pattern(OUTPUT_HEAD_MAX - 1);
    AUTO_BUF struct buf b = BUF_INIT;
    struct output o = OUTPUT_INIT;
    write_all(&o, text, OUTPUT_HEAD_MAX - 1, 4096);
    write_all(&o, "\xE2\x82\xAC!", 4, 1);
    output_text(&o, &b);
    assert_int_equal(b.len, OUTPUT_HEAD_MAX + 3);
    assert_string_equal(b.data + OUTPUT_HEAD_MAX - 1, "\xE2\x82\xAC!");
    output_done(&o);
}

static void a_character_that_the_cut_splits_is_replaced(void **state)
{
    (void)state;
    AUTO_FREE char *text = pattern(OUTPUT_HEAD_MAX);
    AUTO_BUF struct buf b = BUF_INIT;
    struct output o = OUTPUT_INIT;
    /* The head ends in the first byte of a euro sign, the tail begins with the last of another. */
    write_all(&o, text, OUTPUT_HEAD_MAX - 1, 4096);
    write_all(&o, "\xE2\x82\xAC\xE2\x82\xAC", 6, 6);
    write_all(&o, text, OUTPUT_TAIL_MAX - 1, 4096);
    output_text(&o, &b);
    const char *middle = TEXT_REPLACEMENT "\n[... 4 bytes left out ...]\n" TEXT_REPLACEMENT;
    assert_memory_equal(b.data + OUTPUT_HEAD_MAX - 1, middle, strlen(middle));
    assert_true(text_utf8_valid(b.data, b.len, NULL));
    assert_int_equal(b.len, (size_t)OUTPUT_HEAD_MAX - 1 + strlen(middle) + OUTPUT_TAIL_MAX - 1);
    output_done(&o);
}

static void a_write_without_memory_changes_nothing(void **state)
{
    (void)state;
    AUTO_FREE char *text = pattern(OUTPUT_HEAD_MAX + 100);
    struct output o = OUTPUT_INIT;
    struct error err;
    uint64_t n = 0;
    enum error_code code;
    do {
        mem_fail_after(n++);
        code = output_write(&o, text, OUTPUT_HEAD_MAX + 100, &err);
        mem_fail_never();
        if (code != ERR_OK) {
            assert_int_equal(code, ERR_NO_MEMORY);
            assert_int_equal(o.total, 0);
            assert_int_equal(o.head_len, 0);
        }
    } while (code != ERR_OK);
    assert_int_equal(n, 3); /* head and tail */
    AUTO_BUF struct buf b = BUF_INIT;
    output_text(&o, &b);
    assert_int_equal(b.len, OUTPUT_HEAD_MAX + 100);
    assert_memory_equal(b.data, text, b.len);
    output_done(&o);
}

static void a_text_without_memory_fails_the_buffer(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    struct output o = OUTPUT_INIT;
    write_all(&o, "abc", 3, 3);
    mem_fail_after(0);
    output_text(&o, &b);
    mem_fail_never();
    assert_int_equal(buf_check(&b, NULL), ERR_NO_MEMORY);
    output_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_and_tail_are_kept_whatever_the_pieces),
        cmocka_unit_test(nothing_written_is_no_text),
        cmocka_unit_test(what_is_not_utf8_and_a_nul_come_out_replaced),
        cmocka_unit_test(a_character_across_head_and_tail_stays_whole),
        cmocka_unit_test(a_character_that_the_cut_splits_is_replaced),
        cmocka_unit_test(a_write_without_memory_changes_nothing),
        cmocka_unit_test(a_text_without_memory_fails_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
