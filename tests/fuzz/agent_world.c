#include "agent/agent_state.h"
#include "handlers/catalog.h"
#include "tests/fuzz/agent_world_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The runner ------------------------------------------------------------------------------ */

static bool changes_host(const struct plan_step *step)
{
    const struct step_type *type = step_catalog_find(&handler_catalog, step->type);
    return type != NULL && (type->traits & STEP_TYPE_CHANGES) != 0;
}

/* The step's number: the folder that it was given ends with it. */
static size_t step_number(const struct runner_operation *operation)
{
    return strtoul(strrchr(operation->undo_dir, '/') + 1, NULL, 10);
}

/* What must be on the disk before the host is changed. */
static void check_durable(struct agent_world *w, const struct runner_operation *operation)
{
    const struct stored *s = stored_find(w, operation->rollout);
    assert(s != NULL && s->captures[step_number(operation)] != NULL);
    assert(operation->undo != NULL);
}

/* And before anything at all is begun. */
static void check_spent(const struct agent_world *w, const char *rollout)
{
    const struct execution *x = execution_find(w->agent, rollout);
    assert(x != NULL && (x->nonce[0] == '\0' || w->nonce_count == WORLD_NONCES ||
                         stored_nonce_find(w, x->nonce) != NULL));
}

static void runner_begin(void *ctx, const struct runner_operation *operation)
{
    struct agent_world *w = ctx;
    assert(!w->busy && !w->failed && (!w->stalled || w->pending == NULL));
    w->busy = true;
    w->cancelled = false;
    w->operation = *operation;
    w->operations++;
    if (w->trust != NULL && w->agent != NULL)
        check_spent(w, operation->rollout);
    (void)snprintf(w->rollout, sizeof(w->rollout), "%s", operation->rollout);
    if (operation->operation == HANDLER_EXECUTE && changes_host(operation->step))
        check_durable(w, operation);
}

static void runner_stop(void *ctx)
{
    struct agent_world *w = ctx;
    w->cancelled = w->busy;
}

static void runner_tidy(void *ctx, const char *rollout, const char *step)
{
    (void)ctx;
    assert(rollout[0] != '\0' && step != NULL);
}

/* The next letter: f fails for good, r may be tried again, x fails with an exit code, n finds no
 * room for what it would keep, p prints, b asks for a reboot; anything else, or none, goes well. */
static void operation_end(struct agent_world *w)
{
    struct handler_result result = {.outcome = HANDLER_OK};
    char letter = w->outcomes != NULL && *w->outcomes != '\0' ? *w->outcomes++ : w->usual;
    char undo[] = "{\"captured\":true}";
    bool changes = changes_host(w->operation.step);
    if (w->cancelled) {
        result.outcome = HANDLER_CANCELLED;
    } else if (letter == 'f' || letter == 'r' || letter == 'x') {
        result.outcome = HANDLER_FAILED;
        result.retryable = letter == 'r';
        result.has_exit_code = letter == 'x';
        result.exit_code = 3;
        (void)snprintf(result.message, sizeof(result.message), "it went wrong (%c)", letter);
    } else if (letter == 'n' && w->operation.operation == HANDLER_PREPARE) {
        result.outcome = HANDLER_FAILED;
        result.no_room = true;
        (void)snprintf(result.message, sizeof(result.message), "no room");
    } else if (letter == 'b' && w->operation.operation == HANDLER_EXECUTE) {
        result.reboot = true;
    } else if (w->operation.operation == HANDLER_CHECK) {
        assert(w->operation.undo_dir == NULL && w->operation.undo == NULL);
        result.changed = changes;
    } else if (w->operation.operation == HANDLER_PREPARE && changes) {
        result.undo = undo;
    } else if (changes) {
        result.changed = w->operation.operation == HANDLER_EXECUTE;
        w->changed[step_number(&w->operation)] = result.changed;
    }
    if (letter == 'p')
        agent_operation_output(w->agent, 0, "printed");
    w->busy = false;
    agent_operation_done(w->agent, &result, letter == 'p' ? "printed\n" : NULL);
}

/* ---- Link, clock, owner ---------------------------------------------------------------------- */

static bool link_out(void *ctx, const char *data, size_t len, bool droppable)
{
    struct agent_world *w = ctx;
    (void)droppable;
    if (w->refuse_sends)
        return false;
    if (!world_has_memory()) {
        /* As net does: the connection is given up. */
        w->refuse_sends = true;
        return false;
    }
    char *grown = world_checked(realloc(w->sent.data, w->sent.len + len + 2));
    memcpy(grown + w->sent.len, data, len);
    w->sent.data = grown;
    w->sent.len += len;
    grown[w->sent.len++] = '\n';
    grown[w->sent.len] = '\0';
    return true;
}

/* The connection that there is ends at once; another is made by agent_world_welcome. */
static void link_renew_now(void *ctx)
{
    struct agent_world *w = ctx;
    w->refuse_sends = true;
    agent_disconnected(w->agent);
}

