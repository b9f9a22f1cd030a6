#include "unit/access/support_access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct access_token token_of(const char *name, enum access_role role)
{
    return (struct access_token){
        .name = name, .role = role, .created_ms = 1000, .created_by = "somebody"};
}

static void make(struct store *s, const char *name, enum access_role role, int64_t expires_ms,
                 char secret[ACCESS_SECRET_BUFFER])
{
    struct access_token token = token_of(name, role);
    struct error err = {0};
    token.expires_ms = expires_ms;
    assert_int_equal(access_token_create(s->access, &token, secret, store_done, s, &err), ERR_OK);
}

static void a_secret_speaks_for_its_token_also_after_a_restart(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    const struct access_token *found = NULL;
    struct error err = {0};
    make(s, "ci", ROLE_OPERATOR, 0, secret);
    assert_int_equal(strlen(secret), ACCESS_SECRET_BUFFER - 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(access_authenticate(s->access, secret, 5, &found, &err), ERR_OK);
        assert_string_equal(found->name, "ci");
        assert_string_equal(found->created_by, "somebody");
        assert_int_equal(found->role, ROLE_OPERATOR);
        store_reopen(s);
    }
    assert_int_equal(s->done, 1);
    assert_int_equal(s->last, ERR_OK);
}

static void what_is_no_secret_of_ours_is_refused_without_a_hint(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    const struct access_token *found = NULL;
    struct error err = {0};
    make(s, "ci", ROLE_ADMIN, 0, secret);
    secret[10] = secret[10] == 'A' ? 'B' : 'A';
    assert_int_equal(access_authenticate(s->access, secret, 5, &found, &err), ERR_DENIED);
    assert_null(strstr(err.message, "ci"));
    assert_int_equal(access_authenticate(s->access, "", 5, &found, &err), ERR_DENIED);
    assert_null(found);
}

static void a_token_is_good_until_its_time_and_not_at_it(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    const struct access_token *found = NULL;
    struct error err = {0};
    make(s, "short", ROLE_VIEWER, 2000, secret);
    assert_int_equal(access_authenticate(s->access, secret, 1999, &found, &err), ERR_OK);
    assert_int_equal(access_authenticate(s->access, secret, 2000, &found, &err), ERR_DENIED);
    assert_non_null(strstr(err.message, "expired"));
}

static void a_revoked_token_is_gone_at_once_and_its_name_is_free(void **state)
{
    struct store *s = *state;
    char first[ACCESS_SECRET_BUFFER];
    char second[ACCESS_SECRET_BUFFER];
    const struct access_token *found = NULL;
    struct error err = {0};
    make(s, "ci", ROLE_ADMIN, 0, first);
    assert_int_equal(access_token_revoke(s->access, "ci", store_done, s, &err), ERR_OK);
    assert_int_equal(access_authenticate(s->access, first, 5, &found, &err), ERR_DENIED);
    make(s, "ci", ROLE_VIEWER, 0, second);
    assert_string_not_equal(first, second);
    store_reopen(s);
    assert_int_equal(s->done, 3);
    assert_int_equal(access_authenticate(s->access, first, 5, &found, &err), ERR_DENIED);
    assert_int_equal(access_authenticate(s->access, second, 5, &found, &err), ERR_OK);
    assert_int_equal(found->role, ROLE_VIEWER);
    assert_int_equal(access_token_revoke(s->access, "other", store_done, s, &err), ERR_NOT_FOUND);
}

static void a_token_that_makes_no_sense_is_refused(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    struct error err = {0};
    const char *bad[] = {"no spaces"};
    struct access_token t = token_of("with space", ROLE_ADMIN);
    assert_int_equal(access_token_create(s->access, &t, secret, NULL, NULL, &err), ERR_INVALID);
    t = token_of("a", ROLE_NOBODY);
    assert_int_equal(access_token_create(s->access, &t, secret, NULL, NULL, &err), ERR_INVALID);
    t = token_of("a", ROLE_ADMIN);
    t.expires_ms = 1000;
    assert_int_equal(access_token_create(s->access, &t, secret, NULL, NULL, &err), ERR_INVALID);
    t = token_of("a", ROLE_ADMIN);
    t.scope.servers = (struct array){bad, 1};
    assert_int_equal(access_token_create(s->access, &t, secret, NULL, NULL, &err), ERR_INVALID);
    make(s, "a", ROLE_ADMIN, 0, secret);
    t = token_of("a", ROLE_ADMIN);
    assert_int_equal(access_token_create(s->access, &t, secret, NULL, NULL, &err), ERR_EXISTS);
}

