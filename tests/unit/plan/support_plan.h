/* support_plan: plans for tests. */
#pragma once

#include "common/base/problems.h"
#include "common/plan/plan.h"

#include <stddef.h>
#include <stdint.h>

/* A plan with servers s-0, s-1, ... and two echo steps, "first" and "second"; finished. */
struct plan *plan_of(uint32_t servers, enum plan_strategy_type type);
/* Sets the batch sizes: negative numbers are percentages. */
void plan_set_batches(struct plan *plan, const double *sizes, size_t count);
