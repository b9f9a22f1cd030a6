/* expr_parse: from text to tree, by recursive descent; the grammar is in expr.h. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/values/expr_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    const char *text;
    size_t at;
    struct expr *e;
    struct error *err;
    int depth;
};

DEFINE_CLEANUP(expr_free, struct expr)

/* Each gives the node's number, or NODE_NONE after an error. */
static int16_t parse_or(struct parser *p);
static int16_t parse_operand(struct parser *p);

static int16_t fault(struct parser *p, const char *wanted)
{
    if (p->text[p->at] == '\0')
        (void)error_set(p->err, ERR_INVALID, "at the end: expected %s", wanted);
    else
        (void)error_set(p->err, ERR_INVALID, "column %zu, at \"%.12s\": expected %s", p->at + 1,
                        p->text + p->at, wanted);
    return NODE_NONE;
}

static int16_t node_add(struct parser *p, enum node_kind kind, size_t at)
{
    struct expr *e = p->e;
    if (e->count == e->capacity) {
        (void)error_set(p->err, ERR_LIMIT, "more than %d operands and operators", EXPR_NODES_MAX);
        return NODE_NONE;
    }
    e->nodes[e->count] = (struct node){.kind = kind,
                                       .left = NODE_NONE,
                                       .right = NODE_NONE,
                                       .next = NODE_NONE,
                                       .column = (uint16_t)(at + 1)};
    return e->count++;
}

static bool enter(struct parser *p)
{
    if (++p->depth <= EXPR_DEPTH_MAX)
        return true;
    (void)error_set(p->err, ERR_LIMIT, "column %zu: nested more than %d deep", p->at + 1,
                    EXPR_DEPTH_MAX);
    return false;
}

/* ---- Tokens ------------------------------------------------------------------------------------
 */

static void skip_space(struct parser *p)
{
    p->at += strspn(p->text + p->at, " \t\r\n");
}

static bool word_goes_on(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

/* Takes a keyword, if it is next. */
static bool take_word(struct parser *p, const char *word)
{
    size_t len = strlen(word);
    skip_space(p);
    if (strncmp(p->text + p->at, word, len) != 0 || word_goes_on(p->text[p->at + len]))
        return false;
    p->at += len;
    return true;
}

static bool take_sign(struct parser *p, const char *sign)
{
    size_t len = strlen(sign);
    skip_space(p);
    if (strncmp(p->text + p->at, sign, len) != 0)
        return false;
    p->at += len;
    return true;
}

/* ---- Operands ----------------------------------------------------------------------------------
 */

static void text_put(struct parser *p, char c)
{
    p->e->texts[p->e->used++] = c;
}

static int16_t parse_text(struct parser *p)
{
    static const char escapes[] = "\\'\"nt", meant[] = "\\'\"\n\t";
    size_t start = p->at;
    char quote = p->text[p->at++];
    int16_t n = node_add(p, NODE_TEXT, start);
    if (n == NODE_NONE)
        return n;
    p->e->nodes[n].text = p->e->used;
    while (p->text[p->at] != quote) {
        char c = p->text[p->at];
        if (c == '\0') {
            (void)error_set(p->err, ERR_INVALID, "column %zu: the text has no end", start + 1);
            return NODE_NONE;
        }
        if (c == '\\') {
            const char *escape = strchr(escapes, p->text[p->at + 1]);
            if (p->text[p->at + 1] == '\0' || !escape)
                return fault(p, "\\\\, \\', \\\", \\n or \\t");
            c = meant[escape - escapes];
            p->at++;
        }
        text_put(p, c);
        p->at++;
    }
    p->at++;
    text_put(p, '\0');
    return n;
}

static int16_t parse_number(struct parser *p)
{
    char *end = NULL;
    size_t start = p->at;
    size_t digits = strspn(p->text + p->at, "+-.0123456789eE");
    errno = 0;
    double number = strtod(p->text + p->at, &end);
    if (errno != 0 || end != p->text + p->at + digits || word_goes_on(*end))
        return fault(p, "a number (a version is a text: '1.2.3')");
    int16_t n = node_add(p, NODE_NUMBER, start);
    if (n == NODE_NONE)
        return n;
    p->e->nodes[n].number = number;
    p->at += digits;
    return n;
}

static int16_t parse_name(struct parser *p, enum node_kind kind)
{
    skip_space(p);
    size_t start = p->at;
    size_t len = value_name_scan(p->text + p->at, NULL);
    if (len == 0)
        return fault(p, kind == NODE_DEFINED
                            ? "a name, such as facts.os.id"
                            : "a text in quotes, a number, a list, or a name such as facts.os.id, "
                              "vars.x, server.labels.x");
    int16_t n = node_add(p, kind, start);
    if (n == NODE_NONE)
        return n;
    p->e->nodes[n].text = p->e->used;
    for (size_t i = 0; i < len; i++)
        text_put(p, p->text[p->at + i]);
    text_put(p, '\0');
    p->at += len;
    return n;
}

static int16_t parse_list(struct parser *p)
{
    int16_t n = node_add(p, NODE_LIST, p->at);
    int16_t last = NODE_NONE;
    int count = 0;
    p->at++;
    if (n == NODE_NONE || !enter(p))
        return NODE_NONE;
    if (take_sign(p, "]")) {
        p->depth--;
        return n;
    }
    do {
        int16_t item = parse_operand(p);
        if (item == NODE_NONE)
            return NODE_NONE;
        if (++count > VALUE_LIST_MAX) {
            (void)error_set(p->err, ERR_LIMIT, "a list of more than %d items", VALUE_LIST_MAX);
            return NODE_NONE;
        }
        if (last == NODE_NONE)
            p->e->nodes[n].left = item;
        else
            p->e->nodes[last].next = item;
        last = item;
    } while (take_sign(p, ","));
    p->depth--;
    if (!take_sign(p, "]"))
        return fault(p, "a comma or ]");
    return n;
}

static int16_t parse_brackets(struct parser *p)
{
    p->at++;
    if (!enter(p))
        return NODE_NONE;
    int16_t n = parse_or(p);
    p->depth--;
    if (n == NODE_NONE)
        return n;
    if (!take_sign(p, ")"))
        return fault(p, "an operator or )");
    return n;
}

static int16_t parse_bool(struct parser *p, size_t start, bool yes)
{
    int16_t n = node_add(p, NODE_BOOL, start);
    if (n != NODE_NONE)
        p->e->nodes[n].yes = yes;
    return n;
}

static int16_t parse_operand(struct parser *p)
{
    skip_space(p);
    size_t start = p->at;
    char c = p->text[start];
    if (c == '\'' || c == '"')
        return parse_text(p);
    if ((c >= '0' && c <= '9') || c == '-')
        return parse_number(p);
    if (c == '[')
        return parse_list(p);
    if (c == '(')
        return parse_brackets(p);
    if (take_word(p, "true"))
        return parse_bool(p, start, true);
    if (take_word(p, "false"))
        return parse_bool(p, start, false);
    return parse_name(p, take_word(p, "defined") ? NODE_DEFINED : NODE_NAME);
}

/* ---- Operators ---------------------------------------------------------------------------------
 */

static bool take_comparison(struct parser *p, enum node_kind *ret_kind)
{
    /* The longer of two that begin alike comes first. */
    static const struct {
        const char *sign;
        enum node_kind kind;
    } signs[] = {
        {"==", NODE_EQUAL},         {"!=", NODE_UNEQUAL}, {"<=", NODE_LESS_EQUAL},
        {">=", NODE_GREATER_EQUAL}, {"<", NODE_LESS},     {">", NODE_GREATER},
    };
    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        if (take_sign(p, signs[i].sign)) {
            *ret_kind = signs[i].kind;
            return true;
        }
    }
    *ret_kind = NODE_IN;
    if (take_word(p, "in"))
        return true;
    size_t before = p->at;
    *ret_kind = NODE_NOT_IN;
    if (take_word(p, "not") && take_word(p, "in"))
        return true;
    p->at = before;
    return false;
}