static void a_scope_confines_servers_and_step_types_and_is_kept(void **state)
{
    struct store *s = *state;
    const char *servers[] = {"web-*", "db-1"};
    const char *steps[] = {"file_write"};
    char secret[ACCESS_SECRET_BUFFER];
    const struct access_token *found = NULL;
    struct error err = {0};
    struct access_token t = token_of("narrow", ROLE_OPERATOR);
    t.scope.servers = (struct array){servers, 2};
    t.scope.steps = (struct array){steps, 1};
    assert_int_equal(access_token_create(s->access, &t, secret, NULL, NULL, &err), ERR_OK);
    store_reopen(s);
    assert_int_equal(access_authenticate(s->access, secret, 5, &found, &err), ERR_OK);
    assert_true(access_scope_server(&found->scope, "web-17"));
    assert_true(access_scope_server(&found->scope, "web-"));
    assert_true(access_scope_server(&found->scope, "db-1"));
    assert_false(access_scope_server(&found->scope, "db-10"));
    assert_false(access_scope_server(&found->scope, "web"));
    assert_true(access_scope_step(&found->scope, "file_write"));
    assert_false(access_scope_step(&found->scope, "script"));
    const struct access_scope everything = {0};
    assert_true(access_scope_server(&everything, "x"));
}

static void stars_match_as_in_a_shell(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {
        {"*", "", true},        {"*", "abc", true},        {"a*c", "abbc", true},
        {"a*c", "abcd", false}, {"*b*", "abc", true},      {"a**c", "ac", true},
        {"*ab", "aab", true},   {"a*b*c", "axbxbc", true}, {"abc", "ab", false},
        {"ab", "abc", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *patterns[] = {cases[i].pattern};
        const struct access_scope scope = {.servers = {patterns, 1}};
        assert_int_equal(access_scope_server(&scope, cases[i].text), cases[i].match);
    }
}

static bool gather(void *ctx, const struct access_token *token)
{
    char *names = ctx;
    (void)snprintf(names + strlen(names), 64 - strlen(names), "%s ", token->name);
    return true;
}

static void tokens_are_listed_by_name(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    char names[64] = "";
    make(s, "c", ROLE_ADMIN, 0, secret);
    make(s, "a", ROLE_ADMIN, 0, secret);
    make(s, "b", ROLE_ADMIN, 0, secret);
    access_tokens(s->access, gather, names);
    assert_string_equal(names, "a b c ");
}

static void no_secret_is_on_the_disk_and_nobody_else_may_read_it(void **state)
{
    struct store *s = *state;
    char secret[ACCESS_SECRET_BUFFER];
    char path[128];
    char grep[256];
    struct stat st;
    make(s, "ci", ROLE_ADMIN, 0, secret);
    store_reopen(s);
    (void)snprintf(path, sizeof(path), "%s/access.db", s->folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    (void)snprintf(grep, sizeof(grep), "grep -rqF -- '%s' '%s'", secret + 4, s->folder);
    assert_int_not_equal(system(grep), 0); /* NOLINT(cert-env33-c) */
    (void)snprintf(grep, sizeof(grep), "grep -rqF -- somebody '%s'", s->folder);
    assert_int_equal(system(grep), 0); /* NOLINT(cert-env33-c): and it does look there */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(a_secret_speaks_for_its_token_also_after_a_restart),
        T(what_is_no_secret_of_ours_is_refused_without_a_hint),
        T(a_token_is_good_until_its_time_and_not_at_it),
        T(a_revoked_token_is_gone_at_once_and_its_name_is_free),
        T(a_token_that_makes_no_sense_is_refused),
        T(a_scope_confines_servers_and_step_types_and_is_kept),
        cmocka_unit_test(stars_match_as_in_a_shell),
        T(tokens_are_listed_by_name),
        T(no_secret_is_on_the_disk_and_nobody_else_may_read_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
