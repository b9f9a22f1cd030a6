#include "agent/identity.h"

#include "agent/identity_files.h"
#include "agent/identity_rule.h"
#include "agent/identity_wire.h"
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/pki/pki_ca.h"
#include "common/pki/pki_verify.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(pki_key_free, struct pki_key)
DEFINE_CLEANUP(pki_certs_free, struct pki_certs)

enum { HTTP_OK = 200, HTTP_CREATED = 201, STATUS_DENIED_FROM = 400, STATUS_DENIED_TO = 499 };

struct identity {
    struct identity_config config;
    struct identity_paths paths;
    struct alarm alarm;
    struct buf ca;          /* PEM of whom to trust; empty: it is by the fingerprint */
    struct pki_secret pair; /* PEM; NULL: there is none */
    struct identity_facts facts;
    int64_t failed_ms;          /* monotonic; the last failure */
    int64_t answered_ms;        /* the same of the last certificate that came; 0: none has */
    struct carrier_post *post;  /* under way */
    struct pki_key *key;        /* what is being asked for a certificate */
    enum identity_action asked; /* by that */
    bool started;
    char said[ERROR_MESSAGE_MAX]; /* the present trouble, as it was logged; "": there is none */
    bool clock_said;              /* that the clock speaks against the certificate */
};

/* ---- What is said -----------------------------------------------------------------------------
 */

#define REMEDY_TICKET                                                                              \
    "make a ticket with \"kitsune agent ticket SERVER\" (--replace where it has a certificate), "  \
    "put it into the file that --enrol-token-file names"

/* Once, and again when it becomes another one. */
static void trouble(struct identity *id, const char *what, const char *reason, const char *remedy)
{
    char text[ERROR_MESSAGE_MAX];
    (void)snprintf(text, sizeof(text), "%.60s %.190s", what, reason);
    if (strcmp(id->said, text) == 0)
        return;
    memcpy(id->said, text, sizeof(text));
    log_error(what, LOG_STR("server", id->config.server), LOG_STR("reason", reason),
              LOG_STR("remedy", remedy), LOG_END);
}

/* A certificate that this machine's clock speaks against. Either may be wrong. */
static void clock_check(struct identity *id, int64_t now_ms)
{
    const struct identity_facts *f = &id->facts;
    char limit[CLOCK_TEXT_MAX], reason[ERROR_MESSAGE_MAX];
    bool expired = now_ms >= f->not_after_ms;
    bool good = !f->has_certificate || (!expired && now_ms >= f->not_before_ms);
    bool said = id->clock_said;
    id->clock_said = !good;
    if (good || said)
        return;
    clock_format(expired ? f->not_after_ms : f->not_before_ms, limit);
    (void)snprintf(reason, sizeof(reason), "by this machine's clock it %s %s",
                   expired ? "has expired at" : "is valid from", limit);
    log_error("this agent's certificate is not valid now", LOG_STR("server", id->config.server),
              LOG_STR("reason", reason),
              LOG_STR("remedy",
                      expired ? "set the clock; if it is right, " REMEDY_TICKET : "set the clock"),
              LOG_END);
}

/* ---- What is on disk --------------------------------------------------------------------------
 */

static enum error_code ca_load(struct identity *id, struct error *err)
{
    const char *path = id->config.ca;
    if (!path && !id->config.ca_fingerprint)
        path = id->paths.ca;
    buf_clear(&id->ca);
    if (!path)
        return ERR_OK;
    enum error_code code = pki_file_read(path, PKI_PEM_MAX, &id->ca, err);
    if (code == ERR_NOT_FOUND && !id->config.ca)
        return error_set(err, code,
                         "nothing says by what the orchestrator is known: give --ca or "
                         "--ca-fingerprint");
    return code;
}

/* The certificate is this server's, and nobody else's. */
static enum error_code facts_check(const struct identity *id, const struct pki_facts *facts,
                                   const char *name, struct error *err)
{
    char expected[PKI_IDENTITY_MAX];
    (void)snprintf(expected, sizeof(expected), "kitsune:agent:%s", id->config.server);
    if (strcmp(facts->identity, expected) == 0)
        return ERR_OK;
    return error_set(err, ERR_CONFLICT, "%.100s: it is for \"%.80s\", not for \"%.80s\"", name,
                     facts->identity, expected);
}

