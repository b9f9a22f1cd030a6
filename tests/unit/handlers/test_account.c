#include "handlers/account.h"

#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_name_or_a_number_is_an_id(void **state)
{
    (void)state;
    int64_t id = -1;
    assert_int_equal(account_user_id("root", &id, NULL), ERR_OK);
    assert_int_equal(id, 0);
    assert_int_equal(account_user_id("4294967294", &id, NULL), ERR_OK);
    assert_int_equal(id, 4294967294);
    assert_int_equal(account_group_id("nogroup", &id, NULL), ERR_OK);
    assert_int_equal(id, 65534);
    assert_int_equal(account_group_id("0", &id, NULL), ERR_OK);
    assert_int_equal(id, 0);
}

static void an_unknown_name_is_told(void **state)
{
    (void)state;
    static struct account account;
    int64_t id = 5;
    struct error err = {0};
    assert_int_equal(account_user_id("no-such-user", &id, &err), ERR_NOT_FOUND);
    assert_string_equal(err.message, "there is no user no-such-user");
    assert_int_equal(account_group_id("no-such-group", &id, &err), ERR_NOT_FOUND);
    assert_string_equal(err.message, "there is no group no-such-group");
    assert_int_equal(id, 5);
    assert_int_equal(account_find("no-such-user", &account, &err), ERR_NOT_FOUND);
    /* A number may be nobody's as a file's owner, but not to run as. */
    assert_int_equal(account_find("4294967293", &account, &err), ERR_NOT_FOUND);
}

static void a_user_comes_with_its_groups(void **state)
{
    (void)state;
    static struct account by_name, by_number;
    assert_int_equal(account_find("nobody", &by_name, NULL), ERR_OK);
    assert_int_equal(by_name.uid, 65534);
    assert_string_equal(by_name.name, "nobody");
    assert_true(by_name.home[0] == '/');
    assert_int_equal(by_name.groups_count, 1);
    assert_int_equal(by_name.groups[0], by_name.gid);
    assert_int_equal(account_find("65534", &by_number, NULL), ERR_OK);
    assert_string_equal(by_number.name, "nobody");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_or_a_number_is_an_id),
        cmocka_unit_test(an_unknown_name_is_told),
        cmocka_unit_test(a_user_comes_with_its_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
