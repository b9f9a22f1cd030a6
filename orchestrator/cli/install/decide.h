/*
 * decide: from what a host is and what is wanted, what has to be done there, or why not. Pure.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "orchestrator/cli/install/facts.h"
#include "orchestrator/cli/install/payload.h"

#include <stdbool.h>

enum decide_goal { GOAL_INSTALL, GOAL_UPGRADE, GOAL_UNINSTALL };

struct wanted {
    enum decide_goal goal;
    const char *server;
    const struct payload *payload;
    const char *unit;           /* the unit's text, where the program alone is installed */
    const char *orchestrator;   /* for the agent's configuration; NULL: leave what is there */
    const char *ca_fingerprint; /* NULL: leave what is there */
    bool tls;                   /* agents enrol */
    bool replace; /* enrol anew, also where there is an identity or another server id */
    bool start;   /* start it, and wait until it is seen */
};

struct decision {
    bool upload;     /* the payload */
    bool configure;  /* agent.conf or the unit differs */
    bool enrol;      /* a ticket is wanted */
    bool start;      /* (re)start it */
    bool fresh;      /* there was no agent */
    bool recover;    /* what a run before this one left has to be settled */
    struct buf conf; /* agent.conf as it is to be */
};
void decision_done(struct decision *decision);
#define AUTO_DECISION __attribute__((cleanup(decision_done)))

/* Something has to be done. */
static inline bool decision_any(const struct decision *d)
{
    return d->upload || d->configure || d->enrol || d->start || d->recover;
}

/* ERR_UNSUPPORTED, ERR_CONFLICT, ERR_NOT_FOUND: why it cannot be done on this host. */
enum error_code decide(const struct facts *facts, const struct wanted *wanted,
                       struct decision *ret_decision, struct error *err) MUST_CHECK;
/* "upload, configure, enrol, start": what is to be done, for people; "nothing". */
void decision_words(const struct decision *decision, struct buf *b);

/* agent.conf with `key = value` set: in place of its line, of the first that is commented out, or
 * at the end; everything else stays. */
void conf_set(struct buf *conf, const char *key, const char *value);
/* The value of a key; false: it is not set. */
bool conf_get(const char *conf, const char *key, char *ret, size_t size);
