#include "common/values/template.h"

#include "common/base/cleanup.h"
#include "common/values/value_json.h"

#include <stdio.h>
#include <string.h>

/* One piece of a text: plain bytes, or a placeholder. */
struct piece {
    const char *name; /* NULL: plain */
    size_t name_len;
    const char *plain;
    size_t plain_len;
    size_t len; /* of it in the text */
};

/* The name of the placeholder that `s` begins with ("${name}"), NULL: it begins with none. */
static const char *placeholder(const char *s, size_t *ret_len)
{
    if (s[0] != '$' || s[1] != '{')
        return NULL;
    size_t len = value_name_scan(s + 2, NULL);
    if (len == 0 || s[2 + len] != '}')
        return NULL;
    *ret_len = len;
    return s + 2;
}

static bool piece_next(const char *s, struct piece *ret)
{
    size_t len = 0;
    if (*s == '\0')
        return false;
    const char *name = placeholder(s, &len);
    if (name) {
        *ret = (struct piece){.name = name, .name_len = len, .len = len + 3};
        return true;
    }
    /* The first dollar of an escaped one is left out, the rest is plain. */
    if (s[0] == '$' && placeholder(s + 1, &len)) {
        *ret = (struct piece){.plain = s + 1, .plain_len = len + 3, .len = len + 4};
        return true;
    }
    size_t plain = 1 + strcspn(s + 1, "$");
    *ret = (struct piece){.plain = s, .plain_len = plain, .len = plain};
    return true;
}

bool template_has(const char *text)
{
    size_t len = 0;
    for (const char *s = strchr(text, '$'); s; s = strchr(s + 1, '$')) {
        if (placeholder(s, &len))
            return true;
    }
    return false;
}

static bool is_secret(const char *name)
{
    enum value_space space = SPACE_COUNT;
    return value_name_scan(name, &space) > 0 && space == SPACE_SECRETS;
}

bool template_has_secret(const char *text)
{
    struct piece piece;
    for (const char *s = text; piece_next(s, &piece); s += piece.len) {
        if (piece.name && is_secret(piece.name))
            return true;
    }
    return false;
}

static enum error_code value_write(const struct value *v, const char *name, size_t len,
                                   struct buf *out, struct error *err)
{
    switch (v->kind) {
    case VALUE_TEXT:
        buf_puts(out, v->text);
        return ERR_OK;
    case VALUE_NUMBER:
        buf_put_number(out, v->number);
        return ERR_OK;
    case VALUE_BOOL:
        buf_puts(out, v->yes ? "true" : "false");
        return ERR_OK;
    case VALUE_LIST:
    case VALUE_KIND_COUNT:
        break;
    }
    return error_set(err, ERR_INVALID, "%.*s is a list, which cannot stand among other text",
                     (int)(len < 100 ? len : 100), name);
}

enum error_code template_fill(const char *text, const struct value_scope *scope, struct buf *out,
                              struct error *err)
{
    struct piece piece;
    size_t from = out->len;
    for (const char *s = text; piece_next(s, &piece); s += piece.len) {
        struct value v = {0};
        if (!piece.name) {
            buf_append(out, piece.plain, piece.plain_len);
            continue;
        }
        enum error_code code = value_find(scope, piece.name, piece.name_len, &v, err);
        if (code == ERR_OK)
            code = value_write(&v, piece.name, piece.name_len, out, err);
        if (code != ERR_OK)
            return code;
        if (out->len - from > VALUE_TEXT_MAX)
            return error_set(err, ERR_LIMIT, "longer than %d bytes with its values filled in",
                             VALUE_TEXT_MAX);
    }
    return buf_check(out, err);
}

/* ---- JSON --------------------------------------------------------------------------------------
 */

static bool text_names(const char *text, bool (*each)(void *ctx, const char *name), void *ctx)
{
    struct piece piece;
    for (const char *s = text; piece_next(s, &piece); s += piece.len) {
        char name[VALUE_NAME_MAX + 1];
        if (!piece.name)
            continue;
        memcpy(name, piece.name, piece.name_len);
        name[piece.name_len] = '\0';
        if (!each(ctx, name))
            return false;
    }
    return true;
}

static bool json_names(const struct json_value *v, bool (*each)(void *ctx, const char *name),
                       void *ctx)
{
    const char *text = json_string(v);
    bool go_on = text == NULL || text_names(text, each, ctx);
    for (const struct json_value *c = json_first(v); c && go_on; c = json_next(c))
        go_on = json_names(c, each, ctx);
    return go_on;
}

void template_json_names(const struct json_value *v, bool (*each)(void *ctx, const char *name),
                         void *ctx)
{
    (void)json_names(v, each, ctx);
}

/* A text that is filled in later: what it names beside secrets is looked up now. */
static enum error_code text_leave(const char *text, const struct value_scope *scope,
                                  struct buf *out, struct error *err)
{
    struct piece piece;
    for (const char *s = text; piece_next(s, &piece); s += piece.len) {
        AUTO_BUF struct buf written = BUF_INIT;
        char name[VALUE_NAME_MAX + 1];
        struct value v = {0};
        if (!piece.name || is_secret(piece.name))
            continue;
        enum error_code code = value_find(scope, piece.name, piece.name_len, &v, err);
        if (code == ERR_OK)
            code = value_write(&v, piece.name, piece.name_len, &written, err);
        if (code != ERR_OK)
            return code;
        memcpy(name, piece.name, piece.name_len);
        name[piece.name_len] = '\0';
        code = scope->later(scope->ctx, name, &v, err);
        if (code != ERR_OK)
            return code;
    }
    json_write_string(out, text, strlen(text));
    return ERR_OK;
}

