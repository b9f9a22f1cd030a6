/*
 * identity_rule: what an agent is to do about its certificate. Pure.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    IDENTITY_LOOK_MAX_MS = 3600 * 1000,  /* looked at again at least so often: clocks are set */
    IDENTITY_LOOK_MIN_MS = 200,          /* and never more often */
    IDENTITY_LOST_MAX_MS = 30 * 1000,    /* between attempts, when there was no answer */
    IDENTITY_REFUSED_MAX_MS = 5 * 60000, /* when the answer was no */
    IDENTITY_RETRY_FIRST_MS = 200
};

/* Times are the wall clock's. */
struct identity_facts {
    bool has_certificate;
    int64_t not_before_ms, not_after_ms; /* of the certificate */
    bool has_ticket;
    bool refused;             /* the orchestrator does not take the certificate */
    uint32_t failures;        /* of asking, in a row */
    bool denied;              /* the last answer was no */
    int64_t since_answer_ms;  /* since there was a certificate, likewise; INT64_MAX: none came */
    int64_t since_failure_ms; /* since the last one, by a clock that is not set */
};

enum identity_action {
    IDENTITY_WAIT,
    IDENTITY_ENROL, /* with the ticket, for a first certificate or after one that is of no use */
    IDENTITY_RENEW, /* by the certificate that there is */
    IDENTITY_STUCK  /* somebody has to provide a ticket */
};

struct identity_decision {
    enum identity_action action;
    int64_t look_ms; /* when it is to be decided anew, unless something happens before */
};

struct identity_decision identity_decide(const struct identity_facts *facts, int64_t now_ms);
/* When two thirds of its time are over; it begins later than the certificate says, which allows for
 * clocks that are behind. */
int64_t identity_renew_ms(int64_t not_before_ms, int64_t not_after_ms);
