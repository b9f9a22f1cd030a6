/* What rollouts there will be: plans made up, and retries of earlier ones. */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    SUBMIT_UNTIL_MS = 60000,
    RETRY_ONCE_IN = 5,
    CHECK_ONCE_IN = 7,
    TYPES_CALM = 7 /* that reboot nothing */
};

static void write_step(struct sim *sim, struct buf *b, uint32_t number)
{
    static const char *const types[] = {"set",  "set",  "run",  "set",    "run",
                                        "wait", "note", "boot", "migrate"};
    static const char *const interrupts[] = {"default", "default", "retry", "fail"};
    struct rng *rng = &sim->rng;
    buf_printf(b, "%s{\"name\":\"step-%u\",\"type\":\"%s\",\"params\":{\"key\":%u}",
               number == 0 ? "" : ",", number,
               types[rng_below(rng, sim->profile.reboots ? ARRAY_LEN(types) : TYPES_CALM)],
               rng_below(rng, SIM_KEYS));
    buf_printf(b, ",\"timeoutSeconds\":%u,\"onInterrupt\":\"%s\"", rng_between(rng, 1, 5),
               interrupts[rng_below(rng, ARRAY_LEN(interrupts))]);
    if (rng_chance(rng, 20))
        buf_puts(b, ",\"required\":false");
    if (rng_chance(rng, 60))
        buf_printf(b, ",\"retry\":{\"maximumAttempts\":%u,\"initialIntervalSeconds\":1}",
                   rng_between(rng, 1, 5));
    buf_putc(b, '}');
}

static void write_strategy(struct sim *sim, struct buf *b)
{
    static const char *const types[] = {"Parallel", "Sequential", "Rolling", "Canary"};
    struct rng *rng = &sim->rng;
    const char *type = types[rng_below(rng, ARRAY_LEN(types))];
    buf_printf(b, "\"rolloutStrategy\":{\"type\":\"%s\"", type);
    if (strcmp(type, "Rolling") == 0 || (strcmp(type, "Canary") == 0 && rng_chance(rng, 50)))
        buf_printf(b, ",\"batchSize\":%u", rng_between(rng, 1, 3));
    if (strcmp(type, "Canary") == 0)
        buf_printf(b, ",\"canaryPercentage\":%u", rng_between(rng, 10, 60));
    if (rng_chance(rng, 40))
        buf_printf(b, ",\"batchDelaySeconds\":%u", rng_between(rng, 1, 5));
    if (rng_chance(rng, 50))
        buf_printf(b, ",\"maxFailures\":%d", (int)rng_between(rng, 0, 4) - 1);
    if (rng_chance(rng, 20))
        buf_printf(b, ",\"maxUnreachable\":%u", rng_below(rng, 3));
    if (rng_chance(rng, 30))
        buf_printf(b, ",\"maxParallel\":%u", rng_between(rng, 1, 3));
    buf_printf(b, ",\"startTimeoutSeconds\":%u,\"reconnectTimeoutSeconds\":%u}",
               rng_between(rng, 3, 60), rng_between(rng, 3, 40));
}

/* Some of the servers, in an order of the plan's own. */
static void write_servers(struct sim *sim, struct sim_rollout *r, struct buf *b)
{
    uint32_t order[SIM_MAX_SERVERS];
    uint32_t count = rng_between(&sim->rng, 1, sim->node_count);
    for (uint32_t i = 0; i < sim->node_count; i++)
        order[i] = i;
    buf_puts(b, "\"servers\":[");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pick = rng_between(&sim->rng, i, sim->node_count - 1);
        uint32_t node = order[pick];
        order[pick] = order[i];
        r->node_of[i] = node;
        buf_printf(b, "%s\"%s\"", i == 0 ? "" : ",", sim->nodes[node].id);
    }
    buf_puts(b, "],");
}

struct plan *sim_plan_read(const char *text)
{
    struct plan *plan = NULL;
    struct error err = {0};
    enum error_code code = plan_read(text, strlen(text), &plan, &err);
    if (code != ERR_OK)
        (void)fprintf(stderr, "%s\n%s\n", text, err.message);
    assert(code == ERR_OK);
    return plan;
}

static void write_rollback(struct sim *sim, struct buf *b)
{
    static const char *const scopes[] = {"all", "all", "failed", "none"};
    struct rng *rng = &sim->rng;
    buf_printf(b, ",\"rollback\":{\"scope\":\"%s\"", scopes[rng_below(rng, ARRAY_LEN(scopes))]);
    if (sim->profile.confirms && rng_chance(rng, 60))
        buf_printf(b, ",\"confirmTimeoutSeconds\":%u", rng_between(rng, 1, 40));
    buf_putc(b, '}');
}

void sim_plan_make(struct sim *sim, uint32_t number)
{
    struct sim_rollout *r = &sim->rollouts[number];
    AUTO_BUF struct buf b = BUF_INIT;
    (void)snprintf(r->id, sizeof(r->id), "r-%u", number + 1);
    r->scope = SCOPE_NONE;
    r->no_wait = rng_chance(&sim->rng, 20);
    r->submit_at_ms = number == 0 ? 0 : rng_between(&sim->rng, 0, SUBMIT_UNTIL_MS);
    r->retry = number > 0 && rng_once_in(&sim->rng, RETRY_ONCE_IN);
    r->check = !r->retry && rng_once_in(&sim->rng, CHECK_ONCE_IN);
    if (r->retry) {
        r->retry_of = rng_below(&sim->rng, number);
        r->check = sim->rollouts[r->retry_of].check;
        sim_trace(sim, "%s: a retry of %s", r->id, sim->rollouts[r->retry_of].id);
        return;
    }
    buf_putc(&b, '{');
    write_servers(sim, r, &b);
    buf_puts(&b, "\"steps\":[");
    uint32_t steps = rng_between(&sim->rng, 1, SIM_MAX_STEPS);
    for (uint32_t i = 0; i < steps; i++)
        write_step(sim, &b, i);
    buf_puts(&b, "],");
    write_strategy(sim, &b);
    write_rollback(sim, &b);
    buf_putc(&b, '}');
    r->text = sim_checked(buf_take(&b, NULL));
    r->plan = sim_plan_read(r->text);
    sim_trace(sim, "%s%s: %s", r->id, r->check ? ", a check" : "", r->text);
}
