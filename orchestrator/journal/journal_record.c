/* journal_record: what the journal says of itself, and the epoch beside it. */
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"
#include "orchestrator/journal/journal_sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EPOCH_TEXT_MAX = 32 };

/* ---- In the database -------------------------------------------------------------------- */

static enum error_code meta_get(struct db *db, const char *name, struct buf *b, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_META_GET, &s, err);
    if (code != ERR_OK)
        return code;
    bool row = false;
    db_bind_text(s, 1, name, strlen(name));
    code = db_step(s, &row, err);
    if (code == ERR_OK && row) {
        size_t len = 0;
        const char *text = db_column_text(s, 0, &len);
        if (text != NULL)
            buf_append(b, text, len);
        code = text == NULL && !db_column_null(s, 0) ? error_set(err, ERR_NO_MEMORY, NULL)
                                                     : buf_check(b, err);
    }
    db_reset(s);
    return code;
}

static enum error_code meta_put(struct db *db, const char *name, const char *value,
                                struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_META_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(s, 1, name, strlen(name));
    db_bind_text(s, 2, value, strlen(value));
    return db_run(s, err);
}

static int64_t number_of(const struct buf *text)
{
    return text->len == 0 ? 0 : strtoll(text->data, NULL, 10);
}

static const char *text_of(const struct buf *text)
{
    return text->len == 0 ? "" : text->data;
}

enum error_code record_read(struct journal *j, struct db *db, struct error *err)
{
    AUTO_BUF struct buf identity = BUF_INIT;
    AUTO_BUF struct buf epoch = BUF_INIT;
    AUTO_BUF struct buf unsummed = BUF_INIT;
    AUTO_BUF struct buf untouched = BUF_INIT;
    AUTO_BUF struct buf sum = BUF_INIT;
    enum error_code code = meta_get(db, "identity", &identity, err);
    if (code == ERR_OK)
        code = meta_get(db, "epoch", &epoch, err);
    if (code == ERR_OK)
        code = meta_get(db, "unsummed", &unsummed, err);
    if (code == ERR_OK)
        code = meta_get(db, "untouched", &untouched, err);
    if (code == ERR_OK)
        code = meta_get(db, "sum", &sum, err);
    if (code != ERR_OK)
        return code;
    /* One that was never opened since there are sums has none. */
    if (sum.len > 0 &&
        number_of(&sum) != sum_meta(text_of(&identity), text_of(&epoch), text_of(&unsummed)))
        return error_set(err, ERR_CORRUPT,
                         "%s/journal.db: its record of identity and epoch is damaged", j->dir);
    j->identity = buf_take(&identity, NULL);
    j->epoch = number_of(&epoch);
    j->unsummed = number_of(&unsummed);
    j->untouched = number_of(&untouched);
    return j->identity == NULL ? error_set(err, ERR_NO_MEMORY, NULL) : ERR_OK;
}

enum error_code record_untouched(struct db *db, int64_t num, struct error *err)
{
    static const char name[] = "untouched";
    char text[EPOCH_TEXT_MAX];
    (void)snprintf(text, sizeof(text), "%lld", (long long)num);
    if (num > 0)
        return meta_put(db, name, text, err);
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_META_DROP, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(s, 1, name, strlen(name));
    return db_run(s, err);
}

