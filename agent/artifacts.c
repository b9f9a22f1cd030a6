#include "agent/artifacts_internal.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DESCRIPTOR_PATH_MAX = 48 };

static void trim_begin(struct artifacts *a);

/* ---- Items ------------------------------------------------------------------------------------
 */

static struct item *item_find(const struct artifacts *a, const char *digest)
{
    struct item *item = a->items;
    while (item && strcmp(item->digest, digest) != 0)
        item = item->next;
    return item;
}

static enum error_code item_new(struct artifacts *a, const char *digest, struct item **ret_item,
                                struct error *err)
{
    AUTO_FREE struct item *item = MEM_NEW(struct item);
    if (!item)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = artifact_cache_hold(a->cache, digest, err);
    if (code != ERR_OK)
        return code;
    item->artifacts = a;
    item->file.fd = -1;
    item->since_ms = clock_mono_ms();
    item->writing = item->coming = (struct buf){.max = CARRIER_FETCH_WINDOW};
    (void)snprintf(item->digest, sizeof(item->digest), "%s", digest);
    struct item **at = &a->items; /* last: who came first has its turn first */
    for (; *at; at = &(*at)->next)
        item->prev = *at;
    *ret_item = *at = TAKE(item);
    return ERR_OK;
}

static void item_unlink(struct item *item)
{
    struct artifacts *a = item->artifacts;
    if (item->prev)
        item->prev->next = item->next;
    else
        a->items = item->next;
    if (item->next)
        item->next->prev = item->prev;
}

static void closed_check(struct artifacts *a)
{
    if (!a->closing || a->items || a->trimming)
        return;
    void (*closed)(void *) = a->closed;
    void *ctx = a->closed_ctx;
    artifact_cache_close(a->cache);
    mem_free(a);
    if (closed)
        closed(ctx);
}

/* It is in no list any more. */
static void item_free(struct item *item)
{
    struct artifacts *a = item->artifacts;
    if (item->file.fd >= 0)
        (void)close(item->file.fd);
    artifact_cache_release(a->cache, item->digest);
    buf_done(&item->writing);
    buf_done(&item->coming);
    mem_free(item);
    trim_begin(a);
    closed_check(a);
}

/* ---- Whose turn it is -------------------------------------------------------------------------
 */

/* Begins what may begin, and sets the alarm for what may later. What waits for others to be done is
 * looked at when one is. */
static void pump(struct artifacts *a)
{
    int64_t now_ms = clock_mono_ms();
    int64_t next_ms = INT64_MAX;
    for (struct item *item = a->items; item; item = item->next) {
        if (item->state != ITEM_WAITING || item->working || !item->requests)
            continue;
        if (item->due_ms <= now_ms && a->fetching < ARTIFACTS_FETCHES_MAX)
            item_fetch(item);
        bool waits = item->state == ITEM_WAITING &&
                     (item->due_ms > now_ms || a->fetching < ARTIFACTS_FETCHES_MAX);
        if (waits && item->due_ms < next_ms)
            next_ms = item->due_ms;
    }
    if (next_ms != INT64_MAX)
        alarm_set(a->config.ticker, &a->alarm, next_ms > now_ms ? next_ms - now_ms : 0);
}

static void alarm_fired(void *ctx)
{
    pump(ctx);
}

void artifacts_pump_soon(struct artifacts *a)
{
    if (!a->closing)
        alarm_set(a->config.ticker, &a->alarm, 0);
}

void item_wait(struct item *item, int64_t delay_ms)
{
    item->state = ITEM_WAITING;
    item->due_ms = clock_mono_ms() + delay_ms;
    artifacts_pump_soon(item->artifacts);
}

