#include "orchestrator/cli/progress.h"

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/name_map.h"
#include "orchestrator/cli/words.h"

#include <string.h>

/* A server whose agent is, or was last heard, at work. */
struct active {
    struct name_node node; /* first: name_map gives pointers to it */
    bool unknown;          /* silent now */
    bool changed;          /* a step changed something, or may have */
    char *step;            /* the step that failed last; NULL: none */
    char *message;         /* and why */
};

struct progress {
    struct progress_view view;
    char *id, *name;
    struct name_map active;       /* struct active by name */
    int64_t unknown_before;       /* silent servers of the picture, whose names are not here */
    struct api_counts batch_base; /* as they were when the batch began */
    bool batch_seen;              /* its beginning */
};

/* ---- Servers at work ---------------------------------------------------------------------------
 */

static void active_free(struct active *a)
{
    mem_free(a->node.name);
    mem_free(a->step);
    mem_free(a->message);
    mem_free(a);
}

static struct active *active_find(const struct progress *p, const char *name)
{
    return (struct active *)name_map_find(&p->active, name);
}

static bool steps_changed(const struct array *steps)
{
    for (size_t i = 0; i < steps->count; i++) {
        const struct api_step *s = ARRAY_AT(steps, struct api_step, i);
        if (s->changed || s->state == STEP_FAILED || s->state == STEP_TIMED_OUT)
            return true;
    }
    return false;
}

/* A server that is not there yet; NULL when memory is out. */
static struct active *active_add(struct progress *p, const char *name)
{
    struct active *a = MEM_NEW(struct active);
    if (!a)
        return NULL;
    a->node.name = mem_strdup(name);
    if (!a->node.name || name_map_add(&p->active, &a->node, NULL) != ERR_OK) {
        active_free(a);
        return NULL;
    }
    return a;
}

static void active_remove(struct progress *p, struct active *a)
{
    name_map_remove(&p->active, &a->node);
    active_free(a);
}

/* Takes a server out of those at work (or silent), however it was counted. */
static void leave(struct progress *p, struct active *a)
{
    if (a && a->unknown) {
        p->view.counts.unknown--;
    } else if (a) {
        p->view.running--;
    } else if (p->unknown_before > 0) {
        /* An end without a beginning that was seen: of one that had been silent. */
        p->unknown_before--;
        p->view.counts.unknown--;
    }
    if (a)
        active_remove(p, a);
}

/* What is left of all servers has not begun. */
static void count_pending(struct progress *p)
{
    struct api_counts *c = &p->view.counts;
    int64_t rest = p->view.servers - p->view.running - c->succeeded - c->failed - c->unreachable -
                   c->unknown - c->cancelled - c->skipped;
    c->pending = rest > 0 ? rest : 0;
}

/* ---- Making one --------------------------------------------------------------------------------
 */

enum error_code progress_add_running(struct progress *p, const struct array *executions,
                                     struct error *err)
{
    for (size_t i = 0; i < executions->count; i++) {
        const struct api_execution *e = ARRAY_AT(executions, struct api_execution, i);
        if (e->state != EXECUTION_RUNNING || active_find(p, e->server))
            continue;
        struct active *a = active_add(p, e->server);
        if (!a)
            return error_set(err, ERR_NO_MEMORY, NULL);
        a->changed = steps_changed(&e->steps);
        p->view.running++;
    }
    count_pending(p);
    return ERR_OK;
}

enum error_code progress_new(const struct api_rollout *rollout, struct progress **ret_progress,
                             struct error *err)
{
    AUTO(progress_free) struct progress *p = MEM_NEW(struct progress);
    if (!p)
        return error_set(err, ERR_NO_MEMORY, NULL);
    p->id = mem_strdup(rollout->id);
    p->name = rollout->name ? mem_strdup(rollout->name) : NULL;
    if (!p->id || (rollout->name && !p->name))
        return error_set(err, ERR_NO_MEMORY, NULL);
    p->view = (struct progress_view){.id = p->id,
                                     .name = p->name,
                                     .state = (enum rollout_state)rollout->state,
                                     .check = rollout->check,
                                     .servers = rollout->servers,
                                     .counts = rollout->counts,
                                     .batch = rollout->batch,
                                     .batches = rollout->batches};
    p->unknown_before = rollout->counts.unknown;
    enum error_code code = progress_add_running(p, &rollout->executions, err);
    if (code == ERR_OK)
        *ret_progress = TAKE(p);
    return code;
}

