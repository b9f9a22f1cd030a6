/* The file of trusted keys: whose it may be, and who may write it. */
#include "agent/trust.h"
#include "unit/agent/support_folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KEYS                                                                                       \
    "threshold 1\n"                                                                                \
    "ed25519 d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a alice\n"             \
    "ed25519 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29 bob\n"

enum { NOBODY = 65534 };

static int set_up(void **state)
{
    static struct folder folder;
    folder_make(&folder);
    file_fill(folder_path(&folder, "keys"), KEYS);
    assert_int_equal(chmod(folder_path(&folder, "keys"), 0644), 0);
    assert_int_equal(mkdir(folder_path(&folder, "sub"), 0755), 0);
    file_fill(folder_path(&folder, "sub/keys"), KEYS);
    assert_int_equal(chmod(folder_path(&folder, "sub"), 0755), 0); /* whatever the umask is */
    assert_int_equal(chmod(folder_path(&folder, "sub/keys"), 0644), 0);
    *state = &folder;
    return 0;
}

static int tear_down(void **state)
{
    folder_remove(*state);
    return 0;
}

static void assert_taken(const char *path)
{
    struct trust *trust = NULL;
    struct error err = {0};
    char text[TRUST_TEXT_MAX];
    if (trust_load(path, &trust, &err) != ERR_OK)
        fail_msg("%s", err.message);
    trust_describe(trust, text);
    assert_string_equal(text, "1 of 2");
    trust_free(trust);
}

static void assert_refused(const char *path, enum error_code code, const char *why)
{
    struct trust *trust = NULL;
    struct error err = {0};
    assert_int_equal(trust_load(path, &trust, &err), code);
    if (!strstr(err.message, why))
        fail_msg("%s", err.message);
    assert_null(trust);
}

static void a_file_that_only_its_owner_may_write_is_taken(void **state)
{
    assert_taken(folder_path(*state, "keys"));
    assert_taken(folder_path(*state, "sub/keys"));
}

static void one_that_others_may_write_is_refused(void **state)
{
    assert_int_equal(chmod(folder_path(*state, "keys"), 0664), 0);
    assert_refused(folder_path(*state, "keys"), ERR_DENIED, "may be written by others (mode 0664)");
    assert_int_equal(chmod(folder_path(*state, "keys"), 0646), 0);
    assert_refused(folder_path(*state, "keys"), ERR_DENIED, "may be written by others (mode 0646)");
}

static void one_in_a_folder_that_others_may_write_is_refused(void **state)
{
    assert_int_equal(chmod(folder_path(*state, "sub"), 0775), 0);
    assert_refused(folder_path(*state, "sub/keys"), ERR_DENIED, "/sub may be written by others");
    /* With the sticky bit they cannot replace what is not theirs. */
    assert_int_equal(chmod(folder_path(*state, "sub"), 01777), 0);
    assert_taken(folder_path(*state, "sub/keys"));
}

/* It is the way to the file itself that counts, and not that to a link to it. */
static void a_link_leads_to_what_is_looked_at(void **state)
{
    char *there = strdup(folder_path(*state, "sub/keys"));
    assert_non_null(there);
    assert_int_equal(symlink(there, folder_path(*state, "link")), 0);
    free(there);
    assert_taken(folder_path(*state, "link"));
    assert_int_equal(chmod(folder_path(*state, "sub"), 0777), 0);
    assert_refused(folder_path(*state, "link"), ERR_DENIED, "/sub may be written by others");
}

static void one_that_belongs_to_somebody_else_is_refused(void **state)
{
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(folder_path(*state, "keys"), NOBODY, NOBODY), 0);
    assert_refused(folder_path(*state, "keys"), ERR_DENIED, "belongs to user 65534");
    assert_int_equal(chown(folder_path(*state, "sub"), NOBODY, NOBODY), 0);
    assert_refused(folder_path(*state, "sub/keys"), ERR_DENIED, "belongs to user 65534");
}

static void one_that_is_not_there_or_says_nothing_is_refused(void **state)
{
    assert_refused(folder_path(*state, "none"), ERR_NOT_FOUND, "none");
    file_fill(folder_path(*state, "keys"), "# nobody\n");
    assert_refused(folder_path(*state, "keys"), ERR_INVALID, "there is no key in it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_file_that_only_its_owner_may_write_is_taken),
        TEST(one_that_others_may_write_is_refused),
        TEST(one_in_a_folder_that_others_may_write_is_refused),
        TEST(a_link_leads_to_what_is_looked_at),
        TEST(one_that_belongs_to_somebody_else_is_refused),
        TEST(one_that_is_not_there_or_says_nothing_is_refused),
#undef TEST
    };
    return cmocka_run_group_tests_name("trust", tests, NULL, NULL);
}
