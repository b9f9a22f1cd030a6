/*
 * agent: one server's agent. It queues the executions that the orchestrator sends and runs them one
 * at a time, in order of arrival; it journals, then acts; it reports what is durable, and again
 * after a reconnect what is not acknowledged. While there is no connection everything goes on.
 *
 * It reaches the network, the disk, the handlers and the clock through the seams below alone, so
 * that a simulation can stand in for each.
 *
 * Threading: the owner's thread. I/O: none but through the seams, and log lines.
 */
#pragma once

#include "agent/runner.h"
#include "agent/trust.h"
#include "agent/undo_journal.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/plan/plan_json.h"
#include "common/values/value_set.h"
#include "common/wire/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AGENT_MAX_QUEUE = 1000,                     /* executions waiting for their turn */
    AGENT_REPORT_MAX_BYTES = 1024 * 1024,       /* of entries in one report, but always one */
    AGENT_REBOOT_ACK_MS = 5000,                 /* so long a reboot waits to be known of */
    AGENT_IN_FLIGHT_MAX_BYTES = 4 * 1024 * 1024 /* of reports sent and not acknowledged */
};

struct agent;

struct agent_link {
    void *ctx;
    /* See link_send. May cause agent_disconnected before it returns, but no other call. */
    bool (*send)(void *ctx, const char *data, size_t len, bool droppable);
    /* See link_renew: the next agent_welcome is of a connection made after this call. May cause
     * agent_disconnected before it returns, but no other call. */
    void (*renew)(void *ctx);
};

/* See undo_journal.h for what each does; the agent calls them for its own server. */
struct agent_store {
    void *ctx;
    enum error_code (*append)(void *ctx, const struct undo_append *append, struct error *err);
    enum error_code (*ack)(void *ctx, const char *server, const char *rollout, int64_t seq,
                           struct error *err);
    enum error_code (*save_epoch)(void *ctx, const char *server, const char *orchestrator,
                                  int64_t epoch, struct error *err);
    enum error_code (*epoch)(void *ctx, const char *server, const char *orchestrator,
                             int64_t *ret_epoch, struct error *err);
    enum error_code (*nonce)(void *ctx, const char *server, const char *nonce,
                             char ret_rollout[ID_BUFFER], struct error *err);
    enum error_code (*open_executions)(void *ctx, const char *server,
                                       enum error_code (*each)(void *each_ctx, const char *rollout,
                                                               const struct undo_status *status,
                                                               struct error *err),
                                       void *each_ctx, struct error *err);
    enum error_code (*find)(void *ctx, const char *server, const char *rollout, int64_t time_ms,
                            struct undo_status *ret_status, struct error *err);
    enum error_code (*load)(void *ctx, const char *server, const char *rollout,
                            struct undo_image *ret_image, struct error *err);
    enum error_code (*entries)(void *ctx, const char *server, const char *rollout,
                               const struct undo_portion *portion, struct array *ret_entries,
                               struct error *err);
    enum error_code (*capture)(void *ctx, const char *server, const char *rollout, uint32_t step,
                               char **ret_undo, struct error *err);
    enum error_code (*folder)(void *ctx, const char *server, const char *rollout, uint32_t step,
                              char ret_path[UNDO_FILES_PATH_MAX], struct error *err);
    struct undo_usage (*usage)(void *ctx);
    /* See undo_journal_expire. */
    enum error_code (*expire)(void *ctx, int64_t time_ms,
                              void (*done)(void *done_ctx, enum error_code result), void *done_ctx,
                              struct error *err);
    /* Nothing can be written for now. */
    bool (*stalled)(void *ctx);
};

struct agent_runner {
    void *ctx;
    /* See runner_start; ends in agent_operation_done, perhaps before this returns. */
    void (*start)(void *ctx, const struct runner_operation *operation);
    void (*cancel)(void *ctx);
    void (*clean)(void *ctx, const char *rollout, const char *step); /* see runner_clean */
};

