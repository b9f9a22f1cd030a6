/*
 * expr: the condition of a step ("when"): parsed once, tested on each server.
 *
 *   or       = and { "or" and }
 *   and      = not { "and" not }
 *   not      = "not" not | compare
 *   compare  = operand [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in" ) operand ]
 *   operand  = text | number | "true" | "false" | name | list | "defined" name | "(" or ")"
 *   list     = "[" [ operand { "," operand } ] "]"
 *   text     = '...' | "..."       with \\ \' \" \n \t
 *
 * Names are those of value.h. A list stands only to the right of `in`. Both sides of a comparison
 * are of one kind. Texts are ordered as versions are (strverscmp(3): "1.9" is less than "1.10").
 * `in` looks for a value in a list, or for a text in a text. "and" and "or" look at the right side
 * only when the left one does not decide. The whole, and what "and", "or" and "not" are applied to,
 * is true or false. A name that is not defined is an error, but for "defined NAME".
 *
 * Threading: an expression may be tested by several threads. I/O: none.
 */
#pragma once

#include "common/values/value.h"

enum {
    EXPR_TEXT_MAX = 4096, /* bytes of an expression */
    EXPR_NODES_MAX = 512, /* operands and operators in it */
    EXPR_DEPTH_MAX = 32   /* nested brackets and "not"s */
};

struct expr;

/* ERR_INVALID says what is wrong and at which column (from 1); ERR_LIMIT. Caller owns. */
enum error_code expr_parse(const char *text, struct expr **ret_expr, struct error *err) MUST_CHECK;
void expr_free(struct expr *e); /* NULL is fine */
/* The names it uses, each as often as it stands there, but for those in "defined". Return false to
 * stop. */
void expr_names(const struct expr *e, bool (*each)(void *ctx, const char *name), void *ctx);
/* ERR_NOT_FOUND: a name is not defined; ERR_INVALID: kinds that do not go together. */
enum error_code expr_test(const struct expr *e, const struct value_scope *scope, bool *ret_yes,
                          struct error *err) MUST_CHECK;
