#include "common/net/net_internal.h"

#include <string.h>

struct net_segment *net_segment_new(size_t len)
{
    if (len > SIZE_MAX - LWS_PRE - sizeof(struct net_segment))
        return NULL;
    struct net_segment *segment = mem_alloc(sizeof(*segment) + LWS_PRE + len);
    if (segment == NULL)
        return NULL;
    segment->next = NULL;
    segment->len = len;
    segment->sent = 0;
    return segment;
}

unsigned char *net_segment_data(struct net_segment *segment)
{
    return segment->data + LWS_PRE;
}

static size_t segment_cost(size_t len)
{
    return sizeof(struct net_segment) + LWS_PRE + len;
}

bool net_queue_fits(const struct net_queue *queue, size_t len)
{
    return len <= NET_CONN_QUEUE_MAX && queue->cost <= NET_CONN_QUEUE_MAX - len;
}

void net_queue_push(struct net_queue *queue, struct net_segment *segment)
{
    if (queue->tail == NULL)
        queue->head = segment;
    else
        queue->tail->next = segment;
    queue->tail = segment;
    queue->bytes += segment->len;
    queue->cost += segment_cost(segment->len);
}

static void queue_pop(struct net_queue *queue)
{
    struct net_segment *segment = queue->head;
    queue->head = segment->next;
    if (queue->head == NULL)
        queue->tail = NULL;
    queue->bytes -= segment->len - segment->sent;
    queue->cost -= segment_cost(segment->len);
    mem_free(segment);
}

bool net_queue_write(struct net_queue *queue, struct lws *wsi, bool websocket)
{
    struct net_segment *segment = queue->head;
    size_t piece = segment->len - segment->sent;
    if (piece > NET_PIECE_MAX)
        piece = NET_PIECE_MAX;
    bool last = segment->sent + piece == segment->len;

    int kind = LWS_WRITE_HTTP;
    if (websocket) {
        kind = segment->sent == 0 ? LWS_WRITE_TEXT : LWS_WRITE_CONTINUATION;
        if (!last)
            kind |= LWS_WRITE_NO_FIN;
    }
    /* A later fragment's header goes over the end of the one before, which is sent or copied. */
    int n = lws_write(wsi, net_segment_data(segment) + segment->sent, piece,
                      (enum lws_write_protocol)kind);
    if (n < 0)
        return false;
    segment->sent += piece;
    queue->bytes -= piece;
    if (last)
        queue_pop(queue);
    return true;
}

void net_queue_done(struct net_queue *queue)
{
    while (queue->head != NULL)
        queue_pop(queue);
}
