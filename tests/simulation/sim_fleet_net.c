/* Connections, as a link sees them through common/net. What is sent on one arrives in order after a
 * while, or not at all: a broken one loses what is on its way, a blocked one keeps it until it is
 * unblocked or dropped by an end. The end of the agent is a link, that of the orchestrator a
 * session.
 *
 * Also the alarms of a link, and what it takes from the base library: time and random bytes. */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/net/net_fetch.h"
#include "common/net/net_get.h"

#include <assert.h>
#include <string.h>

enum {
    DELAY_MAX_MS = 30,
    DELAY_LONG_MS = 400, /* now and then */
    DELAY_LONGEST_MS = 3000,
    REFUSED_MS = 3,
    CLOSE_MS = 5,
    BREAK_TOLD_MS = 300
};

struct sim_frame {
    struct sim_frame *next;
    bool close; /* the end of it, and nothing comes after */
    size_t len;
    char data[];
};

static int64_t delay(struct sim *sim)
{
    if (rng_once_in(&sim->rng, 40))
        return rng_between(&sim->rng, DELAY_MAX_MS, DELAY_LONG_MS);
    if (rng_once_in(&sim->rng, 400))
        return rng_between(&sim->rng, DELAY_LONG_MS, DELAY_LONGEST_MS);
    return rng_between(&sim->rng, 0, DELAY_MAX_MS);
}

