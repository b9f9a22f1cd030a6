#include "agent/artifacts_internal.h"

#include "agent/link.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/net.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    HTTP_ELSEWHERE = 300,
    HTTP_UNAUTHORIZED = 401,
    HTTP_FORBIDDEN = 403,
    HTTP_NOT_FOUND = 404,
    HTTP_TIMEOUT = 408,
    HTTP_RANGE = 416,
    HTTP_EARLY = 425,
    HTTP_BUSY = 429,
    HTTP_SERVER = 500 /* and above: it may be better later */
};

/* ---- Trouble ----------------------------------------------------------------------------------
 */

/* xorshift64*, as the link's. */
static uint32_t random_next(struct artifacts *a)
{
    a->random ^= a->random >> 12;
    a->random ^= a->random << 25;
    a->random ^= a->random >> 27;
    return (uint32_t)((a->random * UINT64_C(2685821657736338717)) >> 32);
}

/* A trouble is logged once, and again when it becomes another one. */
static void say_trouble(struct item *item, const char *reason)
{
    if (strncmp(item->said, reason, sizeof(item->said) - 1) == 0)
        return;
    (void)snprintf(item->said, sizeof(item->said), "%s", reason);
    log_warn("an artifact is waited for", LOG_STR("server", item->requests->agent->server),
             LOG_STR("sha256", item->digest), LOG_INT("bytes", item->file.size_bytes),
             LOG_STR("reason", reason), LOG_END);
}

void item_retry(struct item *item, const char *reason)
{
    if (item->file.size_bytes > item->begun_bytes)
        item->attempts = 0;
    int64_t delay_ms = link_backoff_ms(item->attempts, false, random_next(item->artifacts));
    if (item->attempts < UINT32_MAX)
        item->attempts++;
    say_trouble(item, reason);
    item_wait(item, delay_ms);
}

static void fetching_less(struct artifacts *a)
{
    a->fetching--;
    artifacts_pump_soon(a);
}

/* ---- The fetch's end --------------------------------------------------------------------------
 */

static bool is_final(int status)
{
    return status >= HTTP_ELSEWHERE && status < HTTP_SERVER && status != HTTP_TIMEOUT &&
           status != HTTP_EARLY && status != HTTP_BUSY;
}

static enum error_code refusal(const struct item *item, struct error *err)
{
    if (item->status == HTTP_NOT_FOUND)
        return error_set(err, ERR_NOT_FOUND,
                         "the orchestrator has no artifact sha256:%s for this rollout",
                         item->digest);
    if (item->status == HTTP_UNAUTHORIZED || item->status == HTTP_FORBIDDEN)
        return error_set(err, ERR_DENIED,
                         "the orchestrator does not give the artifact sha256:%s to this server",
                         item->digest);
    return error_set(err, ERR_UNSUPPORTED,
                     "asked for the artifact sha256:%s the orchestrator answers with status %d",
                     item->digest, item->status);
}

/* Who asked is told; others, of other rollouts or servers, may be luckier. */
static void refused(struct item *item)
{
    struct error err = {0};
    struct artifact_request *request = item->requests;
    error_ignore(refusal(item, &err));
    while (request && request != item->asker)
        request = request->next;
    item_wait(item, 0);
    if (request)
        request_fail(request, &err);
}

static void conclude(struct item *item)
{
    item->over = false;
    if (!item->failure[0]) {
        item->state = ITEM_CHECKING;
        item_work(item, JOB_FINISH);
    } else if (item->status == HTTP_RANGE && item->file.size_bytes > 0) {
        /* There is no more of it: that may be all, or something else. */
        item->resumed = true;
        item->state = ITEM_CHECKING;
        item_work(item, JOB_FINISH);
    } else if (is_final(item->status)) {
        refused(item);
    } else if (item->status >= HTTP_SERVER || item->status == HTTP_BUSY) {
        char reason[ARTIFACTS_SAID_MAX];
        (void)snprintf(reason, sizeof(reason), "the orchestrator answers with status %d",
                       item->status);
        item_retry(item, reason);
    } else {
        item_retry(item, item->failure);
    }
}

/* ---- What comes -------------------------------------------------------------------------------
 */

static void write_on(struct item *item)
{
    struct buf writing = item->writing; /* empty; its memory is used again */
    item->writing = item->coming;
    item->coming = writing;
    item_work(item, JOB_WRITE);
}

static void tell_progress(const struct item *item, int64_t bytes)
{
    for (const struct artifact_request *r = item->requests; r; r = r->next) {
        if (r->progress)
            r->progress(r->ctx, bytes, item->total_bytes);
    }
}

