#include "agent/executor.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum phase {
    PHASE_NEW,
    PHASE_PREPARING,
    PHASE_EXECUTING,
    PHASE_WAITING, /* for the next attempt */
    PHASE_UNDOING,
    PHASE_UNDO_WAITING,
    PHASE_ENDED,
    PHASE_ROLLED_BACK
};

/* Why the operation under way was asked to end. */
enum stop { STOP_NONE, STOP_TIMEOUT, STOP_CANCEL };

/* The longest chain that one event causes: a cancelled wait whose execution is undone, with nothing
 * to undo (TIMER_STOP, step ended, ended, rollback started, rolled back, FINISHED), and room. */
enum { QUEUE_MAX = 8 };

struct track {
    enum step_state state;
    int32_t attempt;     /* number of the last one */
    int32_t failures;    /* attempts that failed and were to be followed by another */
    int32_t interrupted; /* attempts that the agent's death cut off */
    bool open;           /* an attempt began, and its end is not recorded */
    bool executed;       /* the host may have been changed: part of a rollback */
    bool captured;
    bool undone; /* recorded as rolled back, or as impossible to roll back */
};

struct executor {
    const struct plan_step *steps;
    uint32_t count;
    bool rollback_on_failure;
    enum phase phase;
    enum stop stop;
    bool cancelled; /* no further step begins */
    bool rollback;  /* undo once it has ended */
    bool began, ended, undo_began, undo_wanted;
    uint32_t step; /* the one under way; while undoing, all from here on are done with */
    int64_t undo_attempt;
    int64_t begun_ms;
    int64_t undo_began_ms;
    uint32_t undo_failures;
    size_t queue_head, queue_count;
    struct executor_action queue[QUEUE_MAX];
    char step_message[EXECUTOR_MESSAGE_MAX];
    char end_message[EXECUTOR_MESSAGE_MAX];
    char undo_message[EXECUTOR_MESSAGE_MAX];
    struct executor_traits *traits;
    struct track track[];
};

/* ---- Life -------------------------------------------------------------------------------- */

enum error_code executor_new(const struct executor_config *config, struct executor **ret_executor,
                             struct error *err)
{
    assert(config->count <= PLAN_MAX_STEPS);
    size_t size = sizeof(struct executor) +
                  config->count * (sizeof(struct track) + sizeof(struct executor_traits));
    struct executor *x = mem_zalloc(size);
    if (!x)
        return error_set(err, ERR_NO_MEMORY, NULL);
    x->steps = config->steps;
    x->count = (uint32_t)config->count;
    x->rollback_on_failure = config->rollback_on_failure;
    x->traits = (struct executor_traits *)(void *)&x->track[config->count];
    if (config->count > 0)
        memcpy(x->traits, config->traits, config->count * sizeof(*x->traits));
    *ret_executor = x;
    return ERR_OK;
}

void executor_free(struct executor *x)
{
    mem_free(x);
}

bool executor_next(struct executor *x, struct executor_action *ret_action)
{
    if (x->queue_head == x->queue_count) {
        x->queue_head = x->queue_count = 0;
        return false;
    }
    *ret_action = x->queue[x->queue_head++];
    return true;
}

bool executor_undoing(const struct executor *x)
{
    return x->undo_began && x->phase != PHASE_ROLLED_BACK;
}

/* ---- Actions ----------------------------------------------------------------------------- */

static struct executor_action *emit(struct executor *x, enum executor_action_type type)
{
    assert(x->queue_count < QUEUE_MAX);
    struct executor_action *action = &x->queue[x->queue_count++];
    *action = (struct executor_action){.type = type, .step = x->step};
    return action;
}

static struct executor_record *record(struct executor *x, enum report_type type, int64_t time_ms)
{
    struct executor_record *r = &emit(x, EXECUTOR_RECORD)->record;
    r->type = type;
    r->time_ms = time_ms;
    r->step = EXECUTOR_NO_STEP;
    return r;
}

static struct executor_record *record_step(struct executor *x, enum report_type type,
                                           int64_t time_ms, int64_t attempt, enum step_state state)
{
    struct executor_record *r = record(x, type, time_ms);
    r->step = (int32_t)x->step;
    r->attempt = attempt;
    r->state = (int)state;
    return r;
}

static void record_result(struct executor_record *r, const struct executor_result *result)
{
    r->changed = result->changed;
    r->has_exit_code = result->has_exit_code;
    r->exit_code = result->exit_code;
    r->duration_ms = result->duration_ms;
}

