#include "common/config/config.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_MAX_OPTIONS = 64 };

struct config_text {
    struct config_text *next;
    char text[];
};

struct config {
    struct config_text *texts;
};

/* One reading of a file. */
struct reading {
    const struct config_use *use;
    struct config *config;
    enum error_code code; /* of the first fault */
    struct error *err;
};

void config_free(struct config *config)
{
    if (!config)
        return;
    while (config->texts) {
        struct config_text *text = config->texts;
        config->texts = text->next;
        mem_free(text);
    }
    mem_free(config);
}

static const char *keep(struct config *config, const char *text)
{
    size_t size = strlen(text) + 1;
    struct config_text *kept = mem_alloc(sizeof(*kept) + size);
    if (!kept)
        return NULL;
    memcpy(kept->text, text, size);
    kept->next = config->texts;
    config->texts = kept;
    return kept->text;
}

static bool belongs_here(const struct config_use *use, const struct option *option)
{
    return option->has_arg == required_argument &&
           (!use->except || strcmp(option->name, use->except) != 0);
}

static enum error_code unknown_key(const struct config_use *use, const char *key, struct error *err)
{
    const char *names[CONFIG_MAX_OPTIONS];
    size_t count = 0;
    for (const struct option *o = use->options; o->name; o++) {
        if (!belongs_here(use, o) && strcmp(o->name, key) == 0)
            return error_set(err, ERR_INVALID, "\"%s\" belongs on the command line", key);
        if (belongs_here(use, o) && count < CONFIG_MAX_OPTIONS)
            names[count++] = o->name;
    }
    const char *close = text_closest(key, names, count);
    if (close)
        return error_set(err, ERR_INVALID, "unknown key \"%.60s\" (did you mean \"%s\"?)", key,
                         close);
    return error_set(err, ERR_INVALID, "unknown key \"%.60s\"; --help lists what there is", key);
}

static enum error_code take_line(struct reading *r, const char *section, const char *key,
                                 const char *value)
{
    const struct config_use *use = r->use;
    if (section[0] != '\0')
        return error_set(r->err, ERR_INVALID, "[%.60s]: there are no sections", section);
    for (const struct option *o = use->options; o->name; o++) {
        if (!belongs_here(use, o) || strcmp(o->name, key) != 0)
            continue;
        const char *kept = keep(r->config, value);
        return kept ? use->take(use->ctx, o->val, kept, r->err)
                    : error_set(r->err, ERR_NO_MEMORY, NULL);
    }
    return unknown_key(use, key, r->err);
}

/* inih's handler: zero is a fault, and it remembers the line of the first. */
static int on_line(void *user, const char *section, const char *key, const char *value)
{
    struct reading *r = user;
    if (r->code == ERR_OK)
        r->code = take_line(r, section, key, value ? value : "");
    return r->code == ERR_OK;
}

/* inih would cut what is longer, and stop at a NUL, without a word. */
static enum error_code check_lines(const char *path, const char *text, size_t len,
                                   struct error *err)
{
    size_t line = 1;
    for (size_t at = 0; at < len; line++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end ? (size_t)(end - text) - at : len - at;
        if (line_len > CONFIG_MAX_LINE)
            return error_set(err, ERR_INVALID, "%.120s, line %zu: longer than %d characters", path,
                             line, CONFIG_MAX_LINE);
        if (memchr(text + at, '\0', line_len))
            return error_set(err, ERR_INVALID, "%.120s, line %zu: not a text", path, line);
        at += line_len + 1;
    }
    return ERR_OK;
}

enum error_code config_parse(const char *path, const char *text, size_t len,
                             const struct config_use *use, struct config **ret_config,
                             struct error *err)
{
    enum error_code code = check_lines(path, text, len, err);
    if (code != ERR_OK)
        return code;
    AUTO(config_free) struct config *config = MEM_NEW(struct config);
    AUTO_FREE char *copy = mem_strndup(text, len);
    if (!config || !copy)
        return error_set(err, ERR_NO_MEMORY, NULL);
    struct reading r = {.use = use, .config = config, .err = err};
    int line = ini_parse_string(copy, on_line, &r);
    if (r.code == ERR_NO_MEMORY || line < 0)
        return error_set(err, ERR_NO_MEMORY, NULL);
    /* The first line that inih does not understand may come before the one that was not taken. */
    if (r.code != ERR_OK)
        return error_wrap(err, "%.120s, line %d", path, line);
    if (line > 0)
        return error_set(err, ERR_INVALID, "%.120s, line %d: must be \"key = value\"", path, line);
    *ret_config = TAKE(config);
    return ERR_OK;
}

static enum error_code read_all(int fd, struct buf *b, const char *path, struct error *err)
{
    char piece[4096];
    for (;;) {
        ssize_t got = read(fd, piece, sizeof(piece));
        if (got == 0)
            return buf_check(b, err);
        if (got < 0 && errno != EINTR)
            return error_errno(err, errno, "%.150s", path);
        if (got > 0)
            buf_append(b, piece, (size_t)got);
        if (b->failed == ERR_LIMIT)
            return error_set(err, ERR_LIMIT, "%.150s: larger than %d KiB", path,
                             CONFIG_MAX_BYTES / 1024);
    }
}

enum error_code config_load(const char *path, const struct config_use *use,
                            struct config **ret_config, struct error *err)
{
    AUTO_BUF struct buf text = {.max = CONFIG_MAX_BYTES};
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "%.150s", path);
    enum error_code code = read_all(fd, &text, path, err);
    if (code != ERR_OK)
        return code;
    return config_parse(path, text.data ? text.data : "", text.len, use, ret_config, err);
}
