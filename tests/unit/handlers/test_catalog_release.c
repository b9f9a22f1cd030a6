#include "handlers/catalog.h"
#include "unit/handlers/support_params.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEXT_MAX = 8192 };

#define DIGEST "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
#define PARAMS(more) "{\"source\":\"sha256:" DIGEST "\",\"path\":\"/srv/app\"" more "}"

static void what_is_left_out_is_what_people_expect(void **state)
{
    (void)state;
    char name[RELEASE_NAME_MAX + 1];
    struct release_params *params = good(&release_type, PARAMS(""));
    assert_int_equal(params->keep, 5);
    assert_int_equal(params->strip_components, 0);
    assert_int_equal(params->max_size_bytes, 0);
    assert_false(params->create_parents);
    assert_null(params->link);
    release_name(params, name);
    assert_string_equal(name, "2c26b46b68ff");
    step_params_free(&release_type, params);
    params = good(&release_type, PARAMS(",\"name\":\"v1.4.2+b~1_x-y\",\"maxSize\":\"2G\""));
    release_name(params, name);
    assert_string_equal(name, "v1.4.2+b~1_x-y");
    assert_int_equal(params->max_size_bytes, INT64_C(2) * 1024 * 1024 * 1024);
    step_params_free(&release_type, params);
}

static void names_are_those_of_one_folder_that_is_not_hidden(void **state)
{
    (void)state;
    static const char *const wrong[] = {"..", ".", ".1", "a/b", "-1", "a b", "\\u00e4", "a\\n"};
    char text[TEXT_MAX];
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        (void)snprintf(text, sizeof(text), PARAMS(",\"name\":\"%s\""), wrong[i]);
        assert_wrong(&release_type, text, "params.name", "the name of a folder, such as");
        (void)snprintf(text, sizeof(text), PARAMS(",\"link\":\"%s\""), wrong[i]);
        assert_wrong(&release_type, text, "params.link", "the name of a symbolic link in path");
    }
    assert_wrong(&release_type, PARAMS(",\"link\":\"releases\""), "params.link", "and not");
    assert_good(&release_type, PARAMS(",\"name\":\"releases\",\"link\":\"live\""));
    assert_wrong(&release_type, PARAMS(",\"name\":\"\""), "params.name", "");
}

static void bounds_and_forms_are_checked(void **state)
{
    (void)state;
    assert_wrong(&release_type, "{\"source\":\"" DIGEST "\",\"path\":\"/a\"}", "params.source",
                 "the name of an artifact");
    assert_wrong(&release_type, "{\"path\":\"/a\"}", "params.source", "required");
    assert_wrong(&release_type, "{\"source\":\"sha256:" DIGEST "\",\"path\":\"a\"}", "params.path",
                 "the absolute path of a folder");
    assert_wrong(&release_type, PARAMS(",\"keep\":-1"), "params.keep", "");
    assert_wrong(&release_type, PARAMS(",\"keep\":1001"), "params.keep", "");
    assert_good(&release_type, PARAMS(",\"keep\":0"));
    assert_wrong(&release_type, PARAMS(",\"stripComponents\":101"), "params.stripComponents", "");
    assert_wrong(&release_type, PARAMS(",\"maxSize\":\"4X\""), "params.maxSize",
                 "must be a number of bytes");
    assert_wrong(&release_type, PARAMS(",\"maxSize\":1000"), "params.maxSize", "at least 1M");
    assert_wrong(&release_type, PARAMS(",\"owner\":\"a:b\""), "params.owner", "a name or a number");
    assert_wrong(&release_type, PARAMS(",\"keeps\":1"), "params.keeps", "did you mean \"keep\"?");
}

static void a_path_leaves_room_for_what_is_in_it(void **state)
{
    (void)state;
    char path[4096], text[TEXT_MAX];
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[4000] = '\0';
    (void)snprintf(text, sizeof(text), "{\"source\":\"sha256:" DIGEST "\",\"path\":\"%s\"}", path);
    assert_wrong(&release_type, text, "params.path", "is too long for what is to be in it");
    path[3800] = '\0';
    (void)snprintf(text, sizeof(text), "{\"source\":\"sha256:" DIGEST "\",\"path\":\"%s\"}", path);
    assert_good(&release_type, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out_is_what_people_expect),
        cmocka_unit_test(names_are_those_of_one_folder_that_is_not_hidden),
        cmocka_unit_test(bounds_and_forms_are_checked),
        cmocka_unit_test(a_path_leaves_room_for_what_is_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
