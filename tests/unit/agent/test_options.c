#include "agent/options.h"
#include "common/base/cleanup.h"

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

static const struct options_environment empty;

/* Parses a line of words; static storage for the texts. */
static enum error_code parse(const char *line, const struct options_environment *environment,
                             struct options *ret, struct error *err)
{
    static char words[512];
    char *argv[ARGS_MAX];
    int argc = 0;
    size_t len = strlen(line);
    assert_true(len < sizeof(words));
    memcpy(words, line, len + 1);
    for (char *rest = words, *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
        assert_true(argc < ARGS_MAX - 1);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return options_parse(argc, argv, environment, ret, err);
}

/* Writes a configuration; the path is static. */
static const char *config_file(const char *text)
{
    static char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/kitsune-agent-conf-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    return path;
}

static void refuses(const char *line, const char *message)
{
    struct options o;
    struct error err = {0};
    assert_int_equal(parse(line, &empty, &o, &err), ERR_INVALID);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" does not say \"%s\"", err.message, message);
    options_done(&o);
}

static void one_id_is_enough(void **state)
{
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(parse("agent --server-id web-1", &empty, &o, &err), ERR_OK);
    assert_int_equal(o.servers.count, 1);
    assert_string_equal(*ARRAY_AT(&o.servers, const char *, 0), "web-1");
    assert_string_equal(o.orchestrator, "http://127.0.0.1:7233");
    assert_string_equal(o.data_dir, "/var/lib/kitsune-agent");
    assert_int_equal(o.stop_timeout_ms, 30000);
    assert_int_equal(o.undo_retention_ms, 30 * INT64_C(86400000));
    assert_int_equal(o.undo_max_bytes, INT64_C(4) << 30);
    assert_int_equal(o.artifact_max_bytes, INT64_C(2) << 30);
    assert_null(o.installroot);
    assert_null(o.trusted_keys);
    options_done(&o);
}

static void labels_add_up_and_those_of_the_command_line_take_the_files_place(void **state)
{
    struct options o;
    struct error err = {0};
    struct value v;
    char line[256];
    (void)state;
    const char *path = config_file("server-id = a\nlabel = tier=front\nlabel = zone=a\n");
    (void)snprintf(line, sizeof(line), "agent --config %s", path);
    assert_int_equal(parse(line, &empty, &o, &err), ERR_OK);
    assert_int_equal(value_set_count(o.labels), 2);
    options_done(&o);
    (void)snprintf(line, sizeof(line), "agent --config %s --label x=1 --label y=a=b", path);
    assert_int_equal(parse(line, &empty, &o, &err), ERR_OK);
    assert_int_equal(value_set_count(o.labels), 2);
    assert_true(value_set_find(o.labels, "y", &v));
    assert_string_equal(v.text, "a=b");
    options_done(&o);
    (void)unlink(path);
    refuses("agent --server-id a --label tier", "--label");
    refuses("agent --server-id a --label t=1 --label t=2", "given twice");
}

static void all_options_are_taken(void **state)
{
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(
        parse("agent --server-id a --server-id=b --orchestrator https://h:1 --data-dir d "
              "--installroot /r --trusted-keys /k --stop-timeout 1m --log-format json --log-level "
              "warn "
              "--undo-retention 12h --undo-max-size 500M --artifact-cache-max-size 3G",
              &empty, &o, &err),
        ERR_OK);
    assert_int_equal(o.servers.count, 2);
    assert_string_equal(*ARRAY_AT(&o.servers, const char *, 1), "b");
    assert_string_equal(o.orchestrator, "https://h:1");
    assert_string_equal(o.data_dir, "d");
    assert_string_equal(o.installroot, "/r");
    assert_string_equal(o.trusted_keys, "/k");
    assert_int_equal(o.stop_timeout_ms, 60000);
    assert_int_equal(o.undo_retention_ms, 12 * INT64_C(3600000));
    assert_int_equal(o.undo_max_bytes, INT64_C(500) << 20);
    assert_int_equal(o.artifact_max_bytes, INT64_C(3) << 30);
    assert_int_equal(o.log_format, LOG_JSON);
    assert_int_equal(o.log_level, LOG_WARN);
    options_done(&o);
}

static void the_environment_is_asked_second(void **state)
{
    const struct options_environment environment = {"env-1", "https://env:2"};
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(parse("agent", &environment, &o, &err), ERR_OK);
    assert_string_equal(*ARRAY_AT(&o.servers, const char *, 0), "env-1");
    assert_string_equal(o.orchestrator, "https://env:2");
    options_done(&o);
    assert_int_equal(
        parse("agent --server-id a --orchestrator https://h:1", &environment, &o, &err), ERR_OK);
    assert_int_equal(o.servers.count, 1);
    assert_string_equal(*ARRAY_AT(&o.servers, const char *, 0), "a");
    assert_string_equal(o.orchestrator, "https://h:1");
    options_done(&o);
}

