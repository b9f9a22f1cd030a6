#include "handlers/catalog.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "unit/handlers/support_params.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The params with this value for one of them, in place of %s. */
#define TEXT_MAX 512
#define FILL(text, pattern, value) (void)snprintf((text), TEXT_MAX, pattern, (value))

/* ---- All types --------------------------------------------------------------------------- */

static void every_type_is_found_by_its_name(void **state)
{
    (void)state;
    static const struct step_type *const types[] = {
        &echo_type,        &sleep_type,       &script_type,    &file_write_type,
        &yum_upgrade_type, &http_check_type,  &tcp_check_type, &command_check_type,
        &service_type,     &file_remove_type, &directory_type, &symlink_type,
        &yum_install_type, &yum_remove_type,  &release_type,   &reboot_type};
    assert_int_equal(handler_catalog.count, ARRAY_LEN(types));
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        assert_ptr_equal(step_catalog_find(&handler_catalog, types[i]->name), types[i]);
    assert_null(step_catalog_find(&handler_catalog, "ECHO"));
    assert_null(step_catalog_find(&handler_catalog, ""));
}

static void types_are_in_order(void **state)
{
    (void)state;
    for (size_t i = 1; i < handler_catalog.count; i++)
        assert_true(strcmp(handler_catalog.types[i - 1]->name, handler_catalog.types[i]->name) < 0);
}

static void everything_is_documented(void **state)
{
    (void)state;
    for (size_t i = 0; i < handler_catalog.count; i++) {
        const struct step_type *type = handler_catalog.types[i];
        assert_non_null(type->doc);
        assert_non_null(type->undo_doc);
        assert_string_equal(type->params->noun, "parameter");
        for (size_t f = 0; f < type->params->count; f++)
            assert_non_null(type->params->fields[f].doc);
    }
}

static void traits_say_what_may_be_repeated(void **state)
{
    (void)state;
    assert_int_equal(echo_type.traits, STEP_TYPE_IDEMPOTENT | STEP_TYPE_INSTANT);
    assert_int_equal(sleep_type.traits, STEP_TYPE_IDEMPOTENT);
    assert_int_equal(script_type.traits, STEP_TYPE_CHANGES | STEP_TYPE_OUTPUTS);
    assert_int_equal(file_write_type.traits, STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES);
    assert_int_equal(file_remove_type.traits, STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES);
    assert_int_equal(directory_type.traits, STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES);
    assert_int_equal(symlink_type.traits, STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES);
    assert_int_equal(release_type.traits, STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES);
    assert_int_equal(yum_upgrade_type.traits, STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES);
    assert_int_equal(http_check_type.traits, STEP_TYPE_IDEMPOTENT);
    assert_int_equal(tcp_check_type.traits, STEP_TYPE_IDEMPOTENT);
    assert_int_equal(command_check_type.traits, STEP_TYPE_IDEMPOTENT);
    assert_int_equal(reboot_type.traits,
                     STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES | STEP_TYPE_NO_UNDO);
    assert_int_equal(service_type.traits, STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES);
}

