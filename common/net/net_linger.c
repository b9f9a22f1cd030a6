/*
 * Closing a socket that has something unread resets the connection, and takes from the peer what it
 * had not read yet: the reason why it is refused. So its last words get some time.
 */
#include "common/net/net_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LINGERS_MAX = 32, /* at once; others are closed at once */
    READ_PIECE = 4096,
    READS_PER_TURN = 8
};

struct net_linger {
    struct net *net;
    struct net_linger *prev;
    struct net_linger *next;
    uv_poll_t poll;
    uv_timer_t timer;
    int fd;
    unsigned handles; /* not yet closed */
    bool closing;
};

static void on_linger_closed(uv_handle_t *handle)
{
    struct net_linger *linger = handle->data;
    struct net *net = linger->net;
    if (--linger->handles > 0)
        return;
    (void)close(linger->fd);
    mem_free(linger);
    net->linger_count--;
    net_check_done(net);
}

static void linger_close(struct net_linger *linger)
{
    if (linger->closing)
        return;
    linger->closing = true;
    if (linger->prev != NULL)
        linger->prev->next = linger->next;
    else
        linger->net->lingers = linger->next;
    if (linger->next != NULL)
        linger->next->prev = linger->prev;
    uv_close((uv_handle_t *)&linger->poll, on_linger_closed);
    uv_close((uv_handle_t *)&linger->timer, on_linger_closed);
}

static void on_linger_timer(uv_timer_t *timer)
{
    linger_close(timer->data);
}

static void on_linger_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct net_linger *linger = poll->data;
    ssize_t n = status < 0 ? 0 : 1;
    for (int i = 0; n > 0 && i < READS_PER_TURN; i++) {
        char piece[READ_PIECE];
        n = recv(linger->fd, piece, sizeof(piece), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
    }
    if (n <= 0)
        linger_close(linger);
}

/* A second descriptor of the socket, with its writing side shut down; -1: it does not work out. */
static int last_words_send(int fd, const char *last_words)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -1;
    if (last_words != NULL)
        (void)send(own, last_words, strlen(last_words), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (shutdown(own, SHUT_WR) == 0)
        return own;
    (void)close(own);
    return -1;
}

void net_linger_start(struct net *net, int fd, const char *last_words)
{
    if (net->closing || net->linger_count == LINGERS_MAX)
        return;
    struct net_linger *linger = MEM_NEW(struct net_linger);
    int own = linger == NULL ? -1 : last_words_send(fd, last_words);
    if (own < 0 || uv_poll_init_socket(net->loop, &linger->poll, own) != 0) {
        mem_free(linger);
        if (own >= 0)
            (void)close(own);
        return;
    }
    (void)uv_timer_init(net->loop, &linger->timer);
    linger->net = net;
    linger->fd = own;
    linger->handles = 2;
    linger->poll.data = linger;
    linger->timer.data = linger;
    linger->next = net->lingers;
    if (net->lingers != NULL)
        net->lingers->prev = linger;
    net->lingers = linger;
    net->linger_count++;
    (void)uv_poll_start(&linger->poll, UV_READABLE | UV_DISCONNECT, on_linger_readable);
    (void)uv_timer_start(&linger->timer, on_linger_timer, NET_LINGER_MS, 0);
}

void net_linger_stop_all(struct net *net)
{
    while (net->lingers != NULL)
        linger_close(net->lingers);
}
