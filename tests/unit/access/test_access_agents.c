#include "unit/access/support_access.h"

#include <stdio.h>
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

/* ---- Asking again ---------------------------------------------------------------------------- */

static enum error_code enrol_with_key(struct store *s, const char *secret, const char *serial)
{
    struct error err = {0};
    const struct access_certificate c = {
        .serial = serial,
        .server = "web-1",
        .fingerprint = "f00d",
        .issued_ms = NOW,
        .not_after_ms = CERTIFICATE_ENDS,
        .key = "key",
        .pem = "the certificate",
    };
    return access_enrol(s->access, secret, &c, store_done, s, &err);
}

static enum error_code again(struct store *s, const char *secret, const char *server,
                             const char *key, int64_t now_ms)
{
    AUTO_BUF struct buf pem = BUF_INIT;
    struct error err = {0};
    const struct access_again asked = {secret, server, key, now_ms};
    enum error_code code = access_enrolled(s->access, &asked, &pem, &err);
    if (code == ERR_OK)
        assert_string_equal(pem.data, "the certificate");
    else
        assert_int_equal(pem.len, 0);
    return code;
}

static void who_asks_again_with_the_same_key_gets_the_same_certificate(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    char other[ACCESS_SECRET_BUFFER];
    ticket(s, "web-1", false, secret);
    ticket(s, "web-2", false, other);
    assert_int_equal(again(s, secret, "web-1", "key", NOW), ERR_DENIED); /* not used yet */
    assert_int_equal(enrol_with_key(s, secret, "aa"), ERR_OK);
    store_reopen(s);
    assert_int_equal(again(s, secret, "web-1", "key", NOW), ERR_OK);
    assert_int_equal(again(s, secret, "web-1", "key", TICKET_ENDS - 1), ERR_OK);
    assert_int_equal(again(s, secret, "web-1", "key", TICKET_ENDS), ERR_DENIED);
    assert_int_equal(again(s, secret, "web-1", "another key", NOW), ERR_DENIED);
    assert_int_equal(again(s, secret, "web-2", "key", NOW), ERR_DENIED);
    assert_int_equal(again(s, other, "web-1", "key", NOW), ERR_DENIED);
    assert_int_equal(again(s, "kie_", "web-1", "key", NOW), ERR_DENIED);
}

static void what_was_revoked_is_not_handed_out_again(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol_with_key(s, secret, "aa"), ERR_OK);
    store_reopen(s);
    assert_int_equal(access_agent_revoke(s->access, "web-1", NOW, store_done, s, &err), ERR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(again(s, secret, "web-1", "key", NOW), ERR_DENIED);
        store_reopen(s);
    }
}

/* ---- How many, and which --------------------------------------------------------------------- */

static enum error_code renew(struct store *s, const char *from, const char *serial, int64_t now_ms,
                             int64_t not_after_ms)
{
    struct error err = {0};
    const struct access_certificate c = {
        .serial = serial,
        .server = "web-1",
        .fingerprint = "f00d",
        .issued_ms = now_ms,
        .not_after_ms = not_after_ms,
    };
    return access_renew(s->access, from, &c, store_done, s, &err);
}

static void one_that_renews_without_end_has_only_so_many(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    char serial[8];
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol(s, "web-1", secret, "aa", NOW), ERR_OK);
    for (int i = 0; i < 3 * ACCESS_MAX_CERTIFICATES; i++) {
        (void)snprintf(serial, sizeof(serial), "b%d", i);
        assert_int_equal(renew(s, "aa", serial, NOW, CERTIFICATE_ENDS), ERR_OK);
    }
    for (int k = 0; k < 2; k++) {
        int good = 0;
        for (int i = 0; i < 3 * ACCESS_MAX_CERTIFICATES; i++) {
            (void)snprintf(serial, sizeof(serial), "b%d", i);
            good += check(s, serial, "web-1", NOW) == ERR_OK;
        }
        assert_int_equal(good, ACCESS_MAX_CERTIFICATES - 1);
        assert_int_equal(check(s, "aa", "web-1", NOW), ERR_OK);   /* the one that is shown */
        assert_int_equal(check(s, serial, "web-1", NOW), ERR_OK); /* the newest */
        assert_int_equal(check(s, "b0", "web-1", NOW), ERR_DENIED);
        store_reopen(s);
    }
}

static void what_has_expired_does_not_pile_up(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    ticket(s, "web-1", false, secret);
    assert_int_equal(enrol(s, "web-1", secret, "aa", NOW), ERR_OK);
    assert_int_equal(renew(s, "aa", "bb", NOW, CERTIFICATE_ENDS * 2), ERR_OK);
    assert_int_equal(renew(s, "bb", "cc", CERTIFICATE_ENDS + 1, CERTIFICATE_ENDS * 3), ERR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(access_certificate_check(s->access, "aa", "web-1", NOW, &err), ERR_DENIED);
        assert_non_null(strstr(err.message, "not on record"));
        assert_int_equal(check(s, "bb", "web-1", CERTIFICATE_ENDS + 1), ERR_OK);
        assert_int_equal(check(s, "cc", "web-1", CERTIFICATE_ENDS + 1), ERR_OK);
        store_reopen(s);
    }
}

struct names {
    char text[128];
    size_t left;
};

static bool put_name(void *ctx, const struct access_certificate *certificate)
{
    struct names *names = ctx;
    size_t len = strlen(names->text);
    (void)snprintf(names->text + len, sizeof(names->text) - len, "%s ", certificate->server);
    return --names->left > 0;
}

static void lists(struct store *s, const char *after, size_t limit, const char *expected)
{
    struct names names = {.left = limit};
    access_agents(s->access, after, NOW, put_name, &names);
    assert_string_equal(names.text, expected);
}

static void agents_are_listed_by_server_from_anywhere_on(void **state)
{
    struct store *s = *state;
    static const char *const servers[] = {"d", "a", "e", "c", "b"};
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(servers); i++) {
        ticket(s, servers[i], false, secret);
        if (strcmp(servers[i], "e") != 0)
            assert_int_equal(enrol(s, servers[i], secret, servers[i], NOW), ERR_OK);
    }
    lists(s, NULL, 9, "a b c d ");
    lists(s, NULL, 2, "a b ");
    lists(s, "b", 9, "c d ");
    lists(s, "bb", 9, "c d "); /* one that is none */
    lists(s, "e", 9, "");
    assert_int_equal(access_agent_revoke(s->access, "c", NOW, store_done, s, &err), ERR_OK);
    lists(s, NULL, 9, "a b d ");
    assert_int_equal(access_stats(s->access, NOW, NOW).agents, 3);
    assert_int_equal(access_stats(s->access, NOW, NOW).expiring, 0);
    assert_int_equal(access_stats(s->access, NOW, CERTIFICATE_ENDS).expiring, 3);
    assert_int_equal(access_stats(s->access, CERTIFICATE_ENDS, CERTIFICATE_ENDS).agents, 0);
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
        T(who_asks_again_with_the_same_key_gets_the_same_certificate),
        T(what_was_revoked_is_not_handed_out_again),
        T(one_that_renews_without_end_has_only_so_many),
        T(what_has_expired_does_not_pile_up),
        T(agents_are_listed_by_server_from_anywhere_on),
        T(a_certificate_speaks_for_its_own_server_alone),
        T(a_revoked_agent_is_out_at_once_with_all_it_has),
        T(what_was_revoked_renews_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
