/* support_plan_json: what tests of a plan's text share. */
#pragma once

#include "common/plan/plan_json.h"

/* A plan's text with one server and one echo step, and `members` (each begun with a comma) besides.
 */
#define PLAN_WITH(members)                                                                         \
    "{\"servers\":[\"web-1\"],\"steps\":[{\"name\":\"one\",\"type\":\"echo\","                     \
    "\"params\":{\"message\":\"m\"}}]" members "}"
#define STRATEGY(members) PLAN_WITH(",\"rolloutStrategy\":{" members "}")
/* A plan's text with one step, which is given. */
#define PLAN_WITH_STEP(step) "{\"servers\":[\"web-1\"],\"steps\":[" step "]}"
#define ECHO_WITH(members)                                                                         \
    PLAN_WITH_STEP("{\"name\":\"one\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}" members "}")

/* Parses with the product's step types; fails the test when the text is not right. Caller owns. */
struct plan *parse_good(const char *text);
/* The text has exactly this one problem: at that path, with that in its message. */
void assert_problem(const char *text, const char *path, const char *message);
/* The text has this problem, perhaps among others. */
void assert_has_problem(const char *text, const char *path, const char *message);
/* The canonical text; caller owns. */
char *written(const struct plan *plan);
/* Both texts mean the same plan. */
void assert_same_plan(const char *one, const char *other);
/* A file of the source tree; caller owns. */
char *source_file(const char *path, size_t *ret_len);
