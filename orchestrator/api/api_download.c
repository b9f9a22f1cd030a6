/* api_download: artifacts out, to people and to agents. */
#include "orchestrator/api/api_internal.h"

#include "common/plan/artifact.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One on its way to its reader. */
struct api_download {
    struct artifact_reader *reader;
    int64_t at, end;
    bool reading;
};

void call_download_free(struct api_call *call)
{
    struct api_download *download = TAKE(call->download);
    if (download == NULL)
        return;
    call->api->downloads--;
    artifact_reader_close(download->reader);
    mem_free(download);
}

/* What is cold is read from the disk on the thread pool, a piece ahead of what is sent. What cannot
 * be read ends the connection, and the reader misses bytes that were promised to it. */
static void download_read(void *ctx, enum error_code result, const char *data, size_t len)
{
    struct api_call *call = ctx;
    struct api_download *download = call->download;
    download->reading = false;
    if (result != ERR_OK || len == 0 || net_stream_send(call->req, data, len, NULL) != ERR_OK) {
        net_stream_break(call->req);
        return;
    }
    download->at += (int64_t)len;
    net_stream_want(call->req);
}

/* Whoever loses his access loses it in the middle of what he reads, too. */
static bool download_may_go_on(const struct api_call *call)
{
    const struct caller *caller = &call->caller;
    const struct api *api = call->api;
    if (caller->kind == CALLER_TOKEN)
        return caller_token(api, caller) != NULL;
    if (caller->kind != CALLER_AGENT)
        return true;
    return access_certificate_check(api->config.access, caller->serial, caller->name,
                                    clock_wall_ms(), NULL) == ERR_OK;
}

static void download_writable(void *ctx, struct net_request *req)
{
    (void)ctx;
    struct api_call *call = net_request_data(req);
    struct api_download *download = call == NULL ? NULL : call->download;
    if (download == NULL || download->reading)
        return;
    if (download->at == download->end || net_request_method(req) == NET_HEAD) {
        net_stream_end(req);
        return;
    }
    if (!download_may_go_on(call)) {
        net_stream_break(req);
        return;
    }
    int64_t left = download->end - download->at;
    download->reading = true;
    artifact_reader_read(download->reader, download->at,
                         left < ARTIFACT_READ_MAX ? (size_t)left : ARTIFACT_READ_MAX, download_read,
                         call);
}

/* ---- Which part --------------------------------------------------------------------------------
 */

struct range {
    int64_t from, end; /* end: behind the last byte */
    bool partial;
};

static bool range_number(const char **at, int64_t *ret)
{
    enum { DIGITS_MAX = 18 };
    size_t len = strspn(*at, "0123456789");
    if (len == 0 || len > DIGITS_MAX)
        return false;
    *ret = strtoll(*at, NULL, 10);
    *at += len;
    return true;
}

/* "bytes=N-" and "bytes=N-M"; what is none of these is answered as if it had not been asked. False:
 * it begins behind the end. */
static bool range_parse(const char *text, int64_t size, struct range *ret)
{
    static const char unit[] = "bytes=";
    int64_t from = 0;
    int64_t last = size - 1;
    *ret = (struct range){.from = 0, .end = size};
    if (text == NULL || strncmp(text, unit, sizeof(unit) - 1) != 0)
        return true;
    const char *at = text + sizeof(unit) - 1;
    if (!range_number(&at, &from) || *at++ != '-' || (*at != '\0' && !range_number(&at, &last)) ||
        *at != '\0' || last < from - (from >= size))
        return true;
    *ret = (struct range){.from = from, .end = last < size - 1 ? last + 1 : size, .partial = true};
    return from < size;
}

/* ---- The answer --------------------------------------------------------------------------------
 */

