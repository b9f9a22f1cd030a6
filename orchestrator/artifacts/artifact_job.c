/* artifact_job: what is asked of one artifact is done in order; what may wait for the disk is done
 * on the thread pool, in pieces. */
#include "orchestrator/artifacts/artifact_internal.h"

#include "common/base/text.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { READ_PIECE = 256 * 1024 };

/* ---- On the thread pool ------------------------------------------------------------------------
 */

static bool sum_begin(struct artifact_job *job)
{
    if (job->sum != NULL)
        return true;
    job->sum = EVP_MD_CTX_new();
    job->summed_bytes = 0;
    if (job->sum != NULL && EVP_DigestInit_ex(job->sum, EVP_sha256(), NULL) == 1)
        return true;
    (void)error_set(&job->err, ERR_NO_MEMORY, NULL);
    return false;
}

static bool sum_add(struct artifact_job *job, const char *data, size_t len)
{
    job->summed_bytes += (int64_t)len;
    if (EVP_DigestUpdate(job->sum, data, len) == 1)
        return true;
    EVP_MD_CTX_free(TAKE(job->sum));
    (void)error_set(&job->err, ERR_INTERNAL, "cannot hash an artifact");
    return false;
}

static void work_begin(struct artifact_job *job)
{
    const struct artifact_entry *entry = job->entry;
    const struct artifact_store *store = entry->store;
    enum error_code code = artifact_files_room(store->dir_fd, job->record.size_bytes,
                                               store->config.free_min_bytes, &job->err);
    if (code == ERR_OK)
        code = artifact_files_begin(store->dir_fd, entry->digest, &job->record, &job->err);
    job->err.code = code;
}

/* The bytes that were written are hashed on the way, unless those before them were not. */
static void work_write(struct artifact_job *job)
{
    const struct artifact_entry *entry = job->entry;
    const struct artifact_store *store = entry->store;
    enum error_code code = artifact_files_room(store->dir_fd, (int64_t)job->len,
                                               store->config.free_min_bytes, &job->err);
    if (code == ERR_OK)
        code = artifact_files_append(store->dir_fd, entry->digest, job->offset_bytes, job->data,
                                     job->len, &job->err);
    bool follows = job->sum != NULL && job->summed_bytes == job->offset_bytes;
    if (code == ERR_OK && follows)
        (void)sum_add(job, job->data, job->len); /* else it is hashed when all of it is there */
    job->err.code = code;
}

static void sum_read(struct artifact_job *job, int fd, int64_t end)
{
    AUTO_FREE char *piece = mem_alloc(READ_PIECE);
    if (piece == NULL)
        (void)error_set(&job->err, ERR_NO_MEMORY, NULL);
    while (piece != NULL && job->summed_bytes < end) {
        int64_t left = end - job->summed_bytes;
        ssize_t len = pread(fd, piece, left < READ_PIECE ? (size_t)left : READ_PIECE,
                            (off_t)job->summed_bytes);
        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0) {
            job->lost = true;
            (void)error_errno(&job->err, len == 0 ? EIO : errno, "cannot read an artifact again");
            return;
        }
        if (!sum_add(job, piece, (size_t)len))
            return;
    }
}

static void work_sum(struct artifact_job *job)
{
    const struct artifact_entry *entry = job->entry;
    int found = -1;
    if (!sum_begin(job))
        return;
    enum error_code code =
        artifact_files_read(entry->store->dir_fd, entry->digest, false, &found, &job->err);
    AUTO_CLOSE int fd = found;
    job->err.code = code;
    int64_t end = job->summed_bytes + ARTIFACT_SUM_PIECE;
    if (code == ERR_OK)
        sum_read(job, fd, end < entry->record.size_bytes ? end : entry->record.size_bytes);
}

static bool sum_is_right(struct artifact_job *job)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned sum_len = 0;
    char digits[2 * EVP_MAX_MD_SIZE + 1] = "";
    if (EVP_DigestFinal_ex(job->sum, sum, &sum_len) == 1)
        text_hex(sum, sum_len, digits);
    if (strcmp(digits, job->entry->digest) == 0)
        return true;
    (void)error_set(&job->err, ERR_CORRUPT,
                    "what came is not " ARTIFACT_PREFIX "%s but " ARTIFACT_PREFIX
                    "%s; nothing of it was kept: begin anew",
                    job->entry->digest, digits);
    return false;
}

