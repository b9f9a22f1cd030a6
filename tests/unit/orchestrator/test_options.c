#include "orchestrator/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { ARGS_MAX = 32 };

/* Parses a line of words; static storage for the texts. */
static enum error_code parse(const char *line, struct options *ret, struct error *err)
{
    static char words[512];
    char *argv[ARGS_MAX];
    int argc = 0;
    (void)snprintf(words, sizeof(words), "%s", line);
    for (char *rest = words, *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
        assert_true(argc < ARGS_MAX - 1);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return options_parse(argc, argv, ret, err);
}

static void refuses(const char *line, const char *message)
{
    struct options o = {0};
    struct error err = {0};
    assert_int_equal(parse(line, &o, &err), ERR_INVALID);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" does not say \"%s\"", err.message, message);
}

static void nothing_need_be_said(void **state)
{
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(parse("orchestrator", &o, &err), ERR_OK);
    assert_string_equal(o.host, "127.0.0.1");
    assert_int_equal(o.port, 7233);
    assert_int_equal(o.heartbeat_ms, 15000);
    options_done(&o);
}

static void an_address_of_either_kind_is_taken_apart(void **state)
{
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(parse("orchestrator --listen [::1]:80", &o, &err), ERR_OK);
    assert_string_equal(o.host, "::1");
    assert_int_equal(o.port, 80);
    assert_int_equal(parse("orchestrator --listen :0", &o, &err), ERR_OK);
    assert_string_equal(o.host, "127.0.0.1");
    assert_int_equal(o.port, 0);
    assert_int_equal(parse("orchestrator --listen 10.0.0.1", &o, &err), ERR_OK);
    assert_string_equal(o.host, "10.0.0.1");
    assert_int_equal(o.port, 7233);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    refuses("orchestrator --listen a:b", "0 to 65535");
    refuses("orchestrator --heartbeat 1ms", "from 100ms to 1h");
    refuses("orchestrator --retain never", "--retain");
    refuses("orchestrator --data-dir", "needs a value");
    refuses("orchestrator --datadir x", "unknown option");
    refuses("orchestrator serve", "unexpected argument serve");
    refuses("orchestrator --accept-restored=x", "an epoch is a number");
}

static void the_command_line_counts_more_than_the_file(void **state)
{
    char path[] = "/tmp/kitsune-orchestrator-conf-XXXXXX";
    static const char text[] = "listen = 10.0.0.1:1\nretain = 5d\nlog-level = warn\n";
    char line[128];
    struct options o;
    struct error err = {0};
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    (void)close(fd);
    (void)snprintf(line, sizeof(line), "orchestrator --retain 1d --config %s", path);
    assert_int_equal(parse(line, &o, &err), ERR_OK);
    assert_string_equal(o.host, "10.0.0.1");
    assert_int_equal(o.retain_ms, 24 * 3600 * 1000);
    assert_int_equal(o.log_level, LOG_WARN);
    options_done(&o);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(parse(line, &o, &err), ERR_OK);
    assert_string_equal(o.host, "127.0.0.1");
    options_done(&o);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(parse(line, &o, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_need_be_said),
        cmocka_unit_test(an_address_of_either_kind_is_taken_apart),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(the_command_line_counts_more_than_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
