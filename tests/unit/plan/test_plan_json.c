#include "common/plan/plan_json.h"

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "handlers/catalog.h"
#include "support_plan_json.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const full_plan =
    "{\"name\":\"patch-web\",\"servers\":[\"web-1\",\"web-2\",\"db_3.example\"],"
    "\"steps\":[{\"name\":\"upgrade\",\"type\":\"yum_upgrade\","
    "\"params\":{\"package\":\"nginx\",\"version\":\"1.20.1-14\"},"
    "\"required\":true,\"continueOnFailure\":true,\"timeoutSeconds\":300,"
    "\"retry\":{\"maximumAttempts\":3,\"initialIntervalSeconds\":0.25,\"backoffCoefficient\":1.5,"
    "\"maximumIntervalSeconds\":70,\"nonRetryableExitCodes\":[65,64,65]},\"onInterrupt\":\"fail\"},"
    "{\"name\":\"wait\",\"type\":\"sleep\",\"params\":{\"duration\":\"1m30s\"},\"required\":false}]"
    ","
    "\"rolloutStrategy\":{\"type\":\"Canary\",\"batchSize\":[1,\"10%\",\"33.3%\"],"
    "\"batchDelaySeconds\":10,\"maxFailures\":\"10%\",\"maxUnreachable\":-1,"
    "\"canaryPercentage\":12.5,\"maxParallel\":100,\"maxTouched\":7,\"startTimeoutSeconds\":20,"
    "\"reconnectTimeoutSeconds\":0.5},\"rollback\":{\"scope\":\"failed\"}}";

/* ---- Reading ----------------------------------------------------------------------------- */

static void every_field_of_a_step_is_read(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good(full_plan);
    assert_int_equal(plan_step_count(plan), 2);
    const struct plan_step *step = plan_step(plan, 0);
    assert_string_equal(step->name, "upgrade");
    assert_string_equal(step->type, "yum_upgrade");
    assert_true(step->required);
    assert_true(step->continue_on_failure);
    assert_int_equal(step->timeout_ms, 300000);
    assert_int_equal(step->on_interrupt, INTERRUPT_FAIL);
    const struct plan_retry *retry = &step->retry;
    assert_int_equal(retry->maximum_attempts, 3);
    assert_int_equal(retry->initial_interval_ms, 250);
    assert_true(retry->backoff_coefficient == 1.5);
    assert_int_equal(retry->maximum_interval_ms, 70000);
    assert_int_equal(retry->non_retryable_exit_codes.count, 2);
    assert_int_equal(*ARRAY_AT(&retry->non_retryable_exit_codes, int64_t, 0), 64);
    assert_int_equal(*ARRAY_AT(&retry->non_retryable_exit_codes, int64_t, 1), 65);
    assert_false(plan_step(plan, 1)->required);
}

static void every_field_of_a_strategy_is_read(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good(full_plan);
    const struct plan_strategy *s = &plan->strategy;
    assert_int_equal(s->type, STRATEGY_CANARY);
    assert_int_equal(s->batch_sizes.count, 3);
    assert_false(ARRAY_AT(&s->batch_sizes, struct plan_size, 0)->percent);
    assert_true(ARRAY_AT(&s->batch_sizes, struct plan_size, 2)->percent);
    assert_true(ARRAY_AT(&s->batch_sizes, struct plan_size, 2)->value == 33.3);
    assert_int_equal(s->batch_delay_ms, 10000);
    assert_int_equal(s->max_failures.kind, LIMIT_SIZE);
    assert_true(s->max_failures.size.percent && s->max_failures.size.value == 10);
    assert_int_equal(s->max_unreachable.kind, LIMIT_NONE);
    assert_true(s->canary_percentage == 12.5);
    assert_int_equal(s->max_parallel, 100);
    assert_int_equal(s->max_touched, 7);
    assert_int_equal(s->start_timeout_ms, 20000);
    assert_int_equal(s->reconnect_timeout_ms, 500);
    assert_int_equal(plan->rollback_scope, SCOPE_FAILED);
}