static enum error_code pair_take(struct identity *id, const struct pki_key *key,
                                 const struct pki_certs *certs, struct error *err)
{
    struct pki_secret text = {0};
    struct pki_facts facts = {0};
    enum error_code code = pki_certs_facts(certs, 0, &facts, err);
    if (code == ERR_OK)
        code = facts_check(id, &facts, id->paths.pair, err);
    if (code == ERR_OK)
        code = pki_pair_text(key, certs, &text, err);
    if (code != ERR_OK)
        return code;
    pki_secret_done(&id->pair);
    id->pair = text;
    id->facts.has_certificate = true;
    id->facts.not_before_ms = facts.not_before_ms;
    id->facts.not_after_ms = facts.not_after_ms;
    return ERR_OK;
}

/* Reads everything anew: somebody may have mended it. True: there is another certificate. */
static bool load(struct identity *id)
{
    AUTO(pki_key_free) struct pki_key *key = NULL;
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    struct pki_secret before = id->pair;
    struct error err = {0};
    enum error_code code = ca_load(id, &err);
    if (code == ERR_OK) {
        code = identity_pair_load(&id->paths, &key, &certs, &err);
        id->pair = (struct pki_secret){0};
        id->facts.has_certificate = false;
    }
    if (code == ERR_OK)
        code = pair_take(id, key, certs, &err);
    if (code != ERR_OK && code != ERR_NOT_FOUND)
        trouble(id, "this agent's identity cannot be read", err.message,
                "mend what is named, or remove it and " REMEDY_TICKET);
    else if (code == ERR_NOT_FOUND && id->ca.len == 0 && !id->config.ca_fingerprint)
        trouble(id, "the orchestrator cannot be recognised", err.message,
                "give --ca with the CA's certificate, or its --ca-fingerprint");
    bool other = id->pair.data && (!before.data || strcmp(before.data, id->pair.data) != 0);
    if (before.data != id->pair.data)
        pki_secret_done(&before);
    return other;
}

/* ---- Asking -----------------------------------------------------------------------------------
 */

static void look(struct identity *id);

static void failed(struct identity *id, bool denied, const char *reason)
{
    id->facts.failures++;
    id->facts.denied = denied;
    id->failed_ms = clock_mono_ms();
    bool enrols = id->asked == IDENTITY_ENROL;
    trouble(id, enrols ? "this agent was not enrolled" : "the certificate was not renewed", reason,
            denied && enrols ? REMEDY_TICKET : "it is tried again");
}

/* What came is a certificate for this key and this server, by the CA that is trusted. Whether its
 * time has come is not asked: a clock that is wrong must not lose it. */
static enum error_code answer_check(const struct identity *id, const struct identity_answer *answer,
                                    struct pki_certs **ret_certs, struct error *err)
{
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    AUTO(pki_certs_free) struct pki_certs *chain = NULL;
    AUTO(pki_certs_free) struct pki_certs *ca = NULL;
    AUTO_BUF struct buf both = BUF_INIT;
    struct pki_facts facts = {0};
    static const char name[] = "the certificate that came";
    buf_printf(&both, "%s\n%s", answer->certificate, answer->ca);
    enum error_code code = buf_check(&both, err);
    if (code == ERR_OK)
        code = pki_certs_parse(answer->certificate, strlen(answer->certificate), name, &certs, err);
    if (code == ERR_OK)
        code = pki_certs_parse(both.data, both.len, name, &chain, err);
    if (code == ERR_OK && id->ca.len > 0)
        code = pki_certs_parse(id->ca.data, id->ca.len, "the CA's certificate", &ca, err);
    if (code == ERR_OK)
        code = pki_pair_check(id->key, certs, name, err);
    if (code == ERR_OK)
        code = pki_certs_facts(certs, 0, &facts, err);
    if (code == ERR_OK)
        code = facts_check(id, &facts, name, err);
    const struct pki_check check = {
        .ca = ca,
        .ca_fingerprint = ca ? NULL : id->config.ca_fingerprint,
        .purpose = PKI_PURPOSE_CLIENT,
        .now_ms = facts.not_before_ms,
        .name = name,
    };
    if (code == ERR_OK)
        code = pki_verify(chain, &check, err);
    if (code == ERR_OK)
        *ret_certs = TAKE(certs);
    return code;
}

