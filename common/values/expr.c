#include "common/base/alloc.h"
#include "common/values/expr_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void expr_free(struct expr *e)
{
    if (!e)
        return;
    mem_free(e->nodes);
    mem_free(e->texts);
    mem_free(e);
}

void expr_names(const struct expr *e, bool (*each)(void *ctx, const char *name), void *ctx)
{
    for (int16_t i = 0; i < e->count; i++) {
        if (e->nodes[i].kind == NODE_NAME && !each(ctx, e->texts + e->nodes[i].text))
            return;
    }
}

/* ---- Values ------------------------------------------------------------------------------------
 */

struct test {
    const struct expr *e;
    const struct value_scope *scope;
    struct error *err;
};

static enum error_code node_value(const struct test *t, int16_t n, struct value *ret);

static enum error_code mismatch(const struct test *t, int16_t n, const char *wanted,
                                enum value_kind kind)
{
    return error_set(t->err, ERR_INVALID, "column %u: expected %s, and it is %s",
                     (unsigned)t->e->nodes[n].column, wanted, value_kind_names[kind]);
}

static enum error_code node_bool(const struct test *t, int16_t n, bool *ret)
{
    struct value v = {0};
    enum error_code code = node_value(t, n, &v);
    if (code == ERR_OK && v.kind != VALUE_BOOL)
        code = mismatch(t, n, "true or false", v.kind);
    if (code == ERR_OK)
        *ret = v.yes;
    return code;
}

static bool value_equal(const struct value *a, const struct value *b)
{
    switch (a->kind) {
    case VALUE_TEXT:
        assert(a->text && b->text);
        return strcmp(a->text, b->text) == 0;
    case VALUE_NUMBER:
        return !(a->number < b->number) && !(a->number > b->number);
    case VALUE_BOOL:
        return a->yes == b->yes;
    case VALUE_LIST:
        if (a->count != b->count)
            return false;
        for (size_t i = 0; i < a->count; i++) {
            if (a->items[i].kind != b->items[i].kind || !value_equal(&a->items[i], &b->items[i]))
                return false;
        }
        return true;
    case VALUE_KIND_COUNT:
        break;
    }
    return false;
}

static int value_order(const struct value *a, const struct value *b)
{
    if (a->kind == VALUE_TEXT) {
        assert(a->text && b->text);
        return strverscmp(a->text, b->text);
    }
    return (a->number > b->number) - (a->number < b->number);
}

/* ---- Comparing ---------------------------------------------------------------------------------
 */

/* Both sides, of one kind. */
static enum error_code sides(const struct test *t, const struct node *node, struct value ret[2])
{
    enum error_code code = node_value(t, node->left, &ret[0]);
    if (code == ERR_OK)
        code = node_value(t, node->right, &ret[1]);
    if (code == ERR_OK && ret[0].kind != ret[1].kind)
        code = error_set(t->err, ERR_INVALID, "column %u: %s is compared with %s",
                         (unsigned)node->column, value_kind_names[ret[0].kind],
                         value_kind_names[ret[1].kind]);
    return code;
}

static enum error_code test_equal(const struct test *t, const struct node *node, bool *ret)
{
    struct value v[2] = {0};
    enum error_code code = sides(t, node, v);
    if (code == ERR_OK)
        *ret = value_equal(&v[0], &v[1]) == (node->kind == NODE_EQUAL);
    return code;
}

static enum error_code test_order(const struct test *t, const struct node *node, bool *ret)
{
    struct value v[2] = {0};
    enum error_code code = sides(t, node, v);
    if (code == ERR_OK && v[0].kind != VALUE_TEXT && v[0].kind != VALUE_NUMBER)
        code = mismatch(t, node->left, "a text or a number", v[0].kind);
    if (code != ERR_OK)
        return code;
    int order = value_order(&v[0], &v[1]);
    bool either = node->kind == NODE_LESS_EQUAL || node->kind == NODE_GREATER_EQUAL;
    bool less = node->kind == NODE_LESS || node->kind == NODE_LESS_EQUAL;
    *ret = order == 0 ? either : (order < 0) == less;
    return ERR_OK;
}

static enum error_code find_in_list(const struct test *t, int16_t list, const struct value *wanted,
                                    bool *ret)
{
    struct value v = {0};
    if (t->e->nodes[list].kind != NODE_LIST) {
        enum error_code code = node_value(t, list, &v);
        for (size_t i = 0; i < v.count && code == ERR_OK && !*ret; i++)
            *ret = v.items[i].kind == wanted->kind && value_equal(&v.items[i], wanted);
        return code;
    }
    for (int16_t n = t->e->nodes[list].left; n != NODE_NONE && !*ret; n = t->e->nodes[n].next) {
        enum error_code code = node_value(t, n, &v);
        if (code != ERR_OK)
            return code;
        *ret = v.kind == wanted->kind && value_equal(&v, wanted);
    }
    return ERR_OK;
}

