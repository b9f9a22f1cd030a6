/*
 * writer: one thread that makes work durable in groups.
 *
 * While one transaction commits, the next collects: everything submitted meanwhile goes into one
 * transaction, so one fsync serves many. Order of submission is order of application and of
 * completion. Work is the caller's own struct with a writer_work embedded.
 *
 * A transaction fails as a whole. Out of space (ERR_NO_SPACE) is not the end: the work stays at the
 * head of the queue, writer_stalled() turns true, and the transaction is tried again when
 * writer_retry() is called (by the owner's timer) or more work comes. Any other failure is final (a
 * failed fsync is never tried again and trusted): every work that is queued or comes later
 * completes with that error.
 *
 * A database that another process keeps locked (ERR_BUSY), or that lies on a file system that has
 * become read-only (ERR_DENIED), stalls in the same way: nothing was written, so trying again is
 * safe.
 *
 * A work whose apply says that this very work cannot be (ERR_CONFLICT, ERR_EXISTS, ERR_INVALID: any
 * code that does not speak of the storage or of memory) does not take the others with it. The group
 * is rolled back and applied anew, each work in a savepoint: that work completes with its error and
 * leaves nothing behind, the rest commits. So apply may run several times for one work, always
 * against a database without its earlier traces, and must not consume what it applies.
 *
 * Threading: new, submit, collect, retry, stop on the owner's thread; apply and wake run on the
 * writer's thread. I/O: through the db.
 */
#pragma once

#include "common/base/error.h"
#include "common/db/db.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WRITER_MAX_GROUP = 8192 }; /* works in one transaction */

struct writer_work {
    struct writer_work *next; /* the writer's while submitted */
    enum error_code (*apply)(struct db *db, struct writer_work *work, struct error *err);
    enum error_code result; /* set when collected; apply keeps its message if it is wanted */
};

struct writer;

struct writer_stats {
    uint64_t transactions; /* committed; each is one fsync of the log */
    uint64_t works;        /* applied */
    uint64_t largest_group;
    uint64_t queued; /* now waiting or under way */
};

/* Takes the connection over on success (writer_free closes it). wake(wake_ctx) is called on the
 * writer's thread when something can be collected or the stall changed; it must only signal the
 * owner's loop. */
enum error_code writer_new(struct db *db, void (*wake)(void *ctx), void *wake_ctx,
                           struct writer **ret_writer, struct error *err) MUST_CHECK;
/* Never fails; the work is the writer's until collected. */
void writer_submit(struct writer *w, struct writer_work *work);
/* All completed works in order, as a list by `next`; NULL when there is none. Each is the caller's
 * again. */
struct writer_work *writer_collect(struct writer *w);
/* False while all is well; true with the reason (in *ret_why, may be NULL) in a stall or after a
 * final failure (*ret_final). */
bool writer_stalled(struct writer *w, bool *ret_final, struct error *ret_why);
void writer_retry(struct writer *w);
/* Blocks until something can be collected or the writer rests: with nothing to do, or stalled. For
 * an orderly end; a loop uses wake. */
void writer_wait(struct writer *w);
struct writer_stats writer_stats(struct writer *w);
/* Blocks until all that was submitted is durable or has failed (a stall is tried once more and then
 * fails), ends the thread, closes the db. Works not yet collected are returned, as by
 * writer_collect. */
struct writer_work *writer_free(struct writer *w);
