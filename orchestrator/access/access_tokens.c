/* access_tokens: people's tokens. */
#include "orchestrator/access/access_internal.h"

#include "common/base/buf.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

static const char token_prefix[] = "kit_";

const char *const access_role_names[ROLE_COUNT] = {
#define X(value, name) [value] = (name),
    ACCESS_ROLES(X)
#undef X
};

bool access_role_parse(const char *text, enum access_role *ret_role)
{
    for (int i = ROLE_VIEWER; i < ROLE_COUNT; i++) {
        if (strcmp(text, access_role_names[i]) != 0)
            continue;
        *ret_role = (enum access_role)i;
        return true;
    }
    return false;
}

/* ---- Scope --------------------------------------------------------------------------------- */

/* Linear but for the last star: what a star has taken is only given back to that one. */
static bool matches(const char *pattern, const char *text)
{
    const char *star = NULL;
    const char *taken = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            taken = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++taken;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool is_among(const struct array *patterns, const char *text)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (matches(*ARRAY_AT(patterns, const char *, i), text))
            return true;
    }
    return patterns->count == 0;
}

bool access_scope_server(const struct access_scope *scope, const char *server)
{
    return is_among(&scope->servers, server);
}

bool access_scope_step(const struct access_scope *scope, const char *type)
{
    return is_among(&scope->steps, type);
}

static bool item_valid(const char *item, bool pattern)
{
    size_t len = strnlen(item, ID_BUFFER);
    for (size_t i = 0; i < len; i++) {
        bool good = isalnum((unsigned char)item[i]) || strchr("._-", item[i]) ||
                    (pattern && item[i] == '*');
        if (!good)
            return false;
    }
    return len > 0 && len < ID_BUFFER;
}

/* The items, each ended by a line end; "" for none. Caller owns. */
static enum error_code scope_write(const struct array *items, bool pattern, char **ret_text,
                                   struct error *err)
{
    AUTO_BUF struct buf b = BUF_INIT;
    if (items->count > ACCESS_MAX_SCOPE)
        return error_set(err, ERR_LIMIT, "a scope has at most %d items", ACCESS_MAX_SCOPE);
    for (size_t i = 0; i < items->count; i++) {
        const char *item = *ARRAY_AT(items, const char *, i);
        if (!item_valid(item, pattern))
            return error_set(err, ERR_INVALID, "scope: \"%.80s\" is no %s", item,
                             pattern ? "server id or pattern" : "step type");
        buf_puts(&b, item);
        buf_putc(&b, '\n');
    }
    *ret_text = buf_check(&b, NULL) == ERR_OK ? buf_take(&b, NULL) : NULL;
    return *ret_text ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

/* Turns such a text into items that point into it. */
static enum error_code scope_read(char *text, struct array *ret_items, struct error *err)
{
    size_t count = 0;
    for (const char *p = text; *p != '\0'; p++)
        count += *p == '\n';
    const char **items = mem_array(count, sizeof(*items));
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < count; i++) {
        items[i] = text;
        text = strchr(text, '\n');
        *text++ = '\0';
    }
    *ret_items = (struct array){items, count};
    return ERR_OK;
}

/* ---- In memory ----------------------------------------------------------------------------- */

/* uthash's macros unfold into more than a function may hold; these are all there is of them here.
 */
/* NOLINTBEGIN(readability-function-size) */
static struct token *token_by_hash(struct access *a, const char *hash)
{
    struct token *t = NULL;
    HASH_FIND_STR(a->tokens, hash, t);
    return t;
}

static bool token_hash_add(struct access *a, struct token *t)
{
    HASH_ADD_STR(a->tokens, hash, t);
    a->token_count += t->hh.tbl != NULL;
    return t->hh.tbl != NULL;
}

static void token_hash_remove(struct access *a, struct token *t)
{
    HASH_DEL(a->tokens, t);
    a->token_count--;
}
/* NOLINTEND(readability-function-size) */

static void token_free(struct token *t)
{
    if (!t)
        return;
    mem_free(t->view.scope.servers.items);
    mem_free(t->view.scope.steps.items);
    mem_free(t->servers);
    mem_free(t->steps);
    explicit_bzero(t, sizeof(*t));
    mem_free(t);
}
DEFINE_CLEANUP(token_free, struct token)