static void servers_are_read_in_order_and_found(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good(full_plan);
    assert_string_equal(plan->name, "patch-web");
    assert_int_equal(plan_server_count(plan), 3);
    assert_string_equal(plan_server(plan, 2), "db_3.example");
    uint32_t found;
    assert_true(plan_server_find(plan, "web-2", &found));
    assert_int_equal(found, 1);
}

static void what_is_left_out_has_its_default(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good(PLAN_WITH(""));
    assert_null(plan->name);
    assert_int_equal(plan->strategy.type, STRATEGY_SEQUENTIAL);
    assert_int_equal(plan_failures_allowed(plan), 0);
    uint32_t allowed;
    assert_false(plan_unreachable_allowed(plan, &allowed));
    assert_int_equal(plan->strategy.start_timeout_ms, 300000);
    assert_int_equal(plan->strategy.reconnect_timeout_ms, 300000);
    assert_int_equal(plan->strategy.max_parallel, 0);
    assert_int_equal(plan->rollback_scope, SCOPE_ALL);
    const struct plan_step *step = plan_step(plan, 0);
    assert_true(step->required);
    assert_false(step->continue_on_failure);
    assert_int_equal(step->timeout_ms, PLAN_DEFAULT_TIMEOUT_MS);
    assert_int_equal(step->on_interrupt, INTERRUPT_DEFAULT);
    assert_int_equal(step->retry.maximum_attempts, 0);
    assert_int_equal(step->retry.initial_interval_ms, 1000);
    assert_true(step->retry.backoff_coefficient == 2);
    assert_int_equal(step->retry.maximum_interval_ms, 60000);
}

static void a_strategy_with_a_type_alone_has_the_defaults(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good(STRATEGY("\"type\":\"Canary\""));
    assert_true(plan->strategy.canary_percentage == 10);
    assert_int_equal(plan->strategy.batch_sizes.count, 0);
    assert_int_equal(plan->strategy.start_timeout_ms, 300000);
}

static void a_single_server_is_a_plan_of_one(void **state)
{
    (void)state;
    assert_same_plan("{\"serverID\":\"web-1\",\"steps\":[{\"name\":\"one\",\"type\":\"echo\","
                     "\"params\":{\"message\":\"m\"}}]}",
                     PLAN_WITH(""));
}

static void a_null_is_as_good_as_nothing(void **state)
{
    (void)state;
    assert_same_plan(PLAN_WITH(",\"serverID\":null,\"rolloutStrategy\":null,\"rollback\":null"),
                     PLAN_WITH(""));
}

static void the_longest_wait_is_no_shorter_than_the_first(void **state)
{
    (void)state;
    AUTO(plan_free)
    struct plan *plan = parse_good(ECHO_WITH(",\"retry\":{\"initialIntervalSeconds\":90}"));
    assert_int_equal(plan_step(plan, 0)->retry.maximum_interval_ms, 90000);
}

/* ---- Files ------------------------------------------------------------------------------- */

static void assert_file_is_a_plan(const char *path, uint32_t servers, uint32_t steps)
{
    size_t len;
    AUTO_FREE char *text = source_file(path, &len);
    AUTO(plan_free) struct plan *plan = parse_good(text);
    assert_int_equal(plan_server_count(plan), servers);
    assert_int_equal(plan_step_count(plan), steps);
    AUTO_FREE char *canonical = written(plan);
    assert_same_plan(text, canonical);
}

static void the_plans_of_the_original_are_plans(void **state)
{
    (void)state;
    assert_file_is_a_plan("plans/original/local-exec.json", 1, 5);
    assert_file_is_a_plan("plans/original/orchestrator.json", 3, 3);
    assert_file_is_a_plan("plans/original/yum-upgrade-rollback.json", 3, 2);
    assert_file_is_a_plan("plans/original/yum-upgrade-success.json", 2, 3);
}

