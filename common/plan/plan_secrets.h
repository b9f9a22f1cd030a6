/*
 * plan_secrets: where a server finds the secrets of a plan. A plan has references alone; what they
 * lead to is looked up on the server (agent/secrets.h) and is in no plan, frame or journal.
 *
 *   "secrets": {"db_password": {"env": "DB_PASSWORD"}, "token": {"file": "/etc/shop/token"}}
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/error.h"
#include "common/json/json.h"

#include <stddef.h>

enum { PLAN_MAX_SECRETS = 64, PLAN_SECRET_ENV_MAX = 255, PLAN_SECRET_FILE_MAX = 4095 };

struct plan_secret {
    char *name; /* what follows "secrets." in a placeholder */
    char *env;  /* a variable of the agent's environment; NULL: `file` is given */
    char *file; /* an absolute path */
};

struct plan_secrets {
    struct plan_secret *items; /* by name */
    size_t count;
};

/* A field (char *, owned) that holds them as JSON in one form; NULL: there are none. */
extern const struct json_custom plan_secrets_custom;
/* Reads that text; NULL: none. ERR_INVALID names what is wrong; ERR_NO_MEMORY. The caller calls
 * plan_secrets_done. */
enum error_code plan_secrets_read(const char *text, struct plan_secrets *ret,
                                  struct error *err) MUST_CHECK;
void plan_secrets_done(struct plan_secrets *secrets);
#define AUTO_SECRETS __attribute__((cleanup(plan_secrets_done)))
/* NULL: there is none of that name. Borrowed. */
const struct plan_secret *plan_secrets_find(const struct plan_secrets *secrets, const char *name);
