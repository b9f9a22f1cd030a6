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

static void assert_bytes(const char *base64, const char *expected, size_t len)
{
    char text[TEXT_MAX];
    (void)snprintf(text, sizeof(text), "{\"path\":\"/a\",\"contentBase64\":\"%s\"}", base64);
    struct file_write_params *params = good(&file_write_type, text);
    assert_true(params->content_base64.given);
    assert_int_equal(params->content_base64.len, len);
    if (len > 0)
        assert_memory_equal(params->content_base64.data, expected, len);
    /* And back. */
    AUTO_BUF struct buf b = BUF_INIT;
    json_encode(&b, file_write_type.params, params);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    (void)snprintf(text, sizeof(text), "\"contentBase64\":\"%s\"", base64);
    assert_non_null(strstr(b.data, text));
    step_params_free(&file_write_type, params);
    /* What an agent is sent. */
    assert_good(&file_write_type, b.data);
}

static void a_content_of_any_bytes_is_base64(void **state)
{
    (void)state;
    assert_bytes("", "", 0);
    assert_bytes("AA==", "\0", 1);
    assert_bytes("AAE=", "\0\1", 2);
    assert_bytes("AAH/", "\0\1\xff", 3);
    assert_bytes("+/+/AA==", "\xfb\xff\xbf\0", 4);
    static const char *const wrong[] = {"A",     "AA",     "AAA",  "A===", "AA==AA==", "AA-_",
                                        "AA A=", "AA\\nA", "=AAA", "A=AA", "\\u00e4AA"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[TEXT_MAX];
        (void)snprintf(text, sizeof(text), "{\"path\":\"/a\",\"contentBase64\":\"%s\"}", wrong[i]);
        struct problems ps = {0};
        void *params = NULL;
        assert_int_equal(step_params_decode(&file_write_type, text, "params", &params, &ps, NULL),
                         ERR_INVALID);
        assert_string_equal(ps.items[0].path, "params.contentBase64");
        assert_non_null(strstr(ps.items[0].message, "must be Base64"));
        problems_done(&ps);
    }
}

static void a_file_has_one_content(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    struct file_write_params *params = good(&file_write_type, "{\"path\":\"/a\",\"content\":\"\"}");
    json_encode(&b, file_write_type.params, params);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    step_params_free(&file_write_type, params);
    assert_good(&file_write_type, b.data);
    assert_wrong(&file_write_type, "{\"path\":\"/a\"}", "params.content",
                 "required, or contentBase64 or source");
    assert_wrong(&file_write_type, "{\"path\":\"/a\",\"content\":\"\",\"contentBase64\":\"\"}",
                 "params.content", "exclude each other");
}

static void a_source_is_the_name_of_an_artifact_and_nothing_beside_it(void **state)
{
    (void)state;
#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    struct buf b = BUF_INIT;
    struct file_write_params *params =
        good(&file_write_type, "{\"path\":\"/a\",\"source\":\"sha256:" DIGITS "\"}");
    assert_string_equal(params->source, "sha256:" DIGITS);
    json_encode(&b, file_write_type.params, params);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    step_params_free(&file_write_type, params);
    assert_good(&file_write_type, b.data);
    buf_done(&b);
    assert_wrong(&file_write_type, "{\"path\":\"/a\",\"source\":\"" DIGITS "\"}", "params.source",
                 "as kitsune artifact put prints it");
    assert_wrong(&file_write_type,
                 "{\"path\":\"/a\",\"content\":\"\",\"source\":\"sha256:" DIGITS "\"}",
                 "params.source", "and content exclude each other");
    assert_wrong(&file_write_type,
                 "{\"path\":\"/a\",\"contentBase64\":\"\",\"source\":\"sha256:" DIGITS "\"}",
                 "params.source", "and contentBase64 exclude each other");
#undef DIGITS
}

static void a_backup_is_another_name_in_the_same_folder(void **state)
{
    (void)state;
    assert_good(&file_write_type, "{\"path\":\"/a/b\",\"content\":\"\",\"backup\":\"b.old\"}");
    assert_wrong(&file_write_type, "{\"path\":\"/a/b\",\"content\":\"\",\"backup\":\"b\"}",
                 "params.backup", "the file itself");
    assert_wrong(&file_write_type, "{\"path\":\"/a/b\",\"content\":\"\",\"backup\":\"c/b\"}",
                 "params.backup", "without a \"/\"");
    assert_wrong(&file_write_type, "{\"path\":\"/a/b\",\"content\":\"\",\"backup\":\"..\"}",
                 "params.backup", "without a \"/\"");
}

static void a_validation_is_a_program_and_its_arguments(void **state)
{
    (void)state;
    assert_good(&file_write_type,
                "{\"path\":\"/a\",\"content\":\"\",\"validate\":[\"visudo\",\"-cf\",\"%s\"]}");
    assert_wrong(&file_write_type, "{\"path\":\"/a\",\"content\":\"\",\"validate\":[\"\"]}",
                 "params.validate[0]", "must be a program");
    assert_wrong(&file_write_type, "{\"path\":\"/a\",\"content\":\"\",\"validate\":[]}",
                 "params.validate", "must not be empty");
}

static void a_folder_is_present_or_absent(void **state)
{
    (void)state;
    struct directory_params *params = good(&directory_type, "{\"path\":\"/a\"}");
    assert_int_equal(params->state, DIRECTORY_PRESENT);
    assert_false(params->recursive);
    step_params_free(&directory_type, params);
    assert_good(&directory_type, "{\"path\":\"/a\",\"state\":\"absent\",\"recursive\":true}");
    assert_wrong(&directory_type, "{\"path\":\"/a/\"}", "params.path", "without a slash");
    assert_wrong(&directory_type, "{\"path\":\"/\"}", "params.path", "path of a folder");
    assert_wrong(&directory_type, "{\"path\":\"/a\",\"state\":\"gone\"}", "params.state", "absent");
    assert_wrong(&directory_type, "{\"path\":\"/a\",\"recursive\":true}", "params.state",
                 "recursive says nothing");
    assert_wrong(&directory_type, "{\"path\":\"/a\",\"state\":\"absent\",\"mode\":\"0755\"}",
                 "params.state", "mode, owner, group");
}

static void a_link_has_a_place_and_a_target(void **state)
{
    (void)state;
    assert_good(&symlink_type, "{\"path\":\"/a\",\"target\":\"../b\",\"force\":true}");
    assert_wrong(&symlink_type, "{\"path\":\"a\",\"target\":\"b\"}", "params.path",
                 "absolute path");
    assert_wrong(&symlink_type, "{\"path\":\"/a\"}", "params.target", "required");
    assert_wrong(&symlink_type, "{\"path\":\"/a\",\"target\":\"\"}", "params.target", "empty");
    assert_wrong(&file_remove_type, "{\"path\":\"/a/\"}", "params.path", "absolute path");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_content_of_any_bytes_is_base64),
        cmocka_unit_test(a_file_has_one_content),
        cmocka_unit_test(a_source_is_the_name_of_an_artifact_and_nothing_beside_it),
        cmocka_unit_test(a_backup_is_another_name_in_the_same_folder),
        cmocka_unit_test(a_validation_is_a_program_and_its_arguments),
        cmocka_unit_test(a_folder_is_present_or_absent),
        cmocka_unit_test(a_link_has_a_place_and_a_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
