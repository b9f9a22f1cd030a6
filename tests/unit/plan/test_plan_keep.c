/* A plan for some of the servers of another. */
#include "common/base/alloc.h"
#include "common/plan/plan_json.h"
#include "support_plan_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SERVERS "\"web-1\",\"web-2\",\"web-3\",\"web-4\""
#define REST                                                                                       \
    "],\"steps\":[{\"name\":\"up\",\"type\":\"script\",\"params\":{\"script\":\"x\"},"             \
    "\"timeoutSeconds\":30,\"retry\":{\"maximumAttempts\":3,\"nonRetryableExitCodes\":[64,65]},"   \
    "\"onInterrupt\":\"retry\"},{\"name\":\"wait\",\"type\":\"sleep\",\"params\":{\"duration\":"   \
    "1},\"required\":false}],\"rolloutStrategy\":{\"type\":\"Canary\",\"batchSize\":[1,\"50%\"],"  \
    "\"canaryPercentage\":50,\"maxFailures\":2,\"maxUnreachable\":\"25%\",\"maxParallel\":3,"      \
    "\"maxTouched\":4,\"batchDelaySeconds\":2},\"rollback\":{\"scope\":\"failed\","                \
    "\"confirmTimeoutSeconds\":9}}"

static bool keep_even(void *ctx, uint32_t server)
{
    ++*(uint32_t *)ctx;
    return server % 2 == 1;
}

static bool keep_last(void *ctx, uint32_t server)
{
    return server + 1 == plan_server_count(ctx);
}

static void all_but_the_servers_is_as_it_was(void **state)
{
    (void)state;
    uint32_t asked = 0;
    AUTO(plan_free) struct plan *plan = parse_good("{\"name\":\"n\",\"servers\":[" SERVERS REST);
    AUTO(plan_free) struct plan *kept = NULL;
    assert_int_equal(plan_keep_servers(plan, keep_even, &asked, &kept, NULL), ERR_OK);
    assert_int_equal(asked, 4);
    char *text = written(kept);
    plan_free(TAKE(plan)); /* it owes it nothing */
    assert_same_plan("{\"name\":\"n\",\"servers\":[\"web-2\",\"web-4\"" REST, text);
    uint32_t index = 0;
    assert_true(plan_server_find(kept, "web-4", &index));
    assert_int_equal(index, 1);
    assert_false(plan_server_find(kept, "web-1", &index));
    free(text);
}

/* The batches of a plan that everything fails in, and how many failures stop it. */
static void expect_sizes(const char *strategy, uint32_t first_batch, uint32_t failures)
{
    char text[512];
    AUTO(plan_free) struct plan *kept = NULL;
    (void)snprintf(text, sizeof(text),
                   "{\"servers\":[" SERVERS "],\"steps\":[{\"name\":\"s\",\"type\":\"echo\","
                   "\"params\":{\"message\":\"m\"}}],\"rolloutStrategy\":{%s}}",
                   strategy);
    AUTO(plan_free) struct plan *plan = parse_good(text);
    assert_int_equal(plan_keep_servers(plan, keep_last, plan, &kept, NULL), ERR_OK);
    assert_int_equal(plan_server_count(kept), 1);
    uint32_t size = plan_batch_size(kept, 0, 1);
    assert_int_equal(size < 1 ? size : 1, first_batch);
    assert_int_equal(plan_failures_allowed(kept), failures);
    /* And it is a plan that could have been submitted. */
    char *again = written(kept);
    plan_free(parse_good(again));
    free(again);
}

static void limits_that_fewer_servers_do_not_reach_are_no_fault(void **state)
{
    (void)state;
    expect_sizes("\"type\":\"Rolling\",\"batchSize\":4,\"maxFailures\":4,\"maxTouched\":4", 1, 4);
    expect_sizes("\"type\":\"Rolling\",\"batchSize\":[1,4],\"maxFailures\":\"50%\"", 1, 0);
    expect_sizes("\"type\":\"Canary\",\"canaryPercentage\":25,\"maxParallel\":4", 1, 0);
    expect_sizes("\"type\":\"Parallel\",\"maxParallel\":4,\"maxFailures\":-1", 1, UINT32_MAX);
    expect_sizes("\"type\":\"Sequential\",\"maxUnreachable\":3", 1, 0);
}

static void keeping_without_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good("{\"name\":\"n\",\"servers\":[" SERVERS REST);
    enum error_code code = ERR_NO_MEMORY;
    uint64_t n = 0;
    for (; code != ERR_OK; n++) {
        AUTO(plan_free) struct plan *kept = NULL;
        mem_fail_after(n);
        code = plan_keep_servers(plan, keep_last, plan, &kept, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_true((code == ERR_OK) == (kept != NULL));
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_but_the_servers_is_as_it_was),
        cmocka_unit_test(limits_that_fewer_servers_do_not_reach_are_no_fault),
        cmocka_unit_test(keeping_without_memory_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("plan_keep", tests, NULL, NULL);
}
