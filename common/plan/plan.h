/*
 * plan: the typed model of a rollout plan and the arithmetic of its strategy.
 *
 * Pure: no JSON, no I/O, no clock. plan_json.h reads and writes it. A plan is immutable once built,
 * so it may be shared; whoever holds it last calls plan_free.
 *
 * Threading: immutable, so safe to read from any thread.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PLAN_MAX_BYTES = 8 * 1024 * 1024, /* of JSON text */
    PLAN_MAX_SERVERS = 200000,
    PLAN_MAX_STEPS = 256,
    PLAN_MAX_BATCH_SIZES = 64,
    PLAN_MAX_ATTEMPTS = 100,
    PLAN_MAX_EXIT_CODES = 64,
    PLAN_MAX_NAME = 256,
    PLAN_MAX_SECONDS = 30 * 24 * 3600, /* of any timeout or delay */
    PLAN_MAX_SIGNATURES = 16,
    PLAN_PERCENT_UNIT = 1000000 /* a percentage counts to a millionth */
};

#define PLAN_STRATEGIES(X)                                                                         \
    X(STRATEGY_PARALLEL, "Parallel")                                                               \
    X(STRATEGY_SEQUENTIAL, "Sequential")                                                           \
    X(STRATEGY_ROLLING, "Rolling")                                                                 \
    X(STRATEGY_CANARY, "Canary")
#define PLAN_SCOPES(X) X(SCOPE_ALL, "all") X(SCOPE_FAILED, "failed") X(SCOPE_NONE, "none")
#define PLAN_INTERRUPTS(X)                                                                         \
    X(INTERRUPT_DEFAULT, "default") X(INTERRUPT_FAIL, "fail") X(INTERRUPT_RETRY, "retry")

#define X(value, name) value,
enum plan_strategy_type { PLAN_STRATEGIES(X) STRATEGY_COUNT };
enum plan_scope { PLAN_SCOPES(X) SCOPE_COUNT };
/* What becomes of a step that the agent's death interrupted. Default: retry when the handler is
 * idempotent, else fail. */
enum plan_interrupt { PLAN_INTERRUPTS(X) INTERRUPT_COUNT };
#undef X

const char *plan_strategy_name(enum plan_strategy_type type);
const char *plan_scope_name(enum plan_scope scope);
const char *plan_interrupt_name(enum plan_interrupt interrupt);

/* A number of servers, plain or as a share of all. */
struct plan_size {
    bool percent;
    double value; /* servers, or percent 0..100 */
};

/* A limit on servers. */
enum plan_limit_kind { LIMIT_ABSENT, LIMIT_NONE, LIMIT_SIZE };
struct plan_limit {
    enum plan_limit_kind kind; /* LIMIT_NONE: -1 in the plan, no limit */
    struct plan_size size;
};

struct plan_retry {
    int64_t maximum_attempts;    /* 0: the handler's default (3 when idempotent, else 1) */
    int64_t initial_interval_ms; /* default 1000 */
    double backoff_coefficient;  /* default 2.0, at least 1 */
    int64_t maximum_interval_ms; /* default 60000 */
    struct array non_retryable_exit_codes; /* int64_t */
};

struct plan_step {
    char *name;               /* unique in the plan */
    char *type;               /* a step type, see handlers/catalog.h */
    char *params_json;        /* compact JSON object; "{}" when absent; may have placeholders */
    char *when;               /* a condition, see common/values/expr.h; NULL: none */
    bool required;            /* default true */
    bool continue_on_failure; /* wins over required */
    int64_t timeout_ms;       /* of one attempt; default PLAN_DEFAULT_TIMEOUT_MS */
    struct plan_retry retry;
    int on_interrupt; /* enum plan_interrupt */
};
#define PLAN_DEFAULT_TIMEOUT_MS INT64_C(3600000)

struct plan_strategy {
    int type;                 /* enum plan_strategy_type; default Sequential when absent */
    struct array batch_sizes; /* struct plan_size; empty: 1 (Canary: all the rest at once) */
    int64_t batch_delay_ms;
    struct plan_limit max_failures;    /* absent: 0 */
    struct plan_limit max_unreachable; /* absent: unreachable servers count as failures */
    double canary_percentage;          /* default 10 */
    int64_t max_parallel;              /* 0: no cap */
    int64_t max_touched;               /* 0: no cap; a plan of more servers is refused */
    int64_t start_timeout_ms;          /* default 300000 */
    int64_t reconnect_timeout_ms; /* running, then silent for so long: unknown; default 300000 */
};

