#include "common/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void setting_an_error_returns_its_code_and_keeps_the_message(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, ERR_LIMIT, "%d is too many", 7), ERR_LIMIT);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.message, "7 is too many");
}

static void an_error_without_a_format_has_the_codes_text(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, ERR_NO_MEMORY, NULL), ERR_NO_MEMORY);
    assert_string_equal(err.message, "out of memory");
}

static void no_storage_gives_the_code_alone(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERR_BUSY, "x"), ERR_BUSY);
    assert_int_equal(error_errno(NULL, ENOSPC, "x"), ERR_NO_SPACE);
    assert_int_equal(error_wrap(NULL, "x"), ERR_INTERNAL);
}

static void wrapping_puts_the_context_in_front(void **state)
{
    (void)state;
    struct error err;
    error_ignore(error_set(&err, ERR_IO, "disk on fire"));
    assert_int_equal(error_wrap(&err, "cannot save %s", "it"), ERR_IO);
    assert_string_equal(err.message, "cannot save it: disk on fire");
}

static void a_message_may_be_made_from_itself(void **state)
{
    (void)state;
    struct error err;
    error_ignore(error_set(&err, ERR_IO, "inner"));
    error_ignore(error_set(&err, ERR_IO, "outer(%s)", err.message));
    assert_string_equal(err.message, "outer(inner)");
}

/* A long run of three-byte characters behind `shift` bytes: some shift makes the cut fall inside.
 */
static void long_text(size_t shift, char ret[1024])
{
    memset(ret, 'x', shift);
    for (size_t i = 0; i < 200; i++)
        memcpy(ret + shift + 3 * i, "\xE2\x82\xAC", 3);
    ret[shift + 600] = '\0';
}

static void a_message_is_cut_between_characters(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        struct error err;
        char text[1024];
        size_t whole = (ERROR_MESSAGE_MAX - 1 - shift) / 3 * 3 + shift;
        long_text(shift, text);
        error_ignore(error_set(&err, ERR_IO, "%s", text));
        assert_int_equal(strlen(err.message), whole);
        assert_memory_equal(err.message, text, whole);
    }
}

static void wrapping_and_errno_cut_between_characters_too(void **state)
{
    (void)state;
    struct error err;
    char text[1024];
    long_text(0, text);
    error_ignore(error_set(&err, ERR_IO, "%s", text));
    error_ignore(error_wrap(&err, "a"));
    assert_int_equal(strlen(err.message), 255); /* "a: " and 84 whole characters */
    error_ignore(error_wrap(&err, "b"));
    assert_int_equal(strlen(err.message), 255);
    error_ignore(error_wrap(&err, "cd"));
    assert_int_equal(strlen(err.message), 253);
    long_text(1, text);
    error_ignore(error_errno(&err, EIO, "%s", text));
    assert_int_equal(strlen(err.message), 253);
}

static void errno_values_become_codes_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        int errnum;
        enum error_code code;
    } cases[] = {
        {ENOSPC, ERR_NO_SPACE},
        {EDQUOT, ERR_NO_SPACE},
        {EACCES, ERR_DENIED},
        {EPERM, ERR_DENIED},
        {ENOENT, ERR_NOT_FOUND},
        {EEXIST, ERR_EXISTS},
        {ENOMEM, ERR_NO_MEMORY},
        {ECONNREFUSED, ERR_UNAVAILABLE},
        {ETIMEDOUT, ERR_TIMEOUT},
        {EBUSY, ERR_BUSY},
        {EIO, ERR_IO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err;
        char expected[256];
        assert_int_equal(error_errno(&err, cases[i].errnum, "cannot open %s", "f"), cases[i].code);
        assert_int_equal(err.code, cases[i].code);
        (void)snprintf(expected, sizeof(expected), "cannot open f: %s", strerror(cases[i].errnum));
        assert_string_equal(err.message, expected);
    }
}

static void an_unknown_errno_still_makes_a_message(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_errno(&err, 123456, "x"), ERR_IO);
    assert_string_equal(err.message, "x: unknown error");
}

static void every_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    assert_string_equal(error_code_name(ERR_NOT_FOUND), "not_found");
    for (int a = 0; a < ERROR_CODE_COUNT; a++) {
        for (int b = 0; b < a; b++)
            assert_string_not_equal(error_code_name((enum error_code)a),
                                    error_code_name((enum error_code)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_an_error_returns_its_code_and_keeps_the_message),
        cmocka_unit_test(an_error_without_a_format_has_the_codes_text),
        cmocka_unit_test(no_storage_gives_the_code_alone),
        cmocka_unit_test(wrapping_puts_the_context_in_front),
        cmocka_unit_test(a_message_may_be_made_from_itself),
        cmocka_unit_test(a_message_is_cut_between_characters),
        cmocka_unit_test(wrapping_and_errno_cut_between_characters_too),
        cmocka_unit_test(errno_values_become_codes_with_the_reason),
        cmocka_unit_test(an_unknown_errno_still_makes_a_message),
        cmocka_unit_test(every_code_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
