/*
 * support_executor: an executor, what it was asked to run, and a text of all that it did, for
 * example
 *
 *     started prepare0.1 begun0.1 execute0.1! 0=succeeded ended=succeeded finished
 *
 * where "execute0.1!~2" is one after two reboots, "0=succeeded-" is a step that changed nothing (of
 * a check: would), and "check2.1(1)" a check that is told of step 1.
 *
 * Every function that gives a text gives what was done since the last one; static storage.
 */
#pragma once

#include "agent/executor.h"
#include "common/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STEPS_MAX = 8, RECORDS_MAX = 512, TIMEOUT_MS = 90000 };

struct rig {
    struct plan_step steps[STEPS_MAX];
    struct executor_traits traits[STEPS_MAX];
    size_t count;
    bool rollback_on_failure, cautious, check;
    int64_t confirm_ms;
    struct executor *x;
    struct buf trace;
    struct executor_record records[RECORDS_MAX]; /* their messages are owned */
    size_t record_count;
    struct executor_action operation; /* the last one begun */
    bool under_way, waiting, confirming, finished;
    int64_t now_ms;
};

void rig_init(struct rig *r, size_t count);
void rig_done(struct rig *r);
/* A fresh executor that has not begun. */
void rig_make(struct rig *r);
void rig_keep(struct rig *r, const struct executor_record *record);
void rig_take_actions(struct rig *r);
const char *rig_trace(struct rig *r);

const char *rig_begin(struct rig *r);
/* The operation under way ends. */
const char *rig_over(struct rig *r, struct executor_result result);
const char *rig_ok(struct rig *r);        /* a change: an execute, or a check that finds one */
const char *rig_unchanged(struct rig *r); /* well, and nothing to change */
const char *rig_fails(struct rig *r, bool retryable);
const char *rig_stopped(struct rig *r);
const char *rig_conflicts(struct rig *r);
const char *rig_wants_reboot(struct rig *r);
const char *rig_timer(struct rig *r);
const char *rig_cancel(struct rig *r, bool now);
const char *rig_order(struct rig *r, int64_t round, bool force);
const char *rig_rollback(struct rig *r); /* the first round, without force */
const char *rig_confirmed(struct rig *r);
const struct executor_record *rig_last(const struct rig *r);
/* Replays the first `count` records into a fresh executor, as a restarted agent does. A capture is
 * on disk with the record that the step began. */
const char *rig_restart(struct rig *r, size_t count, int64_t restarts);
/* The same when the server was rebooted meanwhile. */
const char *rig_reboot(struct rig *r, size_t count, int64_t restarts);

#define EXPECT(got, want) assert_string_equal((got), (want))
