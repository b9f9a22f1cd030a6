/* sim_journal_internal: what the parts of the simulated journal share.
 *
 *   sim_journal.c         life, appends, and how they become durable
 *   sim_journal_read.c    what is durable of rollouts
 *   sim_journal_server.c  and of servers: touches and locks
 */
#pragma once

#include "simulation/sim_fleet.h"

enum { MAX_BARRIERS = 4096 };

struct append_event {
    struct event event; /* without its texts, but for people's */
    char *json;
    size_t len;
};

struct journal_append {
    struct journal_append *next;
    char rollout[ID_BUFFER];
    uint64_t expected_seq;
    bool create;
    char *by, *retry_of, *plan_text;
    size_t plan_len;
    struct append_event *events;
    size_t event_count, event_capacity;
    struct journal_summary summary;
    enum sim_touch touches[SIM_MAX_SERVERS]; /* by number in the plan */
    bool lock;                               /* it is of a lock, and has nothing of the above */
    uint32_t node;
    struct sim_lock locked;
    void (*done)(void *ctx, enum error_code result, const struct error *err);
    void *ctx;
};

struct barrier {
    uint64_t after;
    void (*done)(void *ctx);
    void *ctx;
};

struct journal {
    struct sim *sim;
    int64_t epoch;
    struct journal_append *first, *last;           /* handed in */
    size_t pending, writing;                       /* the first `writing` are being written */
    struct journal_append *written, *written_last; /* durable, and nobody was told */
    uint64_t appended, settled;
    struct barrier barriers[MAX_BARRIERS];
    size_t barrier_count;
};

/* The rollout on the disk; NULL. */
struct sim_disk_rollout *sim_disk_find(const struct journal *j, const char *id);
/* Hands one in that was made, as journal_append does. */
void sim_journal_submit(struct journal *j, struct journal_append *a);
/* A lock becomes durable. */
void sim_journal_lock_apply(struct journal *j, const struct journal_append *a);
void sim_journal_lock_free(struct journal_append *a);
