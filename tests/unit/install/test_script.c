#include "orchestrator/cli/install/script.h"

#include "orchestrator/cli/install/child.h"
#include "orchestrator/cli/install/ssh_key.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static void a_shell_takes_a_value_as_it_is(void **state)
{
    static const char value[] = "it's $(reboot) `x` \\ \"q\"\nnext; line '' ";
    AUTO_BUF struct buf script = BUF_INIT;
    AUTO_BUF struct buf out = BUF_INIT;
    struct error err = {0};
    int status = -1;
    (void)state;
    script_value(&script, "v", value);
    buf_puts(&script, "printf %s \"$v\"");
    const char *const argv[] = {"sh", "-c", script.data, NULL};
    assert_int_equal(child_run(argv, &out, NULL, &status, &err), ERR_OK);
    assert_int_equal(status, 0);
    assert_string_equal(out.data, value);
}

static void the_script_s_own_text_is_sound(void **state)
{
    AUTO_BUF struct buf script = BUF_INIT;
    AUTO_BUF struct buf out = BUF_INIT;
    AUTO_BUF struct buf complaint = BUF_INIT;
    struct error err = {0};
    int status = -1;
    (void)state;
    script_call(&script, "probe");
    const char *const argv[] = {"sh", "-n", "-c", script.data, NULL};
    assert_int_equal(child_run(argv, &out, &complaint, &status, &err), ERR_OK);
    assert_int_equal(status, 0);
    assert_int_equal(complaint.len, 0);
}

static void the_unit_names_the_program_s_place(void **state)
{
    AUTO_BUF struct buf unit = BUF_INIT;
    (void)state;
    script_put_unit(&unit, "/opt/agent");
    assert_non_null(strstr(unit.data, "\nExecStart=/opt/agent --config /etc/kitsune/agent.conf\n"));
    assert_null(strstr(unit.data, "/usr/sbin/kitsune-agent"));
    assert_non_null(strstr(unit.data, "[Install]"));
}

static void a_program_that_is_missing_is_told(void **state)
{
    const char *const argv[] = {"kitsune-no-such-program", NULL};
    AUTO_BUF struct buf out = BUF_INIT;
    struct error err = {0};
    int status = 0;
    (void)state;
    assert_int_equal(child_run(argv, &out, NULL, &status, &err), ERR_NOT_FOUND);
}

static void keys_are_told_apart_without_their_passphrase(void **state)
{
    static const char plain[] =
        "-----BEGIN OPENSSH PRIVATE KEY-----\n"
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
        "QyNTUxOQAAACDqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqgAAAJAAAAAAAAAA\n";
    static const char locked[] =
        "-----BEGIN OPENSSH PRIVATE KEY-----\n"
        "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABAAAAAAAA\n"
        "AAAAAAAAAAAAAAAAAAAAAQAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgAAAAAAAAAAAA\n";
    (void)state;
    assert_int_equal(ssh_key_kind_of(plain), SSH_KEY_PLAIN);
    assert_int_equal(ssh_key_kind_of(locked), SSH_KEY_ENCRYPTED);
    assert_int_equal(ssh_key_kind_of("-----BEGIN RSA PRIVATE KEY-----\nMIIE"), SSH_KEY_RSA);
    assert_int_equal(ssh_key_kind_of("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"),
                     SSH_KEY_ENCRYPTED);
    assert_int_equal(ssh_key_kind_of("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII"),
                     SSH_KEY_ENCRYPTED);
    assert_int_equal(ssh_key_kind_of("-----BEGIN EC PRIVATE KEY-----\nMII"), SSH_KEY_PLAIN);
    assert_int_equal(ssh_key_kind_of("ssh-ed25519 AAAA me"), SSH_KEY_NONE);
    assert_int_equal(ssh_key_kind_of("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"), SSH_KEY_NONE);
    assert_int_equal(ssh_key_look("/nowhere"), SSH_KEY_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shell_takes_a_value_as_it_is),
        cmocka_unit_test(the_script_s_own_text_is_sound),
        cmocka_unit_test(the_unit_names_the_program_s_place),
        cmocka_unit_test(a_program_that_is_missing_is_told),
        cmocka_unit_test(keys_are_told_apart_without_their_passphrase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