/* The CA first: a certificate without it would be of no use, should the fingerprint be forgotten.
 */
static enum error_code answer_save(struct identity *id, const struct identity_answer *answer,
                                   struct error *err)
{
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    AUTO(pki_certs_free) struct pki_certs *ca = NULL;
    enum error_code code = answer_check(id, answer, &certs, err);
    if (code == ERR_OK && id->ca.len == 0) {
        code = pki_certs_parse(answer->ca, strlen(answer->ca), "the CA's certificate", &ca, err);
        if (code == ERR_OK)
            code = pki_certs_save(ca, id->paths.ca, err);
    }
    if (code == ERR_OK)
        code = identity_pair_save(&id->paths, id->key, certs, err);
    if (code == ERR_OK)
        code = pair_take(id, id->key, certs, err);
    return code;
}

static void ticket_remove(struct identity *id)
{
    struct error err = {0};
    if (identity_ticket_remove(&id->paths, &err) != ERR_OK)
        log_warn("the ticket that was used is still there", LOG_STR("server", id->config.server),
                 LOG_STR("reason", err.message), LOG_END);
}

static void answered(struct identity *id)
{
    char expires[CLOCK_TEXT_MAX];
    clock_format(id->facts.not_after_ms, expires);
    log_info(id->asked == IDENTITY_ENROL ? "enrolled" : "the certificate is renewed",
             LOG_STR("server", id->config.server), LOG_STR("expires", expires), LOG_END);
    FAILPOINT(FAIL_IDENTITY_DONE);
    if (id->asked == IDENTITY_ENROL)
        ticket_remove(id);
    id->answered_ms = clock_mono_ms();
    id->facts.refused = false;
    id->facts.failures = 0;
    id->said[0] = '\0';
    id->config.changed(id->config.ctx);
}

static void post_done(void *ctx, int status, const char *body, size_t len, const char *failure)
{
    struct identity *id = ctx;
    struct identity_answer answer = {0};
    struct error err = {0};
    id->post = NULL;
    if (status == 0) {
        failed(id, false, failure);
    } else if (status != HTTP_OK && status != HTTP_CREATED) {
        identity_problem_text(status, body, len, err.message);
        failed(id, status >= STATUS_DENIED_FROM && status <= STATUS_DENIED_TO, err.message);
    } else if (identity_answer_read(body, len, &answer, &err) != ERR_OK ||
               answer_save(id, &answer, &err) != ERR_OK) {
        failed(id, false, err.message);
    } else {
        answered(id);
    }
    identity_answer_done(&answer);
    pki_key_free(TAKE(id->key));
    look(id);
}

static enum error_code post(struct identity *id, const struct identity_ask *ask, const char *path,
                            struct error *err)
{
    struct buf body = BUF_INIT;
    identity_ask_encode(&body, ask);
    struct carrier_post_config config = {
        .peer = {.url = id->config.url},
        .path = path,
        .body = body.data,
        .len = body.len,
        .timeout_ms = IDENTITY_ASK_TIMEOUT_MS,
        .done = post_done,
        .ctx = id,
    };
    identity_peer(id, &config.peer);
    if (ask->token)
        config.peer.pair = NULL; /* of no use any more, if there is one */
    enum error_code code = buf_check(&body, err);
    if (code == ERR_OK)
        code = carrier_post(id->config.carrier, &config, &id->post, err);
    if (body.data)
        explicit_bzero(body.data, body.len);
    buf_done(&body);
    return code;
}

static enum error_code ask(struct identity *id, struct error *err)
{
    AUTO_SECRET struct pki_secret ticket = {0};
    AUTO_BUF struct buf csr = BUF_INIT;
    bool enrols = id->asked == IDENTITY_ENROL;
    assert(!id->post && !id->key);
    enum error_code code = enrols ? identity_ticket_read(&id->paths, &ticket, err) : ERR_OK;
    if (code == ERR_OK)
        code = identity_key(&id->paths, &id->key, err);
    if (code == ERR_OK)
        code = pki_csr_new(id->key, &csr, err);
    if (code == ERR_OK)
        code = buf_check(&csr, err);
    if (code != ERR_OK)
        return code;
    const struct identity_ask document = {
        .token = ticket.data,
        .server = enrols ? (char *)(uintptr_t)id->config.server : NULL,
        .csr = csr.data,
    };
    return post(id, &document, enrols ? IDENTITY_ENROL_PATH : IDENTITY_RENEW_PATH, err);
}

