#include "agent/artifact_cache.h"
#include "agent/artifacts.h"
#include "agent/carrier_net.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "unit/agent/support_content.h"
#include "unit/agent/support_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GUARD_MS = 60000, MUCH = 3 * 1024 * 1024 + 17, LITTLE = 1000 };

/* The disk is full when this is 0. */
static int64_t disk_bytes = INT64_MAX;
ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    if (disk_bytes < (int64_t)len) {
        errno = ENOSPC;
        return -1;
    }
    if (disk_bytes != INT64_MAX)
        disk_bytes -= (int64_t)len;
    return __real_pwrite(fd, data, len, offset);
}

struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct folder folder;
    struct content_server server;
    struct carrier *carrier;
    struct ticker *ticker;
    struct artifacts *artifacts;
    struct artifacts_agent agent;
    int64_t max_bytes;
    bool gone;
};

/* What came of a request. */
struct outcome {
    struct rig *r;
    struct artifact_request *request;
    int done, progresses;
    int64_t bytes, total;
    struct artifact artifact;
    enum error_code code;
    char message[ERROR_MESSAGE_MAX];
};

#define AWAIT(r, condition)                                                                        \
    while (!(condition))                                                                           \
    (void)uv_run(&(r)->loop, UV_RUN_ONCE)

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

static void cache_start(struct rig *r)
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

static void cache_stop(struct rig *r)
{
    r->gone = false;
    artifacts_close(TAKE(r->artifacts), gone, r);
    AWAIT(r, r->gone);
}

