/* Which rollouts name which artifacts, and for whom. */
#include "unit/dispatch/support_dispatch.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
#define DIGEST(end) DIGITS end
#define NAME(end) "sha256:" DIGITS end

/* Names 1 in params, 2 amid other text, twice, 3 in vars; 4 is cut short, 5 has a digit too many.
 */
static const char plan[] = "{\"servers\":[\"a\",\"b\"],\"vars\":{\"x\":{\"y\":\"" NAME(
    "3") "\"}},\"steps\":["
         "{\"name\":\"s\",\"type\":\"echo\",\"params\":{\"message\":\"" NAME(
             "1") "\"}},"
                  "{\"name\":\"t\",\"type\":\"script\",\"params\":{\"script\":\"x\",\"args\":["
                  "\"--from=" NAME("2") ",or " NAME("2") "\",\"sha256:" DIGITS "\",\"" NAME(
                      "5") "0\","
                           "\"" DIGEST("6") "\"]}}]}";

static int setup(void **state)
{
    static struct bench b;
    bench_open(&b);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    return 0;
}

static bool may_have(struct bench *b, const char *server, const char *digest)
{
    struct error err = {0};
    enum error_code code = dispatcher_artifact_for(b->dispatcher, "r1", server, digest, &err);
    assert_true(code == ERR_OK || code == ERR_NOT_FOUND);
    return code == ERR_OK;
}

static bool is_free(struct bench *b, const char *digest)
{
    struct error err = {0};
    enum error_code code = dispatcher_artifact_free(b->dispatcher, digest, &err);
    assert_true(code == ERR_OK || code == ERR_CONFLICT);
    if (code != ERR_OK)
        assert_non_null(strstr(err.message, "\"r1\""));
    return code == ERR_OK;
}

static void what_stands_whole_anywhere_in_params_or_vars_is_named(void **state)
{
    struct bench *b = *state;
    bench_submit(b, "r1", plan);
    bench_settle(b);
    assert_true(may_have(b, "a", DIGEST("1")));
    assert_true(may_have(b, "a", DIGEST("2")));
    assert_true(may_have(b, "b", DIGEST("3")));
    static const char *const others[] = {DIGEST("4"), DIGEST("5"), DIGEST("6"), DIGEST("0")};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_false(may_have(b, "a", others[i]));
}

static void it_is_for_the_rollouts_own_servers_alone(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    bench_submit(b, "r1", plan);
    bench_settle(b);
    assert_false(may_have(b, "c", DIGEST("1")));
    static const char *const others[] = {"r2", "", "no id", "../r1"};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_int_equal(dispatcher_artifact_for(b->dispatcher, others[i], "a", DIGEST("1"), &err),
                         ERR_NOT_FOUND);
}

/* A server may be at work long after the others are done, and over restarts. */
static void it_is_so_after_a_restart_and_after_the_end(void **state)
{
    struct bench *b = *state;
    bench_submit(b, "r1", plan);
    bench_settle(b);
    bench_restart(b);
    assert_true(may_have(b, "a", DIGEST("1")));
    assert_false(is_free(b, DIGEST("1")));
    const struct dispatcher_order cancel = {.command = COMMAND_CANCEL};
    struct error err = {0};
    assert_int_equal(dispatcher_order(b->dispatcher, "r1", &cancel, NULL, NULL, &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_CANCELLED);
    bench_restart(b);
    assert_true(may_have(b, "a", DIGEST("1")));
    assert_true(is_free(b, DIGEST("1")));
}

static void it_is_needed_until_the_rollout_has_ended(void **state)
{
    struct bench *b = *state;
    struct fake_conn a = {0};
    struct fake_conn other = {0};
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &other, "b", "i2", NULL);
    assert_true(is_free(b, DIGEST("1")));
    bench_submit(b, "r1", plan);
    assert_false(is_free(b, DIGEST("1"))); /* from that moment on */
    bench_settle(b);
    assert_false(is_free(b, DIGEST("3")));
    assert_true(is_free(b, DIGEST("4")));
    conn_ended(b, &a, "r1", EXECUTION_SUCCEEDED);
    assert_false(is_free(b, DIGEST("1")));
    conn_ended(b, &other, "r1", EXECUTION_SUCCEEDED);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    assert_true(is_free(b, DIGEST("1")));
    conn_drop(&a);
    conn_drop(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_stands_whole_anywhere_in_params_or_vars_is_named,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_for_the_rollouts_own_servers_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_so_after_a_restart_and_after_the_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_is_needed_until_the_rollout_has_ended, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
