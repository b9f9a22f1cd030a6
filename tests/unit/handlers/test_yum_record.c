#include "handlers/yum_record.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEXT(s) ((char[]){s})
#define PACKAGE(name_, epoch_, version_)                                                           \
    {                                                                                              \
        .name = TEXT(name_), .epoch = (epoch_), .version = TEXT(version_), .release = TEXT("1"),   \
        .arch = TEXT("noarch")                                                                     \
    }
#define PACKAGES(items_) ((struct array){.items = (items_), .count = ARRAY_LEN(items_)})

static void assert_told(const struct yum_record *record, const char *expected)
{
    AUTO_BUF struct buf text = BUF_INIT;
    yum_record_tell(record, &text);
    assert_string_equal(text.data ? text.data : "", expected);
}

static enum error_code resolve(const char *output, const struct array *installed,
                               struct yum_record *record)
{
    return yum_record_resolve(output, strlen(output), installed, record, NULL);
}

static void what_dnf_would_do_is_read(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE("a", 0, "1.0"), PACKAGE("b", 1, "1.0"),
                                  PACKAGE("c", 0, "3.0"), PACKAGE("d", 0, "1.0")};
    const struct array installed = PACKAGES(items);
    AUTO_RECORD struct yum_record record = {0};
    assert_int_equal(resolve("repo: x\n--> Starting dependency resolution\n"
                             "---> Package a.noarch 1.0-1 will be upgraded\n"
                             "---> Package a.noarch 2.0-1 will be an upgrade\n"
                             "---> Package b.noarch 1:1.0-1 will be obsoleted\n"
                             "---> Package c.noarch 2.0-1 will be a downgrade\n"
                             "---> Package d.noarch 1.0-1 will be reinstalled\n"
                             "---> Package e.noarch 5:1.0-1 will be installed\n"
                             "---> Package e.noarch 5:1.0-1 will be installed\n"
                             "---> Package f something else\n",
                             &installed, &record),
                     ERR_OK);
    assert_told(&record, "a 1.0-1 -> 2.0-1\nc 3.0-1 -> 2.0-1\ne 5:1.0-1 (new)\n"
                         "b 1:1.0-1 (removed)\n");
    assert_int_equal(record.before.count, 3);
}

static void what_yum_would_do_is_read_too(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE("a", 0, "1.0"), PACKAGE("b", 0, "1.0")};
    const struct array installed = PACKAGES(items);
    AUTO_RECORD struct yum_record record = {0};
    assert_int_equal(resolve("---> Package a.noarch 0:1.0-1 will be updated\n"
                             "---> Package a.noarch 0:2.0-1 will be an update\n"
                             "---> Package b.noarch 0:1.0-1 will be erased\n",
                             &installed, &record),
                     ERR_OK);
    assert_told(&record, "a 1.0-1 -> 2.0-1\nb 1.0-1 (removed)\n");
}

static void what_does_not_fit_what_is_installed_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "---> Package a.noarch 1.5-1 will be upgraded\n",
        "---> Package a.noarch 1.0-1 will be installed\n",
        "---> Package z.noarch 1.0-1 will be a downgrade\n",
        "---> Package a 1.0-1 will be upgraded\n",
    };
    struct rpm_package items[] = {PACKAGE("a", 0, "1.0")};
    const struct array installed = PACKAGES(items);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        AUTO_RECORD struct yum_record record = {0};
        assert_int_equal(resolve(wrong[i], &installed, &record), ERR_PROTOCOL);
    }
}

static void a_package_that_can_be_had_again_is_kept(void **state)
{
    (void)state;
    static const char output[] = "---> Package a.noarch 1.0-1 will be reinstalled\n";
    struct rpm_package before[] = {PACKAGE("a", 0, "1.0"), PACKAGE("b", 0, "1.0")};
    struct yum_record record = {.before = PACKAGES(before)};
    assert_int_equal(yum_record_offered(output, strlen(output), &record, NULL), ERR_OK);
    assert_false(record.kept);
    assert_ptr_equal(yum_record_lacks(&record), &before[1]);
    record.before.count = 1;
    assert_int_equal(yum_record_offered(output, strlen(output), &record, NULL), ERR_OK);
    assert_true(record.kept);
    mem_free(before[0].file);
}

/* ---- How far it is ----------------------------------------------------------------------- */

/* a 1.0 -> 2.0, b new, with an older instance of k beside a new one. */
static enum yum_state state_of(struct rpm_package *items, size_t count, bool begun)
{
    struct rpm_package before[] = {PACKAGE("a", 0, "1.0")};
    struct rpm_package after[] = {PACKAGE("a", 0, "2.0"), PACKAGE("b", 0, "1.0"),
                                  PACKAGE("k", 0, "6.0")};
    struct rpm_package beside[] = {PACKAGE("k", 0, "5.0")};
    const struct yum_record record = {
        .before = PACKAGES(before), .after = PACKAGES(after), .beside = PACKAGES(beside)};
    const struct rpm_set set = {.packages = {.items = items, .count = count}, .begun = begun};
    return yum_record_state(&record, &set, NULL);
}
#define STATE(begun_, ...)                                                                         \
    state_of((struct rpm_package[]){__VA_ARGS__},                                                  \
             sizeof((struct rpm_package[]){__VA_ARGS__}) / sizeof(struct rpm_package), begun_)
