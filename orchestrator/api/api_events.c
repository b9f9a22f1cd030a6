/* api_events: a rollout's events, at once or as a stream, and the output of steps. */
#include "orchestrator/api/api_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- All at once --------------------------------------------------------------------------------
 */

struct events_page {
    struct buf body;
    uint64_t last_seq;
    size_t count;
};

static bool events_each(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    (void)type;
    struct events_page *page = ctx;
    if (page->count++ > 0)
        buf_putc(&page->body, ',');
    buf_append(&page->body, json, len);
    page->last_seq = seq;
    return true;
}

static void events_answer(struct api_call *call, const char *id)
{
    struct error err = {0};
    int64_t after = 0, limit = 0;
    if (!call_query_number(call, "after", JSON_INT_MAX, 0, &after) ||
        !call_query_number(call, "limit", JOURNAL_MAX_READ, JOURNAL_MAX_READ, &limit))
        return;
    struct events_page page = {.last_seq = (uint64_t)after};
    buf_puts(&page.body, "{\"events\":[");
    enum error_code code = journal_events(call->api->config.journal, id, (uint64_t)after,
                                          (uint32_t)limit, events_each, &page, &err);
    buf_puts(&page.body, "],\"lastSeq\":");
    buf_put_int(&page.body, (int64_t)page.last_seq);
    buf_puts(&page.body, "}\n");
    if (code == ERR_OK)
        call_text(call, 200, "application/json", &page.body);
    else
        call_error(call, code, &err);
    buf_done(&page.body);
}

/* ---- Streams
 * --------------------------------------------------------------------------------------- */

void stream_free(struct stream *stream)
{
    struct api *api = stream->call->api;
    if (stream->prev != NULL)
        stream->prev->next = stream->next;
    else
        api->streams = stream->next;
    if (stream->next != NULL)
        stream->next->prev = stream->prev;
    api->stream_count--;
    mem_free(stream);
}

static bool stream_each(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    struct stream *stream = ctx;
    AUTO_BUF struct buf b = BUF_INIT;
    buf_printf(&b, "id: %" PRIu64 "\nevent: %s\ndata: ", seq, type);
    buf_append(&b, json, len);
    buf_puts(&b, "\n\n");
    if (buf_check(&b, NULL) != ERR_OK ||
        net_stream_send(stream->call->req, b.data, b.len, NULL) != ERR_OK) {
        stream->broken = true;
        return false;
    }
    stream->sent_seq = seq;
    if (strcmp(type, event_type_names[EVENT_ROLLOUT_ENDED]) == 0)
        stream->end_seq = seq;
    return true;
}

/* An end has been sent, and it is the last one: a rollout that ended can have been opened again. */
static bool stream_is_over(const struct stream *stream)
{
    struct rollout_view view;
    return stream->end_seq != 0 &&
           dispatcher_rollout(stream->call->api->config.dispatcher, stream->rollout, &view, NULL) ==
               ERR_OK &&
           rollout_state_final(engine_state(view.engine)) && stream->sent_seq >= view.last_seq;
}

/* The journal itself is the queue: a stream that is slow reads later, and nothing is held for it.
 */
static void stream_writable(void *ctx, struct net_request *req)
{
    (void)ctx;
    struct api_call *call = net_request_data(req);
    struct stream *stream = call == NULL ? NULL : call->stream;
    if (stream == NULL || stream->ended)
        return;
    uint64_t before = stream->sent_seq;
    struct error err = {0};
    enum error_code code =
        journal_events(call->api->config.journal, stream->rollout, stream->sent_seq,
                       API_STREAM_BATCH, stream_each, stream, &err);
    stream->ended = code != ERR_OK || stream_is_over(stream);
    if (stream->broken)
        net_stream_break(req);
    else if (stream->ended)
        net_stream_end(req);
    else if (stream->sent_seq > before)
        net_stream_want(req);
}

/* Where a stream begins: after ?after=, or after the Last-Event-ID of a reader that comes again. */
static bool stream_start_seq(struct api_call *call, uint64_t *ret_seq)
{
    int64_t after = 0;
    if (!call_query_number(call, "after", JSON_INT_MAX, 0, &after))
        return false;
    const char *last = net_request_header(call->req, "last-event-id");
    char *end = NULL;
    if (last != NULL) {
        long long seq = strtoll(last, &end, 10);
        if (end != last && *end == '\0' && seq > after)
            after = seq;
    }
    *ret_seq = (uint64_t)after;
    return true;
}

static void stream_begin(struct api_call *call, const char *id)
{
    struct api *api = call->api;
    struct error err = {0};
    uint64_t after = 0;
    if (!stream_start_seq(call, &after))
        return;
    if (api->stream_count >= API_MAX_STREAMS || api->stopping) {
        (void)error_set(&err, ERR_UNAVAILABLE, "%d event streams are open already",
                        API_MAX_STREAMS);
        call_error(call, err.code, &err);
        return;
    }
    struct stream *stream = MEM_NEW(struct stream);
    if (stream == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return;
    }
    stream->call = call;
    stream->sent_seq = after;
    memcpy(stream->rollout, id, ID_BUFFER);
    stream->next = api->streams;
    if (stream->next != NULL)
        stream->next->prev = stream;
    api->streams = stream;
    api->stream_count++;
    call->stream = stream;
    net_stream_begin(call->req, 200, "text/event-stream", stream_writable);
    net_stream_want(call->req);
}

