#include "orchestrator/cli/install/secrets.h"

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

struct person {
    int asked;
    enum error_code answer;
    char prompt[64];
};

static enum error_code ask(void *ctx, const char *prompt, char *ret, size_t size, struct error *err)
{
    struct person *p = ctx;
    p->asked++;
    (void)snprintf(p->prompt, sizeof(p->prompt), "%s", prompt);
    (void)snprintf(ret, size, "secret %d", p->asked);
    return p->answer == ERR_OK ? ERR_OK : error_set(err, p->answer, "no");
}

static void each_is_asked_for_once(void **state)
{
    struct person person = {0};
    struct secrets *s = secrets_new(ask, &person);
    char secret[SECRET_MAX];
    (void)state;
    assert_int_equal(secrets_get(s, "password of root", secret, NULL), ERR_OK);
    assert_string_equal(secret, "secret 1");
    assert_string_equal(person.prompt, "password of root: ");
    assert_int_equal(secrets_get(s, "password of me", secret, NULL), ERR_OK);
    assert_string_equal(secret, "secret 2");
    assert_int_equal(secrets_get(s, "password of root", secret, NULL), ERR_OK);
    assert_string_equal(secret, "secret 1");
    assert_int_equal(person.asked, 2);
    secrets_free(s);
}

static void one_that_was_refused_first_is_not_given_again(void **state)
{
    struct person person = {0};
    struct error err = {0};
    struct secrets *s = secrets_new(ask, &person);
    char secret[SECRET_MAX];
    (void)state;
    assert_int_equal(secrets_get(s, "p", secret, NULL), ERR_OK);
    secrets_used(s, "p", false);
    assert_int_equal(secrets_get(s, "p", secret, &err), ERR_DENIED);
    assert_int_equal(person.asked, 1);
    /* One that was good somewhere is not spoilt by a host that has another. */
    assert_int_equal(secrets_get(s, "q", secret, NULL), ERR_OK);
    secrets_used(s, "q", true);
    secrets_used(s, "q", false);
    assert_int_equal(secrets_get(s, "q", secret, NULL), ERR_OK);
    secrets_free(s);
}

static void who_gave_no_answer_is_not_asked_again(void **state)
{
    struct person person = {.answer = ERR_CANCELLED};
    struct error err = {0};
    struct secrets *s = secrets_new(ask, &person);
    char secret[SECRET_MAX];
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(secrets_get(s, "p", secret, &err), ERR_CANCELLED);
    assert_string_equal(err.message, "no");
    assert_int_equal(person.asked, 1);
    secrets_free(s);
}

static void *get_one(void *ctx)
{
    char secret[SECRET_MAX];
    return secrets_get(ctx, "p", secret, NULL) == ERR_OK && strcmp(secret, "secret 1") == 0 ? ctx
                                                                                            : NULL;
}

static void many_threads_make_one_question(void **state)
{
    enum { THREADS = 16 };
    struct person person = {0};
    struct secrets *s = secrets_new(ask, &person);
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_one, s), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, s);
    }
    assert_int_equal(person.asked, 1);
    secrets_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_asked_for_once),
        cmocka_unit_test(one_that_was_refused_first_is_not_given_again),
        cmocka_unit_test(who_gave_no_answer_is_not_asked_again),
        cmocka_unit_test(many_threads_make_one_question),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
