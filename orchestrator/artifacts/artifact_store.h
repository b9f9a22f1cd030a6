/*
 * artifact_store: content that plans name by its SHA-256, on the orchestrator's disk.
 *
 * DIR/artifacts has a file for each, named by its digits, HEX; HEX.part while it is being uploaded;
 * and beside either HEX.json with what people want to know of it. A name without .part is proof
 * that all of it is there: it was hashed, synced, and renamed, and the folder synced, before
 * anybody is told. An upload goes on where it was after the program has died; whatever a crash of
 * the machine has made of its bytes is found when it is hashed.
 *
 * What is asked about one artifact is done in the order in which it was asked. All that may wait
 * for the disk is done on libuv's thread pool, a piece at a time, so that a large file keeps
 * neither the loop nor the pool.
 *
 * Threading: the loop's thread. I/O: DIR/artifacts.
 */
#pragma once

#include "common/base/error.h"
#include "common/base/id.h"
#include "common/plan/artifact.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct artifact_store;

enum {
    ARTIFACT_PIECE_MAX = 4 * 1024 * 1024, /* bytes of one piece of an upload */
    ARTIFACT_COUNT_MAX = 10000,           /* artifacts, uploads among them */
    ARTIFACT_UPLOADS_MAX = 64,            /* uploads begun and not whole */
    ARTIFACT_NAME_MAX = 255,              /* bytes */
    ARTIFACT_EXPIRE_EVERY_MS = 3600 * 1000,
    ARTIFACT_STALE_MS = 24 * 3600 * 1000,  /* without a piece: then an upload is removed */
    ARTIFACT_FREE_MIN = 64 * 1024 * 1024,  /* bytes of the disk that are left to the journal */
    ARTIFACT_SUM_PIECE = 32 * 1024 * 1024, /* bytes hashed before others have the thread */
    ARTIFACT_PREFIX_MIN = 4                /* digits that may stand for all of them */
};
#define ARTIFACT_SIZE_MAX (INT64_C(1) << 50) /* of one, whatever the store may hold */

struct artifact_store_config {
    uv_loop_t *loop;
    const char *dir;        /* the data directory; DIR/artifacts is made when it is not there */
    int64_t max_bytes;      /* of all together, those under way in full; 0: no limit */
    int64_t free_min_bytes; /* ARTIFACT_FREE_MIN, but for tests */
    int64_t stale_ms;       /* ARTIFACT_STALE_MS, the same */
};

/* Borrowed until the next call. */
struct artifact_facts {
    const char *digest; /* 64 digits */
    const char *name;   /* for people; "": none */
    const char *by;     /* who began to upload it; "": not known */
    int64_t size_bytes;
    int64_t offset_bytes; /* so many are there */
    int64_t created_ms;   /* wall clock, when it was begun; 0: not known */
    bool whole;
};

/* Looks at what is there: uploads under way are taken over, and what belongs to nothing is removed.
 * ERR_DENIED, ERR_IO: with the path. Caller owns. */
enum error_code artifact_store_open(const struct artifact_store_config *config,
                                    struct artifact_store **ret_store,
                                    struct error *err) MUST_CHECK;
/* Whoever waits is told ERR_CANCELLED here. It is freed, and the loop free of it, once what is
 * under way on the thread pool has ended. NULL is fine. */
void artifact_store_close(struct artifact_store *store);

/* How something ended: once for each call below, perhaps before that returns. `facts` is as it is
 * now, NULL when there is no such artifact. */
typedef void (*artifact_done)(void *ctx, enum error_code result, const struct error *err,
                              const struct artifact_facts *facts);

struct artifact_wish {
    const char *digest; /* 64 digits; copied as all of these */
    const char *name;   /* NULL: none. The one that was given first stays */
    const char *by;     /* NULL: not known */
    int64_t size_bytes; /* at most ARTIFACT_SIZE_MAX */
    int64_t now_ms;     /* wall clock */
};
/* Begins an upload, or says how far the one that is there has come; of one that is whole it says
 * that. ERR_CONFLICT: it has another size. ERR_LIMIT: larger than all may be together, or too many.
 * ERR_NO_SPACE: the limit of all together, or the disk. */
void artifact_store_begin(struct artifact_store *store, const struct artifact_wish *wish,
                          artifact_done done, void *ctx);

struct artifact_piece {
    const char *digest;
    int64_t offset_bytes; /* where it belongs: as far as the upload has come */
    char *data;           /* taken over in any case; mem_free */
    size_t len;           /* 0: of an upload that has all its bytes, to have it end */
};
/* Takes one piece; with the last one the whole is hashed and kept. Of one that is whole already it
 * does nothing. ERR_NOT_FOUND: nothing was begun. ERR_CONFLICT: not the place where it goes on, see
 * facts. ERR_INVALID: more than its size. ERR_CORRUPT: it is not what it was said to be; nothing is
 * left of it. ERR_NO_SPACE, ERR_IO: nothing of the piece counts; where the last one was being kept,
 * nothing is left of the upload, which facts tell. */
void artifact_store_piece(struct artifact_store *store, const struct artifact_piece *piece,
                          artifact_done done, void *ctx);

/* Removes one, or an upload of it. It cannot be found from this call on, until that has failed.
 * Whoever reads it reads on. ERR_NOT_FOUND, ERR_IO. */
void artifact_store_delete(struct artifact_store *store, const char *digest, artifact_done done,
                           void *ctx);
/* Removes uploads that nobody has gone on with for long; done by itself every now and then. */
void artifact_store_expire(struct artifact_store *store);

/* Whole, or under way. */
bool artifact_store_find(const struct artifact_store *store, const char *digest,
                         struct artifact_facts *ret_facts);
/* The digits that begin so, with or without "sha256:" in front. ERR_NOT_FOUND; ERR_CONFLICT:
 * several do; ERR_INVALID: too few digits, or none. */
enum error_code artifact_store_resolve(const struct artifact_store *store, const char *prefix,
                                       char ret_digest[ARTIFACT_DIGEST_BUFFER],
                                       struct error *err) MUST_CHECK;
/* In the order of their digits, those after `after` (NULL: from the first), until `each` is false.
 */
enum error_code artifact_store_each(const struct artifact_store *store, const char *after,
                                    bool (*each)(void *ctx, const struct artifact_facts *facts),
                                    void *ctx, struct error *err) MUST_CHECK;

struct artifact_stats {
    size_t count;   /* whole */
    size_t uploads; /* under way */
    int64_t bytes;  /* of both, those under way in full */
    int64_t max_bytes;
};
struct artifact_stats artifact_store_stats(const struct artifact_store *store);

/* ---- Reading -----------------------------------------------------------------------------------
 */

struct artifact_reader;
enum { ARTIFACT_READ_MAX = 128 * 1024 /* bytes read in one go */ };

/* Of a whole one. ERR_NOT_FOUND, ERR_IO, ERR_NO_MEMORY. Caller owns. */
enum error_code artifact_reader_open(struct artifact_store *store, const char *digest,
                                     struct artifact_reader **ret_reader,
                                     struct error *err) MUST_CHECK;
/* Reads at most `len` (and ARTIFACT_READ_MAX) bytes on the thread pool; one read at a time. `done`
 * comes later: with the bytes, borrowed until it returns, or with 0 of them where there are no
 * more, or ERR_IO. */
void artifact_reader_read(struct artifact_reader *reader, int64_t offset_bytes, size_t len,
                          void (*done)(void *ctx, enum error_code result, const char *data,
                                       size_t len),
                          void *ctx);
/* `done` is not called any more. NULL is fine. */
void artifact_reader_close(struct artifact_reader *reader);
