/*
 * follow: the events of one rollout as they happen, across lost connections.
 *
 * A connection that is lost is made again from the last event seen, with growing pauses; each event
 * comes once. Ctrl-C becomes a result instead of the program's end while a follower is open.
 *
 * Threading: one thread; SIGINT is blocked in it from follow_open to follow_close. I/O: sockets,
 * messages on standard error.
 */
#pragma once

#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/sse.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum follow_result {
    FOLLOW_CONNECTED,   /* each time that a connection stands */
    FOLLOW_EVENT,       /* *ret_event is set, borrowed until the next call */
    FOLLOW_DEADLINE,    /* nothing came in time */
    FOLLOW_INTERRUPTED, /* Ctrl-C */
    FOLLOW_ENDED,       /* the rollout is over, and its last event was seen */
    FOLLOW_FAILED       /* `status` is the exit status, after a message */
};

struct follow {
    struct cli *cli;
    const char *id; /* borrowed */
    int64_t last_seq;
    struct stream *stream;
    bool connected;     /* it ever was */
    int64_t lost_ms;    /* since when it is not connected; 0: it is */
    int64_t attempt_ms; /* when to connect again */
    int pause_ms;
    int status;
    /* Called before a message is written to standard error; may be NULL. */
    void (*before_message)(void *ctx);
    void *ctx;
    int signal_fd;
    sigset_t old_mask;
};

/* Follows from the event after `last_seq`. CLI_OK, or an exit status after a message. */
int follow_open(struct follow *f, struct cli *cli, const char *id, int64_t last_seq);
void follow_close(struct follow *f);
/* deadline_ms: monotonic; INT64_MAX: none. */
enum follow_result follow_next(struct follow *f, int64_t deadline_ms, struct sse_event *ret_event);
