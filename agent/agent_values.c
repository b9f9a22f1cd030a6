/* What the names in conditions and params stand for on this server, and that a step is carried out,
 * tried again and undone with what was found for it when it was prepared: that is kept with what
 * undo needs, as {"params":{...},"undo":{...}}, for each step that has a condition or placeholders.
 * A text with a secret in it is kept as it stands in the plan, and what else it names beside it, as
 * {"params":{...},"values":{"vars.x":...},"undo":{...}}: the secret is looked up for each operation
 * anew, by the runner alone.
 */
#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/values/expr.h"
#include "common/values/template.h"
#include "common/values/value_json.h"

#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(json_free, struct json_doc)
DEFINE_CLEANUP(expr_free, struct expr)

enum {
    WHEN_SHOWN_MAX = 400,
    PARAMS_MAX_BYTES = 2 * PLAN_MAX_BYTES,
    KEPT_MAX_BYTES = 2 * PARAMS_MAX_BYTES
};

/* ---- Life --------------------------------------------------------------------------------------
 */

enum error_code values_init(struct run *run, struct error *err)
{
    const struct execution *x = run->execution;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers it is */
    run->outputs = mem_array(x->steps.count, sizeof(struct value_set *));
    if (!run->outputs)
        return error_set(err, ERR_NO_MEMORY, NULL);
    run->step_count = x->steps.count;
    return x->vars ? value_set_read_json(x->vars, &run->vars, err) : ERR_OK;
}

void values_done(struct run *run)
{
    for (size_t i = 0; i < run->step_count; i++)
        value_set_free(run->outputs[i]);
    mem_free(run->outputs);
    value_set_free(run->vars);
    values_forget(run);
    mem_free(run->put_out);
}

void values_forget(struct run *run)
{
    mem_free(TAKE(run->params));
    mem_free(TAKE(run->late));
}

/* ---- Names -------------------------------------------------------------------------------------
 */

struct scope {
    const struct agent *agent;
    const struct run *run;
    const struct value_set *facts;
    struct value_set *late; /* what texts with secrets name beside; NULL: nothing yet */
};

static bool find_in(const struct value_set *set, const char *name, size_t space_len,
                    struct value *ret)
{
    return set && value_set_find(set, name + space_len, ret);
}

static bool find_server(const struct scope *s, const char *name, struct value *ret)
{
    static const char labels[] = "server.labels.";
    if (strncmp(name, labels, sizeof(labels) - 1) == 0)
        return find_in(s->agent->config.values.labels, name, sizeof(labels) - 1, ret);
    *ret = (struct value){.kind = VALUE_TEXT, .text = s->agent->config.identity.server};
    return true;
}

/* "steps.NAME.outputs.X" */
static bool find_output(const struct scope *s, const char *name, struct value *ret)
{
    const char *step = name + strlen("steps.");
    size_t len = strcspn(step, ".");
    const char *output = step + len + strlen(".outputs.");
    for (uint32_t i = 0; i < s->run->execution->steps.count; i++) {
        const char *other = run_step(s->run, i)->name;
        if (strlen(other) == len && memcmp(other, step, len) == 0)
            return find_in(s->run->outputs[i], output, 0, ret);
    }
    return false;
}

static bool scope_find(void *ctx, const char *name, struct value *ret)
{
    const struct scope *s = ctx;
    enum value_space space = SPACE_COUNT;
    (void)value_name_scan(name, &space);
    switch (space) {
    case SPACE_SERVER:
        return find_server(s, name, ret);
    case SPACE_FACTS:
        return find_in(s->facts, name, strlen("facts."), ret);
    case SPACE_VARS:
        return find_in(s->run->vars, name, strlen("vars."), ret);
    case SPACE_STEPS:
        return find_output(s, name, ret);
    case SPACE_SECRETS: /* the runner's alone */
    case SPACE_COUNT:
        break;
    }
    return false;
}

static enum error_code scope_later(void *ctx, const char *name, const struct value *value,
                                   struct error *err)
{
    struct scope *s = ctx;
    enum error_code code = s->late ? ERR_OK : value_set_new(&s->late, err);
    return code == ERR_OK ? value_set_put(s->late, name, value, err) : code;
}

/* ---- Before a step -----------------------------------------------------------------------------
 */

