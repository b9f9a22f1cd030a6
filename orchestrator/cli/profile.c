#include "orchestrator/cli/profile.h"

#include "common/base/cleanup.h"
#include "common/config/config.h"
#include "orchestrator/api/api_doc_access.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TOKEN_FILE_MAX = 4096 };

static const char *const key_names[PROFILE_KEYS] = {
    [PROFILE_ORCHESTRATOR] = "orchestrator",
    [PROFILE_CA] = "ca",
    [PROFILE_TOKEN_FILE] = "token-file",
};
static const char *const option_names[PROFILE_KEYS] = {
    [PROFILE_ORCHESTRATOR] = "--orchestrator",
    [PROFILE_CA] = "--ca",
    [PROFILE_TOKEN_FILE] = "--token-file",
};
static const char *const env_names[PROFILE_KEYS] = {
    [PROFILE_ORCHESTRATOR] = "KITSUNE_ORCHESTRATOR",
    [PROFILE_CA] = "KITSUNE_CA",
    [PROFILE_TOKEN_FILE] = "KITSUNE_TOKEN_FILE",
};
static const char token_env[] = "KITSUNE_TOKEN";

/* ---- Files -------------------------------------------------------------------------------------
 */

struct profile_file {
    const char *path;
    struct config *config;
    const char *values[PROFILE_KEYS]; /* the file's or, of paths that were relative, below */
    char *paths[PROFILE_KEYS];
};

static void file_done(struct profile_file *file)
{
    config_free(file->config);
    for (size_t i = 0; i < PROFILE_KEYS; i++)
        mem_free(file->paths[i]);
}
#define AUTO_FILE __attribute__((cleanup(file_done)))

static enum error_code file_take(void *ctx, int key, const char *value, struct error *err)
{
    struct profile_file *file = ctx;
    if (!*value)
        return error_set(err, ERR_INVALID, "%s has no value", key_names[key]);
    if (file->values[key])
        return error_set(err, ERR_INVALID, "%s is there twice", key_names[key]);
    file->values[key] = value;
    return ERR_OK;
}

