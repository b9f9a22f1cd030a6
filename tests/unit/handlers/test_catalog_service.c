#include "handlers/catalog.h"

#include "common/base/cleanup.h"
#include "unit/handlers/support_params.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void service_takes_a_unit_and_what_becomes_of_it(void **state)
{
    (void)state;
    struct service_params *params =
        good(&service_type, "{\"name\":\"nginx\",\"state\":\"restarted\",\"enabled\":false,"
                            "\"settleSeconds\":\"1m\",\"timeout\":30,\"undo\":\"restart\"}");
    assert_int_equal(params->state, SERVICE_RESTARTED);
    assert_true(params->has_enabled);
    assert_false(params->enabled);
    assert_true(params->has_settle);
    assert_int_equal(params->settle_ms, 60000);
    assert_int_equal(params->timeout_ms, 30000);
    assert_int_equal(params->undo, SERVICE_UNDO_RESTART);
    step_params_free(&service_type, params);
    params = good(&service_type, "{\"name\":\"nginx\",\"state\":\"started\"}");
    assert_false(params->has_enabled);
    assert_false(params->has_settle);
    assert_int_equal(params->undo, SERVICE_UNDO_RESTORE);
    step_params_free(&service_type, params);
}

static void params_are_written_as_they_were_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"name\":\"a\",\"enabled\":false,\"undo\":\"restore\"}",
        "{\"name\":\"a\",\"state\":\"reloaded\",\"settleSeconds\":0,\"undo\":\"deferred\"}",
        "{\"name\":\"a\",\"undo\":\"restart\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_BUF struct buf b = BUF_INIT;
        void *params = good(&service_type, texts[i]);
        json_encode(&b, service_type.params, params);
        step_params_free(&service_type, params);
        assert_string_equal(b.data, texts[i]);
    }
}

static void a_unit_has_a_name_of_a_kind_that_is_a_service(void **state)
{
    (void)state;
    static const char *const right[] = {"nginx",
                                        "nginx.service",
                                        "getty@tty1",
                                        "getty@tty1.service",
                                        "backup.timer",
                                        "cups.socket",
                                        "a.b",
                                        "dbus-org.freedesktop.login1",
                                        "x.path",
                                        "srv-data.mount",
                                        "a\\\\x2db.service",
                                        "user@1000.service"};
    static const char *const wrong[] = {
        "",   "a b",      "../a", "a/b", "reboot.target", "a.slice",        "a.device",
        "-a", ".service", "@a",   "a*",  "getty@",        "getty@.service", "a\\u00e4"};
    for (size_t i = 0; i < ARRAY_LEN(right) + ARRAY_LEN(wrong); i++) {
        char text[512];
        bool good_one = i < ARRAY_LEN(right);
        (void)snprintf(text, sizeof(text), "{\"name\":\"%s\",\"state\":\"started\"}",
                       good_one ? right[i] : wrong[i - ARRAY_LEN(right)]);
        if (good_one)
            assert_good(&service_type, text);
        else
            assert_wrong(&service_type, text, "params.name", "");
    }
}

static void a_name_without_a_suffix_is_a_services(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"nginx", "nginx.service"},
                                           {"nginx.service", "nginx.service"},
                                           {"a.b", "a.b.service"},
                                           {"backup.timer", "backup.timer"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char unit[UNIT_NAME_MAX + 1];
        service_unit_name(cases[i][0], unit);
        assert_string_equal(unit, cases[i][1]);
    }
}

static void a_step_says_what_is_to_be_done(void **state)
{
    (void)state;
    static const struct {
        const char *params, *path; /* NULL: right */
    } cases[] = {
        {"\"state\":\"stopped\"", NULL},
        {"\"enabled\":true", NULL},
        {"\"undo\":\"restart\"", NULL},
        {"\"state\":\"restarted\",\"undo\":\"deferred\"", NULL},
        {"\"undo\":\"restore\"", "params.state"},
        {"\"settleSeconds\":1", "params.state"},
        {"\"undo\":\"deferred\"", "params.undo"},
        {"\"state\":\"started\",\"undo\":\"deferred\"", "params.undo"},
        {"\"state\":\"reloaded\",\"undo\":\"deferred\",\"enabled\":true", "params.undo"},
        {"\"state\":\"running\"", "params.state"},
        {"\"state\":\"started\",\"enabled\":\"yes\"", "params.enabled"},
        {"\"state\":\"started\",\"settleSeconds\":3601", "params.settleSeconds"},
        {"\"state\":\"started\",\"undo\":\"no\"", "params.undo"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "{\"name\":\"a\",%s}", cases[i].params);
        if (cases[i].path)
            assert_wrong(&service_type, text, cases[i].path, "");
        else
            assert_good(&service_type, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(service_takes_a_unit_and_what_becomes_of_it),
        cmocka_unit_test(params_are_written_as_they_were_read),
        cmocka_unit_test(a_unit_has_a_name_of_a_kind_that_is_a_service),
        cmocka_unit_test(a_name_without_a_suffix_is_a_services),
        cmocka_unit_test(a_step_says_what_is_to_be_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
