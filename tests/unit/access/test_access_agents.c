#include "unit/access/support_access.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW = 1000, TICKET_ENDS = 2000, CERTIFICATE_ENDS = 9000 };

static void ticket(struct store *s, const char *server, bool replace,
                   char secret[ACCESS_SECRET_BUFFER])
{
    const struct access_ticket t = {server, NOW, TICKET_ENDS, replace};
    struct error err = {0};
    assert_int_equal(access_ticket_create(s->access, &t, secret, store_done, s, &err), ERR_OK);
}

static enum error_code enrol(struct store *s, const char *server, const char *secret,
                             const char *serial, int64_t now_ms)
{
    const struct access_certificate c = {
        .serial = serial,
        .server = server,
        .fingerprint = "f00d",
        .issued_ms = now_ms,
        .not_after_ms = CERTIFICATE_ENDS,
    };
    struct error err = {0};
    return access_enrol(s->access, secret, &c, store_done, s, &err);
}

static enum error_code check(struct store *s, const char *serial, const char *server,
                             int64_t now_ms)
{
    struct error err = {0};
    enum error_code code = access_certificate_check(s->access, serial, server, now_ms, &err);
    assert_true(code == ERR_OK || err.message[0] != '\0');
    return code;
}

static void a_ticket_enrols_its_server_once(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    ticket(s, "web-1", false, secret);
    store_reopen(s);
    assert_int_equal(access_ticket_check(s->access, secret, "web-1", NOW, &err), ERR_OK);
    assert_int_equal(access_ticket_check(s->access, secret, "web-2", NOW, &err), ERR_DENIED);
    assert_int_equal(enrol(s, "web-2", secret, "aa", NOW), ERR_DENIED);
    assert_int_equal(enrol(s, "web-1", secret, "aa", NOW), ERR_OK);
    assert_int_equal(enrol(s, "web-1", secret, "ab", NOW), ERR_DENIED);
    store_reopen(s);
    assert_int_equal(s->done, 2);
    assert_int_equal(enrol(s, "web-1", secret, "ab", NOW), ERR_DENIED);
    assert_int_equal(check(s, "aa", "web-1", NOW), ERR_OK);
}

static void a_ticket_that_has_expired_enrols_nobody(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol(s, "web-1", secret, "aa", TICKET_ENDS), ERR_DENIED);
    assert_int_equal(enrol(s, "web-1", secret, "aa", TICKET_ENDS - 1), ERR_OK);
}

static void a_later_ticket_takes_the_place_of_an_earlier_one(void **state)
{
    struct store *s = *state;
    char first[ACCESS_SECRET_BUFFER];
    char second[ACCESS_SECRET_BUFFER];
    ticket(s, "web-1", false, first);
    ticket(s, "web-1", false, second);
    store_reopen(s);
    assert_int_equal(enrol(s, "web-1", first, "aa", NOW), ERR_DENIED);
    assert_int_equal(enrol(s, "web-1", second, "aa", NOW), ERR_OK);
}

static void an_identity_that_is_in_use_is_given_away_only_when_told_so(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    const struct access_ticket again = {"web-1", NOW, TICKET_ENDS, false};
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol(s, "web-1", secret, "aa", NOW), ERR_OK);
    assert_int_equal(access_ticket_create(s->access, &again, secret, NULL, NULL, &err),
                     ERR_CONFLICT);
    ticket(s, "web-1", true, secret);
    assert_int_equal(check(s, "aa", "web-1", NOW), ERR_OK); /* until the other one comes */
    assert_int_equal(enrol(s, "web-1", secret, "ab", NOW), ERR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(check(s, "aa", "web-1", NOW), ERR_DENIED);
        assert_int_equal(check(s, "ab", "web-1", NOW), ERR_OK);
        store_reopen(s);
    }
}

static void an_identity_whose_certificate_has_expired_is_free(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    const struct access_ticket later = {"web-1", CERTIFICATE_ENDS, CERTIFICATE_ENDS + 1, false};
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol(s, "web-1", secret, "aa", NOW), ERR_OK);
    assert_int_equal(check(s, "aa", "web-1", CERTIFICATE_ENDS), ERR_DENIED);
    assert_int_equal(access_ticket_create(s->access, &later, secret, NULL, NULL, &err), ERR_OK);
}

static void a_certificate_speaks_for_its_own_server_alone(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol(s, "web-1", secret, "aa", NOW), ERR_OK);
    assert_int_equal(check(s, "aa", "web-2", NOW), ERR_DENIED);
    assert_int_equal(check(s, "bb", "web-1", NOW), ERR_DENIED);
}

static void a_revoked_agent_is_out_at_once_with_all_it_has(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    struct access_certificate found;
    const struct access_certificate renewed = {
        .serial = "ab",
        .server = "web-1",
        .fingerprint = "f00d",
        .issued_ms = NOW,
        .not_after_ms = CERTIFICATE_ENDS + 5,
    };
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol(s, "web-1", secret, "aa", NOW), ERR_OK);
    assert_int_equal(access_renew(s->access, "aa", &renewed, store_done, s, &err), ERR_OK);
    assert_int_equal(check(s, "aa", "web-1", NOW), ERR_OK);
    assert_true(access_agent(s->access, "web-1", NOW, &found));
    assert_string_equal(found.serial, "ab");
    ticket(s, "web-1", true, secret);
    assert_int_equal(access_agent_revoke(s->access, "web-1", NOW, store_done, s, &err), ERR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(check(s, "aa", "web-1", NOW), ERR_DENIED);
        assert_int_equal(check(s, "ab", "web-1", NOW), ERR_DENIED);
        assert_int_equal(access_ticket_check(s->access, secret, "web-1", NOW, &err), ERR_DENIED);
        assert_false(access_agent(s->access, "web-1", NOW, &found));
        store_reopen(s);
    }
    assert_int_equal(access_agent_revoke(s->access, "web-1", NOW, NULL, NULL, &err), ERR_NOT_FOUND);
}

static void what_was_revoked_renews_nothing(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    const struct access_certificate renewed = {
        .serial = "ab",
        .server = "web-1",
        .fingerprint = "f00d",
        .issued_ms = NOW,
        .not_after_ms = CERTIFICATE_ENDS,
    };
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol(s, "web-1", secret, "aa", NOW), ERR_OK);
    assert_int_equal(access_agent_revoke(s->access, "web-1", NOW, NULL, NULL, &err), ERR_OK);
    assert_int_equal(access_renew(s->access, "aa", &renewed, NULL, NULL, &err), ERR_DENIED);
    assert_int_equal(check(s, "ab", "web-1", NOW), ERR_DENIED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(a_ticket_enrols_its_server_once),
        T(a_ticket_that_has_expired_enrols_nobody),
        T(a_later_ticket_takes_the_place_of_an_earlier_one),
        T(an_identity_that_is_in_use_is_given_away_only_when_told_so),
        T(an_identity_whose_certificate_has_expired_is_free),
        T(a_certificate_speaks_for_its_own_server_alone),
        T(a_revoked_agent_is_out_at_once_with_all_it_has),
        T(what_was_revoked_renews_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
