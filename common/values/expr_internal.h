/* expr_internal: an expression as a tree in one array; expr_parse.c makes it, expr.c tests it. */
#pragma once

#include "common/values/expr.h"

#include <stdint.h>

enum node_kind {
    NODE_TEXT,
    NODE_NUMBER,
    NODE_BOOL,
    NODE_NAME,
    NODE_DEFINED, /* `text` is the name */
    NODE_LIST,    /* items: from `left` on, one behind the other by `next` */
    NODE_OR,
    NODE_AND,
    NODE_NOT, /* of `left` */
    NODE_EQUAL,
    NODE_UNEQUAL,
    NODE_LESS,
    NODE_LESS_EQUAL,
    NODE_GREATER,
    NODE_GREATER_EQUAL,
    NODE_IN,
    NODE_NOT_IN
};

enum { NODE_NONE = -1 };

struct node {
    enum node_kind kind;
    int16_t left, right, next;
    uint16_t column; /* of its first byte, from 1; for messages */
    size_t text;     /* NODE_TEXT, NODE_NAME, NODE_DEFINED: where in expr.texts */
    double number;
    bool yes;
};

struct expr {
    struct node *nodes;
    int16_t count, capacity, root;
    char *texts; /* NUL-terminated, one behind the other */
    size_t used;
};
