#include "orchestrator/cli/install/target.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static void hosts_are_named_with_user_port_and_server(void **state)
{
    static const struct {
        const char *text, *server, *user, *host;
        int port;
    } cases[] = {
        {"web-1", "web-1", "", "web-1", 0},
        {"root@web-1:2222", "web-1", "root", "web-1", 2222},
        {"db=10.0.0.7", "db", "", "10.0.0.7", 0},
        {"db=me@example.com@[fe80::1%eth0]:22", "db", "me@example.com", "fe80::1%eth0", 22},
        {"six=::1", "six", "", "::1", 0},
        {"six=[::1]", "six", "", "::1", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct target t = {0};
        struct error err = {0};
        if (target_parse(cases[i].text, &t, &err) != ERR_OK)
            fail_msg("%s: %s", cases[i].text, err.message);
        assert_string_equal(t.server, cases[i].server);
        assert_string_equal(t.user, cases[i].user);
        assert_string_equal(t.host, cases[i].host);
        assert_int_equal(t.port, cases[i].port);
    }
}

static void what_ssh_would_take_for_an_option_is_refused(void **state)
{
    static const char *const cases[] = {
        "",      "-oProxyCommand=x", "web=-v",  "web=-l@host", "@host",
        "web 1", "web;reboot",       "web:0",   "web:99999",   "web:ssh",
        "[::1",  "x=[::1]junk",      "-x=host", "x=[::1]:",    "::1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct target t = {0};
        struct error err = {0};
        if (target_parse(cases[i], &t, &err) != ERR_INVALID)
            fail_msg("\"%s\" was taken", cases[i]);
        assert_true(err.message[0] != '\0');
    }
}

static void a_host_that_is_no_server_id_asks_for_one(void **state)
{
    struct target t = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(target_parse("fe80::1", &t, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "SERVER=fe80::1"));
    /* An id is shorter than a host's name may be. */
    char longest[200];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(target_parse(longest, &t, &err), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_are_named_with_user_port_and_server),
        cmocka_unit_test(what_ssh_would_take_for_an_option_is_refused),
        cmocka_unit_test(a_host_that_is_no_server_id_asks_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
