#include "orchestrator/cli/install/decide.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#define SUM "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OTHER "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const struct payload binary = {
    .kind = PAYLOAD_BINARY, .path = "agent", .sum = SUM, .machine = "x86_64"};
static const struct payload deb = {.kind = PAYLOAD_DEB, .path = "agent.deb", .sum = SUM};

static struct wanted wanted_now(void)
{
    return (struct wanted){.server = "web-1",
                           .payload = &binary,
                           .unit = "[Unit]\n",
                           .orchestrator = "https://o:7233",
                           .ca_fingerprint = SUM,
                           .tls = true,
                           .start = true};
}

/* A host on which nothing was done yet. */
static void parse(struct facts *ret, const char *more)
{
    char text[2048];
    struct error err = {0};
    (void)snprintf(text, sizeof(text),
                   "kernel=Linux\nmachine=x86_64\nos=Debian\nsystemd=yes\ntool=dpkg\npackage=\n%s",
                   more);
    assert_int_equal(facts_parse(text, ret, &err), ERR_OK);
}

static const char installed[] = "own_binary=" SUM "\nidentity=web-1\nactive=yes\nenabled=yes\n"
                                "conf=server-id = web-1\nconf=orchestrator = https://o:7233\n"
                                "conf=ca-fingerprint = " SUM "\n"
                                "conf=enrol-token-file = /var/lib/kitsune-agent/enrol-token\n";

/* The words, or the refusal. */
static void check(const char *host, const struct wanted *w, const char *expected)
{
    AUTO_FACTS struct facts f = {0};
    AUTO_DECISION struct decision d = {0};
    AUTO_BUF struct buf words = BUF_INIT;
    struct error err = {0};
    parse(&f, host);
    if (decide(&f, w, &d, &err) == ERR_OK)
        decision_words(&d, &words);
    else
        buf_puts(&words, err.message);
    assert_string_equal(words.data, expected);
}

/* With the sum that the unit of wanted_now has. */
static void put_installed(char *ret, size_t size, const char *more)
{
    char sum[FACTS_SUM_MAX];
    payload_sum("[Unit]\n", 7, sum);
    (void)snprintf(ret, size, "%sown_unit=%s\n%s", installed, sum, more);
}

static void a_new_host_gets_all_of_it(void **state)
{
    struct wanted w = wanted_now();
    (void)state;
    check("", &w, "upload, enrol, configure, start");
    w.tls = false;
    w.start = false;
    check("", &w, "upload, configure");
}

static void where_all_is_as_it_should_be_nothing_is_done(void **state)
{
    struct wanted w = wanted_now();
    char host[1024];
    (void)state;
    put_installed(host, sizeof(host), "");
    check(host, &w, "nothing");
    w.goal = GOAL_UPGRADE;
    check(host, &w, "nothing");
}

static void what_differs_is_done_alone(void **state)
{
    struct wanted w = wanted_now();
    char host[1024];
    (void)state;
    put_installed(host, sizeof(host), "own_binary=" OTHER "\n");
    check(host, &w, "upload, start");
    put_installed(host, sizeof(host), "own_unit=" OTHER "\n");
    check(host, &w, "configure, start");
    put_installed(host, sizeof(host), "identity=\n");
    check(host, &w, "enrol, start");
    put_installed(host, sizeof(host), "active=no\n");
    check(host, &w, "start");
    put_installed(host, sizeof(host), "enabled=no\n");
    check(host, &w, "start");
    put_installed(host, sizeof(host), "unfinished=yes\n");
    check(host, &w, "start");
    w.orchestrator = "https://other:7233";
    put_installed(host, sizeof(host), "");
    check(host, &w, "configure, start");
}

static void an_upgrade_enrols_nobody(void **state)
{
    struct wanted w = wanted_now();
    char host[1024];
    (void)state;
    w.goal = GOAL_UPGRADE;
    put_installed(host, sizeof(host), "identity=\nown_binary=" OTHER "\n");
    check(host, &w, "upload, start");
    check("", &w, "no agent is installed there (kitsune agent install)");
}

