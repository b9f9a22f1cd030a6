#include "orchestrator/cli/install/known_hosts.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { SSH_PORT = 22, KEY_BYTES_MAX = 16 * 1024 };

static void hosts_free_auto(LIBSSH2_KNOWNHOSTS **hosts)
{
    if (*hosts)
        libssh2_knownhost_free(*hosts);
}

static void file_close_auto(FILE **file)
{
    if (*file)
        (void)fclose(*file);
}

void known_hosts_name(const struct ssh_config *config, char ret[KNOWN_NAME_MAX])
{
    if (config->port == SSH_PORT || config->aliased)
        (void)snprintf(ret, KNOWN_NAME_MAX, "%s", config->key_name);
    else
        (void)snprintf(ret, KNOWN_NAME_MAX, "[%s]:%d", config->key_name, config->port);
}

/* ---- Lines -------------------------------------------------------------------------------------
 */

struct look {
    LIBSSH2_SESSION *session;
    char name[KNOWN_NAME_MAX];
    const char *key; /* as it goes over the wire */
    size_t key_len;
};

/* What one line says of a key. A line is looked at by itself, so that its number is known. */
static int check_line(const struct look *look, const char *line, size_t len,
                      struct libssh2_knownhost **ret_entry, LIBSSH2_KNOWNHOSTS **ret_hosts)
{
    /* No type of key: all are compared, so that one of another type is another key. */
    const int mask = LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_RAW;
    LIBSSH2_KNOWNHOSTS *hosts = libssh2_knownhost_init(look->session);
    *ret_hosts = hosts;
    if (!hosts)
        return LIBSSH2_KNOWNHOST_CHECK_FAILURE;
    if (libssh2_knownhost_readline(hosts, line, len, LIBSSH2_KNOWNHOST_FILE_OPENSSH) != 0)
        return LIBSSH2_KNOWNHOST_CHECK_NOTFOUND;
    return libssh2_knownhost_checkp(hosts, look->name, -1, look->key, look->key_len, mask,
                                    ret_entry);
}

enum mark { MARK_NONE, MARK_REVOKED, MARK_OTHER };

/* Takes a marker from the front of a line. */
static enum mark take_mark(const char **line, size_t *len)
{
    static const char revoked[] = "@revoked ";
    if (*len == 0 || **line != '@')
        return MARK_NONE;
    if (strncmp(*line, revoked, sizeof(revoked) - 1) != 0)
        return MARK_OTHER;
    *line += sizeof(revoked) - 1;
    *len -= sizeof(revoked) - 1;
    return MARK_REVOKED;
}

typedef void line_fn(void *ctx, const char *line, size_t len, int number);

static enum error_code each_line(const char *path, line_fn *take, void *ctx, struct error *err)
{
    __attribute__((cleanup(file_close_auto))) FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    ssize_t len = 0;
    if (!file && (errno == ENOENT || errno == ENOTDIR))
        return ERR_OK;
    if (!file)
        return error_errno(err, errno, "cannot read %.128s", path);
    for (int number = 1; (len = getline(&line, &size, file)) >= 0; number++) {
        if (len > 0 && line[len - 1] == '\n')
            line[--len] = '\0';
        take(ctx, line, (size_t)len, number);
    }
    bool failed = ferror(file) != 0;
    free(line); /* getline's */
    return failed ? error_set(err, ERR_IO, "cannot read %.128s", path) : ERR_OK;
}

/* ---- Checking ----------------------------------------------------------------------------------
 */

struct checking {
    struct look look;
    const char *path;
    enum known_result result;
    struct known_place place;
    bool failed;
};

static void check_one(void *ctx, const char *line, size_t len, int number)
{
    struct checking *c = ctx;
    struct libssh2_knownhost *entry = NULL;
    __attribute__((cleanup(hosts_free_auto))) LIBSSH2_KNOWNHOSTS *hosts = NULL;
    enum mark mark = take_mark(&line, &len);
    enum known_result says = KNOWN_NEW;
    if (mark == MARK_OTHER || c->result == KNOWN_REVOKED)
        return;
    int result = check_line(&c->look, line, len, &entry, &hosts);
    c->failed = c->failed || result == LIBSSH2_KNOWNHOST_CHECK_FAILURE;
    if (result == LIBSSH2_KNOWNHOST_CHECK_MATCH)
        says = mark == MARK_REVOKED ? KNOWN_REVOKED : KNOWN_MATCH;
    else if (result == LIBSSH2_KNOWNHOST_CHECK_MISMATCH && mark == MARK_NONE)
        says = KNOWN_CHANGED;
    /* One line that knows the key is enough, whatever others of the host say, but for a revocation.
     */
    if (says == KNOWN_NEW || (says == KNOWN_CHANGED && c->result != KNOWN_NEW) ||
        (says == KNOWN_MATCH && c->result == KNOWN_MATCH))
        return;
    c->result = says;
    (void)snprintf(c->place.file, sizeof(c->place.file), "%s", c->path);
    c->place.line = number;
}

static enum error_code take_key(LIBSSH2_SESSION *session, struct look *look, struct error *err)
{
    int type = 0;
    look->session = session;
    look->key = libssh2_session_hostkey(session, &look->key_len, &type);
    return look->key ? ERR_OK : error_set(err, ERR_PROTOCOL, "the host has sent no key");
}