static void a_step_tells_whether_it_can_be_undone(void **state)
{
    (void)state;
    static const struct {
        const char *type, *params, *lacks;
        enum step_undo undo;
    } cases[] = {
        {"echo", "{\"message\":\"m\"}", NULL, STEP_UNDO_NOTHING},
        {"sleep", "{\"duration\":1}", NULL, STEP_UNDO_NOTHING},
        {"file_write", "{\"path\":\"/a\",\"content\":\"\"}", NULL, STEP_UNDO_YES},
        {"yum_upgrade", "{\"package\":\"p\",\"version\":\"1\"}", NULL, STEP_UNDO_YES},
        {"yum_install", "{\"package\":\"p\"}", NULL, STEP_UNDO_YES},
        {"yum_remove", "{\"package\":\"p\",\"requireUndo\":false}",
         "requireUndo is false: it goes on where an old package can no longer be had",
         STEP_UNDO_NO},
        {"script", "{\"script\":\"a\",\"rollback_script\":\"b\"}", NULL, STEP_UNDO_YES},
        {"file_remove", "{\"path\":\"/a\"}", NULL, STEP_UNDO_YES},
        {"directory", "{\"path\":\"/a\"}", NULL, STEP_UNDO_YES},
        {"symlink", "{\"path\":\"/a\",\"target\":\"b\"}", NULL, STEP_UNDO_YES},
        {"release",
         "{\"path\":\"/"
         "a\",\"source\":\"sha256:"
         "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"}",
         NULL, STEP_UNDO_YES},
        {"script", "{\"inline\":\"a\",\"rollbackInline\":\"b\"}", NULL, STEP_UNDO_YES},
        {"script", "{\"script\":\"a\"}", "there is no rollback_script", STEP_UNDO_NO},
        {"http_check", "{\"url\":\"http://a\"}", NULL, STEP_UNDO_NOTHING},
        {"tcp_check", "{\"port\":1}", NULL, STEP_UNDO_NOTHING},
        {"command_check", "{\"command\":\"true\"}", NULL, STEP_UNDO_NOTHING},
        {"service", "{\"name\":\"a\",\"state\":\"started\"}", NULL, STEP_UNDO_YES},
        {"reboot", "{}", NULL, STEP_UNDO_NOTHING},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[] = "step";
        AUTO_FREE char *type = mem_strdup(cases[i].type);
        AUTO_FREE char *params = mem_strdup(cases[i].params);
        struct plan_step step = {.name = name, .type = type, .params_json = params};
        enum step_undo undo = STEP_UNDO_COUNT;
        const char *lacks = "?";
        assert_int_equal(step_undo_find(&handler_catalog, &step, &undo, &lacks, NULL), ERR_OK);
        assert_int_equal(undo, cases[i].undo);
        if (cases[i].lacks)
            assert_string_equal(lacks, cases[i].lacks);
        else
            assert_null(lacks);
    }
}

static void a_step_of_no_type_or_with_wrong_params_tells_no_undo(void **state)
{
    (void)state;
    char name[] = "step";
    char unknown[] = "ecko";
    char script[] = "script";
    char params[] = "{\"scrpt\":\"a\"}";
    struct plan_step step = {.name = name, .type = unknown, .params_json = params};
    struct error err = {0};
    enum step_undo undo = STEP_UNDO_COUNT;
    const char *lacks = NULL;
    assert_int_equal(step_undo_find(&handler_catalog, &step, &undo, &lacks, &err), ERR_INVALID);
    assert_string_equal(err.message, "\"ecko\" is not a step type");
    step.type = script;
    assert_int_equal(step_undo_find(&handler_catalog, &step, &undo, &lacks, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "step.scrpt"));
    assert_int_equal(undo, STEP_UNDO_COUNT);
}

/* ---- echo -------------------------------------------------------------------------------- */

static void echo_takes_a_message(void **state)
{
    (void)state;
    struct echo_params *params = good(&echo_type, "{\"message\":\"hello\"}");
    assert_string_equal(params->message, "hello");
    step_params_free(&echo_type, params);
    assert_good(&echo_type, "{\"message\":\"\"}");
    assert_wrong(&echo_type, "{}", "params.message", "required");
    assert_wrong(&echo_type, "{\"message\":5}", "params.message", "string");
    assert_wrong(&echo_type, "{\"message\":\"\",\"massage\":\"\"}", "params.massage",
                 "unknown parameter (did you mean \"message\"?)");
}

/* ---- sleep ------------------------------------------------------------------------------- */

static void assert_sleeps(const char *duration, int64_t ms)
{
    char text[TEXT_MAX];
    FILL(text, "{\"duration\":%s}", duration);
    struct sleep_params *params = good(&sleep_type, text);
    int64_t is = params->duration_ms;
    AUTO_BUF struct buf b = BUF_INIT;
    json_encode(&b, sleep_type.params, params);
    step_params_free(&sleep_type, params);
    assert_int_equal(is, ms);
    params = good(&sleep_type, b.data);
    assert_int_equal(params->duration_ms, ms);
    step_params_free(&sleep_type, params);
}

static void a_sleep_is_seconds_or_a_duration(void **state)
{
    (void)state;
    assert_sleeps("0", 0);
    assert_sleeps("2", 2000);
    assert_sleeps("0.25", 250);
    assert_sleeps("1.0005", 1001);
    assert_sleeps("0.0004", 0);
    assert_sleeps("4.35", 4350);
    assert_sleeps("1234567.891", 1234567891);
    assert_sleeps("2592000", INT64_C(2592000000));
    assert_sleeps("\"1m30s\"", 90000);
    assert_sleeps("\"250ms\"", 250);
    assert_sleeps("\"2.5\"", 2500);
    assert_sleeps("\"720h\"", INT64_C(2592000000));
}