static void replacing_enrols_anew(void **state)
{
    struct wanted w = wanted_now();
    char host[1024];
    (void)state;
    put_installed(host, sizeof(host), "");
    w.server = "web-2";
    check(host, &w, "its agent is the server web-1 already, not web-2 (--replace makes it that)");
    w.replace = true;
    check(host, &w, "enrol, configure, start");
}

static void what_cannot_be_done_is_refused(void **state)
{
    struct wanted w = wanted_now();
    (void)state;
    check("kernel=FreeBSD\n", &w, "it runs FreeBSD, and the agent runs on Linux");
    check("machine=aarch64\n", &w,
          "its architecture is aarch64, and agent is for x86_64 (--binary or --package names "
          "another)");
    check("systemd=no\n", &w,
          "systemd does not run there, so nothing would keep the agent running (--no-start "
          "installs it all the same)");
    check("package=deb 1.0\n", &w, "its agent is of a package (deb 1.0): --package upgrades it");
    w.payload = &deb;
    check("own_binary=" OTHER "\n", &w,
          "its agent is of no package: uninstall it first, or upgrade it with --binary");
    struct payload rpm = deb;
    rpm.kind = PAYLOAD_RPM;
    w.payload = &rpm;
    check("", &w, "it does not take .rpm packages: Debian");
}

static void a_package_is_known_by_what_it_installed(void **state)
{
    struct wanted w = wanted_now();
    (void)state;
    w.payload = &deb;
    check("package=deb 1\npackaged_binary=" OTHER "\ninstalled_payload=" SUM
          "\ninstalled_binary=" OTHER "\n",
          &w, "enrol, configure, start");
    /* Somebody installed another since. */
    check("package=deb 1\npackaged_binary=" SUM "\ninstalled_payload=" SUM
          "\ninstalled_binary=" OTHER "\n",
          &w, "upload, enrol, configure, start");
}

/* ---- agent.conf --------------------------------------------------------------------------------
 */

static void check_set(const char *before, const char *after)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, before);
    conf_set(&b, "server-id", "web-1");
    assert_string_equal(b.data, after);
}

static void a_setting_is_put_where_it_stands(void **state)
{
    (void)state;
    check_set("", "server-id = web-1\n");
    check_set("# x\nlog-level = info", "# x\nlog-level = info\nserver-id = web-1\n");
    check_set("a = b\n#server-id = old\nc = d\n", "a = b\nserver-id = web-1\nc = d\n");
    check_set("#server-id = old\nserver-id=now ; why\nc = d\n",
              "#server-id = old\nserver-id = web-1\nc = d\n");
    check_set("server-id : web-1   # ours\n", "server-id : web-1   # ours\n");
    check_set("server-id-2 = x\n", "server-id-2 = x\nserver-id = web-1\n");
    /* Words of a comment are no setting. */
    check_set("# server-id = what this is\n", "# server-id = what this is\nserver-id = web-1\n");
}

static void a_setting_is_read(void **state)
{
    char value[32];
    (void)state;
    assert_true(conf_get("x=1\n server-id =\tweb-1 ; c\n", "server-id", value, sizeof(value)));
    assert_string_equal(value, "web-1");
    assert_false(conf_get("#server-id = a\n", "server-id", value, sizeof(value)));
    assert_true(conf_get("a=b;c\n", "a", value, sizeof(value)));
    assert_string_equal(value, "b;c");
}

static void a_host_that_says_nothing_is_refused(void **state)
{
    struct facts f = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(facts_parse("", &f, &err), ERR_PROTOCOL);
    assert_int_equal(facts_parse("kernel=Linux\nmotd\n", &f, &err), ERR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_host_gets_all_of_it),
        cmocka_unit_test(where_all_is_as_it_should_be_nothing_is_done),
        cmocka_unit_test(what_differs_is_done_alone),
        cmocka_unit_test(an_upgrade_enrols_nobody),
        cmocka_unit_test(replacing_enrols_anew),
        cmocka_unit_test(what_cannot_be_done_is_refused),
        cmocka_unit_test(a_package_is_known_by_what_it_installed),
        cmocka_unit_test(a_setting_is_put_where_it_stands),
        cmocka_unit_test(a_setting_is_read),
        cmocka_unit_test(a_host_that_says_nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
