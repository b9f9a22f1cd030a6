#include "common/config/config.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { KEY_LISTEN = 300, KEY_DATA, KEY_CONFIG, KEY_HELP };

static const struct option options[] = {
    {"listen", required_argument, NULL, KEY_LISTEN},
    {"data-dir", required_argument, NULL, KEY_DATA},
    {"config", required_argument, NULL, KEY_CONFIG},
    {"help", no_argument, NULL, KEY_HELP},
    {NULL, 0, NULL, 0},
};

struct taken {
    int keys[8];
    const char *values[8];
    size_t count;
};

static enum error_code take(void *ctx, int key, const char *value, struct error *err)
{
    struct taken *t = ctx;
    if (strcmp(value, "wrong") == 0)
        return error_set(err, ERR_INVALID, "it is wrong");
    assert_true(t->count < 8);
    t->keys[t->count] = key;
    t->values[t->count++] = value;
    return ERR_OK;
}

static enum error_code parse(const char *text, struct taken *t, struct config **ret,
                             struct error *err)
{
    const struct config_use use = {options, "config", t, take};
    return config_parse("/etc/x.conf", text, strlen(text), &use, ret, err);
}

static void refuses(const char *text, const char *message)
{
    struct taken t = {0};
    struct config *config = NULL;
    struct error err = {0};
    assert_int_equal(parse(text, &t, &config, &err), ERR_INVALID);
    assert_null(config);
    assert_string_equal(err.message, message);
}

static void keys_are_options_and_comments_are_passed_over(void **state)
{
    struct taken t = {0};
    struct config *config = NULL;
    struct error err = {0};
    (void)state;
    assert_int_equal(parse("# one\n; two\n\n  listen = [::1]:7233  ; three\n"
                           "data-dir=/a#b=c\nlisten: other\n",
                           &t, &config, &err),
                     ERR_OK);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.keys[0], KEY_LISTEN);
    assert_string_equal(t.values[0], "[::1]:7233");
    assert_int_equal(t.keys[1], KEY_DATA);
    assert_string_equal(t.values[1], "/a#b=c");
    assert_string_equal(t.values[2], "other");
    config_free(config);
}

static void every_fault_names_file_and_line(void **state)
{
    char text[512];
    (void)state;
    refuses("listen = a\n\nlissten = b\n",
            "/etc/x.conf, line 3: unknown key \"lissten\" (did you mean \"listen\"?)");
    refuses("zzz = 1\n", "/etc/x.conf, line 1: unknown key \"zzz\"; --help lists what there is");
    refuses("listen = a\ndata-dir = wrong\n", "/etc/x.conf, line 2: it is wrong");
    refuses("listen = a\nwhat is this\n", "/etc/x.conf, line 2: must be \"key = value\"");
    refuses("[agent]\nlisten = a\n", "/etc/x.conf, line 2: [agent]: there are no sections");
    refuses("help = yes\n", "/etc/x.conf, line 1: \"help\" belongs on the command line");
    refuses("config = x\n", "/etc/x.conf, line 1: \"config\" belongs on the command line");
    memset(text, 'x', sizeof(text));
    memcpy(text, "listen = ", 9);
    text[9 + CONFIG_MAX_LINE] = '\0';
    refuses(text, "/etc/x.conf, line 1: longer than 198 characters");
}

static void a_line_of_the_longest_length_is_taken_whole(void **state)
{
    char text[CONFIG_MAX_LINE + 16];
    struct taken t = {0};
    struct config *config = NULL;
    struct error err = {0};
    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, "listen=", 7);
    memcpy(text + CONFIG_MAX_LINE, "\ndata-dir=d\n", 13);
    assert_int_equal(parse(text, &t, &config, &err), ERR_OK);
    assert_int_equal(t.count, 2);
    assert_int_equal(strlen(t.values[0]), CONFIG_MAX_LINE - 7);
    config_free(config);
}

static void a_nul_is_no_text(void **state)
{
    static const char text[] = "listen = a\0b\n";
    struct taken t = {0};
    struct config *config = NULL;
    struct error err = {0};
    const struct config_use use = {options, NULL, &t, take};
    (void)state;
    assert_int_equal(config_parse("f", text, sizeof(text) - 1, &use, &config, &err), ERR_INVALID);
    assert_string_equal(err.message, "f, line 1: not a text");
}

static void a_file_is_read_and_one_that_is_not_there_is_named(void **state)
{
    char path[] = "/tmp/kitsune-config-XXXXXX";
    struct taken t = {0};
    struct config *config = NULL;
    struct error err = {0};
    const struct config_use use = {options, NULL, &t, take};
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "listen = here\n", 14), 14);
    (void)close(fd);
    assert_int_equal(config_load(path, &use, &config, &err), ERR_OK);
    assert_string_equal(t.values[0], "here");
    config_free(config);
    config = NULL;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(config_load(path, &use, &config, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(config_load("/tmp", &use, &config, &err), ERR_IO);
    assert_int_equal(config_load("/dev/zero", &use, &config, &err), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_options_and_comments_are_passed_over),
        cmocka_unit_test(every_fault_names_file_and_line),
        cmocka_unit_test(a_line_of_the_longest_length_is_taken_whole),
        cmocka_unit_test(a_nul_is_no_text),
        cmocka_unit_test(a_file_is_read_and_one_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
