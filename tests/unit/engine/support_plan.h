/*
 * support_plan: plans built in memory, for tests and simulations of what runs them.
 *
 * plan_of(servers, steps) gives a sequential plan without tolerance that undoes all; a test changes
 * its strategy as it needs. Memory that runs out ends the program.
 */
#pragma once

#include "common/plan/plan.h"

#include <stdint.h>

struct plan *plan_of(uint32_t servers, uint32_t steps);
void plan_set_batches(struct plan *plan, const struct plan_size *sizes, uint32_t count);

static inline struct plan_size size_of(double servers)
{
    return (struct plan_size){.percent = false, .value = servers};
}
static inline struct plan_size size_of_percent(double percent)
{
    return (struct plan_size){.percent = true, .value = percent};
}
static inline struct plan_limit limit_of(double servers)
{
    return (struct plan_limit){.kind = LIMIT_SIZE, .size = {.percent = false, .value = servers}};
}
static inline struct plan_limit limit_of_percent(double percent)
{
    return (struct plan_limit){.kind = LIMIT_SIZE, .size = {.percent = true, .value = percent}};
}

/* One step each. */
struct plan *sequential_of(uint32_t servers);
struct plan *parallel_of(uint32_t servers);
struct plan *rolling_of(uint32_t servers, uint32_t batch_size);
struct plan *canary_of(uint32_t servers, double percentage);