static const char *text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static int64_t since(int64_t from_ms, int64_t to_ms)
{
    return to_ms > from_ms ? to_ms - from_ms : 0; /* the wall clock may have been set back */
}

static PRINTF_LIKE(2, 3) void message_set(char text[EXECUTOR_MESSAGE_MAX], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, EXECUTOR_MESSAGE_MAX, fmt, args);
    va_end(args);
}

/* "step 2 (upgrade): what went wrong", counted from 1 as people do. */
static void message_about_step(const struct executor *x, char text[EXECUTOR_MESSAGE_MAX],
                               const char *what)
{
    message_set(text, "step %" PRIu32 " (%s): %s", x->step + 1, x->steps[x->step].name, what);
}

/* ---- Undoing ----------------------------------------------------------------------------- */

static void undo_attempt(struct executor *x)
{
    int64_t limit = x->steps[x->step].timeout_ms;
    x->phase = PHASE_UNDOING;
    x->stop = STOP_NONE;
    struct executor_action *action = emit(x, EXECUTOR_UNDO);
    action->attempt = x->undo_attempt;
    action->timeout_ms =
        limit > EXECUTOR_UNDO_TIMEOUT_MIN_MS ? limit : EXECUTOR_UNDO_TIMEOUT_MIN_MS;
    /* That this execution is being undone must be on record before it is: after a crash, half of it
     * undone, it would otherwise go forward again. */
    action->durable_first = true;
}

/* The last step that may have changed the host and is not dealt with yet. */
static bool undo_find(const struct executor *x, uint32_t *ret_step)
{
    for (uint32_t i = x->step; i > 0; i--) {
        const struct track *t = &x->track[i - 1];
        if (t->executed && !t->undone) {
            *ret_step = i - 1;
            return true;
        }
    }
    return false;
}

static void undo_next(struct executor *x, int64_t time_ms)
{
    uint32_t step;
    if (undo_find(x, &step)) {
        x->step = step;
        x->undo_attempt = 1;
        undo_attempt(x);
        return;
    }
    x->phase = PHASE_ROLLED_BACK;
    struct executor_record *r = record(x, REPORT_ROLLED_BACK, time_ms);
    r->state = x->undo_failures > 0 ? EXECUTION_ROLLBACK_FAILED : EXECUTION_ROLLED_BACK;
    r->message = text_or_null(x->undo_message);
    r->duration_ms = since(x->undo_began_ms, time_ms);
    (void)emit(x, EXECUTOR_FINISHED);
}

static void undo_begin(struct executor *x, int64_t time_ms)
{
    x->undo_began = true;
    x->undo_began_ms = time_ms;
    x->undo_message[0] = '\0';
    struct executor_record *r = record(x, REPORT_ROLLBACK_STARTED, time_ms);
    r->state = EXECUTION_ROLLING_BACK;
    x->step = x->count;
    undo_next(x, time_ms);
}

/* Remembers the first step that could not be undone, for the end's message. */
static void undo_count_failure(struct executor *x, const char *what)
{
    if (x->undo_failures++ == 0)
        message_about_step(x, x->undo_message, what);
}

static void undo_failed(struct executor *x, int64_t time_ms, const struct executor_result *result)
{
    struct executor_record *r = record_step(x, REPORT_STEP_ROLLED_BACK, time_ms, x->undo_attempt,
                                            STEP_ROLLBACK_FAILED);
    record_result(r, result);
    r->message = text_or_null(x->step_message);
    x->track[x->step].undone = true;
    undo_count_failure(x, x->step_message);
    undo_next(x, time_ms);
}

static void undo_over(struct executor *x, const struct executor_event *event)
{
    const struct executor_result *result = &event->result;
    bool timed_out = x->stop == STOP_TIMEOUT;
    message_set(x->step_message, "%s", result->message ? result->message : "");
    if (result->outcome == EXECUTOR_OK) {
        struct executor_record *r = record_step(x, REPORT_STEP_ROLLED_BACK, event->time_ms,
                                                x->undo_attempt, STEP_ROLLED_BACK);
        record_result(r, result);
        r->message = text_or_null(x->step_message);
        x->track[x->step].undone = true;
        undo_next(x, event->time_ms);
        return;
    }
    if (timed_out)
        message_set(x->step_message, "undoing it took longer than its time limit");
    else if (!result->message)
        message_set(x->step_message, "undoing it failed");
    if ((timed_out || result->retryable) && x->undo_attempt < EXECUTOR_UNDO_ATTEMPTS) {
        x->phase = PHASE_UNDO_WAITING;
        emit(x, EXECUTOR_TIMER_START)->delay_ms =
            (int64_t)EXECUTOR_UNDO_WAIT_MS << (x->undo_attempt - 1);
        x->undo_attempt++;
        return;
    }
    undo_failed(x, event->time_ms, result);
}