/* A relative path begins at the file's folder. */
static enum error_code file_path(struct profile_file *file, enum profile_key key, struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    const char *value = file->values[key];
    const char *slash = strrchr(file->path, '/');
    if (!value || *value == '/' || !slash)
        return ERR_OK;
    buf_append(&path, file->path, (size_t)(slash - file->path) + 1);
    buf_puts(&path, value);
    file->paths[key] = buf_take(&path, NULL);
    file->values[key] = file->paths[key];
    return file->paths[key] ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static const struct option *file_keys(void)
{
    static const struct option keys[] = {
        {"orchestrator", required_argument, NULL, PROFILE_ORCHESTRATOR},
        {"ca", required_argument, NULL, PROFILE_CA},
        {"token-file", required_argument, NULL, PROFILE_TOKEN_FILE},
        {0}};
    return keys;
}

/* A file that is not there says nothing. */
static enum error_code file_load(const char *path, struct profile_file *file, struct error *err)
{
    const struct config_use use = {.options = file_keys(), .ctx = file, .take = file_take};
    file->path = path;
    if (!path)
        return ERR_OK;
    enum error_code code = config_load(path, &use, &file->config, err);
    if (code == ERR_NOT_FOUND)
        return ERR_OK;
    if (code == ERR_OK)
        code = file_path(file, PROFILE_CA, err);
    return code == ERR_OK ? file_path(file, PROFILE_TOKEN_FILE, err) : code;
}

enum error_code profile_user_file(const char *(*env)(const char *name), char **ret_path,
                                  struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    const char *config = env("XDG_CONFIG_HOME");
    const char *home = env("HOME");
    /* A relative one is to be passed over (XDG Base Directory Specification). */
    if (config && *config == '/')
        buf_puts(&path, config);
    else if (home && *home == '/')
        buf_printf(&path, "%s/.config", home);
    else
        return error_set(err, ERR_NOT_FOUND, "HOME is not set: there is no place for a profile");
    buf_puts(&path, "/kitsune/config");
    *ret_path = buf_take(&path, NULL);
    return *ret_path ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

enum error_code profile_text(const char *const values[PROFILE_KEYS], struct buf *out,
                             struct error *err)
{
    AUTO_FILE struct profile_file file = {.path = "profile"};
    const struct config_use use = {.options = file_keys(), .ctx = &file, .take = file_take};
    buf_puts(out, "# Written by \"kitsune login\".\n");
    for (size_t i = 0; i < PROFILE_KEYS; i++) {
        if (values[i])
            buf_printf(out, "%s = %s\n", key_names[i], values[i]);
    }
    enum error_code code = buf_check(out, err);
    if (code == ERR_OK)
        code = config_parse(file.path, out->data, out->len, &use, &file.config, err);
    for (size_t i = 0; code == ERR_OK && i < PROFILE_KEYS; i++) {
        /* What a comment's mark or a blank at an end would change. */
        if (values[i] && (!file.values[i] || strcmp(values[i], file.values[i]) != 0))
            return error_set(err, ERR_INVALID, "\"%.128s\" cannot be written as %s into a profile",
                             values[i], key_names[i]);
    }
    return code;
}

/* ---- Which one counts --------------------------------------------------------------------------
 */

static enum error_code set_value(struct profile_value *value, const char *text, const char *from,
                                 struct error *err)
{
    value->text = mem_strdup(text);
    value->from = from ? mem_strdup(from) : NULL;
    if (!value->text || (from && !value->from))
        return error_set(err, ERR_NO_MEMORY, NULL);
    return ERR_OK;
}

static const char *env_text(const struct profile_sources *s, const char *name)
{
    const char *value = s->env(name);
    return value && *value ? value : NULL;
}

/* Whether the socket answers; *ret_closed: it is not for this user. */
static bool socket_answers(const char *path, bool *ret_closed)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return false;
    memcpy(address.sun_path, path, strlen(path));
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return true;
    *ret_closed = errno == EACCES;
    return errno == EAGAIN; /* it is busy */
}

static enum error_code set_default(struct profile *p, const struct profile_sources *s,
                                   struct error *err)
{
    AUTO_BUF struct buf url = BUF_INIT;
    if (!s->socket || !socket_answers(s->socket, &p->socket_closed))
        return set_value(&p->values[PROFILE_ORCHESTRATOR], PROFILE_DEFAULT_URL, NULL, err);
    buf_printf(&url, "unix://%s", s->socket);
    enum error_code code = buf_check(&url, err);
    return code == ERR_OK ? set_value(&p->values[PROFILE_ORCHESTRATOR], url.data, NULL, err) : code;
}

static bool same_url(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    while (a_len > 0 && a[a_len - 1] == '/')
        a_len--;
    while (b_len > 0 && b[b_len - 1] == '/')
        b_len--;
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

struct profile_files {
    struct profile_file user, system;
};

/* Whether what the file says of CA and token is for the orchestrator that was chosen. */
static bool file_counts(const struct profile_files *files, const struct profile_file *file,
                        const char *url)
{
    const char *own = file->values[PROFILE_ORCHESTRATOR];
    if (!own)
        own = files->user.values[PROFILE_ORCHESTRATOR];
    if (!own)
        own = files->system.values[PROFILE_ORCHESTRATOR];
    return !own || same_url(own, url);
}

static enum error_code choose(struct profile *p, enum profile_key key,
                              const struct profile_sources *s, const struct profile_files *files,
                              struct error *err)
{
    struct profile_value *value = &p->values[key];
    const char *url = p->values[PROFILE_ORCHESTRATOR].text;
    const char *of_env = env_text(s, env_names[key]);
    const struct profile_file *const order[] = {&files->user, &files->system};
    if (s->given[key])
        return set_value(value, s->given[key], option_names[key], err);
    if (key == PROFILE_TOKEN_FILE && (p->token = env_text(s, token_env)) != NULL)
        return ERR_OK;
    if (of_env)
        return set_value(value, of_env, env_names[key], err);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        if (order[i]->values[key] && (!url || file_counts(files, order[i], url)))
            return set_value(value, order[i]->values[key], order[i]->path, err);
    }
    return ERR_OK;
}

static enum error_code choose_all(struct profile *p, const struct profile_sources *s,
                                  const struct profile_files *files, struct error *err)
{
    enum error_code code = choose(p, PROFILE_ORCHESTRATOR, s, files, err);
    if (code == ERR_OK && !p->values[PROFILE_ORCHESTRATOR].text)
        code = set_default(p, s, err);
    if (code == ERR_OK)
        code = choose(p, PROFILE_CA, s, files, err);
    return code == ERR_OK ? choose(p, PROFILE_TOKEN_FILE, s, files, err) : code;
}

enum error_code profile_load(const struct profile_sources *sources, struct profile *ret_profile,
                             struct error *err)
{
    AUTO_FREE char *user_path = NULL;
    AUTO_FILE struct profile_file user = {0};
    AUTO_FILE struct profile_file system = {0};
    AUTO_PROFILE struct profile profile = {0};
    enum error_code code = profile_user_file(sources->env, &user_path, err);
    if (code == ERR_NOT_FOUND)
        code = ERR_OK;
    if (code == ERR_OK)
        code = file_load(user_path, &user, err);
    if (code == ERR_OK)
        code = file_load(sources->system_file, &system, err);
    if (code != ERR_OK)
        return code;
    const struct profile_files files = {user, system};
    code = choose_all(&profile, sources, &files, err);
    if (code != ERR_OK)
        return code;
    *ret_profile = profile;
    profile = (struct profile){0};
    return ERR_OK;
}

void profile_done(struct profile *profile)
{
    for (size_t i = 0; i < PROFILE_KEYS; i++) {
        mem_free(profile->values[i].text);
        mem_free(profile->values[i].from);
    }
    *profile = (struct profile){0};
}

/* ---- The token ---------------------------------------------------------------------------------
 */

enum error_code profile_token_parse(const char *text, size_t len, const char *name,
                                    struct pki_secret *ret_token, struct error *err)
{
    bool good = true;
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++)
        good = good && isascii((unsigned char)text[i]) && isgraph((unsigned char)text[i]);
    if (!good || len == 0 || len > API_SECRET_MAX)
        return error_set(err, ERR_INVALID,
                         "%.200s holds no token: it must be one line, such as kit_... without "
                         "blanks",
                         name);
    return pki_secret_copy(text, len, ret_token, err);
}

const char *profile_token_from(const struct profile *profile)
{
    return profile->token ? token_env : profile->values[PROFILE_TOKEN_FILE].text;
}

enum error_code profile_token(const struct profile *profile, struct pki_secret *ret_token,
                              struct error *err)
{
    AUTO_SECRET struct pki_secret text = {0};
    const struct profile_value *file = &profile->values[PROFILE_TOKEN_FILE];
    if (profile->token)
        return profile_token_parse(profile->token, strlen(profile->token), token_env, ret_token,
                                   err);
    if (!file->text)
        return error_set(err, ERR_NOT_FOUND, "there is no token");
    enum error_code code = pki_secret_read(file->text, TOKEN_FILE_MAX, &text, err);
    if (code == ERR_OK)
        code = profile_token_parse(text.data, text.len, file->text, ret_token, err);
    /* That there is a token to be read, and none can be, is another matter than that there is
     * none. */
    if (code == ERR_NOT_FOUND)
        code = err ? (err->code = ERR_INVALID) : ERR_INVALID;
    if (code != ERR_OK && err)
        (void)error_wrap(err, "the token file (%.80s)", file->from);
    return code;
}