struct agent_clock {
    void *ctx;
    int64_t (*wall_ms)(void *ctx);
    int64_t (*mono_ms)(void *ctx);
    /* One alarm per agent: agent_alarm is called after so long. Setting it moves it. */
    void (*set)(void *ctx, int64_t delay_ms);
    void (*stop)(void *ctx);
};

struct agent_owner {
    void *ctx;
    /* The agent cannot go on: its journal cannot be written or read, or memory is out. It does
     * nothing more; restarted, it goes on from its journal. */
    void (*failed)(void *ctx, const struct error *err);
    /* After agent_stop: nothing is under way any more. */
    void (*quiet)(void *ctx);
    /* Has the machine rebooted; what the agent says of it is durable. agent_stayed_up follows, but
     * not before this returns, when nothing comes of it. */
    void (*reboot)(void *ctx);
    /* Not any more. False: it was asked for, and cannot be called off. */
    bool (*reboot_withdraw)(void *ctx);
};

/* What hello says; all borrowed until agent_free. */
struct agent_identity {
    char *server;
    char *instance;
    char *version;
    char *hostname; /* NULL: not known */
    char *boot_id;  /* NULL: not known */
};

/* What the server is to a plan; NULL: nothing. */
struct agent_values {
    void *ctx;
    const struct value_set *labels; /* borrowed until agent_free */
    /* As it is now, or was a little before; borrowed until the next call. NULL: none can be had. */
    const struct value_set *(*facts)(void *ctx);
};

struct agent_config {
    struct agent_identity identity;
    struct agent_values values;
    const struct step_catalog *catalog; /* borrowed */
    /* Nothing is begun but what these keys have signed (borrowed until agent_free); NULL: anything
     * is. What the journal has of it was begun, and goes on. */
    const struct trust *trust;
    /* The agent before this one died. What this one begins first is on record before anything of it
     * runs, so that what kills its agent each time is found out. */
    bool after_death;
    struct agent_link link;
    struct agent_store store;
    struct agent_runner runner;
    struct agent_clock clock;
    struct agent_owner owner;
};

/* Reads from the store what is open. Caller owns. */
enum error_code agent_new(const struct agent_config *config, struct agent **ret_agent,
                          struct error *err) MUST_CHECK;
/* Nothing may be under way, in the runner or in the store. NULL is fine. */
void agent_free(struct agent *a);

/* Goes on with what an earlier agent left open. */
void agent_start(struct agent *a);
/* Begins nothing more: no execution, no step. What is under way may end; then `quiet` is called,
 * perhaps before this returns. */
void agent_stop(struct agent *a);
/* After agent_stop: ends the operation under way. Its step has no recorded end then, so that the
 * next agent finds it in doubt. */
void agent_interrupt(struct agent *a);

/* True while an operation of a step is under way. */
bool agent_busy(const struct agent *a);
/* The machine is to be rebooted, by this agent or another one: no operation is begun until it is
 * said that it is not. */
void agent_hold(struct agent *a, bool hold);
/* The reboot that was asked for is not to be. */
void agent_stayed_up(struct agent *a, const struct error *why);

/* Something about the machine that plans ask for is another by now: it is told with the next
 * report.
 */
void agent_facts_changed(struct agent *a);

/* ---- From the link ------------------------------------------------------------------------- */

/* Appends the hello frame. */
void agent_hello(struct agent *a, struct buf *b);
/* ERR_STALE: its epoch is below the highest seen of that orchestrator; it must not be obeyed. */
enum error_code agent_welcome(struct agent *a, const struct wire_welcome *welcome,
                              struct error *err) MUST_CHECK;
/* execute, rollback, cancel, ack; `text` is the frame as it came. Takes what it needs out of
 * `frame`. Anything but ERR_OK is a reason to end the connection. */
enum error_code agent_receive(struct agent *a, struct wire_frame *frame, const char *text,
                              size_t len, struct error *err) MUST_CHECK;
void agent_disconnected(struct agent *a);

/* ---- From the runner and the clock --------------------------------------------------------- */

void agent_operation_done(struct agent *a, const struct handler_result *result, const char *output);
void agent_operation_output(struct agent *a, int64_t offset, const char *text);
void agent_alarm(struct agent *a);
