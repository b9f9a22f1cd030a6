/* api_servers: the servers and their agents. */
#include "orchestrator/api/api_internal.h"

#include <string.h>

/* ---- All of them
 * ------------------------------------------------------------------------------------- */

/* The handlers' array is freed by the caller; its texts live with the call. */
static bool server_document(struct api_call *call, const struct server_view *v,
                            struct api_server *ret)
{
    *ret = (struct api_server){
        .id = call_keep_string(call, v->id),
        .connected = v->connected,
        .version = call_keep_string(call, v->version),
        .hostname = call_keep_string(call, v->hostname),
        .address = call_keep_string(call, v->peer),
        .labels = call_keep_string(call, v->labels),
        .since = call_time(call, v->since_ms),
        .rollout = call_keep_string(call, v->rollout),
        .waiting = v->waiting,
        .undo_bytes = v->undo_bytes,
        .undo_max_bytes = v->undo_max_bytes,
        .has_lock = v->locked,
    };
    if (v->locked)
        ret->lock = (struct api_server_lock){.locked = true,
                                             .by = call_keep_string(call, v->locked_by),
                                             .reason = call_keep_string(call, v->lock_reason),
                                             .since = call_time(call, v->locked_ms)};
    ret->handlers.items = mem_array(v->handler_count, sizeof(char *));
    if (ret->handlers.items == NULL)
        return false;
    for (size_t i = 0; i < v->handler_count; i++)
        *ARRAY_AT(&ret->handlers, char *, i) = call_keep_string(call, v->handlers[i]);
    ret->handlers.count = v->handler_count;
    return true;
}

struct server_page {
    struct api_call *call;
    struct api_server_list document;
    size_t limit;
    struct buf label; /* as it stands in a server's labels; empty: all servers */
    bool no_memory;
};

/* A quote within a text has a backslash before it, so nothing else looks like a label. */
static bool has_label(const struct server_page *page, const struct server_view *v)
{
    return page->label.len == 0 || (v->labels != NULL && strstr(v->labels, page->label.data));
}

/* "NAME=VALUE", as servers' labels have it. False: the call is answered. */
static bool take_label(struct api_call *call, struct buf *ret)
{
    const char *text = net_request_query(call->req, "label");
    const char *equals = text == NULL ? NULL : strchr(text, '=');
    struct error err = {0};
    if (text == NULL)
        return true;
    if (equals == NULL || equals == text) {
        call_error(call, error_set(&err, ERR_INVALID, "label must be NAME=VALUE"), &err);
        return false;
    }
    json_write_string(ret, text, (size_t)(equals - text));
    buf_putc(ret, ':');
    json_write_string(ret, equals + 1, strlen(equals + 1));
    if (buf_check(ret, &err) == ERR_OK)
        return true;
    call_error(call, err.code, &err);
    return false;
}

static bool server_each(void *ctx, const struct server_view *v)
{
    struct server_page *page = ctx;
    size_t count = page->document.servers.count;
    if (!has_label(page, v))
        return true;
    if (count == page->limit) {
        if (count > 0)
            page->document.next =
                ARRAY_AT(&page->document.servers, struct api_server, count - 1)->id;
        return false;
    }
    page->document.servers.count++;
    page->no_memory = !server_document(page->call, v,
                                       ARRAY_AT(&page->document.servers, struct api_server, count));
    return !page->no_memory;
}

void handle_server_list(struct api_call *call)
{
    struct dispatcher *d = call->api->config.dispatcher;
    struct dispatcher_stats stats = dispatcher_stats(d);
    struct error err = {0};
    int64_t limit = 0;
    if (!call_query_number(call, "limit", API_PAGE_MAX, API_PAGE_DEFAULT, &limit))
        return;
    AUTO_BUF struct buf label = BUF_INIT;
    if (!take_label(call, &label))
        return;
    struct server_page page = {
        .call = call,
        .label = label, /* borrowed */
        .limit = (size_t)limit,
        .document = {.connected = (int64_t)stats.connected, .known = (int64_t)stats.servers},
    };
    page.document.servers.items = mem_array(page.limit, sizeof(struct api_server));
    enum error_code code = page.document.servers.items == NULL
                               ? error_set(&err, ERR_NO_MEMORY, NULL)
                               : dispatcher_servers(d, net_request_query(call->req, "after"),
                                                    server_each, &page, &err);
    if (code == ERR_OK && page.no_memory)
        code = error_set(&err, ERR_NO_MEMORY, NULL);
    if (code == ERR_OK)
        call_document(call, 200, &api_server_list_table, &page.document);
    else
        call_error(call, code, &err);
    for (size_t i = 0; i < page.document.servers.count; i++)
        mem_free(ARRAY_AT(&page.document.servers, struct api_server, i)->handlers.items);
    mem_free(page.document.servers.items);
}

/* ---- One server
 * -------------------------------------------------------------------------------------- */

struct server_record {
    struct api_call *call;
    struct api_server *document;
};

static bool server_take_lock(void *ctx, const struct journal_server_lock *lock)
{
    const struct server_record *record = ctx;
    struct api_call *call = record->call;
    record->document->has_lock = true;
    record->document->lock = (struct api_server_lock){
        .locked = lock->locked,
        .by = call_keep_string(call, lock->by),
        .reason = call_keep_string(call, lock->reason),
        .since = call_time(call, lock->time_ms),
        .unlocked_by = call_keep_string(call, lock->unlocked_by),
        .unlocked = call_time(call, lock->unlocked_ms),
    };
    return false;
}

static bool server_take_touch(void *ctx, const struct journal_touch *touch)
{
    const struct server_record *record = ctx;
    struct array *touches = &record->document->touched_by;
    *ARRAY_AT(touches, struct api_touch, touches->count++) = (struct api_touch){
        .rollout = call_keep_string(record->call, touch->rollout),
        .created = call_time(record->call, touch->created_ms),
        .undone = touch->undone,
    };
    return true;
}

/* What the journal has of it: its last lock, and who touched it. */
static enum error_code server_read(struct api_call *call, const char *id,
                                   struct api_server *document, struct error *err)
{
    struct journal *journal = call->api->config.journal;
    struct server_record record = {call, document};
    document->touched_by.items = mem_array(API_TOUCHED_MAX, sizeof(struct api_touch));
    if (document->touched_by.items == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = journal_get_lock(journal, id, server_take_lock, &record, err);
    if (code == ERR_OK || code == ERR_NOT_FOUND)
        code = journal_touches(journal, id, API_TOUCHED_MAX, server_take_touch, &record, err);
    return code;
}

void call_server(struct api_call *call, int status, const char *id)
{
    struct server_view view = {.id = id};
    struct api_server document = {0};
    struct error err = {0};
    struct error why = {0};
    enum error_code known = dispatcher_server(call->api->config.dispatcher, id, &view, &why);
    enum error_code code = server_document(call, &view, &document)
                               ? server_read(call, id, &document, &err)
                               : error_set(&err, ERR_NO_MEMORY, NULL);
    document.facts = call_keep_string(call, view.facts);
    /* One that has not come since the start is known by what was done to it. */
    bool recorded = document.has_lock || document.touched_by.count > 0;
    if (code == ERR_OK && known != ERR_OK && !recorded)
        call_error(call, known, &why);
    else if (code == ERR_OK)
        call_document(call, status, &api_server_table, &document);
    else
        call_error(call, code, &err);
    mem_free(document.handlers.items);
    mem_free(document.touched_by.items);
}

void handle_server_get(struct api_call *call)
{
    call_server(call, 200, call->params[0]);
}
