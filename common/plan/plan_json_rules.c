/* What a plan's field tables cannot say: rules across fields, step types and their params. */
#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/plan/plan_index.h"
#include "common/plan/plan_json_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_CANARY_PERCENTAGE = 10,
    SHOWN_BYTES_MAX = 64 /* of a text of the plan's, in a message */
};

/* A member that is there and not null; null is as good as absent. */
static const struct json_value *given(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    return value && json_kind(value) != JSON_IS_NULL ? value : NULL;
}

/* ---- Servers ----------------------------------------------------------------------------- */

static enum error_code check_duplicate_servers(const struct plan *plan, struct problems *ps,
                                               struct error *err)
{
    if (plan->servers.count > PLAN_MAX_SERVERS)
        return ERR_OK;
    AUTO(plan_index_free) struct plan_index *index = plan_index_new(plan->servers.count);
    if (!index)
        return error_set(err, ERR_NO_MEMORY, NULL);
    char *const *servers = plan->servers.items;
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        uint32_t first;
        /* One that could not be decoded is NULL and has its own problem. */
        if (!servers[i] || plan_index_add(index, servers, i, &first))
            continue;
        char path[PROBLEM_PATH_MAX];
        (void)snprintf(path, sizeof(path), "servers[%u]", i);
        problems_add(ps, path, "\"%s\" is listed already (servers[%u])", servers[i], first);
    }
    return ERR_OK;
}

static enum error_code check_servers(const struct json_value *root, const struct plan *plan,
                                     struct problems *ps, struct error *err)
{
    bool has_servers = given(root, "servers") != NULL;
    bool has_server_id = given(root, "serverID") != NULL;
    if (has_servers && has_server_id)
        problems_add(ps, "serverID", "\"servers\" is given too; leave one of the two out");
    if (!has_servers && !has_server_id)
        problems_add(ps, "servers", "is required (a list of server ids)");
    return check_duplicate_servers(plan, ps, err);
}

/* ---- Steps ------------------------------------------------------------------------------- */

static void check_step_name(const struct plan *plan, uint32_t i, struct problems *ps)
{
    const char *name = plan_step(plan, i)->name;
    for (uint32_t before = 0; name && before < i; before++) {
        const char *other = plan_step(plan, before)->name;
        if (!other || strcmp(other, name) != 0)
            continue;
        char path[PROBLEM_PATH_MAX];
        (void)snprintf(path, sizeof(path), "steps[%u].name", i);
        problems_add(ps, path, "\"%s\" is the name of steps[%u] already", name, before);
        return;
    }
}

static void add_unknown_type(const struct step_catalog *catalog, const char *type, const char *path,
                             struct problems *ps)
{
    AUTO_FREE const char **names = mem_array(catalog->count, sizeof(*names));
    AUTO_BUF struct buf list = BUF_INIT;
    for (size_t i = 0; names && i < catalog->count; i++) {
        names[i] = catalog->types[i]->name;
        buf_puts(&list, i > 0 ? ", " : "");
        buf_puts(&list, names[i]);
    }
    if (!names || buf_check(&list, NULL) != ERR_OK) {
        ps->no_memory = true;
        return;
    }
    const char *closest = text_closest(type, names, catalog->count);
    int shown = (int)text_utf8_cut(type, strlen(type), SHOWN_BYTES_MAX);
    if (closest)
        problems_add(ps, path, "\"%.*s\" is not a step type (did you mean \"%s\"?)", shown, type,
                     closest);
    else
        problems_add(ps, path, "\"%.*s\" is not a step type (there are: %s)", shown, type,
                     list.data ? list.data : "");
}

/* When the longest wait was not said it is no shorter than the first one. */
static void check_retry(const struct json_value *value, struct plan_retry *retry, uint32_t i,
                        struct problems *ps)
{
    if (!value || json_kind(value) != JSON_IS_OBJECT ||
        retry->maximum_interval_ms >= retry->initial_interval_ms)
        return;
    if (!given(value, "maximumIntervalSeconds")) {
        retry->maximum_interval_ms = retry->initial_interval_ms;
        return;
    }
    char path[PROBLEM_PATH_MAX];
    (void)snprintf(path, sizeof(path), "steps[%u].retry.maximumIntervalSeconds", i);
    problems_add(ps, path, "must be at least initialIntervalSeconds");
}

