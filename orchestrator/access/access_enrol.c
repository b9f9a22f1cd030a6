/* access_enrol: tickets with which agents enrol, and what becomes of their certificates. */
#include "orchestrator/access/access_internal.h"

#include <assert.h>
#include <string.h>

static const char ticket_prefix[] = "kie_";
/* One text for all that is wrong with a ticket: who guesses learns nothing. */
#define TICKET_BAD                                                                                 \
    "the enrolment token is not good for this server: used, expired, or of another; ask for a "    \
    "new "                                                                                         \
    "one"

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
        return error_set(err, ERR_DENIED,
                         "certificate %.40s is not on record here (an older access.db was "
                         "restored?); enrol its server anew",
                         serial);
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