/* A type that the agent does not have is told when the step is run. */
static enum error_code params_fit(const struct step_type *type, const struct json_value *planned,
                                  const struct buf *filled, char **ret_params, struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    AUTO_BUF struct buf text = {.max = PARAMS_MAX_BYTES};
    enum error_code code = json_parse(filled->data, filled->len, PARAMS_MAX_BYTES, &doc, err);
    if (code != ERR_OK)
        return code;
    if (type)
        plan_params_fit(planned, json_root(doc), type->params, &text);
    else
        json_write_value(&text, json_root(doc));
    *ret_params = buf_take(&text, NULL);
    return *ret_params ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code params_fill(const struct agent *a, const struct plan_step *step,
                                   const struct value_scope *scope, char **ret_params,
                                   struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    AUTO_BUF struct buf filled = {.max = PARAMS_MAX_BYTES};
    enum error_code code =
        json_parse(step->params_json, strlen(step->params_json), PARAMS_MAX_BYTES, &doc, err);
    if (code == ERR_OK)
        code = template_json_fill(json_root(doc), "params", scope, &filled, err);
    if (code != ERR_OK)
        return code;
    const struct step_type *type = step_catalog_find(a->config.catalog, step->type);
    return params_fit(type, json_root(doc), &filled, ret_params, err);
}

static enum error_code when_test(const struct plan_step *step, const struct value_scope *scope,
                                 bool *ret_yes, struct error *err)
{
    AUTO(expr_free) struct expr *expr = NULL;
    *ret_yes = true;
    if (!step->when)
        return ERR_OK;
    enum error_code code = expr_parse(step->when, &expr, err);
    if (code == ERR_OK)
        code = expr_test(expr, scope, ret_yes, err);
    return code == ERR_OK ? ERR_OK : error_wrap(err, "when");
}

static enum error_code late_write(const struct value_set *late, char **ret_late, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    if (!late)
        return ERR_OK;
    value_set_write_json(late, &text);
    *ret_late = buf_take(&text, NULL);
    return *ret_late ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code values_find(struct agent *a, struct run *run, bool *ret_yes,
                                   struct error *err)
{
    const struct plan_step *step = run_step(run, run->operation.step);
    struct scope s = {.agent = a, .run = run, .facts = agent_facts(a)};
    const struct value_scope scope = {scope_find, &s, scope_later};
    enum error_code code = when_test(step, &scope, ret_yes, err);
    if (code == ERR_OK && *ret_yes)
        code = params_fill(a, step, &scope, &run->params, err);
    if (code == ERR_OK)
        code = late_write(s.late, &run->late, err);
    value_set_free(s.late);
    return code;
}

bool values_ready(struct agent *a, struct run *run)
{
    const struct plan_step *step = run_step(run, run->operation.step);
    struct error err = {0};
    bool yes = true;
    /* What is at hand of the step before this one is not whole any more. */
    if (run->params)
        run->undo_step = -1;
    values_forget(run);
    if (!plan_step_has_values(step))
        return true;
    enum error_code code = values_find(a, run, &yes, &err);
    if (code == ERR_OK && yes)
        return true;
    run->has_result = true;
    run->result = (struct handler_result){.outcome = code == ERR_OK ? HANDLER_OK : HANDLER_FAILED,
                                          .retryable = code == ERR_NO_MEMORY};
    run->skipped = code == ERR_OK;
    if (run->skipped)
        (void)snprintf(run->result.message, sizeof(run->result.message),
                       "its condition is false: %.*s", WHEN_SHOWN_MAX, step->when);
    else
        (void)snprintf(run->result.message, sizeof(run->result.message), "%s", err.message);
    return false;
}

const struct plan_step *values_step(struct run *run, uint32_t step)
{
    const struct plan_step *planned = run_step(run, step);
    if (!run->params)
        return planned;
    run->filled = *planned; /* borrows */
    run->filled.params_json = run->params;
    return &run->filled;
}

enum error_code values_put_out(struct run *run, uint32_t step, const char *json, struct error *err)
{
    struct value_set *set = NULL;
    enum error_code code = value_set_read_json(json, &set, err);
    if (code != ERR_OK)
        return code;
    value_set_free(run->outputs[step]);
    run->outputs[step] = set;
    return ERR_OK;
}

/* ---- What is kept ------------------------------------------------------------------------------
 */

char *values_keep(const struct run *run, const char *undo)
{
    AUTO_BUF struct buf text = BUF_INIT;
    buf_puts(&text, "{\"params\":");
    buf_puts(&text, run->params);
    if (run->late) {
        buf_puts(&text, ",\"values\":");
        buf_puts(&text, run->late);
    }
    buf_puts(&text, ",\"undo\":");
    buf_puts(&text, undo);
    buf_putc(&text, '}');
    return buf_take(&text, NULL);
}

static enum error_code member_text(const struct json_value *kept, const char *name, char **ret_text,
                                   struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    const struct json_value *v = json_get(kept, name);
    if (!v || json_kind(v) != JSON_IS_OBJECT)
        return error_set(err, ERR_CORRUPT, "what was kept for it has no %s", name);
    json_write_value(&text, v);
    *ret_text = buf_take(&text, NULL);
    return *ret_text ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

enum error_code values_take_kept(struct run *run, struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    enum error_code code = json_parse(run->undo, strlen(run->undo), KEPT_MAX_BYTES, &doc, err);
    if (code != ERR_OK)
        return code == ERR_INVALID ? error_set(err, ERR_CORRUPT, "what was kept for it is no JSON")
                                   : code;
    AUTO_FREE char *params = NULL;
    AUTO_FREE char *undo = NULL;
    AUTO_FREE char *late = NULL;
    code = member_text(json_root(doc), "params", &params, err);
    if (code == ERR_OK)
        code = member_text(json_root(doc), "undo", &undo, err);
    if (code == ERR_OK && json_get(json_root(doc), "values"))
        code = member_text(json_root(doc), "values", &late, err);
    if (code != ERR_OK)
        return code;
    values_forget(run);
    mem_free(run->undo);
    run->params = TAKE(params);
    run->late = TAKE(late);
    run->undo = TAKE(undo);
    return ERR_OK;
}