static void work_keep(struct artifact_job *job)
{
    const struct artifact_entry *entry = job->entry;
    int dir_fd = entry->store->dir_fd;
    if (sum_is_right(job))
        job->err.code = artifact_files_keep(dir_fd, entry->digest, &job->err);
    job->lost = job->err.code != ERR_OK;
}

static void job_work(uv_work_t *request)
{
    struct artifact_job *job = request->data;
    const struct artifact_entry *entry = job->entry;
    switch (job->work) {
    case WORK_BEGIN:
        work_begin(job);
        break;
    case WORK_WRITE:
        work_write(job);
        break;
    case WORK_SUM:
        work_sum(job);
        break;
    case WORK_KEEP:
        work_keep(job);
        break;
    case WORK_REMOVE:
        job->err.code = artifact_files_remove(entry->store->dir_fd, entry->digest, &job->err);
        break;
    }
    /* A name that says that all is there must not stay where that is not so. */
    if (job->lost)
        error_ignore(artifact_files_remove(entry->store->dir_fd, entry->digest, NULL));
}

/* ---- A job's life ------------------------------------------------------------------------------
 */

static void entry_pump(struct artifact_entry *entry);
static void job_over(uv_work_t *request, int status);

static void job_free(struct artifact_job *job)
{
    EVP_MD_CTX_free(job->sum);
    mem_free(job->data);
    mem_free(job);
}

static void job_tell(struct artifact_job *job, const struct error *err)
{
    const struct artifact_entry *entry = job->entry;
    const struct artifact_facts facts = artifact_entry_facts(entry);
    artifact_done done = job->done;
    job->done = NULL;
    if (done != NULL)
        done(job->ctx, err->code, err, entry->state == ARTIFACT_NONE ? NULL : &facts);
}

static void job_finish(struct artifact_job *job)
{
    job->entry->active = NULL;
    job_tell(job, &job->err);
    job_free(job);
}

/* The sum goes along, and comes back when the job is over. */
static void job_queue(struct artifact_job *job, enum job_work work)
{
    struct artifact_entry *entry = job->entry;
    job->work = work;
    job->request.data = job;
    job->sum = TAKE(entry->sum);
    job->summed_bytes = entry->summed_bytes;
    entry->store->active++;
    int rc = uv_queue_work(entry->store->config.loop, &job->request, job_work, job_over);
    assert(rc == 0);
}

/* ---- Beginning ---------------------------------------------------------------------------------
 */

static enum error_code begin_fits(struct artifact_job *job)
{
    const struct artifact_stats *stats = &job->entry->store->stats;
    int64_t size = job->record.size_bytes;
    long long max = (long long)stats->max_bytes;
    if (stats->count + stats->uploads >= ARTIFACT_COUNT_MAX)
        return error_set(&job->err, ERR_LIMIT,
                         "there are %d artifacts, which is the most there may be: delete some "
                         "(kitsune artifact delete)",
                         ARTIFACT_COUNT_MAX);
    if (stats->uploads >= ARTIFACT_UPLOADS_MAX)
        return error_set(&job->err, ERR_LIMIT,
                         "%d uploads are under way already: wait, or delete those that nobody goes "
                         "on with (kitsune artifact list)",
                         ARTIFACT_UPLOADS_MAX);
    if (size > ARTIFACT_SIZE_MAX || (max > 0 && size > max))
        return error_set(&job->err, ERR_LIMIT,
                         "it has %lld bytes, and all artifacts together may have %lld "
                         "(--artifact-max-size)",
                         (long long)size, max);
    if (max > 0 && size > max - stats->bytes)
        return error_set(&job->err, ERR_NO_SPACE,
                         "the artifacts that are there have %lld of the %lld bytes that they may "
                         "have (--artifact-max-size), and %lld more do not fit: delete some "
                         "(kitsune artifact delete)",
                         (long long)stats->bytes, max, (long long)size);
    return ERR_OK;
}

static void begin_start(struct artifact_job *job)
{
    struct artifact_entry *entry = job->entry;
    if (entry->state == ARTIFACT_NONE && begin_fits(job) == ERR_OK) {
        entry->record = job->record;
        artifact_entry_count(entry, ARTIFACT_PART);
        job_queue(job, WORK_BEGIN);
        return;
    }
    if (entry->state != ARTIFACT_NONE && entry->record.size_bytes != job->record.size_bytes)
        (void)error_set(&job->err, ERR_CONFLICT,
                        "it has %lld bytes here, and not %lld: if those are wrong, delete it "
                        "(kitsune artifact delete) and begin anew",
                        (long long)entry->record.size_bytes, (long long)job->record.size_bytes);
    job_finish(job);
}

