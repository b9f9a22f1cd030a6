/*
 * The agent, from an execute to its undoing, with every allocation of every step of it failing. It
 * may end a connection or say that it cannot go on and be started again; in the end its server is
 * as if memory had never been out, and what its steps printed is on record, or that it was lost.
 */
#include "agent/executor.h"
#include "alloc/alloc.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "tests/fuzz/agent_world.h"
#include "unit/agent/support_sealed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STEPS_MAX = 1000, EPOCH = 3 };

#define FRAME(type, rest) "{\"v\":1,\"type\":\"" type "\",\"rollout\":\"r1\",\"epoch\":3," rest "}"
#define STEPS                                                                                      \
    "{\"name\":\"w\",\"type\":\"file_write\",\"params\":{\"path\":\"/x\",\"content\":\"y\"},"      \
    "\"retry\":{\"maximumAttempts\":50}},{\"name\":\"e\",\"type\":\"echo\",\"params\":{"           \
    "\"message\":\"m\"},\"retry\":{\"maximumAttempts\":50}}"
#define CONFIRM_MS 60000
static const char unsigned_execute[] =
    FRAME("execute", "\"rollbackOnFailure\":true,\"confirmMs\":60000,\"steps\":[" STEPS "]");
static const char rollback[] = FRAME("rollback", "\"round\":1");

/* What all plays of a test are told; with a rig the agent has trusted keys. */
static const char *execute = unsigned_execute;
static const struct sealed_rig *sealed;

struct play {
    struct alloc_world base;
    struct agent_world world;
    bool connected, executed, undo_asked;
    bool confirmed; /* over this connection */
};

/* ---- The orchestrator's side ----------------------------------------------------------------- */

static const struct stored *stored_of(const struct play *p)
{
    return p->world.stored_count > 0 ? &p->world.disk[0] : NULL;
}

static bool on_record(const struct play *p, const char *what)
{
    const struct stored *s = stored_of(p);
    for (size_t i = 0; s != NULL && i < s->entry_count; i++)
        if (strstr(s->entries[i], what) != NULL)
            return true;
    return false;
}

/* What cannot be taken ends the connection, as it does with the real link. */
static void tell(struct play *p, enum error_code code)
{
    if (code == ERR_OK)
        return;
    agent_disconnected(p->world.agent);
    p->connected = false;
}

static void say(struct play *p, const char *frame, bool *said)
{
    struct error err = {0};
    enum error_code code = agent_world_frame(&p->world, frame, strlen(frame), &err);
    *said = code == ERR_OK;
    tell(p, code);
}

static void connect_again(struct play *p)
{
    struct buf hello = BUF_INIT;
    struct error err = {0};
    p->confirmed = false;
    agent_disconnected(p->world.agent);
    agent_hello(p->world.agent, &hello);
    p->connected =
        buf_check(&hello, NULL) == ERR_OK && agent_world_welcome(&p->world, EPOCH, &err) == ERR_OK;
    buf_done(&hello);
}

/* ---- The play -------------------------------------------------------------------------------- */

/* A process that cannot go on ends; the next one finds what is on the disk. */
static bool start(struct play *p)
{
    struct error err = {0};
    if (p->world.agent != NULL && !p->world.failed)
        return false;
    if (p->world.agent != NULL)
        agent_world_kill(&p->world);
    p->connected = false;
    /* What was not on the disk is asked for again. */
    p->executed = stored_of(p) != NULL;
    p->undo_asked = on_record(p, "\"rollback_started\"");
    if (agent_world_start(&p->world, &err) != ERR_OK && err.code != ERR_NO_MEMORY)
        fail_msg("it does not start: %s", err.message);
    return true;
}

static bool acknowledge(struct play *p)
{
    const struct stored *s = stored_of(p);
    struct error err = {0};
    if (s == NULL || s->status.acked_seq >= s->status.last_seq)
        return false;
    tell(p, agent_world_ack_all(&p->world, &err));
    return true;
}

/* Whatever was acknowledged before, over each new connection it is said again; and before the time
 * for it is over. */
