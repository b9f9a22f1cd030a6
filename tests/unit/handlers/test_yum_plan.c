#include "handlers/yum_plan.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

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
#define PACKAGES(items_) ((struct array){.items = (items_), .count = ARRAY_LEN(items_)})

/* What dnf is asked for: "upgrade p-1.10-1"; "" when for nothing. */
static void assert_plan(enum yum_verb type, const struct array *installed, const char *package,
                        const char *version, const char *expected)
{
    AUTO_PLAN struct yum_plan plan = {0};
    AUTO_BUF struct buf text = BUF_INIT;
    AUTO_FREE char *name = mem_strdup(package);
    AUTO_FREE char *wanted = version ? mem_strdup(version) : NULL;
    const struct yum_params params = {.packages = {.items = &name, .count = 1}, .version = wanted};
    assert_int_equal(yum_plan_make(type, &params, installed, &plan, NULL), ERR_OK);
    if (plan.needed)
        buf_puts(&text, yum_verb_names[plan.verb]);
    for (size_t i = 0; i < plan.specs.count; i++)
        buf_printf(&text, " %s", *ARRAY_AT(&plan.specs, char *, i));
    assert_string_equal(text.data ? text.data : "", expected);
}

static void a_newer_version_is_an_upgrade_and_an_older_one_a_downgrade(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE(0, "1.9", "1", "noarch")};
    const struct array installed = PACKAGES(items);
    assert_plan(YUM_UPGRADE, &installed, "p", "1.10-1", "upgrade p-1.10-1");
    assert_plan(YUM_UPGRADE, &installed, "p", "1.8", "downgrade p-1.8-*");
    assert_plan(YUM_UPGRADE, &installed, "p", "1:0.1-1", "upgrade p-1:0.1-1");
    assert_plan(YUM_UPGRADE, &installed, "p", "1.9", "");
    assert_plan(YUM_UPGRADE, &installed, "p", NULL, "upgrade p");
}

static void each_architecture_is_brought_to_the_version_in_one_go(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE(0, "1.0", "1", "i686"), PACKAGE(0, "2.0", "1", "x86_64")};
    const struct array installed = PACKAGES(items);
    assert_plan(YUM_UPGRADE, &installed, "p", "2.0-1", "upgrade p-2.0-1.i686");
    assert_plan(YUM_UPGRADE, &installed, "p", "1.5-1", "install p-1.5-1.i686 p-1.5-1.x86_64");
    assert_plan(YUM_UPGRADE, &installed, "p.x86_64", "3.0-1", "upgrade p-3.0-1.x86_64");
}

static void of_a_package_that_changed_its_architecture_none_is_named(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE(0, "1.0", "1", "x86_64")};
    const struct array installed = PACKAGES(items);
    assert_plan(YUM_UPGRADE, &installed, "p", "2.0-1", "upgrade p-2.0-1");
}

static void a_version_that_is_installed_beside_others_is_enough(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE(0, "5.0", "1", "x86_64"),
                                  PACKAGE(0, "6.0", "1", "x86_64")};
    const struct array installed = PACKAGES(items);
    assert_plan(YUM_UPGRADE, &installed, "p", "5.0-1", "");
    /* One instance of each architecture is changed: the newest. */
    assert_plan(YUM_UPGRADE, &installed, "p.x86_64", "7.0-1", "upgrade p-7.0-1.x86_64");
}

static void what_is_installed_is_not_installed_and_what_is_not_is_not_removed(void **state)
{
    (void)state;
    struct rpm_package items[] = {PACKAGE(0, "1.0", "1", "x86_64")};
    const struct array installed = PACKAGES(items);
    assert_plan(YUM_INSTALL, &installed, "p", NULL, "");
    assert_plan(YUM_INSTALL, &installed, "p", "1.0", "");
    assert_plan(YUM_INSTALL, &installed, "p", "2.0-1", "install p-2.0-1");
    assert_plan(YUM_INSTALL, &installed, "q", NULL, "install q");
    assert_plan(YUM_INSTALL, &installed, "q.noarch", "2.0", "install q-2.0-*.noarch");
    assert_plan(YUM_INSTALL, &installed, "python3.11", "2.0-1", "install python3.11-2.0-1");
    assert_plan(YUM_REMOVE, &installed, "p", NULL, "remove p");
    assert_plan(YUM_REMOVE, &installed, "q", NULL, "");
}

static void what_is_not_installed_is_not_upgraded(void **state)
{
    (void)state;
    struct error err = {0};
    struct yum_plan plan = {0};
    char *names[] = {TEXT("q")};
    const struct array none = {0};
    const struct yum_params params = {.packages = {.items = names, .count = 1}};
    assert_int_equal(yum_plan_make(YUM_UPGRADE, &params, &none, &plan, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "q is not installed"));
}

static void security_alone_is_about_all_that_is_installed(void **state)
{
    (void)state;
    AUTO_PLAN struct yum_plan plan = {0};
    const struct array none = {0};
    const struct yum_params params = {.security = true};
    assert_int_equal(yum_plan_make(YUM_UPGRADE, &params, &none, &plan, NULL), ERR_OK);
    assert_true(plan.needed);
    assert_int_equal(plan.verb, YUM_UPGRADE_MINIMAL);
    assert_int_equal(plan.specs.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_newer_version_is_an_upgrade_and_an_older_one_a_downgrade),
        cmocka_unit_test(each_architecture_is_brought_to_the_version_in_one_go),
        cmocka_unit_test(of_a_package_that_changed_its_architecture_none_is_named),
        cmocka_unit_test(a_version_that_is_installed_beside_others_is_enough),
        cmocka_unit_test(what_is_installed_is_not_installed_and_what_is_not_is_not_removed),
        cmocka_unit_test(what_is_not_installed_is_not_upgraded),
        cmocka_unit_test(security_alone_is_about_all_that_is_installed),
    };
    return cmocka_run_group_tests_name("yum_plan", tests, NULL, NULL);
}
