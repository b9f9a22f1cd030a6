/* access_agents: the servers that have, or may get, certificates: in memory, and as a list. */
#include "orchestrator/access/access_internal.h"

#include <assert.h>
#include <string.h>

/* ---- In memory ----------------------------------------------------------------------------- */

/* uthash's macros unfold into more than a function may hold; these are all there is of them here.
 */
/* NOLINTBEGIN(readability-function-size) */
struct agent *agent_find(struct access *a, const char *server)
{
    struct agent *agent = NULL;
    HASH_FIND_STR(a->agents, server, agent);
    return agent;
}

static bool agent_hash_add(struct access *a, struct agent *agent)
{
    HASH_ADD_STR(a->agents, server, agent);
    a->agents_sorted = false;
    return agent->hh.tbl != NULL;
}

struct certificate *certificate_find(struct access *a, const char *serial)
{
    struct certificate *c = NULL;
    HASH_FIND_STR(a->certificates, serial, c);
    return c;
}

static bool certificate_hash_add(struct access *a, struct certificate *c)
{
    HASH_ADD_STR(a->certificates, serial, c);
    return c->hh.tbl != NULL;
}

void certificate_hash_remove(struct access *a, struct certificate *c)
{
    assert(a->certificates);
    HASH_DEL(a->certificates, c);
}

static int by_server(struct agent *x, struct agent *y)
{
    return strcmp(x->server, y->server);
}

/* Agents are added and never taken away: in order once, they stay so until the next one. */
static void agents_sort(struct access *a)
{
    if (!a->agents_sorted)
        HASH_SORT(a->agents, by_server);
    a->agents_sorted = true;
}

void agents_free(struct access *a)
{
    struct certificate *c = NULL;
    struct certificate *next_certificate = NULL;
    struct agent *agent = NULL;
    struct agent *next_agent = NULL;
    HASH_ITER (hh, a->certificates, c, next_certificate) {
        HASH_DEL(a->certificates, c);
        mem_free(c);
    }
    HASH_ITER (hh, a->agents, agent, next_agent) {
        HASH_DEL(a->agents, agent);
        mem_free(agent);
    }
}
/* NOLINTEND(readability-function-size) */

struct agent *agent_get(struct access *a, const char *server, struct error *err)
{
    struct agent *agent = agent_find(a, server);
    if (agent)
        return agent;
    agent = MEM_NEW(struct agent);
    if (agent) {
        text_put(agent->server, sizeof(agent->server), server);
        if (agent_hash_add(a, agent))
            return agent;
        mem_free(agent);
    }
    error_set(err, ERR_NO_MEMORY, NULL);
    return NULL;
}

