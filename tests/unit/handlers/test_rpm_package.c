#include "handlers/rpm_package.h"

#include "common/base/alloc.h"
#include "unit/handlers/support_run.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_version_is_taken_apart(void **state)
{
    (void)state;
    struct rpm_version v;
    assert_int_equal(rpm_version_parse("2.34-168.0.1.el9_6.24", &v, NULL), ERR_OK);
    assert_false(v.has_epoch);
    assert_string_equal(v.version, "2.34");
    assert_string_equal(v.release, "168.0.1.el9_6.24");
    rpm_version_done(&v);
    assert_int_equal(rpm_version_parse("3:1.0~rc1-2", &v, NULL), ERR_OK);
    assert_true(v.has_epoch);
    assert_int_equal(v.epoch, 3);
    assert_string_equal(v.version, "1.0~rc1");
    assert_string_equal(v.release, "2");
    rpm_version_done(&v);
    assert_int_equal(rpm_version_parse("1.0", &v, NULL), ERR_OK);
    assert_string_equal(v.version, "1.0");
    assert_null(v.release);
    rpm_version_done(&v);
}

static void a_text_that_is_no_version_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "1.0-", "-1", ":1.0", "x:1.0", "1:", "1.0-1-2x:"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct rpm_version v = {0};
        struct error err = {0};
        if (rpm_version_parse(texts[i], &v, &err) == ERR_OK)
            fail_msg("\"%s\" was taken for a version: %s", texts[i], v.version);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

static int compare(const char *wanted, int64_t epoch, const char *version, const char *release)
{
    struct rpm_version v;
    char version_copy[32], release_copy[32];
    assert_int_equal(rpm_version_parse(wanted, &v, NULL), ERR_OK);
    memcpy(version_copy, version, strlen(version) + 1);
    memcpy(release_copy, release, strlen(release) + 1);
    const struct rpm_package p = {.epoch = epoch, .version = version_copy, .release = release_copy};
    int order = rpm_version_compare(&v, &p);
    rpm_version_done(&v);
    return order;
}

static void versions_compare_as_rpm_compares_them(void **state)
{
    (void)state;
    assert_true(compare("1.10", 0, "1.9", "1") > 0);
    assert_true(compare("1.0~rc1", 0, "1.0", "1") < 0);
    assert_true(compare("1.0-10", 0, "1.0", "9") > 0);
    assert_int_equal(compare("1.0", 0, "1.0", "9"), 0);
    assert_int_equal(compare("1.0-9", 7, "1.0", "9"), 0);
    assert_true(compare("1:1.0-9", 7, "1.0", "9") < 0);
    assert_true(compare("8:0.1-1", 7, "1.0", "9") > 0);
    assert_int_equal(compare("0:1.0-9", 0, "1.0", "9"), 0);
}

static void a_package_is_named_by_its_name_with_or_without_its_architecture(void **state)
{
    (void)state;
    char name[] = "python3.11", version[] = "3.11", release[] = "1", arch[] = "x86_64";
    const struct rpm_package p = {
        .name = name, .version = version, .release = release, .arch = arch};
    assert_true(rpm_package_named(&p, "python3.11"));
    assert_true(rpm_package_named(&p, "python3.11.x86_64"));
    assert_false(rpm_package_named(&p, "python3"));
    assert_false(rpm_package_named(&p, "python3.11.i686"));
    assert_false(rpm_package_named(&p, "python3.11x86_64"));
}

static void a_package_has_a_text_for_people_and_one_for_programs(void **state)
{
    (void)state;
    char text[RPM_TEXT_MAX];
    char name[] = "vim", version[] = "9.0", release[] = "2", arch[] = "noarch";
    struct rpm_package p = {.name = name, .version = version, .release = release, .arch = arch};
    rpm_package_evr(&p, text);
    assert_string_equal(text, "9.0-2");
    rpm_package_nevra(&p, text);
    assert_string_equal(text, "vim-0:9.0-2.noarch");
    p.epoch = 3;
    rpm_package_evr(&p, text);
    assert_string_equal(text, "3:9.0-2");
}

static void a_set_is_written_and_read_again(void **state)
{
    (void)state;
    static const char text[] =
        "{\"packages\":[{\"name\":\"a\",\"epoch\":2,\"version\":\"1\",\"release\":\"3\","
        "\"arch\":\"noarch\",\"clash\":true,\"file\":\"a.rpm\",\"sizeBytes\":7}],"
        "\"begun\":true}";
    AUTO_SET struct rpm_set set = {0};
    AUTO_BUF struct buf again = BUF_INIT;
    assert_int_equal(json_read(text, strlen(text), 4096, &rpm_set_table, &set, NULL), ERR_OK);
    assert_int_equal(set.packages.count, 1);
    assert_true(rpm_package_at(&set.packages, 0)->clash);
    assert_true(set.begun);
    json_encode(&again, &rpm_set_table, &set);
    assert_string_equal(again.data, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_is_taken_apart),
        cmocka_unit_test(a_text_that_is_no_version_is_refused),
        cmocka_unit_test(versions_compare_as_rpm_compares_them),
        cmocka_unit_test(a_package_is_named_by_its_name_with_or_without_its_architecture),
        cmocka_unit_test(a_package_has_a_text_for_people_and_one_for_programs),
        cmocka_unit_test(a_set_is_written_and_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
