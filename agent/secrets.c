#include "agent/secrets.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/json/json.h"
#include "common/pki/pki_key.h"
#include "common/plan/plan.h"
#include "common/plan/plan_secrets.h"
#include "common/values/template.h"
#include "common/values/value_json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

DEFINE_CLEANUP(json_free, struct json_doc)
DEFINE_CLEANUP(value_set_free, struct value_set)
DEFINE_CLEANUP(secrets_free, struct secrets)

enum { FILLED_MAX_BYTES = 4 * PLAN_MAX_BYTES };
static const char SPACE[] = "secrets.";

struct secrets {
    struct plan_secrets refs;
    char **texts; /* of each; NULL: not found */
    size_t total_bytes;
    bool used;
};

/* ---- Looking up --------------------------------------------------------------------------------
 */

static enum error_code env_read(const char *name, struct buf *out, struct error *err)
{
    const char *value = getenv(name);
    if (!value)
        return error_set(err, ERR_NOT_FOUND, "the agent's environment has no %.100s", name);
    buf_puts(out, value);
    return buf_check(out, err);
}

static enum error_code file_check(int fd, const char *path, struct error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return error_errno(err, errno, "%.150s", path);
    if (!S_ISREG(info.st_mode))
        return error_set(err, ERR_INVALID, "%.150s is not a regular file", path);
    if (info.st_uid != 0 && info.st_uid != geteuid())
        return error_set(
            err, ERR_DENIED,
            "%.120s belongs to user %u, and must belong to root or to the agent's user", path,
            (unsigned)info.st_uid);
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return error_set(err, ERR_DENIED,
                         "%.120s may be written by others (mode %04o): chmod go-w it", path,
                         (unsigned)(info.st_mode & 07777));
    return ERR_OK;
}

static enum error_code bytes_read(int fd, const char *path, struct buf *out, struct error *err)
{
    char chunk[4096];
    enum error_code code = ERR_OK;
    ssize_t len = 1;
    while (len > 0 && code == ERR_OK && out->len <= SECRET_MAX_BYTES + 1) {
        len = read(fd, chunk, sizeof(chunk));
        if (len > 0)
            buf_append(out, chunk, (size_t)len);
        else if (len < 0 && errno != EINTR)
            code = error_errno(err, errno, "%.150s", path);
        len = len < 0 ? 1 : len;
    }
    explicit_bzero(chunk, sizeof(chunk));
    return code == ERR_OK ? buf_check(out, err) : code;
}

static enum error_code file_read(const char *path, struct buf *out, struct error *err)
{
    /* Not one that waits for a writer. */
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return error_errno(err, errno, "%.150s", path);
    enum error_code code = file_check(fd, path, err);
    if (code == ERR_OK)
        code = bytes_read(fd, path, out, err);
    if (code == ERR_OK && out->len > 0 && out->data[out->len - 1] == '\n')
        out->data[--out->len] = '\0';
    return code;
}

static enum error_code text_check(const struct buf *text, struct error *err)
{
    if (text->len == 0)
        return error_set(err, ERR_INVALID, "it is empty");
    if (text->len < MASK_SECRET_MIN)
        return error_set(err, ERR_INVALID,
                         "it is shorter than %d bytes, too short to be kept out of what is printed",
                         MASK_SECRET_MIN);
    if (text->len > SECRET_MAX_BYTES)
        return error_set(err, ERR_LIMIT, "it is longer than %d bytes", SECRET_MAX_BYTES);
    if (memchr(text->data, '\0', text->len) || !text_utf8_valid(text->data, text->len, NULL))
        return error_set(err, ERR_INVALID, "it is not UTF-8 text without NUL");
    return ERR_OK;
}