static void the_example_plans_are_plans(void **state)
{
    (void)state;
    assert_file_is_a_plan("plans/hello.json", 1, 1);
    assert_file_is_a_plan("plans/rolling-file.json", 5, 2);
    assert_file_is_a_plan("plans/canary.json", 10, 3);
    assert_file_is_a_plan("plans/parallel-script.json", 4, 3);
    assert_file_is_a_plan("plans/retry.json", 2, 3);
    assert_file_is_a_plan("plans/http-check.json", 2, 2);
    assert_file_is_a_plan("plans/tcp-check.json", 2, 1);
    assert_file_is_a_plan("plans/command-check.json", 2, 1);
    assert_file_is_a_plan("plans/files.json", 1, 6);
    assert_file_is_a_plan("plans/release.json", 1, 2);
    assert_file_is_a_plan("plans/script.json", 1, 2);
    assert_file_is_a_plan("plans/reboot.json", 3, 3);
    assert_file_is_a_plan("plans/service.json", 1, 3);
    assert_file_is_a_plan("plans/service-restart.json", 3, 4);
    assert_file_is_a_plan("plans/yum-upgrade.json", 3, 2);
    assert_file_is_a_plan("plans/yum-install.json", 3, 1);
    assert_file_is_a_plan("plans/yum-remove.json", 3, 1);
    assert_file_is_a_plan("plans/yum-security.json", 3, 1);
}

/* ---- Writing ----------------------------------------------------------------------------- */

static void the_canonical_text_says_everything(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good(PLAN_WITH(""));
    AUTO_FREE char *text = written(plan);
    assert_string_equal(
        text,
        "{\"servers\":[\"web-1\"],\"steps\":[{\"name\":\"one\",\"type\":\"echo\","
        "\"params\":{\"message\":\"m\"},\"required\":true,\"continueOnFailure\":false,"
        "\"timeoutSeconds\":3600,\"retry\":{\"initialIntervalSeconds\":1,\"backoffCoefficient\":2,"
        "\"maximumIntervalSeconds\":60},\"onInterrupt\":\"default\"}],"
        "\"rolloutStrategy\":{\"type\":\"Sequential\",\"batchSize\":1,\"maxFailures\":0,"
        "\"startTimeoutSeconds\":300,\"reconnectTimeoutSeconds\":300},"
        "\"rollback\":{\"scope\":\"all\"}}");
}

static void what_is_written_reads_back_the_same(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good(full_plan);
    AUTO_FREE char *text = written(plan);
    struct plan *read = NULL;
    assert_int_equal(plan_read(text, strlen(text), &read, NULL), ERR_OK);
    AUTO_FREE char *again = written(read);
    uint32_t found;
    assert_true(plan_server_find(read, "db_3.example", &found));
    plan_free(read);
    assert_string_equal(text, again);
    assert_non_null(strstr(text, "\"batchSize\":[1,\"10%\",\"33.3%\"]"));
    assert_non_null(strstr(text, "\"maxFailures\":\"10%\",\"maxUnreachable\":-1"));
    assert_non_null(strstr(text, "\"canaryPercentage\":12.5"));
    assert_non_null(strstr(text, "\"duration\":90"));
    assert_same_plan(full_plan, text);
}

static void plans_of_one_meaning_have_one_text(void **state)
{
    (void)state;
    assert_same_plan(STRATEGY("\"type\":\"Sequential\",\"batchSize\":[1,1]"), PLAN_WITH(""));
    assert_same_plan(STRATEGY("\"type\":\"Rolling\",\"batchSize\":[2,\"5%\",\"5%\",\"5.0%\"]"),
                     STRATEGY("\"batchSize\":[2,\"5%\"],\"type\":\"Rolling\""));
    assert_same_plan(STRATEGY("\"type\":\"Rolling\",\"maxFailures\":\"0%\",\"batchSize\":[1]"),
                     STRATEGY("\"type\":\"Rolling\""));
    assert_same_plan(
        PLAN_WITH_STEP("{\"name\":\"s\",\"type\":\"sleep\",\"params\":{\"duration\":\"1m30s\"}}"),
        PLAN_WITH_STEP("{\"params\":{\"duration\":90.0},\"type\":\"sleep\",\"name\":\"s\"}"));
}

