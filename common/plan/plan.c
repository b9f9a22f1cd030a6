#include "common/plan/plan.h"

#include "common/base/alloc.h"
#include "common/plan/plan_index.h"

#include <assert.h>
#include <string.h>

#define X(value, name) [value] = (name),
static const char *const strategy_names[STRATEGY_COUNT] = {PLAN_STRATEGIES(X)};
static const char *const scope_names[SCOPE_COUNT] = {PLAN_SCOPES(X)};
static const char *const interrupt_names[INTERRUPT_COUNT] = {PLAN_INTERRUPTS(X)};
#undef X

const char *plan_strategy_name(enum plan_strategy_type type)
{
    assert(type < STRATEGY_COUNT);
    return strategy_names[type];
}

const char *plan_scope_name(enum plan_scope scope)
{
    assert(scope < SCOPE_COUNT);
    return scope_names[scope];
}

const char *plan_interrupt_name(enum plan_interrupt interrupt)
{
    assert(interrupt < INTERRUPT_COUNT);
    return interrupt_names[interrupt];
}

/* ---- Life -------------------------------------------------------------------------------- */

enum error_code plan_finish(struct plan *plan, struct error *err)
{
    AUTO(plan_index_free) struct plan_index *index = plan_index_new(plan->servers.count);
    if (!index)
        return error_set(err, ERR_NO_MEMORY, NULL);
    char *const *servers = plan->servers.items;
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        uint32_t first;
        if (!plan_index_add(index, servers, i, &first))
            return error_set(err, ERR_EXISTS, "servers[%u]: \"%s\" is listed already (servers[%u])",
                             i, servers[i], first);
    }
    plan_index_free(plan->index);
    plan->index = TAKE(index);
    return ERR_OK;
}

void plan_step_done(struct plan_step *step)
{
    mem_free(step->name);
    mem_free(step->type);
    mem_free(step->params_json);
    mem_free(step->when);
    mem_free(step->retry.non_retryable_exit_codes.items);
    *step = (struct plan_step){0};
}

void plan_signing_done(struct plan_signing *signing)
{
    for (size_t i = 0; i < signing->signatures.count; i++) {
        const struct plan_signature *s = ARRAY_AT(&signing->signatures, struct plan_signature, i);
        mem_free(s->key);
        mem_free(s->signature);
    }
    mem_free(signing->signatures.items);
    mem_free(signing->nonce);
    mem_free(signing->digest);
    *signing = (struct plan_signing){0};
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->servers.count; i++)
        mem_free(*ARRAY_AT(&plan->servers, char *, i));
    mem_free(plan->servers.items);
    for (size_t i = 0; i < plan->steps.count; i++)
        plan_step_done(ARRAY_AT(&plan->steps, struct plan_step, i));
    mem_free(plan->steps.items);
    mem_free(plan->strategy.batch_sizes.items);
    mem_free(plan->name);
    mem_free(plan->vars_json);
    mem_free(plan->secrets_json);
    plan_signing_done(&plan->signing);
    plan_index_free(plan->index);
    mem_free(plan);
}

/* ---- A plan for some of the servers ------------------------------------------------------ */

/* NULL stays NULL. */
static bool copy_text(const char *text, char **ret_copy)
{
    *ret_copy = text ? mem_strdup(text) : NULL;
    return !text || *ret_copy;
}

static bool copy_items(const struct array *from, size_t size, struct array *ret)
{
    *ret = (struct array){0};
    if (from->count == 0)
        return true;
    ret->items = mem_array(from->count, size);
    if (!ret->items)
        return false;
    memcpy(ret->items, from->items, from->count * size);
    ret->count = from->count;
    return true;
}

static bool copy_step(const struct plan_step *from, struct plan_step *ret)
{
    *ret = *from;
    ret->name = ret->type = ret->params_json = ret->when = NULL;
    return copy_items(&from->retry.non_retryable_exit_codes, sizeof(int64_t),
                      &ret->retry.non_retryable_exit_codes) &&
           copy_text(from->name, &ret->name) && copy_text(from->type, &ret->type) &&
           copy_text(from->params_json, &ret->params_json) && copy_text(from->when, &ret->when);
}

static bool copy_steps(const struct plan *from, struct plan *ret)
{
    ret->steps.items = mem_array(from->steps.count, sizeof(struct plan_step));
    if (!ret->steps.items)
        return false;
    for (uint32_t i = 0; i < plan_step_count(from); i++) {
        ret->steps.count++; /* so that a half-made one is freed, too */
        if (!copy_step(plan_step(from, i), ARRAY_AT(&ret->steps, struct plan_step, i)))
            return false;
    }
    return true;
}

static bool copy_servers(const struct plan *from, bool (*keep)(void *ctx, uint32_t server),
                         void *ctx, struct plan *ret)
{
    ret->servers.items = mem_array(from->servers.count, sizeof(char *));
    if (!ret->servers.items)
        return false;
    for (uint32_t i = 0; i < plan_server_count(from); i++) {
        if (!keep(ctx, i))
            continue;
        char *copy = mem_strdup(plan_server(from, i));
        if (!copy)
            return false;
        *ARRAY_AT(&ret->servers, char *, ret->servers.count++) = copy;
    }
    return true;
}