static int set_up(void **state)
{
    struct error err = {0};
    struct net *net = NULL;
    struct rig *r = MEM_NEW(struct rig);
    assert_non_null(r);
    log_setup(LOG_LOGFMT, LOG_ERROR);
    disk_bytes = INT64_MAX;
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

static int tear_down(void **state)
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

static void on_done(void *ctx, const struct artifact *artifact, const struct error *err)
{
    struct outcome *o = ctx;
    o->done++;
    o->artifact = artifact ? *artifact : (struct artifact){.fd = -1};
    o->code = artifact ? ERR_OK : err->code;
    if (!artifact)
        (void)snprintf(o->message, sizeof(o->message), "%s", err->message);
}

static void ask(struct rig *r, struct outcome *o, const char *digest, int64_t max_bytes)
{
    struct error err = {0};
    const struct artifact_wish wish = {
        .digest = digest,
        .max_bytes = max_bytes,
        .rollout = "patch-7",
        .ctx = o,
        .progress = on_progress,
        .done = on_done,
    };
    *o = (struct outcome){.r = r, .artifact = {.fd = -1}};
    if (r->agent.source.get(r->agent.source.ctx, &wish, &o->request, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(o->done, 0);
}

static void get(struct rig *r, struct outcome *o, const char *digest)
{
    ask(r, o, digest, 0);
    AWAIT(r, o->done == 1);
}

/* It was handed out, holds what it should, and is closed. */
static void assert_holds(struct outcome *o, const struct content *content)
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

static const char *cache_path(const struct rig *r, const char *digest, const char *end)
{
    static char path[512];
    (void)snprintf(path, sizeof(path), "%s/artifacts/%s%s", r->folder.path, digest, end);
    return path;
}

/* -1: it is not there. */
static int64_t cache_size(const struct rig *r, const char *digest, const char *end)
{
    struct stat st;
    return stat(cache_path(r, digest, end), &st) == 0 ? (int64_t)st.st_size : -1;
}

static void write_file(const char *path, const char *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(close(fd), 0);
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void one_is_fetched_verified_and_kept(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    struct stat st;
    const struct content *content = content_add(&r->server, MUCH, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_true(o.progresses > 1);
    assert_int_equal(o.bytes, MUCH);
    assert_int_equal(o.total, MUCH);
    char path[256];
    (void)snprintf(path, sizeof(path), "/v1/agent/artifacts/%s?rollout=patch-7", content->digest);
    assert_string_equal(r->server.path, path);
    assert_int_equal(stat(cache_path(r, content->digest, ""), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(cache_path(r, "", ""), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(cache_size(r, content->digest, ".part"), -1);
}

static void one_that_is_kept_is_not_fetched_again(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    cache_stop(r);
    cache_start(r);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 1);
}

static void an_empty_one_is_one_too(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, 0, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

static void one_that_was_damaged_on_the_disk_is_fetched_anew(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    int fd = open(cache_path(r, content->digest, ""), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    char other = (char)~content->data[MUCH - 1];
    assert_int_equal(__real_pwrite(fd, &other, 1, MUCH - 1), 1);
    assert_int_equal(close(fd), 0);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 2);
    assert_int_equal(r->server.offsets[1], 0);
}

static void a_fetch_that_is_cut_off_goes_on_where_it_was(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    r->server.cut_bytes = 1024 * 1024;
    r->server.cuts = 2;
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 3);
    assert_int_equal(r->server.offsets[1], 1024 * 1024);
    assert_int_equal(r->server.offsets[2], 2 * 1024 * 1024);
}

/* As after a kill: what was written is there, and nobody has said goodbye. */
static void what_an_earlier_process_has_left_is_gone_on_with(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    write_file(cache_path(r, content->digest, ".part"), content->data, 123456);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 1);
    assert_int_equal(r->server.offsets[0], 123456);
    assert_int_equal(cache_size(r, content->digest, ".part"), -1);
}

static void what_is_given_up_in_the_middle_is_gone_on_with_later(void **state)
{
    struct rig *r = *state;
    struct outcome o, again;
    const struct content *content = content_add(&r->server, MUCH, 1);
    r->server.cut_bytes = 1024 * 1024;
    ask(r, &o, content->digest, 0);
    AWAIT(r, o.bytes == 1024 * 1024);
    r->agent.source.cancel(r->agent.source.ctx, o.request);
    cache_stop(r);
    r->server.cut_bytes = 0;
    unsigned before = r->server.requests;
    cache_start(r);
    get(r, &again, content->digest);
    assert_holds(&again, content);
    assert_true(r->server.offsets[before] >= 1024 * 1024);
    assert_int_equal(o.done, 0);
}

static void a_part_that_is_all_of_it_needs_no_more(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    write_file(cache_path(r, content->digest, ".part"), content->data, LITTLE);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 1);
}

static void a_part_that_is_something_else_is_begun_anew(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    char *zeros = calloc(MUCH + 1, 1); /* as a power cut leaves it */
    assert_non_null(zeros);
    write_file(cache_path(r, content->digest, ".part"), zeros, LITTLE);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 2);
    assert_int_equal(r->server.offsets[1], 0);
    /* Also one that is longer than all of it. */
    const struct content *other = content_add(&r->server, LITTLE, 2);
    write_file(cache_path(r, other->digest, ".part"), zeros, MUCH + 1);
    free(zeros);
    get(r, &o, other->digest);
    assert_holds(&o, other);
}

static void a_server_without_ranges_gives_it_from_its_beginning(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    write_file(cache_path(r, content->digest, ".part"), content->data, 123456);
    r->server.no_ranges = true;
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 1);
    assert_int_equal(r->server.offsets[0], 123456);
}

static void other_bytes_are_not_handed_out_and_not_kept(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    r->server.other_bytes = true;
    get(r, &o, content->digest);
    assert_int_equal(o.code, ERR_CORRUPT);
    assert_non_null(strstr(o.message, content->digest));
    assert_int_equal(r->server.requests, 1);
    assert_int_equal(cache_size(r, content->digest, ""), -1);
    assert_int_equal(cache_size(r, content->digest, ".part"), 0);
    r->server.other_bytes = false;
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

static void what_is_not_given_ends_it_at_once(void **state)
{
    static const struct {
        int status;
        enum error_code code;
    } answers[] = {{404, ERR_NOT_FOUND},
                   {403, ERR_DENIED},
                   {401, ERR_DENIED},
                   {400, ERR_UNSUPPORTED},
                   {302, ERR_UNSUPPORTED}};
    struct rig *r = *state;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    for (unsigned i = 0; i < ARRAY_LEN(answers); i++) {
        struct outcome o;
        r->server.status = answers[i].status;
        get(r, &o, content->digest);
        assert_int_equal(o.code, answers[i].code);
        assert_int_equal(r->server.requests, i + 1);
    }
}

static void trouble_of_the_server_is_waited_out(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    r->server.status = 503;
    r->server.statuses = 3;
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 4);
}

static void those_who_want_the_same_share_one_fetch(void **state)
{
    struct rig *r = *state;
    struct outcome a, b, c;
    const struct content *content = content_add(&r->server, MUCH, 1);
    ask(r, &a, content->digest, 0);
    ask(r, &b, content->digest, 0);
    AWAIT(r, a.bytes > 0);
    ask(r, &c, content->digest, 0);
    AWAIT(r, a.done && b.done && c.done);
    assert_int_equal(r->server.requests, 1);
    assert_holds(&a, content);
    assert_holds(&b, content);
    assert_holds(&c, content);
}

static void when_one_of_them_gives_up_the_others_get_it(void **state)
{
    struct rig *r = *state;
    struct outcome a, b;
    const struct content *content = content_add(&r->server, MUCH, 1);
    ask(r, &a, content->digest, 0);
    ask(r, &b, content->digest, 0);
    AWAIT(r, b.bytes > 0);
    r->agent.source.cancel(r->agent.source.ctx, a.request);
    AWAIT(r, b.done);
    assert_int_equal(a.done, 0);
    assert_int_equal(r->server.requests, 1);
    assert_holds(&b, content);
}

/* Whoever asks again right after giving up finds the file's job still under way. */
static void one_that_is_given_up_can_be_asked_for_again_at_once(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    for (int i = 0; i < 8; i++) {
        ask(r, &o, content->digest, 0);
        int turns = i;
        while (turns-- > 0 && o.done == 0)
            (void)uv_run(&r->loop, UV_RUN_ONCE);
        if (o.done == 0)
            r->agent.source.cancel(r->agent.source.ctx, o.request);
        else
            assert_holds(&o, content);
    }
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

static void one_that_is_too_large_is_not_fetched(void **state)
{
    struct rig *r = *state;
    struct outcome o, other;
    const struct content *content = content_add(&r->server, MUCH, 1);
    ask(r, &o, content->digest, MUCH - 1);
    AWAIT(r, o.done == 1);
    assert_int_equal(o.code, ERR_LIMIT);
    assert_int_equal(o.total, MUCH);
    assert_int_equal(cache_size(r, content->digest, ""), -1);
    assert_true(cache_size(r, content->digest, ".part") <= 0);
    /* Nor does it end the fetch for somebody else; and one that is kept has its size, too. */
    ask(r, &o, content->digest, 5);
    ask(r, &other, content->digest, MUCH);
    AWAIT(r, o.done && other.done);
    assert_int_equal(o.code, ERR_LIMIT);
    assert_holds(&other, content);
    ask(r, &o, content->digest, MUCH - 1);
    AWAIT(r, o.done == 1);
    assert_int_equal(o.code, ERR_LIMIT);
}

static void many_at_once_wait_for_each_other(void **state)
{
    struct rig *r = *state;
    struct outcome o[ARTIFACTS_FETCHES_MAX + 1];
    r->server.silent = true;
    for (unsigned i = 0; i < ARRAY_LEN(o); i++) {
        char digest[ARTIFACT_DIGEST_BUFFER];
        AWAIT(r, r->server.requests == i);
        memset(digest, 'a' + (int)i, sizeof(digest) - 1);
        digest[sizeof(digest) - 1] = '\0';
        ask(r, &o[i], digest, 0);
    }
    r->server.silent = false; /* the next one is told that there is no such */
    r->agent.source.cancel(r->agent.source.ctx, o[0].request);
    AWAIT(r, o[ARTIFACTS_FETCHES_MAX].done);
    assert_int_equal(o[ARTIFACTS_FETCHES_MAX].code, ERR_NOT_FOUND);
    assert_int_equal(r->server.requests, ARTIFACTS_FETCHES_MAX + 1);
    cache_stop(r); /* those that are under way are told */
    for (unsigned i = 1; i < ARTIFACTS_FETCHES_MAX; i++)
        assert_int_equal(o[i].code, ERR_UNAVAILABLE);
}

static void with_bound(struct rig *r, int64_t max_bytes)
{
    cache_stop(r);
    r->max_bytes = max_bytes;
    cache_start(r);
}

static void what_was_used_least_recently_goes_first(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *a = content_add(&r->server, LITTLE, 1);
    const struct content *b = content_add(&r->server, LITTLE, 2);
    const struct content *c = content_add(&r->server, LITTLE, 3);
    with_bound(r, 2 * LITTLE + LITTLE / 2);
    get(r, &o, a->digest);
    assert_holds(&o, a);
    get(r, &o, b->digest);
    assert_holds(&o, b);
    get(r, &o, a->digest); /* b is the older one now */
    assert_holds(&o, a);
    get(r, &o, c->digest);
    assert_holds(&o, c);
    cache_stop(r);
    assert_int_equal(cache_size(r, a->digest, ""), LITTLE);
    assert_int_equal(cache_size(r, b->digest, ""), -1);
    assert_int_equal(cache_size(r, c->digest, ""), LITTLE);
    /* A bound that is lower than before holds from the start. */
    r->max_bytes = LITTLE;
    cache_start(r);
    cache_stop(r);
    assert_int_equal(cache_size(r, a->digest, ""), -1);
    assert_int_equal(cache_size(r, c->digest, ""), LITTLE);
}

static void one_over_the_bound_is_handed_out_and_not_kept(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    with_bound(r, LITTLE);
    get(r, &o, content->digest);
    cache_stop(r);
    assert_int_equal(cache_size(r, content->digest, ""), -1);
    assert_holds(&o, content);
}

static void a_full_disk_is_said_and_what_is_not_needed_makes_room(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *old = content_add(&r->server, LITTLE, 1);
    const struct content *content = content_add(&r->server, LITTLE, 2);
    get(r, &o, old->digest);
    assert_holds(&o, old);
    disk_bytes = 0;
    get(r, &o, content->digest);
    assert_int_equal(o.code, ERR_NO_SPACE);
    assert_non_null(strstr(o.message, "No space left"));
    assert_non_null(strstr(o.message, "/artifacts"));
    assert_int_equal(cache_size(r, old->digest, ""), -1);
    disk_bytes = INT64_MAX;
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

static void what_is_held_is_not_removed_before_it_is_released(void **state)
{
    struct rig *r = *state;
    struct artifact_cache *cache = NULL;
    struct error err = {0};
    const struct content *a = content_add(&r->server, LITTLE, 1);
    const struct content *b = content_add(&r->server, LITTLE, 2);
    cache_stop(r);
    assert_int_equal(artifact_cache_open(r->folder.path, LITTLE / 2, &cache, &err), ERR_OK);
    write_file(cache_path(r, a->digest, ""), a->data, LITTLE);
    write_file(cache_path(r, b->digest, ".part"), b->data, LITTLE);
    assert_int_equal(artifact_cache_hold(cache, a->digest, &err), ERR_OK);
    assert_int_equal(artifact_cache_hold(cache, a->digest, &err), ERR_OK);
    assert_int_equal(artifact_cache_hold(cache, b->digest, &err), ERR_OK);
    artifact_cache_release(cache, a->digest);
    artifact_cache_trim(cache, 0);
    assert_int_equal(cache_size(r, a->digest, ""), LITTLE);
    assert_int_equal(cache_size(r, b->digest, ".part"), LITTLE);
    artifact_cache_release(cache, b->digest);
    artifact_cache_trim(cache, 0);
    assert_int_equal(cache_size(r, a->digest, ""), LITTLE);
    assert_int_equal(cache_size(r, b->digest, ".part"), -1);
    artifact_cache_release(cache, a->digest);
    artifact_cache_trim(cache, 0);
    assert_int_equal(cache_size(r, a->digest, ""), -1);
    artifact_cache_close(cache);
}

/* For all that is to come, before the first byte of it. */
static void room_is_made_before_it_comes(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *old = content_add(&r->server, LITTLE, 1);
    const struct content *content = content_add(&r->server, MUCH, 2);
    with_bound(r, MUCH + LITTLE / 2);
    get(r, &o, old->digest);
    assert_holds(&o, old);
    r->server.cut_bytes = 100;
    ask(r, &o, content->digest, 0);
    AWAIT(r, o.bytes >= 100);
    assert_int_equal(cache_size(r, old->digest, ""), -1);
    r->agent.source.cancel(r->agent.source.ctx, o.request);
}

static void odd_names_are_refused(void **state)
{
    struct rig *r = *state;
    struct outcome o = {0};
    struct error err = {0};
    const struct content *content = content_add(&r->server, LITTLE, 1);
    struct artifact_wish wish = {
        .digest = "../../etc/shadow", .rollout = "patch-7", .ctx = &o, .done = on_done};
    assert_int_equal(r->agent.source.get(r->agent.source.ctx, &wish, &o.request, &err),
                     ERR_INVALID);
    wish.digest = content->digest;
    wish.rollout = "x&y";
    assert_int_equal(r->agent.source.get(r->agent.source.ctx, &wish, &o.request, &err),
                     ERR_INVALID);
}

/* Each allocation of the loop and all behind it fail in turn: it is had, or lacks memory, and can
 * be had afterwards. */
static void want_of_memory_is_said_and_passes(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    const struct artifact_wish wish = {
        .digest = content->digest, .rollout = "patch-7", .ctx = &o, .done = on_done};
    get(r, &o, content->digest);
    assert_holds(&o, content);
    bool failed = true;
    for (uint64_t n = 0; failed; n++) {
        struct error err = {0};
        o = (struct outcome){.artifact = {.fd = -1}};
        mem_fail_after(n);
        enum error_code code = r->agent.source.get(r->agent.source.ctx, &wish, &o.request, &err);
        AWAIT(r, code != ERR_OK || o.done == 1);
        failed = mem_fail_count() > 0;
        mem_fail_never();
        assert_true(failed || code == ERR_OK);
        if (code != ERR_OK || o.code != ERR_OK)
            assert_int_equal(code != ERR_OK ? code : o.code, ERR_NO_MEMORY);
        else
            assert_holds(&o, content);
        assert_true(n < 100);
    }
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

/* Nothing of somebody else's in the folder is touched, and no link is followed out of it. */
static void what_is_no_artifact_stays(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    const struct content *linked = content_add(&r->server, LITTLE, 2);
    char target[512];
    (void)snprintf(target, sizeof(target), "%s/target", r->folder.path);
    write_file(target, "precious", 8);
    write_file(cache_path(r, "notes", ""), "mine", 4);
    assert_int_equal(symlink(target, cache_path(r, linked->digest, ".part")), 0);
    get(r, &o, linked->digest);
    assert_int_not_equal(o.code, ERR_OK);
    assert_string_equal(file_get(target), "precious");
    with_bound(r, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    cache_stop(r);
    assert_int_equal(cache_size(r, "notes", ""), 4);
    assert_string_equal(file_get(target), "precious");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_is_fetched_verified_and_kept),
        TEST(one_that_is_kept_is_not_fetched_again),
        TEST(an_empty_one_is_one_too),
        TEST(one_that_was_damaged_on_the_disk_is_fetched_anew),
        TEST(a_fetch_that_is_cut_off_goes_on_where_it_was),
        TEST(what_an_earlier_process_has_left_is_gone_on_with),
        TEST(what_is_given_up_in_the_middle_is_gone_on_with_later),
        TEST(a_part_that_is_all_of_it_needs_no_more),
        TEST(a_part_that_is_something_else_is_begun_anew),
        TEST(a_server_without_ranges_gives_it_from_its_beginning),
        TEST(other_bytes_are_not_handed_out_and_not_kept),
        TEST(what_is_not_given_ends_it_at_once),
        TEST(trouble_of_the_server_is_waited_out),
        TEST(those_who_want_the_same_share_one_fetch),
        TEST(when_one_of_them_gives_up_the_others_get_it),
        TEST(one_that_is_given_up_can_be_asked_for_again_at_once),
        TEST(one_that_is_too_large_is_not_fetched),
        TEST(many_at_once_wait_for_each_other),
        TEST(what_was_used_least_recently_goes_first),
        TEST(one_over_the_bound_is_handed_out_and_not_kept),
        TEST(a_full_disk_is_said_and_what_is_not_needed_makes_room),
        TEST(what_is_held_is_not_removed_before_it_is_released),
        TEST(room_is_made_before_it_comes),
        TEST(odd_names_are_refused),
        TEST(want_of_memory_is_said_and_passes),
        TEST(what_is_no_artifact_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