bool item_drop(struct item *item)
{
    if (item->requests)
        return false;
    atomic_store(&item->stop, true);
    item_fetch_stop(item);
    if (item->working)
        return true;
    item_unlink(item);
    item_free(item);
    return true;
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

static void request_unlink(struct artifact_request *request)
{
    struct item *item = request->item;
    struct artifact_request **at = &item->requests;
    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
    if (item->asker == request)
        item->asker = NULL;
}

static void request_free(struct artifact_request *request)
{
    mem_free(request->rollout);
    mem_free(request);
}

/* It is in no list any more. */
static void request_end(struct artifact_request *request, const struct artifact *artifact,
                        const struct error *err)
{
    request->done(request->ctx, artifact, err);
    request_free(request);
}

static struct artifact_request *request_pop(struct item *item)
{
    struct artifact_request *request = item->requests;
    if (request)
        request_unlink(request);
    return request;
}

void request_fail(struct artifact_request *request, const struct error *err)
{
    struct item *item = request->item;
    struct artifacts *a = item->artifacts;
    request_unlink(request);
    artifacts_pump_soon(a);
    (void)item_drop(item);
    request_end(request, NULL, err);
}

/* The item leaves the list before anybody is told, who may ask for the same again at once, or give
 * up another request of it: that it counts as working keeps it meanwhile. */
static void item_leave(struct item *item)
{
    item_fetch_stop(item);
    item_unlink(item);
    item->working = true;
}

void item_fail(struct item *item, const struct error *err)
{
    struct artifact_request *request = NULL;
    bool works = item->working;
    if (works)
        item_fetch_stop(item);
    else
        item_leave(item);
    atomic_store(&item->stop, true);
    while ((request = request_pop(item)))
        request_end(request, NULL, err);
    if (!works)
        item_free(item);
}

/* A descriptor of each one's own, with a position of its own. */
static void request_give(struct artifact_request *request, const struct artifact_file *file)
{
    struct error err = {0};
    char path[DESCRIPTOR_PATH_MAX];
    struct artifact artifact = {.fd = -1, .size_bytes = file->size_bytes};
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
    if (request->max_bytes > 0 && file->size_bytes > request->max_bytes) {
        if (request->progress)
            request->progress(request->ctx, file->size_bytes, file->size_bytes);
        error_ignore(error_set(
            &err, ERR_LIMIT, "the artifact has %" PRId64 " bytes; at most %" PRId64 " are allowed",
            file->size_bytes, request->max_bytes));
        request_end(request, NULL, &err);
        return;
    }
    artifact.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (artifact.fd < 0)
        error_ignore(error_errno(&err, errno, "opening an artifact"));
    request_end(request, artifact.fd < 0 ? NULL : &artifact, &err);
}

/* It is here. */
static void item_give(struct item *item)
{
    struct artifact_request *request = NULL;
    item_leave(item);
    while ((request = request_pop(item)))
        request_give(request, &item->file);
    item_free(item);
}

/* ---- Jobs -------------------------------------------------------------------------------------
 */

static enum error_code job_look(struct item *item)
{
    struct artifact_cache *cache = item->artifacts->cache;
    enum error_code code = artifact_cache_find(cache, item->digest, &item->stop, &item->file,
                                               &item->damaged, &item->err);
    item->whole = code == ERR_OK && item->file.fd >= 0;
    return code == ERR_OK && !item->whole
               ? artifact_cache_part(cache, item->digest, &item->file, &item->err)
               : code;
}

static enum error_code job_write(struct item *item)
{
    struct artifact_cache *cache = item->artifacts->cache;
    enum error_code code = ERR_OK;
    if (item->anew)
        code = artifact_cache_empty(cache, &item->file, &item->err);
    if (code == ERR_OK && item->coming_bytes > 0)
        artifact_cache_trim(cache, item->coming_bytes);
    if (code == ERR_OK)
        code = artifact_cache_append(cache, &item->file, item->writing.data, item->writing.len,
                                     &item->err);
    item->anew = false;
    item->coming_bytes = 0;
    return code;
}

static void job_run(uv_work_t *work)
{
    struct item *item = work->data;
    switch (item->job) {
    case JOB_LOOK:
        item->code = job_look(item);
        return;
    case JOB_WRITE:
        item->code = job_write(item);
        return;
    case JOB_FINISH:
        item->code = artifact_cache_finish(item->artifacts->cache, item->digest, &item->file,
                                           &item->stop, &item->err);
        return;
    }
}

static void looked(struct item *item)
{
    if (item->damaged)
        log_warn("an artifact in the cache is damaged; it is fetched anew",
                 LOG_STR("sha256", item->digest), LOG_END);
    if (item->code != ERR_OK)
        item_fail(item, &item->err);
    else if (item->whole)
        item_give(item);
    else
        item_wait(item, 0);
}

static void finished(struct item *item)
{
    if (item->code == ERR_OK) {
        log_info("an artifact was fetched", LOG_STR("sha256", item->digest),
                 LOG_INT("bytes", item->file.size_bytes),
                 LOG_INT("ms", clock_mono_ms() - item->since_ms), LOG_END);
        item_give(item);
    } else if (item->code == ERR_CORRUPT && item->resumed) {
        /* What was there before may have been damaged: a power cut, or a disk. */
        log_warn("what was there of an artifact is damaged; it is fetched anew",
                 LOG_STR("sha256", item->digest), LOG_END);
        item_wait(item, 0);
    } else {
        item_fail(item, &item->err);
    }
}

static void job_over(uv_work_t *work, int status)
{
    struct item *item = work->data;
    (void)status; /* a job is not taken back */
    item->working = false;
    if (item_drop(item))
        return;
    /* Nobody wanted it for a moment. */
    bool stopped = atomic_exchange(&item->stop, false);
    if (stopped && item->code == ERR_CANCELLED && item->job == JOB_LOOK) {
        item_work(item, JOB_LOOK);
        return;
    }
    if (stopped && item->code == ERR_CANCELLED) {
        item_work(item, JOB_FINISH);
        return;
    }
    switch (item->job) {
    case JOB_LOOK:
        looked(item);
        return;
    case JOB_WRITE:
        if (item->code == ERR_OK)
            item_written(item);
        else
            item_fail(item, &item->err);
        return;
    case JOB_FINISH:
        finished(item);
        return;
    }
}

void item_work(struct item *item, enum item_job job)
{
    assert(!item->working);
    item->job = job;
    item->working = true;
    item->work.data = item;
    int failed = uv_queue_work(item->artifacts->config.loop, &item->work, job_run, job_over);
    assert(failed == 0);
}

/* ---- The cache's bound ------------------------------------------------------------------------
 */

static void trim_run(uv_work_t *work)
{
    const struct artifacts *a = work->data;
    artifact_cache_trim(a->cache, 0);
}

static void trim_over(uv_work_t *work, int status)
{
    struct artifacts *a = work->data;
    (void)status;
    a->trimming = false;
    if (a->trim_again && !a->closing)
        trim_begin(a);
    else
        closed_check(a);
}

static void trim_begin(struct artifacts *a)
{
    a->trim_again = a->trimming;
    if (a->trimming || a->closing)
        return;
    a->trimming = true;
    a->trim.data = a;
    int failed = uv_queue_work(a->config.loop, &a->trim, trim_run, trim_over);
    assert(failed == 0);
}

/* ---- The seam ---------------------------------------------------------------------------------
 */

static void request_free_auto(struct artifact_request **request)
{
    if (*request)
        request_free(*request);
}

static enum error_code source_get(void *ctx, const struct artifact_wish *wish,
                                  struct artifact_request **ret_request, struct error *err)
{
    const struct artifacts_agent *agent = ctx;
    struct artifacts *a = agent->artifacts;
    struct item *item = item_find(a, wish->digest);
    __attribute__((cleanup(request_free_auto))) struct artifact_request *request =
        MEM_NEW(struct artifact_request);
    if (request)
        request->rollout = mem_strdup(wish->rollout);
    if (!request || !request->rollout)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (a->closing)
        return error_set(err, ERR_UNAVAILABLE, "the agent stops");
    /* Both become part of a path. */
    if (strlen(wish->digest) != ARTIFACT_DIGEST_DIGITS || !id_valid(wish->rollout))
        return error_set(err, ERR_INVALID, "no artifact's digest, or no rollout's id");
    bool is_new = item == NULL;
    enum error_code code = is_new ? item_new(a, wish->digest, &item, err) : ERR_OK;
    if (code != ERR_OK)
        return code;
    assert(item != NULL);
    request->item = item;
    request->agent = agent;
    request->max_bytes = wish->max_bytes;
    request->ctx = wish->ctx;
    request->progress = wish->progress;
    request->done = wish->done;
    struct artifact_request **at = &item->requests;
    while (*at)
        at = &(*at)->next;
    *ret_request = *at = TAKE(request);
    if (is_new)
        item_work(item, JOB_LOOK);
    return ERR_OK;
}

static void source_cancel(void *ctx, struct artifact_request *request)
{
    struct item *item = request->item;
    (void)ctx;
    request_unlink(request);
    request_free(request);
    (void)item_drop(item);
}

void artifacts_agent_init(struct artifacts_agent *agent)
{
    agent->source =
        (struct artifact_source){.ctx = agent, .get = source_get, .cancel = source_cancel};
}

/* ---- Life -------------------------------------------------------------------------------------
 */

enum error_code artifacts_new(const struct artifacts_config *config,
                              struct artifacts **ret_artifacts, struct error *err)
{
    AUTO_FREE struct artifacts *a = MEM_NEW(struct artifacts);
    if (!a)
        return error_set(err, ERR_NO_MEMORY, NULL);
    a->config = *config;
    a->alarm.fired = alarm_fired;
    a->alarm.ctx = a;
    enum error_code code = id_random_bytes(&a->random, sizeof(a->random), err);
    a->random |= 1; /* never 0 */
    if (code == ERR_OK)
        code = artifact_cache_open(config->data_dir, config->max_bytes, &a->cache, err);
    if (code != ERR_OK)
        return code;
    trim_begin(a); /* the bound may be a smaller one than before */
    *ret_artifacts = TAKE(a);
    return ERR_OK;
}

static struct item *item_wanted(const struct artifacts *a)
{
    struct item *item = a->items;
    while (item && !item->requests)
        item = item->next;
    return item;
}

void artifacts_close(struct artifacts *a, void (*done)(void *ctx), void *ctx)
{
    struct error err = {0};
    a->closing = true;
    a->closed = done;
    a->closed_ctx = ctx;
    alarm_stop(a->config.ticker, &a->alarm);
    error_ignore(error_set(&err, ERR_UNAVAILABLE, "the agent stops"));
    /* One more, so that it is not gone in the middle of this. */
    bool trimming = a->trimming;
    a->trimming = true;
    struct item *item = NULL;
    while ((item = item_wanted(a)))
        item_fail(item, &err);
    a->trimming = trimming;
    closed_check(a);
}
