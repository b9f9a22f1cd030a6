#include "unit/agent/support_artifacts.h"

#include "agent/carrier_net.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GUARD_MS = 60000 };

/* ---- The rig ------------------------------------------------------------------------------ */

static void guard_fired(uv_timer_t *guard)
{
    (void)guard;
    fail_msg("what was waited for did not come");
}

static bool peer(void *ctx, struct carrier_peer *ret_peer)
{
    (void)ctx;
    (void)ret_peer;
    return true;
}

void cache_start(struct rig *r)
{
    struct error err = {0};
    const struct artifacts_config config = {
        .loop = &r->loop,
        .carrier = r->carrier,
        .ticker = r->ticker,
        .url = r->server.url,
        .data_dir = r->folder.path,
        .max_bytes = r->max_bytes,
    };
    if (artifacts_new(&config, &r->artifacts, &err) != ERR_OK)
        fail_msg("%s", err.message);
    r->agent = (struct artifacts_agent){.artifacts = r->artifacts, .server = "web-1", .peer = peer};
    artifacts_agent_init(&r->agent);
}

static void gone(void *ctx)
{
    ((struct rig *)ctx)->gone = true;
}

void cache_stop(struct rig *r)
{
    r->gone = false;
    artifacts_close(TAKE(r->artifacts), gone, r);
    AWAIT(r, r->gone);
}

int rig_set_up(void **state)
{
    struct error err = {0};
    struct net *net = NULL;
    struct rig *r = MEM_NEW(struct rig);
    assert_non_null(r);
    log_setup(LOG_LOGFMT, LOG_ERROR);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->guard), 0);
    assert_int_equal(uv_timer_start(&r->guard, guard_fired, GUARD_MS, 0), 0);
    folder_make(&r->folder);
    content_start(&r->server, &r->loop);
    assert_int_equal(net_new(&r->loop, 64, &net, &err), ERR_OK);
    assert_int_equal(carrier_net_new(net, &r->carrier, &err), ERR_OK);
    assert_int_equal(ticker_new(&r->loop, &r->ticker, &err), ERR_OK);
    assert_int_equal(ticker_reserve(r->ticker, ARTIFACTS_ALARMS, &err), ERR_OK);
    cache_start(r);
    *state = r;
    return 0;
}

int rig_tear_down(void **state)
{
    struct rig *r = *state;
    if (r->artifacts)
        cache_stop(r);
    r->gone = false;
    carrier_end(r->carrier, gone, r);
    AWAIT(r, r->gone);
    r->gone = false;
    ticker_close(r->ticker, gone, r);
    AWAIT(r, r->gone);
    content_stop(&r->server);
    uv_close((uv_handle_t *)&r->guard, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    content_free(&r->server);
    folder_remove(&r->folder);
    mem_free(r);
    return 0;
}

/* ---- Asking ------------------------------------------------------------------------------- */

static void on_progress(void *ctx, int64_t bytes, int64_t total_bytes)
{
    struct outcome *o = ctx;
    assert_int_equal(o->done, 0);
    o->progresses++;
    o->bytes = bytes;
    o->total = total_bytes;
}

void outcome_done(void *ctx, const struct artifact *artifact, const struct error *err)
{
    struct outcome *o = ctx;
    o->done++;
    o->artifact = artifact ? *artifact : (struct artifact){.fd = -1};
    o->code = artifact ? ERR_OK : err->code;
    if (!artifact)
        (void)snprintf(o->message, sizeof(o->message), "%s", err->message);
}

void ask(struct rig *r, struct outcome *o, const char *digest, int64_t max_bytes)
{
    struct error err = {0};
    const struct artifact_wish wish = {
        .digest = digest,
        .max_bytes = max_bytes,
        .rollout = "patch-7",
        .ctx = o,
        .progress = on_progress,
        .done = outcome_done,
    };
    *o = (struct outcome){.r = r, .artifact = {.fd = -1}};
    if (r->agent.source.get(r->agent.source.ctx, &wish, &o->request, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(o->done, 0);
}

void get(struct rig *r, struct outcome *o, const char *digest)
{
    ask(r, o, digest, 0);
    AWAIT(r, o->done == 1);
}

void assert_holds(struct outcome *o, const struct content *content)
{
    if (o->code != ERR_OK)
        fail_msg("%s", o->message);
    char *data = mem_alloc(content->len + 1);
    assert_non_null(data);
    assert_int_equal(o->artifact.size_bytes, content->len);
    size_t len = 0;
    ssize_t got = 1;
    while (got > 0 && len <= content->len) {
        got = read(o->artifact.fd, data + len, content->len + 1 - len);
        assert_true(got >= 0);
        len += (size_t)got;
    }
    assert_int_equal(len, content->len);
    assert_memory_equal(data, content->data, len);
    mem_free(data);
    assert_int_equal(close(o->artifact.fd), 0);
}

const char *cache_path(const struct rig *r, const char *digest, const char *end)
{
    static char path[512];
    (void)snprintf(path, sizeof(path), "%s/artifacts/%s%s", r->folder.path, digest, end);
    return path;
}

int64_t cache_size(const struct rig *r, const char *digest, const char *end)
{
    struct stat st;
    return stat(cache_path(r, digest, end), &st) == 0 ? (int64_t)st.st_size : -1;
}

void write_file(const char *path, const char *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(close(fd), 0);
}
