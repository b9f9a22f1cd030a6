#include "handlers/rpmdb.h"

#include "common/base/alloc.h"
#include "unit/handlers/support_run.h"

#include <pthread.h>
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

static void *ask(void *root)
{
    for (int i = 0; i < 10; i++) {
        struct rpm_installed installed = {0};
        if (rpmdb_installed(root, "glibc", &installed, NULL) != ERR_OK ||
            installed.packages.count != 0)
            return root;
        rpm_installed_done(&installed);
    }
    return NULL;
}

static void several_threads_can_ask_at_once(void **state)
{
    (void)state;
    struct bed bed;
    pthread_t threads[4];
    bed_open(&bed);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, bed.dir), 0);
    for (size_t i = 0; i < 4; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_is_taken_apart),
        cmocka_unit_test(a_text_that_is_no_version_is_refused),
        cmocka_unit_test(versions_compare_as_rpm_compares_them),
        cmocka_unit_test(several_threads_can_ask_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
