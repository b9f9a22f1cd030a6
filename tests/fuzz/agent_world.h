/*
 * agent_world: the product's agent between stand-ins for its seams: a store in memory, a link whose
 * frames are kept, a runner whose operations end as the test says, a clock. Nothing happens by
 * itself: agent_world_step does one thing that is due.
 *
 * The store takes its memory through common/base/alloc.h where the real one does, and says
 * ERR_NO_MEMORY; what is on its disk stays there. It also watches: no step changes the host before
 * its capture and its beginning are durable, entries are numbered without a gap, nothing is begun
 * while something waits for a full disk, and nothing of a signed plan before it is durable that it
 * is spent.
 */
#pragma once

#include "agent/agent.h"
#include "common/base/buf.h"
#include "common/base/id.h"

#include <stdbool.h>
#include <stdint.h>

enum { WORLD_EXECUTIONS = 16, WORLD_STEPS = 256, WORLD_NONCES = 64 };

/* What the disk holds of one execution. */
struct stored {
    char rollout[ID_BUFFER];
    char *spec;
    size_t spec_len;
    char **entries; /* their texts */
    size_t entry_count;
    char *captures[WORLD_STEPS];
    struct undo_status status;
    int64_t first_seq; /* of the entries; 0: none yet */
    bool old;          /* past its retention */
};

struct pending; /* an append or an expiry that is not durable yet */

/* A nonce that is spent, which the disk keeps for ever. */
struct stored_nonce {
    char nonce[PLAN_NONCE_DIGITS + 1], rollout[ID_BUFFER];
};

struct agent_world {
    struct agent *agent;       /* NULL: not running */
    const struct trust *trust; /* of the next agent; NULL: none */
    struct stored_nonce nonces[WORLD_NONCES];
    size_t nonce_count;
    struct stored disk[WORLD_EXECUTIONS];
    size_t stored_count;
    char orchestrator[ID_BUFFER];
    int64_t epoch;
    struct pending *pending, *pending_last;
    struct buf sent; /* frames, each with a newline */
    bool refuse_sends;
    bool after_death;        /* what the next agent is told of the one before it */
    bool stalled;            /* the disk takes nothing for now: no append becomes durable */
    struct undo_usage usage; /* what the store says */
    bool cancelled;          /* the operation under way was asked to end */
    bool busy;               /* the runner has an operation */
    struct runner_operation operation;
    char rollout[ID_BUFFER]; /* of the operation */
    bool alarm;
    int64_t now_ms;
    const char *outcomes; /* how operations end, one letter each: see agent_world.c */
    char usual;           /* the letter when there are no more; 0: well */
    struct error why;     /* of `failed` */
    bool failed, quiet, dying;
    bool reboots;   /* a reboot was asked for: the next death is by it */
    unsigned boots; /* the machine's */
    char boot[24];  /* its id */
    unsigned operations;
    bool changed[WORLD_STEPS]; /* the host is as the step leaves it, and not as it was */
};

void agent_world_init(struct agent_world *w);
/* Makes an agent on what the disk holds, and starts it. */
enum error_code agent_world_start(struct agent_world *w, struct error *err) MUST_CHECK;
/* The agent dies, and with it what was not durable. */
void agent_world_kill(struct agent_world *w);
void agent_world_done(struct agent_world *w);

enum error_code agent_world_welcome(struct agent_world *w, int64_t epoch,
                                    struct error *err) MUST_CHECK;
/* A frame as its text; a fault of it is an error. */
enum error_code agent_world_frame(struct agent_world *w, const char *text, size_t len,
                                  struct error *err) MUST_CHECK;
/* Acknowledges everything that is durable, as an orchestrator does that has received it. */
enum error_code agent_world_ack_all(struct agent_world *w, struct error *err) MUST_CHECK;
/* Does one thing that is due: an append becomes durable, an operation ends, the alarm fires. False:
 * there is nothing, but for what a stalled disk keeps back. */
bool agent_world_step(struct agent_world *w);
/* Puts an execution onto the disk, as an earlier agent may have left it; NULL: there is no room. */
struct stored *agent_world_store(struct agent_world *w, const char *rollout);
bool stored_add_entry(struct stored *s, const char *text, size_t len);
