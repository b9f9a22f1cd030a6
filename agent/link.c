#include "agent/link.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum state {
    STATE_IDLE,       /* not started, or waiting before the next attempt */
    STATE_CONNECTING, /* no connection yet */
    STATE_GREETING,   /* hello is sent, welcome awaited */
    STATE_UP,
    STATE_CLOSING, /* `closed` will come */
    STATE_STOPPED
};

enum { CLOSE_NORMAL = 1000, CLOSE_GOING_AWAY = 1001, CLOSE_PROTOCOL = 1002, REASON_MAX = 200 };

struct link {
    struct link_config config;
    enum state state;
    struct carrier_conn *conn; /* NULL when there is none; the carrier's otherwise */
    struct alarm alarm;        /* next attempt, welcome awaited, or heartbeat: one at a time */
    int64_t heartbeat_ms;
    int64_t heard_ms; /* monotonic; when something last came */
    int64_t up_since_ms;
    uint64_t random; /* state of a small generator; jitter needs no better one */
    uint32_t attempt;
    bool had_welcome;
    char said[REASON_MAX];   /* the present trouble, as it was logged; "": there is none */
    char reason[REASON_MAX]; /* why we closed it; "" when the peer did */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---- Backoff ------------------------------------------------------------------------------- */

int64_t link_backoff_ms(uint32_t attempt, bool had_welcome, uint32_t random)
{
    int64_t bound = LINK_BACKOFF_FIRST_MS;
    for (uint32_t i = 0; i < attempt && bound < LINK_BACKOFF_MAX_MS; i++)
        bound *= 2;
    if (bound > LINK_BACKOFF_MAX_MS)
        bound = LINK_BACKOFF_MAX_MS;
    if (had_welcome && bound < LINK_SPREAD_MS)
        bound = LINK_SPREAD_MS;
    return (int64_t)(((uint64_t)random * (uint64_t)(bound + 1)) >> 32);
}

/* xorshift64*: the upper half of its product is the better one. */
static uint32_t random_next(struct link *l)
{
    l->random ^= l->random >> 12;
    l->random ^= l->random << 25;
    l->random ^= l->random >> 27;
    return (uint32_t)((l->random * UINT64_C(2685821657736338717)) >> 32);
}

/* A trouble is logged once, and again when it becomes another one. */
static void log_trouble(struct link *l, const char *what, const char *reason)
{
    if (strncmp(l->said, reason, sizeof(l->said) - 1) == 0)
        return;
    (void)snprintf(l->said, sizeof(l->said), "%s", reason);
    log_warn(what, LOG_STR("server", l->config.server), LOG_STR("url", l->config.url),
             LOG_STR("reason", reason), LOG_END);
}

static void retry_later(struct link *l)
{
    int64_t delay_ms = link_backoff_ms(l->attempt, l->had_welcome, random_next(l));
    l->state = STATE_IDLE;
    if (l->attempt < UINT32_MAX)
        l->attempt++;
    alarm_set(l->config.ticker, &l->alarm, delay_ms);
}

/* ---- Sending ------------------------------------------------------------------------------- */

static void close_for(struct link *l, uint16_t code, const char *reason)
{
    if (!l->conn || l->state == STATE_CLOSING)
        return;
    bool was_up = l->state == STATE_UP;
    (void)snprintf(l->reason, sizeof(l->reason), "%s", reason);
    l->state = STATE_CLOSING;
    alarm_stop(l->config.ticker, &l->alarm);
    if (was_up)
        l->config.events.lost(l->config.events.ctx, reason);
    carrier_close(l->conn, code, reason);
}

static bool send_frame(struct link *l, const char *data, size_t len)
{
    struct error err = {0};
    if (carrier_send(l->conn, data, len, &err) == ERR_OK)
        return true;
    close_for(l, CLOSE_GOING_AWAY, err.message);
    return false;
}

static bool send_heartbeat(struct link *l)
{
    static const struct wire_frame heartbeat = {.type = WIRE_HEARTBEAT};
    AUTO_BUF struct buf b = BUF_INIT;
    wire_encode(&b, &heartbeat);
    return buf_check(&b, NULL) == ERR_OK && send_frame(l, b.data, b.len);
}

bool link_send(struct link *l, const char *data, size_t len, bool droppable)
{
    if (l->state != STATE_UP)
        return false;
    if (droppable && carrier_queued(l->conn) > LINK_DROPPABLE_QUEUE_MAX)
        return false;
    return send_frame(l, data, len);
}

void link_drop(struct link *l, const char *reason)
{
    close_for(l, CLOSE_GOING_AWAY, reason);
}

/* One that held is followed by quick attempts again; one that never does is not. */
static void note_end(struct link *l)
{
    bool held = l->up_since_ms > 0 && clock_mono_ms() - l->up_since_ms > l->heartbeat_ms;
    if (held)
        l->attempt = 0;
    l->up_since_ms = 0;
}

void link_renew(struct link *l)
{
    if (l->closed || l->state == STATE_STOPPED)
        return;
    bool was_up = l->state == STATE_UP;
    note_end(l);
    l->state = STATE_IDLE;
    if (was_up)
        l->config.events.lost(l->config.events.ctx, "a new connection is wanted");
    /* Its end is not waited for: where nothing gets through any more it takes seconds. */
    if (l->conn)
        carrier_forget(TAKE(l->conn), CLOSE_GOING_AWAY, "the agent connects anew");
    alarm_set(l->config.ticker, &l->alarm, 0);
}

bool link_up(const struct link *l)
{
    return l->state == STATE_UP;
}

/* ---- Receiving ----------------------------------------------------------------------------- */

static enum error_code welcomed(struct link *l, const struct wire_welcome *welcome,
                                struct error *err)
{
    /* Up before the event: what it sends goes out. */
    l->state = STATE_UP;
    l->heartbeat_ms = welcome->heartbeat_ms;
    l->up_since_ms = clock_mono_ms();
    alarm_set(l->config.ticker, &l->alarm, l->heartbeat_ms);
    enum error_code code = l->config.events.welcome(l->config.events.ctx, welcome, err);
    if (code != ERR_OK) {
        if (l->state == STATE_UP)
            l->state = STATE_GREETING; /* refused: it never was up */
        return code;
    }
    l->had_welcome = true;
    l->said[0] = '\0';
    if (l->state == STATE_UP)
        log_info("connected", LOG_STR("server", l->config.server), LOG_STR("url", l->config.url),
                 LOG_STR("orchestrator", welcome->orchestrator), LOG_INT("epoch", welcome->epoch),
                 LOG_END);
    return ERR_OK;
}

static enum error_code take_frame(struct link *l, struct wire_frame *frame, const char *data,
                                  size_t len, struct error *err)
{
    switch (frame->type) {
    case WIRE_WELCOME:
        if (l->state != STATE_GREETING)
            return error_set(err, ERR_PROTOCOL, "a second welcome");
        return welcomed(l, &frame->welcome, err);
    case WIRE_ACK:
    case WIRE_EXECUTE:
    case WIRE_ROLLBACK:
    case WIRE_CANCEL:
        if (l->state != STATE_UP)
            return error_set(err, ERR_PROTOCOL, "\"%s\" before the welcome",
                             wire_type_names[frame->type]);
        if (frame->type == WIRE_ACK && !frame->ack.rollout)
            return ERR_OK; /* answers a heartbeat: that it came is all */
        return l->config.events.frame(l->config.events.ctx, frame, data, len, err);
    case WIRE_HELLO:
    case WIRE_REPORT:
    case WIRE_OUTPUT:
    case WIRE_HEARTBEAT:
    case WIRE_TYPE_COUNT:
        break;
    }
    return error_set(err, ERR_PROTOCOL, "\"%s\" is not for an agent", wire_type_names[frame->type]);
}

static void conn_message(void *ctx, struct carrier_conn *conn, const char *data, size_t len)
{
    struct link *l = ctx;
    struct wire_frame frame = {0};
    struct error err = {0};
    (void)conn;
    if (l->state != STATE_GREETING && l->state != STATE_UP)
        return;
    l->heard_ms = clock_mono_ms();
    enum error_code code = wire_decode(data, len, &frame, &err);
    if (code == ERR_OK) {
        code = take_frame(l, &frame, data, len, &err);
        wire_frame_done(&frame);
    }
    if (code == ERR_OK)
        return;
    log_trouble(l, "the orchestrator's message is refused", err.message);
    close_for(l, CLOSE_PROTOCOL, err.message);
}

/* ---- The connection's life ------------------------------------------------------------------ */

static void conn_opened(void *ctx, struct carrier_conn *conn)
{
    struct link *l = ctx;
    AUTO_BUF struct buf b = BUF_INIT;
    if (l->state != STATE_CONNECTING)
        return;
    l->conn = conn;
    l->state = STATE_GREETING;
    l->heard_ms = clock_mono_ms();
    alarm_set(l->config.ticker, &l->alarm, LINK_WELCOME_TIMEOUT_MS);
    l->config.events.hello(l->config.events.ctx, &b);
    struct error err = {0};
    if (buf_check(&b, &err) != ERR_OK)
        close_for(l, CLOSE_GOING_AWAY, err.message);
    else
        (void)send_frame(l, b.data, b.len);
}

static void stop_done(struct link *l)
{
    void (*closed)(void *ctx) = l->closed;
    l->state = STATE_STOPPED;
    l->closed = NULL;
    if (closed)
        closed(l->closed_ctx);
}

static void log_end(struct link *l, enum net_end end, const char *reason)
{
    switch (end) {
    case NET_END_LOST:
        log_trouble(l, "not connected", reason);
        return;
    case NET_END_NOT_TRUSTED:
        log_trouble(l, "not connected: the orchestrator's certificate is refused", reason);
        return;
    case NET_END_NOT_ADMITTED:
        log_trouble(l, "not connected: the orchestrator refuses this agent", reason);
        return;
    }
}

static void conn_closed(void *ctx, struct carrier_conn *conn, enum net_end end, const char *reason)
{
    struct link *l = ctx;
    const char *why = l->reason[0] != '\0' ? l->reason : reason;
    bool was_up = l->state == STATE_UP;
    bool welcomed = l->up_since_ms > 0;
    (void)conn;
    l->conn = NULL;
    alarm_stop(l->config.ticker, &l->alarm);
    if (l->closed) {
        stop_done(l);
        return;
    }
    note_end(l);
    log_end(l, l->reason[0] != '\0' ? NET_END_LOST : end, why);
    if (was_up) {
        l->state = STATE_CLOSING;
        l->config.events.lost(l->config.events.ctx, why);
    }
    retry_later(l);
    if (!welcomed && end != NET_END_LOST && l->config.events.refused)
        l->config.events.refused(l->config.events.ctx, end);
}

static void connect_now(struct link *l)
{
    struct error err = {0};
    struct carrier_conn_config config = {
        .peer = {.url = l->config.url},
        .path = LINK_PATH,
        .protocol = LINK_PROTOCOL,
        .max_message = WIRE_MAX_BYTES,
        .timeout_ms = LINK_CONNECT_TIMEOUT_MS,
        .ctx = l,
        .events = {.message = conn_message, .closed = conn_closed, .opened = conn_opened},
    };
    if (l->config.events.peer)
        l->config.events.peer(l->config.events.ctx, &config.peer);
    l->state = STATE_CONNECTING;
    l->reason[0] = '\0';
    if (carrier_connect(l->config.carrier, &config, &l->conn, &err) == ERR_OK)
        return;
    l->conn = NULL;
    log_trouble(l, "cannot connect", err.message);
    retry_later(l);
}

static void alarm_fired(void *ctx)
{
    struct link *l = ctx;
    switch (l->state) {
    case STATE_IDLE:
        connect_now(l);
        return;
    case STATE_GREETING:
        close_for(l, CLOSE_GOING_AWAY, "no welcome came");
        return;
    case STATE_UP:
        if (clock_mono_ms() - l->heard_ms >= LINK_SILENT_HEARTBEATS * l->heartbeat_ms)
            close_for(l, CLOSE_GOING_AWAY, "the orchestrator is silent");
        else if (send_heartbeat(l))
            alarm_set(l->config.ticker, &l->alarm, l->heartbeat_ms);
        return;
    case STATE_CONNECTING:
    case STATE_CLOSING:
    case STATE_STOPPED:
        return;
    }
}

/* ---- Life ------------------------------------------------------------------------------------ */

enum error_code link_new(const struct link_config *config, struct link **ret_link,
                         struct error *err)
{
    struct link *l = MEM_NEW(struct link);
    if (!l)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = id_random_bytes(&l->random, sizeof(l->random), err);
    if (code != ERR_OK) {
        mem_free(l);
        return code;
    }
    l->random |= 1; /* zero would stay zero */
    l->config = *config;
    l->alarm.fired = alarm_fired;
    l->alarm.ctx = l;
    *ret_link = l;
    return ERR_OK;
}

void link_start(struct link *l)
{
    assert(l->state == STATE_IDLE && !l->conn);
    connect_now(l);
}

void link_stop(struct link *l, void (*closed)(void *ctx), void *ctx)
{
    l->closed = closed;
    l->closed_ctx = ctx;
    alarm_stop(l->config.ticker, &l->alarm);
    if (!l->conn) {
        stop_done(l);
        return;
    }
    close_for(l, CLOSE_NORMAL, "the agent stops");
}

void link_free(struct link *l)
{
    if (!l)
        return;
    assert(!l->conn);
    alarm_stop(l->config.ticker, &l->alarm);
    mem_free(l);
}