static void begin_over(struct artifact_job *job)
{
    struct artifact_entry *entry = job->entry;
    if (job->err.code != ERR_OK) {
        artifact_entry_uncount(entry, ARTIFACT_PART);
    } else {
        entry->state = ARTIFACT_PART;
        entry->offset_bytes = 0;
        entry->heard_ms = (int64_t)uv_now(entry->store->config.loop);
        /* Should memory be out, it is hashed when all of it is there. */
        entry->sum = EVP_MD_CTX_new();
        entry->summed_bytes = 0;
        if (entry->sum != NULL && EVP_DigestInit_ex(entry->sum, EVP_sha256(), NULL) != 1)
            EVP_MD_CTX_free(TAKE(entry->sum));
    }
    job_finish(job);
}

/* ---- A piece -----------------------------------------------------------------------------------
 */

static enum error_code piece_check(struct artifact_job *job)
{
    const struct artifact_entry *entry = job->entry;
    int64_t left = entry->record.size_bytes - entry->offset_bytes;
    if (entry->state == ARTIFACT_NONE)
        return error_set(&job->err, ERR_NOT_FOUND, "no upload of " ARTIFACT_PREFIX "%s was begun",
                         entry->digest);
    if (job->offset_bytes != entry->offset_bytes)
        return error_set(&job->err, ERR_CONFLICT, "it goes on at %lld, and not at %lld",
                         (long long)entry->offset_bytes, (long long)job->offset_bytes);
    if ((int64_t)job->len > left)
        return error_set(&job->err, ERR_INVALID,
                         "the upload was begun with %lld bytes, of which %lld are missing: %zu are "
                         "too many",
                         (long long)entry->record.size_bytes, (long long)left, job->len);
    return ERR_OK;
}

static void piece_start(struct artifact_job *job)
{
    const struct artifact_entry *entry = job->entry;
    bool has_all = entry->offset_bytes == entry->record.size_bytes;
    bool nothing_to_do = job->len == 0 && !has_all;
    if (entry->state == ARTIFACT_WHOLE || piece_check(job) != ERR_OK || nothing_to_do)
        job_finish(job);
    else
        job_queue(job, job->len > 0 ? WORK_WRITE : WORK_SUM);
}

static void piece_lost(struct artifact_job *job)
{
    struct artifact_entry *entry = job->entry;
    artifact_entry_uncount(entry, ARTIFACT_PART);
    entry->state = ARTIFACT_NONE;
    EVP_MD_CTX_free(TAKE(entry->sum));
    job_finish(job);
}

static void piece_kept(struct artifact_job *job)
{
    struct artifact_entry *entry = job->entry;
    artifact_entry_uncount(entry, ARTIFACT_PART);
    entry->state = ARTIFACT_WHOLE;
    artifact_entry_count(entry, ARTIFACT_WHOLE);
    EVP_MD_CTX_free(TAKE(entry->sum));
    job_finish(job);
}

static void piece_over(struct artifact_job *job)
{
    struct artifact_entry *entry = job->entry;
    int64_t size = entry->record.size_bytes;
    if (job->lost) {
        piece_lost(job);
        return;
    }
    if (job->err.code != ERR_OK) {
        job_finish(job);
        return;
    }
    if (job->work == WORK_KEEP) {
        piece_kept(job);
        return;
    }
    if (job->work == WORK_WRITE) {
        entry->offset_bytes += (int64_t)job->len;
        entry->heard_ms = (int64_t)uv_now(entry->store->config.loop);
    }
    if (entry->offset_bytes < size)
        job_finish(job);
    else
        job_queue(job, entry->sum != NULL && entry->summed_bytes == size ? WORK_KEEP : WORK_SUM);
}

/* ---- Removing ----------------------------------------------------------------------------------
 */

static void delete_start(struct artifact_job *job)
{
    struct artifact_entry *entry = job->entry;
    if (entry->state != ARTIFACT_NONE) {
        entry->leaving = true;
        job_queue(job, WORK_REMOVE);
        return;
    }
    entry->leaving = false;
    (void)error_set(&job->err, ERR_NOT_FOUND, "there is no artifact " ARTIFACT_PREFIX "%s",
                    entry->digest);
    job_finish(job);
}

static void delete_over(struct artifact_job *job)
{
    struct artifact_entry *entry = job->entry;
    entry->leaving = false;
    if (job->err.code == ERR_OK) {
        artifact_entry_uncount(entry, entry->state);
        entry->state = ARTIFACT_NONE;
        EVP_MD_CTX_free(TAKE(entry->sum));
    }
    job_finish(job);
}

