/* api_fleet: servers, step types, health and metrics. */
#include "orchestrator/api/api_internal.h"

#include "common/plan/plan_json.h"
#include "handlers/catalog.h"

#include <inttypes.h>
#include <string.h>

/* ---- Servers
 * ------------------------------------------------------------------------------------- */

static char *keep(struct api_call *call, const char *text)
{
    return call_keep(call, text, text == NULL ? 0 : strlen(text));
}

/* The handlers' array is freed by the caller; its texts live with the call. */
static bool server_document(struct api_call *call, const struct server_view *v,
                            struct api_server *ret)
{
    *ret = (struct api_server){
        .id = keep(call, v->id),
        .connected = v->connected,
        .version = keep(call, v->version),
        .hostname = keep(call, v->hostname),
        .address = keep(call, v->peer),
        .since = call_time(call, v->since_ms),
        .rollout = keep(call, v->rollout),
        .waiting = v->waiting,
    };
    ret->handlers.items = mem_array(v->handler_count, sizeof(char *));
    if (ret->handlers.items == NULL)
        return false;
    for (size_t i = 0; i < v->handler_count; i++)
        *ARRAY_AT(&ret->handlers, char *, i) = keep(call, v->handlers[i]);
    ret->handlers.count = v->handler_count;
    return true;
}

struct server_page {
    struct api_call *call;
    struct api_server_list document;
    size_t limit;
    bool no_memory;
};

static bool server_each(void *ctx, const struct server_view *v)
{
    struct server_page *page = ctx;
    size_t count = page->document.servers.count;
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
    struct server_page page = {
        .call = call,
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

void handle_server_get(struct api_call *call)
{
    struct server_view view;
    struct api_server document = {0};
    struct error err = {0};
    enum error_code code =
        dispatcher_server(call->api->config.dispatcher, call->params[0], &view, &err);
    if (code == ERR_OK && !server_document(call, &view, &document))
        code = error_set(&err, ERR_NO_MEMORY, NULL);
    if (code == ERR_OK)
        call_document(call, 200, &api_server_table, &document);
    else
        call_error(call, code, &err);
    mem_free(document.handlers.items);
}

/* ---- Step types
 * ------------------------------------------------------------------------------------- */

static struct api_handler handler_document(struct api_call *call, const struct step_type *type)
{
    AUTO_BUF struct buf schema = BUF_INIT;
    json_schema(&schema, type->params);
    if (buf_check(&schema, NULL) != ERR_OK)
        call->short_of_memory = true;
    return (struct api_handler){
        .type = keep(call, type->name),
        .doc = keep(call, type->doc),
        .undo = keep(call, type->undo_doc),
        .idempotent = (type->traits & STEP_TYPE_IDEMPOTENT) != 0,
        .changes = (type->traits & STEP_TYPE_CHANGES) != 0,
        .params = keep(call, schema.data),
    };
}

void handle_handler_list(struct api_call *call)
{
    struct api_handler_list document = {
        .handlers = {.items = mem_array(handler_catalog.count, sizeof(struct api_handler))}};
    if (document.handlers.items == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return;
    }
    for (size_t i = 0; i < handler_catalog.count; i++)
        *ARRAY_AT(&document.handlers, struct api_handler, i) =
            handler_document(call, handler_catalog.types[i]);
    document.handlers.count = handler_catalog.count;
    call_document(call, 200, &api_handler_list_table, &document);
    mem_free(document.handlers.items);
}

void handle_handler_get(struct api_call *call)
{
    const struct step_type *type = step_catalog_find(&handler_catalog, call->params[0]);
    struct error err = {0};
    if (type == NULL) {
        (void)error_set(&err, ERR_NOT_FOUND, "no step type is called \"%s\"", call->params[0]);
        call_error(call, err.code, &err);
        return;
    }
    struct api_handler document = handler_document(call, type);
    call_document(call, 200, &api_handler_table, &document);
}

/* ---- Health and metrics
 * --------------------------------------------------------------------------------- */

static void call_health(struct api_call *call, bool ready_too)
{
    struct error why = {0};
    bool final = false;
    char ok[] = "ok", stalled[] = "stalled", failed[] = "failed", stopping[] = "stopping",
         held[] = "held";
    struct api_health document = {.status = ok};
    if (journal_stalled(call->api->config.journal, &final, &why)) {
        document.status = final ? failed : stalled;
        document.detail = keep(call, why.message);
    } else if (ready_too && call->api->config.held != NULL) {
        document.status = held;
        document.detail = keep(call, call->api->config.held);
    } else if (ready_too && call->api->stopping) {
        document.status = stopping;
    }
    call_document(call, document.status == ok ? 200 : 503, &api_health_table, &document);
}

void handle_health(struct api_call *call)
{
    call_health(call, false);
}

void handle_ready(struct api_call *call)
{
    call_health(call, true);
}

static void metric(struct buf *b, const char *name, const char *kind, const char *help,
                   uint64_t value)
{
    buf_printf(b, "# HELP kitsune_%s %s\n# TYPE kitsune_%s %s\nkitsune_%s %" PRIu64 "\n", name,
               help, name, kind, name, value);
}

void handle_metrics(struct api_call *call)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct dispatcher_stats d = dispatcher_stats(call->api->config.dispatcher);
    struct writer_stats w = journal_stats(call->api->config.journal);
    bool stalled = journal_stalled(call->api->config.journal, NULL, NULL);
    int64_t size = journal_size_bytes(call->api->config.journal);
    metric(&b, "rollouts_open", "gauge", "Rollouts that have not ended.", d.open);
    metric(&b, "servers_known", "gauge", "Servers known.", d.servers);
    metric(&b, "agents_connected", "gauge", "Agents connected.", d.connected);
    metric(&b, "event_streams", "gauge", "Event streams open.", call->api->stream_count);
    metric(&b, "events_total", "counter", "Events recorded.", d.events);
    metric(&b, "reports_total", "counter", "Reports received from agents.", d.reports);
    metric(&b, "report_duplicates_total", "counter", "Report entries that were known.",
           d.duplicates);
    metric(&b, "executes_total", "counter", "Executions sent to agents.", d.executes);
    metric(&b, "rollbacks_total", "counter", "Rollbacks sent to agents.", d.rollbacks);
    metric(&b, "output_chunks_total", "counter", "Pieces of live output received.", d.outputs);
    metric(&b, "journal_transactions_total", "counter", "Journal commits, one fsync each.",
           w.transactions);
    metric(&b, "journal_appends_total", "counter", "Appends made durable.", w.works);
    metric(&b, "journal_group_max", "gauge", "Most appends in one commit.", w.largest_group);
    metric(&b, "journal_queued", "gauge", "Appends waiting or under way.", w.queued);
    metric(&b, "journal_stalled", "gauge", "1 while the journal cannot be written.", stalled);
    metric(&b, "journal_bytes", "gauge", "Size of the journal on disk.",
           size < 0 ? 0 : (uint64_t)size);
    call_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}