static bool text_in(const struct value *where, const struct value *wanted)
{
    assert(where->text && wanted->text);
    return strstr(where->text, wanted->text) != NULL;
}

static enum error_code test_in(const struct test *t, const struct node *node, bool *ret)
{
    struct value wanted = {0}, where = {.kind = VALUE_LIST};
    bool found = false;
    enum error_code code = node_value(t, node->left, &wanted);
    if (code == ERR_OK && t->e->nodes[node->right].kind != NODE_LIST)
        code = node_value(t, node->right, &where);
    if (code != ERR_OK)
        return code;
    if (where.kind == VALUE_LIST)
        code = find_in_list(t, node->right, &wanted, &found);
    else if (where.kind != VALUE_TEXT)
        code = mismatch(t, node->right, "a list or a text", where.kind);
    else if (wanted.kind != VALUE_TEXT)
        code = mismatch(t, node->left, "a text", wanted.kind);
    else
        found = text_in(&where, &wanted);
    if (code == ERR_OK)
        *ret = found == (node->kind == NODE_IN);
    return code;
}

/* ---- The tree ----------------------------------------------------------------------------------
 */

/* The right side is looked at only when the left one leaves it open. */
static enum error_code test_both(const struct test *t, const struct node *node, bool *ret)
{
    bool left = false;
    enum error_code code = node_bool(t, node->left, &left);
    if (code != ERR_OK)
        return code;
    if (left == (node->kind == NODE_OR)) {
        *ret = left;
        return ERR_OK;
    }
    return node_bool(t, node->right, ret);
}

static enum error_code node_truth(const struct test *t, const struct node *node, bool *ret)
{
    enum error_code code = ERR_OK;
    struct value v = {0};
    switch (node->kind) {
    case NODE_OR:
    case NODE_AND:
        return test_both(t, node, ret);
    case NODE_NOT:
        code = node_bool(t, node->left, ret);
        *ret = !*ret;
        return code;
    case NODE_EQUAL:
    case NODE_UNEQUAL:
        return test_equal(t, node, ret);
    case NODE_LESS:
    case NODE_LESS_EQUAL:
    case NODE_GREATER:
    case NODE_GREATER_EQUAL:
        return test_order(t, node, ret);
    case NODE_IN:
    case NODE_NOT_IN:
        return test_in(t, node, ret);
    case NODE_DEFINED:
        *ret = t->scope->find(t->scope->ctx, t->e->texts + node->text, &v);
        return ERR_OK;
    case NODE_BOOL:
        *ret = node->yes;
        return ERR_OK;
    case NODE_TEXT:
    case NODE_NUMBER:
    case NODE_NAME:
    case NODE_LIST:
        break;
    }
    return error_set(t->err, ERR_INTERNAL, NULL);
}

static enum error_code node_value(const struct test *t, int16_t n, struct value *ret)
{
    const struct node *node = &t->e->nodes[n];
    const char *text = t->e->texts + node->text;
    bool yes = false;
    if (node->kind == NODE_NAME)
        return value_find(t->scope, text, strlen(text), ret, t->err);
    if (node->kind == NODE_TEXT) {
        *ret = (struct value){.kind = VALUE_TEXT, .text = text};
        return ERR_OK;
    }
    if (node->kind == NODE_NUMBER) {
        *ret = (struct value){.kind = VALUE_NUMBER, .number = node->number};
        return ERR_OK;
    }
    if (node->kind == NODE_LIST)
        return error_set(t->err, ERR_INVALID,
                         "column %u: a list stands only to the right of \"in\"",
                         (unsigned)node->column);
    enum error_code code = node_truth(t, node, &yes);
    if (code == ERR_OK)
        *ret = (struct value){.kind = VALUE_BOOL, .yes = yes};
    return code;
}

enum error_code expr_test(const struct expr *e, const struct value_scope *scope, bool *ret_yes,
                          struct error *err)
{
    struct error ignored = {0};
    const struct test t = {.e = e, .scope = scope, .err = err ? err : &ignored};
    bool yes = false;
    enum error_code code = node_bool(&t, e->root, &yes);
    if (code == ERR_OK)
        *ret_yes = yes;
    return code;
}
