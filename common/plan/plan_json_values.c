/* Values in a plan: that what conditions and params ask for can be had, and that params are right
 * as far as that is known without a server. */
#include "common/base/alloc.h"
#include "common/plan/plan_json_internal.h"
#include "common/values/expr.h"
#include "common/values/template.h"
#include "common/values/value_json.h"

#include <stdio.h>
#include <string.h>

enum { FILLED_MAX_BYTES = 2 * PLAN_MAX_BYTES }; /* of params, as on the agent */

DEFINE_CLEANUP(json_free, struct json_doc)
DEFINE_CLEANUP(expr_free, struct expr)

bool plan_params_have_values(const char *params_json)
{
    return params_json && template_has(params_json);
}

bool plan_step_has_values(const struct plan_step *step)
{
    return step->when != NULL || plan_params_have_values(step->params_json);
}

bool plan_has_values(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan_step_count(plan); i++) {
        if (plan_step_has_values(plan_step(plan, i)))
            return true;
    }
    return plan->vars_json != NULL;
}

enum error_code plan_values_init(const struct plan *plan, const struct step_catalog *catalog,
                                 struct plan_values *ret, struct error *err)
{
    *ret = (struct plan_values){.plan = plan, .catalog = catalog};
    enum error_code code =
        plan->vars_json ? value_set_read_json(plan->vars_json, &ret->vars, err) : ERR_OK;
    return code == ERR_OK ? plan_secrets_read(plan->secrets_json, &ret->secrets, err) : code;
}

void plan_values_done(struct plan_values *values)
{
    value_set_free(values->vars);
    plan_secrets_done(&values->secrets);
    *values = (struct plan_values){0};
}

/* ---- Names -------------------------------------------------------------------------------------
 */

/* One text with names, and what is found wrong with them. */
struct look {
    const struct plan_values *values;
    uint32_t step;
    const char *path;
    struct problems *ps;
    const struct step_type *type;   /* whose params the text is in; NULL: it is a condition */
    const struct json_field *field; /* in which of them; NULL: none that there is */
    bool open; /* what a name stands for is known on the server alone, or is none */
};

static bool find_var(const struct plan_values *values, const char *name, struct value *ret)
{
    static const char space[] = "vars.";
    return strncmp(name, space, sizeof(space) - 1) == 0 && values->vars &&
           value_set_find(values->vars, name + sizeof(space) - 1, ret);
}

/* One whose type is not known has that as its problem. */
static bool puts_out(const struct look *look, const struct plan_step *step)
{
    const struct step_type *type =
        step->type ? step_catalog_find(look->values->catalog, step->type) : NULL;
    return !type || (type->traits & STEP_TYPE_OUTPUTS) != 0;
}

/* "steps.NAME.outputs.X": that NAME comes before, and can put something out. */
static void check_output(const struct look *look, const char *name)
{
    static const char space[] = "steps.";
    const char *step = name + sizeof(space) - 1;
    size_t len = strcspn(step, ".");
    const struct plan *plan = look->values->plan;
    for (uint32_t i = 0; i < look->step && i < plan_step_count(plan); i++) {
        const char *other = plan_step(plan, i)->name;
        if (!other || strlen(other) != len || memcmp(other, step, len) != 0)
            continue;
        if (!puts_out(look, plan_step(plan, i)))
            problems_add(look->ps, look->path, "%.100s: a step of type %s puts nothing out", name,
                         plan_step(plan, i)->type);
        return;
    }
    problems_add(look->ps, look->path, "%.100s: no step before this one is named \"%.*s\"", name,
                 (int)(len < 64 ? len : 64), step);
}

/* "env, stdin, inline": the params that may have secrets. */
static void put_places(const struct json_table *params, struct buf *b)
{
    for (size_t i = 0; i < params->count; i++) {
        if ((params->fields[i].flags & JSON_SECRETS) == 0)
            continue;
        buf_puts(b, b->len > 0 ? ", " : "");
        buf_puts(b, params->fields[i].name);
    }
}

static void check_place(const struct look *look, const char *name)
{
    AUTO_BUF struct buf places = BUF_INIT;
    if (look->field && (look->field->flags & JSON_SECRETS) != 0)
        return;
    if (look->type)
        put_places(look->type->params, &places);
    if (buf_check(&places, NULL) != ERR_OK) {
        look->ps->no_memory = true;
        return;
    }
    if (!look->type)
        problems_add(look->ps, look->path,
                     "%.100s: a condition cannot use a secret; params of some step types can",
                     name);
    else if (places.len == 0)
        problems_add(look->ps, look->path, "%.100s: a step of type %s can use no secrets", name,
                     look->type->name);
    else
        problems_add(look->ps, look->path,
                     "%.100s: a secret cannot stand here, where others could see it; of type %s it "
                     "can stand in %s",
                     name, look->type->name, places.data ? places.data : "");
}