void item_written(struct item *item)
{
    size_t len = item->writing.len;
    buf_clear(&item->writing);
    tell_progress(item, item->file.size_bytes);
    if (item->fetch && len > 0)
        carrier_fetch_more(item->fetch, len);
    if (item->coming.len > 0)
        write_on(item);
    else if (item->over)
        conclude(item);
    else if (!item->fetch)
        item_wait(item, 0); /* nobody wanted it for a moment, and now somebody does again */
}

static struct artifact_request *too_large_for(const struct item *item)
{
    struct artifact_request *r = item->requests;
    while (r && (r->max_bytes == 0 || item->total_bytes <= r->max_bytes))
        r = r->next;
    return r;
}

/* The item may be gone afterwards. */
static void limits_check(struct item *item)
{
    struct artifact_request *request = NULL;
    bool is_last = false;
    while (!is_last && (request = too_large_for(item))) {
        struct error err = {0};
        is_last = request == item->requests && !request->next;
        error_ignore(error_set(&err, ERR_LIMIT,
                               "the artifact sha256:%s has %" PRId64 " bytes; at most %" PRId64
                               " are allowed",
                               item->digest, item->total_bytes, request->max_bytes));
        request_fail(request, &err);
    }
}

static void on_began(void *ctx, struct carrier_fetch *fetch, int64_t offset, int64_t total_bytes)
{
    struct item *item = ctx;
    (void)fetch;
    item->total_bytes = total_bytes;
    item->anew = offset < item->file.size_bytes;
    item->resumed = offset > 0;
    item->begun_bytes = offset;
    item->coming_bytes = total_bytes - offset;
    tell_progress(item, offset);
    limits_check(item);
}

static void on_data(void *ctx, struct carrier_fetch *fetch, const char *data, size_t len)
{
    struct item *item = ctx;
    (void)fetch;
    buf_append(&item->coming, data, len);
    if (buf_check(&item->coming, NULL) != ERR_OK) {
        item_fetch_stop(item);
        item->over = true;
        (void)snprintf(item->failure, sizeof(item->failure), "out of memory");
        if (!item->working)
            conclude(item);
    } else if (!item->working) {
        write_on(item);
    }
}

static void on_done(void *ctx, int status, const char *failure)
{
    struct item *item = ctx;
    item->fetch = NULL;
    fetching_less(item->artifacts);
    item->over = true;
    item->status = status;
    (void)snprintf(item->failure, sizeof(item->failure), "%s", failure ? failure : "");
    if (item->working)
        return;
    /* An answer that begins anew and has nothing in it, too. */
    if (item->anew)
        item_work(item, JOB_WRITE);
    else
        conclude(item);
}

/* ---- The fetch --------------------------------------------------------------------------------
 */

void item_fetch_stop(struct item *item)
{
    if (item->fetch) {
        carrier_fetch_cancel(TAKE(item->fetch));
        fetching_less(item->artifacts);
    }
    item->over = false;
    item->asker = NULL;
    item->status = 0;
    buf_done(&item->coming);
    item->coming = (struct buf){.max = CARRIER_FETCH_WINDOW};
}

static enum error_code ask(struct item *item, struct error *err)
{
    struct artifacts *a = item->artifacts;
    const struct artifact_request *asker = item->requests;
    AUTO_BUF struct buf path = {.max = NET_MAX_PATH};
    buf_printf(&path, ARTIFACTS_PATH "%s?rollout=%s", item->digest, asker->rollout);
    struct carrier_fetch_config config = {
        .peer = {.url = a->config.url},
        .path = path.data,
        .offset = item->file.size_bytes,
        .silence_ms = ARTIFACTS_SILENCE_MS,
        .began = on_began,
        .data = on_data,
        .done = on_done,
        .ctx = item,
    };
    enum error_code code = buf_check(&path, err);
    if (code == ERR_OK && !asker->agent->peer(asker->agent->ctx, &config.peer))
        code = error_set(err, ERR_UNAVAILABLE, "the agent has no certificate yet");
    if (code == ERR_OK)
        code = carrier_fetch(a->config.carrier, &config, &item->fetch, err);
    if (code == ERR_OK)
        item->asker = asker;
    return code;
}

void item_fetch(struct item *item)
{
    struct error err = {0};
    item->begun_bytes = item->file.size_bytes;
    item->anew = item->over = false;
    item->status = 0;
    item->failure[0] = '\0';
    if (ask(item, &err) != ERR_OK) {
        item_retry(item, err.message);
        return;
    }
    item->state = ITEM_FETCHING;
    item->artifacts->fetching++;
}
