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
    char path[128];
    struct journal *journal;
    struct plan *plan; /* rig_plan_text */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t wakes;
    uint64_t wakes_seen; /* by rig_collect_next */
    /* What the `done`s said: */
    uint64_t settled;
    enum error_code last_result;
    struct error last_error;
};

/* Three servers s1 s2 s3, the steps "one" and "two", all at once, every failure allowed. */
extern const char rig_plan_text[];

/* Aborts the test program when something cannot be had. */
void rig_init(struct rig *rig);
/* The same where syncing costs nothing, for those that open a thousand journals. */
void rig_init_in_memory(struct rig *rig);
void rig_open(struct rig *rig);
void rig_close(struct rig *rig);
/* Closes, frees, and removes the folder. */
void rig_done(struct rig *rig);
/* For journal_open. */
void rig_wake(void *ctx);
/* Collects until so many appends were settled since rig_init; false after a long time in vain. */
bool rig_wait(struct rig *rig, uint64_t settled);
/* Waits for one wake that was not seen yet, and collects; false after a long time in vain. */
bool rig_collect_next(struct rig *rig);
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

/* Three servers that do two steps each: applied to a fresh engine as the orchestrator does, and
 * journaled with the notes and summaries, an output for each step, durable. The rollout's last
 * number. It ends ROLLOUT_SUCCEEDED. */
uint64_t rig_live(struct rig *rig, const char *id, struct engine *engine);
/* The same with an engine of its own. */
uint64_t rig_succeeded(struct rig *rig, const char *id);

/* A file of the journal's folder, or the path "" for a name that is too long; borrowed until the
 * next call. */
const char *rig_path(struct rig *rig, const char *name);
/* A whole file, which the caller frees; NULL when there is none. */
char *rig_read_file(struct rig *rig, const char *name, size_t *ret_len);
/* Makes or replaces it; NULL removes it. Aborts when it cannot be. */
void rig_write_file(struct rig *rig, const char *name, const char *data, size_t len);
/* Runs SQL on the database behind the journal's back. Aborts when it cannot. */
void rig_tamper(struct rig *rig, const char *sql);
