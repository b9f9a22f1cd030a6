/* What the tests of this folder share: a journal in a folder of its own, and a plan to fill it
 * with. */
#pragma once

#include "common/plan/plan.h"
#include "orchestrator/journal/journal.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A journal under test; zeroed and filled by rig_init. */
struct rig {
    char dir[64];
    struct journal *journal;
    struct plan *plan; /* rig_plan_text */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t wakes;
    /* What the `done`s said: */
    uint64_t settled;
    enum error_code last_result;
    struct error last_error;
};

/* Three servers s1 s2 s3, the steps "one" and "two", all at once, every failure allowed. */
extern const char rig_plan_text[];

/* Aborts the test program when something cannot be had. */
void rig_init(struct rig *rig);
void rig_open(struct rig *rig);
void rig_close(struct rig *rig);
/* Closes, frees, and removes the folder. */
void rig_done(struct rig *rig);
/* For journal_open. */
void rig_wake(void *ctx);
/* Collects until so many appends were settled since rig_init; false after a long time in vain. */
bool rig_wait(struct rig *rig, uint64_t settled);
/* Waits until the journal stalls; false after a long time in vain. */
bool rig_wait_stall(struct rig *rig, bool *ret_final, struct error *ret_why);
/* For journal_append, with the rig as ctx. */
void rig_settled(void *ctx, enum error_code result, const struct error *err);

/* An event that an agent reports of server number `server`. */
struct event rig_event(enum event_type type, uint32_t server);
/* Appends the events as one piece; `create`: as the rollout's first. */
void rig_append(struct rig *rig, const char *id, uint64_t expected_seq, bool create,
                const struct event *events, size_t count);
/* A rollout with one event and a summary that says `state`, durable. */
void rig_rollout(struct rig *rig, const char *id, enum rollout_state state);
