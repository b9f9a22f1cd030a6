#include "handlers/catalog.h"
#include "unit/handlers/support_params.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEXT_MAX = 1024 };

static void a_script_is_a_program_or_a_text(void **state)
{
    (void)state;
    struct script_params *params = good(
        &script_type, "{\"inline\":\"true\",\"rollbackInline\":\"x\",\"interpreter\":\"bash\"}");
    assert_null(params->script);
    assert_string_equal(params->inline_text, "true");
    assert_string_equal(params->rollback_inline, "x");
    step_params_free(&script_type, params);
    assert_wrong(&script_type, "{}", "params.script", "required, or inline");
    assert_wrong(&script_type, "{\"script\":\"a\",\"inline\":\"b\"}", "params.script",
                 "inline exclude each other");
    assert_wrong(&script_type,
                 "{\"script\":\"a\",\"rollback_script\":\"a\",\"rollbackInline\":\"b\"}",
                 "params.rollback_script", "exclude each other");
    assert_wrong(&script_type, "{\"script\":\"a\",\"check_script\":\"a\",\"checkInline\":\"b\"}",
                 "params.check_script", "exclude each other");
    assert_wrong(&script_type, "{\"script\":\"a\",\"interpreter\":\"bash\"}", "params.interpreter",
                 "there is none");
    assert_wrong(&script_type, "{\"inline\":\"\"}", "params.inline", "empty");
}

static void variables_have_names(void **state)
{
    (void)state;
    struct script_params *params =
        good(&script_type, "{\"script\":\"a\",\"env\":{\"A_1\":\"x=y\",\"_\":\"\"}}");
    assert_int_equal(params->env.count, 2);
    assert_string_equal(*ARRAY_AT(&params->env, char *, 0), "A_1=x=y");
    assert_string_equal(*ARRAY_AT(&params->env, char *, 1), "_=");
    AUTO_BUF struct buf b = BUF_INIT;
    json_encode(&b, script_type.params, params);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    assert_non_null(strstr(b.data, "\"env\":{\"A_1\":\"x=y\",\"_\":\"\"}"));
    step_params_free(&script_type, params);
    assert_good(&script_type, "{\"script\":\"a\",\"env\":{}}");
    static const char *const wrong[] = {"\"\":\"\"", "\"1A\":\"\"", "\"A-B\":\"\"", "\"A=B\":\"\""};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[TEXT_MAX];
        (void)snprintf(text, sizeof(text), "{\"script\":\"a\",\"env\":{%s}}", wrong[i]);
        assert_wrong(&script_type, text, "params.env", "no variable's name");
    }
    assert_wrong(&script_type, "{\"script\":\"a\",\"env\":{\"KITSUNE_RUN\":\"x\"}}", "params.env",
                 "set by the agent");
    assert_wrong(&script_type, "{\"script\":\"a\",\"env\":{\"A\":1}}", "params.env", "a string");
    assert_wrong(&script_type, "{\"script\":\"a\",\"env\":[\"A\"]}", "params.env", "an object");
}

static void assert_memory(const char *value, int64_t expected)
{
    char text[TEXT_MAX];
    (void)snprintf(text, sizeof(text), "{\"script\":\"a\",\"limits\":{\"memory\":%s}}", value);
    struct script_params *params = good(&script_type, text);
    assert_int_equal(params->limits.memory_bytes, expected);
    step_params_free(&script_type, params);
}

static void limits_are_sizes_and_numbers(void **state)
{
    (void)state;
    assert_memory("1048576", 1048576);
    assert_memory("\"1048576\"", 1048576);
    assert_memory("\"512M\"", 512 * 1024 * 1024);
    assert_memory("\"2G\"", INT64_C(2) * 1024 * 1024 * 1024);
    assert_memory("\"2048K\"", 2 * 1024 * 1024);
    static const char *const wrong[] = {"1024", "-1",       "\"512m\"", "\"M\"",       "\"\"",
                                        "true", "\"1.5G\"", "\"1GB\"",  "\"9999999T\""};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[TEXT_MAX];
        (void)snprintf(text, sizeof(text), "{\"script\":\"a\",\"limits\":{\"memory\":%s}}",
                       wrong[i]);
        assert_wrong(&script_type, text, "params.limits.memory", "such as \"512M\"");
    }
    assert_wrong(&script_type, "{\"script\":\"a\",\"limits\":{\"pids\":0}}", "params.limits.pids",
                 "between 1 and");
    assert_wrong(&script_type, "{\"script\":\"a\",\"limits\":{\"cpuSeconds\":0}}",
                 "params.limits.cpuSeconds", "between 1 and");
    assert_wrong(&script_type, "{\"script\":\"a\",\"limits\":{\"disk\":1}}", "params.limits.disk",
                 "unknown");
}

static void the_rest_is_checked_too(void **state)
{
    (void)state;
    assert_good(&script_type, "{\"script\":\"a\",\"cwd\":\"/\",\"user\":\"www-data\",\"umask\":"
                              "\"0027\",\"stdin\":\"\",\"successExitCodes\":[0,255]}");
    assert_wrong(&script_type, "{\"script\":\"a\",\"cwd\":\"srv\"}", "params.cwd", "absolute path");
    assert_wrong(&script_type, "{\"script\":\"a\",\"user\":\"a:b\"}", "params.user", "name or");
    assert_wrong(&script_type, "{\"script\":\"a\",\"umask\":\"1027\"}", "params.umask", "octal");
    assert_wrong(&script_type, "{\"script\":\"a\",\"umask\":\"28\"}", "params.umask", "octal");
    assert_wrong(&script_type, "{\"script\":\"a\",\"successExitCodes\":[256]}",
                 "params.successExitCodes[0]", "255");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_script_is_a_program_or_a_text),
        cmocka_unit_test(variables_have_names),
        cmocka_unit_test(limits_are_sizes_and_numbers),
        cmocka_unit_test(the_rest_is_checked_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