static void a_size_is_a_number_of_bytes_or_of_the_unit_behind_it(void **state)
{
    static const struct {
        const char *line;
        int64_t bytes;
    } cases[] = {
        {"agent --server-id a --undo-max-size 0", 0},
        {"agent --server-id a --undo-max-size 1", 1},
        {"agent --server-id a --undo-max-size 3K", 3072},
        {"agent --server-id a --undo-max-size 2T", INT64_C(2) << 40},
        {"agent --server-id a --undo-max-size 9007199254740991", INT64_C(9007199254740991)},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct options o;
        struct error err = {0};
        assert_int_equal(parse(cases[i].line, &empty, &o, &err), ERR_OK);
        assert_int_equal(o.undo_max_bytes, cases[i].bytes);
        options_done(&o);
    }
    static const char *const bad[] = {"G", "4GB", "-1", "4g", "1.5G", "x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char line[80];
        (void)snprintf(line, sizeof(line), "agent --server-id a --undo-max-size=%s", bad[i]);
        refuses(line, "must be a size such as 500M or 4G, or 0 for no limit");
    }
    refuses("agent --server-id a --undo-max-size=", "must be a size");
    refuses("agent --server-id a --artifact-cache-max-size many",
            "--artifact-cache-max-size many: must be a size");
    refuses("agent --server-id a --undo-max-size 9007199254740992", "is too large");
    refuses("agent --server-id a --undo-max-size 99999999999999999999", "is too large");
    refuses("agent --server-id a --undo-max-size 16777216T", "is too large");
}

static void help_needs_nothing_else(void **state)
{
    struct options o;
    struct error err = {0};
    (void)state;
    assert_int_equal(parse("agent --help", &empty, &o, &err), ERR_OK);
    assert_true(o.help);
    options_done(&o);
    assert_int_equal(parse("agent --version", &empty, &o, &err), ERR_OK);
    assert_true(o.version);
    options_done(&o);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    refuses("agent", "--server-id is missing");
    refuses("agent --server-id", "--server-id needs a value");
    refuses("agent --server-id -x", "--server-id -x: an id is");
    refuses("agent --server-id a --bogus", "unknown option --bogus");
    refuses("agent --server-id a extra", "unexpected argument extra");
    refuses("agent --server-id a --orchestrator ftp://x", "ftp://x");
    refuses("agent --server-id a --orchestrator http://h:1", "only https:// is spoken");
    refuses("agent --server-id a --orchestrator http://10.0.0.1:1", "only https:// is spoken");
    refuses("agent --server-id a --orchestrator ws://127.0.0.1.example.org:1", "only https://");
    refuses("agent --server-id a --ca f", "it has to begin with https://");
    refuses("agent --server-id a --enrol-token-file f", "it has to begin with https://");
    refuses("agent --server-id a --orchestrator https://h --ca f --ca-fingerprint ab",
            "one of --ca and --ca-fingerprint");
    refuses("agent --server-id a --orchestrator https://h --ca-fingerprint ab",
            "--ca-fingerprint: ");
    refuses("agent --server-id a --stop-timeout soon", "--stop-timeout");
    refuses("agent --server-id a --undo-retention long", "--undo-retention");
    refuses("agent --server-id a --undo-retention 0",
            "--undo-retention 0: nothing could be undone");
    refuses("agent --server-id a --log-format xml", "logfmt or json, not xml");
    refuses("agent --server-id a --log-level loud", "debug, info, warn or error, not loud");
    refuses("agent --server-id a --installroot r", "--installroot r: must be an absolute path");
}

static void
the_command_line_counts_more_than_the_environment_and_that_more_than_the_file(void **state)
{
    static const struct options_environment said = {.server_id = "from-env",
                                                    .orchestrator = "https://env:1"};
    const char *path = config_file("server-id = one\nserver-id = two\n"
                                   "orchestrator = https://file:1\ndata-dir = /from/file\n");
    char line[128];
    struct options o;
    struct error err = {0};
    (void)state;
    (void)snprintf(line, sizeof(line), "agent --config %s", path);
    assert_int_equal(parse(line, &empty, &o, &err), ERR_OK);
    assert_int_equal(o.servers.count, 2);
    assert_string_equal(*ARRAY_AT(&o.servers, const char *, 1), "two");
    assert_string_equal(o.orchestrator, "https://file:1");
    options_done(&o);
    assert_int_equal(parse(line, &said, &o, &err), ERR_OK);
    assert_int_equal(o.servers.count, 1);
    assert_string_equal(*ARRAY_AT(&o.servers, const char *, 0), "from-env");
    assert_string_equal(o.orchestrator, "https://env:1");
    options_done(&o);
    (void)snprintf(line, sizeof(line),
                   "agent --server-id cli --config %s --orchestrator https://c:1", path);
    assert_int_equal(parse(line, &said, &o, &err), ERR_OK);
    assert_int_equal(o.servers.count, 1);
    assert_string_equal(*ARRAY_AT(&o.servers, const char *, 0), "cli");
    assert_string_equal(o.orchestrator, "https://c:1");
    assert_string_equal(o.data_dir, "/from/file");
    options_done(&o);
    assert_int_equal(unlink(path), 0);
}

static void a_fault_in_the_file_is_told_with_its_line(void **state)
{
    const char *path = config_file("# who\nserver-id = not/an/id\n");
    char line[128];
    (void)state;
    (void)snprintf(line, sizeof(line), "agent --config %s", path);
    refuses(line, "line 2: --server-id not/an/id");
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_id_is_enough),
        cmocka_unit_test(labels_add_up_and_those_of_the_command_line_take_the_files_place),
        cmocka_unit_test(all_options_are_taken),
        cmocka_unit_test(the_environment_is_asked_second),
        cmocka_unit_test(a_size_is_a_number_of_bytes_or_of_the_unit_behind_it),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(
            the_command_line_counts_more_than_the_environment_and_that_more_than_the_file),
        cmocka_unit_test(a_fault_in_the_file_is_told_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
