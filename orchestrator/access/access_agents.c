/* access_agents: tickets with which agents enrol, and the certificates that they have. */
#include "orchestrator/access/access_internal.h"

#include <assert.h>
#include <string.h>

static const char ticket_prefix[] = "kie_";
/* One text for all that is wrong with a ticket: who guesses learns nothing. */
#define TICKET_BAD                                                                                 \
    "the enrolment token is not good for this server: used, expired, or of another; ask for a "    \
    "new "                                                                                         \
    "one"

/* ---- In memory ----------------------------------------------------------------------------- */

/* uthash's macros unfold into more than a function may hold; these are all there is of them here.
 */
/* NOLINTBEGIN(readability-function-size) */
static struct agent *agent_find(struct access *a, const char *server)
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

static struct certificate *certificate_find(struct access *a, const char *serial)
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

static void certificate_hash_remove(struct access *a, struct certificate *c)
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

static struct agent *agent_get(struct access *a, const char *server, struct error *err)
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

static enum error_code certificate_add(struct access *a, const struct access_certificate *from,
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

/* The good one that expires last; NULL. */
static const struct certificate *certificate_good(const struct agent *agent, int64_t now_ms)
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

/* ---- Tickets ------------------------------------------------------------------------------- */

static enum error_code apply_ticket(struct db *db, struct change *c, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, ACCESS_TICKET_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    bind_text(s, 1, c->name);
    bind_text(s, 2, c->hash);
    db_bind_int(s, 3, c->last_ms);
    db_bind_int(s, 4, c->replace);
    return db_run(s, err);
}

static enum error_code refuse_active(const struct agent *agent, bool replace, int64_t now_ms,
                                     struct error *err)
{
    if (replace || !certificate_good(agent, now_ms))
        return ERR_OK;
    return error_set(err, ERR_CONFLICT,
                     "server \"%s\" has an agent with a certificate that is good; revoke it first, "
                     "or say that it is to be replaced",
                     agent->server);
}

enum error_code access_ticket_create(struct access *a, const struct access_ticket *ticket,
                                     char ret_secret[ACCESS_SECRET_BUFFER], access_done done,
                                     void *ctx, struct error *err)
{
    if (!id_valid(ticket->server))
        return error_set(err, ERR_INVALID, "\"%.80s\" is no server id", ticket->server);
    if (ticket->expires_ms <= ticket->created_ms)
        return error_set(err, ERR_INVALID, "the ticket would have expired already");
    struct agent *agent = agent_get(a, ticket->server, err);
    if (!agent)
        return ERR_NO_MEMORY;
    enum error_code code = refuse_active(agent, ticket->replace, ticket->created_ms, err);
    if (code != ERR_OK)
        return code;
    AUTO(change_free) struct change *c = change_new(a, apply_ticket, done, ctx, err);
    if (!c)
        return ERR_NO_MEMORY;
    code = secret_make(ticket_prefix, ret_secret, c->hash, err);
    if (code != ERR_OK)
        return code;
    text_put(c->name, sizeof(c->name), ticket->server);
    c->last_ms = ticket->expires_ms;
    c->replace = ticket->replace;
    text_put(agent->ticket, sizeof(agent->ticket), c->hash);
    agent->ticket_expires_ms = ticket->expires_ms;
    agent->ticket_replace = ticket->replace;
    change_submit(TAKE(c));
    return ERR_OK;
}

static enum error_code ticket_find(struct access *a, const char *secret, const char *server,
                                   int64_t now_ms, struct agent **ret_agent, struct error *err)
{
    char hash[HASH_BUFFER];
    enum error_code code = sha256_hex(secret, strlen(secret), hash, err);
    if (code != ERR_OK)
        return code;
    struct agent *agent = agent_find(a, server);
    if (!agent || strcmp(agent->ticket, hash) != 0 || now_ms >= agent->ticket_expires_ms)
        return error_set(err, ERR_DENIED, TICKET_BAD);
    code = refuse_active(agent, agent->ticket_replace, now_ms, err);
    if (code == ERR_OK)
        *ret_agent = agent;
    return code;
}

enum error_code access_ticket_check(struct access *a, const char *secret, const char *server,
                                    int64_t now_ms, struct error *err)
{
    struct agent *agent = NULL;
    return ticket_find(a, secret, server, now_ms, &agent, err);
}

/* ---- Certificates -------------------------------------------------------------------------- */

static enum error_code run_for(struct db *db, enum access_statement statement, const char *which,
                               struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, statement, &s, err);
    if (code != ERR_OK)
        return code;
    bind_text(s, 1, which);
    return db_run(s, err);
}

static enum error_code apply_tidy(struct db *db, const struct change *c, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, ACCESS_CERTIFICATES_TIDY, &s, err);
    if (code != ERR_OK)
        return code;
    bind_text(s, 1, c->name);
    db_bind_int(s, 2, c->first_ms);
    return db_run(s, err);
}