/* ---- Going forward ----------------------------------------------------------------------- */

static void end(struct executor *x, int64_t time_ms, enum execution_state outcome,
                const char *message)
{
    bool failed = outcome == EXECUTION_FAILED || outcome == EXECUTION_TIMED_OUT;
    bool undo = x->rollback || (failed && x->rollback_on_failure);
    struct executor_record *r = record(x, REPORT_ENDED, time_ms);
    r->state = (int)outcome;
    r->undoing = undo && outcome != EXECUTION_SUCCEEDED;
    r->message = message;
    r->duration_ms = x->began ? since(x->begun_ms, time_ms) : 0;
    x->phase = PHASE_ENDED;
    x->ended = true;
    if (undo)
        undo_begin(x, time_ms);
    else
        (void)emit(x, EXECUTOR_FINISHED);
}

static bool tolerated(const struct plan_step *step)
{
    return step->continue_on_failure || !step->required;
}

static void attempt_begin(struct executor *x, int64_t time_ms, const char *message)
{
    struct track *t = &x->track[x->step];
    t->attempt++;
    t->state = STEP_RUNNING;
    t->executed = true;
    if (!x->traits[x->step].instant) {
        t->open = true;
        record_step(x, REPORT_STEP_STARTED, time_ms, t->attempt, STEP_RUNNING)->message = message;
    }
    x->phase = PHASE_EXECUTING;
    x->stop = STOP_NONE;
    struct executor_action *action = emit(x, EXECUTOR_EXECUTE);
    action->attempt = t->attempt;
    action->timeout_ms = x->steps[x->step].timeout_ms;
    action->durable_first = !x->traits[x->step].instant;
}

static void step_begin(struct executor *x, int64_t time_ms)
{
    const struct track *t = &x->track[x->step];
    if (t->captured) {
        attempt_begin(x, time_ms, NULL);
        return;
    }
    x->phase = PHASE_PREPARING;
    x->stop = STOP_NONE;
    struct executor_action *action = emit(x, EXECUTOR_PREPARE);
    action->attempt = t->attempt + 1;
    action->timeout_ms = x->steps[x->step].timeout_ms;
}

/* Begins step x->step, or ends the execution. */
static void forward(struct executor *x, int64_t time_ms)
{
    if (x->step == x->count)
        end(x, time_ms, EXECUTION_SUCCEEDED, NULL);
    else if (x->cancelled)
        end(x, time_ms, EXECUTION_CANCELLED, "cancelled");
    else
        step_begin(x, time_ms);
}

/* The step has failed and is on record as such: the execution goes on or ends by it. */
static void step_failed(struct executor *x, int64_t time_ms)
{
    const struct track *t = &x->track[x->step];
    if (tolerated(&x->steps[x->step])) {
        x->step++;
        forward(x, time_ms);
        return;
    }
    message_about_step(x, x->end_message, x->step_message);
    end(x, time_ms, t->state == STEP_TIMED_OUT ? EXECUTION_TIMED_OUT : EXECUTION_FAILED,
        x->end_message);
}

/* Records the step's end; step_message says why. */
static void step_record_end(struct executor *x, int64_t time_ms, enum step_state state,
                            const struct executor_result *result)
{
    struct track *t = &x->track[x->step];
    t->open = false;
    t->state = state;
    struct executor_record *r = record_step(x, REPORT_STEP_ENDED, time_ms, t->attempt, state);
    record_result(r, result);
    r->message = text_or_null(x->step_message);
}

static int64_t attempts_allowed(const struct executor *x)
{
    int64_t given = x->steps[x->step].retry.maximum_attempts;
    if (given > 0)
        return given;
    return x->traits[x->step].idempotent ? EXECUTOR_DEFAULT_ATTEMPTS : 1;
}