void progress_free(struct progress *p)
{
    if (!p)
        return;
    for (struct name_node *n = name_map_pop(&p->active); n; n = name_map_pop(&p->active))
        active_free((struct active *)n);
    name_map_done(&p->active);
    mem_free(p->id);
    mem_free(p->name);
    mem_free(p);
}

const struct progress_view *progress_view(const struct progress *p)
{
    return &p->view;
}

/* ---- Lines -------------------------------------------------------------------------------------
 */

struct line {
    struct buf *text;
    enum ink ink;
};

static void put_because(struct buf *b, const char *message)
{
    if (!message || !*message)
        return;
    buf_puts(b, ": ");
    render_text(b, message);
}

static void put_batch(const struct progress *p, struct buf *b)
{
    buf_printf(b, "batch %lld", (long long)p->view.batch);
    if (p->view.batches > 0)
        buf_printf(b, " of %lld", (long long)p->view.batches);
}

/* "pause requested by root@bastion: load is high" */
static void put_request(struct buf *b, const char *what, const struct api_event *e)
{
    buf_puts(b, what);
    if (e->by) {
        buf_puts(b, " by ");
        render_text(b, e->by);
    }
    put_because(b, e->message);
}

/* "rollback of web-3 requested by root@bastion" */
static void put_rollback(struct buf *b, const struct api_event *e)
{
    buf_puts(b, "rollback");
    if (e->server) {
        buf_puts(b, " of ");
        render_text(b, e->server);
    }
    put_request(b, " requested", e);
}

/* "web-3 settled as rolled_back by root@bastion: reinstalled" */
static void put_resolved(struct line *l, const struct api_event *e)
{
    l->ink = INK_WARN;
    render_text(l->text, e->server ? e->server : "");
    buf_puts(l->text, " settled as ");
    render_text(l->text, e->state ? e->state : "");
    put_request(l->text, "", e);
}

/* ---- Events of a server ------------------------------------------------------------------------
 */

static const char *server_of(const struct api_event *e)
{
    return e->server ? e->server : "";
}

static enum error_code step_ended(struct progress *p, const struct api_event *e, struct error *err)
{
    struct active *a = active_find(p, server_of(e));
    if (a && e->changed)
        a->changed = true;
    if (!a || !e->step || !e->state ||
        (strcmp(e->state, step_state_names[STEP_FAILED]) != 0 &&
         strcmp(e->state, step_state_names[STEP_TIMED_OUT]) != 0))
        return ERR_OK;
    AUTO_FREE char *step = mem_strdup(e->step);
    AUTO_FREE char *message = mem_strdup(e->message ? e->message : "");
    if (!step || !message)
        return error_set(err, ERR_NO_MEMORY, NULL);
    mem_free(a->step);
    mem_free(a->message);
    a->step = TAKE(step);
    a->message = TAKE(message);
    a->changed = true;
    return ERR_OK;
}

/* "web-3 failed at step upgrade: exit status 3; it undoes itself" */
static void put_failed(struct line *l, const struct active *a, const struct api_event *e)
{
    const char *step = e->step ? e->step : a ? a->step : NULL;
    const char *message = a && a->message && *a->message ? a->message : e->message;
    l->ink = INK_BAD;
    render_text(l->text, server_of(e));
    buf_puts(l->text, strcmp(e->state, execution_state_names[EXECUTION_TIMED_OUT]) == 0
                          ? " timed out"
                          : " failed");
    if (step) {
        buf_puts(l->text, " at step ");
        render_text(l->text, step);
    }
    put_because(l->text, message);
    if (e->undoing)
        buf_puts(l->text, "; it undoes itself");
}

static void execution_ended(struct progress *p, const struct api_event *e, struct line *l)
{
    struct active *a = active_find(p, server_of(e));
    struct api_counts *c = &p->view.counts;
    int state = cli_enum_find(execution_state_names, EXECUTION_STATE_COUNT, e->state);
    if (state == EXECUTION_SUCCEEDED) {
        c->succeeded++;
        c->unchanged += a && !a->changed;
    } else if (state == EXECUTION_FAILED || state == EXECUTION_TIMED_OUT) {
        c->failed++;
        put_failed(l, a, e);
    } else if (state == EXECUTION_CANCELLED) {
        c->cancelled++;
    }
    leave(p, a);
}

static enum error_code execution_started(struct progress *p, const struct api_event *e,
                                         struct error *err)
{
    struct active *a = active_find(p, server_of(e));
    if (a && a->unknown) {
        a->unknown = false;
        p->view.counts.unknown--;
        p->view.running++;
    } else if (!a) {
        if (!active_add(p, server_of(e)))
            return error_set(err, ERR_NO_MEMORY, NULL);
        p->view.running++;
    }
    return ERR_OK;
}

