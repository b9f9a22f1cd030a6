/* api_tokens: people's tokens. */
#include "orchestrator/api/api_internal.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <string.h>

/* The scope's items as a document has them; "": memory is out. */
static struct array scope_items(struct api_call *call, const struct array *from)
{
    struct array to = {.items = mem_array(from->count, sizeof(char *))};
    if (to.items == NULL) {
        call->short_of_memory = true;
        return to;
    }
    for (size_t i = 0; i < from->count; i++)
        *ARRAY_AT(&to, char *, i) = call_keep_string(call, *ARRAY_AT(from, const char *, i));
    to.count = from->count;
    return to;
}

static struct api_token token_document(struct api_call *call, const struct access_token *t)
{
    return (struct api_token){
        .name = call_keep_string(call, t->name),
        .role = call_keep_string(call, access_role_names[t->role]),
        .created = call_time(call, t->created_ms),
        .created_by = call_keep_string(call, t->created_by),
        .expires = call_time(call, t->expires_ms),
        .servers = scope_items(call, &t->scope.servers),
        .steps = scope_items(call, &t->scope.steps),
    };
}

/* The texts live with the call. */
static void token_document_done(struct api_token *document)
{
    mem_free(document->servers.items);
    mem_free(document->steps.items);
}

/* False: answered here. */
static bool call_has_access(struct api_call *call)
{
    struct error err = {0};
    if (call->api->config.access != NULL)
        return true;
    (void)error_set(&err, ERR_UNSUPPORTED,
                    "with --insecure-dev everybody may do everything, and there are no tokens");
    call_error(call, err.code, &err);
    return false;
}

/* ---- Who am I ---------------------------------------------------------------------------------
 */

void handle_whoami(struct api_call *call)
{
    static char nobody[] = "nobody";
    const struct access_token *token = caller_token(call->api, &call->caller);
    const struct access_scope everything = {0};
    const struct access_scope *scope = token == NULL ? &everything : &token->scope;
    struct api_principal document = {
        .name = call->caller.name[0] != '\0' ? call->caller.name : nobody,
        .role = call_keep_string(call, access_role_names[call->caller.role]),
        .expires = token == NULL ? NULL : call_time(call, token->expires_ms),
        .servers = scope_items(call, &scope->servers),
        .steps = scope_items(call, &scope->steps),
    };
    call_document(call, 200, &api_principal_table, &document);
    mem_free(document.servers.items);
    mem_free(document.steps.items);
}

/* ---- Making -----------------------------------------------------------------------------------
 */

struct token_order {
    struct api_token_request request;
    struct access_token token; /* borrows from the request and the call */
    char secret[ACCESS_SECRET_BUFFER];
};

static void token_order_free(void *p)
{
    struct token_order *order = p;
    json_release(&api_token_request_table, &order->request);
    explicit_bzero(order->secret, sizeof(order->secret));
    mem_free(order);
}

static void token_made(void *ctx, enum error_code result, const struct error *err)
{
    struct api_call *call = ctx;
    struct token_order *order = call->order;
    call->pending--;
    if (result == ERR_OK) {
        struct api_token_made document = {.token = order->secret,
                                          .about = token_document(call, &order->token)};
        call->secret = true;
        call_document(call, 201, &api_token_made_table, &document);
        token_document_done(&document.about);
    } else {
        call_error(call, result, err);
    }
    call_free(call);
}

static void token_create(struct api_call *call)
{
    struct error err = {0};
    struct token_order *order = call->order;
    enum error_code code = access_token_create(call->api->config.access, &order->token,
                                               order->secret, token_made, call, &err);
    if (code == ERR_OK)
        call->pending++;
    else
        call_error(call, code, &err);
}

/* What the audit log says of it. */
static char *token_describe(struct api_call *call, const struct access_token *token)
{
    AUTO_BUF struct buf b = BUF_INIT;
    const struct array *lists[] = {&token->scope.servers, &token->scope.steps};
    static const char *const names[] = {"; servers", "; steps"};
    buf_puts(&b, access_role_names[token->role]);
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        for (size_t i = 0; i < lists[k]->count; i++) {
            buf_puts(&b, i == 0 ? names[k] : ",");
            buf_printf(&b, " %s", *ARRAY_AT(lists[k], const char *, i));
        }
    }
    if (buf_check(&b, NULL) != ERR_OK)
        call->short_of_memory = true;
    return call_keep(call, b.data, b.len);
}

