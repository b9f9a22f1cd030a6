#include "agent/identity_rule.h"
#include "common/pki/pki_ca.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { DAY_MS = 24 * 3600 * 1000, BEGUN_MS = PKI_BACKDATE_MS };

/* A certificate of three days. */
static const struct identity_facts good = {.has_certificate = true,
                                           .not_before_ms = BEGUN_MS - PKI_BACKDATE_MS,
                                           .not_after_ms = BEGUN_MS + 3 * DAY_MS,
                                           .since_answer_ms = INT64_MAX};

static enum identity_action action(const struct identity_facts *facts, int64_t now_ms)
{
    return identity_decide(facts, now_ms).action;
}

static void a_certificate_is_renewed_when_two_thirds_of_its_time_are_over(void **state)
{
    (void)state;
    int64_t due_ms = BEGUN_MS + 2 * DAY_MS;
    assert_int_equal(identity_renew_ms(good.not_before_ms, good.not_after_ms), due_ms);
    assert_int_equal(action(&good, BEGUN_MS), IDENTITY_WAIT);
    assert_int_equal(action(&good, due_ms - 1), IDENTITY_WAIT);
    assert_int_equal(action(&good, due_ms), IDENTITY_RENEW);
}

static void it_is_looked_at_in_time_and_at_least_hourly_since_clocks_are_set(void **state)
{
    (void)state;
    int64_t due_ms = BEGUN_MS + 2 * DAY_MS;
    assert_int_equal(identity_decide(&good, BEGUN_MS).look_ms, IDENTITY_LOOK_MAX_MS);
    assert_int_equal(identity_decide(&good, due_ms - 5000).look_ms, 5000);
    assert_int_equal(identity_decide(&good, due_ms - 1).look_ms, IDENTITY_LOOK_MIN_MS);
}

static void without_a_certificate_a_ticket_is_used_or_waited_for(void **state)
{
    (void)state;
    struct identity_facts facts = {.has_ticket = true};
    assert_int_equal(action(&facts, BEGUN_MS), IDENTITY_ENROL);
    facts.has_ticket = false;
    assert_int_equal(action(&facts, BEGUN_MS), IDENTITY_STUCK);
    assert_int_equal(identity_decide(&facts, BEGUN_MS).look_ms, IDENTITY_LOST_MAX_MS);
}

static void a_ticket_is_left_alone_while_the_certificate_is_good(void **state)
{
    (void)state;
    struct identity_facts facts = good;
    facts.has_ticket = true;
    assert_int_equal(action(&facts, BEGUN_MS), IDENTITY_WAIT);
    facts.refused = true;
    assert_int_equal(action(&facts, BEGUN_MS), IDENTITY_ENROL);
    facts.refused = false;
    assert_int_equal(action(&facts, facts.not_after_ms), IDENTITY_ENROL);
}

static void one_that_has_expired_by_a_clock_that_may_be_wrong_is_still_tried(void **state)
{
    (void)state;
    assert_int_equal(action(&good, good.not_after_ms + DAY_MS), IDENTITY_RENEW);
    /* And one that is not valid yet is no reason to do anything. */
    assert_int_equal(action(&good, BEGUN_MS - DAY_MS), IDENTITY_WAIT);
}

static void by_a_clock_that_is_ahead_it_is_not_renewed_without_end(void **state)
{
    (void)state;
    struct identity_facts facts = good;
    int64_t due_ms = BEGUN_MS + 2 * DAY_MS;
    facts.since_answer_ms = 0;
    struct identity_decision decision = identity_decide(&facts, due_ms);
    assert_int_equal(decision.action, IDENTITY_WAIT);
    assert_int_equal(decision.look_ms, IDENTITY_LOOK_MAX_MS);
    facts.since_answer_ms = 3 * (int64_t)DAY_MS / 10;
    assert_int_equal(action(&facts, due_ms), IDENTITY_RENEW);
}

static void one_that_is_refused_cannot_renew_itself(void **state)
{
    (void)state;
    struct identity_facts facts = good;
    facts.refused = true;
    assert_int_equal(action(&facts, BEGUN_MS + 2 * DAY_MS), IDENTITY_STUCK);
}

static void after_a_failure_the_pause_doubles_up_to_a_bound(void **state)
{
    (void)state;
    struct identity_facts facts = {.has_ticket = true, .failures = 1};
    struct identity_decision decision = identity_decide(&facts, BEGUN_MS);
    assert_int_equal(decision.action, IDENTITY_WAIT);
    assert_int_equal(decision.look_ms, IDENTITY_RETRY_FIRST_MS);
    facts.failures = 4;
    assert_int_equal(identity_decide(&facts, BEGUN_MS).look_ms, 8 * IDENTITY_RETRY_FIRST_MS);
    facts.since_failure_ms = 5 * IDENTITY_RETRY_FIRST_MS;
    assert_int_equal(identity_decide(&facts, BEGUN_MS).look_ms, 3 * IDENTITY_RETRY_FIRST_MS);
    facts.since_failure_ms = 8 * IDENTITY_RETRY_FIRST_MS;
    assert_int_equal(action(&facts, BEGUN_MS), IDENTITY_ENROL);
    facts.since_failure_ms = 0;
    facts.failures = UINT32_MAX;
    assert_int_equal(identity_decide(&facts, BEGUN_MS).look_ms, IDENTITY_LOST_MAX_MS);
    facts.denied = true;
    assert_int_equal(identity_decide(&facts, BEGUN_MS).look_ms, IDENTITY_REFUSED_MAX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_is_renewed_when_two_thirds_of_its_time_are_over),
        cmocka_unit_test(it_is_looked_at_in_time_and_at_least_hourly_since_clocks_are_set),
        cmocka_unit_test(without_a_certificate_a_ticket_is_used_or_waited_for),
        cmocka_unit_test(a_ticket_is_left_alone_while_the_certificate_is_good),
        cmocka_unit_test(one_that_has_expired_by_a_clock_that_may_be_wrong_is_still_tried),
        cmocka_unit_test(by_a_clock_that_is_ahead_it_is_not_renewed_without_end),
        cmocka_unit_test(one_that_is_refused_cannot_renew_itself),
        cmocka_unit_test(after_a_failure_the_pause_doubles_up_to_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
