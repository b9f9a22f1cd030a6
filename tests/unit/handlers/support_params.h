/* support_params: params as a plan has them, checked against their type. */
#pragma once

#include "handlers/catalog.h"

/* Caller owns: step_params_free. */
void *good(const struct step_type *type, const char *params_json);
void assert_good(const struct step_type *type, const char *params_json);
/* Exactly one problem, at that path, with that in its message. */
void assert_wrong(const struct step_type *type, const char *params_json, const char *path,
                  const char *message);