/* "web-3 reboots at step patch (back within 10m): kernel" */
static void step_rebooting(const struct api_event *e, struct line *l)
{
    char away[CLOCK_TEXT_MAX];
    duration_format(e->away_ms, away);
    l->ink = INK_WARN;
    render_text(l->text, server_of(e));
    buf_puts(l->text, " reboots at step ");
    render_text(l->text, e->step ? e->step : "");
    buf_printf(l->text, " (to be back within %s)", away);
    put_because(l->text, e->message);
}

static void put_silent(struct line *l, const struct api_event *e, const char *what)
{
    l->ink = INK_WARN;
    render_text(l->text, server_of(e));
    buf_puts(l->text, what);
    put_because(l->text, e->message);
}

static enum error_code execution_unknown(struct progress *p, const struct api_event *e,
                                         struct line *l, struct error *err)
{
    struct active *a = active_find(p, server_of(e));
    put_silent(l, e, " started and is silent");
    if (!a) {
        a = active_add(p, server_of(e));
        if (!a)
            return error_set(err, ERR_NO_MEMORY, NULL);
    } else if (!a->unknown) {
        p->view.running--;
    }
    if (!a->unknown)
        p->view.counts.unknown++;
    a->unknown = true;
    return ERR_OK;
}

static void execution_rolled_back(struct progress *p, const struct api_event *e, struct line *l)
{
    bool done = e->state && strcmp(e->state, execution_state_names[EXECUTION_ROLLED_BACK]) == 0;
    render_text(l->text, server_of(e));
    if (done) {
        p->view.counts.rolled_back++;
        l->ink = INK_WARN;
        buf_puts(l->text, " rolled back");
        return;
    }
    p->view.counts.rollback_failed++;
    l->ink = INK_BAD;
    buf_puts(l->text, " could not be rolled back");
    put_because(l->text, e->message);
}

static int64_t undone(const struct progress *p)
{
    return p->view.counts.rolled_back + p->view.counts.rollback_failed;
}

/* ---- Events of the rollout ---------------------------------------------------------------------
 */

static void batch_started(struct progress *p, const struct api_event *e, struct line *l)
{
    p->view.batch = e->batch;
    p->view.batch_servers = e->count;
    p->batch_base = p->view.counts;
    p->batch_seen = true;
    put_batch(p, l->text);
    buf_puts(l->text, " started: ");
    words_servers(l->text, e->count);
}

static void batch_ended(const struct progress *p, struct line *l)
{
    const struct api_counts *now = &p->view.counts;
    const struct api_counts *then = &p->batch_base;
    put_batch(p, l->text);
    buf_puts(l->text, " ended");
    if (!p->batch_seen)
        return;
    struct api_counts of_batch = {
        .succeeded = now->succeeded - then->succeeded,
        .failed = now->failed - then->failed,
        .unreachable = now->unreachable - then->unreachable,
        .unknown = now->unknown > then->unknown ? now->unknown - then->unknown : 0,
        .cancelled = now->cancelled - then->cancelled};
    AUTO_BUF struct buf counts = BUF_INIT;
    words_counts(&counts, &of_batch);
    if (counts.failed != ERR_OK)
        l->text->failed = counts.failed;
    put_because(l->text, counts.data);
}

static void rollout_ended(struct progress *p, const struct api_event *e, struct line *l)
{
    int state = cli_enum_find(rollout_state_names, ROLLOUT_STATE_COUNT, e->state);
    if (state >= 0)
        p->view.state = (enum rollout_state)state;
    l->ink = rollout_ink(p->view.state);
    buf_puts(l->text, p->view.check ? "check " : "rollout ");
    render_text(l->text, p->view.id);
    buf_printf(l->text, " %s", rollout_state_names[p->view.state]);
    put_because(l->text, e->message);
}

static void set_state(struct progress *p, enum rollout_state state, struct line *l,
                      const char *text)
{
    p->view.state = state;
    l->ink = rollout_ink(state);
    buf_puts(l->text, text);
}

static void rollback_started(struct progress *p, const struct api_event *e, struct line *l)
{
    p->view.undo = e->count;
    if (rollout_state_final(p->view.state)) /* opened again */
        p->view.undone_before = undone(p);
    set_state(p, ROLLOUT_ROLLING_BACK, l,
              e->count > 0 ? "rollback started: " : "rollback: no server is left to undo");
    if (e->count > 0)
        words_servers(l->text, e->count);
}