#define OLD_A PACKAGE("a", 0, "1.0")
#define NEW_A PACKAGE("a", 0, "2.0")
#define OTHER PACKAGE("other", 0, "1.0")
#define OLD_K PACKAGE("k", 0, "5.0")
#define NEW_K PACKAGE("k", 0, "6.0")
#define NEW_B PACKAGE("b", 0, "1.0")

static void packages_are_as_before_or_as_after_or_between(void **state)
{
    (void)state;
    assert_int_equal(STATE(false, OLD_A, OLD_K, OTHER), YUM_STATE_BEFORE);
    assert_int_equal(STATE(false, NEW_A, NEW_B, OLD_K, NEW_K), YUM_STATE_AFTER);
    assert_int_equal(STATE(false, OLD_A, NEW_B, OLD_K), YUM_STATE_BETWEEN);
    assert_int_equal(STATE(false, OLD_A, NEW_A, NEW_B, OLD_K, NEW_K), YUM_STATE_BETWEEN);
    assert_int_equal(STATE(false, OLD_K), YUM_STATE_BETWEEN);
}

static void one_that_may_not_have_ended_is_never_taken_for_done(void **state)
{
    (void)state;
    assert_int_equal(STATE(true, NEW_A, NEW_B, OLD_K, NEW_K), YUM_STATE_BETWEEN);
}

static void a_package_that_nobody_foresaw_is_foreign(void **state)
{
    (void)state;
    assert_int_equal(STATE(false, PACKAGE("a", 0, "3.0"), OLD_K), YUM_STATE_FOREIGN);
    assert_int_equal(STATE(false, NEW_A, PACKAGE("b", 1, "1.0"), OLD_K, NEW_K), YUM_STATE_FOREIGN);
    assert_int_equal(STATE(false, OLD_A, OLD_K, PACKAGE("other", 0, "9.0")), YUM_STATE_BEFORE);
}

static void damage_that_was_not_there_before_is_between(void **state)
{
    (void)state;
    struct rpm_package before[] = {PACKAGE("a", 0, "1.0")};
    struct rpm_package now[] = {PACKAGE("a", 0, "1.0")};
    const struct yum_record record = {.before = PACKAGES(before)};
    const struct rpm_set set = {.packages = PACKAGES(now)};
    now[0].damaged = true;
    assert_int_equal(yum_record_state(&record, &set, NULL), YUM_STATE_BETWEEN);
    before[0].damaged = true;
    assert_int_equal(yum_record_state(&record, &set, NULL), YUM_STATE_BEFORE);
}

static void a_change_that_was_not_recorded_is_told(void **state)
{
    (void)state;
    struct rpm_package before[] = {OLD_A}, after[] = {NEW_A};
    const struct yum_record record = {.before = PACKAGES(before), .after = PACKAGES(after)};
    struct rpm_package from[] = {OLD_A, OTHER}, to[] = {NEW_A, OTHER}, more[] = {NEW_A, NEW_B};
    const struct array was = PACKAGES(from), is = PACKAGES(to), also = PACKAGES(more);
    AUTO_BUF struct buf what = BUF_INIT;
    assert_true(yum_record_explains(&record, &was, &is, &what));
    assert_false(yum_record_explains(&record, &was, &also, &what));
    assert_string_equal(what.data, "other 1.0-1 is gone, b 1.0-1 has come");
}

static void a_long_list_is_told_in_short(void **state)
{
    (void)state;
    struct rpm_package after[] = {NEW_A, NEW_B, NEW_K, OTHER};
    const struct yum_record record = {.after = PACKAGES(after)};
    AUTO_BUF struct buf text = BUF_INIT;
    yum_record_summary(&record, 2, &text);
    assert_string_equal(text.data, "a 2.0-1 (new), b 1.0-1 (new) and 2 more");
}

static void what_needs_a_reboot_is_named(void **state)
{
    (void)state;
    struct rpm_package after[] = {NEW_A, PACKAGE("kernel-core", 0, "6.1"),
                                  PACKAGE("systemd", 0, "252")};
    const struct yum_record record = {.after = PACKAGES(after)};
    AUTO_BUF struct buf names = BUF_INIT;
    yum_record_reboot(&record, &names);
    assert_string_equal(names.data, "kernel-core, systemd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_dnf_would_do_is_read),
        cmocka_unit_test(what_yum_would_do_is_read_too),
        cmocka_unit_test(what_does_not_fit_what_is_installed_is_refused),
        cmocka_unit_test(a_package_that_can_be_had_again_is_kept),
        cmocka_unit_test(packages_are_as_before_or_as_after_or_between),
        cmocka_unit_test(one_that_may_not_have_ended_is_never_taken_for_done),
        cmocka_unit_test(a_package_that_nobody_foresaw_is_foreign),
        cmocka_unit_test(damage_that_was_not_there_before_is_between),
        cmocka_unit_test(a_change_that_was_not_recorded_is_told),
        cmocka_unit_test(a_long_list_is_told_in_short),
        cmocka_unit_test(what_needs_a_reboot_is_named),
    };
    return cmocka_run_group_tests_name("yum_record", tests, NULL, NULL);
}