enum error_code plan_keep_servers(const struct plan *plan, bool (*keep)(void *ctx, uint32_t server),
                                  void *ctx, struct plan **ret_plan, struct error *err)
{
    AUTO(plan_free) struct plan *copy = MEM_NEW(struct plan);
    if (!copy)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *copy = *plan;
    copy->name = copy->vars_json = copy->secrets_json = NULL;
    copy->index = NULL;
    copy->is_signed = false;
    copy->signing = (struct plan_signing){0};
    copy->servers = copy->steps = copy->strategy.batch_sizes = (struct array){0};
    if (!copy_items(&plan->strategy.batch_sizes, sizeof(struct plan_size),
                    &copy->strategy.batch_sizes) ||
        !copy_text(plan->name, &copy->name) || !copy_text(plan->vars_json, &copy->vars_json) ||
        !copy_text(plan->secrets_json, &copy->secrets_json) || !copy_steps(plan, copy) ||
        !copy_servers(plan, keep, ctx, copy))
        return error_set(err, ERR_NO_MEMORY, NULL);
    assert(copy->servers.count > 0);
    enum error_code code = plan_finish(copy, err);
    if (code == ERR_OK)
        *ret_plan = TAKE(copy);
    return code;
}

/* ---- Finding ----------------------------------------------------------------------------- */

bool plan_server_find(const struct plan *p, const char *id, uint32_t *ret_index)
{
    assert(p->index);
    return plan_index_find(p->index, p->servers.items, id, ret_index);
}

bool plan_step_find(const struct plan *p, const char *name, uint32_t *ret_index)
{
    for (uint32_t i = 0; i < plan_step_count(p); i++) {
        if (strcmp(plan_step(p, i)->name, name) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

/* ---- Arithmetic -------------------------------------------------------------------------- */

enum rounding { ROUND_DOWN, ROUND_UP };

/* A share of `all`, worked out in whole millionths of a percent: 10% of 30 is 3 and not what binary
 * fractions make of it, so rounding up does not give 4. */
static uint32_t share_of(double percent, uint32_t all, enum rounding rounding)
{
    const uint64_t whole = UINT64_C(100) * PLAN_PERCENT_UNIT;
    if (!(percent > 0))
        return 0;
    if (percent >= 100)
        return all;
    double exact = percent * PLAN_PERCENT_UNIT;
    uint64_t units = (uint64_t)exact;
    if (exact - (double)units >= 0.5)
        units++;
    uint64_t product = units * all;
    if (rounding == ROUND_UP)
        product += whole - 1;
    return (uint32_t)(product / whole);
}

static uint32_t count_of(const struct plan_size *size, uint32_t all, enum rounding rounding)
{
    if (size->percent)
        return share_of(size->value, all, rounding);
    if (!(size->value > 0))
        return 0;
    return size->value >= UINT32_MAX ? UINT32_MAX : (uint32_t)size->value;
}

/* The batch size number `i` of those listed, the last of which repeats; at least 1. */
static uint32_t listed_size(const struct plan *p, uint32_t i, uint32_t when_none)
{
    const struct array *sizes = &p->strategy.batch_sizes;
    if (sizes->count == 0)
        return when_none;
    size_t at = i < sizes->count ? i : sizes->count - 1;
    uint32_t size = count_of(ARRAY_AT(sizes, struct plan_size, at), plan_server_count(p), ROUND_UP);
    return size > 0 ? size : 1;
}

static uint32_t canary_size(const struct plan *p)
{
    uint32_t size = share_of(p->strategy.canary_percentage, plan_server_count(p), ROUND_UP);
    return size > 0 ? size : 1;
}

uint32_t plan_batch_size(const struct plan *p, uint32_t batch, uint32_t servers_left)
{
    uint32_t size = servers_left;
    switch ((enum plan_strategy_type)p->strategy.type) {
    case STRATEGY_PARALLEL:
        break;
    case STRATEGY_SEQUENTIAL:
        size = 1;
        break;
    case STRATEGY_ROLLING:
        size = listed_size(p, batch, 1);
        break;
    case STRATEGY_CANARY:
        size = batch == 0 ? canary_size(p) : listed_size(p, batch - 1, servers_left);
        break;
    case STRATEGY_COUNT:
        assert(false);
    }
    return size < servers_left ? size : servers_left;
}

uint32_t plan_parallel(const struct plan *p, uint32_t batch_size)
{
    int64_t cap = p->strategy.max_parallel;
    return cap > 0 && cap < batch_size ? (uint32_t)cap : batch_size;
}

static uint32_t allowed_by(const struct plan *p, const struct plan_limit *limit)
{
    switch (limit->kind) {
    case LIMIT_ABSENT:
        return 0;
    case LIMIT_NONE:
        return UINT32_MAX;
    case LIMIT_SIZE:
        break;
    }
    /* UINT32_MAX means no limit, so the largest limit is one less. */
    uint32_t count = count_of(&limit->size, plan_server_count(p), ROUND_DOWN);
    return count < UINT32_MAX ? count : UINT32_MAX - 1;
}

uint32_t plan_failures_allowed(const struct plan *p)
{
    return allowed_by(p, &p->strategy.max_failures);
}

bool plan_unreachable_allowed(const struct plan *p, uint32_t *ret_allowed)
{
    if (p->strategy.max_unreachable.kind == LIMIT_ABSENT)
        return false;
    *ret_allowed = allowed_by(p, &p->strategy.max_unreachable);
    return true;
}
