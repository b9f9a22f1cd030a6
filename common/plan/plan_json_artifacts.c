/* The artifacts that a plan's params name, found by the rule that their fields have. */
#include "common/base/cleanup.h"
#include "common/plan/artifact.h"
#include "common/plan/plan_json_internal.h"
#include "common/values/template.h"

#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(json_free, struct json_doc)

struct look {
    const struct plan_values *values;
    void (*each)(void *ctx, const char *path, const char *digest);
    void *ctx;
    struct buf path;
    struct error err;
};

static bool find_var(void *ctx, const char *name, struct value *ret)
{
    static const char space[] = "vars.";
    const struct value_set *vars = ctx;
    return vars != NULL && strncmp(name, space, sizeof(space) - 1) == 0 &&
           value_set_find(vars, name + sizeof(space) - 1, ret);
}

static void look_at_text(struct look *look, const char *text)
{
    AUTO_BUF struct buf filled = BUF_INIT;
    const struct value_scope scope = {.find = find_var, .ctx = look->values->vars};
    struct error err = {0};
    if (template_has(text)) {
        enum error_code code = template_fill(text, &scope, &filled, &err);
        if (code == ERR_NO_MEMORY)
            look->err = err;
        if (code != ERR_OK || filled.data == NULL)
            return;
        text = filled.data;
    }
    const char *digest = artifact_digest(text);
    if (digest != NULL && buf_check(&look->path, &look->err) == ERR_OK)
        look->each(look->ctx, look->path.data, digest);
}

static void look_at_object(struct look *look, const struct json_value *v,
                           const struct json_table *table);

static void look_at_field(struct look *look, const struct json_value *v,
                          const struct json_field *field)
{
    size_t len = look->path.len;
    size_t index = 0;
    if (field->type == JSON_STRING && field->check == artifact_check_name && json_string(v))
        look_at_text(look, json_string(v));
    if (field->type == JSON_OBJECT)
        look_at_object(look, v, field->table);
    if (field->type != JSON_ARRAY || json_kind(v) != JSON_IS_ARRAY)
        return;
    for (const struct json_value *item = json_first(v); item != NULL; item = json_next(item)) {
        buf_printf(&look->path, "[%zu]", index++);
        look_at_field(look, item, field->item);
        look->path.len = len;
    }
}

static void look_at_object(struct look *look, const struct json_value *v,
                           const struct json_table *table)
{
    size_t len = look->path.len;
    for (size_t i = 0; i < table->count && json_kind(v) == JSON_IS_OBJECT; i++) {
        const struct json_value *member = json_get(v, table->fields[i].name);
        if (member == NULL)
            continue;
        buf_printf(&look->path, ".%s", table->fields[i].name);
        look_at_field(look, member, &table->fields[i]);
        look->path.len = len;
    }
}

/* Most plans name none. */
static bool may_name_one(const struct plan *plan, const struct plan_step *step)
{
    return strstr(step->params_json, ARTIFACT_PREFIX) != NULL ||
           (plan->vars_json != NULL && strstr(plan->vars_json, ARTIFACT_PREFIX) != NULL);
}

static enum error_code look_at_step(struct look *look, uint32_t number, struct error *err)
{
    const struct plan_step *step = plan_step(look->values->plan, number);
    const struct step_type *type = step_catalog_find(look->values->catalog, step->type);
    AUTO(json_free) struct json_doc *doc = NULL;
    if (type == NULL || type->params == NULL || !may_name_one(look->values->plan, step))
        return ERR_OK;
    enum error_code code =
        json_parse(step->params_json, strlen(step->params_json), PLAN_MAX_BYTES, &doc, err);
    if (code != ERR_OK)
        return code;
    buf_clear(&look->path);
    buf_printf(&look->path, "steps[%u].params", number);
    look_at_object(look, json_root(doc), type->params);
    if (look->err.code != ERR_OK)
        return error_set(err, look->err.code, "%s", look->err.message);
    return buf_check(&look->path, err);
}

enum error_code plan_artifacts(const struct plan *plan, const struct step_catalog *catalog,
                               void (*each)(void *ctx, const char *path, const char *digest),
                               void *ctx, struct error *err)
{
    struct plan_values values;
    struct look look = {.values = &values, .each = each, .ctx = ctx};
    enum error_code code = plan_values_init(plan, catalog, &values, err);
    for (uint32_t i = 0; i < plan_step_count(plan) && code == ERR_OK; i++)
        code = look_at_step(&look, i, err);
    buf_done(&look.path);
    plan_values_done(&values);
    return code;
}