/* A text that is one placeholder becomes what it stands for, of whatever kind. */
static enum error_code text_fill_json(const char *text, const struct value_scope *scope,
                                      struct buf *out, struct error *err)
{
    AUTO_BUF struct buf filled = BUF_INIT;
    struct value v = {0};
    size_t len = 0;
    const char *name = placeholder(text, &len);
    if (scope->later && template_has_secret(text))
        return text_leave(text, scope, out, err);
    if (name && name[len + 1] == '\0') {
        enum error_code code = value_find(scope, name, len, &v, err);
        if (code == ERR_OK)
            value_write_json(&v, out);
        return code;
    }
    enum error_code code = template_fill(text, scope, &filled, err);
    if (code == ERR_OK)
        json_write_string(out, filled.data ? filled.data : "", filled.len);
    return code;
}

/* Where in the document a fill is. */
struct place {
    const struct value_scope *scope;
    struct buf path;
    struct buf *out;
    struct error *err;
};

/* Goes down to a child, of which the name is written. What path_leave takes. */
static size_t path_enter(struct place *p, const struct json_value *child, size_t index)
{
    size_t len = p->path.len;
    const char *name = json_name(child);
    if (index > 0)
        buf_putc(p->out, ',');
    if (name) {
        buf_printf(&p->path, "%s%s", len > 0 ? "." : "", name);
        json_write_string(p->out, name, strlen(name));
        buf_putc(p->out, ':');
    } else {
        buf_printf(&p->path, "[%zu]", index);
    }
    return len;
}

static void path_leave(struct place *p, size_t len)
{
    if (p->path.failed != ERR_OK)
        return;
    p->path.len = len;
    p->path.data[len] = '\0';
}

static enum error_code json_fill(struct place *p, const struct json_value *v)
{
    enum json_kind kind = json_kind(v);
    size_t index = 0;
    if (kind == JSON_IS_STRING)
        return text_fill_json(json_string(v), p->scope, p->out, p->err);
    if (kind != JSON_IS_ARRAY && kind != JSON_IS_OBJECT) {
        json_write_value(p->out, v);
        return ERR_OK;
    }
    buf_putc(p->out, kind == JSON_IS_ARRAY ? '[' : '{');
    for (const struct json_value *c = json_first(v); c; c = json_next(c)) {
        size_t len = path_enter(p, c, index++);
        enum error_code code = json_fill(p, c);
        if (code != ERR_OK)
            return code;
        path_leave(p, len);
    }
    buf_putc(p->out, kind == JSON_IS_ARRAY ? ']' : '}');
    return ERR_OK;
}

static enum error_code json_finish(struct place *p, const struct json_value *planned,
                                   const struct json_value *filled)
{
    const char *text = json_string(planned);
    enum json_kind kind = json_kind(filled);
    size_t index = 0;
    if (text && template_has_secret(text))
        return text_fill_json(text, p->scope, p->out, p->err);
    if ((kind != JSON_IS_ARRAY && kind != JSON_IS_OBJECT) || json_kind(planned) != kind) {
        json_write_value(p->out, filled);
        return ERR_OK;
    }
    const struct json_value *from = json_first(planned);
    buf_putc(p->out, kind == JSON_IS_ARRAY ? '[' : '{');
    for (const struct json_value *c = json_first(filled); c && from; c = json_next(c)) {
        size_t len = path_enter(p, c, index++);
        enum error_code code = json_finish(p, from, c);
        if (code != ERR_OK)
            return code;
        path_leave(p, len);
        from = json_next(from);
    }
    buf_putc(p->out, kind == JSON_IS_ARRAY ? ']' : '}');
    return ERR_OK;
}

/* `planned`: NULL when it is `v` itself. */
static enum error_code document_fill(struct place *p, const char *path,
                                     const struct json_value *planned, const struct json_value *v,
                                     struct error *err)
{
    struct error why = {0};
    p->err = &why;
    buf_puts(&p->path, path);
    enum error_code code = buf_check(&p->path, &why);
    if (code == ERR_OK)
        code = planned ? json_finish(p, planned, v) : json_fill(p, v);
    if (code == ERR_OK)
        code = buf_check(p->out, &why);
    if (code == ERR_OK)
        code = buf_check(&p->path, &why);
    if (code != ERR_OK)
        code = error_set(err, code, "%.120s%s%s", p->path.data ? p->path.data : "",
                         p->path.len > 0 ? ": " : "", why.message);
    buf_done(&p->path);
    return code;
}

enum error_code template_json_fill(const struct json_value *v, const char *path,
                                   const struct value_scope *scope, struct buf *out,
                                   struct error *err)
{
    struct place p = {.scope = scope, .path = BUF_INIT, .out = out};
    return document_fill(&p, path, NULL, v, err);
}

enum error_code template_json_finish(const struct json_value *planned,
                                     const struct json_value *filled, const char *path,
                                     const struct value_scope *scope, struct buf *out,
                                     struct error *err)
{
    struct place p = {.scope = scope, .path = BUF_INIT, .out = out};
    return document_fill(&p, path, planned, filled, err);
}
