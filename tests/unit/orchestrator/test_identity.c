#include "orchestrator/identity.h"

#include "common/pki/pki_ca.h"
#include "common/pki/pki_verify.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW INT64_C(1800000000000)
#define DAY INT64_C(86400000)
static const char *const hosts[] = {"kitsune.example", "127.0.0.1", NULL};
static const char *const others[] = {"other.example", NULL};

struct place {
    char dir[64];
};

static int setup(void **state)
{
    static struct place place;
    (void)snprintf(place.dir, sizeof(place.dir), "/tmp/kitsune-identity-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    *state = &place;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    const struct place *place = *state;
    return nftw(place->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make(const struct place *p, const char *const *names, int64_t lifetime_ms,
                 int64_t now_ms)
{
    struct error err = {0};
    if (identity_make(p->dir, names, lifetime_ms, now_ms, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

static struct identity *load(const struct place *p)
{
    struct identity *identity = NULL;
    struct error err = {0};
    if (identity_load(p->dir, &identity, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return identity;
}

static enum error_code verify(const struct identity *identity, const char *host, int64_t now_ms)
{
    const struct net_tls_server *tls = identity_tls(identity);
    const struct pki_check check = {.ca = tls->client_ca,
                                    .purpose = PKI_PURPOSE_SERVER,
                                    .host = host,
                                    .now_ms = now_ms,
                                    .name = "it"};
    struct error err = {0};
    return pki_verify(tls->certs, &check, &err);
}

static mode_t mode_of(const struct place *p, const char *name)
{
    char path[128];
    struct stat info;
    (void)snprintf(path, sizeof(path), "%s/pki%s", p->dir, name);
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static void what_is_not_there_is_said_with_what_to_do(void **state)
{
    const struct place *p = *state;
    struct identity *identity = NULL;
    struct error err = {0};
    assert_int_equal(identity_load(p->dir, &identity, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "kitsune-orchestrator init --data-dir"));
}

static void what_is_made_is_good_for_its_hosts_and_open_to_nobody(void **state)
{
    const struct place *p = *state;
    make(p, hosts, 30 * DAY, NOW);
    AUTO(identity_free) struct identity *identity = load(p);
    assert_int_equal(verify(identity, "kitsune.example", NOW), ERR_OK);
    assert_int_equal(verify(identity, "127.0.0.1", NOW), ERR_OK);
    assert_int_equal(verify(identity, "other.example", NOW), ERR_DENIED);
    assert_int_equal(verify(identity, "127.0.0.1", NOW + 31 * DAY), ERR_DENIED);
    assert_int_equal(mode_of(p, ""), 0700);
    assert_int_equal(mode_of(p, "/ca.key"), 0600);
    assert_int_equal(mode_of(p, "/server.pem"), 0600);
    assert_int_equal(strlen(identity_ca_fingerprint(identity)), 64);
}

static void the_ca_is_made_once_and_other_hosts_are_for_the_same(void **state)
{
    const struct place *p = *state;
    char before[PKI_FINGERPRINT_MAX];
    make(p, hosts, 30 * DAY, NOW);
    struct identity *identity = load(p);
    (void)snprintf(before, sizeof(before), "%s", identity_ca_fingerprint(identity));
    identity_free(identity);
    make(p, others, 30 * DAY, NOW);
    identity = load(p);
    assert_string_equal(identity_ca_fingerprint(identity), before);
    assert_int_equal(verify(identity, "other.example", NOW), ERR_OK);
    assert_int_equal(verify(identity, "kitsune.example", NOW), ERR_DENIED);
    identity_free(identity);
}

static void hosts_that_are_none_change_nothing(void **state)
{
    static const char *const wrong[] = {"a b", NULL};
    const struct place *p = *state;
    struct error err = {0};
    make(p, hosts, 30 * DAY, NOW);
    assert_int_equal(identity_make(p->dir, wrong, 30 * DAY, NOW, &err), ERR_INVALID);
    AUTO(identity_free) struct identity *identity = load(p);
    assert_int_equal(verify(identity, "kitsune.example", NOW), ERR_OK);
    assert_int_equal(identity_renew(identity, 30 * DAY, NOW + DAY, &err), ERR_OK);
    assert_int_equal(verify(identity, "kitsune.example", NOW + DAY), ERR_OK);
}

static void it_is_renewed_at_two_thirds_of_its_life_for_the_same_hosts(void **state)
{
    const struct place *p = *state;
    struct error err = {0};
    make(p, hosts, 30 * DAY, NOW);
    AUTO(identity_free) struct identity *identity = load(p);
    assert_false(identity_is_due(identity, NOW));
    assert_true(identity_is_due(identity, NOW - DAY)); /* the clock was ahead */
    assert_false(identity_is_due(identity, NOW + 20 * DAY - 60000));
    assert_true(identity_is_due(identity, NOW + 20 * DAY));
    assert_int_equal(identity_renew(identity, 30 * DAY, NOW + 20 * DAY, &err), ERR_OK);
    assert_false(identity_is_due(identity, NOW + 20 * DAY));
    assert_int_equal(verify(identity, "kitsune.example", NOW + 45 * DAY), ERR_OK);
    AUTO(identity_free) struct identity *again = load(p);
    assert_int_equal(verify(again, "kitsune.example", NOW + 45 * DAY), ERR_OK);
}

static void an_agent_is_signed_for_by_its_id_alone(void **state)
{
    const struct place *p = *state;
    struct error err = {0};
    struct pki_key *key = NULL;
    struct pki_certs *certs = NULL;
    struct pki_facts facts;
    AUTO_BUF struct buf csr = BUF_INIT;
    make(p, hosts, 30 * DAY, NOW);
    AUTO(identity_free) struct identity *identity = load(p);
    assert_int_equal(pki_key_new(&key, &err), ERR_OK);
    assert_int_equal(pki_csr_new(key, &csr, &err), ERR_OK);
    struct identity_request request = {csr.data, "web-1", NOW, DAY};
    assert_int_equal(identity_sign(identity, &request, &certs, &err), ERR_OK);
    assert_int_equal(pki_certs_facts(certs, 0, &facts, &err), ERR_OK);
    assert_string_equal(identity_server(facts.identity), "web-1");
    pki_certs_free(certs);
    static const char *const wrong[] = {"", "a b", "../x", "a/b", "a:b"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        request.server = wrong[i];
        assert_int_equal(identity_sign(identity, &request, &certs, &err), ERR_INVALID);
    }
    pki_key_free(key);
}

static void only_an_agents_identity_names_a_server(void **state)
{
    (void)state;
    assert_string_equal(identity_server("kitsune:agent:web-1"), "web-1");
    assert_null(identity_server("kitsune:agent:"));
    assert_null(identity_server("kitsune:server:web-1"));
    assert_null(identity_server("kitsune:agent:a:b"));
    assert_null(identity_server("Kitsune:agent:web-1"));
    assert_null(identity_server(""));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_not_there_is_said_with_what_to_do),
        T(what_is_made_is_good_for_its_hosts_and_open_to_nobody),
        T(the_ca_is_made_once_and_other_hosts_are_for_the_same),
        T(hosts_that_are_none_change_nothing),
        T(it_is_renewed_at_two_thirds_of_its_life_for_the_same_hosts),
        T(an_agent_is_signed_for_by_its_id_alone),
        T(only_an_agents_identity_names_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