static bool exit_code_is_final(const struct plan_retry *retry, const struct executor_result *result)
{
    const struct array *codes = &retry->non_retryable_exit_codes;
    for (size_t i = 0; result->has_exit_code && i < codes->count; i++) {
        if (*ARRAY_AT(codes, int64_t, i) == result->exit_code)
            return true;
    }
    return false;
}

static int64_t backoff_ms(const struct plan_retry *retry, int32_t failures)
{
    double wait = (double)retry->initial_interval_ms;
    double most = (double)retry->maximum_interval_ms;
    for (int32_t i = 1; i < failures && wait < most; i++)
        wait *= retry->backoff_coefficient;
    return (int64_t)(wait < most ? wait : most);
}

/* An attempt (or its prepare) has failed; step_message says why. */
static void attempt_failed(struct executor *x, int64_t time_ms,
                           const struct executor_result *result)
{
    struct track *t = &x->track[x->step];
    const struct plan_retry *retry = &x->steps[x->step].retry;
    bool timed_out = x->stop == STOP_TIMEOUT;
    bool again = (timed_out || result->retryable) && !x->cancelled &&
                 t->failures + 1 < attempts_allowed(x) && !exit_code_is_final(retry, result);
    if (!again) {
        step_record_end(x, time_ms, timed_out ? STEP_TIMED_OUT : STEP_FAILED, result);
        step_failed(x, time_ms);
        return;
    }
    t->open = false;
    t->state = STEP_RUNNING;
    t->failures++;
    struct executor_record *r =
        record_step(x, REPORT_STEP_RETRYING, time_ms, t->attempt, STEP_RUNNING);
    record_result(r, result);
    r->message = text_or_null(x->step_message);
    x->phase = PHASE_WAITING;
    emit(x, EXECUTOR_TIMER_START)->delay_ms = backoff_ms(retry, t->failures);
}

/* The step will not go on: it ends by the cancelling, if it had begun at all. */
static void step_cancelled(struct executor *x, int64_t time_ms,
                           const struct executor_result *result)
{
    if (x->track[x->step].attempt > 0) {
        message_set(x->step_message, "stopped: the rollout was cancelled");
        step_record_end(x, time_ms, STEP_FAILED, result);
    }
    end(x, time_ms, EXECUTION_CANCELLED, "cancelled");
}

/* Says why an operation of the step did not succeed. */
static void explain(struct executor *x, const struct executor_result *result)
{
    double limit = (double)x->steps[x->step].timeout_ms / 1000.0;
    if (x->stop == STOP_TIMEOUT)
        message_set(x->step_message, "not done within its time limit of %g s", limit);
    else if (result->message && result->message[0] != '\0')
        message_set(x->step_message, "%s", result->message);
    else
        message_set(x->step_message, "failed without a message");
}

static void prepared(struct executor *x, const struct executor_event *event)
{
    struct track *t = &x->track[x->step];
    bool ok = event->result.outcome == EXECUTOR_OK;
    t->captured = ok;
    if (x->stop == STOP_CANCEL) {
        step_cancelled(x, event->time_ms, &event->result);
    } else if (ok) {
        attempt_begin(x, event->time_ms, NULL);
    } else {
        t->attempt++;
        explain(x, &event->result);
        attempt_failed(x, event->time_ms, &event->result);
    }
}

static void executed(struct executor *x, const struct executor_event *event)
{
    if (event->result.outcome == EXECUTOR_OK) {
        message_set(x->step_message, "%s", event->result.message ? event->result.message : "");
        step_record_end(x, event->time_ms, STEP_SUCCEEDED, &event->result);
        x->step++;
        forward(x, event->time_ms);
    } else if (x->stop == STOP_CANCEL) {
        step_cancelled(x, event->time_ms, &event->result);
    } else {
        explain(x, &event->result);
        attempt_failed(x, event->time_ms, &event->result);
    }
}

/* ---- Events ------------------------------------------------------------------------------ */

static void start(struct executor *x, int64_t time_ms)
{
    assert(x->phase == PHASE_NEW && !x->began);
    x->began = true;
    x->begun_ms = time_ms;
    record(x, REPORT_STARTED, time_ms)->state = EXECUTION_RUNNING;
}

static void begin(struct executor *x, int64_t time_ms)
{
    start(x, time_ms);
    forward(x, time_ms);
}