static void texts_with_any_character_survive(void **state)
{
    (void)state;
    AUTO(plan_free)
    struct plan *plan = parse_good(
        PLAN_WITH_STEP("{\"name\":\"Gr\\u00fc\\u00dfe \\ud83e\\udd8a\",\"type\":\"file_write\","
                       "\"params\":{\"path\":\"/tmp/a\",\"content\":\"\\u0001\\t\\\"\\\\\\n\"}}"));
    AUTO_FREE char *text = written(plan);
    struct plan *read = NULL;
    assert_int_equal(plan_read(text, strlen(text), &read, NULL), ERR_OK);
    AUTO_FREE char *again = written(read);
    assert_string_equal(plan_step(read, 0)->name, "Gr\xc3\xbc\xc3\x9f"
                                                  "e \xf0\x9f\xa6\x8a");
    plan_free(read);
    assert_string_equal(text, again);
}

static void what_the_journal_holds_is_checked_too(void **state)
{
    (void)state;
    static const char *const damaged[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"servers\":[\"a\",\"a\"],\"steps\":[{\"name\":\"n\",\"type\":\"t\"}]}",
        "{\"servers\":[\"a\"],\"steps\":[{\"name\":\"n\"}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(damaged); i++) {
        struct plan *plan = NULL;
        struct error err = {0};
        enum error_code code = plan_read(damaged[i], strlen(damaged[i]), &plan, &err);
        assert_int_not_equal(code, ERR_OK);
        assert_null(plan);
        assert_string_not_equal(err.message, "");
    }
}

static void params_of_any_type_are_taken_from_the_journal(void **state)
{
    (void)state;
    static const char text[] = "{\"servers\":[\"a\"],\"steps\":[{\"name\":\"n\",\"type\":\"later\","
                               "\"params\":{\"x\":[1,2]}},{\"name\":\"m\",\"type\":\"later\"}]}";
    struct plan *plan = NULL;
    assert_int_equal(plan_read(text, strlen(text), &plan, NULL), ERR_OK);
    assert_string_equal(plan_step(plan, 0)->params_json, "{\"x\":[1,2]}");
    assert_string_equal(plan_step(plan, 1)->params_json, "{}");
    plan_free(plan);
}

/* ---- Params ------------------------------------------------------------------------------ */

static void params_are_decoded_by_their_type(void **state)
{
    (void)state;
    struct problems ps = {0};
    void *params = NULL;
    assert_int_equal(step_params_decode(&sleep_type, "{\"duration\":1.5}", "p", &params, &ps, NULL),
                     ERR_OK);
    assert_int_equal(((struct sleep_params *)params)->duration_ms, 1500);
    step_params_free(&sleep_type, params);
    step_params_free(&sleep_type, NULL);
}

static void wrong_params_are_refused_with_their_path(void **state)
{
    (void)state;
    struct problems ps = {0};
    void *params = NULL;
    struct error err = {0};
    assert_int_equal(
        step_params_decode(&echo_type, "{\"massage\":\"\"}", "steps[2].params", &params, &ps, &err),
        ERR_INVALID);
    assert_null(params);
    assert_int_equal(ps.total, 2);
    assert_non_null(strstr(err.message, "steps[2].params"));
    problems_done(&ps);
    assert_int_equal(step_params_decode(&echo_type, "{", "steps[2].params", &params, &ps, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.message, "steps[2].params: "));
    problems_done(&ps);
}

/* A step that the table decoded is freed by the pure model: they must agree on what is owned. */
static void the_model_frees_what_the_table_decodes(void **state)
{
    (void)state;
    static const char text[] = "{\"name\":\"n\",\"type\":\"t\",\"params\":{\"a\":1},\"retry\":{"
                               "\"nonRetryableExitCodes\":[1]}}";
    struct plan_step step;
    assert_int_equal(json_read(text, strlen(text), 1000, &plan_step_table, &step, NULL), ERR_OK);
    assert_int_equal(plan_step_complete(&step, NULL), ERR_OK);
    plan_step_release(&step);
    assert_null(step.name);
}