static struct net_conn *conn_of(const struct sim *sim, uint32_t id)
{
    struct net_conn *c = sim->net.conns[id % SIM_MAX_CONNS];
    return c != NULL && c->id == id ? c : NULL;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static void frame_put(struct net_conn *c, int direction, const char *data, size_t len, bool close)
{
    struct sim *sim = c->sim;
    if (c->broken || !c->open[direction])
        return;
    struct sim_frame *f = sim_checked(mem_alloc(sizeof(*f) + len + 1));
    *f = (struct sim_frame){.close = close, .len = len};
    if (len > 0)
        memcpy(f->data, data, len);
    f->data[len] = '\0';
    if (c->last[direction] != NULL)
        c->last[direction]->next = f;
    else
        c->first[direction] = f;
    c->last[direction] = f;
    int64_t at = sim->now_ms + delay(sim);
    if (at < c->last_at_ms[direction])
        at = c->last_at_ms[direction];
    c->last_at_ms[direction] = at;
    if (!c->blocked[direction])
        sim_after(sim, at - sim->now_ms, EV_CONN_DELIVER, c->id, (uint64_t)direction);
}

static struct sim_frame *frame_take(struct net_conn *c, int direction)
{
    struct sim_frame *f = c->first[direction];
    c->first[direction] = f->next;
    if (f->next == NULL)
        c->last[direction] = NULL;
    return f;
}

static void frames_drop(struct net_conn *c, int direction)
{
    while (c->first[direction] != NULL)
        mem_free(frame_take(c, direction));
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void conn_free_if_over(struct net_conn *c)
{
    if (c->open[TO_ORCHESTRATOR] || c->open[TO_AGENT])
        return;
    frames_drop(c, TO_ORCHESTRATOR);
    frames_drop(c, TO_AGENT);
    c->sim->net.conns[c->id % SIM_MAX_CONNS] = NULL;
    mem_free(c);
}

/* The receiving end of that direction will hear that the connection is over. */
static void tell(struct net_conn *c, int end, int64_t delay_ms)
{
    if (c->telling[end] || !c->open[end])
        return;
    c->telling[end] = true;
    sim_after(c->sim, delay_ms, EV_CONN_CLOSED, c->id, (uint64_t)end);
}

static void end_closed(struct net_conn *c, int end, const char *reason)
{
    c->open[end] = false;
    if (end == TO_AGENT) {
        c->config.events.closed(c->config.ctx, c, reason);
    } else if (c->session != NULL) {
        dispatcher_session_closed(TAKE(c->session), "gone");
    }
    conn_free_if_over(c);
}

void sim_net_closed(struct sim *sim, uint32_t who, uint64_t token)
{
    struct net_conn *c = conn_of(sim, who);
    int end = (int)token;
    if (c != NULL && c->open[end])
        end_closed(c, end, "connection lost");
}

void sim_net_end_died(struct net_conn *c, int end, bool silently)
{
    int other = end == TO_AGENT ? TO_ORCHESTRATOR : TO_AGENT;
    c->open[end] = false;
    c->session = end == TO_ORCHESTRATOR ? NULL : c->session;
    if (!silently)
        frame_put(c, other, NULL, 0, true);
    else
        c->broken = true;
    conn_free_if_over(c);
}

void sim_net_break(struct net_conn *c)
{
    struct sim *sim = c->sim;
    c->broken = true;
    frames_drop(c, TO_ORCHESTRATOR);
    frames_drop(c, TO_AGENT);
    tell(c, TO_ORCHESTRATOR, rng_below(&sim->rng, BREAK_TOLD_MS));
    tell(c, TO_AGENT, rng_below(&sim->rng, BREAK_TOLD_MS));
}

static void block(struct net_conn *c, int direction, bool on)
{
    if (c->blocked[direction] == on)
        return;
    c->blocked[direction] = on;
    for (const struct sim_frame *f = c->first[direction]; f != NULL && !on; f = f->next)
        sim_after(c->sim, 1, EV_CONN_DELIVER, c->id, (uint64_t)direction);
}

void sim_net_block(struct net_conn *c, bool to_orchestrator, bool to_agent)
{
    block(c, TO_ORCHESTRATOR, to_orchestrator);
    block(c, TO_AGENT, to_agent);
}

/* ---- The orchestrator's end ------------------------------------------------------------------ */

bool sim_net_send(struct net_conn *c, const char *data, size_t len)
{
    if (c->closing[TO_ORCHESTRATOR])
        return false;
    frame_put(c, TO_AGENT, data, len, false);
    return true;
}

/* Takes nothing in any more, says goodbye, and is told of its end a little later. */
static void end_close(struct net_conn *c, int end)
{
    int other = end == TO_AGENT ? TO_ORCHESTRATOR : TO_AGENT;
    if (c->closing[end])
        return;
    c->closing[end] = true;
    frame_put(c, other, NULL, 0, true);
    tell(c, end, rng_between(&c->sim->rng, 0, CLOSE_MS));
}

void sim_net_close(struct net_conn *c)
{
    end_close(c, TO_ORCHESTRATOR);
}

void sim_net_accept(struct sim *sim, uint32_t who, uint64_t token)
{
    struct net_conn *c = conn_of(sim, who);
    struct error err = {0};
    (void)token;
    if (c == NULL || c->broken || !c->open[TO_ORCHESTRATOR])
        return;
    if (!sim->orchestrator.running || !c->open[TO_AGENT]) {
        c->open[TO_ORCHESTRATOR] = false;
        tell(c, TO_AGENT, REFUSED_MS);
        conn_free_if_over(c);
        return;
    }
    enum error_code code =
        dispatcher_session_open(sim->orchestrator.dispatcher, c, c->node->id, &c->session, &err);
    assert(code == ERR_OK);
    sim_after(sim, delay(sim), EV_CONN_OPENED, c->id, 0);
}

/* ---- Delivery -------------------------------------------------------------------------------- */

static void trace_frame(const struct net_conn *c, int direction, const struct sim_frame *f)
{
    sim_trace(c->sim, "%s %s %.160s", c->node->id, direction == TO_AGENT ? "<-" : "->",
              f->close ? "(close)" : f->data);
}

static void frame_arrives(struct net_conn *c, int direction, const struct sim_frame *f)
{
    trace_frame(c, direction, f);
    if (f->close)
        tell(c, direction, 0);
    else if (direction == TO_AGENT && !c->closing[TO_AGENT]) {
        sim_check_delivery(c->sim, c, f->data);
        c->config.events.message(c->config.ctx, c, f->data, f->len);
    } else if (direction == TO_ORCHESTRATOR && !c->closing[TO_ORCHESTRATOR] && c->session != NULL) {
        sim_check_arrival(c->sim, c->node, f->data);
        dispatcher_session_frame(c->session, f->data, f->len);
    }
}

void sim_net_deliver(struct sim *sim, uint32_t who, uint64_t token)
{
    struct net_conn *c = conn_of(sim, who);
    int direction = (int)token;
    if (c == NULL || c->blocked[direction] || c->first[direction] == NULL)
        return;
    struct sim_frame *f = frame_take(c, direction);
    if (c->open[direction])
        frame_arrives(c, direction, f);
    mem_free(f);
}

/* ---- The agent's end: net.h ------------------------------------------------------------------ */

enum error_code net_connect(struct net *net, const struct net_client_config *config,
                            struct net_conn **ret_conn, struct error *err)
{
    struct sim_node *n = (struct sim_node *)(void *)net;
    struct sim *sim = n->sim;
    (void)err;
    struct net_conn *c = sim_checked(MEM_NEW(struct net_conn));
    c->sim = sim;
    c->id = sim->net.count++;
    c->node = n;
    c->config = *config;
    c->open[TO_ORCHESTRATOR] = c->open[TO_AGENT] = true;
    assert(sim->net.conns[c->id % SIM_MAX_CONNS] == NULL);
    sim->net.conns[c->id % SIM_MAX_CONNS] = c;
    if (n->partitioned)
        c->open[TO_ORCHESTRATOR] = false;
    else
        sim_after(sim, delay(sim), EV_CONN_ACCEPT, c->id, 0);
    sim_after(sim, config->connect_timeout_ms, EV_CONN_TIMEOUT, c->id, 0);
    *ret_conn = c;
    return ERR_OK;
}

void sim_net_opened(struct sim *sim, uint32_t who, uint64_t token)
{
    struct net_conn *c = conn_of(sim, who);
    (void)token;
    if (c == NULL || !c->open[TO_AGENT] || c->closing[TO_AGENT] || c->broken)
        return;
    c->up = true;
    c->config.events.opened(c->config.ctx, c);
}

void sim_net_timeout(struct sim *sim, uint32_t who, uint64_t token)
{
    struct net_conn *c = conn_of(sim, who);
    (void)token;
    if (c != NULL && !c->up)
        tell(c, TO_AGENT, 0);
}

enum error_code net_conn_send(struct net_conn *conn, const char *data, size_t len,
                              struct error *err)
{
    struct sim_node *n = conn->node;
    if (conn->closing[TO_AGENT])
        return error_set(err, ERR_UNAVAILABLE, "the connection is closing");
    if (n->sends_to_live > 0 && --n->sends_to_live == 0)
        n->dying = true;
    if (!n->dying)
        frame_put(conn, TO_ORCHESTRATOR, data, len, false);
    return ERR_OK;
}

size_t net_conn_queued(const struct net_conn *conn)
{
    (void)conn;
    return 0;
}

void net_conn_close(struct net_conn *conn, uint16_t code, const char *reason)
{
    (void)code;
    (void)reason;
    end_close(conn, TO_AGENT);
}

enum net_end net_conn_end(const struct net_conn *conn)
{
    (void)conn;
    return NET_END_LOST;
}

/* No agent here has anything to do with certificates. */
enum error_code net_fetch_post(struct net *net, const struct net_fetch_config *config,
                               struct net_fetch **ret_fetch, struct error *err)
{
    (void)net;
    (void)config;
    (void)ret_fetch;
    return error_set(err, ERR_UNSUPPORTED, "there is no HTTP here");
}

void net_fetch_cancel(struct net_fetch *fetch)
{
    (void)fetch;
}

/* And none fetches anything. */
enum error_code net_get_start(struct net *net, const struct net_get_config *config,
                              struct net_get **ret_get, struct error *err)
{
    (void)net;
    (void)config;
    (void)ret_get;
    return error_set(err, ERR_UNSUPPORTED, "there is no HTTP here");
}

void net_get_more(struct net_get *get, size_t bytes)
{
    (void)get;
    (void)bytes;
}

void net_get_cancel(struct net_get *get)
{
    (void)get;
}

/* A node's net is the node. */
void net_close(struct net *net, void (*done)(void *ctx), void *ctx)
{
    (void)net;
    if (done != NULL)
        done(ctx);
}

/* ---- For the others -------------------------------------------------------------------------- */

struct net_conn *sim_net_of(const struct sim *sim, const struct sim_node *n)
{
    struct net_conn *found = NULL;
    for (uint32_t i = 0; i < SIM_MAX_CONNS; i++) {
        struct net_conn *c = sim->net.conns[i];
        if (c != NULL && c->node == n && (found == NULL || c->id > found->id))
            found = c;
    }
    return found;
}

bool sim_net_idle(const struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_MAX_CONNS; i++) {
        const struct net_conn *c = sim->net.conns[i];
        if (c != NULL && (c->first[TO_AGENT] != NULL || c->first[TO_ORCHESTRATOR] != NULL))
            return false;
    }
    return true;
}

void sim_net_done(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_MAX_CONNS; i++) {
        struct net_conn *c = sim->net.conns[i];
        if (c == NULL)
            continue;
        c->open[TO_AGENT] = c->open[TO_ORCHESTRATOR] = false;
        conn_free_if_over(c);
    }
}

/* ---- Alarms: ticker.h ------------------------------------------------------------------------ */

void alarm_set(struct ticker *t, struct alarm *alarm, int64_t delay_ms)
{
    struct sim_node *n = t->node;
    n->link_alarm = alarm;
    if (n->running)
        sim_after(n->sim, delay_ms, EV_LINK_ALARM, n->index, ++n->link_token);
}

void alarm_stop(struct ticker *t, struct alarm *alarm)
{
    (void)alarm;
    t->node->link_token++;
}

/* ---- The base library, as a link uses it ------------------------------------------------------
 */

/* The one world that is running: the functions below have nothing that would tell. */
static struct sim *current;

void sim_net_use(struct sim *sim)
{
    current = sim;
}

int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void)
{
    return current->now_ms;
}

enum error_code __wrap_id_random_bytes(void *ret, size_t len, struct error *err);
enum error_code __wrap_id_random_bytes(void *ret, size_t len, struct error *err)
{
    (void)err;
    for (size_t i = 0; i < len; i++)
        ((unsigned char *)ret)[i] = (unsigned char)rng_next(&current->rng);
    return ERR_OK;
}
