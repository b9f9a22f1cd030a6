#include "common/base/id.h"

#include <ctype.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void names_of_the_allowed_characters_are_valid(void **state)
{
    (void)state;
    static const char *const valid[] = {"a", "0", "web-1", "A.b_c-9", "9..--__"};
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++)
        assert_true(id_valid(valid[i]));
}

static void other_names_are_not_valid(void **state)
{
    (void)state;
    static const char *const invalid[] = {"",    ".a",     "-a",        "_a", "a b", "a/b",
                                          "a\n", "../etc", "a\xC3\xA9", " a", "a:b", "a\x7F"};
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++)
        assert_false(id_valid(invalid[i]));
}

static void the_longest_name_has_128_bytes(void **state)
{
    (void)state;
    char name[ID_MAX + 2];
    memset(name, 'x', sizeof(name));
    name[ID_MAX + 1] = '\0';
    assert_false(id_valid(name));
    name[ID_MAX] = '\0';
    assert_true(id_valid(name));
}

static void random_ids_are_valid_begin_with_a_letter_and_differ(void **state)
{
    (void)state;
    char before[ID_RANDOM_LEN + 1] = "";
    for (int i = 0; i < 1000; i++) {
        char id[ID_RANDOM_LEN + 1];
        struct error err;
        assert_int_equal(id_random(id, &err), ERR_OK);
        assert_int_equal(strlen(id), ID_RANDOM_LEN);
        assert_true(id_valid(id));
        assert_true(islower((unsigned char)id[0]));
        assert_int_equal(strspn(id, "0123456789abcdefghjkmnpqrstvwxyz"), ID_RANDOM_LEN);
        assert_string_not_equal(id, before);
        memcpy(before, id, sizeof(before));
    }
}

static void random_bytes_fill_all_of_a_large_block(void **state)
{
    (void)state;
    static unsigned char block[4096];
    size_t zeros = 0;
    assert_int_equal(id_random_bytes(block, sizeof(block), NULL), ERR_OK);
    for (size_t i = sizeof(block) - 64; i < sizeof(block); i++)
        zeros += block[i] == 0;
    assert_true(zeros < 64);
    assert_int_equal(id_random_bytes(block, 0, NULL), ERR_OK);
}

static void hashes_are_fnv_1a(void **state)
{
    (void)state;
    /* The offset basis for the empty string, and the reference value for "a". */
    assert_true(id_hash("") == UINT64_C(0xcbf29ce484222325));
    assert_true(id_hash("a") == UINT64_C(0xaf63dc4c8601ec8c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_the_allowed_characters_are_valid),
        cmocka_unit_test(other_names_are_not_valid),
        cmocka_unit_test(the_longest_name_has_128_bytes),
        cmocka_unit_test(random_ids_are_valid_begin_with_a_letter_and_differ),
        cmocka_unit_test(random_bytes_fill_all_of_a_large_block),
        cmocka_unit_test(hashes_are_fnv_1a),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
