#include "common/json/json.h"

#include "common/base/cleanup.h"
#include "unit/json/support_tables.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PLENTY = 1024 * 1024 };

static void read_thing(const char *text, struct thing *ret)
{
    struct error err;
    if (json_read(text, strlen(text), PLENTY, &thing_table, ret, &err) != ERR_OK)
        fail_msg("%s: %s", text, err.message);
}

static void a_document_comes_back_byte_for_byte(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    struct thing thing;
    read_thing(thing_full, &thing);
    json_encode(&b, &thing_table, &thing);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    assert_string_equal(b.data, thing_full);
    json_release(&thing_table, &thing);
}

static void a_zeroed_struct_is_written_with_what_is_not_left_out(void **state)
{
    (void)state;
    static const struct thing zero;
    AUTO_BUF struct buf b = BUF_INIT;
    json_encode(&b, &thing_table, &zero);
    assert_string_equal(b.data, "{\"name\":\"\",\"on\":false,\"count\":0,\"ratio\":0,"
                                "\"delaySeconds\":0,\"color\":\"red\","
                                "\"limits\":{\"attempts\":0,\"factor\":0},\"parts\":[],"
                                "\"tags\":[],\"extra\":null,\"options\":{}}");
}

static void a_field_with_a_has_is_written_when_it_was_there(void **state)
{
    (void)state;
    static const char text[] = "{\"name\":\"n\",\"code\":0}";
    AUTO_BUF struct buf b = BUF_INIT;
    struct thing thing;
    read_thing(text, &thing);
    json_encode(&b, &thing_table, &thing);
    assert_non_null(strstr(b.data, ",\"code\":0}"));
    thing.has_code = false;
    thing.code = 5;
    buf_clear(&b);
    json_encode(&b, &thing_table, &thing);
    assert_null(strstr(b.data, "code"));
    json_release(&thing_table, &thing);
}

static void seconds_are_written_to_the_millisecond(void **state)
{
    (void)state;
    struct wait {
        int64_t ms;
    };
    static const struct json_field fields[] = {
        {.name = "w", .type = JSON_SECONDS, JSON_AT(struct wait, ms)},
    };
    static const struct json_table table = JSON_TABLE("wait", struct wait, fields, NULL);
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "{\"w\":0}"},
        {1, "{\"w\":0.001}"},
        {10, "{\"w\":0.01}"},
        {1500, "{\"w\":1.5}"},
        {90000, "{\"w\":90}"},
        {1234, "{\"w\":1.234}"},
        {-500, "{\"w\":-0.5}"},
        {-1001, "{\"w\":-1.001}"},
        {INT64_C(9007199254740123), "{\"w\":9007199254740.123}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF struct buf b = BUF_INIT;
        struct wait wait = {cases[i].ms};
        json_encode(&b, &table, &wait);
        assert_string_equal(b.data, cases[i].text);
        struct wait back = {-1};
        /* The largest is beyond what may come in. */
        if (json_read(b.data, b.len, PLENTY, &table, &back, NULL) == ERR_OK)
            assert_true(back.ms == wait.ms);
        else
            assert_true(wait.ms / 1000 >= JSON_INT_MAX / 1000);
    }
}

static void members_of_several_tables_make_one_object(void **state)
{
    (void)state;
    static const struct limits limits = {.attempts = 2, .factor = 4};
    static const struct part part = {.name = NULL, .weight = 0};
    AUTO_BUF struct buf b = BUF_INIT;
    bool first = true;
    buf_putc(&b, '{');
    json_encode_members(&b, &limits_table, &limits, &first);
    json_encode_members(&b, &part_table, &part, &first);
    buf_putc(&b, '}');
    assert_false(first);
    assert_string_equal(b.data, "{\"attempts\":2,\"factor\":4,\"name\":\"\"}");
}

static void encoding_survives_each_allocation_that_fails(void **state)
{
    (void)state;
    struct thing thing;
    read_thing(thing_full, &thing);
    enum error_code code;
    uint64_t n = 0;
    do {
        AUTO_BUF struct buf b = BUF_INIT;
        mem_fail_after(n++);
        json_encode(&b, &thing_table, &thing);
        code = buf_check(&b, NULL);
        mem_fail_never();
        if (code == ERR_OK)
            assert_string_equal(b.data, thing_full);
        else
            assert_int_equal(code, ERR_NO_MEMORY);
    } while (code != ERR_OK);
    assert_true(n >= 2);
    json_release(&thing_table, &thing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_comes_back_byte_for_byte),
        cmocka_unit_test(a_zeroed_struct_is_written_with_what_is_not_left_out),
        cmocka_unit_test(a_field_with_a_has_is_written_when_it_was_there),
        cmocka_unit_test(seconds_are_written_to_the_millisecond),
        cmocka_unit_test(members_of_several_tables_make_one_object),
        cmocka_unit_test(encoding_survives_each_allocation_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
