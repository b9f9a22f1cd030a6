#include "support_plan.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <stdio.h>

struct plan *plan_of(uint32_t servers, enum plan_strategy_type type)
{
    struct plan *plan = MEM_NEW(struct plan);
    assert(plan);
    char **ids = mem_array(servers, sizeof(*ids));
    assert(ids);
    for (uint32_t i = 0; i < servers; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "s-%u", i);
        ids[i] = mem_strdup(id);
        assert(ids[i]);
    }
    plan->servers = (struct array){.items = ids, .count = servers};

    static const char *const names[] = {"first", "second"};
    struct plan_step *steps = mem_array(ARRAY_LEN(names), sizeof(*steps));
    assert(steps);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        steps[i].name = mem_strdup(names[i]);
        steps[i].type = mem_strdup("echo");
        steps[i].params_json = mem_strdup("{\"message\":\"m\"}");
        assert(steps[i].name && steps[i].type && steps[i].params_json);
    }
    plan->steps = (struct array){.items = steps, .count = ARRAY_LEN(names)};
    plan->strategy.type = (int)type;
    plan->strategy.canary_percentage = 10;

    struct error err;
    enum error_code code = plan_finish(plan, &err);
    assert(code == ERR_OK);
    (void)code;
    return plan;
}

void plan_set_batches(struct plan *plan, const double *sizes, size_t count)
{
    mem_free(plan->strategy.batch_sizes.items);
    struct plan_size *items = mem_array(count, sizeof(*items));
    assert(items);
    for (size_t i = 0; i < count; i++) {
        items[i].percent = sizes[i] < 0;
        items[i].value = sizes[i] < 0 ? -sizes[i] : sizes[i];
    }
    plan->strategy.batch_sizes = (struct array){.items = items, .count = count};
}
