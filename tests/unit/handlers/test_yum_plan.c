#include "handlers/yum_plan.h"

#include "common/base/alloc.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEXT(s) ((char[]){s})
#define PACKAGE(epoch_, version_, release_, arch_)                                                 \
    {                                                                                              \
        .name = TEXT("p"), .epoch = (epoch_), .version = TEXT(version_),                           \
        .release = TEXT(release_), .arch = TEXT(arch_)                                             \
    }
#define PACKAGES(items_) ((struct array){.items = (items_), .count = ARRAY_COUNT(items_)})
#define ARRAY_COUNT(items_) (sizeof(items_) / sizeof((items_)[0]))

static void assert_specs(const struct yum_plan *plan, enum yum_verb verb, size_t count,
                         const char *first)
{
    assert_int_equal(plan->specs[verb].count, count);
    if (count > 0)
        assert_string_equal(*ARRAY_AT(&plan->specs[verb], char *, 0), first);
}

static struct yum_plan plan_forward(const struct array *installed, const char *version,
                                    bool arch_given)
{
    struct rpm_version wanted;
    struct yum_plan plan = {0};
    assert_int_equal(rpm_version_parse(version, &wanted, NULL), ERR_OK);
    assert_int_equal(yum_plan_wanted(installed, &wanted, arch_given, &plan, NULL), ERR_OK);
    rpm_version_done(&wanted);
    return plan;
}

static void a_newer_version_is_an_upgrade_and_an_older_one_a_downgrade(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE(0, "1.9", "1", "noarch")};
    const struct array installed = PACKAGES(items);
    struct yum_plan plan = plan_forward(&installed, "1.10-1", false);
    assert_int_equal(plan.count, 1);
    assert_specs(&plan, YUM_UPGRADE, 1, "p-1.10-1");
    assert_string_equal(plan.reason, "p is at 1.9-1, not 1.10-1");
    yum_plan_done(&plan);
    plan = plan_forward(&installed, "1.8", false);
    assert_specs(&plan, YUM_DOWNGRADE, 1, "p-1.8-*");
    yum_plan_done(&plan);
    plan = plan_forward(&installed, "1:0.1-1", false);
    assert_specs(&plan, YUM_UPGRADE, 1, "p-1:0.1-1");
    yum_plan_done(&plan);
    plan = plan_forward(&installed, "1.9", false);
    assert_int_equal(plan.count, 0);
    yum_plan_done(&plan);
}

static void each_architecture_is_brought_to_the_version(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE(0, "1.0", "1", "i686"), PACKAGE(0, "2.0", "1", "x86_64")};
    const struct array installed = PACKAGES(items);
    struct yum_plan plan = plan_forward(&installed, "2.0-1", false);
    assert_int_equal(plan.count, 1);
    assert_specs(&plan, YUM_UPGRADE, 1, "p-2.0-1.i686");
    yum_plan_done(&plan);
    plan = plan_forward(&installed, "1.5-1", false);
    assert_specs(&plan, YUM_UPGRADE, 1, "p-1.5-1.i686");
    assert_specs(&plan, YUM_DOWNGRADE, 1, "p-1.5-1.x86_64");
    yum_plan_done(&plan);
}

static void a_version_that_is_installed_beside_others_is_enough(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE(0, "5.0", "1", "x86_64"),
                                  PACKAGE(0, "6.0", "1", "x86_64")};
    const struct array installed = PACKAGES(items);
    struct yum_plan plan = plan_forward(&installed, "5.0-1", false);
    assert_int_equal(plan.count, 0);
    yum_plan_done(&plan);
    /* One instance of each architecture is changed: the newest. */
    plan = plan_forward(&installed, "7.0-1", true);
    assert_int_equal(plan.count, 1);
    assert_specs(&plan, YUM_UPGRADE, 1, "p-7.0-1.x86_64");
    yum_plan_done(&plan);
}

static void the_way_back_names_exactly_what_was_there(void **state)
{
    (void)state;
    struct rpm_package before[] = {PACKAGE(1, "1.0", "1.el9", "x86_64")};
    struct rpm_package after[] = {PACKAGE(1, "2.0", "1.el9", "x86_64")};
    struct rpm_package older[] = {PACKAGE(0, "9.0", "1.el9", "x86_64")};
    const struct array recorded = PACKAGES(before), installed = PACKAGES(after);
    const struct array below = PACKAGES(older), none = {0};
    struct yum_plan plan = {0};
    assert_int_equal(yum_plan_back(&recorded, &installed, &plan, NULL), ERR_OK);
    assert_int_equal(plan.count, 1);
    assert_specs(&plan, YUM_DOWNGRADE, 1, "p-1:1.0-1.el9.x86_64");
    assert_string_equal(plan.reason, "p is at 1:2.0-1.el9, not 1:1.0-1.el9");
    yum_plan_done(&plan);
    assert_int_equal(yum_plan_back(&recorded, &below, &plan, NULL), ERR_OK);
    assert_specs(&plan, YUM_UPGRADE, 1, "p-1:1.0-1.el9.x86_64");
    yum_plan_done(&plan);
    assert_int_equal(yum_plan_back(&recorded, &none, &plan, NULL), ERR_OK);
    assert_specs(&plan, YUM_INSTALL, 1, "p-1:1.0-1.el9.x86_64");
    yum_plan_done(&plan);
    assert_int_equal(yum_plan_back(&recorded, &recorded, &plan, NULL), ERR_OK);
    assert_int_equal(plan.count, 0);
    yum_plan_done(&plan);
}