/* ---- One after the other -----------------------------------------------------------------------
 */

static void job_over(uv_work_t *request, int status)
{
    struct artifact_job *job = request->data;
    struct artifact_entry *entry = job->entry;
    struct artifact_store *store = entry->store;
    store->active--;
    if (store->closed) {
        job_free(job);
        artifact_store_end(store);
        return;
    }
    assert(status == 0); /* nothing of it is ever cancelled */
    entry->sum = TAKE(job->sum);
    entry->summed_bytes = job->summed_bytes;
    switch (job->kind) {
    case JOB_BEGIN:
        begin_over(job);
        break;
    case JOB_PIECE:
        piece_over(job);
        break;
    case JOB_DELETE:
        delete_over(job);
        break;
    }
    entry_pump(entry);
}

static void job_start(struct artifact_job *job)
{
    switch (job->kind) {
    case JOB_BEGIN:
        begin_start(job);
        break;
    case JOB_PIECE:
        piece_start(job);
        break;
    case JOB_DELETE:
        delete_start(job);
        break;
    }
}

/* Whoever is told may ask for more. */
static void entry_pump(struct artifact_entry *entry)
{
    if (entry->pumping)
        return;
    entry->pumping = true;
    while (entry->active == NULL && entry->waiting != NULL) {
        struct artifact_job *job = entry->waiting;
        entry->waiting = job->next;
        entry->active = job;
        job_start(job);
    }
    entry->pumping = false;
    artifact_entry_drop(entry);
}

/* What removes one is known from the moment when it is asked for. */
static void job_enter(struct artifact_job *job)
{
    struct artifact_entry *entry = job->entry;
    job->next = NULL;
    if (entry->waiting == NULL)
        entry->waiting = job;
    else
        entry->waiting_last->next = job;
    entry->waiting_last = job;
    if (job->kind == JOB_DELETE && entry->state != ARTIFACT_NONE)
        entry->leaving = true;
    entry_pump(entry);
}

/* Takes `data` over. */
static void job_ask(struct artifact_store *store, const char *digest,
                    const struct artifact_job *what)
{
    struct artifact_entry *entry = artifact_entry_get(store, digest);
    struct artifact_job *job = entry == NULL ? NULL : MEM_NEW(struct artifact_job);
    if (job == NULL) {
        struct error err = {0};
        mem_free(what->data);
        if (entry != NULL)
            artifact_entry_drop(entry);
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
        if (what->done != NULL)
            what->done(what->ctx, err.code, &err, NULL);
        return;
    }
    *job = *what;
    job->entry = entry;
    job_enter(job);
}

void artifact_jobs_cancel(struct artifact_entry *entry)
{
    struct artifact_job *waiting = TAKE(entry->waiting);
    struct error why = {0};
    (void)error_set(&why, ERR_CANCELLED, "the orchestrator is stopping");
    if (entry->active != NULL)
        job_tell(entry->active, &why);
    while (waiting != NULL) {
        struct artifact_job *job = waiting;
        waiting = job->next;
        job_tell(job, &why);
        job_free(job);
    }
}

/* ---- What can be asked -------------------------------------------------------------------------
 */

void artifact_store_begin(struct artifact_store *store, const struct artifact_wish *wish,
                          artifact_done done, void *ctx)
{
    struct artifact_job job = {.kind = JOB_BEGIN, .done = done, .ctx = ctx};
    job.record.size_bytes = wish->size_bytes;
    job.record.created_ms = wish->now_ms;
    if (wish->name != NULL)
        memcpy(job.record.name, wish->name, strnlen(wish->name, ARTIFACT_NAME_MAX));
    if (wish->by != NULL)
        memcpy(job.record.by, wish->by, strnlen(wish->by, ID_MAX));
    job_ask(store, wish->digest, &job);
}

void artifact_store_piece(struct artifact_store *store, const struct artifact_piece *piece,
                          artifact_done done, void *ctx)
{
    const struct artifact_job job = {.kind = JOB_PIECE,
                                     .done = done,
                                     .ctx = ctx,
                                     .offset_bytes = piece->offset_bytes,
                                     .data = piece->data,
                                     .len = piece->len};
    job_ask(store, piece->digest, &job);
}

void artifact_store_delete(struct artifact_store *store, const char *digest, artifact_done done,
                           void *ctx)
{
    const struct artifact_job job = {.kind = JOB_DELETE, .done = done, .ctx = ctx};
    job_ask(store, digest, &job);
}
