/*
 * artifact_internal: what the files of this folder share. See artifact_store.h.
 *
 *   artifact_store.c   what there is, and its life
 *   artifact_job.c     what is asked of one artifact, in order
 *   artifact_files.c   its files, blocking
 *   artifact_reader.c  reading one
 *   artifact_check.c   whether all are what their names say; without a store
 */
#pragma once

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/artifacts/artifact_files.h"
#include "orchestrator/artifacts/artifact_store.h"

#include <openssl/evp.h>

/* Failing to add to a hash must be an error, not the end of the process. */
#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size_bytes) mem_alloc(size_bytes)
#define uthash_free(p, size_bytes) mem_free(p)
#include <uthash.h>

enum artifact_state { ARTIFACT_NONE, ARTIFACT_PART, ARTIFACT_WHOLE };

struct artifact_job;

/* One artifact, or one that is being asked about. */
struct artifact_entry {
    struct artifact_store *store;
    char digest[ARTIFACT_DIGEST_BUFFER];
    enum artifact_state state;
    bool leaving; /* being removed: nobody finds it */
    struct artifact_record record;
    int64_t offset_bytes;
    EVP_MD_CTX *sum; /* of its first `summed_bytes`; NULL: of none. With the job under way */
    int64_t summed_bytes;
    int64_t heard_ms; /* the loop's clock: when the upload was begun, or gone on with */
    struct artifact_job *active;
    struct artifact_job *waiting, *waiting_last;
    bool pumping;
    UT_hash_handle hh;
};

struct artifact_store {
    struct artifact_store_config config;
    int dir_fd;
    struct artifact_entry *entries; /* by digest */
    struct artifact_stats stats;    /* with what is being begun */
    uv_timer_t timer;
    size_t active; /* jobs on the thread pool */
    bool timer_open, closed;
};

enum job_kind { JOB_BEGIN, JOB_PIECE, JOB_DELETE };
enum job_work { WORK_BEGIN, WORK_WRITE, WORK_SUM, WORK_KEEP, WORK_REMOVE };

struct artifact_job {
    uv_work_t request;
    struct artifact_entry *entry;
    struct artifact_job *next;
    enum job_kind kind;
    artifact_done done; /* NULL: nobody waits */
    void *ctx;
    struct artifact_record record; /* to begin */
    int64_t offset_bytes;          /* a piece's */
    char *data;
    size_t len;
    /* Of the work on the thread pool: */
    enum job_work work;
    struct error err;
    EVP_MD_CTX *sum;
    int64_t summed_bytes;
    bool lost; /* what was there was removed, or cannot be trusted */
};

/* ---- artifact_store.c --------------------------------------------------------------------------
 */

/* Finds or adds one in the state NONE. NULL when memory is out. */
struct artifact_entry *artifact_entry_get(struct artifact_store *store, const char *digest);
struct artifact_entry *artifact_entry_find(const struct artifact_store *store, const char *digest);
/* Frees one that is nothing and of which nothing is asked. */
void artifact_entry_drop(struct artifact_entry *entry);
struct artifact_facts artifact_entry_facts(const struct artifact_entry *entry);
/* It takes room from now on, and none any more. */
void artifact_entry_count(struct artifact_entry *entry, enum artifact_state as);
void artifact_entry_uncount(struct artifact_entry *entry, enum artifact_state as);
/* After close, when nothing is under way any more. */
void artifact_store_end(struct artifact_store *store);

/* ---- artifact_job.c ----------------------------------------------------------------------------
 */

/* Has what waits for this artifact told that the store is closed. */
void artifact_jobs_cancel(struct artifact_entry *entry);