enum error_code certificate_add(struct access *a, const struct access_certificate *from,
                                bool revoked, struct error *err)
{
    struct agent *agent = agent_get(a, from->server, err);
    if (!agent)
        return ERR_NO_MEMORY;
    struct certificate *c = MEM_NEW(struct certificate);
    if (!c)
        return error_set(err, ERR_NO_MEMORY, NULL);
    text_put(c->serial, sizeof(c->serial), from->serial);
    text_put(c->fingerprint, sizeof(c->fingerprint), from->fingerprint);
    c->agent = agent;
    c->issued_ms = from->issued_ms;
    c->not_after_ms = from->not_after_ms;
    c->revoked = revoked;
    if (!certificate_hash_add(a, c)) {
        mem_free(c);
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    c->next = agent->certificates;
    agent->certificates = c;
    return ERR_OK;
}

const struct certificate *certificate_good(const struct agent *agent, int64_t now_ms)
{
    const struct certificate *best = NULL;
    for (const struct certificate *c = agent->certificates; c; c = c->next) {
        bool good = !c->revoked && now_ms < c->not_after_ms;
        if (good && (!best || c->not_after_ms > best->not_after_ms))
            best = c;
    }
    return best;
}

static enum error_code tickets_load(struct access *a, struct db *db, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(db, ACCESS_TICKETS, &s, err);
    if (code != ERR_OK)
        return code;
    while ((code = db_step(s, &row, err)) == ERR_OK && row) {
        struct agent *agent = agent_get(a, db_column_text(s, TICKET_SERVER, NULL), err);
        if (!agent) {
            code = ERR_NO_MEMORY;
            break;
        }
        text_put(agent->ticket, sizeof(agent->ticket), db_column_text(s, TICKET_HASH, NULL));
        agent->ticket_expires_ms = db_column_int(s, TICKET_EXPIRES);
        agent->ticket_replace = db_column_int(s, TICKET_REPLACE) != 0;
    }
    db_reset(s);
    return code;
}

static enum error_code certificates_load(struct access *a, struct db *db, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(db, ACCESS_CERTIFICATES, &s, err);
    if (code != ERR_OK)
        return code;
    while ((code = db_step(s, &row, err)) == ERR_OK && row) {
        const struct access_certificate certificate = {
            .serial = db_column_text(s, CERTIFICATE_SERIAL, NULL),
            .server = db_column_text(s, CERTIFICATE_SERVER, NULL),
            .fingerprint = db_column_text(s, CERTIFICATE_FINGERPRINT, NULL),
            .issued_ms = db_column_int(s, CERTIFICATE_ISSUED),
            .not_after_ms = db_column_int(s, CERTIFICATE_NOT_AFTER),
        };
        code = certificate_add(a, &certificate, db_column_int(s, CERTIFICATE_REVOKED) != 0, err);
        if (code != ERR_OK)
            break;
    }
    db_reset(s);
    return code;
}

enum error_code agents_load(struct access *a, struct db *db, struct error *err)
{
    enum error_code code = tickets_load(a, db, err);
    return code == ERR_OK ? certificates_load(a, db, err) : code;
}

/* ---- As a list ---------------------------------------------------------------------------- */

static bool certificate_view(const struct agent *agent, int64_t now_ms,
                             struct access_certificate *ret_certificate)
{
    const struct certificate *c = certificate_good(agent, now_ms);
    if (!c)
        return false;
    *ret_certificate = (struct access_certificate){
        .serial = c->serial,
        .server = agent->server,
        .fingerprint = c->fingerprint,
        .issued_ms = c->issued_ms,
        .not_after_ms = c->not_after_ms,
    };
    return true;
}

bool access_agent(struct access *a, const char *server, int64_t now_ms,
                  struct access_certificate *ret_certificate)
{
    const struct agent *agent = agent_find(a, server);
    return agent && certificate_view(agent, now_ms, ret_certificate);
}

/* The first behind a server, which need not be one that is known. */
static const struct agent *agent_behind(struct access *a, const char *after)
{
    const struct agent *known = agent_find(a, after);
    if (known)
        return known->hh.next;
    const struct agent *agent = a->agents;
    while (agent && strcmp(agent->server, after) <= 0)
        agent = agent->hh.next;
    return agent;
}

void access_agents(struct access *a, const char *after, int64_t now_ms,
                   bool (*each)(void *ctx, const struct access_certificate *certificate), void *ctx)
{
    struct access_certificate certificate;
    agents_sort(a);
    for (const struct agent *agent = after ? agent_behind(a, after) : a->agents; agent;
         agent = agent->hh.next) {
        if (certificate_view(agent, now_ms, &certificate) && !each(ctx, &certificate))
            return;
    }
}

struct access_stats access_stats(struct access *a, int64_t now_ms, int64_t soon_ms)
{
    struct access_stats stats = {.tokens = a->token_count};
    for (const struct agent *agent = a->agents; agent; agent = agent->hh.next) {
        const struct certificate *c = certificate_good(agent, now_ms);
        stats.agents += c != NULL;
        stats.expiring += c && c->not_after_ms <= soon_ms;
    }
    return stats;
}