/* ---- Limits ------------------------------------------------------------------------------ */

static void too_long_a_text_is_refused(void **state)
{
    (void)state;
    AUTO_FREE char *text = mem_alloc(PLAN_MAX_BYTES + 2);
    memset(text, ' ', PLAN_MAX_BYTES + 1);
    text[PLAN_MAX_BYTES + 1] = '\0';
    struct plan *plan = NULL;
    struct problems ps = {0};
    struct error err = {0};
    assert_int_equal(plan_parse(text, PLAN_MAX_BYTES + 1, &handler_catalog, &plan, &ps, &err),
                     ERR_LIMIT);
    assert_int_equal(ps.total, 1);
    assert_non_null(strstr(err.message, "8388608"));
    problems_done(&ps);
}

/* A plan's text with so many servers; where `twice`, each is named a second time. */
static void put_servers(struct buf *b, uint32_t count, bool twice)
{
    buf_puts(b, "{\"servers\":[");
    for (uint32_t i = 0; i < count; i++)
        buf_printf(b, "%s\"server-%u.rack.example.com\"", i > 0 ? "," : "",
                   twice && i >= count / 2 ? i - count / 2 : i);
    buf_puts(b, "],\"steps\":[{\"name\":\"one\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}}],"
                "\"rolloutStrategy\":{\"type\":\"Parallel\"}}");
    assert_int_equal(buf_check(b, NULL), ERR_OK);
}

static void the_largest_fleet_is_read_and_written(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    put_servers(&b, PLAN_MAX_SERVERS, false);
    assert_true(b.len < PLAN_MAX_BYTES);
    AUTO(plan_free) struct plan *plan = parse_good(b.data);
    assert_int_equal(plan_server_count(plan), PLAN_MAX_SERVERS);
    AUTO_FREE char *text = written(plan);
    struct plan *read = NULL;
    assert_int_equal(plan_read(text, strlen(text), &read, NULL), ERR_OK);
    assert_int_equal(plan_server_count(read), PLAN_MAX_SERVERS);
    plan_free(read);
}

static void one_server_too_many_is_refused(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    put_servers(&b, PLAN_MAX_SERVERS + 1, false);
    assert_problem(b.data, "servers", "200000");
}

/* Bounded by the test's time: a hundred thousand duplicates must not be compared with each other.
 */
static void duplicates_in_the_largest_fleet_are_counted(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    put_servers(&b, PLAN_MAX_SERVERS, true);
    struct plan *plan = NULL;
    struct problems ps = {0};
    int64_t start_ms = clock_mono_ms();
    assert_int_equal(plan_parse(b.data, b.len, &handler_catalog, &plan, &ps, NULL), ERR_INVALID);
    assert_true(clock_mono_ms() - start_ms < 20000);
    assert_int_equal(ps.total, PLAN_MAX_SERVERS / 2);
    assert_int_equal(ps.count, PROBLEMS_MAX);
    assert_string_equal(ps.items[0].path, "servers[100000]");
    problems_done(&ps);
}

static void one_step_too_many_is_refused(void **state)
{
    (void)state;
    for (int count = PLAN_MAX_STEPS; count <= PLAN_MAX_STEPS + 1; count++) {
        AUTO_BUF struct buf b = BUF_INIT;
        buf_puts(&b, "{\"servers\":[\"a\"],\"steps\":[");
        for (int i = 0; i < count; i++)
            buf_printf(&b, "%s{\"name\":\"%d\",\"type\":\"echo\",\"params\":{\"message\":\"\"}}",
                       i > 0 ? "," : "", i);
        buf_puts(&b, "]}");
        if (count > PLAN_MAX_STEPS)
            assert_problem(b.data, "steps", "256");
        else
            plan_free(parse_good(b.data));
    }
}

