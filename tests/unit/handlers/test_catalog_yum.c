#include "unit/handlers/support_params.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEXT_MAX = 512 };

static void an_upgrade_takes_a_package_and_a_version(void **state)
{
    (void)state;
    struct yum_params *params =
        good(&yum_upgrade_type,
             "{\"package\":\"gcc-c++.x86_64\",\"version\":\"1:2.34~rc1^git-168.el9_6\","
             "\"installroot\":\"/srv/root\"}");
    assert_int_equal(params->packages.count, 1);
    assert_string_equal(*ARRAY_AT(&params->packages, char *, 0), "gcc-c++.x86_64");
    assert_string_equal(params->version, "1:2.34~rc1^git-168.el9_6");
    assert_string_equal(params->installroot, "/srv/root");
    assert_true(params->require_undo);
    assert_false(params->security || params->allow_erasing);
    assert_int_equal(params->lock_timeout_ms, 300000);
    step_params_free(&yum_upgrade_type, params);
    assert_wrong(&yum_upgrade_type, "{\"version\":\"1\"}", "params.package", "required");
    assert_wrong(&yum_install_type, "{}", "params.package", "required");
    assert_wrong(&yum_remove_type, "{}", "params.package", "required");
    assert_wrong(&yum_remove_type, "{\"package\":\"a\",\"version\":\"1\"}", "params.version",
                 "unknown parameter");
}

static void packages_may_be_a_list(void **state)
{
    (void)state;
    struct yum_params *params = good(&yum_upgrade_type, "{\"package\":[\"a\",\"b.noarch\"]}");
    AUTO_BUF struct buf text = BUF_INIT;
    assert_int_equal(params->packages.count, 2);
    assert_null(params->version);
    json_encode(&text, yum_upgrade_type.params, params);
    assert_non_null(strstr(text.data, "{\"package\":[\"a\",\"b.noarch\"]"));
    step_params_free(&yum_upgrade_type, params);
    static const char *const wrong[] = {"[]", "[\"a\",\"a\"]", "[1]", "{}", "[\"a\",\"-y\"]", "3"};
    char json[TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        (void)snprintf(json, sizeof(json), "{\"package\":%s}", wrong[i]);
        assert_wrong(&yum_install_type, json, "params.package", "a package's name");
    }
}

static void a_version_goes_with_one_package(void **state)
{
    (void)state;
    assert_wrong(&yum_upgrade_type, "{\"package\":[\"a\",\"b\"],\"version\":\"1\"}",
                 "params.version", "one package");
    assert_wrong(&yum_install_type, "{\"package\":[\"a\",\"b\"],\"version\":\"1\"}",
                 "params.version", "one package");
}

static void security_needs_no_package_and_takes_no_version(void **state)
{
    (void)state;
    assert_good(&yum_upgrade_type, "{\"security\":true}");
    assert_good(&yum_upgrade_type, "{\"security\":true,\"package\":\"a\"}");
    assert_wrong(&yum_upgrade_type, "{\"security\":false}", "params.package", "required");
    assert_wrong(&yum_upgrade_type, "{\"security\":true,\"package\":\"a\",\"version\":\"1\"}",
                 "params.security", "exclude");
}

static void repositories_are_ids_or_patterns(void **state)
{
    (void)state;
    assert_good(&yum_upgrade_type, "{\"package\":\"a\",\"enableRepos\":[\"epel-*\",\"x\"],"
                                   "\"disableRepos\":[\"*\"]}");
    assert_wrong(&yum_upgrade_type, "{\"package\":\"a\",\"enableRepos\":[\"-y\"]}",
                 "params.enableRepos[0]", "a repository's id");
    assert_wrong(&yum_upgrade_type, "{\"package\":\"a\",\"disableRepos\":[\"a b\"]}",
                 "params.disableRepos[0]", "a repository's id");
}

static void what_a_command_line_would_take_for_something_else_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"-y",  "--assumeyes", "a b",   "a;b",
                                        "*",   "a*",          "/etc",  "@group",
                                        "a=b", "$(x)",        "a\\nb", "gl\\u00fcx"};
    char text[TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        (void)snprintf(text, sizeof(text), "{\"package\":\"%s\",\"version\":\"1\"}", wrong[i]);
        assert_wrong(&yum_upgrade_type, text, "params.package", "a package's name");
        (void)snprintf(text, sizeof(text), "{\"package\":\"a\",\"version\":\"%s\"}", wrong[i]);
        assert_wrong(&yum_upgrade_type, text, "params.version", "a version");
    }
}

static void an_installroot_is_an_absolute_folder(void **state)
{
    (void)state;
    assert_good(&yum_upgrade_type, "{\"package\":\"a\",\"version\":\"1\",\"installroot\":\"/\"}");
    static const char *const wrong[] = {"srv", "/srv/", "./x", "--x"};
    char text[TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        (void)snprintf(text, sizeof(text),
                       "{\"package\":\"a\",\"version\":\"1\",\"installroot\":\"%s\"}", wrong[i]);
        assert_wrong(&yum_upgrade_type, text, "params.installroot", "absolute path of a folder");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upgrade_takes_a_package_and_a_version),
        cmocka_unit_test(packages_may_be_a_list),
        cmocka_unit_test(a_version_goes_with_one_package),
        cmocka_unit_test(security_needs_no_package_and_takes_no_version),
        cmocka_unit_test(repositories_are_ids_or_patterns),
        cmocka_unit_test(what_a_command_line_would_take_for_something_else_is_refused),
        cmocka_unit_test(an_installroot_is_an_absolute_folder),
    };
    return cmocka_run_group_tests_name("catalog_yum", tests, NULL, NULL);
}
