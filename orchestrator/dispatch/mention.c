/* mention: which artifacts a rollout's plan names, found once, by a look at its texts. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include "common/base/text.h"
#include "common/plan/artifact.h"

#include <stdlib.h>
#include <string.h>

enum { MENTION_BYTES = ARTIFACT_DIGEST_DIGITS / 2 };

struct mention {
    unsigned char digest[MENTION_BYTES];
};

struct mentions {
    size_t count, capacity;
    struct mention *items; /* in order, once all are found */
};

void mentions_free(struct mentions *mentions)
{
    if (mentions == NULL)
        return;
    mem_free(mentions->items);
    mem_free(mentions);
}

static bool digest_read(const char *digits, struct mention *ret)
{
    char text[ARTIFACT_DIGEST_BUFFER] = "";
    memcpy(text, digits, ARTIFACT_DIGEST_DIGITS);
    return text_unhex(text, ret->digest, sizeof(ret->digest));
}

static int mention_order(const void *a, const void *b)
{
    return memcmp(((const struct mention *)a)->digest, ((const struct mention *)b)->digest,
                  MENTION_BYTES);
}

static bool mention_add(struct mentions *m, const char *digits)
{
    if (m->count == m->capacity) {
        size_t capacity = m->capacity == 0 ? 4 : m->capacity * 2;
        void *grown = mem_realloc(m->items, capacity * sizeof(*m->items));
        if (grown == NULL)
            return false;
        m->items = grown;
        m->capacity = capacity;
    }
    if (digest_read(digits, &m->items[m->count]))
        m->count++;
    return true;
}

static bool mentions_in(struct mentions *m, const char *text)
{
    for (const char *at = text == NULL ? NULL : artifact_find(text); at != NULL;
         at = artifact_find(at + ARTIFACT_DIGEST_DIGITS)) {
        if (!mention_add(m, at))
            return false;
    }
    return true;
}

static struct mentions *mentions_new(const struct plan *plan)
{
    struct mentions *m = MEM_NEW(struct mentions);
    bool whole = m != NULL && mentions_in(m, plan->vars_json);
    for (uint32_t i = 0; i < plan_step_count(plan) && whole; i++)
        whole = mentions_in(m, plan_step(plan, i)->params_json);
    if (!whole) {
        mentions_free(m);
        return NULL;
    }
    if (m->count > 1)
        qsort(m->items, m->count, sizeof(*m->items), mention_order);
    return m;
}

/* False also when memory is out: *ret_known tells. */
static bool rollout_mentions(struct rollout *r, const char *digest, bool *ret_known)
{
    struct mention wanted;
    if (r->mentions == NULL)
        r->mentions = mentions_new(r->plan);
    *ret_known = r->mentions != NULL;
    if (r->mentions == NULL || r->mentions->count == 0 || !digest_read(digest, &wanted))
        return false;
    return bsearch(&wanted, r->mentions->items, r->mentions->count, sizeof(wanted),
                   mention_order) != NULL;
}

enum error_code dispatcher_artifact_for(struct dispatcher *d, const char *id, const char *server,
                                        const char *digest, struct error *err)
{
    struct rollout *r = NULL;
    uint32_t index = 0;
    bool known = true;
    enum error_code code = id_valid(id) ? rollout_get(d, id, &r, err) : ERR_NOT_FOUND;
    if (code != ERR_OK && code != ERR_NOT_FOUND)
        return code;
    if (r != NULL && plan_server_find(r->plan, server, &index) &&
        rollout_mentions(r, digest, &known))
        return ERR_OK;
    if (!known)
        return error_set(err, ERR_NO_MEMORY, NULL);
    return error_set(err, ERR_NOT_FOUND,
                     "rollout \"%s\" names no artifact " ARTIFACT_PREFIX "%.64s for this server",
                     id, digest);
}

enum error_code dispatcher_artifact_free(struct dispatcher *d, const char *digest,
                                         struct error *err)
{
    bool known = true;
    for (struct rollout *r = d->rollouts; r != NULL; r = r->hh.next) {
        if (rollout_state_final(engine_state(r->engine)))
            continue;
        if (rollout_mentions(r, digest, &known))
            return error_set(err, ERR_CONFLICT,
                             "rollout \"%s\" names it and has not ended (%s): wait for its end, or "
                             "cancel it",
                             r->id, rollout_state_names[engine_state(r->engine)]);
        if (!known)
            return error_set(err, ERR_NO_MEMORY, NULL);
    }
    return ERR_OK;
}
