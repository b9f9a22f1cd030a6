/*
 * support_agent: an agent with the real journal, handlers, clock and loop, and in place of the
 * connection a text of what it sent, for example
 *
 *     [r1 1:started 2:begun0.1 3:0=succeeded 4:ended=succeeded]
 */
#pragma once

#include "agent/agent_state.h"
#include "agent/host_internal.h"
#include "common/base/buf.h"
#include "unit/agent/support_folder.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { RIG_ACKS_MAX = 64 };

struct agent_rig {
    struct folder folder;
    uv_loop_t loop;
    uv_timer_t guard; /* ends a test that waits for what does not come */
    struct host *host;
    struct agent *agent;
    struct buf sent;         /* reports, as above */
    struct buf output;       /* live output, as "offset:text" */
    struct buf last_outputs; /* the outputs in step_ended, each ended by a newline */
    struct buf messages;     /* of the entries, each ended by a newline */
    bool refuse_sends;       /* the connection is gone, but the agent does not know */
    int renewals;            /* how often the agent wanted a new connection */
    bool failed, stopped;
    bool ack;                          /* acknowledge every report, soon */
    struct wire_ack due[RIG_ACKS_MAX]; /* what is to be acknowledged */
    size_t due_count;
};

/* Makes the folder, then begins. */
void agent_rig_init(struct agent_rig *r);
/* An agent on what the folder holds; it is not connected. */
void agent_rig_begin(struct agent_rig *r);
/* Ends the agent as SIGTERM does; what runs is given that long. */
void agent_rig_end(struct agent_rig *r, int64_t grace_ms);
void agent_rig_restart(struct agent_rig *r);
void agent_rig_done(struct agent_rig *r);

void agent_rig_connect(struct agent_rig *r, int64_t epoch);
/* Gives the agent a frame: "rollback", "cancel", ... of the epoch 1. */
void agent_rig_frame(struct agent_rig *r, const char *json);
void agent_rig_execute(struct agent_rig *r, const char *rollout, const char *steps);
void agent_rig_ack(struct agent_rig *r, const char *rollout, int64_t seq);
/* Runs the loop until what was sent contains the text. */
void agent_rig_await(struct agent_rig *r, const char *text);
/* Runs the loop until nothing is under way and all is on the disk. */
void agent_rig_settle(struct agent_rig *r);
/* What was sent since the last call; borrowed until the next report. */
const char *agent_rig_sent(struct agent_rig *r);
/* The executions that hello lists, as "r1/4 r2/1 "; static storage. */
const char *agent_rig_hello(struct agent_rig *r);
