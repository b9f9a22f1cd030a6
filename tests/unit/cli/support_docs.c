#include "unit/cli/support_docs.h"

#include "common/base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *doc_encode(const struct json_table *table, const void *object)
{
    struct buf b = BUF_INIT;
    json_encode(&b, table, object);
    assert(b.failed == ERR_OK);
    char *copy = strdup(b.data);
    buf_done(&b);
    assert(copy);
    return copy;
}

char *doc_rollout(const struct doc_rollout *rollout)
{
    char id[] = "r1";
    char name[] = "patch-web";
    char by[] = "root@bastion";
    char created[] = "2026-11-21T06:00:00.000Z";
    char ended[] = "2026-11-21T06:01:30.000Z";
    char strategy[] = "Rolling";
    char plan[] = "{\"name\":\"patch-web\"}";
    char *reason = rollout->reason ? strdup(rollout->reason) : NULL;
    size_t size = rollout->count * sizeof(struct api_execution);
    struct api_execution *executions = malloc(size > 0 ? size : 1);
    assert(executions);
    if (size > 0)
        memcpy(executions, rollout->executions, size);
    struct api_rollout doc = {
        .id = id,
        .name = name,
        .by = by,
        .state = rollout->state,
        .reason = reason,
        .created = created,
        .ended = rollout_state_final((enum rollout_state)rollout->state) ? ended : NULL,
        .strategy = strategy,
        .batch = 1,
        .batches = 2,
        .servers = rollout->servers,
        .counts = rollout->counts,
        .last_seq = rollout->last_seq,
        .plan = plan,
        .executions = {.items = executions, .count = rollout->count},
        .more = rollout->more};
    char *text = doc_encode(&api_rollout_table, &doc);
    free(executions);
    free(reason);
    return text;
}

char *doc_sse(int64_t seq, const char *type, const char *members)
{
    char *text = NULL;
    int len = asprintf(&text,
                       "id: %lld\nevent: %s\ndata: {\"seq\":%lld,\"time\":"
                       "\"2026-11-21T06:00:%02lld.000Z\",\"type\":\"%s\"%s}\n\n",
                       (long long)seq, type, (long long)seq, (long long)(seq % 60), type, members);
    assert(len > 0);
    return text;
}

char *doc_join(char *first, ...)
{
    struct buf b = BUF_INIT;
    va_list args;
    va_start(args, first);
    for (char *text = first; text; text = va_arg(args, char *)) {
        buf_puts(&b, text);
        free(text);
    }
    va_end(args);
    assert(b.failed == ERR_OK);
    char *copy = strdup(b.data ? b.data : "");
    buf_done(&b);
    assert(copy);
    return copy;
}