/* By whom the plan is signed, for how long. What exactly is signed is common/seal's. All bytes are
 * lower-case hexadecimal digits, so that there is one text for each. */
struct plan_signature {
    char *key;       /* see pki_public_id */
    char *signature; /* PLAN_SIGNATURE_DIGITS */
};
struct plan_signing {
    int64_t version;
    char *nonce;                       /* PLAN_NONCE_DIGITS; an agent runs a nonce once */
    int64_t not_before_ms, expires_ms; /* wall clock */
    char *digest;            /* PLAN_DIGEST_DIGITS: of what was signed; for orchestrators, that
                                cannot check signatures */
    struct array signatures; /* struct plan_signature */
};
enum {
    PLAN_SIGNING_VERSION = 1, /* the one there is */
    PLAN_NONCE_DIGITS = 32,
    PLAN_KEY_DIGITS = 16,
    PLAN_DIGEST_DIGITS = 64,
    PLAN_SIGNATURE_DIGITS = 128
};

struct plan {
    char *name;           /* may be NULL */
    char *vars_json;      /* a set of values, see common/values/value_json.h; NULL: none */
    char *secrets_json;   /* where servers find them, see plan_secrets.h; NULL: none */
    struct array servers; /* char *; ids, unique */
    struct array steps;   /* struct plan_step; names unique */
    struct plan_strategy strategy;
    int rollback_scope; /* enum plan_scope; default all */
    /* 0: no. Else an agent whose steps are done counts as succeeded only once it hears from the
     * orchestrator, over a connection made since; after so long without, it undoes them. */
    int64_t confirm_timeout_ms;
    bool is_signed;
    struct plan_signing signing;
    /* Filled by plan_finish: */
    struct plan_index *index; /* server id -> number */
};

/* Builds the index. ERR_NO_MEMORY; ERR_EXISTS for a server named twice. */
enum error_code plan_finish(struct plan *plan, struct error *err) MUST_CHECK;
/* A plan like `plan` for those of its servers alone that `keep` names, at least one, in their
 * order; its limits are those of the smaller number. It is not signed, whatever `plan` is.
 * ERR_NO_MEMORY. Caller owns. */
enum error_code plan_keep_servers(const struct plan *plan, bool (*keep)(void *ctx, uint32_t server),
                                  void *ctx, struct plan **ret_plan, struct error *err) MUST_CHECK;
void plan_free(struct plan *plan); /* frees the struct too; NULL is fine */
/* Frees what the step owns and zeroes it; the struct itself stays. */
void plan_step_done(struct plan_step *step);
void plan_signing_done(struct plan_signing *signing); /* the same */
DEFINE_CLEANUP(plan_free, struct plan)

static inline uint32_t plan_server_count(const struct plan *p)
{
    return (uint32_t)p->servers.count;
}
static inline uint32_t plan_step_count(const struct plan *p)
{
    return (uint32_t)p->steps.count;
}
static inline const char *plan_server(const struct plan *p, uint32_t i)
{
    return *ARRAY_AT(&p->servers, char *, i);
}
static inline const struct plan_step *plan_step(const struct plan *p, uint32_t i)
{
    return ARRAY_AT(&p->steps, struct plan_step, i);
}
/* O(1). False when the plan does not name that server. */
bool plan_server_find(const struct plan *p, const char *id, uint32_t *ret_index);
/* Linear in the steps. */
bool plan_step_find(const struct plan *p, const char *name, uint32_t *ret_index);

/* How many servers batch number `batch` (from 0) begins with, given how many are left; at least 1
 * while any are left. Parallel: all. Sequential: 1. Canary: batch 0 is the canary. */
uint32_t plan_batch_size(const struct plan *p, uint32_t batch, uint32_t servers_left);
/* Most servers in flight at once within a batch of that size (max_parallel as a cap). */
uint32_t plan_parallel(const struct plan *p, uint32_t batch_size);
/* Failures allowed (the rollout aborts when there are more); UINT32_MAX: no limit. */
uint32_t plan_failures_allowed(const struct plan *p);
/* The same for servers that never answered; false when they count as failures. */
bool plan_unreachable_allowed(const struct plan *p, uint32_t *ret_allowed);
