/*
 * seal_plan: the statement of a plan that is here in full: for whoever signs it, looks at its
 * signatures, or sends it to agents.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/seal/seal_tree.h"

/* Appends what is signed of the plan; plan->signing has the nonce and the times. `tree` is of its
 * servers. Errors: those of seal_write. */
enum error_code seal_plan_write(const struct plan *plan, const struct seal_tree *tree,
                                struct buf *out, struct error *err) MUST_CHECK;
/* Whether the plan is still the one that was signed, by its digest: for those who have no keys to
 * check signatures with. ERR_CONFLICT: it was changed since, or another version of this program
 * reads it in another way. */
enum error_code seal_plan_check(const struct plan *plan, const struct seal_tree *tree,
                                struct error *err) MUST_CHECK;
