#include "handlers/artifact_wait.h"

#include <assert.h>
#include <unistd.h>

static void on_progress(void *ctx, int64_t bytes, int64_t total_bytes)
{
    struct artifact_wait *w = ctx;
    (void)bytes;
    w->artifact.size_bytes = total_bytes;
}

static void on_done(void *ctx, const struct artifact *artifact, const struct error *err)
{
    struct artifact_wait *w = ctx;
    w->request = NULL;
    if (artifact)
        w->artifact = *artifact;
    w->over(w->ctx, artifact ? NULL : err);
}

enum error_code artifact_wait_start(struct artifact_wait *w, const char *name, int64_t max_bytes,
                                    struct error *err)
{
    const struct artifact_source *source = w->run->host->artifacts;
    const struct artifact_wish wish = {
        .digest = artifact_digest(name),
        .max_bytes = max_bytes,
        .rollout = w->run->rollout,
        .ctx = w,
        .progress = on_progress,
        .done = on_done,
    };
    assert(wish.digest != NULL); /* the params' rule */
    if (!source)
        return error_set(err, ERR_UNSUPPORTED, "this agent has no place for artifacts");
    return source->get(source->ctx, &wish, &w->request, err);
}

bool artifact_wait_cancel(struct artifact_wait *w)
{
    const struct artifact_source *source = w->run->host->artifacts;
    if (!w->request)
        return false;
    source->cancel(source->ctx, w->request);
    w->request = NULL;
    return true;
}

void artifact_wait_done(struct artifact_wait *w)
{
    if (w->artifact.fd >= 0)
        (void)close(w->artifact.fd);
    w->artifact.fd = -1;
}