static int16_t node_join(struct parser *p, enum node_kind kind, int16_t left, int16_t right)
{
    if (left == NODE_NONE || right == NODE_NONE)
        return NODE_NONE;
    int16_t n = node_add(p, kind, (size_t)p->e->nodes[left].column - 1);
    if (n == NODE_NONE)
        return n;
    p->e->nodes[n].left = left;
    p->e->nodes[n].right = right;
    return n;
}

static int16_t parse_compare(struct parser *p)
{
    enum node_kind kind = NODE_EQUAL;
    int16_t left = parse_operand(p);
    if (left == NODE_NONE || !take_comparison(p, &kind))
        return left;
    return node_join(p, kind, left, parse_operand(p));
}

static int16_t parse_not(struct parser *p)
{
    skip_space(p);
    size_t start = p->at;
    if (!take_word(p, "not"))
        return parse_compare(p);
    if (!enter(p))
        return NODE_NONE;
    int16_t inner = parse_not(p);
    p->depth--;
    if (inner == NODE_NONE)
        return NODE_NONE;
    int16_t n = node_add(p, NODE_NOT, start);
    if (n != NODE_NONE)
        p->e->nodes[n].left = inner;
    return n;
}

static int16_t parse_and(struct parser *p)
{
    int16_t left = parse_not(p);
    while (left != NODE_NONE && take_word(p, "and"))
        left = node_join(p, NODE_AND, left, parse_not(p));
    return left;
}

static int16_t parse_or(struct parser *p)
{
    int16_t left = parse_and(p);
    while (left != NODE_NONE && take_word(p, "or"))
        left = node_join(p, NODE_OR, left, parse_and(p));
    return left;
}

enum error_code expr_parse(const char *text, struct expr **ret_expr, struct error *err)
{
    struct error why = {0};
    size_t len = strlen(text);
    if (len > EXPR_TEXT_MAX)
        return error_set(err, ERR_LIMIT, "longer than %d bytes", EXPR_TEXT_MAX);
    AUTO(expr_free) struct expr *e = MEM_NEW(struct expr);
    if (!e)
        return error_set(err, ERR_NO_MEMORY, NULL);
    /* There is no node of less than a byte, and a text or name takes a NUL more than it has. */
    e->capacity = (int16_t)(len < EXPR_NODES_MAX ? len : EXPR_NODES_MAX);
    e->nodes = mem_array((size_t)e->capacity, sizeof(*e->nodes));
    e->texts = mem_alloc(2 * len + 1);
    if (!e->nodes || !e->texts)
        return error_set(err, ERR_NO_MEMORY, NULL);
    struct parser p = {.text = text, .e = e, .err = &why};
    e->root = parse_or(&p);
    skip_space(&p);
    if (e->root != NODE_NONE && text[p.at] != '\0')
        e->root = fault(&p, "an operator, or the end");
    if (e->root == NODE_NONE)
        return error_set(err, why.code, "%s", why.message);
    *ret_expr = TAKE(e);
    return ERR_OK;
}
