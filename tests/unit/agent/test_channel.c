#include "agent/channel.h"
#include "common/base/alloc.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct channel_frame connect_frame(void)
{
    struct channel_frame frame = {.type = CHANNEL_CONNECT, .id = 7, .numbers = {4096, 250}};
    frame.texts[CHANNEL_URL] = channel_string("https://o:1");
    frame.texts[CHANNEL_CA] = channel_string(NULL);
    frame.texts[CHANNEL_FINGERPRINT] = channel_string("");
    frame.texts[CHANNEL_PAIR] = channel_string("secret");
    frame.texts[CHANNEL_PATH] = channel_string("/v1/agent");
    frame.texts[CHANNEL_LAST] = channel_string("kitsune.v1");
    return frame;
}

static struct channel_frame message_frame(const char *text, size_t len)
{
    struct channel_frame frame = {.type = CHANNEL_MESSAGE, .id = 9};
    frame.texts[0] = channel_text(text, len);
    return frame;
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct channel_frame frame = connect_frame(), back;
    size_t used = 0;
    struct error err = {0};
    channel_encode(&b, &frame);
    size_t first = b.len;
    channel_encode(&b, &frame);
    assert_int_equal(channel_decode(b.data, b.len, false, &back, &used, &err), ERR_OK);
    assert_int_equal(used, first);
    assert_int_equal(back.type, CHANNEL_CONNECT);
    assert_int_equal(back.id, 7);
    assert_int_equal(back.numbers[0], 4096);
    assert_int_equal(back.numbers[1], 250);
    assert_string_equal(back.texts[CHANNEL_URL].data, "https://o:1");
    assert_null(back.texts[CHANNEL_CA].data);
    assert_string_equal(back.texts[CHANNEL_FINGERPRINT].data, "");
    assert_string_equal(back.texts[CHANNEL_PAIR].data, "secret");
    assert_string_equal(back.texts[CHANNEL_LAST].data, "kitsune.v1");
    buf_done(&b);
}

static void part_of_a_frame_is_waited_for(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct channel_frame frame = message_frame("{}", 2), back;
    struct error err = {0};
    channel_encode(&b, &frame);
    for (size_t len = 0; len < b.len; len++) {
        size_t used = 1;
        assert_int_equal(channel_decode(b.data, len, true, &back, &used, &err), ERR_OK);
        assert_int_equal(used, 0);
    }
    buf_done(&b);
}

static void each_side_says_only_what_is_its_own_to_say(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct channel_frame frame = connect_frame(), back;
    size_t used = 0;
    struct error err = {0};
    channel_encode(&b, &frame);
    assert_int_equal(channel_decode(b.data, b.len, true, &back, &used, &err), ERR_PROTOCOL);
    buf_clear(&b);
    frame = message_frame("{}", 2);
    channel_encode(&b, &frame);
    assert_int_equal(channel_decode(b.data, b.len, false, &back, &used, &err), ERR_PROTOCOL);
    buf_done(&b);
}

/* Every byte of a frame, changed to each value: it is read as a frame, waited for, or refused; a
 * text always ends where it says. (The sanitizers watch for more.) */
static void no_damage_gets_past_the_checks(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct channel_frame frame = connect_frame();
    struct error err = {0};
    channel_encode(&b, &frame);
    for (size_t at = 0; at < b.len; at++) {
        for (unsigned value = 0; value <= UINT8_MAX; value++) {
            char *copy = mem_alloc(b.len); /* of its own, so that reading past its end is seen */
            assert_non_null(copy);
            memcpy(copy, b.data, b.len);
            copy[at] = (char)value;
            struct channel_frame back;
            size_t used = 0;
            enum error_code code = channel_decode(copy, b.len, false, &back, &used, &err);
            assert_true(code == ERR_OK || code == ERR_PROTOCOL);
            for (size_t i = 0; code == ERR_OK && used > 0 && i < CHANNEL_TEXTS_MAX; i++) {
                if (back.texts[i].data)
                    assert_int_equal(strlen(back.texts[i].data), back.texts[i].len);
            }
            mem_free(copy);
        }
    }
    buf_done(&b);
}