static void stop_operation(struct executor *x, enum stop why)
{
    if (x->stop == STOP_CANCEL)
        return;
    /* One that is being stopped for its time limit is not asked twice, but ends as cancelled. */
    if (x->stop == STOP_NONE)
        (void)emit(x, EXECUTOR_STOP);
    x->stop = why;
}

static void timer(struct executor *x, int64_t time_ms)
{
    switch (x->phase) {
    case PHASE_PREPARING:
    case PHASE_EXECUTING:
    case PHASE_UNDOING:
        if (x->stop == STOP_NONE)
            stop_operation(x, STOP_TIMEOUT);
        break;
    case PHASE_WAITING:
        step_begin(x, time_ms);
        break;
    case PHASE_UNDO_WAITING:
        undo_attempt(x);
        break;
    case PHASE_NEW:
    case PHASE_ENDED:
    case PHASE_ROLLED_BACK:
        break;
    }
}

static void cancel(struct executor *x, int64_t time_ms, bool now)
{
    static const struct executor_result none = {.outcome = EXECUTOR_STOPPED};
    switch (x->phase) {
    case PHASE_NEW:
        start(x, time_ms);
        end(x, time_ms, EXECUTION_CANCELLED, "cancelled before it began");
        break;
    case PHASE_PREPARING: /* changes nothing, so there is nothing to wait for */
        x->cancelled = true;
        stop_operation(x, STOP_CANCEL);
        break;
    case PHASE_EXECUTING:
        x->cancelled = true;
        if (now)
            stop_operation(x, STOP_CANCEL);
        break;
    case PHASE_WAITING:
        x->cancelled = true;
        (void)emit(x, EXECUTOR_TIMER_STOP);
        step_cancelled(x, time_ms, &none);
        break;
    case PHASE_UNDOING:
    case PHASE_UNDO_WAITING:
    case PHASE_ENDED:
    case PHASE_ROLLED_BACK:
        break;
    }
}

static void rollback(struct executor *x, int64_t time_ms)
{
    if (x->undo_began)
        return;
    if (x->ended) {
        undo_begin(x, time_ms);
        return;
    }
    x->rollback = true;
    cancel(x, time_ms, true);
}

void executor_step(struct executor *x, const struct executor_event *event)
{
    assert(x->queue_head == x->queue_count);
    x->queue_head = x->queue_count = 0;
    switch (event->type) {
    case EXECUTOR_BEGIN:
        begin(x, event->time_ms);
        break;
    case EXECUTOR_PREPARED:
        assert(x->phase == PHASE_PREPARING);
        prepared(x, event);
        break;
    case EXECUTOR_EXECUTED:
        assert(x->phase == PHASE_EXECUTING);
        executed(x, event);
        break;
    case EXECUTOR_UNDONE:
        assert(x->phase == PHASE_UNDOING);
        undo_over(x, event);
        break;
    case EXECUTOR_TIMER:
        timer(x, event->time_ms);
        break;
    case EXECUTOR_CANCEL:
        cancel(x, event->time_ms, event->now);
        break;
    case EXECUTOR_ROLLBACK:
        rollback(x, event->time_ms);
        break;
    }
}

/* ---- After a restart --------------------------------------------------------------------- */

static void replay_step(struct executor *x, const struct executor_record *r)
{
    struct track *t = &x->track[r->step];
    t->attempt = (int32_t)r->attempt;
    t->state = (enum step_state)r->state;
    if (r->type == REPORT_STEP_STARTED) {
        t->interrupted += t->open; /* the attempt before this one has no end */
        t->open = true;
        t->executed = true;
        return;
    }
    t->open = false;
    t->failures += r->type == REPORT_STEP_RETRYING;
    if (x->traits[r->step].instant)
        t->executed = true;
    message_set(x->step_message, "%s", r->message ? r->message : "");
}

static void replay_undone(struct executor *x, const struct executor_record *r)
{
    x->step = (uint32_t)r->step;
    x->track[r->step].undone = true;
    if (r->state == STEP_ROLLBACK_FAILED)
        undo_count_failure(x, r->message ? r->message : "");
}

