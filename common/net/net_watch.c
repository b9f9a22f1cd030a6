/*
 * While lws writes an answer it does not look at what comes in: a peer that goes away, or sends on,
 * would keep the socket readable and the loop busy. So a long answer's socket is watched here
 * through a second descriptor of its own, and the connection ends when anything comes.
 */
#include "common/net/net_internal.h"

#include <fcntl.h>
#include <unistd.h>

struct net_watch {
    uv_poll_t poll;
    struct net_request *req; /* NULL: stopped */
    struct net *net;
    int fd;
};

static void on_watch_closed(uv_handle_t *handle)
{
    struct net_watch *watch = handle->data;
    struct net *net = watch->net;
    (void)close(watch->fd);
    mem_free(watch);
    net->watches--;
    net_check_done(net);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct net_watch *watch = poll->data;
    struct net_request *req = watch->req;
    (void)uv_poll_stop(poll);
    if (req == NULL)
        return;
    req->dropping = true;
    net_kill(req->net, req->wsi);
}

void net_watch_start(struct net_request *req)
{
    if (req->watch != NULL)
        return;
    struct net_watch *watch = MEM_NEW(struct net_watch);
    if (watch == NULL)
        return;
    watch->fd = fcntl(lws_get_socket_fd(req->wsi), F_DUPFD_CLOEXEC, 0);
    if (watch->fd < 0 || uv_poll_init_socket(req->net->loop, &watch->poll, watch->fd) != 0) {
        if (watch->fd >= 0)
            (void)close(watch->fd);
        mem_free(watch);
        return;
    }
    watch->poll.data = watch;
    watch->net = req->net;
    watch->req = req;
    req->watch = watch;
    req->net->watches++;
    (void)uv_poll_start(&watch->poll, UV_READABLE | UV_DISCONNECT, on_readable);
}

void net_watch_stop(struct net_request *req)
{
    if (req->watch == NULL)
        return;
    req->watch->req = NULL;
    uv_close((uv_handle_t *)&req->watch->poll, on_watch_closed);
    req->watch = NULL;
}