static void what_is_too_long_is_refused_before_it_is_there(void **state)
{
    (void)state;
    uint32_t bytes = CHANNEL_FRAME_MAX + 1;
    char head[sizeof(bytes)];
    struct channel_frame back;
    size_t used = 0;
    struct error err = {0};
    memcpy(head, &bytes, sizeof(bytes));
    assert_int_equal(channel_decode(head, sizeof(head), true, &back, &used, &err), ERR_PROTOCOL);
}

static void a_text_over_its_bound_or_with_a_nul_in_it_is_refused(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct channel_frame frame = {.type = CHANNEL_CLOSED, .id = 1};
    struct channel_frame back;
    size_t used = 0;
    struct error err = {0};
    static char reason[1024];
    memset(reason, 'x', sizeof(reason));
    frame.texts[0] = channel_text(reason, sizeof(reason));
    channel_encode(&b, &frame);
    assert_int_equal(channel_decode(b.data, b.len, true, &back, &used, &err), ERR_OK);
    b.data[b.len - 2] = '\0';
    assert_int_equal(channel_decode(b.data, b.len, true, &back, &used, &err), ERR_PROTOCOL);
    b.data[b.len - 2] = 'x';
    /* One byte more, in all three lengths. */
    buf_putc(&b, '\0');
    b.data[b.len - 2] = 'x';
    uint32_t bytes = (uint32_t)b.len - CHANNEL_HEADER, len = sizeof(reason) + 1;
    memcpy(b.data, &bytes, sizeof(bytes));
    memcpy(b.data + b.len - len - 1 - sizeof(len), &len, sizeof(len));
    assert_int_equal(channel_decode(b.data, b.len, true, &back, &used, &err), ERR_PROTOCOL);
    buf_done(&b);
}

static void a_piece_of_a_download_may_be_any_bytes_and_no_more_than_its_bound(void **state)
{
    (void)state;
    static char data[CHANNEL_DATA_MAX];
    struct buf b = BUF_INIT;
    struct channel_frame frame = {.type = CHANNEL_DATA, .id = 1}, back;
    size_t used = 0;
    struct error err = {0};
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)i;
    frame.texts[0] = channel_text(data, sizeof(data));
    channel_encode(&b, &frame);
    assert_int_equal(channel_decode(b.data, b.len, true, &back, &used, &err), ERR_OK);
    assert_int_equal(used, b.len);
    assert_int_equal(back.texts[0].len, sizeof(data));
    assert_memory_equal(back.texts[0].data, data, sizeof(data));
    assert_int_equal(channel_decode(b.data, b.len, false, &back, &used, &err), ERR_PROTOCOL);
    b.data[b.len - 1] = 'x'; /* what stands behind it is a NUL all the same */
    assert_int_equal(channel_decode(b.data, b.len, true, &back, &used, &err), ERR_PROTOCOL);
    b.data[b.len - 1] = '\0';
    buf_putc(&b, '\0');
    uint32_t bytes = (uint32_t)b.len - CHANNEL_HEADER, len = sizeof(data) + 1;
    memcpy(b.data, &bytes, sizeof(bytes));
    memcpy(b.data + b.len - len - 1 - sizeof(len), &len, sizeof(len));
    assert_int_equal(channel_decode(b.data, b.len, true, &back, &used, &err), ERR_PROTOCOL);
    buf_done(&b);
}

static void numbers_of_64_bits_are_never_negative(void **state)
{
    (void)state;
    static const int64_t good[] = {0, 1, UINT32_MAX, INT64_C(1) << 32, INT64_MAX};
    struct channel_frame frame = {.type = CHANNEL_BEGAN};
    int64_t value = 7;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        channel_put64(&frame, 2, good[i]);
        assert_true(channel_get64(&frame, 2, &value));
        assert_int_equal(value, good[i]);
    }
    channel_put64(&frame, 2, -1);
    assert_false(channel_get64(&frame, 2, &value));
    assert_int_equal(value, INT64_MAX); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(part_of_a_frame_is_waited_for),
        cmocka_unit_test(each_side_says_only_what_is_its_own_to_say),
        cmocka_unit_test(no_damage_gets_past_the_checks),
        cmocka_unit_test(what_is_too_long_is_refused_before_it_is_there),
        cmocka_unit_test(a_text_over_its_bound_or_with_a_nul_in_it_is_refused),
        cmocka_unit_test(a_piece_of_a_download_may_be_any_bytes_and_no_more_than_its_bound),
        cmocka_unit_test(numbers_of_64_bits_are_never_negative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