/* Checks the params and, when they are right, puts them into their canonical form. */
static enum error_code check_params(const struct step_type *type, const struct json_value *value,
                                    const char *path, struct plan_step *step, struct problems *ps,
                                    struct error *err)
{
    void *params = NULL;
    enum error_code code = plan_params_decode(type, value, path, &params, ps, err);
    if (code != ERR_OK || !params)
        return code;
    AUTO_BUF struct buf text = BUF_INIT;
    json_encode(&text, type->params, params);
    step_params_free(type, params);
    code = buf_check(&text, err);
    if (code != ERR_OK)
        return code;
    mem_free(step->params_json);
    step->params_json = buf_take(&text, NULL);
    return step->params_json ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

/* What the steps are checked against. */
struct step_rules {
    const struct step_catalog *catalog;
    struct plan_values values;
};

static enum error_code check_step(const struct json_value *value, const struct step_rules *rules,
                                  struct plan *plan, uint32_t i, struct problems *ps,
                                  struct error *err)
{
    const struct step_catalog *catalog = rules->catalog;
    struct plan_step *step = ARRAY_AT(&plan->steps, struct plan_step, i);
    check_step_name(plan, i, ps);
    if (json_kind(value) != JSON_IS_OBJECT)
        return ERR_OK;
    check_retry(given(value, "retry"), &step->retry, i, ps);
    if (step->when)
        plan_when_check(&rules->values, i, ps);
    if (!step->type)
        return ERR_OK;
    char path[PROBLEM_PATH_MAX];
    const struct step_type *type = step_catalog_find(catalog, step->type);
    if (!type) {
        (void)snprintf(path, sizeof(path), "steps[%u].type", i);
        add_unknown_type(catalog, step->type, path, ps);
        return ERR_OK;
    }
    (void)snprintf(path, sizeof(path), "steps[%u].params", i);
    const struct json_value *params = given(value, "params");
    if (params) {
        if (json_kind(params) != JSON_IS_OBJECT) /* has its problem already */
            return ERR_OK;
        if (plan_params_have_values(step->params_json))
            return plan_template_check(&rules->values, i, type, params, ps, err);
        return check_params(type, params, path, step, ps, err);
    }
    struct json_doc *empty;
    enum error_code code = json_parse("{}", 2, 2, &empty, err);
    if (code != ERR_OK)
        return code;
    code = check_params(type, json_root(empty), path, step, ps, err);
    json_free(empty);
    return code;
}

static enum error_code check_steps(const struct json_value *root, struct plan *plan,
                                   const struct step_catalog *catalog, struct problems *ps,
                                   struct error *err)
{
    const struct json_value *steps = given(root, "steps");
    if (!steps || plan->steps.count == 0)
        return ERR_OK; /* a problem of its own */
    const struct json_value *value = json_first(steps);
    struct step_rules rules = {.catalog = catalog};
    enum error_code code = plan_values_init(plan, catalog, &rules.values, err);
    for (uint32_t i = 0; code == ERR_OK && value && i < plan_step_count(plan); i++) {
        code = check_step(value, &rules, plan, i, ps, err);
        value = json_next(value);
    }
    plan_values_done(&rules.values);
    return code;
}

/* ---- Strategy ---------------------------------------------------------------------------- */

/* A field that says nothing under a strategy: whoever wrote it expects something that will not
 * happen. */
struct misplaced {
    enum plan_strategy_type type;
    const char *field;
    const char *remedy;
};
#define ONLY_CANARY "only Canary has a canary; leave it out, or take the type Canary"
static const struct misplaced misplaced[] = {
    {STRATEGY_PARALLEL, "batchSize",
     "Parallel has no batches; leave it out, take the type Rolling, or say with maxParallel how "
     "many run at once"},
    {STRATEGY_PARALLEL, "batchDelaySeconds",
     "Parallel has no batches; leave it out, or take the type Rolling"},
    {STRATEGY_PARALLEL, "canaryPercentage", ONLY_CANARY},
    {STRATEGY_SEQUENTIAL, "canaryPercentage", ONLY_CANARY},
    {STRATEGY_SEQUENTIAL, "maxParallel",
     "Sequential runs one server at a time; leave it out, or take the type Rolling"},
    {STRATEGY_ROLLING, "canaryPercentage", ONLY_CANARY},
};
#undef ONLY_CANARY

static void check_sequential(const struct plan_strategy *strategy, struct problems *ps)
{
    for (size_t i = 0; i < strategy->batch_sizes.count; i++) {
        const struct plan_size *size = ARRAY_AT(&strategy->batch_sizes, struct plan_size, i);
        if (size->percent || size->value > 1) {
            problems_add(ps, "rolloutStrategy.batchSize",
                         "Sequential runs one server at a time, a batchSize of 1; leave it out, or "
                         "take the type Rolling");
            return;
        }
    }
}

/* A cap that holds whatever else the plan says: a list of servers that grew too long, by a wrong
 * query or a slip, is refused before the first server is touched. */
static void check_touched(const struct plan *plan, struct problems *ps)
{
    int64_t most = plan->strategy.max_touched;
    if (most > 0 && plan->servers.count > (uint64_t)most)
        problems_add(ps, "rolloutStrategy.maxTouched",
                     "the plan names %zu servers, and at most %lld may be touched",
                     plan->servers.count, (long long)most);
}

static void check_strategy(const struct json_value *root, const struct plan *plan,
                           struct problems *ps)
{
    const struct plan_strategy *strategy = &plan->strategy;
    const struct json_value *value = given(root, "rolloutStrategy");
    if (!value || json_kind(value) != JSON_IS_OBJECT)
        return;
    check_touched(plan, ps);
    const struct json_value *percentage = given(value, "canaryPercentage");
    if (percentage && json_kind(percentage) == JSON_IS_NUMBER && json_number(percentage) == 0)
        problems_add(ps, "rolloutStrategy.canaryPercentage", "must be more than 0");

