/*
 * value: what a name in a plan stands for on one server: a text, a number, a boolean or a list, and
 * the names themselves.
 *
 *   server.id                  the server's id
 *   server.labels.NAME         a label of its agent
 *   facts.NAME                 what its agent found out about it: facts.os.version
 *   vars.NAME                  a variable of the plan
 *   steps.STEP.outputs.NAME    what an earlier step of the same execution has put out
 *   secrets.NAME               a secret that the plan says where to find; looked up for each
 *                              operation anew, and never kept
 *
 * A name is words joined by dots; a word is letters, digits, _ and -.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    VALUE_NAME_MAX = 256,  /* bytes of a name */
    VALUE_LIST_MAX = 256,  /* items of a list */
    VALUE_TEXT_MAX = 65536 /* bytes of a text */
};

#define VALUE_KINDS(X)                                                                             \
    X(VALUE_TEXT, "a text")                                                                        \
    X(VALUE_NUMBER, "a number")                                                                    \
    X(VALUE_BOOL, "true or false")                                                                 \
    X(VALUE_LIST, "a list")
#define X(value, name) value,
enum value_kind { VALUE_KINDS(X) VALUE_KIND_COUNT };
#undef X
extern const char *const value_kind_names[VALUE_KIND_COUNT]; /* for messages */

struct value {
    enum value_kind kind;
    const char *text; /* VALUE_TEXT: NUL-terminated, borrowed */
    double number;
    bool yes;
    const struct value *items; /* VALUE_LIST: borrowed; no lists among them */
    size_t count;
};

/* Where names are looked up. */
struct value_scope {
    /* False: it is not defined. The value is borrowed until the scope changes. */
    bool (*find)(void *ctx, const char *name, struct value *ret_value);
    void *ctx;
    /* Texts that name a secret are left as they are (template.h), and this is told what else is
     * named in them. NULL: secrets are looked up like all else. */
    enum error_code (*later)(void *ctx, const char *name, const struct value *value,
                             struct error *err);
};

enum value_space { SPACE_SERVER, SPACE_FACTS, SPACE_VARS, SPACE_STEPS, SPACE_SECRETS, SPACE_COUNT };

/* The length of the name that `s` begins with, 0 when it begins with none: one of the above, at
 * most VALUE_NAME_MAX bytes. *ret_space may be NULL. */
size_t value_name_scan(const char *s, enum value_space *ret_space);
/* ERR_NOT_FOUND says which name is not defined, and what would define it. */
enum error_code value_find(const struct value_scope *scope, const char *name, size_t len,
                           struct value *ret_value, struct error *err) MUST_CHECK;