static void check_secret(const struct look *look, const char *name)
{
    static const char space[] = "secrets.";
    check_place(look, name);
    if (!plan_secrets_find(&look->values->secrets, name + sizeof(space) - 1))
        problems_add(look->ps, look->path,
                     "%.100s is not defined: the plan's \"secrets\" have no such name", name);
}

static bool check_name(void *ctx, const char *name)
{
    struct look *look = ctx;
    enum value_space space = SPACE_SERVER;
    struct value v;
    (void)value_name_scan(name, &space);
    look->open = look->open || space != SPACE_VARS;
    if (space == SPACE_STEPS)
        check_output(look, name);
    if (space == SPACE_SECRETS)
        check_secret(look, name);
    if (space != SPACE_VARS || find_var(look->values, name, &v))
        return true;
    problems_add(look->ps, look->path,
                 "%.100s is not defined: the plan's \"vars\" have no such name", name);
    look->open = true;
    return true;
}

void plan_when_check(const struct plan_values *values, uint32_t step, struct problems *ps)
{
    AUTO(expr_free) struct expr *expr = NULL;
    char path[PROBLEM_PATH_MAX];
    struct error err = {0};
    (void)snprintf(path, sizeof(path), "steps[%u].when", step);
    enum error_code code = expr_parse(plan_step(values->plan, step)->when, &expr, &err);
    if (code == ERR_NO_MEMORY)
        ps->no_memory = true;
    else if (code != ERR_OK)
        problems_add(ps, path, "%s", err.message);
    if (code != ERR_OK)
        return;
    struct look look = {.values = values, .step = step, .path = path, .ps = ps};
    expr_names(expr, check_name, &look);
}

/* ---- Params ------------------------------------------------------------------------------------
 */

/* A walk through params: their texts are looked at, and filled in where that can be done. */
struct walk {
    const struct plan_values *values;
    uint32_t step;
    const struct json_value *root; /* the params */
    const struct step_type *type;
    const struct json_field *field; /* the param under way; NULL: none, or none that there is */
    struct problems *ps;
    struct buf path;
    struct buf filled;
    struct buf open; /* paths of the texts that cannot be filled in here, each with its NUL */
};

static bool find_for_fill(void *ctx, const char *name, struct value *ret)
{
    return find_var(ctx, name, ret);
}

/* One that cannot be filled in stands for itself, so that all else can be looked at. */
static void walk_text(struct walk *w, const struct json_value *v)
{
    AUTO_BUF struct buf filled = BUF_INIT;
    struct look look = {.values = w->values,
                        .step = w->step,
                        .path = w->path.data,
                        .ps = w->ps,
                        .type = w->type,
                        .field = w->field};
    const struct value_scope scope = {.find = find_for_fill, .ctx = (void *)(uintptr_t)w->values};
    struct error err = {0};
    template_json_names(v, check_name, &look);
    if (!look.open) {
        enum error_code code = template_json_fill(v, "", &scope, &filled, &err);
        if (code == ERR_OK) {
            buf_append(&w->filled, filled.data, filled.len);
            return;
        }
        if (code == ERR_NO_MEMORY)
            w->ps->no_memory = true;
        else
            problems_add(w->ps, w->path.data, "%s", err.message);
    }
    buf_append(&w->open, w->path.data, w->path.len);
    buf_putc(&w->open, '\0');
    json_write_value(&w->filled, v);
}

static void walk_value(struct walk *w, const struct json_value *v);

static void walk_child(struct walk *w, const struct json_value *child, size_t index)
{
    size_t len = w->path.len;
    const char *name = json_name(child);
    if (name) {
        buf_printf(&w->path, ".%s", name);
        json_write_string(&w->filled, name, strlen(name));
        buf_putc(&w->filled, ':');
    } else {
        buf_printf(&w->path, "[%zu]", index);
    }
    if (buf_check(&w->path, NULL) != ERR_OK) {
        w->ps->no_memory = true;
        return;
    }
    walk_value(w, child);
    w->path.len = len;
    w->path.data[len] = '\0';
}