/* The events of the rollout; those of its servers are looked at before. */
static void apply_rollout(struct progress *p, enum event_type type, const struct api_event *e,
                          struct line *l)
{
    switch (type) {
    case EVENT_ROLLOUT_STARTED:
        set_state(p, ROLLOUT_RUNNING, l, "started: ");
        words_servers(l->text, p->view.servers);
        break;
    case EVENT_BATCH_STARTED:
        batch_started(p, e, l);
        break;
    case EVENT_BATCH_ENDED:
        batch_ended(p, l);
        break;
    case EVENT_CANARY_PASSED:
        l->ink = INK_GOOD;
        buf_puts(l->text, "canary passed: ");
        words_servers(l->text, e->count);
        break;
    case EVENT_THRESHOLD_EXCEEDED:
        l->ink = INK_BAD;
        buf_puts(l->text, "threshold exceeded");
        put_because(l->text, e->message);
        break;
    case EVENT_ROLLBACK_STARTED:
        rollback_started(p, e, l);
        break;
    case EVENT_ROLLOUT_PAUSED:
        set_state(p, ROLLOUT_PAUSED, l, "paused");
        break;
    case EVENT_ROLLOUT_RESUMED:
        set_state(p, ROLLOUT_RUNNING, l, "resumed");
        break;
    case EVENT_ROLLOUT_ENDED:
        rollout_ended(p, e, l);
        break;
    case EVENT_PAUSE_REQUESTED:
        put_request(l->text, "pause requested", e);
        break;
    case EVENT_RESUME_REQUESTED:
        put_request(l->text, "resume requested", e);
        break;
    case EVENT_CANCEL_REQUESTED:
        l->ink = INK_WARN;
        put_request(l->text, "cancel requested", e);
        break;
    case EVENT_ROLLBACK_REQUESTED:
        l->ink = INK_WARN;
        put_rollback(l->text, e);
        break;
    case EVENT_EXECUTION_RESOLVED:
        put_resolved(l, e);
        break;
    case EVENT_EXECUTION_CONFIRMING:
    case EVENT_EXECUTION_STARTED:
    case EVENT_STEP_STARTED:
    case EVENT_STEP_RETRYING:
    case EVENT_STEP_REBOOTING:
    case EVENT_STEP_REBOOTED:
    case EVENT_STEP_ENDED:
    case EVENT_EXECUTION_ENDED:
    case EVENT_EXECUTION_ROLLBACK_STARTED:
    case EVENT_STEP_ROLLED_BACK:
    case EVENT_EXECUTION_ROLLED_BACK:
    case EVENT_EXECUTION_UNREACHABLE:
    case EVENT_EXECUTION_UNKNOWN:
    case EVENT_EXECUTION_WITHDRAWN:
    case EVENT_ROLLOUT_CREATED:
    case EVENT_BATCH_DUE:
    case EVENT_TYPE_COUNT:
        break;
    }
}

static enum error_code apply_server(struct progress *p, int type, const struct api_event *e,
                                    struct line *l, struct error *err)
{
    if (type == EVENT_EXECUTION_STARTED)
        return execution_started(p, e, err);
    if (type == EVENT_STEP_ENDED)
        return step_ended(p, e, err);
    if (type == EVENT_EXECUTION_UNKNOWN)
        return execution_unknown(p, e, l, err);
    if (type == EVENT_STEP_REBOOTING)
        step_rebooting(e, l);
    else if (type == EVENT_STEP_REBOOTED) {
        render_text(l->text, server_of(e));
        buf_puts(l->text, " is back from its reboot");
    } else if (type == EVENT_EXECUTION_ENDED)
        execution_ended(p, e, l);
    else if (type == EVENT_EXECUTION_ROLLED_BACK)
        execution_rolled_back(p, e, l);
    else if (type == EVENT_EXECUTION_WITHDRAWN)
        p->view.counts.cancelled++;
    else if (type == EVENT_EXECUTION_UNREACHABLE) {
        p->view.counts.unreachable++;
        put_silent(l, e, " did not answer");
    }
    return ERR_OK;
}

enum error_code progress_apply(struct progress *p, const struct api_event *event, struct buf *line,
                               enum ink *ret_ink, struct error *err)
{
    struct line l = {.text = line, .ink = INK_NONE};
    int type = words_event_type(event);
    /* A newer orchestrator may tell more than this program knows. */
    if (type < 0)
        return ERR_OK;
    enum error_code code = apply_server(p, type, event, &l, err);
    if (code != ERR_OK)
        return code;
    apply_rollout(p, (enum event_type)type, event, &l);
    count_pending(p);
    *ret_ink = l.ink;
    return ERR_OK;
}
