#include "common/plan/plan_json.h"

#include "common/base/alloc.h"
#include "common/plan/plan_json_internal.h"

#include <string.h>

#define X(value, name) [value] = (name),
const char *const step_undo_names[STEP_UNDO_COUNT] = {STEP_UNDOS(X)};
#undef X

/* Defaults that are written out make the canonical text longer than what was submitted. */
enum { CANONICAL_MAX_BYTES = 2 * PLAN_MAX_BYTES };

DEFINE_CLEANUP(json_free, struct json_doc)

static void document_done(struct plan_document *document)
{
    json_release(&plan_document_table, document);
}
#define AUTO_DOCUMENT __attribute__((cleanup(document_done)))

/* Makes a plan of a document without faults. */
static enum error_code make_plan(struct plan_document *document, struct plan **ret_plan,
                                 struct error *err)
{
    enum error_code code = plan_rules_complete(document, err);
    if (code != ERR_OK)
        return code;
    AUTO(plan_free) struct plan *plan = MEM_NEW(struct plan);
    if (!plan)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *plan = document->plan;
    document->plan = (struct plan){0};
    code = plan_finish(plan, err);
    if (code != ERR_OK)
        return code;
    *ret_plan = TAKE(plan);
    return ERR_OK;
}

enum error_code plan_parse(const char *text, size_t len, const struct step_catalog *catalog,
                           struct plan **ret_plan, struct problems *ps, struct error *err)
{
    struct error parse_error;
    AUTO(json_free) struct json_doc *doc = NULL;
    enum error_code code = json_parse(text, len, PLAN_MAX_BYTES, &doc, &parse_error);
    if (code != ERR_OK) {
        if (code != ERR_NO_MEMORY)
            problems_add(ps, "", "%s", parse_error.message);
        if (ps->no_memory)
            return error_set(err, ERR_NO_MEMORY, NULL);
        return error_set(err, code, "%s", parse_error.message);
    }
    AUTO_DOCUMENT struct plan_document document = {0};
    json_decode(json_root(doc), &plan_document_table, "", &document, ps);
    code = plan_rules_check(json_root(doc), &document, catalog, ps, err);
    if (code != ERR_OK)
        return code;
    code = problems_check(ps, err);
    if (code != ERR_OK)
        return code;
    return make_plan(&document, ret_plan, err);
}

enum error_code plan_read(const char *text, size_t len, struct plan **ret_plan, struct error *err)
{
    AUTO_DOCUMENT struct plan_document document = {0};
    enum error_code code =
        json_read(text, len, CANONICAL_MAX_BYTES, &plan_document_table, &document, err);
    if (code != ERR_OK)
        return code;
    return make_plan(&document, ret_plan, err);
}

void plan_write(struct buf *b, const struct plan *plan)
{
    /* Borrows everything from the plan, so it is not released. */
    struct plan_document document = {
        .plan = *plan,
        .has_strategy = true,
        .rollback = {.scope = plan->rollback_scope, .confirm_timeout_ms = plan->confirm_timeout_ms},
    };
    json_encode(b, &plan_document_table, &document);
}

void plan_step_release(struct plan_step *step)
{
    plan_step_done(step);
}

/* ---- Step types -------------------------------------------------------------------------- */

const struct step_type *step_catalog_find(const struct step_catalog *catalog, const char *name)
{
    for (size_t i = 0; i < catalog->count; i++) {
        if (strcmp(catalog->types[i]->name, name) == 0)
            return catalog->types[i];
    }
    return NULL;
}

enum error_code plan_params_decode(const struct step_type *type, const struct json_value *value,
                                   const char *path, void **ret_params, struct problems *ps,
                                   struct error *err)
{
    size_t faults_before = ps->total;
    void *params = mem_zalloc(type->params->size);
    if (!params)
        return error_set(err, ERR_NO_MEMORY, NULL);
    json_decode(value, type->params, path, params, ps);
    /* The rules across params look at params that are right each by itself. */
    if (ps->total == faults_before && !ps->no_memory && type->check)
        type->check(params, path, ps);
    if (ps->total == faults_before && !ps->no_memory) {
        *ret_params = params;
        return ERR_OK;
    }
    step_params_free(type, params);
    *ret_params = NULL;
    return ps->no_memory ? error_set(err, ERR_NO_MEMORY, NULL) : ERR_OK;
}

enum error_code step_params_decode(const struct step_type *type, const char *params_json,
                                   const char *path, void **ret_params, struct problems *ps,
                                   struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    enum error_code code =
        json_parse(params_json, strlen(params_json), CANONICAL_MAX_BYTES, &doc, err);
    if (code != ERR_OK) {
        error_ignore(error_wrap(err, "%s", path));
        return code;
    }
    void *params = NULL;
    code = plan_params_decode(type, json_root(doc), path, &params, ps, err);
    if (code != ERR_OK)
        return code;
    if (!params)
        return problems_check(ps, err);
    *ret_params = params;
    return ERR_OK;
}

void step_params_free(const struct step_type *type, void *params)
{
    if (!params)
        return;
    json_release(type->params, params);
    mem_free(params);
}

/* Of params with placeholders what is there is looked at, whatever it will be. */
static enum error_code find_lacks(const struct step_type *type, const struct plan_step *step,
                                  const char **ret_lacks, struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    struct problems ps = {0};
    void *params = NULL;
    enum error_code code = ERR_OK;
    if (!plan_params_have_values(step->params_json)) {
        code = step_params_decode(type, step->params_json, step->name, &params, &ps, err);
    } else {
        code = json_parse(step->params_json, strlen(step->params_json), CANONICAL_MAX_BYTES, &doc,
                          err);
        params = code == ERR_OK ? mem_zalloc(type->params->size) : NULL;
        if (code == ERR_OK && !params)
            code = error_set(err, ERR_NO_MEMORY, NULL);
        if (params)
            json_decode(json_root(doc), type->params, step->name, params, &ps);
        if (ps.no_memory)
            code = error_set(err, ERR_NO_MEMORY, NULL);
    }
    problems_done(&ps);
    if (code == ERR_OK)
        *ret_lacks = type->undo_lacks(params);
    step_params_free(type, params);
    return code;
}

enum error_code step_undo_find(const struct step_catalog *catalog, const struct plan_step *step,
                               enum step_undo *ret_undo, const char **ret_lacks, struct error *err)
{
    const struct step_type *type = step_catalog_find(catalog, step->type);
    if (!type)
        return error_set(err, ERR_INVALID, "\"%s\" is not a step type", step->type);
    const char *lacks = NULL;
    bool changes = (type->traits & STEP_TYPE_CHANGES) != 0;
    if (changes && type->undo_lacks) {
        enum error_code code = find_lacks(type, step, &lacks, err);
        if (code != ERR_OK)
            return code;
    }
    *ret_undo = lacks ? STEP_UNDO_NO : STEP_UNDO_YES;
    if (!changes || (type->traits & STEP_TYPE_NO_UNDO) != 0)
        *ret_undo = STEP_UNDO_NOTHING;
    *ret_lacks = lacks;
    return ERR_OK;
}
