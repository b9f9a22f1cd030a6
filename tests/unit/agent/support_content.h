/*
 * support_content: a server of artifacts on a test's loop that can be told to behave badly: to cut
 * its answers off, to give other bytes, to know nothing of ranges, to refuse. On 127.0.0.1, on a
 * free port.
 */
#pragma once

#include "common/plan/artifact.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum { CONTENT_MAX = 4, CONTENT_SEEN_MAX = 32 };

struct content {
    char *data;
    size_t len;
    char digest[ARTIFACT_DIGEST_BUFFER];
};

struct content_peer;

struct content_server {
    uv_loop_t *loop;
    uv_tcp_t listening;
    char url[64];
    struct content contents[CONTENT_MAX];
    size_t count;
    struct content_peer *peers;
    /* How it behaves: */
    int status;        /* answered in place of what is asked for; 0: none */
    unsigned statuses; /* to so many requests; 0: to all */
    bool no_ranges;
    bool other_bytes;
    bool silent;      /* takes requests and says nothing */
    size_t cut_bytes; /* an answer is cut off after so many; 0: it is not */
    unsigned cuts;    /* so many answers; 0: all */
    /* What was asked for: */
    unsigned requests;
    int64_t offsets[CONTENT_SEEN_MAX]; /* of each */
    char path[256];                    /* the last one's */
};

void content_start(struct content_server *s, uv_loop_t *loop);
/* Bytes that are made from `seed`. */
const struct content *content_add(struct content_server *s, size_t len, uint32_t seed);
/* Bytes of answers that are not even with the kernel. */
size_t content_unsent(const struct content_server *s);
/* The loop is run by the test afterwards. */
void content_stop(struct content_server *s);
/* After the loop has let go of it. */
void content_free(struct content_server *s);
