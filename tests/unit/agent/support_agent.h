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
    struct buf facts;        /* of reports, each ended by a newline */
    struct buf messages;     /* of the entries, each ended by a newline */
    int64_t retention_ms;    /* of the next agent; 0: the default */
    int64_t undo_max_bytes;  /* the same; 0: no limit */
    const char *boot_id;     /* the same; NULL: this machine's */
    const char *reboots_by;  /* the same: what reboots it; NULL: it refuses */
    bool old_orchestrator;   /* that knows no reboots */
    bool keeps_connection;   /* does not drop it where a new one is wanted */
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
/* Runs the loop once, and acknowledges. */
void agent_rig_pass(struct agent_rig *r);
/* Runs the loop until what was sent contains the text. */
void agent_rig_await(struct agent_rig *r, const char *text);
/* Runs the loop until nothing is under way and all is on the disk. */
void agent_rig_settle(struct agent_rig *r);
/* What was sent since the last call; borrowed until the next report. */
const char *agent_rig_sent(struct agent_rig *r);
/* The executions that hello lists, as "r1/4 r2/1 "; static storage. */
const char *agent_rig_hello(struct agent_rig *r);

/* ---- For tests ------------------------------------------------------------------------------ */

#define ECHO_STEP "{\"name\":\"e\",\"type\":\"echo\",\"params\":{\"message\":\"hello\"}}"
#define ROLLBACK(rollout) "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"" rollout "\",\"epoch\":1}"
#define CANCEL(rollout, now)                                                                       \
    "{\"v\":1,\"type\":\"cancel\",\"rollout\":\"" rollout "\",\"epoch\":1,\"now\":" now "}"
/* A further order, which may be forced. */
#define ROUND(rollout, round, force)                                                               \
    "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"" rollout "\",\"epoch\":1,\"round\":" round      \
    ",\"force\":" force "}"

/* The state of a test is its rig. */
int agent_rig_set_up(void **state);
int agent_rig_tear_down(void **state);

/* A step that runs a shell with the text, which may use the folder's path as %s; `more`: further
 * fields. Good until the fourth next call. */
const char *agent_rig_shell(const struct agent_rig *r, const char *name, const char *text,
                            const char *more);
/* A step that writes the file "target" of the folder. */
const char *agent_rig_write(const struct agent_rig *r, const char *content);
const char *agent_rig_join(const char *a, const char *b);
/* A step waits at a gate until the test opens it. */
#define AT_GATE "read x < %s/gate"
int agent_rig_gate(const struct agent_rig *r);
void agent_rig_open_gate(int fd);
/* Runs an agent in a process of its own, which one of its steps kills; then goes on here. `steps`:
 * NULL when it has them already. */
void agent_rig_until_killed(struct agent_rig *r, const char *steps);