static void what_came_beside_goes_and_what_came_on_another_architecture_stays(void **state)
{
    (void)state;
    struct rpm_package before[] = {PACKAGE(0, "5.0", "1", "x86_64")};
    struct rpm_package after[] = {PACKAGE(0, "5.0", "1", "x86_64"),
                                  PACKAGE(0, "6.0", "1", "x86_64"), PACKAGE(0, "6.0", "1", "i686")};
    const struct array recorded = PACKAGES(before), installed = PACKAGES(after);
    struct yum_plan plan = {0};
    assert_int_equal(yum_plan_back(&recorded, &installed, &plan, NULL), ERR_OK);
    assert_int_equal(plan.count, 1);
    assert_specs(&plan, YUM_REMOVE, 1, "p-0:6.0-1.x86_64");
    yum_plan_done(&plan);
}

static const char *foreign(const struct array *recorded, const struct array *installed,
                           const char *version)
{
    static char text[64];
    struct rpm_version wanted;
    assert_int_equal(rpm_version_parse(version, &wanted, NULL), ERR_OK);
    const struct rpm_package *p = yum_plan_foreign(recorded, installed, &wanted);
    rpm_version_done(&wanted);
    if (!p)
        return "";
    yum_package_text(p, text, sizeof(text));
    return text;
}

static void what_is_neither_recorded_nor_asked_for_is_somebody_elses(void **state)
{
    (void)state;
    struct rpm_package before[] = {PACKAGE(0, "1.0", "1", "x86_64"),
                                   PACKAGE(0, "1.0", "1", "i686")};
    struct rpm_package half[] = {PACKAGE(0, "1.0", "1", "x86_64"), PACKAGE(0, "2.0", "1", "i686")};
    struct rpm_package newer[] = {PACKAGE(0, "2.0", "1", "x86_64"), PACKAGE(0, "2.0", "3", "i686")};
    struct rpm_package beside[] = {PACKAGE(0, "1.0", "1", "x86_64"),
                                   PACKAGE(1, "1.0", "1", "x86_64")};
    const struct array recorded = PACKAGES(before), cut_off = PACKAGES(half);
    const struct array later = PACKAGES(newer), two = PACKAGES(beside), none = {0};
    assert_string_equal(foreign(&recorded, &recorded, "2.0-1"), "");
    assert_string_equal(foreign(&recorded, &cut_off, "2.0-1"), "");
    assert_string_equal(foreign(&recorded, &none, "2.0-1"), "");
    assert_string_equal(foreign(&recorded, &later, "2.0-1"), "2.0-3");
    assert_string_equal(foreign(&recorded, &later, "2.0"), ""); /* any release was asked for */
    assert_string_equal(foreign(&recorded, &two, "2.0-1"), "1:1.0-1");
}

static void memory_running_out_at_any_point_is_an_error(void **state)
{
    (void)state;
    struct rpm_package before[] = {PACKAGE(0, "1.0", "1", "i686"),
                                   PACKAGE(0, "1.0", "1", "x86_64")};
    struct rpm_package after[] = {PACKAGE(0, "2.0", "1", "i686"), PACKAGE(0, "2.0", "1", "x86_64")};
    const struct array recorded = PACKAGES(before), installed = PACKAGES(after);
    struct rpm_version wanted;
    assert_int_equal(rpm_version_parse("3.0-1", &wanted, NULL), ERR_OK);
    enum error_code code = ERR_NO_MEMORY;
    uint64_t n = 0;
    for (; code != ERR_OK; n++) {
        struct yum_plan forward = {0}, back = {0};
        assert_true(n < 100);
        mem_fail_after(n);
        code = yum_plan_wanted(&installed, &wanted, false, &forward, NULL);
        if (code == ERR_OK)
            code = yum_plan_back(&recorded, &installed, &back, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        yum_plan_done(&forward);
        yum_plan_done(&back);
    }
    assert_true(n > 4);
    rpm_version_done(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_newer_version_is_an_upgrade_and_an_older_one_a_downgrade),
        cmocka_unit_test(each_architecture_is_brought_to_the_version),
        cmocka_unit_test(a_version_that_is_installed_beside_others_is_enough),
        cmocka_unit_test(the_way_back_names_exactly_what_was_there),
        cmocka_unit_test(what_came_beside_goes_and_what_came_on_another_architecture_stays),
        cmocka_unit_test(what_is_neither_recorded_nor_asked_for_is_somebody_elses),
        cmocka_unit_test(memory_running_out_at_any_point_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
