/* support_docs: documents as the orchestrator gives them, made with the API's tables. */
#pragma once

#include "common/plan/states.h"
#include "orchestrator/api/api_doc.h"

/* Each gives a text that the caller frees. */

/* A rollout "r1" with `count` executions in its answer and `more` that are not. */
struct doc_rollout {
    int state; /* enum rollout_state */
    int64_t last_seq;
    const char *reason; /* NULL: none */
    int64_t servers;
    struct api_counts counts;
    const struct api_execution *executions;
    size_t count;
    int64_t more;
};
char *doc_rollout(const struct doc_rollout *rollout);
char *doc_encode(const struct json_table *table, const void *object);
/* A server-sent event: its number, type and further members (",\"server\":\"web-1\"" or ""). */
char *doc_sse(int64_t seq, const char *type, const char *members);
/* Texts one after the other; frees them. Ended by NULL. */
char *doc_join(char *first, ...);
