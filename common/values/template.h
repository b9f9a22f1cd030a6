/*
 * template: texts of a plan with ${names} in them, and JSON values whose texts have.
 *
 * "${" NAME "}" with a name of value.h is a placeholder; anything else, "${HOME}" too, stands for
 * itself, so that a shell's or a configuration's own "${...}" needs no care. "$${" NAME "}" gives
 * the text "${NAME}".
 *
 * A text that is one placeholder and nothing more becomes the value itself: a number stays a
 * number. Among other text a value is written out: numbers as short as they read back the same,
 * booleans as true and false, lists not at all (ERR_INVALID).
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/json/json.h"
#include "common/values/value.h"

/* True when there is anything to fill in, or to take an escape from. */
bool template_has(const char *text);
/* True when one of them is a secret. */
bool template_has_secret(const char *text);
/* Appends the text with the values filled in. ERR_NOT_FOUND, ERR_INVALID; ERR_LIMIT: longer than
 * VALUE_TEXT_MAX where a value was filled in. */
enum error_code template_fill(const char *text, const struct value_scope *scope, struct buf *out,
                              struct error *err) MUST_CHECK;

/* The placeholders in all texts of a JSON value; member names have none. Return false to stop. */
void template_json_names(const struct json_value *v, bool (*each)(void *ctx, const char *name),
                         void *ctx);
/* Appends the JSON value with the values filled in, compact. The message of an error begins with
 * the path of the text: "params.content: vars.port is not defined...". With scope->later, texts
 * that name a secret stay as they are; all else that they name must be defined. */
enum error_code template_json_fill(const struct json_value *v, const char *path,
                                   const struct value_scope *scope, struct buf *out,
                                   struct error *err) MUST_CHECK;
/* Appends `filled`, which was made of `planned` so, with those texts filled in too. What only looks
 * like a placeholder there, because a value has it, is left alone. */
enum error_code template_json_finish(const struct json_value *planned,
                                     const struct json_value *filled, const char *path,
                                     const struct value_scope *scope, struct buf *out,
                                     struct error *err) MUST_CHECK;
