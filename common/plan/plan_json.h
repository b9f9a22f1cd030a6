/*
 * plan_json: the plan's JSON text, in and out, and its schema.
 *
 * Texts in params may have placeholders (common/values/template.h). Where only vars are in them
 * they are checked as filled in; what another name stands for is known on the server alone, so the
 * value that it is in is checked there, before the step.
 *
 * What a step type's params are is not known here: the caller hands in a finder (handlers/catalog.h
 * has the product's). Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/base/problems.h"
#include "common/json/json.h"
#include "common/plan/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STEP_TYPE_IDEMPOTENT = 1 << 0, /* running it again after a half-done run is right */
    STEP_TYPE_CHANGES = 1 << 1,    /* changes the host: what undo needs is made durable first */
    STEP_TYPE_INSTANT = 1 << 2, /* done at once, changes nothing: needs no record that it began */
    STEP_TYPE_OUTPUTS = 1 << 3, /* can put out values for later steps */
    STEP_TYPE_NO_UNDO = 1 << 4 /* what it changes leaves nothing behind that undo would take away */
};

/* What is known of a step type without its implementation. */
struct step_type {
    const char *name;
    const char *doc;      /* one paragraph */
    const char *undo_doc; /* what rollback does */
    unsigned traits;      /* STEP_TYPE_... */
    const struct json_table *params;
    /* Rules across several params; adds problems under `path`. May be NULL. */
    void (*check)(const void *params, const char *path, struct problems *ps);
    /* Of a type that changes the host: NULL when rollback undoes a step with these params, else
     * what is missing for that (static: "there is no rollback_script"). May be NULL: always. */
    const char *(*undo_lacks)(const void *params);
};

/* Whether rolling back undoes a step. */
#define STEP_UNDOS(X)                                                                              \
    X(STEP_UNDO_YES, "yes")                                                                        \
    X(STEP_UNDO_NOTHING, "nothing") /* it leaves nothing behind that is to be undone */            \
    X(STEP_UNDO_NO, "no")           /* what it changed stays */
#define X(value, name) value,
enum step_undo { STEP_UNDOS(X) STEP_UNDO_COUNT };
#undef X
extern const char *const step_undo_names[STEP_UNDO_COUNT];

struct step_catalog {
    const struct step_type *const *types;
    size_t count;
};
const struct step_type *step_catalog_find(const struct step_catalog *catalog, const char *name);

/* Reads a plan; every fault goes to `ps` with its path. Accepts the single-server form with
 * `serverID` instead of `servers`. ERR_INVALID: see ps; ERR_LIMIT, ERR_NO_MEMORY. Caller owns. */
enum error_code plan_parse(const char *text, size_t len, const struct step_catalog *catalog,
                           struct plan **ret_plan, struct problems *ps,
                           struct error *err) MUST_CHECK;
/* Reads what plan_write wrote (params are taken as they are): for what the journal holds. */
enum error_code plan_read(const char *text, size_t len, struct plan **ret_plan,
                          struct error *err) MUST_CHECK;
/* Appends the plan in its canonical form: compact, table order, defaults written out. Two plans
 * with the same meaning have the same text. */
void plan_write(struct buf *b, const struct plan *plan);
/* Reads "12.5%": 0% to 100%, with up to six decimals. False: it is not that. */
bool plan_percent_parse(const char *text, double *ret_percent);
/* Whether what its steps do depends on values: vars, conditions, placeholders. */
bool plan_has_values(const struct plan *plan);
/* Whether a step's does. What was found for it is then kept: see agent/agent_values.c. */
bool plan_step_has_values(const struct plan_step *step);
/* Tells of every artifact that params name outright, or through vars alone: in fields whose rule is
 * artifact_check_name, under a path like "steps[0].params.source". What other placeholders will
 * stand for is known on the servers alone. ERR_NO_MEMORY. */
enum error_code plan_artifacts(const struct plan *plan, const struct step_catalog *catalog,
                               void (*each)(void *ctx, const char *path, const char *digest),
                               void *ctx, struct error *err) MUST_CHECK;
/* Appends the JSON Schema of a plan, with each step type's params. */
void plan_schema(struct buf *b, const struct step_catalog *catalog);

/* The table of one step (`steps[]`), for the wire, where the agent reads the same steps. */
extern const struct json_table plan_step_table;
/* The table of `signing`, for the wire too. */
extern const struct json_table plan_signing_table;
/* Whether a text is bytes as both tables want them: lower-case hexadecimal digits. For `check` of a
 * field. */
const char *plan_hex_check(const char *s);
/* Fills in what a step decoded by that table left out (params). ERR_NO_MEMORY. */
enum error_code plan_step_complete(struct plan_step *step, struct error *err) MUST_CHECK;
/* Frees what a step that was decoded by that table owns. */
void plan_step_release(struct plan_step *step);

/* Checks a step's params against its type and decodes them into *ret_params (caller owns:
 * step_params_free). Problems go under `path`. */
enum error_code step_params_decode(const struct step_type *type, const char *params_json,
                                   const char *path, void **ret_params, struct problems *ps,
                                   struct error *err) MUST_CHECK;
/* Appends params as filled in (template.h), of which `planned` is what they were before, with what
 * placeholders have become turned into what the table wants there: a text that reads as a number
 * into a number, a number into a text. */
void plan_params_fit(const struct json_value *planned, const struct json_value *filled,
                     const struct json_table *table, struct buf *out);
void step_params_free(const struct step_type *type, void *params);
/* Tells whether rolling back undoes a step of a plan without faults. *ret_lacks (static) is what it
 * lacks when it does not, else NULL. ERR_INVALID: no such type, or params that are not right;
 * ERR_NO_MEMORY. */
enum error_code step_undo_find(const struct step_catalog *catalog, const struct plan_step *step,
                               enum step_undo *ret_undo, const char **ret_lacks,
                               struct error *err) MUST_CHECK;