static void call_no_range(struct api_call *call, int64_t size)
{
    enum { NOT_SATISFIABLE = 416 };
    char type[] = "about:blank", title[] = "There is no such part";
    char header[64];
    char detail[96];
    int len = snprintf(header, sizeof(header), "Content-Range: bytes */%" PRId64 "\r\n", size);
    (void)snprintf(detail, sizeof(detail), "it has %" PRId64 " bytes, and none from there on",
                   size);
    call->headers = call_keep(call, header, (size_t)len);
    const struct api_problem problem = {
        .type = type, .title = title, .status = NOT_SATISFIABLE, .detail = detail};
    call_problem(call, NOT_SATISFIABLE, &problem);
}

static void download_begin(struct api_call *call, const struct range *range, int64_t size)
{
    char headers[128];
    int len = snprintf(headers, sizeof(headers), "Accept-Ranges: bytes\r\n");
    if (range->partial)
        (void)snprintf(headers + len, sizeof(headers) - (size_t)len,
                       "Content-Range: bytes %" PRId64 "-%" PRId64 "/%" PRId64 "\r\n", range->from,
                       range->end - 1, size);
    const struct net_stream_head head = {
        .status = range->partial ? 206 : 200,
        .content_type = "application/octet-stream",
        .headers = headers,
        .length_bytes = range->end - range->from,
    };
    call->download->at = range->from;
    call->download->end = range->end;
    net_stream_begin_sized(call->req, &head, download_writable);
}

static enum error_code download_open(struct api_call *call, const char *digest, struct error *err)
{
    struct api *api = call->api;
    if (api->downloads >= API_DOWNLOADS_MAX || api->stopping) {
        call->headers = "Retry-After: 1\r\n";
        return error_set(err, ERR_UNAVAILABLE,
                         "%d artifacts are being fetched already; try again in a moment",
                         API_DOWNLOADS_MAX);
    }
    call->download = MEM_NEW(struct api_download);
    if (call->download == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    api->downloads++;
    return artifact_reader_open(api->config.artifacts, digest, &call->download->reader, err);
}

static void call_download(struct api_call *call, const char *digest)
{
    struct artifact_facts facts = {0};
    struct error err = {0};
    struct range range;
    enum error_code code = ERR_OK;
    if (!artifact_store_find(call->api->config.artifacts, digest, &facts))
        code = error_set(&err, ERR_NOT_FOUND, "there is no artifact " ARTIFACT_PREFIX "%s", digest);
    else if (!facts.whole)
        code = error_set(&err, ERR_NOT_FOUND,
                         "artifact " ARTIFACT_PREFIX "%s is still being uploaded: %" PRId64
                         " of its %" PRId64 " bytes are there",
                         digest, facts.offset_bytes, facts.size_bytes);
    if (code == ERR_OK &&
        !range_parse(net_request_header(call->req, "range"), facts.size_bytes, &range)) {
        call_no_range(call, facts.size_bytes);
        return;
    }
    if (code == ERR_OK)
        code = download_open(call, digest, &err);
    if (code == ERR_OK)
        download_begin(call, &range, facts.size_bytes);
    else
        call_error(call, code, &err);
}

void handle_artifact_content(struct api_call *call)
{
    char digest[ARTIFACT_DIGEST_BUFFER];
    if (call_artifacts(call) && call_digest(call, digest))
        call_download(call, digest);
}

/* An agent gets what a plan wants on its server, and does not learn what else there is. */
void handle_agent_artifact(struct api_call *call)
{
    char digest[ARTIFACT_DIGEST_BUFFER];
    struct error err = {0};
    enum error_code code = ERR_OK;
    if (!call_artifacts(call) || !call_digest(call, digest))
        return;
    const char *rollout = net_request_query(call->req, "rollout");
    if (call->caller.kind == CALLER_AGENT)
        code = rollout == NULL
                   ? error_set(&err, ERR_INVALID,
                               "query parameter \"rollout\" is missing: for which one it is")
                   : dispatcher_artifact_for(call->api->config.dispatcher, rollout,
                                             call->caller.name, digest, &err);
    if (code == ERR_OK)
        call_download(call, digest);
    else
        call_error(call, code, &err);
}
