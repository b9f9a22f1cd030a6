/*
 * output: keeps the head and the tail of a stream of any length in bounded memory.
 *
 * The first OUTPUT_HEAD_MAX bytes and the last OUTPUT_TAIL_MAX bytes are kept; what lies between is
 * counted. output_text() joins them, with a line in the middle that says how many bytes are
 * missing. Bytes that are not UTF-8 come out as U+FFFD, so the text can travel as JSON.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OUTPUT_HEAD_MAX = 32 * 1024, OUTPUT_TAIL_MAX = 32 * 1024 };

struct output {
    char *head;
    size_t head_len, head_capacity;
    char *tail; /* ring; allocated when the head is full */
    size_t tail_pos;
    uint64_t total; /* bytes ever written */
};

#define OUTPUT_INIT ((struct output){0})

enum error_code output_write(struct output *o, const void *data, size_t len,
                             struct error *err) MUST_CHECK;
/* Appends the kept text to `b`. */
void output_text(const struct output *o, struct buf *b);
/* True when bytes are missing in the middle. */
bool output_truncated(const struct output *o);
void output_done(struct output *o);
