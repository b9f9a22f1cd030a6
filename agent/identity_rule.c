#include "agent/identity_rule.h"

#include "common/pki/pki_ca.h"

enum { PAUSE_PARTS = 10 }; /* of a certificate's life, between two renewals */

static int64_t life_ms(int64_t not_before_ms, int64_t not_after_ms)
{
    int64_t life = not_after_ms - not_before_ms - PKI_BACKDATE_MS;
    return life > 0 ? life : 0;
}

int64_t identity_renew_ms(int64_t not_before_ms, int64_t not_after_ms)
{
    return not_after_ms - life_ms(not_before_ms, not_after_ms) / 3;
}

static int64_t bounded(int64_t ms, int64_t max_ms)
{
    if (ms > max_ms)
        ms = max_ms;
    return ms < IDENTITY_LOOK_MIN_MS ? IDENTITY_LOOK_MIN_MS : ms;
}

/* By a clock that is ahead each one that comes is due at once. */
static int64_t renewal_pause_ms(const struct identity_facts *facts)
{
    int64_t pause = life_ms(facts->not_before_ms, facts->not_after_ms) / PAUSE_PARTS;
    return facts->since_answer_ms < pause ? pause - facts->since_answer_ms : 0;
}

/* What is left of the pause after the last failure; 0: it is over. */
static int64_t failure_pause_ms(const struct identity_facts *facts)
{
    int64_t pause = IDENTITY_RETRY_FIRST_MS;
    int64_t most = facts->denied ? IDENTITY_REFUSED_MAX_MS : IDENTITY_LOST_MAX_MS;
    if (facts->failures == 0)
        return 0;
    for (uint32_t i = 1; i < facts->failures && pause < most; i++)
        pause *= 2;
    if (pause > most)
        pause = most;
    return facts->since_failure_ms < pause ? pause - facts->since_failure_ms : 0;
}

static enum identity_action wanted(const struct identity_facts *facts, int64_t now_ms)
{
    bool of_use = facts->has_certificate && !facts->refused && now_ms < facts->not_after_ms;
    if (!of_use && facts->has_ticket)
        return IDENTITY_ENROL;
    if (!facts->has_certificate || facts->refused)
        return IDENTITY_STUCK;
    /* One that has expired by this clock too: the clock may be the one that is wrong. */
    if (now_ms >= identity_renew_ms(facts->not_before_ms, facts->not_after_ms))
        return IDENTITY_RENEW;
    return IDENTITY_WAIT;
}

struct identity_decision identity_decide(const struct identity_facts *facts, int64_t now_ms)
{
    enum identity_action action = wanted(facts, now_ms);
    if (action == IDENTITY_WAIT) {
        int64_t renew_ms = identity_renew_ms(facts->not_before_ms, facts->not_after_ms);
        return (struct identity_decision){action, bounded(renew_ms - now_ms, IDENTITY_LOOK_MAX_MS)};
    }
    if (action == IDENTITY_STUCK)
        return (struct identity_decision){action, IDENTITY_LOST_MAX_MS};
    int64_t left_ms = failure_pause_ms(facts);
    if (action == IDENTITY_RENEW && left_ms < renewal_pause_ms(facts))
        left_ms = renewal_pause_ms(facts);
    if (left_ms > 0)
        return (struct identity_decision){IDENTITY_WAIT, bounded(left_ms, IDENTITY_LOOK_MAX_MS)};
    return (struct identity_decision){action, IDENTITY_LOOK_MAX_MS};
}
