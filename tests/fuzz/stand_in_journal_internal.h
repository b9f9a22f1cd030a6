/*
 * stand_in_journal_internal: what its parts share: stand_in_journal.c, and stand_in_servers.c for
 * locks and touches.
 */
#pragma once

#include "common/base/id.h"
#include "tests/fuzz/stand_in_journal.h"

struct stored_event {
    enum event_type type;
    char *json;
    size_t len;
};

struct stored_output {
    struct stored_output *next;
    uint32_t server, step;
    int32_t attempt;
    size_t len;
    char text[];
};

struct stored_touch {
    struct stored_touch *next;
    uint32_t server;
    bool undone;
    char name[];
};

/* One row, and the texts that it points to. */
struct stored_lock {
    struct stored_lock *next;
    struct journal_server_lock row;
    char *server, *by, *reason, *unlocked_by;
};

/* A rollout as it is stored, and an append, which is a piece of one. */
struct journal_append {
    struct journal_append *next;
    char id[ID_BUFFER];
    char *name, *by, *retry_of, *plan_text;
    size_t plan_len;
    bool create, has_summary;
    struct journal_summary summary;
    uint64_t expected_seq;
    struct stored_event *events;
    size_t event_count, event_capacity;
    struct stored_output *outputs;
    struct stored_touch *touches; /* one a server */
    struct stored_lock *lock;     /* of a lock's change, which is nothing else */
    void (*done)(void *ctx, enum error_code result, const struct error *err);
    void (*reached)(void *ctx); /* of a barrier, which is nothing else */
    void *ctx;
};

struct journal {
    struct journal_append *rollouts, *waiting;
    struct stored_lock *locks; /* by their servers' names; one a server */
    uint64_t appends;
};

/* The durable rollout of that id; NULL: none. */
struct journal_append *stand_find(const struct journal *j, const char *id);
/* Puts it behind what waits to become durable. */
void stand_wait(struct journal *j, struct journal_append *a);

/* ---- stand_in_servers.c ---------------------------------------------------------------------- */

void stand_touches_free(struct stored_touch *list);
void stand_touches_apply(struct journal_append *rollout, struct journal_append *a);
void stand_lock_free(struct stored_lock *lock);
/* Takes its lock out of `a`. */
void stand_lock_apply(struct journal *j, struct journal_append *a);