enum error_code executor_replay(struct executor *x, const struct executor_record *r,
                                struct error *err)
{
    bool about_step = r->type == REPORT_STEP_STARTED || r->type == REPORT_STEP_RETRYING ||
                      r->type == REPORT_STEP_ENDED || r->type == REPORT_STEP_ROLLED_BACK;
    if (about_step && (r->step < 0 || (uint32_t)r->step >= x->count))
        return error_set(err, ERR_CORRUPT, "an entry is about step %" PRId32 " of %" PRIu32,
                         r->step, x->count);
    switch (r->type) {
    case REPORT_STARTED:
        x->began = true;
        x->begun_ms = r->time_ms;
        break;
    case REPORT_STEP_STARTED:
    case REPORT_STEP_RETRYING:
    case REPORT_STEP_ENDED:
        if (x->ended)
            return error_set(err, ERR_CORRUPT, "a step's entry comes after the execution's end");
        replay_step(x, r);
        break;
    case REPORT_ENDED:
        x->ended = true;
        x->undo_wanted = r->undoing;
        break;
    case REPORT_ROLLBACK_STARTED:
        x->undo_began = true;
        x->undo_began_ms = r->time_ms;
        x->step = x->count;
        break;
    case REPORT_STEP_ROLLED_BACK:
        if (!x->undo_began)
            return error_set(err, ERR_CORRUPT, "a step was undone before the rollback began");
        replay_undone(x, r);
        break;
    case REPORT_ROLLED_BACK:
        x->undo_began = true;
        x->ended = true;
        x->phase = PHASE_ROLLED_BACK;
        break;
    case REPORT_TYPE_COUNT:
        return error_set(err, ERR_CORRUPT, "an entry of no known type");
    }
    return ERR_OK;
}

void executor_captured(struct executor *x, uint32_t step)
{
    if (step < x->count)
        x->track[step].captured = true;
}

static void resume_undo(struct executor *x, int64_t time_ms, int64_t deaths)
{
    static const struct executor_result none = {.outcome = EXECUTOR_FAILED};
    uint32_t step;
    x->step = x->count;
    if (deaths < EXECUTOR_MAX_INTERRUPTED || !undo_find(x, &step)) {
        undo_next(x, time_ms);
        return;
    }
    x->step = step;
    x->undo_attempt = 1;
    message_set(x->step_message, "the agent died %d times while undoing this step",
                EXECUTOR_MAX_INTERRUPTED);
    undo_failed(x, time_ms, &none);
}

/* A step that began and has no recorded end. */
static void resume_in_doubt(struct executor *x, int64_t time_ms)
{
    static const struct executor_result none = {.outcome = EXECUTOR_FAILED};
    struct track *t = &x->track[x->step];
    int policy = x->steps[x->step].on_interrupt;
    bool again = policy == INTERRUPT_RETRY ||
                 (policy == INTERRUPT_DEFAULT && x->traits[x->step].idempotent);
    t->interrupted++;
    if (again && t->interrupted < EXECUTOR_MAX_INTERRUPTED) {
        attempt_begin(x, time_ms, "the agent stopped during the attempt before this one");
        return;
    }
    if (again)
        message_set(x->step_message, "the agent died during this step %d times",
                    EXECUTOR_MAX_INTERRUPTED);
    else
        message_set(x->step_message,
                    "the agent stopped while this step ran; whether it took effect is not known");
    step_record_end(x, time_ms, STEP_FAILED, &none);
    step_failed(x, time_ms);
}

static void resume_forward(struct executor *x, int64_t time_ms)
{
    for (x->step = 0; x->step < x->count; x->step++) {
        const struct track *t = &x->track[x->step];
        bool failed = t->state == STEP_FAILED || t->state == STEP_TIMED_OUT;
        if (t->open) {
            resume_in_doubt(x, time_ms);
            return;
        }
        if (failed && !tolerated(&x->steps[x->step])) {
            step_failed(x, time_ms);
            return;
        }
        if (!failed && t->state != STEP_SUCCEEDED)
            break;
    }
    forward(x, time_ms);
}

void executor_resume(struct executor *x, int64_t time_ms, int64_t undo_deaths)
{
    assert(x->queue_head == x->queue_count);
    x->queue_head = x->queue_count = 0;
    if (x->phase == PHASE_ROLLED_BACK) {
        (void)emit(x, EXECUTOR_FINISHED);
    } else if (x->undo_began) {
        resume_undo(x, time_ms, undo_deaths);
    } else if (x->ended) {
        x->phase = PHASE_ENDED;
        if (x->undo_wanted)
            undo_begin(x, time_ms);
        else
            (void)emit(x, EXECUTOR_FINISHED);
    } else if (x->began) {
        resume_forward(x, time_ms);
    } else {
        begin(x, time_ms);
    }
}
