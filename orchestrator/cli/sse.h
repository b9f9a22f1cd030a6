/*
 * sse: reads server-sent events from bytes that come in any pieces.
 *
 *     sse_feed(s, bytes, len, &err);
 *     while (sse_next(s, &event)) ...
 *
 * Pure. Bounded: an event, or a line, longer than SSE_MAX_EVENT is an error. Threading: one thread
 * at a time. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    SSE_MAX_EVENT = 4 * 1024 * 1024, /* bytes of one event's data, and of one line */
    SSE_MAX_NAME = 128 /* bytes of an event's type or id; longer ones are passed over */
};

struct sse_event {
    const char *type; /* "message" when the server named none */
    const char *id; /* the last id seen, of this event or an earlier one; "" when there was none */
    bool has_id;    /* this event brought the id */
    const char *data; /* lines joined by newlines */
    size_t len;
};

struct sse {
    struct buf in;   /* not taken apart yet */
    size_t pos;      /* of `in`: where the next line begins */
    size_t scanned;  /* of `in`: no line end before it */
    struct buf data; /* of the event being read */
    char type[SSE_MAX_NAME + 1];
    char id[SSE_MAX_NAME + 1];
    bool has_id;
    bool has_data;
    bool given;   /* `data` was handed out and is to be forgotten */
    bool begun;   /* the first bytes were looked at for a byte order mark */
    bool skip_lf; /* the last line ended in CR: a LF that follows belongs to it */
    enum error_code failed;
};

#define SSE_INIT ((struct sse){0})

/* Takes bytes in. ERR_NO_MEMORY; ERR_LIMIT: an event or a line is too long; nothing more comes. */
enum error_code sse_feed(struct sse *s, const char *bytes, size_t len,
                         struct error *err) MUST_CHECK;
/* The next whole event, borrowed until the next call; false when more bytes are needed or the
 * bounds were passed (then sse_feed fails). */
bool sse_next(struct sse *s, struct sse_event *ret_event);
void sse_done(struct sse *s);
