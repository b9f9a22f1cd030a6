/* api_fleet: step types, health and metrics. */
#include "orchestrator/api/api_internal.h"

#include "common/plan/plan_json.h"
#include "handlers/catalog.h"

#include <inttypes.h>
#include <string.h>

/* ---- Step types
 * ------------------------------------------------------------------------------------- */

static struct api_handler handler_document(struct api_call *call, const struct step_type *type)
{
    AUTO_BUF struct buf schema = BUF_INIT;
    json_schema(&schema, type->params);
    if (buf_check(&schema, NULL) != ERR_OK)
        call->short_of_memory = true;
    return (struct api_handler){
        .type = call_keep_string(call, type->name),
        .doc = call_keep_string(call, type->doc),
        .undo = call_keep_string(call, type->undo_doc),
        .idempotent = (type->traits & STEP_TYPE_IDEMPOTENT) != 0,
        .changes = (type->traits & STEP_TYPE_CHANGES) != 0,
        .params = call_keep_string(call, schema.data),
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
        document.detail = call_keep_string(call, why.message);
    } else if (ready_too && call->api->config.held != NULL) {
        document.status = held;
        document.detail = call_keep_string(call, call->api->config.held);
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

static const int64_t expires_soon_ms = INT64_C(7) * 24 * 3600 * 1000;

static void metric(struct buf *b, const char *name, const char *kind, const char *help,
                   uint64_t value)
{
    buf_printf(b, "# HELP kitsune_%s %s\n# TYPE kitsune_%s %s\nkitsune_%s %" PRIu64 "\n", name,
               help, name, kind, name, value);
}

static void metrics_access(const struct api *api, struct buf *b)
{
    const struct refusals *r = &api->refusals;
    int64_t now_ms = clock_wall_ms();
    if (api->config.access == NULL)
        return;
    struct access_stats a = access_stats(api->config.access, now_ms, now_ms + expires_soon_ms);
    metric(b, "refused_unknown_total", "counter", "Requests without a good token or ticket.",
           r->unknown);
    metric(b, "refused_forbidden_total", "counter", "Requests beyond a role or a scope.",
           r->forbidden);
    metric(b, "refused_agents_total", "counter", "Agents refused, and what they should not say.",
           r->agents);
    metric(b, "refused_handshakes_total", "counter", "Connections that came to no TLS.",
           r->handshakes);
    metric(b, "tokens", "gauge", "Tokens that are not revoked.", a.tokens);
    metric(b, "agent_certificates", "gauge", "Servers with a good certificate.", a.agents);
    metric(b, "agent_certificates_expiring", "gauge",
           "Of these, that expire within 7 days: their agents do not renew them.", a.expiring);
    metric(b, "server_certificate_expires_seconds", "gauge",
           "When the server's certificate expires, in seconds since 1970.",
           (uint64_t)(identity_expires_ms(api->config.identity) / 1000));
    metric(b, "ca_certificate_expires_seconds", "gauge",
           "When the CA's certificate expires, in seconds since 1970.",
           (uint64_t)(identity_ca_expires_ms(api->config.identity) / 1000));
    metric(b, "audit_stalled", "gauge", "1 while the audit log cannot be written.",
           access_stalled(api->config.access, NULL, NULL));
}

static void metrics_artifacts(const struct api *api, struct buf *b)
{
    if (api->config.artifacts == NULL)
        return;
    struct artifact_stats a = artifact_store_stats(api->config.artifacts);
    metric(b, "artifacts", "gauge", "Artifacts stored.", a.count);
    metric(b, "artifact_uploads", "gauge", "Uploads of artifacts that are not whole.", a.uploads);
    metric(b, "artifact_bytes", "gauge", "What both take, uploads in full.", (uint64_t)a.bytes);
    metric(b, "artifact_max_bytes", "gauge", "What they may take; 0: no limit.",
           (uint64_t)a.max_bytes);
    metric(b, "artifact_downloads", "gauge", "Artifacts being fetched.", api->downloads);
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
    metric(&b, "servers_locked", "gauge", "Servers that people have locked.", d.locked);
    metric(&b, "undo_bytes", "gauge", "What agents keep on disk for undo.", d.undo_bytes);
    metric(&b, "undo_high_servers", "gauge",
           "Servers whose agents keep more than 80 percent of what they may.", d.undo_high);
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
    metrics_artifacts(call->api, &b);
    metrics_access(call->api, &b);
    call_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}
