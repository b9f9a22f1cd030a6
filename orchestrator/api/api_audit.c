/* api_audit: what is written down of what is done and refused, and its reading. */
#include "orchestrator/api/api_internal.h"

#include "orchestrator/access/audit_chain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char result_ok[] = "ok";

static const char *method_word(enum net_method method)
{
    return method == NET_GET || method == NET_HEAD ? "read" : "change";
}

static struct audit_entry call_entry(const struct api_call *call, const char *target,
                                     const char *result, const char *detail)
{
    const struct caller *caller = &call->caller;
    bool agent = caller->kind == CALLER_AGENT;
    return (struct audit_entry){
        .time_ms = clock_wall_ms(),
        .who = caller->name[0] != '\0' ? caller->name : NULL,
        .role = agent ? api_role_names[API_AGENT] : access_role_names[caller->role],
        .peer = call->peer,
        .action =
            call->route->action != NULL ? call->route->action : method_word(call->route->method),
        .target = target,
        .result = result,
        .detail = detail,
    };
}

/* ---- Before something is done ------------------------------------------------------------------
 */

static void call_audited(void *ctx, enum error_code result, const struct error *err)
{
    struct api_call *call = ctx;
    if (result != ERR_OK)
        call_error(call, result, err);
    else if (!call->api->stopping)
        call->act(call);
    call->pending--; /* so long it stays, if its peer has gone meanwhile */
    call_free(call);
}

static enum error_code audit_begin(struct api_call *call, const char *detail, struct error *err)
{
    struct access *access = call->api->config.access;
    struct error why = {0};
    const struct audit_entry entry = call_entry(call, call->target, result_ok, detail);
    if (access_stalled(access, NULL, &why))
        return error_set(err, ERR_UNAVAILABLE, "nothing can be written to the audit log: %.160s",
                         why.message);
    return audit_append(access, &entry, call_audited, call, err);
}

void call_change(struct api_call *call, const char *target, const char *detail,
                 void (*act)(struct api_call *call))
{
    struct error err = {0};
    if (call->api->config.access == NULL) {
        act(call);
        return;
    }
    call->audited = true;
    call->act = act;
    call->target = call_keep_string(call, target);
    enum error_code code = target != NULL && call->target == NULL
                               ? error_set(&err, ERR_NO_MEMORY, NULL)
                               : audit_begin(call, detail, &err);
    if (code == ERR_OK)
        call->pending++;
    else
        call_error(call, code, &err);
}

/* ---- Refusals ---------------------------------------------------------------------------------
 */

/* Nobody waits for these: that they are lost when memory is out lets nobody do anything. While the
 * disk takes nothing they would only pile up. */
static void audit_note(struct api *api, const struct audit_entry *entry)
{
    struct access *access = api->config.access;
    if (access != NULL && !access_stalled(access, NULL, NULL))
        error_ignore(audit_append(access, entry, NULL, NULL, NULL));
}

void call_audit_refusal(struct api_call *call, enum error_code code, const char *detail)
{
    const char *path = call->req != NULL ? net_request_path(call->req) : NULL;
    const char *target = call->target != NULL ? call->target : path;
    const struct audit_entry entry = call_entry(call, target, error_code_name(code), detail);
    audit_note(call->api, &entry);
}

bool audit_alarm(struct api *api, const struct dispatcher_alarm *alarm)
{
    char key[THROTTLE_KEY_BUFFER];
    if (api->config.access == NULL)
        return true;
    throttle_address(alarm->peer, key);
    const char *who = alarm->server == NULL ? key : alarm->server;
    if (!throttle_note(api->forbidden, who, clock_mono_ms()).tell)
        return false;
    const struct audit_entry entry = {
        .time_ms = clock_wall_ms(),
        .who = alarm->server,
        .role = api_role_names[API_AGENT],
        .peer = alarm->peer,
        .action = alarm->what,
        .target = alarm->server,
        .result = error_code_name(ERR_DENIED),
        .detail = alarm->detail,
    };
    audit_note(api, &entry);
    return true;
}

static void audit_untold_of(struct api *api, struct throttle *throttle, bool all)
{
    char detail[THROTTLE_KEY_BUFFER + 128];
    const struct throttle_untold untold = throttle_untold(throttle, clock_mono_ms(), all);
    if (untold.count == 0)
        return;
    (void)snprintf(detail, sizeof(detail),
                   "%" PRIu64 " more were refused, of %" PRIu64 "; most, %" PRIu64 ", of %s",
                   untold.count, untold.keys, untold.most, untold.key);
    const struct audit_entry entry = {
        .time_ms = clock_wall_ms(),
        .peer = untold.key,
        .action = "refusals",
        .result = error_code_name(ERR_DENIED),
        .detail = detail,
    };
    audit_note(api, &entry);
}

