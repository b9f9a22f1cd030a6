/*
 * failpoint: named places at the borders of what is durable, where a test ends the process or makes
 * the operation fail.
 *
 * They are there in builds with -DKITSUNE_FAILPOINTS=ON alone. In all others FAILPOINT and
 * FAILPOINT_FAILS are nothing, and the programs hold neither code nor names of them.
 *
 * The environment says what is to happen, once per process:
 *
 *     KITSUNE_FAILPOINT=agent.undo.begun=kill@3   SIGKILL when it is passed for the third time
 *     KITSUNE_FAILPOINT=writer.commit=error@3     the third one fails (points marked so below)
 *     KITSUNE_FAILPOINT=count:/tmp/passed         at exit, one line "NAME TIMES" per point
 *
 * Threading: safe. I/O: the file of counts, at exit.
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>

/* X(constant, name, can be told to fail, where it stands).
 * Two threads pass them: "writer" and "db" stand on the journal's, "file" on the thread pool's, all
 * others on the loop's. ".before" is before the thing is begun; ".after" says no more than that it
 * was handed on: a frame has left the process only at "net.sent". */
#define FAILPOINTS(X)                                                                              \
    /* Both programs. */                                                                           \
    X(FAIL_DB_MIGRATE, "db.migrate", false, "a schema step is made, and not committed")            \
    X(FAIL_WRITER_COMMIT, "writer.commit", true, "a group is applied, and not committed")          \
    X(FAIL_WRITER_COMMITTED, "writer.committed", false, "it is durable, and nobody knows yet")     \
    X(FAIL_NET_SENT, "net.sent", false, "a piece of a WebSocket message is with the kernel")       \
    /* The orchestrator. */                                                                        \
    X(FAIL_EPOCH_BEFORE, "journal.epoch.before", false, "an epoch is to begin")                    \
    X(FAIL_EPOCH_BETWEEN, "journal.epoch.between", false, "it is in journal.db, not in DIR/epoch") \
    X(FAIL_EPOCH_AFTER, "journal.epoch.after", false, "it is in both")                             \
    X(FAIL_RESTORED, "dispatch.restored", false, "the open rollouts are loaded")                   \
    X(FAIL_DEADLINE_BEFORE, "dispatch.deadline.before", false, "a deadline of a rollout passed")   \
    X(FAIL_RECEIVE_BEFORE, "dispatch.report.before", false, "a report came, nothing is done yet")  \
    X(FAIL_APPEND_BEFORE, "dispatch.append.before", false, "the engine has moved on, alone")       \
    X(FAIL_EFFECT_BEFORE, "dispatch.effect.before", false, "events are durable, nothing followed") \
    X(FAIL_ACK_BEFORE, "dispatch.ack.before", false, "an agent is to be told what is durable")     \
    X(FAIL_ACK_AFTER, "dispatch.ack.after", false, "the ack is queued for sending")                \
    X(FAIL_EXECUTE_BEFORE, "dispatch.execute.before", false, "a server is to start")               \
    X(FAIL_EXECUTE_AFTER, "dispatch.execute.after", false, "the execute is queued for sending")    \
    X(FAIL_ROLLBACK_BEFORE, "dispatch.rollback.before", false, "a server is to be undone")         \
    X(FAIL_ROLLBACK_AFTER, "dispatch.rollback.after", false, "the rollback is queued for sending") \
    X(FAIL_CANCEL_BEFORE, "dispatch.cancel.before", false, "a server is to stop")                  \
    X(FAIL_CANCEL_AFTER, "dispatch.cancel.after", false, "the cancel is queued for sending")       \
    X(FAIL_ANSWER_BEFORE, "dispatch.answer.before", false, "a person's command is durable")        \
    X(FAIL_ANSWER_AFTER, "dispatch.answer.after", false, "the answer is queued for sending")       \
    /* The agent. */                                                                               \
    X(FAIL_AGENT_EPOCH_BEFORE, "agent.epoch.before", false, "a higher epoch was seen")             \
    X(FAIL_AGENT_EPOCH_AFTER, "agent.epoch.after", false, "it is with the writer")                 \
    X(FAIL_AGENT_COMMAND, "agent.command.before", false, "a command came, nothing is done yet")    \
    X(FAIL_AGENT_APPEND, "agent.append.before", false, "entries exist in memory alone")            \
    X(FAIL_AGENT_DURABLE, "agent.durable.before", false, "they are durable, nothing followed")     \
    X(FAIL_AGENT_REPORT_BEFORE, "agent.report.before", false, "durable entries are to be sent")    \
    X(FAIL_AGENT_REPORT_AFTER, "agent.report.after", false, "the report is queued for sending")    \
    X(FAIL_AGENT_ACK_BEFORE, "agent.ack.before", false, "an ack came, nothing is done yet")        \
    X(FAIL_AGENT_ACK_AFTER, "agent.ack.after", false, "it is with the writer")                     \
    X(FAIL_AGENT_RESUME, "agent.resume.before", false, "an execution is to be gone on with")       \
    X(FAIL_AGENT_EXPIRE, "agent.expire.between", false, "undo files are gone, their record not")   \
    /* Three for each operation of a step, in the order of its sequel. */                          \
    X(FAIL_AGENT_PREPARE_BEFORE, "agent.prepare.before", false, "a step is to be captured")        \
    X(FAIL_AGENT_PREPARE_BEGUN, "agent.prepare.begun", false, "the handler has it")                \
    X(FAIL_AGENT_PREPARE_ENDED, "agent.prepare.ended", false, "it is over, nothing is recorded")   \
    X(FAIL_AGENT_EXECUTE_BEFORE, "agent.execute.before", false, "a step is on record as begun")    \
    X(FAIL_AGENT_EXECUTE_BEGUN, "agent.execute.begun", false, "the handler has it")                \
    X(FAIL_AGENT_EXECUTE_ENDED, "agent.execute.ended", false, "it is over, nothing is recorded")   \
    X(FAIL_AGENT_UNDO_BEFORE, "agent.undo.before", false, "a step is to be undone")                \
    X(FAIL_AGENT_UNDO_BEGUN, "agent.undo.begun", false, "the handler has it")                      \
    X(FAIL_AGENT_UNDO_ENDED, "agent.undo.ended", false, "it is over, nothing is recorded")         \
    X(FAIL_IDENTITY_KEY, "identity.key", false, "a key is there, no certificate is asked for")     \
    X(FAIL_IDENTITY_ANSWER, "identity.answer", false, "a certificate came, and is not saved")      \
    X(FAIL_IDENTITY_SAVED, "identity.saved", false, "it is saved; its key still lies apart")       \
    X(FAIL_IDENTITY_DONE, "identity.done", false, "it is saved; the ticket is still there")        \
    X(FAIL_FILE_REPLACE, "file.replace", false, "a file's new form lies beside it")                \
    X(FAIL_FILE_REPLACED, "file.replaced", false, "it is in its place, its folder not synced")     \
    X(FAIL_FILE_REMOVED, "file.removed", false, "a file is removed, its folder not synced")

#define X(point, name, can_fail, where) point,
enum failpoint { FAILPOINTS(X) FAILPOINT_COUNT };
#undef X

#ifdef KITSUNE_FAILPOINTS

/* At the start of main, before anything is passed. ERR_INVALID: the environment names a point or an
 * action that does not exist. */
enum error_code failpoint_setup(struct error *err) MUST_CHECK;
void failpoint_pass(enum failpoint point);
/* True when this pass is the one that is to fail. */
bool failpoint_fails(enum failpoint point) MUST_CHECK;

#define FAILPOINT(point) failpoint_pass(point)
#define FAILPOINT_FAILS(point) failpoint_fails(point)

#else

/* Of an unoptimised build it would else be the one trace. */
__attribute__((always_inline)) static inline enum error_code
failpoint_setup(const struct error *err)
{
    (void)err;
    return ERR_OK;
}

#define FAILPOINT(point) ((void)(point))
#define FAILPOINT_FAILS(point) ((void)(point), false)

#endif
