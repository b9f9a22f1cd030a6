/*
 * journal_check: what the files of the check share. For this folder alone.
 *
 * Threading: the owner's thread. I/O: reads the database.
 */
#pragma once

#include "orchestrator/journal/journal_internal.h"

struct check {
    struct journal *j;
    struct db *db;
    const char *file;
    bool replays;
    void (*each)(void *ctx, const struct journal_finding *finding);
    void *ctx;
    struct journal_checked checked;
};

/* A rollout's row, copied so that its statement is free for the next. */
struct subject {
    char id[ID_BUFFER];
    int64_t num;
    struct journal_summary summary;
    uint64_t last_seq;
    bool sound; /* what its row says can be believed */
};

/* What is going on with one rollout's events. */
struct course {
    struct replay replay;
    bool replaying;    /* nothing was found wrong yet that keeps from it */
    uint64_t last_seq; /* seen */
};

/* Tells of one; a rollout's id and an event's number (0: none) may stand at the message's start. */
void check_found(struct check *c, const char *rollout, uint64_t seq, const char *what);
/* Damage is a finding; anything else ends the check. */
enum error_code check_found_or_fail(struct check *c, const char *rollout, uint64_t seq,
                                    enum error_code code, const struct error *why,
                                    struct error *err);

/* What a rollout touched: each row by its sum, and, where the events were replayed, against them.
 */
enum error_code check_touches(struct check *c, const struct subject *subject,
                              const struct course *course, struct error *err);
enum error_code check_locks(struct check *c, struct error *err);