static int64_t clock_now(void *ctx)
{
    return ((struct agent_world *)ctx)->now_ms;
}

static void clock_set(void *ctx, int64_t delay_ms)
{
    ((struct agent_world *)ctx)->alarm = true;
    assert(delay_ms >= 0);
}

static void clock_stop(void *ctx)
{
    ((struct agent_world *)ctx)->alarm = false;
}

static void owner_failed(void *ctx, const struct error *err)
{
    struct agent_world *w = ctx;
    assert(!w->failed);
    w->failed = !w->dying;
    w->why = *err;
}

static void owner_quiet(void *ctx)
{
    ((struct agent_world *)ctx)->quiet = true;
}

static void owner_reboot(void *ctx)
{
    struct agent_world *w = ctx;
    assert(!w->busy && !w->reboots);
    w->reboots = true;
}

static bool owner_reboot_withdraw(void *ctx)
{
    struct agent_world *w = ctx;
    bool called_off = w->reboots;
    w->reboots = false;
    return called_off;
}

/* ---- Life ------------------------------------------------------------------------------------ */

void agent_world_init(struct agent_world *w)
{
    *w = (struct agent_world){.now_ms = INT64_C(1700000000000)};
}

enum error_code agent_world_start(struct agent_world *w, struct error *err)
{
    static char server[] = "s1", instance[] = "i1", version[] = "1";
    (void)snprintf(w->boot, sizeof(w->boot), "boot %u", w->boots);
    const struct agent_config config = {
        .identity = {.server = server,
                     .instance = instance,
                     .version = version,
                     .boot_id = w->boot},
        .catalog = &handler_catalog,
        .trust = w->trust,
        .after_death = w->after_death,
        .link = {w, link_out, link_renew_now},
        .store = world_store(w),
        .runner = {w, runner_begin, runner_stop, runner_tidy},
        .clock = {w, clock_now, clock_now, clock_set, clock_stop},
        .owner = {w, owner_failed, owner_quiet, owner_reboot, owner_reboot_withdraw},
    };
    w->failed = w->quiet = w->busy = w->alarm = w->refuse_sends = w->reboots = false;
    enum error_code code = agent_new(&config, &w->agent, err);
    if (code == ERR_OK)
        agent_start(w->agent);
    return code;
}

void agent_world_kill(struct agent_world *w)
{
    /* Whoever waits is told, so that nothing leaks; the agent does nothing more by then. */
    w->dying = true;
    while (w->pending != NULL) {
        struct pending *p = pending_take(w);
        p->done(p->ctx, ERR_UNAVAILABLE);
        pending_free(p);
    }
    agent_free(w->agent);
    w->agent = NULL;
    w->boots += w->reboots; /* what was asked for has come, and the agent died of it */
    w->busy = w->alarm = w->dying = false;
}

void agent_world_done(struct agent_world *w)
{
    if (w->agent != NULL)
        agent_world_kill(w);
    for (size_t i = 0; i < w->stored_count; i++)
        stored_done(&w->disk[i]);
    free(w->sent.data);
}

enum error_code agent_world_welcome(struct agent_world *w, int64_t epoch, struct error *err)
{
    char name[] = "o";
    const struct wire_welcome welcome = {.orchestrator = name, .epoch = epoch, .heartbeat_ms = 1};
    w->refuse_sends = false;
    return agent_welcome(w->agent, &welcome, err);
}

enum error_code agent_world_frame(struct agent_world *w, const char *text, size_t len,
                                  struct error *err)
{
    struct wire_frame frame = {0};
    enum error_code code = wire_decode(text, len, &frame, err);
    if (code != ERR_OK)
        return code;
    /* A welcome comes by another way; an ack of no rollout answers a heartbeat, and ends there. */
    if (frame.type != WIRE_ACK || frame.ack.rollout != NULL)
        code = agent_receive(w->agent, &frame, text, len, err);
    wire_frame_done(&frame);
    return code;
}

enum error_code agent_world_ack_all(struct agent_world *w, struct error *err)
{
    for (size_t i = 0; i < w->stored_count; i++) {
        struct wire_frame frame = {
            .type = WIRE_ACK,
            .ack = {.rollout = w->disk[i].rollout, .seq = w->disk[i].status.last_seq}};
        enum error_code code = agent_receive(w->agent, &frame, "", 0, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

bool agent_world_step(struct agent_world *w)
{
    w->now_ms += 10;
    if (w->pending != NULL && !w->stalled) {
        struct pending *p = pending_take(w);
        pending_apply(w, p);
        p->done(p->ctx, ERR_OK);
        pending_free(p);
        return true;
    }
    if (w->busy) {
        operation_end(w);
        return true;
    }
    if (w->reboots) {
        /* Nobody has killed the agent, so the machine stays up. */
        const struct error why = {.code = ERR_UNAVAILABLE, .message = "no reboot came"};
        w->reboots = false;
        agent_stayed_up(w->agent, &why);
        return true;
    }
    if (!w->alarm || w->failed)
        return false;
    w->alarm = false;
    agent_alarm(w->agent);
    return true;
}