/* The total is held to a bound, so that a mask is. */
static enum error_code secret_find(struct secrets *s, size_t i, struct error *err)
{
    const struct plan_secret *ref = &s->refs.items[i];
    AUTO_BUF struct buf text = BUF_INIT;
    enum error_code code =
        ref->env ? env_read(ref->env, &text, err) : file_read(ref->file, &text, err);
    if (code == ERR_OK)
        code = text_check(&text, err);
    if (code == ERR_OK && text.len > SECRETS_MAX_BYTES - s->total_bytes)
        code = error_set(err, ERR_LIMIT, "the plan's secrets have more than %d bytes together",
                         SECRETS_MAX_BYTES);
    if (code != ERR_OK)
        return error_wrap(err, "%s%.100s", SPACE, ref->name);
    s->total_bytes += text.len;
    s->texts[i] = buf_take(&text, NULL);
    return s->texts[i] ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

/* ---- Names -------------------------------------------------------------------------------------
 */

struct use {
    const struct secrets *s;
    bool *used; /* of each */
    bool any;
};

static bool note_use(void *ctx, const char *name)
{
    struct use *use = ctx;
    if (strncmp(name, SPACE, sizeof(SPACE) - 1) != 0)
        return true;
    use->any = true;
    const struct plan_secret *ref = plan_secrets_find(&use->s->refs, name + sizeof(SPACE) - 1);
    if (ref)
        use->used[ref - use->s->refs.items] = true;
    return true;
}

/* Those that the step uses first, so that others do not use the bound up. */
static enum error_code all_find(struct secrets *s, const bool *used, struct error *err)
{
    for (int needed = 1; needed >= 0; needed--) {
        for (size_t i = 0; i < s->refs.count; i++) {
            if (used[i] != (needed == 1))
                continue;
            struct error why = {0};
            enum error_code code = secret_find(s, i, &why);
            if (code == ERR_NO_MEMORY || (code != ERR_OK && used[i]))
                return error_set(err, code, "%s", why.message);
        }
    }
    return ERR_OK;
}

static enum error_code uses_note(struct secrets *s, const char *planned, bool *used,
                                 struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    struct use use = {.s = s, .used = used};
    enum error_code code = json_parse(planned, strlen(planned), FILLED_MAX_BYTES, &doc, err);
    if (code != ERR_OK)
        return code;
    template_json_names(json_root(doc), note_use, &use);
    s->used = use.any;
    return ERR_OK;
}

/* ---- Life --------------------------------------------------------------------------------------
 */

static enum error_code refs_find(struct secrets *s, const char *refs, const char *planned,
                                 struct error *err)
{
    enum error_code code = plan_secrets_read(refs, &s->refs, err);
    if (code != ERR_OK)
        return code;
    AUTO_FREE bool *used = mem_array(s->refs.count, sizeof(*used));
    s->texts = mem_array(s->refs.count, sizeof(char *));
    if (!used || !s->texts)
        return error_set(err, ERR_NO_MEMORY, NULL);
    code = uses_note(s, planned, used, err);
    return code == ERR_OK ? all_find(s, used, err) : code;
}

enum error_code secrets_find(const char *refs, const char *planned, struct secrets **ret_secrets,
                             struct error *err)
{
    AUTO(secrets_free) struct secrets *s = MEM_NEW(struct secrets);
    if (!s)
        return error_set(err, ERR_NO_MEMORY, NULL);
    mem_wipe_freed();
    (void)pki_keys_protect();
    enum error_code code = refs_find(s, refs, planned, err);
    if (code == ERR_OK)
        *ret_secrets = TAKE(s);
    return code;
}

void secrets_free(struct secrets *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->texts && i < s->refs.count; i++)
        mem_free(s->texts[i]);
    mem_free(s->texts);
    plan_secrets_done(&s->refs);
    mem_free(s);
}

bool secrets_used(const struct secrets *s)
{
    return s->used;
}

/* ---- Filling in --------------------------------------------------------------------------------
 */

struct scope {
    const struct secrets *s;
    const struct value_set *values;
};

static bool scope_find(void *ctx, const char *name, struct value *ret)
{
    const struct scope *scope = ctx;
    if (strncmp(name, SPACE, sizeof(SPACE) - 1) != 0)
        return value_set_find(scope->values, name, ret);
    const struct plan_secret *ref = plan_secrets_find(&scope->s->refs, name + sizeof(SPACE) - 1);
    const char *text = ref ? scope->s->texts[ref - scope->s->refs.items] : NULL;
    *ret = (struct value){.kind = VALUE_TEXT, .text = text};
    return text != NULL;
}

enum error_code secrets_fill(const struct secrets *s, const char *planned, const char *params,
                             const char *values, char **ret_params, struct error *err)
{
    AUTO(json_free) struct json_doc *from = NULL;
    AUTO(json_free) struct json_doc *filled = NULL;
    AUTO(value_set_free) struct value_set *set = NULL;
    AUTO_BUF struct buf text = {.max = FILLED_MAX_BYTES};
    struct scope ctx = {.s = s};
    enum error_code code = value_set_read_json(values, &set, err);
    if (code == ERR_OK)
        code = json_parse(planned, strlen(planned), FILLED_MAX_BYTES, &from, err);
    if (code == ERR_OK)
        code = json_parse(params, strlen(params), FILLED_MAX_BYTES, &filled, err);
    if (code != ERR_OK)
        return code;
    ctx.values = set;
    const struct value_scope scope = {.find = scope_find, .ctx = &ctx};
    code = template_json_finish(json_root(from), json_root(filled), "params", &scope, &text, err);
    if (code != ERR_OK)
        return code;
    *ret_params = buf_take(&text, NULL);
    return *ret_params ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

enum error_code secrets_mask(const struct secrets *s, struct mask **ret_mask, struct error *err)
{
    size_t count = 0;
    *ret_mask = NULL;
    AUTO_FREE const char **found = mem_array(s->refs.count, sizeof(*found));
    if (!found)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < s->refs.count; i++) {
        if (s->texts[i])
            found[count++] = s->texts[i];
    }
    return count > 0 ? mask_new(found, count, ret_mask, err) : ERR_OK;
}