static bool confirm(struct play *p)
{
    struct error err = {0};
    if (p->confirmed || !on_record(p, "\"confirming\"") || on_record(p, "\"ended\""))
        return false;
    p->confirmed = true;
    tell(p, agent_world_ack_all(&p->world, &err));
    return true;
}

static bool play_step(struct play *p)
{
    if (start(p))
        return true;
    if (!p->connected || p->world.refuse_sends) {
        connect_again(p);
        return true;
    }
    if (!p->executed) {
        say(p, execute, &p->executed);
        return true;
    }
    if (confirm(p))
        return true;
    if (agent_world_step(&p->world))
        return true;
    if (!p->undo_asked && on_record(p, "\"ended\"")) {
        say(p, rollback, &p->undo_asked);
        return true;
    }
    return acknowledge(p);
}

static void begin(void *play)
{
    struct play *p = play;
    agent_world_init(&p->world);
    p->world.usual = 'p';
    if (sealed) {
        p->world.trust = sealed->trust;
        p->world.now_ms = clock_wall_ms();
    }
}

static void end(void *play)
{
    agent_world_done(&((struct play *)play)->world);
}

/* ---- What there is to see -------------------------------------------------------------------- */

/* What is told of the step's success: with its output, or with the word that it was lost. */
static void look_step(const struct play *p, const char *step, struct buf *b)
{
    const struct stored *s = stored_of(p);
    for (size_t i = 0; i < s->entry_count; i++) {
        const char *entry = s->entries[i];
        if (strstr(entry, "\"step_ended\"") == NULL || strstr(entry, step) == NULL)
            continue;
        bool kept = strstr(entry, "\"output\":\"printed\\n\"") != NULL ||
                    strstr(entry, "output was lost") != NULL;
        buf_printf(b, "%s %s, its output %s\n", step,
                   strstr(entry, "\"succeeded\"") != NULL ? "succeeded" : "failed",
                   kept ? "is known" : "is gone");
    }
}

static void look(void *play, struct buf *b)
{
    struct play *p = play;
    for (int i = 0; play_step(p); i++)
        assert_true(i < STEPS_MAX);
    look_step(p, "\"step\":0", b);
    look_step(p, "\"step\":1", b);
    buf_printf(
        b, "%s, %s, %s; %s; settled: %d\n",
        on_record(p, "\"type\":\"ended\"") && on_record(p, "\"state\":\"succeeded\"") ? "succeeded"
                                                                                      : "failed",
        on_record(p, "not confirmed") ? "not confirmed" : "confirmed",
        on_record(p, "\"type\":\"rolled_back\"") && !on_record(p, "\"state\":\"rollback_failed\"")
            ? "rolled back"
            : "not rolled back",
        p->world.changed[0] ? "changed" : "as it was", stored_of(p)->status.settled);
}

static enum error_code run_step(void *play, struct error *err)
{
    (void)err;
    (void)play_step(play);
    return ERR_OK;
}

static void begin_at(void *play)
{
    struct play *p = play;
    const unsigned *step = p->base.param;
    begin(play);
    for (unsigned i = 0; i < *step; i++)
        (void)play_step(p);
}

static void sweep_each_step(const char *what)
{
    struct play whole = {0};
    unsigned count = 0;
    uint64_t points = 0;
    begin(&whole);
    while (play_step(&whole))
        count++;
    assert_true(on_record(&whole, "\"confirming\"") && !on_record(&whole, "not confirmed"));
    end(&whole);
    assert_true(count > 12 && count < STEPS_MAX);
    for (unsigned step = 0; step < count; step++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "agent: %s: step %u of %u", what, step + 1, count);
        const struct alloc_op op = {.name = name,
                                    .world_size = sizeof(struct play),
                                    .param = &step,
                                    .begin = begin_at,
                                    .run = run_step,
                                    .look = look,
                                    .end = end,
                                    .once_only = true};
        points += alloc_sweep(&op);
    }
    print_message("agent: %s: %llu allocations in %u steps\n", what, (unsigned long long)points,
                  count);
}

static void nothing_is_lost_at_any_step_of_an_execution(void **state)
{
    (void)state;
    sweep_each_step("any plan");
}