/* ---- Memory ------------------------------------------------------------------------------ */

static void parsing_without_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        struct plan *plan = NULL;
        struct problems ps = {0};
        mem_fail_after(n);
        enum error_code code =
            plan_parse(full_plan, strlen(full_plan), &handler_catalog, &plan, &ps, NULL);
        uint64_t failed = mem_fail_count();
        mem_fail_never();
        problems_done(&ps);
        if (failed == 0) {
            assert_int_equal(code, ERR_OK);
            plan_free(plan);
            assert_true(n > 10);
            return;
        }
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(plan);
    }
}

static void reading_without_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        struct plan *plan = NULL;
        mem_fail_after(n);
        enum error_code code = plan_read(full_plan, strlen(full_plan), &plan, NULL);
        uint64_t failed = mem_fail_count();
        mem_fail_never();
        if (failed == 0) {
            assert_int_equal(code, ERR_OK);
            plan_free(plan);
            return;
        }
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(plan);
    }
}

/* A wrong plan gives problems or runs out of memory, and is never taken for a right one. */
static void faults_without_memory_are_never_taken_for_none(void **state)
{
    (void)state;
    static const char text[] = "{\"servers\":[\"a\",\"a\",\"-\"],\"steps\":[{\"name\":\"n\","
                               "\"type\":\"ecko\"},{\"name\":\"n\","
                               "\"type\":\"sleep\",\"params\":{\"duration\":\"x\"}}],"
                               "\"rolloutStrategy\":{\"type\":\"Parallel\",\"batchSize\":[3,2]}}";
    for (uint64_t n = 0;; n++) {
        struct plan *plan = NULL;
        struct problems ps = {0};
        mem_fail_after(n);
        enum error_code code = plan_parse(text, strlen(text), &handler_catalog, &plan, &ps, NULL);
        uint64_t failed = mem_fail_count();
        mem_fail_never();
        problems_done(&ps);
        assert_null(plan);
        assert_int_equal(code, failed == 0 ? ERR_INVALID : ERR_NO_MEMORY);
        if (failed == 0)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_a_step_is_read),
        cmocka_unit_test(every_field_of_a_strategy_is_read),
        cmocka_unit_test(servers_are_read_in_order_and_found),
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(a_strategy_with_a_type_alone_has_the_defaults),
        cmocka_unit_test(a_single_server_is_a_plan_of_one),
        cmocka_unit_test(a_null_is_as_good_as_nothing),
        cmocka_unit_test(the_longest_wait_is_no_shorter_than_the_first),
        cmocka_unit_test(the_plans_of_the_original_are_plans),
        cmocka_unit_test(the_example_plans_are_plans),
        cmocka_unit_test(the_canonical_text_says_everything),
        cmocka_unit_test(what_is_written_reads_back_the_same),
        cmocka_unit_test(plans_of_one_meaning_have_one_text),
        cmocka_unit_test(texts_with_any_character_survive),
        cmocka_unit_test(what_the_journal_holds_is_checked_too),
        cmocka_unit_test(params_of_any_type_are_taken_from_the_journal),
        cmocka_unit_test(params_are_decoded_by_their_type),
        cmocka_unit_test(wrong_params_are_refused_with_their_path),
        cmocka_unit_test(the_model_frees_what_the_table_decodes),
        cmocka_unit_test(too_long_a_text_is_refused),
        cmocka_unit_test(the_largest_fleet_is_read_and_written),
        cmocka_unit_test(one_server_too_many_is_refused),
        cmocka_unit_test(duplicates_in_the_largest_fleet_are_counted),
        cmocka_unit_test(one_step_too_many_is_refused),
        cmocka_unit_test(parsing_without_memory_is_an_error_and_leaks_nothing),
        cmocka_unit_test(reading_without_memory_is_an_error_and_leaks_nothing),
        cmocka_unit_test(faults_without_memory_are_never_taken_for_none),
    };
    return cmocka_run_group_tests_name("plan_json", tests, NULL, NULL);
}