static enum error_code apply_certificate(struct db *db, struct change *c, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = apply_tidy(db, c, err);
    if (code == ERR_OK && c->dropped[0] != '\0')
        code = run_for(db, ACCESS_CERTIFICATE_REVOKE, c->dropped, err);
    if (code == ERR_OK)
        code = db_use(db, ACCESS_CERTIFICATE_ADD, &s, err);
    if (code != ERR_OK)
        return code;
    bind_text(s, 1, c->serial);
    bind_text(s, 2, c->name);
    bind_text(s, 3, c->hash);
    db_bind_int(s, 4, c->first_ms);
    db_bind_int(s, 5, c->last_ms);
    return db_run(s, err);
}

static enum error_code apply_enrolment(struct db *db, const struct change *c, struct error *err)
{
    struct db_stmt *s = NULL;
    if (!c->pem)
        return run_for(db, ACCESS_ENROLMENT_DROP, c->name, err);
    enum error_code code = db_use(db, ACCESS_ENROLMENT_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    bind_text(s, 1, c->name);
    bind_text(s, 2, c->ticket);
    bind_text(s, 3, c->key);
    bind_text(s, 4, c->serial);
    bind_text(s, 5, c->pem);
    db_bind_int(s, 6, c->ticket_ms);
    return db_run(s, err);
}

static enum error_code apply_enrol(struct db *db, struct change *c, struct error *err)
{
    enum error_code code = run_for(db, ACCESS_TICKET_DROP, c->name, err);
    if (code == ERR_OK && c->replace)
        code = run_for(db, ACCESS_CERTIFICATES_REVOKE, c->name, err);
    if (code == ERR_OK)
        code = apply_enrolment(db, c, err);
    return code == ERR_OK ? apply_certificate(db, c, err) : code;
}

static enum error_code apply_agent_revoke(struct db *db, struct change *c, struct error *err)
{
    enum error_code code = run_for(db, ACCESS_TICKET_DROP, c->name, err);
    if (code == ERR_OK)
        code = run_for(db, ACCESS_ENROLMENT_DROP, c->name, err);
    return code == ERR_OK ? run_for(db, ACCESS_CERTIFICATES_REVOKE, c->name, err) : code;
}

static void certificate_put(struct change *c, const struct access_certificate *certificate)
{
    text_put(c->serial, sizeof(c->serial), certificate->serial);
    text_put(c->name, sizeof(c->name), certificate->server);
    text_put(c->hash, sizeof(c->hash), certificate->fingerprint);
    c->first_ms = certificate->issued_ms;
    c->last_ms = certificate->not_after_ms;
}

/* Takes those that have expired out of memory, as apply_tidy does on the disk. */
static void certificates_tidy(struct access *a, struct agent *agent, int64_t now_ms)
{
    struct certificate **at = &agent->certificates;
    while (*at) {
        struct certificate *c = *at;
        if (c->not_after_ms > now_ms) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        certificate_hash_remove(a, c);
        mem_free(c);
    }
}

/* The one to be revoked when another comes: with too many, the oldest but the one that is shown. */
static struct certificate *certificate_surplus(const struct agent *agent, const char *shown)
{
    struct certificate *oldest = NULL;
    size_t good = 0;
    for (struct certificate *c = agent->certificates; c; c = c->next) {
        if (c->revoked)
            continue;
        good++;
        if (strcmp(c->serial, shown) != 0)
            oldest = c;
    }
    return good > ACCESS_MAX_CERTIFICATES ? oldest : NULL;
}

static void revoke_from(struct certificate *c)
{
    for (; c; c = c->next)
        c->revoked = true;
}

enum error_code access_enrol(struct access *a, const char *secret,
                             const struct access_certificate *certificate, access_done done,
                             void *ctx, struct error *err)
{
    struct agent *agent = NULL;
    enum error_code code =
        ticket_find(a, secret, certificate->server, certificate->issued_ms, &agent, err);
    if (code != ERR_OK)
        return code;
    assert(agent);
    AUTO(change_free) struct change *c = change_new(a, apply_enrol, done, ctx, err);
    if (!c)
        return ERR_NO_MEMORY;
    c->replace = agent->ticket_replace;
    c->ticket_ms = agent->ticket_expires_ms;
    memcpy(c->ticket, agent->ticket, sizeof(c->ticket));
    certificate_put(c, certificate);
    if (certificate->key && certificate->pem) {
        text_put(c->key, sizeof(c->key), certificate->key);
        c->pem = mem_strdup(certificate->pem);
        if (!c->pem)
            return error_set(err, ERR_NO_MEMORY, NULL);
    }
    code = certificate_add(a, certificate, false, err);
    if (code != ERR_OK)
        return code;
    if (c->replace)
        revoke_from(agent->certificates->next); /* the new one is the first */
    certificates_tidy(a, agent, certificate->issued_ms);
    memcpy(agent->used, agent->ticket, sizeof(agent->used));
    agent->ticket[0] = '\0';
    change_submit(TAKE(c));
    return ERR_OK;
}

/* Of what is durable alone. */
static enum error_code enrolment_read(struct access *a, const struct access_again *again,
                                      const char *hash, struct buf *out, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(a->reader, ACCESS_ENROLMENT_GET, &s, err);
    if (code != ERR_OK)
        return code;
    bind_text(s, 1, again->server);
    code = db_step(s, &row, err);
    bool same = code == ERR_OK && row &&
                strcmp(db_column_text(s, ENROLMENT_HASH, NULL), hash) == 0 &&
                strcmp(db_column_text(s, ENROLMENT_KEY, NULL), again->key) == 0 &&
                again->now_ms < db_column_int(s, ENROLMENT_EXPIRES);
    if (code == ERR_OK && !same)
        code = error_set(err, ERR_DENIED, TICKET_BAD);
    if (code == ERR_OK)
        code = access_certificate_check(a, db_column_text(s, ENROLMENT_SERIAL, NULL), again->server,
                                        again->now_ms, err);
    if (code == ERR_OK)
        buf_puts(out, db_column_text(s, ENROLMENT_PEM, NULL));
    db_reset(s);
    return code == ERR_OK ? buf_check(out, err) : code;
}

enum error_code access_enrolled(struct access *a, const struct access_again *again, struct buf *out,
                                struct error *err)
{
    char hash[HASH_BUFFER];
    enum error_code code = sha256_hex(again->secret, strlen(again->secret), hash, err);
    if (code != ERR_OK)
        return code;
    code = enrolment_read(a, again, hash, out, err);
    const struct agent *agent = agent_find(a, again->server);
    bool under_way = code == ERR_DENIED && agent && strcmp(agent->used, hash) == 0 &&
                     writer_stats(a->writer).queued > 0;
    if (under_way)
        return error_set(err, ERR_BUSY, "the enrolment is on its way to the disk; ask again");
    return code;
}

enum error_code access_renew(struct access *a, const char *serial,
                             const struct access_certificate *certificate, access_done done,
                             void *ctx, struct error *err)
{
    enum error_code code =
        access_certificate_check(a, serial, certificate->server, certificate->issued_ms, err);
    if (code != ERR_OK)
        return code;
    AUTO(change_free) struct change *c = change_new(a, apply_certificate, done, ctx, err);
    if (!c)
        return ERR_NO_MEMORY;
    code = certificate_add(a, certificate, false, err);
    if (code != ERR_OK)
        return code;
    struct agent *agent = agent_find(a, certificate->server);
    assert(agent);
    certificates_tidy(a, agent, certificate->issued_ms);
    struct certificate *surplus = certificate_surplus(agent, serial);
    if (surplus) {
        surplus->revoked = true;
        text_put(c->dropped, sizeof(c->dropped), surplus->serial);
    }
    certificate_put(c, certificate);
    change_submit(TAKE(c));
    return ERR_OK;
}

enum error_code access_certificate_check(struct access *a, const char *serial, const char *server,
                                         int64_t now_ms, struct error *err)
{
    const struct certificate *c = certificate_find(a, serial);
    if (!c)
        return error_set(err, ERR_DENIED, "certificate %.40s is not on record here", serial);
    if (strcmp(c->agent->server, server) != 0)
        return error_set(err, ERR_DENIED, "certificate %.40s is server \"%s\"'s, not \"%.80s\"'s",
                         serial, c->agent->server, server);
    if (c->revoked)
        return error_set(err, ERR_DENIED, "certificate %.40s of server \"%s\" was revoked", serial,
                         server);
    if (now_ms >= c->not_after_ms)
        return error_set(err, ERR_DENIED,
                         "certificate %.40s of server \"%s\" has expired; enrol it anew", serial,
                         server);
    return ERR_OK;
}

enum error_code access_agent_revoke(struct access *a, const char *server, int64_t now_ms,
                                    access_done done, void *ctx, struct error *err)
{
    struct agent *agent = agent_find(a, server);
    if (!agent || (!certificate_good(agent, now_ms) && agent->ticket[0] == '\0'))
        return error_set(err, ERR_NOT_FOUND,
                         "server \"%.80s\" has no certificate that is good, and no ticket", server);
    struct change *c = change_new(a, apply_agent_revoke, done, ctx, err);
    if (!c)
        return ERR_NO_MEMORY;
    text_put(c->name, sizeof(c->name), server);
    agent->ticket[0] = '\0';
    agent->used[0] = '\0';
    revoke_from(agent->certificates);
    change_submit(c);
    return ERR_OK;
}

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