static enum error_code identity_make(struct journal *j, struct error *err)
{
    char fresh[ID_RANDOM_LEN + 1];
    enum error_code code = id_random(fresh, err);
    if (code != ERR_OK)
        return code;
    char *identity = mem_strdup(fresh);
    if (identity == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    mem_free(j->identity);
    j->identity = identity;
    return ERR_OK;
}

static enum error_code record_put(const struct journal *j, struct db *db, int64_t epoch,
                                  struct error *err)
{
    char epoch_text[EPOCH_TEXT_MAX];
    char unsummed[EPOCH_TEXT_MAX];
    char sum[EPOCH_TEXT_MAX];
    (void)snprintf(epoch_text, sizeof(epoch_text), "%lld", (long long)epoch);
    (void)snprintf(unsummed, sizeof(unsummed), "%lld", (long long)j->unsummed);
    (void)snprintf(sum, sizeof(sum), "%lld",
                   (long long)sum_meta(j->identity, epoch_text, unsummed));
    enum error_code code = meta_put(db, "identity", j->identity, err);
    if (code == ERR_OK)
        code = meta_put(db, "epoch", epoch_text, err);
    if (code == ERR_OK)
        code = meta_put(db, "unsummed", unsummed, err);
    if (code == ERR_OK)
        code = meta_put(db, "sum", sum, err);
    return code;
}

enum error_code record_write(struct journal *j, struct db *db, int64_t epoch, struct error *err)
{
    enum error_code code = j->identity[0] == '\0' ? identity_make(j, err) : ERR_OK;
    if (code == ERR_OK)
        code = db_begin(db, err);
    if (code != ERR_OK)
        return code;
    code = record_put(j, db, epoch, err);
    if (code == ERR_OK)
        code = db_commit(db, err);
    if (code != ERR_OK)
        db_rollback(db);
    else
        j->epoch = epoch;
    return code;
}

/* ---- Beside the database ---------------------------------------------------------------- */

static enum error_code epoch_path(const char *dir, const char *end, struct buf *b,
                                  struct error *err)
{
    buf_printf(b, "%s/epoch%s", dir, end);
    return buf_check(b, err);
}

enum error_code epoch_file_read(const char *dir, int64_t *ret_epoch, struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    enum error_code code = epoch_path(dir, "", &path, err);
    if (code != ERR_OK)
        return code;
    AUTO_CLOSE int fd = open(path.data, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    *ret_epoch = 0;
    if (fd < 0)
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s: cannot open", path.data);
    char text[EPOCH_TEXT_MAX] = {0};
    char *end = NULL;
    if (read(fd, text, sizeof(text) - 1) < 0)
        return error_errno(err, errno, "%s: cannot read", path.data);
    long long epoch = strtoll(text, &end, 10);
    if (end == text || *end != '\n' || epoch < 0)
        return error_set(err, ERR_CORRUPT,
                         "%s: holds no epoch; remove it if journal.db was not restored from a "
                         "backup",
                         path.data);
    *ret_epoch = epoch;
    return ERR_OK;
}

static enum error_code epoch_write_to(const char *path, int64_t epoch, struct error *err)
{
    char text[EPOCH_TEXT_MAX];
    int len = snprintf(text, sizeof(text), "%lld\n", (long long)epoch);
    AUTO_CLOSE int fd =
        open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0 || write(fd, text, (size_t)len) != len || fsync(fd) != 0)
        return error_errno(err, errno, "%s: cannot write", path);
    return ERR_OK;
}

enum error_code epoch_file_write(const char *dir, int64_t epoch, struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf fresh = BUF_INIT;
    enum error_code code = epoch_path(dir, "", &path, err);
    if (code == ERR_OK)
        code = epoch_path(dir, ".new", &fresh, err);
    if (code == ERR_OK)
        code = epoch_write_to(fresh.data, epoch, err);
    if (code != ERR_OK)
        return code;
    AUTO_CLOSE int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0 || rename(fresh.data, path.data) != 0 || fsync(dir_fd) != 0)
        return error_errno(err, errno, "%s: cannot write", path.data);
    return ERR_OK;
}

/* ---- Beginning an epoch ----------------------------------------------------------------- */

enum error_code epoch_begin(struct journal *j, struct db *db, struct error *err)
{
    int64_t known = 0;
    enum error_code code = epoch_file_read(j->dir, &known, err);
    if (code != ERR_OK)
        return code;
    if (known > j->epoch) {
        error_ignore(error_set(
            &j->held, ERR_UNAVAILABLE,
            "held: %s/journal.db is of epoch %lld, but epoch %lld was reached here: it was "
            "restored "
            "from a backup or has lost its latest; start once with --accept-restored to go on",
            j->dir, (long long)j->epoch, (long long)known));
        return ERR_OK;
    }
    FAILPOINT(FAIL_EPOCH_BEFORE);
    code = record_write(j, db, j->epoch + 1, err);
    FAILPOINT(FAIL_EPOCH_BETWEEN);
    /* After the database: a crash in between leaves the file behind, never ahead. */
    if (code == ERR_OK)
        code = epoch_file_write(j->dir, j->epoch, err);
    FAILPOINT(FAIL_EPOCH_AFTER);
    return code;
}
