#include "unit/engine/support_plan.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 16 };

static void *checked(void *p)
{
    assert(p);
    return p;
}

static char *numbered_name(const char *stem, uint32_t number)
{
    char *name = checked(mem_alloc(NAME_SIZE));
    (void)snprintf(name, NAME_SIZE, "%s-%u", stem, number);
    return name;
}

struct plan *plan_of(uint32_t servers, uint32_t steps)
{
    struct plan *plan = checked(MEM_NEW(struct plan));
    plan->servers.items = checked(mem_array(servers, sizeof(char *)));
    plan->servers.count = servers;
    for (uint32_t i = 0; i < servers; i++)
        *ARRAY_AT(&plan->servers, char *, i) = numbered_name("web", i + 1);
    plan->steps.items = checked(mem_array(steps, sizeof(struct plan_step)));
    plan->steps.count = steps;
    for (uint32_t i = 0; i < steps; i++) {
        struct plan_step *step = ARRAY_AT(&plan->steps, struct plan_step, i);
        step->name = numbered_name("step", i + 1);
        step->type = checked(mem_strdup("echo"));
        step->params_json = checked(mem_strdup("{}"));
        step->required = true;
        step->timeout_ms = PLAN_DEFAULT_TIMEOUT_MS;
    }
    plan->strategy.type = STRATEGY_SEQUENTIAL;
    plan->strategy.canary_percentage = 10;
    plan->rollback_scope = SCOPE_ALL;
    enum error_code code = plan_finish(plan, NULL);
    assert(code == ERR_OK);
    return plan;
}

void plan_set_batches(struct plan *plan, const struct plan_size *sizes, uint32_t count)
{
    mem_free(plan->strategy.batch_sizes.items);
    plan->strategy.batch_sizes.items = checked(mem_array(count, sizeof(*sizes)));
    plan->strategy.batch_sizes.count = count;
    memcpy(plan->strategy.batch_sizes.items, sizes, count * sizeof(*sizes));
}

struct plan *sequential_of(uint32_t servers)
{
    return plan_of(servers, 1);
}

struct plan *parallel_of(uint32_t servers)
{
    struct plan *plan = plan_of(servers, 1);
    plan->strategy.type = STRATEGY_PARALLEL;
    return plan;
}

struct plan *rolling_of(uint32_t servers, uint32_t batch_size)
{
    struct plan *plan = plan_of(servers, 1);
    plan->strategy.type = STRATEGY_ROLLING;
    plan_set_batches(plan, &(struct plan_size){.value = batch_size}, 1);
    return plan;
}

struct plan *canary_of(uint32_t servers, double percentage)
{
    struct plan *plan = plan_of(servers, 1);
    plan->strategy.type = STRATEGY_CANARY;
    plan->strategy.canary_percentage = percentage;
    return plan;
}