enum error_code known_hosts_check(LIBSSH2_SESSION *session, const struct ssh_config *config,
                                  enum known_result *ret_result, struct known_place *ret_place,
                                  struct error *err)
{
    struct checking c = {.result = KNOWN_NEW};
    enum error_code code = take_key(session, &c.look, err);
    known_hosts_name(config, c.look.name);
    for (size_t i = 0; code == ERR_OK && i < config->known_count; i++) {
        c.path = config->known[i];
        code = each_line(config->known[i], check_one, &c, err);
    }
    if (code == ERR_OK && c.failed)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (code != ERR_OK)
        return code;
    *ret_result = c.result;
    *ret_place = c.place;
    return ERR_OK;
}

/* ---- Types -------------------------------------------------------------------------------------
 */

static const struct {
    int mask;
    const char *name;
} key_types[] = {
    {LIBSSH2_KNOWNHOST_KEY_ED25519, "ssh-ed25519"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_256, "ecdsa-sha2-nistp256"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_384, "ecdsa-sha2-nistp384"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_521, "ecdsa-sha2-nistp521"},
    {LIBSSH2_KNOWNHOST_KEY_SSHRSA, "ssh-rsa"},
};

struct preferring {
    struct look look;
    bool known[ARRAY_LEN(key_types)];
};

static void note_type(void *ctx, const char *line, size_t len, int number)
{
    struct preferring *p = ctx;
    struct libssh2_knownhost *entry = NULL;
    __attribute__((cleanup(hosts_free_auto))) LIBSSH2_KNOWNHOSTS *hosts = NULL;
    (void)number;
    if (take_mark(&line, &len) != MARK_NONE ||
        check_line(&p->look, line, len, &entry, &hosts) != LIBSSH2_KNOWNHOST_CHECK_MISMATCH)
        return;
    for (size_t i = 0; i < ARRAY_LEN(key_types); i++) {
        if ((entry->typemask & LIBSSH2_KNOWNHOST_KEY_MASK) == key_types[i].mask)
            p->known[i] = true;
    }
}

void known_hosts_prefer(LIBSSH2_SESSION *session, const struct ssh_config *config)
{
    /* No host has this key: each line of the host is a mismatch, and tells its type. */
    struct preferring p = {.look = {.session = session, .key = "none", .key_len = 4}};
    char order[256] = "";
    size_t len = 0;
    known_hosts_name(config, p.look.name);
    for (size_t i = 0; i < config->known_count; i++)
        error_ignore(each_line(config->known[i], note_type, &p, NULL));
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(key_types); i++) {
            if (p.known[i] != (round == 0))
                continue;
            int put = snprintf(order + len, sizeof(order) - len, "%s%s", len > 0 ? "," : "",
                               key_types[i].name);
            len += put > 0 ? (size_t)put : 0;
        }
    }
    (void)libssh2_session_method_pref(session, LIBSSH2_METHOD_HOSTKEY, order);
}

/* ---- Adding ------------------------------------------------------------------------------------
 */

/* The folder of a file, made for this user alone when it is not there. */
static void make_folder(const char *path)
{
    char folder[TARGET_PATH_MAX];
    (void)snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return;
    *slash = '\0';
    (void)mkdir(folder, 0700); /* what is wrong with it shows when the file is opened */
}

enum error_code known_hosts_add(LIBSSH2_SESSION *session, const struct ssh_config *config,
                                struct error *err)
{
    struct look look = {0};
    char type[64] = "";
    char name[KNOWN_NAME_MAX];
    AUTO_FREE char *line = NULL;
    enum error_code code = take_key(session, &look, err);
    if (code != ERR_OK)
        return code;
    if (config->known_user_count == 0)
        return error_set(err, ERR_NOT_FOUND, "there is no file of known hosts to add a key to");
    /* A key begins with its type: a length of four bytes, and so many characters. */
    size_t type_len = look.key_len > 4 ? (unsigned char)look.key[3] : 0;
    if (type_len == 0 || type_len >= sizeof(type) || look.key_len > KEY_BYTES_MAX ||
        look.key_len < 4 + type_len)
        return error_set(err, ERR_PROTOCOL, "the host's key has no type");
    memcpy(type, look.key + 4, type_len);
    known_hosts_name(config, name);
    size_t size = sizeof(name) + sizeof(type) + look.key_len * 2;
    line = mem_zalloc(size);
    if (!line)
        return error_set(err, ERR_NO_MEMORY, NULL);
    int len = snprintf(line, size, "%s %s ", name, type);
    len += EVP_EncodeBlock((unsigned char *)line + len, (const unsigned char *)look.key,
                           (int)look.key_len);
    line[len++] = '\n';
    make_folder(config->known[0]);
    AUTO_CLOSE int fd =
        open(config->known[0], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return error_errno(err, errno, "cannot add to %.128s", config->known[0]);
    (void)flock(fd, LOCK_EX); /* one write is whole as it is; the lock keeps editors out */
    if (write(fd, line, (size_t)len) != len)
        return error_errno(err, errno, "cannot add to %.128s", config->known[0]);
    return ERR_OK;
}
