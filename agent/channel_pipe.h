/*
 * channel_pipe: one end of the channel between an agent's two processes, on a socket pair.
 *
 * Threading: the loop's thread. I/O: the socket.
 */
#pragma once

#include "agent/channel.h"

#include <uv.h>

enum {
    CHANNEL_QUEUE_MAX = 48 * 1024 * 1024, /* bytes that the other end has not read */
    CHANNEL_KEEP_MAX = 256 * 1024         /* bytes of a buffer that is kept when it is empty */
};

/* Embedded; zero until it is used. */
struct channel_pipe {
    uv_pipe_t handle;
    struct buf rx;
    bool inside; /* this is the privileged process's end */
    bool closing;
    void *ctx;
    /* Its texts are borrowed for the call. */
    void (*frame)(void *ctx, const struct channel_frame *frame);
    /* Once: nothing more comes; to be closed. `reason` is NULL when the other end has closed it. */
    void (*ended)(void *ctx, const char *reason);
    void (*closed)(void *ctx);
};

/* Sets the handle up; not yet connected. */
void channel_pipe_init(struct channel_pipe *p, uv_loop_t *loop);
/* Begins to read; the handle is connected. */
enum error_code channel_pipe_start(struct channel_pipe *p, struct error *err) MUST_CHECK;
/* Queues one. ERR_LIMIT: the other end does not read; ERR_NO_MEMORY, ERR_UNAVAILABLE. */
enum error_code channel_pipe_send(struct channel_pipe *p, const struct channel_frame *frame,
                                  struct error *err) MUST_CHECK;
/* What is queued is given up; `closed` comes from the loop. */
void channel_pipe_close(struct channel_pipe *p);
