/* artifact_store: what there is, and its life. */
#include "orchestrator/artifacts/artifact_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- Entries -----------------------------------------------------------------------------------
 */

/* uthash's macros unfold into more than a function may hold; these are all there is of them here.
 */
/* NOLINTBEGIN(readability-function-size) */
struct artifact_entry *artifact_entry_find(const struct artifact_store *store, const char *digest)
{
    struct artifact_entry *entry = NULL;
    HASH_FIND_STR(store->entries, digest, entry);
    return entry;
}

static bool entry_add(struct artifact_store *store, struct artifact_entry *entry)
{
    HASH_ADD_STR(store->entries, digest, entry);
    return entry->hh.tbl != NULL;
}

static void entry_remove(struct artifact_entry *entry)
{
    HASH_DEL(entry->store->entries, entry);
}
/* NOLINTEND(readability-function-size) */

struct artifact_entry *artifact_entry_get(struct artifact_store *store, const char *digest)
{
    struct artifact_entry *entry = artifact_entry_find(store, digest);
    if (entry != NULL)
        return entry;
    entry = MEM_NEW(struct artifact_entry);
    if (entry == NULL)
        return NULL;
    entry->store = store;
    memcpy(entry->digest, digest, ARTIFACT_DIGEST_DIGITS);
    if (entry_add(store, entry))
        return entry;
    mem_free(entry);
    return NULL;
}

static void entry_free(struct artifact_entry *entry)
{
    entry_remove(entry);
    EVP_MD_CTX_free(entry->sum);
    mem_free(entry);
}

void artifact_entry_drop(struct artifact_entry *entry)
{
    if (entry->state == ARTIFACT_NONE && entry->active == NULL && entry->waiting == NULL)
        entry_free(entry);
}

struct artifact_facts artifact_entry_facts(const struct artifact_entry *entry)
{
    return (struct artifact_facts){
        .digest = entry->digest,
        .name = entry->record.name,
        .by = entry->record.by,
        .size_bytes = entry->record.size_bytes,
        .offset_bytes = entry->offset_bytes,
        .created_ms = entry->record.created_ms,
        .whole = entry->state == ARTIFACT_WHOLE,
    };
}

void artifact_entry_count(struct artifact_entry *entry, enum artifact_state as)
{
    struct artifact_stats *stats = &entry->store->stats;
    stats->count += as == ARTIFACT_WHOLE;
    stats->uploads += as == ARTIFACT_PART;
    stats->bytes += entry->record.size_bytes;
}

void artifact_entry_uncount(struct artifact_entry *entry, enum artifact_state as)
{
    struct artifact_stats *stats = &entry->store->stats;
    stats->count -= as == ARTIFACT_WHOLE;
    stats->uploads -= as == ARTIFACT_PART;
    stats->bytes -= entry->record.size_bytes;
}

static bool entry_is_there(const struct artifact_entry *entry)
{
    return entry != NULL && entry->state != ARTIFACT_NONE && !entry->leaving;
}

/* ---- Life --------------------------------------------------------------------------------------
 */

