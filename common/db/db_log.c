/* The format is SQLite's, https://www.sqlite.org/fileformat2.html#the_write_ahead_log */
#include "common/db/db_log.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

enum {
    HEADER_BYTES = 32,
    HEADER_SUMMED = 24,
    FRAME_HEADER_BYTES = 24,
    FRAME_SUMMED = 8,
    PAGE_MIN = 512,
    PAGE_MAX = 65536,
    MAGIC_LITTLE = 0x377f0682, /* which way round the words are that are summed */
    MAGIC_BIG = 0x377f0683
};

struct sum {
    uint32_t a, b;
};

struct log {
    int fd; /* borrowed */
    const char *path;
    int64_t size;
    uint32_t page_size;
    bool big_endian;
    uint32_t salts[2]; /* another generation's frames, which lie behind, have others */
    unsigned char frame[FRAME_HEADER_BYTES + PAGE_MAX];
};

static uint32_t word_at(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static struct sum sum_at(const unsigned char *p)
{
    return (struct sum){word_at(p), word_at(p + 4)};
}

static bool sum_equal(struct sum x, struct sum y)
{
    return x.a == y.a && x.b == y.b;
}

static struct sum sum_on(const struct log *log, struct sum sum, const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        uint32_t x = word_at(p + i);
        uint32_t y = word_at(p + i + 4);
        if (!log->big_endian) {
            x = __builtin_bswap32(x);
            y = __builtin_bswap32(y);
        }
        sum.a += x + sum.b;
        sum.b += y + sum.a;
    }
    return sum;
}

/* ---- Reading ----------------------------------------------------------------------------- */

static enum error_code read_at(const struct log *log, int64_t offset, unsigned char *ret_bytes,
                               size_t len, struct error *err)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(log->fd, ret_bytes + done, len - done, offset + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_errno(err, n < 0 ? errno : EIO, "%s: cannot read", log->path);
        done += (size_t)n;
    }
    return ERR_OK;
}

static int64_t frame_bytes(const struct log *log)
{
    return FRAME_HEADER_BYTES + (int64_t)log->page_size;
}

static int64_t frame_offset(const struct log *log, int64_t frame)
{
    return HEADER_BYTES + frame * frame_bytes(log);
}

/* Whole frames, by the file's size. */
static int64_t frame_count(const struct log *log)
{
    return log->size < HEADER_BYTES ? 0 : (log->size - HEADER_BYTES) / frame_bytes(log);
}

static enum error_code frame_read(struct log *log, int64_t frame, struct error *err)
{
    return read_at(log, frame_offset(log, frame), log->frame, (size_t)frame_bytes(log), err);
}

static bool frame_is_of_log(const struct log *log)
{
    return word_at(log->frame + 8) == log->salts[0] && word_at(log->frame + 12) == log->salts[1];
}

static bool frame_commits(const struct log *log)
{
    return word_at(log->frame + 4) != 0;
}

static struct sum frame_sum(const struct log *log)
{
    return sum_at(log->frame + 16);
}

/* Whether the frame that was read follows one with that sum. */
static bool frame_follows(const struct log *log, struct sum before)
{
    struct sum sum = sum_on(log, before, log->frame, FRAME_SUMMED);
    sum = sum_on(log, sum, log->frame + FRAME_HEADER_BYTES, log->page_size);
    return frame_is_of_log(log) && sum_equal(sum, frame_sum(log));
}

/* ---- Looking ----------------------------------------------------------------------------- */

/* A commit at or after `frame`, and something that was written after it: the first frame of the
 * next one, which carries its sum on. */
static enum error_code commit_was_followed(struct log *log, int64_t frame, bool *ret_followed,
                                           struct error *err)
{
    struct sum before = {0, 0};
    bool committed = false;
    *ret_followed = false;
    for (int64_t i = frame; i < frame_count(log) && !*ret_followed; i++) {
        enum error_code code = frame_read(log, i, err);
        if (code != ERR_OK)
            return code;
        *ret_followed = committed && frame_follows(log, before);
        committed = frame_is_of_log(log) && frame_commits(log);
        before = frame_sum(log);
    }
    return ERR_OK;
}

static enum error_code damaged(const struct log *log, int64_t offset, struct error *err)
{
    return error_set(
        err, ERR_CORRUPT,
        "%s: damaged from byte %lld on, and commits that were complete stand behind it", log->path,
        (long long)offset);
}

/* What SQLite is going to take over: up to the last commit before the first frame that does not
 * follow. *ret_broken: that frame. */
