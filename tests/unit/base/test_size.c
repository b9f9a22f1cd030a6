#include "common/base/cleanup.h"
#include "common/base/size.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_size_is_a_number_with_a_unit_or_without(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } sizes[] = {
        {"0", 0},
        {"123", 123},
        {"1K", 1024},
        {"500M", INT64_C(500) * 1024 * 1024},
        {"4G", INT64_C(4) * 1024 * 1024 * 1024},
        {"2T", INT64_C(2) * 1024 * 1024 * 1024 * 1024},
        {"9007199254740991", INT64_C(9007199254740991)},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        int64_t bytes = -1;
        assert_int_equal(size_parse(sizes[i].text, &bytes, NULL), ERR_OK);
        assert_int_equal(bytes, sizes[i].bytes);
    }
}

static void what_is_no_size_is_refused_and_the_message_says_what_would_be_one(void **state)
{
    static const char *const wrong[] = {"", "M", "-1", "1.5G", "1m", "1MB", "1 G", "G1", "0x10"};
    static const char *const large[] = {"9007199254740992", "9000T", "99999999999999999999",
                                        "9999999999999999T"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct error err = {0};
        int64_t bytes = -1;
        assert_int_equal(size_parse(wrong[i], &bytes, &err), ERR_INVALID);
        assert_non_null(strstr(err.message, "500M"));
        assert_int_equal(bytes, -1);
    }
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        struct error err = {0};
        int64_t bytes = -1;
        assert_int_equal(size_parse(large[i], &bytes, &err), ERR_INVALID);
        assert_non_null(strstr(err.message, "too large"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_is_a_number_with_a_unit_or_without),
        cmocka_unit_test(what_is_no_size_is_refused_and_the_message_says_what_would_be_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
