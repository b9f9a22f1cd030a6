#include "handlers/outputs.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/base/text.h"
#include "common/values/value_json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

DEFINE_CLEANUP(value_set_free, struct value_set)

static const char FOLDER[] = "/tmp";

/* What the names of a step's files begin with. */
static void name_begin(const char *mark, char ret_name[OUTPUTS_PATH_MAX])
{
    (void)snprintf(ret_name, OUTPUTS_PATH_MAX, "kitsune-output-%016" PRIx64 "-", id_hash(mark));
}

enum error_code outputs_open(struct outputs *o, const char *mark, uid_t uid, struct error *err)
{
    char name[OUTPUTS_PATH_MAX];
    outputs_close(o);
    name_begin(mark, name);
    (void)snprintf(o->path, sizeof(o->path), "%s/%.48sXXXXXX", FOLDER, name);
    o->fd = mkostemp(o->path, O_CLOEXEC);
    if (o->fd < 0)
        return error_errno(err, errno, "cannot make a file for what the script puts out");
    if (uid != (uid_t)-1 && fchown(o->fd, uid, (gid_t)-1) != 0) {
        int number = errno;
        outputs_close(o);
        return error_errno(err, number, "cannot give the file for what the script puts out away");
    }
    return ERR_OK;
}

void outputs_close(struct outputs *o)
{
    if (o->fd < 0)
        return;
    (void)unlink(o->path);
    (void)close(o->fd);
    *o = OUTPUTS_INIT;
}

void outputs_clean(const char *mark)
{
    char name[OUTPUTS_PATH_MAX];
    DIR *folder = opendir(FOLDER);
    name_begin(mark, name);
    if (!folder)
        return;
    for (const struct dirent *item = readdir(folder); item; item = readdir(folder)) {
        if (strncmp(item->d_name, name, strlen(name)) == 0)
            (void)unlinkat(dirfd(folder), item->d_name, 0);
    }
    (void)closedir(folder);
}

/* What was opened is read, whatever the path leads to by now. */
static enum error_code read_all(int fd, struct buf *text, struct error *err)
{
    char piece[4096];
    for (;;) {
        ssize_t len = pread(fd, piece, sizeof(piece), (off_t)text->len);
        if (len < 0 && errno != EINTR)
            return error_errno(err, errno, "what the script put out cannot be read");
        if (len == 0)
            return buf_check(text, err);
        if (len > 0)
            buf_append(text, piece, (size_t)len);
        if (text->failed == ERR_LIMIT)
            return error_set(err, ERR_LIMIT, "the script put out more than %d bytes",
                             OUTPUTS_MAX_BYTES);
    }
}

static bool is_text(const char *s, size_t len)
{
    for (size_t at = 0; at < len;) {
        bool valid = false;
        at += text_utf8_next(s + at, len - at, &valid);
        if (!valid)
            return false;
    }
    return memchr(s, '\0', len) == NULL;
}

static size_t name_len(const char *s)
{
    return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
}

/* `line` is NUL-terminated, without its end. */
static enum error_code line_take(struct value_set *set, char *line, size_t number,
                                 struct error *err)
{
    size_t len = name_len(line);
    if (len == 0 || line[len] != '=')
        return error_set(err, ERR_INVALID,
                         "what the script put out, line %zu: must be NAME=VALUE, with a name of "
                         "letters, digits, _ and -",
                         number);
    line[len] = '\0';
    if (value_set_put_text(set, line, line + len + 1, err) != ERR_OK)
        return error_wrap(err, "what the script put out, line %zu", number);
    return ERR_OK;
}

static enum error_code lines_take(char *text, struct value_set *set, struct error *err)
{
    size_t number = 0;
    char *rest = NULL;
    enum error_code code = ERR_OK;
    for (char *line = text; line && code == ERR_OK; line = rest) {
        number++;
        rest = strchr(line, '\n');
        if (rest)
            *rest++ = '\0';
        if (*line != '\0')
            code = line_take(set, line, number, err);
    }
    return code;
}

enum error_code outputs_read(const struct outputs *o, char **ret_json, struct error *err)
{
    AUTO(value_set_free) struct value_set *set = NULL;
    AUTO_BUF struct buf text = {.max = OUTPUTS_MAX_BYTES};
    AUTO_BUF struct buf json = BUF_INIT;
    *ret_json = NULL;
    if (o->fd < 0)
        return ERR_OK;
    enum error_code code = read_all(o->fd, &text, err);
    if (code != ERR_OK || text.len == 0)
        return code;
    if (!is_text(text.data, text.len))
        return error_set(err, ERR_INVALID, "what the script put out is not UTF-8 text");
    code = value_set_new(&set, err);
    if (code == ERR_OK)
        code = lines_take(text.data, set, err);
    if (code != ERR_OK || value_set_count(set) == 0)
        return code;
    value_set_write_json(set, &json);
    *ret_json = buf_take(&json, NULL);
    return *ret_json ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}