static enum error_code commits_count(struct log *log, struct sum sum, struct db_log *ret,
                                     int64_t *ret_broken, struct error *err)
{
    int64_t end = 0;
    int64_t frame = 0;
    for (; frame < frame_count(log); frame++) {
        enum error_code code = frame_read(log, frame, err);
        if (code != ERR_OK)
            return code;
        if (!frame_follows(log, sum))
            break;
        sum = frame_sum(log);
        if (!frame_commits(log))
            continue;
        ret->commits++;
        end = frame + 1;
    }
    *ret_broken = frame;
    /* What lies behind is torn when it is of this log, else left over from an earlier one. */
    bool rest = frame < frame_count(log) ? frame_is_of_log(log)
                                         : log->size > frame_offset(log, frame_count(log));
    ret->torn_bytes = rest || frame > end ? log->size - frame_offset(log, end) : 0;
    return ERR_OK;
}

/* False when it is no header that SQLite would take. */
static bool header_take(struct log *log, const unsigned char header[HEADER_BYTES],
                        struct sum *ret_sum)
{
    uint32_t magic = word_at(header);
    uint32_t page_size = word_at(header + 8);
    bool known = magic == MAGIC_LITTLE || magic == MAGIC_BIG;
    if (!known || page_size < PAGE_MIN || page_size > PAGE_MAX || (page_size & (page_size - 1)))
        return false;
    log->big_endian = magic == MAGIC_BIG;
    *ret_sum = sum_on(log, (struct sum){0, 0}, header, HEADER_SUMMED);
    if (!sum_equal(*ret_sum, sum_at(header + HEADER_SUMMED)))
        return false;
    log->page_size = page_size;
    log->salts[0] = word_at(header + 16);
    log->salts[1] = word_at(header + 20);
    return true;
}

/* The header is damaged or torn: the frames behind it tell which. */
static enum error_code look_without_header(struct log *log, struct error *err)
{
    static const uint32_t sizes[] = {4096, 512, 1024, 2048, 8192, 16384, 32768, PAGE_MAX};
    for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
        bool followed = false;
        log->page_size = sizes[i / 2];
        log->big_endian = i % 2 != 0;
        if (frame_count(log) == 0)
            continue;
        enum error_code code = frame_read(log, 0, err);
        if (code == ERR_OK) {
            log->salts[0] = word_at(log->frame + 8);
            log->salts[1] = word_at(log->frame + 12);
            code = commit_was_followed(log, 0, &followed, err);
        }
        if (code != ERR_OK)
            return code;
        if (followed)
            return damaged(log, 0, err);
    }
    return ERR_OK;
}

static enum error_code look(struct log *log, struct db_log *ret, struct error *err)
{
    unsigned char header[HEADER_BYTES] = {0};
    struct sum sum = {0, 0};
    int64_t broken = 0;
    bool followed = false;
    if (log->size < HEADER_BYTES) {
        ret->torn_bytes = log->size;
        return ERR_OK;
    }
    enum error_code code = read_at(log, 0, header, sizeof(header), err);
    if (code != ERR_OK)
        return code;
    if (!header_take(log, header, &sum)) {
        ret->torn_bytes = log->size;
        return look_without_header(log, err);
    }
    code = commits_count(log, sum, ret, &broken, err);
    if (code == ERR_OK)
        code = commit_was_followed(log, broken, &followed, err);
    if (code == ERR_OK && followed)
        code = damaged(log, frame_offset(log, broken), err);
    return code;
}

enum error_code db_log_look(const char *path, struct db_log *ret_log, struct error *err)
{
    AUTO_BUF struct buf name = BUF_INIT;
    AUTO_FREE struct log *log = MEM_NEW(struct log);
    struct db_log found = {0};
    struct stat st;
    buf_printf(&name, "%s-wal", path);
    if (log == NULL || buf_check(&name, NULL) != ERR_OK)
        return error_set(err, ERR_NO_MEMORY, NULL);
    /* SQLite's locks are on other files: closing this one drops none. */
    AUTO_CLOSE int fd = open(name.data, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *ret_log = found;
        return ERR_OK;
    }
    if (fd < 0 || fstat(fd, &st) != 0)
        return error_errno(err, errno, "%s: cannot open", name.data);
    log->fd = fd;
    log->path = name.data;
    log->size = st.st_size;
    enum error_code code = look(log, &found, err);
    if (code == ERR_OK)
        *ret_log = found;
    return code;
}