    const struct json_value *type = given(value, "type");
    enum plan_strategy_type is = (enum plan_strategy_type)strategy->type;
    if (!type || json_kind(type) != JSON_IS_STRING ||
        strcmp(json_string(type), plan_strategy_name(is)) != 0)
        return; /* a problem of its own; what the other fields mean is not known */
    if (is == STRATEGY_SEQUENTIAL)
        check_sequential(strategy, ps);
    for (size_t i = 0; i < ARRAY_LEN(misplaced); i++) {
        if (misplaced[i].type != is || !given(value, misplaced[i].field))
            continue;
        char path[PROBLEM_PATH_MAX];
        (void)snprintf(path, sizeof(path), "rolloutStrategy.%s", misplaced[i].field);
        problems_add(ps, path, "%s", misplaced[i].remedy);
    }
}

enum error_code plan_rules_check(const struct json_value *root, struct plan_document *document,
                                 const struct step_catalog *catalog, struct problems *ps,
                                 struct error *err)
{
    if (json_kind(root) != JSON_IS_OBJECT)
        return ERR_OK;
    enum error_code code = check_servers(root, &document->plan, ps, err);
    if (code == ERR_OK)
        code = check_steps(root, &document->plan, catalog, ps, err);
    if (code == ERR_OK)
        code = plan_secrets_check(root, ps, err);
    if (code == ERR_OK)
        check_strategy(root, &document->plan, ps);
    if (code == ERR_OK && document->plan.is_signed)
        plan_signing_check(&document->plan.signing, ps);
    return code;
}

/* ---- Completing -------------------------------------------------------------------------- */

static enum error_code complete_servers(struct plan_document *document, struct error *err)
{
    if (!document->server_id)
        return ERR_OK;
    char **servers = MEM_NEW(char *);
    if (!servers)
        return error_set(err, ERR_NO_MEMORY, NULL);
    servers[0] = TAKE(document->server_id);
    document->plan.servers = (struct array){.items = servers, .count = 1};
    return ERR_OK;
}

static enum error_code complete_batch_sizes(struct plan_strategy *strategy, struct error *err)
{
    struct array *sizes = &strategy->batch_sizes;
    bool one_by_one = strategy->type == STRATEGY_SEQUENTIAL || strategy->type == STRATEGY_ROLLING;
    if (sizes->count == 0 && one_by_one) {
        struct plan_size *size = MEM_NEW(struct plan_size);
        if (!size)
            return error_set(err, ERR_NO_MEMORY, NULL);
        size->value = 1;
        *sizes = (struct array){.items = size, .count = 1};
    }
    /* The last one repeats anyhow. */
    while (sizes->count > 1) {
        const struct plan_size *last = ARRAY_AT(sizes, struct plan_size, sizes->count - 1);
        if (last->percent != last[-1].percent || last->value != last[-1].value)
            break;
        sizes->count--;
    }
    return ERR_OK;
}

static void complete_limit(struct plan_limit *limit)
{
    if (limit->kind == LIMIT_SIZE && limit->size.value <= 0)
        limit->size = (struct plan_size){0};
}

static enum error_code complete_strategy(struct plan_document *document, struct error *err)
{
    struct plan_strategy *strategy = &document->plan.strategy;
    if (!document->has_strategy)
        strategy->type = STRATEGY_SEQUENTIAL;
    if (strategy->max_failures.kind == LIMIT_ABSENT)
        strategy->max_failures = (struct plan_limit){.kind = LIMIT_SIZE};
    complete_limit(&strategy->max_failures);
    complete_limit(&strategy->max_unreachable);
    if (strategy->type == STRATEGY_CANARY && strategy->canary_percentage <= 0)
        strategy->canary_percentage = DEFAULT_CANARY_PERCENTAGE;
    return complete_batch_sizes(strategy, err);
}

static int compare_exit_codes(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* They are a set: in order, each once. */
static void complete_exit_codes(struct array *codes)
{
    if (codes->count == 0)
        return;
    int64_t *items = codes->items;
    size_t kept = 1;
    qsort(items, codes->count, sizeof(*items), compare_exit_codes);
    for (size_t i = 1; i < codes->count; i++) {
        if (items[i] != items[kept - 1])
            items[kept++] = items[i];
    }
    codes->count = kept;
}

enum error_code plan_step_complete(struct plan_step *step, struct error *err)
{
    complete_exit_codes(&step->retry.non_retryable_exit_codes);
    if (!step->params_json)
        step->params_json = mem_strdup("{}");
    return step->params_json ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

enum error_code plan_rules_complete(struct plan_document *document, struct error *err)
{
    enum error_code code = complete_servers(document, err);
    if (code == ERR_OK)
        code = complete_strategy(document, err);
    for (uint32_t i = 0; code == ERR_OK && i < plan_step_count(&document->plan); i++)
        code = plan_step_complete(ARRAY_AT(&document->plan.steps, struct plan_step, i), err);
    if (code == ERR_OK) {
        document->plan.rollback_scope = document->rollback.scope;
        document->plan.confirm_timeout_ms = document->rollback.confirm_timeout_ms;
    }
    return code;
}
