/* support_dispatch: a dispatcher on a real journal, with a clock and connections of the test's own.
 */
#pragma once

#include "common/base/id.h"
#include "common/wire/wire.h"
#include "orchestrator/dispatch/dispatcher.h"

#include <stdbool.h>
#include <stdint.h>

enum { BENCH_MAX_FRAMES = 128 };

/* One connection as the dispatcher sees it; keeps the frames that were sent. */
struct fake_conn {
    struct wire_frame frames[BENCH_MAX_FRAMES];
    size_t frame_count;
    bool closed;
    char reason[256];
    struct session *session;
};

struct bench {
    char dir[64];
    int wake[2];
    struct journal *journal;
    struct dispatcher *dispatcher;
    int64_t mono_ms, wall_ms;
    const char *held; /* for the next start */
    size_t fatal;
    size_t alarms;
    char last_alarm[256]; /* "agent.hello web-1: why" */
    size_t answers;
    enum error_code last_answer;
    char last_id[ID_BUFFER];
    uint64_t last_changed;
};

void bench_open(struct bench *b); /* makes a folder */
/* Closes journal and dispatcher and opens them again, as after a crash: nothing is said to agents.
 */
void bench_restart(struct bench *b);
void bench_close(struct bench *b); /* removes the folder */
/* Waits until all that was appended is durable and acted upon. */
void bench_settle(struct bench *b);
/* Lets time pass, doing what is due. */
void bench_pass(struct bench *b, int64_t ms);

/* Submits plan text; fails the test when it is refused. */
void bench_submit(struct bench *b, const char *id, const char *plan);
enum error_code bench_try_submit(struct bench *b, const char *id, const char *plan, bool no_wait,
                                 struct error *err);
/* Asks for a retry of `of`. */
enum error_code bench_retry(struct bench *b, const char *of, const char *id, struct error *err);
/* Orders the undo of all, or of one server (NULL: all). */
enum error_code bench_rollback(struct bench *b, const char *id, const char *server, bool force,
                               struct error *err);
enum error_code bench_resolve(struct bench *b, const char *id, const char *server,
                              enum execution_state as, struct error *err);
/* As "me", with the reason "disk swap". */
enum error_code bench_lock(struct bench *b, const char *server, struct error *err);
enum error_code bench_unlock(struct bench *b, const char *server, struct error *err);
enum rollout_state bench_state(struct bench *b, const char *id);
const struct execution *bench_execution(struct bench *b, const char *id, uint32_t server);

/* Agents that connect from now on know no checks, or know them again. */
void bench_old_agents(bool old);
/* The same of secrets alone. */
void bench_agents_before_secrets(bool before);
/* Connects an agent: session, hello (with what it is in the middle of), welcome awaited. */
void conn_connect(struct bench *b, struct fake_conn *c, const char *server, const char *instance,
                  const char *rollout);
void conn_say(struct fake_conn *c, const char *text);
void conn_frame(struct fake_conn *c, const struct wire_frame *frame);
/* Tells, durably, that the agent took the execution on; began its first step; ended so; undid it.
 */
void conn_started(struct bench *b, struct fake_conn *c, const char *rollout);
void conn_touched(struct bench *b, struct fake_conn *c, const char *rollout);
void conn_ended(struct bench *b, struct fake_conn *c, const char *rollout,
                enum execution_state state);
/* Entries from `seq` on. */
void conn_undone(struct bench *b, struct fake_conn *c, const char *rollout, int64_t seq,
                 enum execution_state state);
/* Sends a report of one entry. */
void conn_report(struct fake_conn *c, const char *rollout, struct wire_entry entry);
#define ENTRY(seq_, type_, step_, ...)                                                             \
    ((struct wire_entry){.seq = (seq_), .type = (type_), .step = (step_), __VA_ARGS__})
void conn_drop(struct fake_conn *c); /* the connection ends, and its frames are forgotten */
/* The frames of a type, and the last of them (NULL: none). */
size_t conn_count(const struct fake_conn *c, enum wire_type type);
const struct wire_frame *conn_last(const struct fake_conn *c, enum wire_type type);
