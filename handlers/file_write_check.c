/* file_write_check: what file_write would change. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "handlers/diff.h"
#include "handlers/file_write_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    /* Of a diff that is shown: less than is kept of what a step prints. The digest in the message
     * is that of the whole. */
    DIFF_SHOWN_BYTES = 60 * 1024,
    DIGEST_SHOWN = 12,
    WHAT_MAX = 512
};

/* The parts of the message: "3 lines added, 1 removed; mode 0644 -> 0600". */
struct what {
    char text[WHAT_MAX];
    size_t len;
};

/* What a check has to say. */
struct told {
    struct what what;
    struct buf *shown;
};

static void what_add(struct what *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void what_add(struct what *w, const char *fmt, ...)
{
    va_list args;
    if (w->len > 0 && w->len + 2 < sizeof(w->text)) {
        memcpy(w->text + w->len, "; ", 3);
        w->len += 2;
    }
    va_start(args, fmt);
    int len = vsnprintf(w->text + w->len, sizeof(w->text) - w->len, fmt, args);
    va_end(args);
    if (len > 0)
        w->len += (size_t)len;
    if (w->len >= sizeof(w->text))
        w->len = sizeof(w->text) - 1;
}

/* Cuts what is shown after a whole line, and says what is missing. */
static void shown_cut(struct buf *shown)
{
    if (shown->len <= DIFF_SHOWN_BYTES)
        return;
    size_t len = DIFF_SHOWN_BYTES;
    while (len > 0 && shown->data[len - 1] != '\n')
        len--;
    size_t left = shown->len - len;
    shown->len = len;
    buf_printf(shown, "[%zu more bytes of this diff are not shown]\n", left);
}

/* Two servers with the same digest have the same diff. */
static enum error_code tell_diff(const struct diff_text *from, const struct diff_text *to,
                                 struct what *what, struct buf *shown, struct error *err)
{
    struct diff_counts counts = {0};
    char digest[FILE_DIGEST_TEXT];
    enum error_code code = diff_unified(shown, from, to, &counts, err);
    if (code == ERR_OK && shown->len > 0)
        code = data_digest(shown->data, shown->len, digest, err);
    if (code != ERR_OK || shown->len == 0)
        return code;
    what_add(what, "%zu line%s added, %zu removed (diff %.*s)", counts.added,
             counts.added == 1 ? "" : "s", counts.removed, DIGEST_SHOWN, digest);
    shown_cut(shown);
    return ERR_OK;
}

/* Of a file that is there: what the functions below are about. */
struct present {
    int fd;
    int64_t size;
};

static enum error_code tell_bytes(const struct file_write_params *params,
                                  const struct file_source *content, const struct present *present,
                                  struct what *what, struct error *err)
{
    char before[FILE_DIGEST_TEXT], after[FILE_DIGEST_TEXT];
    enum error_code code = file_digest_until(present->fd, content->stop, before, err);
    if (code == ERR_OK)
        code = file_write_digest(params, content, after, err);
    if (code == ERR_OK)
        what_add(what, "%" PRId64 " bytes (sha256 %.*s) -> %zu bytes (sha256 %.*s)", present->size,
                 DIGEST_SHOWN, before, content->len, DIGEST_SHOWN, after);
    return code;
}

static bool is_text(const char *data, size_t len)
{
    return len == 0 || (data && len <= FILE_WRITE_TEXT_MAX && !memchr(data, '\0', len) &&
                        text_utf8_valid(data, len, NULL));
}

/* A text is shown, anything else only named. */
static enum error_code tell_content(const struct file_write_params *params,
                                    const struct file_source *content,
                                    const struct present *present, struct what *what,
                                    struct buf *shown, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    bool shows = present->size <= FILE_WRITE_TEXT_MAX && is_text(content->data, content->len);
    enum error_code code = shows ? file_read(present->fd, FILE_WRITE_TEXT_MAX, &text, err) : ERR_OK;
    if (code != ERR_OK)
        return code;
    const struct diff_text from = {params->path, text.data, text.len};
    const struct diff_text to = {params->path, content->data, content->len};
    return shows && is_text(text.data, text.len) ? tell_diff(&from, &to, what, shown, err)
                                                 : tell_bytes(params, content, present, what, err);
}

static const char NOT_SHOWN[] = "its content, which has secrets and is not shown";

static enum error_code tell_change(const struct handler_run *run, const struct file_source *content,
                                   int fd, const struct file_meta *wanted, struct told *told,
                                   struct error *err)
{
    const struct file_write_params *params = run->params;
    AUTO_META struct file_meta now = {0};
    bool same = false;
    enum error_code code = file_meta_read(fd, &now, err);
    if (code == ERR_OK)
        code = file_write_same(params, content, fd, &same, err);
    const struct present present = {fd, now.size};
    /* What is there may be the secret of yesterday, which no mask knows. */
    if (code == ERR_OK && !same && run->secret)
        what_add(&told->what, "%s", NOT_SHOWN);
    else if (code == ERR_OK && !same)
        code = tell_content(params, content, &present, &told->what, told->shown, err);
    if (code != ERR_OK)
        return code;
    if (now.mode != wanted->mode)
        what_add(&told->what, "mode %04" PRIo64 " -> %04" PRIo64, now.mode, wanted->mode);
    if (now.uid != wanted->uid)
        what_add(&told->what, "owner %" PRId64 " -> %" PRId64, now.uid, wanted->uid);
    if (now.gid != wanted->gid)
        what_add(&told->what, "group %" PRId64 " -> %" PRId64, now.gid, wanted->gid);
    return ERR_OK;
}

static enum error_code tell_new(const struct handler_run *run, const struct file_source *content,
                                const struct file_meta *wanted, struct told *told,
                                struct error *err)
{
    const struct file_write_params *params = run->params;
    const struct diff_text from = {NULL, NULL, 0};
    const struct diff_text to = {params->path, content->data, content->len};
    char digest[FILE_DIGEST_TEXT];
    if (run->secret) {
        what_add(&told->what, "%s; mode %04" PRIo64, NOT_SHOWN, wanted->mode);
        return ERR_OK;
    }
    what_add(&told->what, "%zu bytes, mode %04" PRIo64, to.len, wanted->mode);
    if (is_text(content->data, content->len))
        return tell_diff(&from, &to, &told->what, told->shown, err);
    enum error_code code = file_write_digest(params, content, digest, err);
    if (code == ERR_OK)
        what_add(&told->what, "sha256 %.*s", DIGEST_SHOWN, digest);
    return code;
}

/* What comes with it. */
static void tell_more(const struct file_write_params *params, const struct file_undo *undo,
                      bool exists, struct what *what)
{
    if (undo->made.count > 0)
        what_add(what, "makes %zu folder%s, from %s", undo->made.count,
                 undo->made.count == 1 ? "" : "s",
                 file_path_shown(*ARRAY_AT(&undo->made, char *, 0)));
    if (params->backup && exists)
        what_add(what, "keeps what is there as %s", params->backup);
    if (params->validate.count > 0)
        what_add(what, "not validated");
}

/* Opens the file that the step is about. On an error the result may say more of it. */
static enum error_code locate(const struct handler_run *run, struct file_undo *undo, int *ret_fd,
                              struct handler_result *result, struct error *err)
{
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_NODE struct file_node node = {0};
    bool missing = false;
    enum error_code code = file_write_place(run, undo, &place, &missing, err);
    if (code != ERR_OK || missing)
        return code;
    code = file_open(&place, ret_fd, err);
    if (code != ERR_OK || *ret_fd < 0)
        return code;
    code = file_node_look(&place, &node, err);
    return code == ERR_OK ? file_node_check(run, &node, result, err) : code;
}

/* A text that came as an artifact is looked at as one that the plan holds. */
static enum error_code content_read(struct file_source *content, struct buf *text,
                                    struct error *err)
{
    if (content->fd < 0)
        return ERR_OK;
    enum error_code code = file_read(content->fd, FILE_WRITE_TEXT_MAX, text, err);
    content->fd = -1;
    content->data = text->len > 0 ? text->data : "";
    return code;
}

static enum error_code check(const struct handler_run *run, struct handler_result *result,
                             struct buf *shown, struct error *err)
{
    const struct file_write_params *params = run->params;
    struct file_source content = file_write_run_content(run);
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_META struct file_meta wanted = {0};
    AUTO_BUF struct buf text = BUF_INIT;
    AUTO_CLOSE int fd = -1;
    struct told told = {.shown = shown};
    bool same = false;
    enum error_code code = locate(run, &undo, &fd, result, err);
    if (code == ERR_OK)
        code = content_read(&content, &text, err);
    if (code == ERR_OK)
        code = file_write_wanted(run, &content, fd, &wanted, &same, err);
    if (code == ERR_OK && fd < 0)
        code = tell_new(run, &content, &wanted, &told, err);
    else if (code == ERR_OK && !same)
        code = tell_change(run, &content, fd, &wanted, &told, err);
    if (code != ERR_OK)
        return code;
    tell_more(params, &undo, fd >= 0, &told.what);
    if (same)
        result_succeed(result, false, "%s is so already", params->path);
    else
        result_succeed(result, true, "would %s %s: %s", fd < 0 ? "create" : "change", params->path,
                       told.what.text);
    return ERR_OK;
}

void file_check_work(const struct handler_run *run, struct handler_result *result,
                     struct buf *shown)
{
    struct error err = {0};
    if (check(run, result, shown, &err) == ERR_OK)
        return;
    buf_clear(shown);
    if (result->message[0] == '\0')
        result_fail_error(result, &err);
}