static void walk_value(struct walk *w, const struct json_value *v)
{
    enum json_kind kind = json_kind(v);
    size_t index = 0;
    if (kind == JSON_IS_STRING && template_has(json_string(v))) {
        walk_text(w, v);
        return;
    }
    if (kind != JSON_IS_ARRAY && kind != JSON_IS_OBJECT) {
        json_write_value(&w->filled, v);
        return;
    }
    buf_putc(&w->filled, kind == JSON_IS_ARRAY ? '[' : '{');
    for (const struct json_value *c = json_first(v); c && !w->ps->no_memory; c = json_next(c)) {
        if (index > 0)
            buf_putc(&w->filled, ',');
        if (v == w->root)
            w->field = plan_params_field(w->type->params, json_name(c));
        walk_child(w, c, index++);
    }
    buf_putc(&w->filled, kind == JSON_IS_ARRAY ? ']' : '}');
}

/* A path in a problem may be cut. */
static bool is_open(const struct walk *w, const char *path)
{
    size_t len = strlen(path);
    for (size_t at = 0; at < w->open.len; at += strlen(w->open.data + at) + 1) {
        const char *open = w->open.data + at;
        if (strcmp(open, path) == 0 ||
            (len >= PROBLEM_PATH_MAX - 4 && strncmp(open, path, len) == 0))
            return true;
    }
    return false;
}

/* The rules across params are for params that are all known. */
static enum error_code filled_check(const struct walk *w, const struct step_type *type,
                                    const struct json_value *filled, const char *path,
                                    struct error *err)
{
    struct problems ps = {0};
    void *params = mem_zalloc(type->params->size);
    if (!params)
        return error_set(err, ERR_NO_MEMORY, NULL);
    json_decode(filled, type->params, path, params, &ps);
    if (ps.total == 0 && w->open.len == 0 && type->check)
        type->check(params, path, &ps);
    for (size_t i = 0; i < ps.count; i++) {
        if (!is_open(w, ps.items[i].path))
            problems_add(w->ps, ps.items[i].path, "%s", ps.items[i].message);
    }
    w->ps->no_memory = w->ps->no_memory || ps.no_memory;
    problems_done(&ps);
    step_params_free(type, params);
    return w->ps->no_memory ? error_set(err, ERR_NO_MEMORY, NULL) : ERR_OK;
}

static enum error_code fitted_check(const struct walk *w, const struct step_type *type,
                                    const struct json_value *planned, const char *path,
                                    struct error *err)
{
    AUTO(json_free) struct json_doc *filled = NULL;
    AUTO(json_free) struct json_doc *fitted = NULL;
    AUTO_BUF struct buf text = {.max = FILLED_MAX_BYTES};
    enum error_code code =
        json_parse(w->filled.data, w->filled.len, FILLED_MAX_BYTES, &filled, err);
    if (code != ERR_OK)
        return code;
    plan_params_fit(planned, json_root(filled), type->params, &text);
    code = buf_check(&text, err);
    if (code == ERR_OK)
        code = json_parse(text.data, text.len, FILLED_MAX_BYTES, &fitted, err);
    return code == ERR_OK ? filled_check(w, type, json_root(fitted), path, err) : code;
}

static enum error_code walk_check(struct walk *w, const struct step_type *type,
                                  const struct json_value *value, struct error *err)
{
    AUTO_FREE char *path = mem_strdup(w->path.data);
    if (!path)
        return error_set(err, ERR_NO_MEMORY, NULL);
    walk_value(w, value);
    if (w->ps->no_memory)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = buf_check(&w->filled, err);
    if (code == ERR_OK)
        code = buf_check(&w->open, err);
    if (code == ERR_OK)
        code = fitted_check(w, type, value, path, err);
    if (code != ERR_LIMIT)
        return code;
    problems_add(w->ps, path, "more than %d bytes with its values filled in", FILLED_MAX_BYTES);
    return ERR_OK;
}

enum error_code plan_template_check(const struct plan_values *values, uint32_t step,
                                    const struct step_type *type, const struct json_value *value,
                                    struct problems *ps, struct error *err)
{
    struct walk w = {.values = values,
                     .step = step,
                     .root = value,
                     .type = type,
                     .ps = ps,
                     .path = BUF_INIT,
                     .filled = {.max = FILLED_MAX_BYTES},
                     .open = BUF_INIT};
    buf_printf(&w.path, "steps[%u].params", step);
    enum error_code code = buf_check(&w.path, err);
    if (code == ERR_OK)
        code = walk_check(&w, type, value, err);
    buf_done(&w.path);
    buf_done(&w.filled);
    buf_done(&w.open);
    return code;
}