static struct token *token_by_name(const struct access *a, const char *name)
{
    for (struct token *t = a->tokens; t; t = t->hh.next) {
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

/* `servers` and `steps` are as scope_write gives them. */
static enum error_code token_add(struct access *a, const struct access_token *from,
                                 const char *hash, const char *servers, const char *steps,
                                 struct error *err)
{
    AUTO(token_free) struct token *t = MEM_NEW(struct token);
    if (!t || !(t->servers = mem_strdup(servers)) || !(t->steps = mem_strdup(steps)))
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = scope_read(t->servers, &t->view.scope.servers, err);
    if (code == ERR_OK)
        code = scope_read(t->steps, &t->view.scope.steps, err);
    if (code != ERR_OK)
        return code;
    text_put(t->hash, sizeof(t->hash), hash);
    text_put(t->name, sizeof(t->name), from->name);
    text_put(t->by, sizeof(t->by), from->created_by);
    t->view.name = t->name;
    t->view.created_by = t->by[0] ? t->by : NULL;
    t->view.role = from->role;
    t->view.created_ms = from->created_ms;
    t->view.expires_ms = from->expires_ms;
    if (!token_hash_add(a, t))
        return error_set(err, ERR_NO_MEMORY, NULL);
    (void)TAKE(t);
    return ERR_OK;
}

static enum error_code token_load(struct access *a, struct db_stmt *s, struct error *err)
{
    struct access_token token = {
        .name = db_column_text(s, TOKEN_NAME, NULL),
        .created_by = db_column_text(s, TOKEN_BY, NULL),
        .created_ms = db_column_int(s, TOKEN_CREATED),
        .expires_ms = db_column_int(s, TOKEN_EXPIRES),
    };
    const char *role = db_column_text(s, TOKEN_ROLE, NULL);
    if (!role || !access_role_parse(role, &token.role))
        return error_set(err, ERR_CORRUPT, "access.db: token \"%.80s\" has no role that is known",
                         token.name);
    return token_add(a, &token, db_column_text(s, TOKEN_HASH, NULL),
                     db_column_text(s, TOKEN_SERVERS, NULL), db_column_text(s, TOKEN_STEPS, NULL),
                     err);
}

enum error_code tokens_load(struct access *a, struct db *db, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(db, ACCESS_TOKENS, &s, err);
    if (code != ERR_OK)
        return code;
    while ((code = db_step(s, &row, err)) == ERR_OK && row) {
        code = token_load(a, s, err);
        if (code != ERR_OK)
            break;
    }
    db_reset(s);
    return code;
}

void tokens_free(struct access *a)
{
    while (a->tokens) {
        struct token *t = a->tokens;
        token_hash_remove(a, t);
        token_free(t);
    }
}

/* ---- Changes ------------------------------------------------------------------------------- */

static enum error_code apply_create(struct db *db, struct change *c, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, ACCESS_TOKEN_ADD, &s, err);
    if (code != ERR_OK)
        return code;
    bind_text(s, 1, c->name);
    bind_text(s, 2, c->hash);
    bind_text(s, 3, access_role_names[c->role]);
    bind_text(s, 4, c->servers);
    bind_text(s, 5, c->steps);
    db_bind_int(s, 6, c->first_ms);
    db_bind_int(s, 7, c->last_ms);
    bind_text(s, 8, c->by[0] ? c->by : NULL);
    return db_run(s, err);
}

static enum error_code token_check(const struct access *a, const struct access_token *token,
                                   struct error *err)
{
    if (!id_valid(token->name))
        return error_set(err, ERR_INVALID,
                         "a token's name begins with a letter or digit and has at most %d of "
                         "letters, digits, \".\", \"_\" and \"-\"",
                         ID_MAX);
    if (token->role <= ROLE_NOBODY || token->role >= ROLE_COUNT)
        return error_set(err, ERR_INVALID, "a token's role is viewer, operator or admin");
    if (token->expires_ms != 0 && token->expires_ms <= token->created_ms)
        return error_set(err, ERR_INVALID, "token \"%s\" would have expired already", token->name);
    if (token_by_name(a, token->name))
        return error_set(err, ERR_EXISTS,
                         "a token \"%s\" exists; revoke it first, or choose another name",
                         token->name);
    if (a->token_count >= ACCESS_MAX_TOKENS)
        return error_set(err, ERR_LIMIT, "there are %d tokens already; revoke some",
                         ACCESS_MAX_TOKENS);
    return ERR_OK;
}

enum error_code access_token_create(struct access *a, const struct access_token *token,
                                    char ret_secret[ACCESS_SECRET_BUFFER], access_done done,
                                    void *ctx, struct error *err)
{
    char secret[ACCESS_SECRET_BUFFER];
    enum error_code code = token_check(a, token, err);
    if (code != ERR_OK)
        return code;
    AUTO(change_free) struct change *c = change_new(a, apply_create, done, ctx, err);
    if (!c)
        return ERR_NO_MEMORY;
    code = scope_write(&token->scope.servers, true, &c->servers, err);
    if (code == ERR_OK)
        code = scope_write(&token->scope.steps, false, &c->steps, err);
    if (code == ERR_OK)
        code = secret_make(token_prefix, secret, c->hash, err);
    if (code == ERR_OK)
        code = token_add(a, token, c->hash, c->servers, c->steps, err);
    if (code != ERR_OK)
        return code;
    text_put(c->name, sizeof(c->name), token->name);
    text_put(c->by, sizeof(c->by), token->created_by);
    c->role = token->role;
    c->first_ms = token->created_ms;
    c->last_ms = token->expires_ms;
    memcpy(ret_secret, secret, sizeof(secret));
    explicit_bzero(secret, sizeof(secret));
    change_submit(TAKE(c));
    return ERR_OK;
}

static enum error_code apply_revoke(struct db *db, struct change *c, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, ACCESS_TOKEN_REVOKE, &s, err);
    if (code != ERR_OK)
        return code;
    bind_text(s, 1, c->name);
    return db_run(s, err);
}