static void a_wrong_sleep_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *duration;
        const char *message;
    } wrong[] = {
        {"-1", "between 0 and"},
        {"2592000.1", "between 0 and"},
        {"1e300", "between 0 and"},
        {"\"721h\"", "between 0 and"},
        {"\"soon\"", "soon"},
        {"\"\"", "duration"},
        {"\"-1s\"", "negative"},
        {"true", "a number of seconds or a text"},
        {"[1]", "a number of seconds or a text"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[TEXT_MAX];
        FILL(text, "{\"duration\":%s}", wrong[i].duration);
        assert_wrong(&sleep_type, text, "params.duration", wrong[i].message);
    }
    assert_wrong(&sleep_type, "{}", "params.duration", "required");
    assert_wrong(&sleep_type, "{\"duration\":null}", "params.duration", "");
}

/* ---- script ------------------------------------------------------------------------------ */

static void script_takes_a_program_and_its_args(void **state)
{
    (void)state;
    struct script_params *params =
        good(&script_type, "{\"script\":\"sh\",\"args\":[\"-c\",\"\"],\"rollback_script\":\"/u\"}");
    assert_string_equal(params->script, "sh");
    assert_int_equal(params->args.count, 2);
    assert_string_equal(*ARRAY_AT(&params->args, char *, 0), "-c");
    assert_string_equal(*ARRAY_AT(&params->args, char *, 1), "");
    assert_string_equal(params->rollback_script, "/u");
    step_params_free(&script_type, params);

    params = good(&script_type, "{\"script\":\"true\"}");
    assert_int_equal(params->args.count, 0);
    assert_null(params->rollback_script);
    step_params_free(&script_type, params);
}

static void a_wrong_script_is_refused(void **state)
{
    (void)state;
    assert_wrong(&script_type, "{}", "params.script", "required");
    assert_wrong(&script_type, "{\"script\":\"\"}", "params.script", "empty");
    assert_wrong(&script_type, "{\"script\":\"a\",\"rollback_script\":\"\"}",
                 "params.rollback_script", "empty");
    assert_wrong(&script_type, "{\"script\":\"a\",\"args\":\"-c\"}", "params.args", "array");
    assert_wrong(&script_type, "{\"script\":\"a\",\"args\":[1]}", "params.args[0]", "string");
    assert_wrong(&script_type, "{\"script\":\"a\",\"rollbackScript\":\"b\"}",
                 "params.rollbackScript", "rollback_script");
}

/* {"script":"a","args":[...]} with so many args of so many bytes each. */
static void put_args(struct buf *b, size_t count, size_t len)
{
    buf_puts(b, "{\"script\":\"a\",\"args\":[");
    for (size_t i = 0; i < count; i++) {
        buf_puts(b, i > 0 ? ",\"" : "\"");
        for (size_t c = 0; c < len; c++)
            buf_putc(b, 'x');
        buf_putc(b, '"');
    }
    buf_puts(b, "]}");
    assert_int_equal(buf_check(b, NULL), ERR_OK);
}

static void args_that_no_program_can_be_given_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t count, len;
        const char *path; /* NULL: right */
    } cases[] = {
        {1, 131071, NULL}, {1, 131072, "params.args[0]"},
        {1024, 10, NULL},  {1025, 10, "params.args"},
        {4, 131071, NULL}, {5, 131000, "params.args"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF struct buf b = BUF_INIT;
        put_args(&b, cases[i].count, cases[i].len);
        if (cases[i].path)
            assert_wrong(&script_type, b.data, cases[i].path, "");
        else
            assert_good(&script_type, b.data);
    }
}

/* ---- file_write -------------------------------------------------------------------------- */

static void file_write_takes_a_path_and_a_content(void **state)
{
    (void)state;
    struct file_write_params *params =
        good(&file_write_type, "{\"path\":\"/etc/motd\",\"content\":\"\",\"mode\":\"0640\","
                               "\"owner\":\"root\",\"group\":\"4\",\"followSymlinks\":true}");
    assert_string_equal(params->path, "/etc/motd");
    assert_string_equal(params->content, "");
    assert_string_equal(params->mode, "0640");
    assert_string_equal(params->owner, "root");
    assert_string_equal(params->group, "4");
    assert_true(params->follow_symlinks);
    step_params_free(&file_write_type, params);

    params = good(&file_write_type, "{\"path\":\"/a\",\"content\":\"x\"}");
    assert_null(params->mode);
    assert_null(params->owner);
    assert_null(params->group);
    assert_false(params->follow_symlinks);
    step_params_free(&file_write_type, params);
    assert_wrong(&file_write_type, "{\"path\":\"/a\"}", "params.content", "required");
    assert_wrong(&file_write_type, "{\"content\":\"\"}", "params.path", "required");
}