static void nothing_is_lost_of_a_signed_plan_and_it_runs_once(void **state)
{
    struct sealed_rig rig;
    (void)state;
    sealed_rig_init(&rig);
    rig.epoch = EPOCH;
    rig.confirm_ms = CONFIRM_MS;
    sealed_rig_sign(&rig, STEPS);
    AUTO_FREE char *frame = sealed_rig_frame(&rig, "r1", 1);
    sealed = &rig;
    execute = frame;
    sweep_each_step("a signed plan");
    execute = unsigned_execute;
    sealed = NULL;
    sealed_rig_done(&rig);
}

/* ---- After a crash --------------------------------------------------------------------------- */

/* The agent died when its first step was under way. */
static void begin_crashed(void *play)
{
    struct play *p = play;
    begin(play);
    for (int i = 0; !p->world.busy || p->world.operation.operation != HANDLER_EXECUTE; i++) {
        assert_true(i < STEPS_MAX);
        (void)play_step(p);
    }
    agent_world_kill(&p->world);
}

static enum error_code run_start(void *play, struct error *err)
{
    struct play *p = play;
    enum error_code code = agent_world_start(&p->world, err);
    if (code == ERR_OK && p->world.failed) {
        *err = p->world.why;
        code = err->code;
    }
    return code;
}

static enum error_code start_again(void *play, struct error *err)
{
    struct play *p = play;
    if (p->world.agent != NULL)
        agent_world_kill(&p->world);
    return run_start(play, err);
}

static void an_agent_takes_up_everything_or_is_started_again(void **state)
{
    (void)state;
    const struct alloc_op op = {.name = "agent: start after a crash",
                                .world_size = sizeof(struct play),
                                .begin = begin_crashed,
                                .run = run_start,
                                .look = look,
                                .again = start_again,
                                .end = end};
    assert_true(alloc_sweep(&op) > 0);
}

/* ---- The executor ---------------------------------------------------------------------------- */

struct sequence {
    struct alloc_world base;
    struct executor *executor;
};

static enum error_code run_executor(void *world, struct error *err)
{
    static const struct executor_traits traits[2];
    static char name[] = "s";
    static const struct plan_step steps[2] = {{.name = name, .timeout_ms = 1},
                                              {.name = name, .timeout_ms = 1}};
    const struct executor_config config = {.steps = steps, .traits = traits, .count = 2};
    return executor_new(&config, &((struct sequence *)world)->executor, err);
}

/* It allocates only in executor_new. */
static void look_executor(void *world, struct buf *b)
{
    struct executor *x = ((struct sequence *)world)->executor;
    struct executor_event event = {.type = EXECUTOR_BEGIN};
    struct executor_action action;
    assert_int_equal(buf_reserve(b, 1024, NULL), ERR_OK);
    mem_fail_after(0);
    executor_step(x, &event);
    for (bool over = false; !over;) {
        while (executor_next(x, &action)) {
            buf_printf(b, "%d ", action.type);
            over = over || action.type == EXECUTOR_FINISHED;
            event.type = action.type == EXECUTOR_PREPARE ? EXECUTOR_PREPARED : EXECUTOR_EXECUTED;
        }
        if (!over)
            executor_step(x, &event);
    }
    uint64_t failed = mem_fail_count();
    mem_fail_never();
    assert_int_equal(failed, 0);
}

static void end_executor(void *world)
{
    executor_free(((struct sequence *)world)->executor);
}

static void an_executor_needs_memory_at_its_beginning_alone(void **state)
{
    (void)state;
    const struct alloc_op op = {.name = "executor: new, and an execution",
                                .world_size = sizeof(struct sequence),
                                .run = run_executor,
                                .look = look_executor,
                                .end = end_executor};
    assert_int_equal(alloc_sweep(&op), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_executor_needs_memory_at_its_beginning_alone),
        cmocka_unit_test(nothing_is_lost_at_any_step_of_an_execution),
        cmocka_unit_test(nothing_is_lost_of_a_signed_plan_and_it_runs_once),
        cmocka_unit_test(an_agent_takes_up_everything_or_is_started_again),
    };
    log_setup(LOG_LOGFMT, LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
