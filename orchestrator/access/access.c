/* access: life, and changes on their way to the disk. */
#include "orchestrator/access/access_internal.h"

#include "common/base/text.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BUFFER = 4096 };

DEFINE_CLEANUP(db_close, struct db)

/* ---- Secrets ------------------------------------------------------------------------------- */

enum error_code sha256_hex(const void *data, size_t len, char ret_hash[HASH_BUFFER],
                           struct error *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (EVP_Digest(data, len, digest, &size, EVP_sha256(), NULL) != 1)
        return error_set(err, ERR_NO_MEMORY, "SHA-256 is not available");
    text_hex(digest, size, ret_hash);
    return ERR_OK;
}

/* RFC 4648 section 5, without padding. */
static void base64url(const unsigned char *bytes, size_t len, char *ret)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < len; i++) {
        bits = (bits << 8) | bytes[i];
        for (held += 8; held >= 6; held -= 6)
            *ret++ = alphabet[(bits >> (held - 6)) & 63];
    }
    if (held > 0)
        *ret++ = alphabet[(bits << (6 - held)) & 63];
    *ret = '\0';
}

enum error_code secret_make(const char *prefix, char ret_secret[ACCESS_SECRET_BUFFER],
                            char ret_hash[HASH_BUFFER], struct error *err)
{
    unsigned char bytes[ACCESS_SECRET_BYTES];
    enum error_code code = id_random_bytes(bytes, sizeof(bytes), err);
    if (code != ERR_OK)
        return code;
    text_put(ret_secret, ACCESS_SECRET_BUFFER, prefix);
    base64url(bytes, sizeof(bytes), ret_secret + strlen(prefix));
    explicit_bzero(bytes, sizeof(bytes));
    return sha256_hex(ret_secret, strlen(ret_secret), ret_hash, err);
}

/* ---- Changes ------------------------------------------------------------------------------- */

void text_put(char *ret, size_t size, const char *text)
{
    size_t len = text ? strnlen(text, size) : 0;
    if (len >= size)
        len = 0;
    if (len > 0)
        memcpy(ret, text, len);
    ret[len] = '\0';
}

void bind_text(struct db_stmt *s, int index, const char *text)
{
    db_bind_text(s, index, text, text ? strlen(text) : 0);
}

struct applied {
    struct change change; /* first: what the writer has is a change */
    enum error_code (*apply)(struct db *db, struct change *change, struct error *err);
};

static enum error_code change_apply(struct db *db, struct writer_work *work, struct error *err)
{
    struct applied *applied = (struct applied *)(void *)work;
    enum error_code code = applied->apply(db, &applied->change, &applied->change.error);
    return code == ERR_OK ? code : error_set(err, code, "%s", applied->change.error.message);
}

struct change *change_new(struct access *a,
                          enum error_code (*apply)(struct db *db, struct change *change,
                                                   struct error *err),
                          access_done done, void *ctx, struct error *err)
{
    struct applied *applied = MEM_NEW(struct applied);
    if (!applied) {
        error_set(err, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    applied->apply = apply;
    applied->change.work.apply = change_apply;
    applied->change.access = a;
    applied->change.done = done;
    applied->change.ctx = ctx;
    return &applied->change;
}

static void free_text(const char *text)
{
    mem_free((void *)(uintptr_t)text);
}

void change_free(struct change *change)
{
    if (!change)
        return;
    mem_free(change->servers);
    mem_free(change->steps);
    mem_free(change->pem);
    free_text(change->audit.who);
    free_text(change->audit.role);
    free_text(change->audit.peer);
    free_text(change->audit.action);
    free_text(change->audit.target);
    free_text(change->audit.result);
    free_text(change->audit.detail);
    mem_free(change);
}

void change_submit(struct change *change)
{
    writer_submit(change->access->writer, &change->work);
}

static void settle(struct writer_work *works)
{
    while (works) {
        struct change *change = (struct change *)(void *)works;
        enum error_code result = works->result;
        works = works->next;
        if (result != ERR_OK && change->error.code == ERR_OK)
            error_set(&change->error, result, "the access database cannot be written");
        if (change->done)
            change->done(change->ctx, result, result == ERR_OK ? NULL : &change->error);
        change_free(change);
    }
}

void access_collect(struct access *a)
{
    settle(writer_collect(a->writer));
}

bool access_stalled(struct access *a, bool *ret_final, struct error *ret_why)
{
    return writer_stalled(a->writer, ret_final, ret_why);
}

void access_retry(struct access *a)
{
    writer_retry(a->writer);
}

/* ---- Life ---------------------------------------------------------------------------------- */

static enum error_code load(struct access *a, struct db *db, struct error *err)
{
    enum error_code code = tokens_load(a, db, err);
    return code == ERR_OK ? agents_load(a, db, err) : code;
}

static enum error_code start(struct access *a, const char *path, void (*wake)(void *ctx),
                             void *wake_ctx, struct error *err)
{
    AUTO(db_close) struct db *db = NULL;
    enum error_code code = db_open(path, DB_READ_WRITE, &access_schema, &db, err);
    if (code == ERR_OK)
        code = load(a, db, err);
    if (code == ERR_OK)
        code = db_open(path, DB_READ_ONLY, &access_schema, &a->reader, err);
    if (code == ERR_OK)
        code = writer_new(db, wake, wake_ctx, &a->writer, err);
    if (code == ERR_OK)
        (void)TAKE(db);
    return code;
}

static enum error_code path_set(char path[PATH_BUFFER], const char *dir, struct error *err)
{
    int len = snprintf(path, PATH_BUFFER, "%s/access.db", dir);
    if (len < 0 || len >= PATH_BUFFER)
        return error_set(err, ERR_LIMIT, "the data directory's path is too long");
    return ERR_OK;
}

enum error_code access_open(const char *dir, void (*wake)(void *ctx), void *wake_ctx,
                            struct access **ret_access, struct error *err)
{
    char path[PATH_BUFFER];
    enum error_code code = path_set(path, dir, err);
    if (code != ERR_OK)
        return code;
    struct access *a = MEM_NEW(struct access);
    if (!a)
        return error_set(err, ERR_NO_MEMORY, NULL);
    code = start(a, path, wake, wake_ctx, err);
    if (code != ERR_OK) {
        access_close(a);
        return code;
    }
    *ret_access = a;
    return ERR_OK;
}

void access_close(struct access *a)
{
    if (!a)
        return;
    if (a->writer)
        settle(writer_free(a->writer));
    db_close(a->reader);
    tokens_free(a);
    agents_free(a);
    mem_free(a);
}

static enum error_code check(struct access *a, const char *path, struct audit_head *ret_head,
                             struct error *err)
{
    enum error_code code = db_open(path, DB_READ_ONLY, &access_schema, &a->reader, err);
    if (code == ERR_OK)
        code = db_verify(a->reader, err);
    if (code == ERR_OK)
        code = load(a, a->reader, err);
    return code == ERR_OK ? audit_verify(a, NULL, ret_head, err) : code;
}

enum error_code access_check(const char *dir, struct audit_head *ret_head, struct error *err)
{
    char path[PATH_BUFFER];
    enum error_code code = path_set(path, dir, err);
    if (code != ERR_OK)
        return code;
    if (access(path, F_OK) != 0)
        return error_errno(err, errno, "%.150s", path);
    struct access *a = MEM_NEW(struct access);
    if (!a)
        return error_set(err, ERR_NO_MEMORY, NULL);
    code = check(a, path, ret_head, err);
    access_close(a);
    return code;
}