static enum error_code token_of_request(struct api_call *call, struct token_order *order,
                                        struct error *err)
{
    const struct api_token_request *request = &order->request;
    int64_t now_ms = clock_wall_ms();
    order->token = (struct access_token){
        .name = request->name,
        .scope = {.servers = request->servers, .steps = request->steps},
        .created_ms = now_ms,
        .expires_ms = request->ttl_s == 0 ? 0 : now_ms + request->ttl_s * 1000,
        .created_by = call->caller.name,
    };
    if (!access_role_parse(request->role, &order->token.role))
        return error_set(err, ERR_INVALID, "role: must be viewer, operator or admin, not \"%.40s\"",
                         request->role);
    return ERR_OK;
}

void handle_token_create(struct api_call *call)
{
    struct error err = {0};
    if (!call_has_access(call) || !call_may_unconfined(call))
        return;
    struct token_order *order = MEM_NEW(struct token_order);
    if (order == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return;
    }
    call->order = order;
    call->order_free = token_order_free;
    if (!call_body(call, &api_token_request_table, &order->request))
        return;
    enum error_code code = token_of_request(call, order, &err);
    if (code == ERR_OK)
        call_change(call, order->request.name, token_describe(call, &order->token), token_create);
    else
        call_error(call, code, &err);
}

/* ---- Listing ----------------------------------------------------------------------------------
 */

struct token_page {
    struct api_call *call;
    struct api_token_list document;
};

static bool token_each(void *ctx, const struct access_token *token)
{
    struct token_page *page = ctx;
    struct array *tokens = &page->document.tokens;
    *ARRAY_AT(tokens, struct api_token, tokens->count++) = token_document(page->call, token);
    return true;
}

void handle_token_list(struct api_call *call)
{
    if (!call_has_access(call))
        return;
    struct token_page page = {.call = call};
    const struct access_stats stats = access_stats(call->api->config.access, 0, 0);
    page.document.tokens.items = mem_array(stats.tokens, sizeof(struct api_token));
    if (page.document.tokens.items == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return;
    }
    access_tokens(call->api->config.access, token_each, &page);
    call_document(call, 200, &api_token_list_table, &page.document);
    for (size_t i = 0; i < page.document.tokens.count; i++)
        token_document_done(ARRAY_AT(&page.document.tokens, struct api_token, i));
    mem_free(page.document.tokens.items);
}

/* ---- Revoking ---------------------------------------------------------------------------------
 */

static void token_revoked(void *ctx, enum error_code result, const struct error *err)
{
    struct api_call *call = ctx;
    call->pending--;
    if (result == ERR_OK)
        call_text(call, 200, "application/json", &call->held);
    else
        call_error(call, result, err);
    call_free(call);
}

static void streams_end_of(struct api *api, const char *token)
{
    struct stream *next = NULL;
    for (struct stream *stream = api->streams; stream != NULL; stream = next) {
        const struct caller *caller = &stream->call->caller;
        next = stream->next;
        if (caller->kind == CALLER_TOKEN && strcmp(caller->name, token) == 0)
            stream_break(stream);
    }
}

static void token_revoke(struct api_call *call)
{
    struct error err = {0};
    struct access *access = call->api->config.access;
    const char *name = call->params[0];
    const struct access_token *token = NULL;
    /* How it was, before it is gone. */
    if (access_token(access, name, INT64_MIN, &token)) {
        struct api_token document = token_document(call, token);
        json_encode(&call->held, &api_token_table, &document);
        buf_putc(&call->held, '\n');
        token_document_done(&document);
    }
    enum error_code code = access_token_revoke(access, name, token_revoked, call, &err);
    if (code != ERR_OK) {
        call_error(call, code, &err);
        return;
    }
    call->pending++;
    streams_end_of(call->api, name);
}

void handle_token_revoke(struct api_call *call)
{
    const struct access_token *token = NULL;
    struct error err = {0};
    if (!call_has_access(call) || !call_may_unconfined(call))
        return;
    if (access_token(call->api->config.access, call->params[0], INT64_MIN, &token)) {
        call_change(call, call->params[0], NULL, token_revoke);
        return;
    }
    (void)error_set(&err, ERR_NOT_FOUND, "no token \"%.80s\"", call->params[0]);
    call_error(call, err.code, &err);
}
