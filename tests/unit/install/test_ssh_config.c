#include "orchestrator/cli/install/ssh_config.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

static const struct ssh_self self = {"/home/me", "me"};

static void what_ssh_prints_is_taken_over(void **state)
{
    static const char text[] = "host web\nuser deploy\nhostname 10.0.0.1\nport 2222\n"
                               "addressfamily inet6\nidentitiesonly yes\n"
                               "identityfile ~/.ssh/id_%h\nidentityfile %d/keys/%r-%p-%u-%n%%\n"
                               "identityfile /x/%q\n"
                               "globalknownhostsfile /etc/ssh/ssh_known_hosts none\n"
                               "userknownhostsfile /home/me/a /home/me/b\n"
                               "proxyjump root@bastion:22,two\nproxycommand none\n"
                               "stricthostkeychecking accept-new\nconnecttimeout 3\n";
    struct target target = {.host = "web"};
    struct ssh_config c = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(ssh_config_parse(text, &target, &self, &c, &err), ERR_OK);
    assert_string_equal(c.host, "10.0.0.1");
    assert_string_equal(c.key_name, "10.0.0.1");
    assert_string_equal(c.user, "deploy");
    assert_int_equal(c.port, 2222);
    assert_true(c.ipv6_only && !c.ipv4_only && c.keys_only && c.accept_new && !c.aliased);
    assert_int_equal(c.key_count, 2);
    assert_string_equal(c.keys[0], "/home/me/.ssh/id_10.0.0.1");
    assert_string_equal(c.keys[1], "/home/me/keys/deploy-2222-me-web%");
    assert_int_equal(c.known_count, 3);
    assert_int_equal(c.known_user_count, 2);
    assert_string_equal(c.known[0], "/home/me/a");
    assert_string_equal(c.known[2], "/etc/ssh/ssh_known_hosts");
    assert_string_equal(c.jump, "root@bastion:22,two");
    assert_string_equal(c.proxy, "");
    assert_int_equal(c.timeout_ms, 3000);
}

static void an_inventory_counts_more(void **state)
{
    static const char text[] = "user me\nhostname web\nport 22\nidentityfile ~/.ssh/id_rsa\n";
    struct target target = {.host = "web", .address = "::1", .key_file = "~/k"};
    struct ssh_config c = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(ssh_config_parse(text, &target, &self, &c, &err), ERR_OK);
    assert_string_equal(c.host, "::1");
    assert_string_equal(c.key_name, "::1");
    assert_string_equal(c.keys[0], "/home/me/k");
    assert_string_equal(c.keys[1], "/home/me/.ssh/id_rsa");
}

static void an_answer_without_a_host_is_refused(void **state)
{
    struct target target = {.host = "web"};
    struct ssh_config c = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(ssh_config_parse("user me\nport 22\n", &target, &self, &c, &err), ERR_INVALID);
    assert_int_equal(ssh_config_parse("", &target, &self, &c, &err), ERR_INVALID);
}

static void without_ssh_its_defaults_apply(void **state)
{
    struct target target = {.host = "web", .user = "root"};
    struct ssh_config c = {0};
    (void)state;
    ssh_config_defaults(&target, &self, &c);
    assert_string_equal(c.host, "web");
    assert_string_equal(c.user, "root");
    assert_int_equal(c.port, 22);
    assert_string_equal(c.keys[0], "/home/me/.ssh/id_ed25519");
    assert_string_equal(c.known[0], "/home/me/.ssh/known_hosts");
    assert_int_equal(c.known_user_count, 1);
}

static void what_does_not_fit_is_not_expanded(void **state)
{
    struct ssh_config c = {.host = "web"};
    char out[8];
    (void)state;
    assert_true(ssh_config_expand("%h-123", &c, &self, out, sizeof(out)));
    assert_false(ssh_config_expand("%h-1234", &c, &self, out, sizeof(out)));
    assert_false(ssh_config_expand("%", &c, &self, out, sizeof(out)));
}

/* OpenSSH's own client resolves aliases: the first that says something counts. */
static void ssh_itself_is_asked(void **state)
{
    char path[] = "/tmp/kitsune-ssh-config-XXXXXX";
    static const char text[] =
        "Host web-*\n HostName %h.example.com\n Port 2200\nHost *\n Port 1\n User x\n";
    struct target target = {.host = "web-1"};
    struct ssh_config c = {0};
    struct error err = {0};
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    assert_int_equal(ssh_config_resolve(&target, path, &self, &c, &err), ERR_OK);
    assert_string_equal(c.host, "web-1.example.com");
    assert_int_equal(c.port, 2200);
    assert_string_equal(c.user, "x");
    assert_int_equal(write(fd, "Nonsense yes\n", 13), 13);
    assert_int_equal(ssh_config_resolve(&target, path, &self, &c, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "ssh's configuration: "));
    (void)close(fd);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ssh_prints_is_taken_over),
        cmocka_unit_test(an_inventory_counts_more),
        cmocka_unit_test(an_answer_without_a_host_is_refused),
        cmocka_unit_test(without_ssh_its_defaults_apply),
        cmocka_unit_test(what_does_not_fit_is_not_expanded),
        cmocka_unit_test(ssh_itself_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
