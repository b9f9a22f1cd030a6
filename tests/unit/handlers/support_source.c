#include "unit/handlers/support_source.h"

#include "common/base/alloc.h"
#include "handlers/fileio.h"

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

struct artifact_request {
    uv_timer_t timer;
    struct source *source;
    struct artifact_wish wish;
};

static void request_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void deliver(uv_timer_t *timer)
{
    struct artifact_request *request = timer->data;
    struct source *s = request->source;
    struct artifact artifact = {.fd = -1};
    struct error err = {0};
    struct stat st;
    uv_close((uv_handle_t *)timer, request_closed);
    if (s->refuses != ERR_OK) {
        error_ignore(error_set(&err, s->refuses, "the store does not give it"));
        request->wish.done(request->wish.ctx, NULL, &err);
        return;
    }
    assert_int_equal(stat(s->path, &st), 0);
    if (request->wish.progress)
        request->wish.progress(request->wish.ctx, 0, st.st_size);
    if (request->wish.max_bytes > 0 && st.st_size > request->wish.max_bytes) {
        error_ignore(error_set(&err, ERR_LIMIT, "it is too large"));
        request->wish.done(request->wish.ctx, NULL, &err);
        return;
    }
    artifact.fd = open(s->path, O_RDONLY | O_CLOEXEC);
    artifact.size_bytes = st.st_size;
    assert_true(artifact.fd >= 0);
    s->given++;
    if (s->cancels)
        bed_cancel(s->bed);
    request->wish.done(request->wish.ctx, &artifact, NULL);
}

static enum error_code on_get(void *ctx, const struct artifact_wish *wish,
                              struct artifact_request **ret_request, struct error *err)
{
    struct source *s = ctx;
    struct artifact_request *request = MEM_NEW(struct artifact_request);
    assert_non_null(request);
    (void)err;
    assert_string_equal(wish->digest, artifact_digest(s->name));
    assert_string_equal(wish->rollout, "rollout-1");
    s->asked++;
    request->source = s;
    request->wish = *wish;
    assert_int_equal(uv_timer_init(&s->bed->loop, &request->timer), 0);
    request->timer.data = request;
    if (s->cancels && s->silent)
        bed_cancel(s->bed);
    /* One that is silent keeps the loop going, for a minute at most. */
    assert_int_equal(uv_timer_start(&request->timer, deliver, s->silent ? 60000 : 0, 0), 0);
    *ret_request = request;
    return ERR_OK;
}

static void on_cancel(void *ctx, struct artifact_request *request)
{
    struct source *s = ctx;
    s->cancelled++;
    uv_close((uv_handle_t *)&request->timer, request_closed);
}

void source_open_as(struct source *s, struct bed *bed, const char *path, const char *digest)
{
    *s = (struct source){.bed = bed, .path = path};
    (void)snprintf(s->name, sizeof(s->name), "%s%s", ARTIFACT_PREFIX, digest);
    s->seam = (struct artifact_source){.ctx = s, .get = on_get, .cancel = on_cancel};
    bed->host.artifacts = &s->seam;
}

void source_open(struct source *s, struct bed *bed, const char *path)
{
    char digest[FILE_DIGEST_TEXT];
    struct error err = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_digest(fd, digest, &err), ERR_OK);
    assert_int_equal(close(fd), 0);
    source_open_as(s, bed, path, digest);
}
