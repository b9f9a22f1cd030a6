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
    assert_int_equal(o.artifact_max_bytes, INT64_C(20) << 30);
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
    refuses("orchestrator --artifact-max-size 1.5G", "--artifact-max-size");
    refuses("orchestrator --data-dir", "needs a value");
    refuses("orchestrator --datadir x", "unknown option");
    refuses("orchestrator serve", "unexpected argument serve");
    refuses("orchestrator --accept-restored=x", "an epoch is a number");
}

static void the_command_line_counts_more_than_the_file(void **state)
{
    char path[] = "/tmp/kitsune-orchestrator-conf-XXXXXX";
    static const char text[] =
        "listen = 10.0.0.1:1\nretain = 5d\nartifact-max-size = 3G\nlog-level = warn\n";
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
    assert_int_equal(o.artifact_max_bytes, INT64_C(3) << 30);
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

static void without_tls_it_serves_this_machine_alone(void **state)
{
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(parse("orchestrator", &o, &err), ERR_OK);
    assert_false(o.insecure_dev);
    assert_int_equal(parse("orchestrator --insecure-dev", &o, &err), ERR_OK);
    assert_true(o.insecure_dev);
    assert_int_equal(parse("orchestrator --listen [::1]:0 --insecure-dev", &o, &err), ERR_OK);
    refuses("orchestrator --insecure-dev --listen 0.0.0.0:7233", "loopback");
    refuses("orchestrator --listen [::]:7233 --insecure-dev", "loopback");
    refuses("orchestrator --insecure-dev --listen 10.0.0.1", "loopback");
    refuses("orchestrator --insecure-dev --listen example.com:1", "loopback");
}

static void init_is_a_word_of_its_own(void **state)
{
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(
        parse("orchestrator init --data-dir d --host a --host b --token-file t", &o, &err), ERR_OK);
    assert_true(o.init);
    assert_int_equal(o.host_count, 2);
    assert_string_equal(o.hosts[1], "b");
    assert_null(o.hosts[2]);
    assert_string_equal(o.token_file, "t");
    refuses("orchestrator --host a", "for \"kitsune-orchestrator init\"");
    refuses("orchestrator --renew", "--renew");
    refuses("orchestrator init --insecure-dev", "--insecure-dev");
    refuses("orchestrator init --check", "--check");
    refuses("orchestrator init again", "unexpected argument again");
    refuses("orchestrator --socket-group g", "--socket");
}

static void a_certificate_lives_for_a_time_that_makes_sense(void **state)
{
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(
        parse("orchestrator --agent-certificate 24h --server-certificate 48h", &o, &err), ERR_OK);
    assert_int_equal(o.agent_certificate_ms, 24 * 3600 * 1000);
    assert_int_equal(o.server_certificate_ms, 48 * 3600 * 1000);
    refuses("orchestrator --agent-certificate 1s", "--agent-certificate");
    refuses("orchestrator --server-certificate 99999999h", "--server-certificate");
    refuses("orchestrator --agent-certificate soon", "--agent-certificate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_tls_it_serves_this_machine_alone),
        cmocka_unit_test(init_is_a_word_of_its_own),
        cmocka_unit_test(a_certificate_lives_for_a_time_that_makes_sense),
        cmocka_unit_test(nothing_need_be_said),
        cmocka_unit_test(an_address_of_either_kind_is_taken_apart),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(the_command_line_counts_more_than_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