void handle_rollout_events(struct api_call *call)
{
    char id[ID_BUFFER];
    if (!call_rollout_id(call, id))
        return;
    const char *accept = net_request_header(call->req, "accept");
    const char *follow = net_request_query(call->req, "follow");
    if ((accept != NULL && strstr(accept, "text/event-stream") != NULL) ||
        (follow != NULL && strcmp(follow, "true") == 0))
        stream_begin(call, id);
    else
        events_answer(call, id);
}

void api_changed(struct api *api, const char *rollout, uint64_t last_seq)
{
    for (struct stream *stream = api->streams; stream != NULL; stream = stream->next) {
        if (stream->sent_seq < last_seq && !stream->ended && strcmp(stream->rollout, rollout) == 0)
            net_stream_want(stream->call->req);
    }
}

void api_output(struct api *api, const char *rollout, const char *json, size_t len)
{
    AUTO_BUF struct buf b = BUF_INIT;
    for (struct stream *stream = api->streams; stream != NULL; stream = stream->next) {
        if (stream->ended || strcmp(stream->rollout, rollout) != 0 ||
            net_stream_queued(stream->call->req) > API_OUTPUT_QUEUE_MAX)
            continue;
        if (b.len == 0) {
            buf_puts(&b, "event: output\ndata: ");
            buf_append(&b, json, len);
            buf_puts(&b, "\n\n");
        }
        if (buf_check(&b, NULL) == ERR_OK)
            error_ignore(net_stream_send(stream->call->req, b.data, b.len, NULL));
    }
}

void stream_break(struct stream *stream)
{
    stream->ended = true;
    net_stream_break(stream->call->req);
}

void api_tick(struct api *api)
{
    struct stream *next = NULL;
    for (struct stream *stream = api->streams; stream != NULL; stream = next) {
        const struct caller *caller = &stream->call->caller;
        next = stream->next;
        if (caller->kind == CALLER_TOKEN && caller_token(api, caller) == NULL)
            stream_break(stream);
    }
    audit_untold(api, false);
}

void api_stop(struct api *api)
{
    api->stopping = true;
    audit_untold(api, true);
    struct stream *next = NULL;
    for (struct stream *stream = api->streams; stream != NULL; stream = next) {
        next = stream->next;
        stream->ended = true;
        net_stream_end(stream->call->req);
    }
}

/* ---- Output of steps
 * ---------------------------------------------------------------------------------- */

static bool output_find_step(const struct plan *plan, const char *name, uint32_t *ret_step)
{
    char *end = NULL;
    if (plan_step_find(plan, name, ret_step))
        return true;
    unsigned long number = strtoul(name, &end, 10);
    if (end == name || *end != '\0' || number == 0 || number > plan_step_count(plan))
        return false;
    *ret_step = (uint32_t)number - 1;
    return true;
}

void handle_step_output(struct api_call *call)
{
    char id[ID_BUFFER];
    struct rollout_view view;
    struct error err = {0};
    uint32_t server = 0, step = 0;
    int32_t attempt = 0;
    AUTO_BUF struct buf text = BUF_INIT;
    struct dispatcher *d = call->api->config.dispatcher;
    if (!call_rollout_id(call, id))
        return;
    enum error_code code = dispatcher_rollout(d, id, &view, &err);
    if (code == ERR_OK && !plan_server_find(view.plan, call->params[1], &server))
        code = error_set(&err, ERR_NOT_FOUND, "rollout \"%s\" has no server \"%s\"", id,
                         call->params[1]);
    if (code == ERR_OK && !output_find_step(view.plan, call->params[2], &step))
        code = error_set(&err, ERR_NOT_FOUND, "rollout \"%s\" has no step \"%s\"", id,
                         call->params[2]);
    if (code == ERR_OK && !dispatcher_live_output(d, id, server, step, &text, &attempt))
        code = journal_output(call->api->config.journal, id, server, step, &text, &attempt, &err);
    if (code != ERR_OK) {
        call_error(call, code, &err);
        return;
    }
    AUTO_BUF struct buf header = BUF_INIT;
    buf_printf(&header, "X-Kitsune-Attempt: %" PRId32 "\r\n", attempt);
    if (buf_check(&header, NULL) == ERR_OK && buf_check(&text, NULL) == ERR_OK)
        net_respond(call->req, 200, "text/plain; charset=utf-8", header.data,
                    text.data == NULL ? "" : text.data, text.len);
    else
        call_error(call, ERR_NO_MEMORY, NULL);
}