void audit_untold(struct api *api, bool all)
{
    if (api->config.access == NULL)
        return;
    audit_untold_of(api, api->failures, all);
    audit_untold_of(api, api->forbidden, all);
    audit_untold_of(api, api->renewals, all);
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

struct audit_page {
    struct api_call *call;
    struct api_audit_page document;
    size_t limit;
};

static struct api_audit_entry entry_document(struct api_call *call, const struct audit_entry *e)
{
    return (struct api_audit_entry){
        .seq = e->seq,
        .time = call_time(call, e->time_ms),
        .who = call_keep_string(call, e->who),
        .role = call_keep_string(call, e->role),
        .peer = call_keep_string(call, e->peer),
        .action = call_keep_string(call, e->action),
        .target = call_keep_string(call, e->target),
        .result = call_keep_string(call, e->result),
        .detail = call_keep_string(call, e->detail),
        .hash = call_keep_string(call, e->hash),
    };
}

static bool audit_each(void *ctx, const struct audit_entry *entry)
{
    struct audit_page *page = ctx;
    struct array *entries = &page->document.entries;
    if (entries->count == page->limit) {
        if (entries->count > 0)
            page->document.next =
                ARRAY_AT(entries, struct api_audit_entry, entries->count - 1)->seq;
        return false;
    }
    *ARRAY_AT(entries, struct api_audit_entry, entries->count++) =
        entry_document(page->call, entry);
    return true;
}

/* False: answered here. */
static bool call_has_audit(struct api_call *call)
{
    struct error err = {0};
    if (call->api->config.access != NULL)
        return true;
    (void)error_set(&err, ERR_UNSUPPORTED,
                    "with --insecure-dev nobody is known, and nothing is kept of who did what");
    call_error(call, err.code, &err);
    return false;
}

void handle_audit_list(struct api_call *call)
{
    struct error err = {0};
    int64_t after = 0, limit = 0;
    if (!call_has_audit(call) || !call_query_number(call, "after", JSON_INT_MAX, 0, &after) ||
        !call_query_number(call, "limit", API_AUDIT_PAGE_MAX - 1, API_PAGE_DEFAULT, &limit))
        return;
    struct audit_page page = {.call = call, .limit = (size_t)limit};
    page.document.entries.items = mem_array(page.limit, sizeof(struct api_audit_entry));
    enum error_code code = page.document.entries.items == NULL
                               ? error_set(&err, ERR_NO_MEMORY, NULL)
                               : audit_read(call->api->config.access, after,
                                            (uint32_t)page.limit + 1, audit_each, &page, &err);
    if (code == ERR_OK)
        call_document(call, 200, &api_audit_page_table, &page.document);
    else
        call_error(call, code, &err);
    mem_free(page.document.entries.items);
}

/* A head that was kept elsewhere. False: answered here. */
static bool call_head(struct api_call *call, struct audit_head *ret_head)
{
    struct error err = {0};
    const char *hash = net_request_query(call->req, "hash");
    if (hash == NULL)
        return true;
    if (strlen(hash) != AUDIT_HASH_BUFFER - 1) {
        (void)error_set(&err, ERR_INVALID,
                        "query parameter \"hash\": must be %d hexadecimal digits",
                        AUDIT_HASH_BUFFER - 1);
        call_error(call, err.code, &err);
        return false;
    }
    memcpy(ret_head->hash, hash, AUDIT_HASH_BUFFER);
    return call_query_number(call, "seq", JSON_INT_MAX, 0, &ret_head->seq);
}

static void verify_answer(struct api_call *call, const struct audit_walk *walk,
                          const struct error *fault)
{
    AUTO_BUF struct buf body = BUF_INIT;
    const struct api_audit_state document = {
        .whole = fault == NULL,
        .fault = fault == NULL ? NULL : call_keep_string(call, fault->message),
        .seq = walk->head.seq,
        .hash = call_keep_string(call, walk->head.hash),
    };
    json_encode(&body, &api_audit_state_table, &document);
    buf_putc(&body, '\n');
    if (buf_check(&body, NULL) != ERR_OK || call->short_of_memory ||
        net_stream_send(call->req, body.data, body.len, NULL) != ERR_OK)
        net_stream_break(call->req);
    else
        net_stream_end(call->req);
}

/* On its way through the log. */
struct verify {
    struct audit_walk walk;
    struct audit_head expected;
    bool over;
};

/* A log can be long: it is walked a piece at a time, as the loop comes by. */
static void verify_writable(void *ctx, struct net_request *req)
{
    (void)ctx;
    struct error err = {0};
    struct api_call *call = net_request_data(req);
    struct verify *verify = call == NULL ? NULL : call->order;
    if (verify == NULL || verify->over)
        return;
    enum error_code code =
        audit_verify_on(call->api->config.access, &verify->walk, &verify->over, &err);
    if (code == ERR_OK && !verify->over) {
        net_stream_want(req);
        return;
    }
    verify->over = true;
    if (code == ERR_OK || code == ERR_CORRUPT)
        verify_answer(call, &verify->walk, code == ERR_OK ? NULL : &err);
    else
        net_stream_break(req);
}

void handle_audit_verify(struct api_call *call)
{
    struct audit_head expected = {0};
    if (!call_has_audit(call) || !call_head(call, &expected))
        return;
    struct verify *verify = MEM_NEW(struct verify);
    if (verify == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return;
    }
    verify->expected = expected;
    audit_walk_begin(&verify->walk, expected.seq == 0 ? NULL : &verify->expected);
    call->order = verify;
    call->order_free = mem_free;
    net_stream_begin(call->req, 200, "application/json", verify_writable);
    net_stream_want(call->req);
}
