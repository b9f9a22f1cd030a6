/*
 * channel: what the two processes of an agent say to each other: the one that changes the host, and
 * the network's, which has no privileges and is believed nothing. A frame is the length of what
 * follows (4 bytes), a type (1 byte), the connection or request that it is about (4 bytes), and the
 * numbers and texts that its type has; all in the order of this machine.
 *
 * What comes is checked against a table of the types: who may send it, how many numbers and texts
 * it has, and how long they may be. Anything else is an error, after which nothing more is read.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/wire/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a text. */
enum {
    CHANNEL_REASON_MAX = 1024,
    CHANNEL_PEER_MAX = 128 * 1024, /* a URL, a PEM, a request's body */
    CHANNEL_ANSWER_MAX = 256 * 1024,
    CHANNEL_DATA_MAX = 64 * 1024 /* of a download, at once */
};

enum channel_kind { CHANNEL_TEXT /* without a NUL in it */, CHANNEL_BYTES /* any */ };

/* X(constant, from the network's side, numbers, texts, bytes of each text at most, what these are).
 * A number of 64 bits is two, its upper half first. */
#define CHANNEL_TYPES(X)                                                                           \
    X(CHANNEL_CONNECT, false, 2, 6, CHANNEL_PEER_MAX,                                              \
      CHANNEL_TEXT) /* max_message, timeout_ms; see CHANNEL_URL */                                 \
    X(CHANNEL_SEND, false, 0, 1, WIRE_MAX_BYTES, CHANNEL_TEXT)                                     \
    X(CHANNEL_CLOSE, false, 1, 1, CHANNEL_REASON_MAX, CHANNEL_TEXT) /* code; reason */             \
    X(CHANNEL_POST, false, 1, 6, CHANNEL_PEER_MAX, CHANNEL_TEXT) /* timeout_ms; see CHANNEL_URL */ \
    X(CHANNEL_CANCEL, false, 0, 0, 0, CHANNEL_TEXT)                                                \
    X(CHANNEL_READY, true, 0, 0, 0, CHANNEL_TEXT) /* the sandbox is closed behind it */            \
    X(CHANNEL_OPENED, true, 0, 0, 0, CHANNEL_TEXT)                                                 \
    X(CHANNEL_MESSAGE, true, 0, 1, WIRE_MAX_BYTES, CHANNEL_TEXT)                                   \
    X(CHANNEL_SENT, true, 1, 0, 0, CHANNEL_TEXT) /* so many of the messages are with the kernel */ \
    X(CHANNEL_CLOSED, true, 1, 1, CHANNEL_REASON_MAX, CHANNEL_TEXT)   /* enum net_end; reason */   \
    X(CHANNEL_ANSWERED, true, 1, 1, CHANNEL_ANSWER_MAX, CHANNEL_TEXT) /* HTTP status; body */      \
    X(CHANNEL_FAILED, true, 0, 1, CHANNEL_REASON_MAX, CHANNEL_TEXT)   /* of a request: why */      \
    X(CHANNEL_FETCH, false, 3, 5, CHANNEL_PEER_MAX,                                                \
      CHANNEL_TEXT)                               /* silence_ms, offset; see CHANNEL_URL */        \
    X(CHANNEL_MORE, false, 1, 0, 0, CHANNEL_TEXT) /* so many bytes of the data are done with */    \
    X(CHANNEL_BEGAN, true, 4, 0, 0, CHANNEL_TEXT) /* of a fetch: offset, total */                  \
    X(CHANNEL_DATA, true, 0, 1, CHANNEL_DATA_MAX, CHANNEL_BYTES)                                   \
    X(CHANNEL_FETCHED, true, 1, 1, CHANNEL_REASON_MAX,                                             \
      CHANNEL_TEXT) /* HTTP status, 0: none; why not all of it came, or nothing */

enum channel_type {
#define X(type, outside, numbers, texts, max, kind) type,
    CHANNEL_TYPES(X)
#undef X
        CHANNEL_TYPE_COUNT
};

/* The texts of CONNECT, POST and FETCH. */
enum {
    CHANNEL_URL,
    CHANNEL_CA,
    CHANNEL_FINGERPRINT,
    CHANNEL_PAIR,
    CHANNEL_PATH,
    CHANNEL_LAST /* the protocol of CONNECT, the body of POST; FETCH has none */
};

enum {
    CHANNEL_NUMBERS_MAX = 4,
    CHANNEL_TEXTS_MAX = 6,
    CHANNEL_FRAME_MAX = WIRE_MAX_BYTES + 64 * 1024,
    CHANNEL_HEADER = 4
};

struct channel_text {
    const char *data; /* with a NUL behind it; NULL: there is none */
    size_t len;
};

struct channel_frame {
    enum channel_type type;
    uint32_t id;
    uint32_t numbers[CHANNEL_NUMBERS_MAX];
    struct channel_text texts[CHANNEL_TEXTS_MAX];
};

static inline struct channel_text channel_text(const char *text, size_t len)
{
    return (struct channel_text){text, len};
}
/* Of a string; NULL is none. */
struct channel_text channel_string(const char *text);

/* A number of 64 bits, from numbers[at] on. False: it is none that an int64_t holds. */
void channel_put64(struct channel_frame *frame, size_t at, int64_t value);
bool channel_get64(const struct channel_frame *frame, size_t at, int64_t *ret_value);

/* Appends one. Check the buffer afterwards. */
void channel_encode(struct buf *b, const struct channel_frame *frame);
/* Reads one at the beginning of `data`; *ret_used is what it takes, 0: there is not all of it yet.
 * Its texts are borrowed from `data`. `outside`: it comes from the network's side. ERR_PROTOCOL. */
enum error_code channel_decode(const char *data, size_t len, bool outside,
                               struct channel_frame *ret_frame, size_t *ret_used,
                               struct error *err) MUST_CHECK;
