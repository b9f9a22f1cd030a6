#include "common/plan/artifact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"

static void a_name_gives_its_digest(void **state)
{
    (void)state;
    assert_string_equal(artifact_digest("sha256:" DIGITS "f"), DIGITS "f");
    assert_null(artifact_check_name("sha256:" DIGITS "f"));
}

static void what_is_no_name_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "sha256:",
        DIGITS "f",
        "sha256:" DIGITS,
        "sha256:" DIGITS "F",
        "sha256:" DIGITS "ff",
        "sha512:" DIGITS "f",
        "sha256:" DIGITS "g",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_null(artifact_digest(wrong[i]));
        assert_non_null(artifact_check_name(wrong[i]));
    }
}

static void names_are_found_one_after_the_other_in_any_text(void **state)
{
    (void)state;
    static const char text[] =
        "sha256:ab sha256:sha256:" DIGITS "1,sha256:" DIGITS "22 x=sha256:" DIGITS "3";
    const char *at = artifact_find(text);
    assert_non_null(at);
    assert_memory_equal(at, DIGITS "1", ARTIFACT_DIGEST_DIGITS);
    at = artifact_find(at + ARTIFACT_DIGEST_DIGITS);
    assert_non_null(at);
    assert_memory_equal(at, DIGITS "3", ARTIFACT_DIGEST_DIGITS);
    assert_null(artifact_find(at + ARTIFACT_DIGEST_DIGITS));
    assert_null(artifact_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_gives_its_digest),
        cmocka_unit_test(what_is_no_name_is_refused),
        cmocka_unit_test(names_are_found_one_after_the_other_in_any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
