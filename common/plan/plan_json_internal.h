/*
 * plan_json_internal: what the files of plan_json share. The document is the plan as its JSON text
 * has it; the plan is what it means.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/problems.h"
#include "common/json/json.h"
#include "common/plan/plan.h"
#include "common/plan/plan_json.h"
#include "common/plan/plan_secrets.h"
#include "common/values/value_set.h"

#include <stdbool.h>

struct plan_document_rollback {
    int scope; /* enum plan_scope */
    int64_t confirm_timeout_ms;
};

struct plan_document {
    struct plan plan; /* what is embedded as it is: name, servers, steps, strategy */
    char *server_id;  /* the single-server form */
    bool has_strategy;
    struct plan_document_rollback rollback;
};

extern const struct json_table plan_document_table;
extern const struct json_custom plan_batch_sizes_custom; /* struct array of struct plan_size */
extern const struct json_custom plan_limit_custom;       /* struct plan_limit */

/* Decodes params of that type and checks the rules across them. *ret_params is NULL when there were
 * problems; else the caller owns it: step_params_free. ERR_NO_MEMORY. */
enum error_code plan_params_decode(const struct step_type *type, const struct json_value *value,
                                   const char *path, void **ret_params, struct problems *ps,
                                   struct error *err) MUST_CHECK;
/* NULL: there is none of that name. */
const struct json_field *plan_params_field(const struct json_table *params, const char *name);
bool plan_params_have_values(const char *params_json); /* NULL is fine */
/* What is looked at in a step's params and condition. */
struct plan_values {
    const struct plan *plan;
    const struct step_catalog *catalog;
    struct value_set *vars; /* NULL: there are none */
    struct plan_secrets secrets;
};
/* Plan and catalog are borrowed; the caller calls plan_values_done. ERR_NO_MEMORY. */
enum error_code plan_values_init(const struct plan *plan, const struct step_catalog *catalog,
                                 struct plan_values *ret, struct error *err) MUST_CHECK;
void plan_values_done(struct plan_values *values);
/* The condition of step number `step`: its form, and that its names can be had. */
void plan_when_check(const struct plan_values *values, uint32_t step, struct problems *ps);
/* The same of params with placeholders, and whether they are right as far as that is known. */
enum error_code plan_template_check(const struct plan_values *values, uint32_t step,
                                    const struct step_type *type, const struct json_value *value,
                                    struct problems *ps, struct error *err) MUST_CHECK;
/* That no text outside of params has a placeholder of a secret. */
enum error_code plan_secrets_check(const struct json_value *root, struct problems *ps,
                                   struct error *err) MUST_CHECK;
/* The rules across the fields of `signing`. */
void plan_signing_check(const struct plan_signing *signing, struct problems *ps);
/* The rules across fields, and each step's params against its type; puts the params into their
 * canonical form. `root` is what `document` was decoded from. Faults go to `ps`; ERR_NO_MEMORY. */
enum error_code plan_rules_check(const struct json_value *root, struct plan_document *document,
                                 const struct step_catalog *catalog, struct problems *ps,
                                 struct error *err) MUST_CHECK;
/* For a document without faults: fills in the defaults that depend on other fields, and gives plans
 * of one meaning one form. ERR_NO_MEMORY. */
enum error_code plan_rules_complete(struct plan_document *document, struct error *err) MUST_CHECK;