static void ask_begin(struct identity *id, enum identity_action action)
{
    struct error err = {0};
    id->asked = action;
    if (ask(id, &err) == ERR_OK)
        return;
    pki_key_free(TAKE(id->key));
    failed(id, false, err.message);
}

/* ---- Deciding ---------------------------------------------------------------------------------
 */

static struct identity_decision decide(struct identity *id)
{
    id->facts.has_ticket = identity_ticket_there(&id->paths);
    id->facts.since_failure_ms = clock_mono_ms() - id->failed_ms;
    id->facts.since_answer_ms = id->answered_ms > 0 ? clock_mono_ms() - id->answered_ms : INT64_MAX;
    return identity_decide(&id->facts, clock_wall_ms());
}

static void stuck(struct identity *id)
{
    if (id->facts.refused)
        trouble(id, "the orchestrator does not admit this agent",
                "its certificate is not taken, or another agent has the same",
                "if another agent runs under this id, stop that one; else " REMEDY_TICKET);
    else if (id->said[0] == '\0')
        trouble(id, "this agent has no certificate", "and no ticket to enrol with", REMEDY_TICKET);
}

/* Looks what is to be done, and does it. */
static void look(struct identity *id)
{
    if (id->post || !id->started)
        return;
    clock_check(id, clock_wall_ms());
    struct identity_decision decision = decide(id);
    switch (decision.action) {
    case IDENTITY_WAIT:
        break;
    case IDENTITY_ENROL:
    case IDENTITY_RENEW:
        ask_begin(id, decision.action);
        if (!id->post)
            decision = decide(id);
        break;
    case IDENTITY_STUCK:
        stuck(id);
        break;
    }
    alarm_set(id->config.ticker, &id->alarm, decision.look_ms);
}

static void alarm_fired(void *ctx)
{
    struct identity *id = ctx;
    /* Somebody may have put one there. */
    if (!id->facts.has_certificate && load(id))
        id->config.changed(id->config.ctx);
    look(id);
}

/* ---- For the link -----------------------------------------------------------------------------
 */

void identity_peer(const struct identity *id, struct carrier_peer *peer)
{
    peer->ca = id->ca.len > 0 ? id->ca.data : NULL;
    peer->ca_fingerprint = peer->ca ? NULL : id->config.ca_fingerprint;
    peer->pair = id->pair.data;
}

void identity_refused(struct identity *id, enum net_end end)
{
    bool other = load(id);
    id->facts.refused = end == NET_END_NOT_ADMITTED && !other;
    look(id);
}

void identity_welcomed(struct identity *id)
{
    id->facts.refused = false;
    id->said[0] = '\0';
    ticket_remove(id);
    clock_check(id, clock_wall_ms());
}

/* ---- Life -------------------------------------------------------------------------------------
 */

enum error_code identity_new(const struct identity_config *config, struct identity **ret_identity,
                             struct error *err)
{
    AUTO_FREE struct identity *id = MEM_NEW(struct identity);
    if (!id)
        return error_set(err, ERR_NO_MEMORY, NULL);
    id->config = *config;
    id->alarm.fired = alarm_fired;
    id->alarm.ctx = id;
    enum error_code code =
        identity_paths_set(&id->paths, config->data_dir, config->server, config->ticket, err);
    if (code == ERR_OK)
        *ret_identity = TAKE(id);
    return code;
}

void identity_start(struct identity *id)
{
    id->started = true;
    if (load(id))
        id->config.changed(id->config.ctx);
    look(id);
}

void identity_stop(struct identity *id)
{
    id->started = false;
    alarm_stop(id->config.ticker, &id->alarm);
    if (id->post)
        carrier_post_cancel(TAKE(id->post));
    pki_key_free(TAKE(id->key));
}

void identity_free(struct identity *id)
{
    if (!id)
        return;
    buf_done(&id->ca);
    pki_secret_done(&id->pair);
    mem_free(id);
}