enum error_code access_token_revoke(struct access *a, const char *name, access_done done, void *ctx,
                                    struct error *err)
{
    struct token *t = token_by_name(a, name);
    if (!t)
        return error_set(err, ERR_NOT_FOUND, "no token \"%.80s\"", name);
    struct change *c = change_new(a, apply_revoke, done, ctx, err);
    if (!c)
        return ERR_NO_MEMORY;
    text_put(c->name, sizeof(c->name), name);
    token_hash_remove(a, t);
    token_free(t);
    change_submit(c);
    return ERR_OK;
}

/* ---- Questions ----------------------------------------------------------------------------- */

/* What is looked up is the hash of what came: how long that takes says nothing of what is right. */
enum error_code access_authenticate(struct access *a, const char *secret, int64_t now_ms,
                                    const struct access_token **ret_token, struct error *err)
{
    char hash[HASH_BUFFER];
    enum error_code code = sha256_hex(secret, strlen(secret), hash, err);
    if (code != ERR_OK)
        return code;
    const struct token *t = token_by_hash(a, hash);
    if (!t)
        return error_set(err, ERR_DENIED, "the token is not one of this orchestrator's");
    if (t->view.expires_ms != 0 && now_ms >= t->view.expires_ms)
        return error_set(err, ERR_DENIED, "the token has expired; ask an admin for a new one");
    *ret_token = &t->view;
    return ERR_OK;
}

bool access_token(struct access *a, const char *name, int64_t now_ms,
                  const struct access_token **ret_token)
{
    const struct token *t = token_by_name(a, name);
    if (!t || (t->view.expires_ms != 0 && now_ms >= t->view.expires_ms))
        return false;
    *ret_token = &t->view;
    return true;
}

static int by_name(struct token *x, struct token *y)
{
    return strcmp(x->name, y->name);
}

/* NOLINTNEXTLINE(readability-function-size): uthash's macro */
static void tokens_sort(struct access *a)
{
    HASH_SORT(a->tokens, by_name);
}

void access_tokens(struct access *a, bool (*each)(void *ctx, const struct access_token *token),
                   void *ctx)
{
    tokens_sort(a);
    for (const struct token *t = a->tokens; t; t = t->hh.next) {
        if (!each(ctx, &t->view))
            return;
    }
}