static void a_path_that_is_no_file_is_refused(void **state)
{
    (void)state;
    static const char *const right[] = {"/a", "/a b", "/a/.hidden", "/a/..b", "/\\u00fc"};
    static const char *const wrong[] = {"a",    "./a",   "/",   "//", "/a/",
                                        "/a/.", "/a/..", "~/a", "/.."};
    char text[TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(right); i++) {
        FILL(text, "{\"content\":\"\",\"path\":\"%s\"}", right[i]);
        assert_good(&file_write_type, text);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        FILL(text, "{\"content\":\"\",\"path\":\"%s\"}", wrong[i]);
        assert_wrong(&file_write_type, text, "params.path", "absolute path of a file");
    }
    assert_wrong(&file_write_type, "{\"content\":\"\",\"path\":\"\"}", "params.path", "empty");
}

static void a_mode_is_octal_text(void **state)
{
    (void)state;
    static const char *const right[] = {"0644", "644", "4755", "04755", "000", "7777"};
    static const char *const wrong[] = {"",     "7",    "64",   "0648", "14755", "u+x",
                                        "0x1a", " 644", "-644", "644 ", "006440"};
    char text[TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(right); i++) {
        FILL(text, "{\"path\":\"/a\",\"content\":\"\",\"mode\":\"%s\"}", right[i]);
        assert_good(&file_write_type, text);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        FILL(text, "{\"path\":\"/a\",\"content\":\"\",\"mode\":\"%s\"}", wrong[i]);
        assert_wrong(&file_write_type, text, "params.mode", "octal");
    }
    assert_wrong(&file_write_type, "{\"path\":\"/a\",\"content\":\"\",\"mode\":644}", "params.mode",
                 "string");
}

static void an_owner_is_a_name_or_a_number(void **state)
{
    (void)state;
    static const char *const right[] = {"root",       "www-data",         "_apt",       "a.b",  "0",
                                        "4294967294", "user@example.com", "EX\\\\user", "1user"};
    static const char *const wrong[] = {"-1",         "a b",         "a:b", "a/b",
                                        "4294967295", "99999999999", "a\\n"};
    char text[TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(right); i++) {
        FILL(text, "{\"path\":\"/a\",\"content\":\"\",\"owner\":\"%s\"}", right[i]);
        assert_good(&file_write_type, text);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        FILL(text, "{\"path\":\"/a\",\"content\":\"\",\"group\":\"%s\"}", wrong[i]);
        assert_wrong(&file_write_type, text, "params.group", "name or a number");
    }
}

/* ---- Memory ------------------------------------------------------------------------------ */

static void decoding_without_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    static const char text[] =
        "{\"script\":\"a\",\"args\":[\"b\",\"c\"],\"rollback_script\":\"d\"}";
    uint64_t failed = 1;
    for (uint64_t n = 0; failed > 0; n++) {
        struct problems ps = {0};
        void *params = NULL;
        mem_fail_after(n);
        enum error_code code = step_params_decode(&script_type, text, "params", &params, &ps, NULL);
        failed = mem_fail_count();
        mem_fail_never();
        assert_int_equal(code, failed > 0 ? ERR_NO_MEMORY : ERR_OK);
        step_params_free(&script_type, params);
        problems_done(&ps);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_found_by_its_name),
        cmocka_unit_test(types_are_in_order),
        cmocka_unit_test(everything_is_documented),
        cmocka_unit_test(traits_say_what_may_be_repeated),
        cmocka_unit_test(a_step_tells_whether_it_can_be_undone),
        cmocka_unit_test(a_step_of_no_type_or_with_wrong_params_tells_no_undo),
        cmocka_unit_test(echo_takes_a_message),
        cmocka_unit_test(a_sleep_is_seconds_or_a_duration),
        cmocka_unit_test(a_wrong_sleep_is_refused),
        cmocka_unit_test(script_takes_a_program_and_its_args),
        cmocka_unit_test(a_wrong_script_is_refused),
        cmocka_unit_test(args_that_no_program_can_be_given_are_refused),
        cmocka_unit_test(file_write_takes_a_path_and_a_content),
        cmocka_unit_test(a_path_that_is_no_file_is_refused),
        cmocka_unit_test(a_mode_is_octal_text),
        cmocka_unit_test(an_owner_is_a_name_or_a_number),
        cmocka_unit_test(decoding_without_memory_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
