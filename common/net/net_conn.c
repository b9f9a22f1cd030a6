#include "common/net/net_internal.h"

#include "common/base/failpoint.h"
#include "common/base/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    CLOSE_NORMAL = 1000,
    CLOSE_UNACCEPTABLE = 1003,
    CLOSE_POLICY = 1008,
    CLOSE_TOO_BIG = 1009,
    CLOSE_INTERNAL = 1011
};

/* ---- Lifetime ---------------------------------------------------------------------------------
 */

struct net_conn *net_conn_new(struct net *net, const struct net_conn_events *events, void *ctx,
                              size_t max_message)
{
    struct net_conn *conn = MEM_NEW(struct net_conn);
    if (conn == NULL)
        return NULL;
    conn->entry.kind = NET_ENTRY_CONN;
    conn->net = net;
    conn->events = *events;
    conn->ctx = ctx;
    conn->max_message = max_message;
    conn->rx.max = max_message;
    conn->next = net->conns;
    if (net->conns != NULL)
        net->conns->prev = conn;
    net->conns = conn;
    return conn;
}

static void conn_unlink(struct net_conn *conn)
{
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        conn->net->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
}

void net_conn_set_reason(struct net_conn *conn, const char *reason)
{
    if (conn->reason == NULL)
        conn->reason = mem_strdup(reason == NULL ? "" : reason);
}

static void conn_detach(struct net_conn *conn)
{
    conn_unlink(conn);
    if (conn->dial != NULL)
        net_dial_abandon(conn->dial);
    conn->dial = NULL;
    if (conn->wsi != NULL)
        lws_set_opaque_user_data(conn->wsi, NULL);
    conn->wsi = NULL;
    conn->closing = true;
    net_queue_done(&conn->queue);
    buf_done(&conn->rx);
}

static void conn_free(struct net_conn *conn)
{
    mem_free(conn->identity);
    mem_free(conn->reason);
    mem_free(conn);
}

void net_conn_discard(struct net_conn *conn)
{
    conn_detach(conn);
    conn_free(conn);
}

void net_conn_finish(struct net_conn *conn, const char *reason)
{
    conn_detach(conn);
    conn->events.closed(conn->ctx, conn, conn->reason != NULL ? conn->reason : reason);
    conn_free(conn);
}

/* Gives it up at once: nothing more goes out, and closed comes from the loop. */
static void conn_drop(struct net_conn *conn, const char *reason)
{
    net_conn_set_reason(conn, reason);
    conn->closing = true;
    net_queue_done(&conn->queue);
    if (conn->dial != NULL)
        net_dial_stop(conn->dial);
    else if (conn->wsi != NULL)
        net_kill(conn->net, conn->wsi);
}

/* ---- Sending ----------------------------------------------------------------------------------
 */