static enum error_code store_take(void *ctx, const struct artifact_found *found, struct error *err)
{
    struct artifact_store *store = ctx;
    struct artifact_entry *entry = artifact_entry_get(store, found->digest);
    if (entry == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (entry->state != ARTIFACT_NONE) /* seen already */
        return ERR_OK;
    entry->state = found->whole ? ARTIFACT_WHOLE : ARTIFACT_PART;
    entry->record = found->record;
    entry->offset_bytes = found->offset_bytes;
    entry->heard_ms = (int64_t)uv_now(store->config.loop);
    artifact_entry_count(entry, entry->state);
    return ERR_OK;
}

static void store_timer(uv_timer_t *timer)
{
    artifact_store_expire(timer->data);
}

static enum error_code store_start(struct artifact_store *store, struct error *err)
{
    if (uv_timer_init(store->config.loop, &store->timer) != 0)
        return error_set(err, ERR_UNAVAILABLE, "a timer cannot be set up");
    store->timer_open = true;
    store->timer.data = store;
    (void)uv_timer_start(&store->timer, store_timer, ARTIFACT_EXPIRE_EVERY_MS,
                         ARTIFACT_EXPIRE_EVERY_MS);
    return ERR_OK;
}

enum error_code artifact_store_open(const struct artifact_store_config *config,
                                    struct artifact_store **ret_store, struct error *err)
{
    struct artifact_store *store = MEM_NEW(struct artifact_store);
    if (store == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    store->config = *config;
    store->config.dir = NULL;
    store->stats.max_bytes = config->max_bytes;
    store->dir_fd = -1;
    enum error_code code = artifact_files_open(config->dir, &store->dir_fd, err);
    if (code == ERR_OK)
        code = artifact_files_scan(store->dir_fd, store_take, store, err);
    if (code == ERR_OK)
        code = store_start(store, err);
    if (code != ERR_OK) {
        store->closed = true;
        artifact_store_end(store);
        return code;
    }
    *ret_store = store;
    return ERR_OK;
}

static void timer_closed(uv_handle_t *handle)
{
    struct artifact_store *store = handle->data;
    store->timer_open = false;
    artifact_store_end(store);
}

void artifact_store_end(struct artifact_store *store)
{
    if (!store->closed || store->active > 0 || store->timer_open)
        return;
    while (store->entries != NULL)
        entry_free(store->entries);
    if (store->dir_fd >= 0)
        (void)close(store->dir_fd);
    mem_free(store);
}

void artifact_store_close(struct artifact_store *store)
{
    if (store == NULL)
        return;
    store->closed = true;
    for (struct artifact_entry *entry = store->entries; entry != NULL; entry = entry->hh.next)
        artifact_jobs_cancel(entry);
    uv_close((uv_handle_t *)&store->timer, timer_closed);
}

void artifact_store_expire(struct artifact_store *store)
{
    int64_t now_ms = (int64_t)uv_now(store->config.loop);
    struct artifact_entry *next = NULL;
    for (struct artifact_entry *entry = store->entries; entry != NULL; entry = next) {
        next = entry->hh.next;
        if (entry->state == ARTIFACT_PART && entry->active == NULL &&
            now_ms - entry->heard_ms >= store->config.stale_ms)
            artifact_store_delete(store, entry->digest, NULL, NULL);
    }
}

/* ---- What there is -----------------------------------------------------------------------------
 */

bool artifact_store_find(const struct artifact_store *store, const char *digest,
                         struct artifact_facts *ret_facts)
{
    const struct artifact_entry *entry = artifact_entry_find(store, digest);
    if (!entry_is_there(entry))
        return false;
    *ret_facts = artifact_entry_facts(entry);
    return true;
}

static enum error_code resolve_check(const char *digits, struct error *err)
{
    size_t len = strlen(digits);
    if (len >= ARTIFACT_PREFIX_MIN && len <= ARTIFACT_DIGEST_DIGITS &&
        strspn(digits, "0123456789abcdef") == len)
        return ERR_OK;
    return error_set(err, ERR_INVALID,
                     "\"%.80s\": an artifact is named by " ARTIFACT_PREFIX
                     " and its digits, or at least the first %d of them",
                     digits, ARTIFACT_PREFIX_MIN);
}

enum error_code artifact_store_resolve(const struct artifact_store *store, const char *prefix,
                                       char ret_digest[ARTIFACT_DIGEST_BUFFER], struct error *err)
{
    static const char named[] = ARTIFACT_PREFIX;
    const char *digits =
        prefix + (strncmp(prefix, named, sizeof(named) - 1) == 0 ? sizeof(named) - 1 : 0);
    const struct artifact_entry *found = NULL;
    enum error_code code = resolve_check(digits, err);
    if (code != ERR_OK)
        return code;
    for (const struct artifact_entry *e = store->entries; e != NULL; e = e->hh.next) {
        if (!entry_is_there(e) || strncmp(e->digest, digits, strlen(digits)) != 0)
            continue;
        if (found != NULL)
            return error_set(err, ERR_CONFLICT,
                             "several artifacts begin with %s: %.16s and %.16s; give more digits",
                             digits, found->digest, e->digest);
        found = e;
    }
    if (found == NULL)
        return error_set(err, ERR_NOT_FOUND, "there is no artifact " ARTIFACT_PREFIX "%s", digits);
    memcpy(ret_digest, found->digest, ARTIFACT_DIGEST_BUFFER);
    return ERR_OK;
}

struct row {
    const struct artifact_entry *entry;
};

static int row_order(const void *a, const void *b)
{
    const struct row *left = a;
    const struct row *right = b;
    return strcmp(left->entry->digest, right->entry->digest);
}

enum error_code artifact_store_each(const struct artifact_store *store, const char *after,
                                    bool (*each)(void *ctx, const struct artifact_facts *facts),
                                    void *ctx, struct error *err)
{
    size_t count = 0;
    AUTO_FREE struct row *rows = mem_array(HASH_COUNT(store->entries), sizeof(*rows));
    if (rows == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (const struct artifact_entry *e = store->entries; e != NULL; e = e->hh.next) {
        if (entry_is_there(e) && (after == NULL || strcmp(e->digest, after) > 0))
            rows[count++].entry = e;
    }
    if (count > 1)
        qsort(rows, count, sizeof(*rows), row_order);
    for (size_t i = 0; i < count; i++) {
        const struct artifact_facts facts = artifact_entry_facts(rows[i].entry);
        if (!each(ctx, &facts))
            break;
    }
    return ERR_OK;
}

struct artifact_stats artifact_store_stats(const struct artifact_store *store)
{
    return store->stats;
}
