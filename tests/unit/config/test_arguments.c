#include "common/config/arguments.h"

#include "common/base/buf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { KEY_FILE = 256, KEY_NAME, KEY_FLAG, KEY_HELP };

static const struct option options[] = {
    {"config", required_argument, NULL, KEY_FILE},
    {"name", required_argument, NULL, KEY_NAME},
    {"flag", no_argument, NULL, KEY_FLAG},
    {"help", no_argument, NULL, KEY_HELP},
    {NULL, 0, NULL, 0},
};

/* What was taken, as "KEY=VALUE " one after the other. */
static enum error_code take(void *ctx, int key, const char *value, struct error *err)
{
    if (key == KEY_NAME && value[0] == '\0')
        return error_set(err, ERR_INVALID, "--name must not be empty");
    buf_printf(ctx, "%d=%s ", key - KEY_FILE, value != NULL ? value : "");
    return ERR_OK;
}

#define ARGS(...)                                                                                  \
    (char *[])                                                                                     \
    {                                                                                              \
        "program", __VA_ARGS__, NULL                                                               \
    }

static enum error_code read_all(char **argv, struct buf *taken, struct error *err)
{
    AUTO(config_free) struct config *config = NULL;
    const struct config_use use = {options, "config", taken, take};
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    enum error_code code = arguments_file(argc, argv, &use, &config, err);
    return code == ERR_OK ? arguments_take(argc, argv, &use, err) : code;
}

static void assert_taken(char **argv, const char *expected)
{
    AUTO_BUF struct buf taken = BUF_INIT;
    struct error err = {0};
    buf_puts(&taken, "");
    assert_int_equal(read_all(argv, &taken, &err), ERR_OK);
    assert_string_equal(taken.data != NULL ? taken.data : "", expected);
}

static void assert_refused(char **argv, const char *message)
{
    AUTO_BUF struct buf taken = BUF_INIT;
    struct error err = {0};
    assert_int_equal(read_all(argv, &taken, &err), ERR_INVALID);
    assert_string_equal(err.message, message);
}

static void each_option_is_taken_in_order(void **state)
{
    (void)state;
    assert_taken(ARGS("--name", "a", "--flag", "--name=b"), "1=a 2= 1=b ");
}

static void the_file_goes_first_wherever_it_is_named(void **state)
{
    (void)state;
    char path[] = "/tmp/kitsune-arguments-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "name = file\n", 12), 12);
    assert_int_equal(close(fd), 0);
    assert_taken(ARGS("--name", "line", "--config", path), "1=file 1=line ");
    assert_int_equal(unlink(path), 0);
}

static void what_is_behind_help_is_not_looked_at(void **state)
{
    (void)state;
    assert_taken(ARGS("--flag", "--help", "--bogus"), "2= 3= ");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    assert_refused(ARGS("--bogus"), "unknown option --bogus (see --help)");
    assert_refused(ARGS("--name"), "--name needs a value (see --help)");
    assert_refused(ARGS("--flag", "extra"), "unexpected argument extra (see --help)");
    assert_refused(ARGS("--name", ""), "--name must not be empty");
}

static void what_all_programs_have_is_read_alike(void **state)
{
    (void)state;
    struct error err = {0};
    enum log_format format = LOG_LOGFMT;
    enum log_level level = LOG_INFO;
    assert_int_equal(arguments_log_format("json", &format, &err), ERR_OK);
    assert_int_equal(format, LOG_JSON);
    assert_int_equal(arguments_log_level("warn", &level, &err), ERR_OK);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(arguments_log_format("xml", &format, &err), ERR_INVALID);
    assert_string_equal(err.message, "--log-format must be logfmt or json, not xml");
    assert_int_equal(arguments_log_level("loud", &level, &err), ERR_INVALID);
    assert_string_equal(err.message, "--log-level must be debug, info, warn or error, not loud");
    assert_int_equal(format, LOG_JSON);
    assert_int_equal(level, LOG_WARN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_is_taken_in_order),
        cmocka_unit_test(the_file_goes_first_wherever_it_is_named),
        cmocka_unit_test(what_is_behind_help_is_not_looked_at),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_all_programs_have_is_read_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