enum error_code net_conn_send(struct net_conn *conn, const char *data, size_t len,
                              struct error *err)
{
    if (conn->closing)
        return error_set(err, ERR_UNAVAILABLE, "the connection is closing");
    struct net_segment *segment = NULL;
    if (net_queue_fits(&conn->queue, len))
        segment = net_segment_new(len);
    else
        conn_drop(conn, "send queue is full: the peer does not read");
    if (conn->closing)
        return error_set(err, ERR_LIMIT, "more than %d bytes wait to be sent to %s: it is dropped",
                         NET_CONN_QUEUE_MAX, conn->peer);
    if (segment == NULL) {
        /* Nobody would say it again while the connection stands. */
        conn_drop(conn, "out of memory");
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    if (len > 0)
        memcpy(net_segment_data(segment), data, len);
    bool idle = conn->queue.head == NULL;
    net_queue_push(&conn->queue, segment);
    if (idle && conn->open)
        lws_callback_on_writable(conn->wsi);
    return ERR_OK;
}

size_t net_conn_queued(const struct net_conn *conn)
{
    return conn->queue.bytes;
}

static void conn_prepare_goodbye(struct net_conn *conn)
{
    char reason[NET_REASON_MAX];
    (void)snprintf(reason, sizeof(reason), "%s", conn->reason != NULL ? conn->reason : "");
    size_t len = text_utf8_cut(reason, strlen(reason), sizeof(reason) - 1);
    lws_close_reason(conn->wsi, (enum lws_close_status)conn->close_code, (unsigned char *)reason,
                     len);
}

static int conn_writable(struct net_conn *conn)
{
    size_t before = conn->queue.bytes;
    bool had = conn->queue.head != NULL;
    while (conn->queue.head != NULL && before - conn->queue.bytes < NET_TURN_MAX &&
           !lws_partial_buffered(conn->wsi)) {
        if (!net_queue_write(&conn->queue, conn->wsi, true))
            return -1;
        FAILPOINT(FAIL_NET_SENT);
    }
    if (conn->queue.head != NULL || lws_partial_buffered(conn->wsi)) {
        lws_callback_on_writable(conn->wsi);
        return 0;
    }
    if (conn->closing) {
        /* Without a code it is being dropped, or the peer closes. To fail here would make lws cut
         * the connection without a word: it is told to begin the closing handshake instead. */
        if (conn->close_code != 0) {
            conn_prepare_goodbye(conn);
            lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
        }
        return 0;
    }
    if (had && conn->events.drained != NULL)
        conn->events.drained(conn->ctx, conn);
    return 0;
}

/* ---- Receiving --------------------------------------------------------------------------------
 */

static int conn_refuse(struct net_conn *conn, uint16_t code, const char *reason)
{
    conn->closing = true;
    conn->close_code = code;
    net_conn_set_reason(conn, reason);
    conn_prepare_goodbye(conn);
    return -1;
}

static int conn_receive(struct net_conn *conn, const char *data, size_t len)
{
    if (conn->closing)
        return 0;
    if (lws_frame_is_binary(conn->wsi))
        return conn_refuse(conn, CLOSE_UNACCEPTABLE, "only text messages are understood");
    size_t rest = lws_remaining_packet_payload(conn->wsi);
    size_t room = conn->max_message - conn->rx.len;
    if (len > room || rest > room - len)
        return conn_refuse(conn, CLOSE_TOO_BIG, "message too big");
    bool whole = rest == 0 && lws_is_final_fragment(conn->wsi);
    if (whole && conn->rx.len == 0) {
        conn->events.message(conn->ctx, conn, data, len);
        return 0;
    }
    buf_append(&conn->rx, data, len);
    if (buf_check(&conn->rx, NULL) != ERR_OK)
        return conn_refuse(conn, CLOSE_INTERNAL, "out of memory");
    if (!whole)
        return 0;
    struct buf message = conn->rx;
    conn->rx = (struct buf){.max = conn->max_message};
    conn->events.message(conn->ctx, conn, message.data, message.len);
    buf_done(&message);
    return 0;
}

static void conn_peer_closes(struct net_conn *conn, const unsigned char *data, size_t len)
{
    char reason[NET_REASON_MAX + 32] = "closed by the peer";
    if (len >= 2) {
        unsigned code = (unsigned)data[0] << 8 | data[1];
        (void)snprintf(reason, sizeof(reason), "closed by the peer: %u %.*s", code, (int)(len - 2),
                       (const char *)data + 2);
        conn->end = code == CLOSE_POLICY ? NET_END_NOT_ADMITTED : NET_END_LOST;
    }
    net_conn_set_reason(conn, reason);
    conn->closing = true;
    net_queue_done(&conn->queue);
}

int net_conn_callback(struct net_conn *conn, enum lws_callback_reasons reason, void *in, size_t len)
{
    if (conn->fetch != NULL)
        return net_fetch_callback(conn, reason, in, len);
    if (conn->get != NULL)
        return net_get_callback(conn, reason, in, len);
    switch ((int)reason) {
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return conn_receive(conn, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return conn_writable(conn);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        conn_peer_closes(conn, in, len);
        return 0;
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        net_dial_opened(conn);
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        return net_dial_failed(conn, in == NULL ? "connection failed" : in);
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_CLIENT_CLOSED:
    case LWS_CALLBACK_WSI_DESTROY:
        if (conn->dial != NULL)
            return net_dial_failed(conn, "connection lost before it was open");
        net_conn_finish(conn, "connection lost");
        return 0;
    default:
        return 0;
    }
}

/* ---- What its user does -----------------------------------------------------------------------
 */

void net_conn_close(struct net_conn *conn, uint16_t code, const char *reason)
{
    if (conn->closing)
        return;
    assert(code >= CLOSE_NORMAL);
    net_conn_set_reason(conn, reason);
    conn->closing = true;
    conn->close_code = code;
    if (!conn->open) {
        net_dial_stop(conn->dial);
        return;
    }
    lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_REASON_BASE, NET_CLOSE_SECONDS);
    net_wake(conn->net);
    lws_callback_on_writable(conn->wsi);
}

void net_conn_set_ctx(struct net_conn *conn, void *ctx)
{
    conn->ctx = ctx;
}

enum net_end net_conn_end(const struct net_conn *conn)
{
    return conn->end;
}

const char *net_conn_peer(const struct net_conn *conn)
{
    return conn->peer;
}
