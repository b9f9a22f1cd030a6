#include "orchestrator/identity.h"

#include "common/base/id.h"
#include "common/pki/pki_ca.h"
#include "common/pki/pki_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_ROOM = 4096, HOSTS_BYTES_MAX = 16 * 1024 };
static const int64_t ca_lifetime_ms = INT64_C(20) * 365 * 24 * 3600 * 1000;

struct paths {
    char folder[PATH_ROOM], ca_key[PATH_ROOM], ca_cert[PATH_ROOM];
    char hosts[PATH_ROOM], server[PATH_ROOM];
};

struct identity {
    struct paths paths;
    struct pki_ca *ca;
    struct pki_key *key;
    struct pki_certs *certs;
    struct net_tls_server tls; /* of the above */
    struct pki_facts ca_facts, facts;
    struct buf ca_pem;
};

DEFINE_CLEANUP(pki_ca_free, struct pki_ca)
DEFINE_CLEANUP(pki_key_free, struct pki_key)
DEFINE_CLEANUP(pki_certs_free, struct pki_certs)

static bool path_put(char ret[PATH_ROOM], const char *dir, const char *name)
{
    int len = snprintf(ret, PATH_ROOM, "%s/pki%s", dir, name);
    return len > 0 && len < PATH_ROOM;
}

static enum error_code paths_set(struct paths *paths, const char *dir, struct error *err)
{
    if (!path_put(paths->folder, dir, "") || !path_put(paths->ca_key, dir, "/ca.key") ||
        !path_put(paths->ca_cert, dir, "/ca.crt") || !path_put(paths->hosts, dir, "/hosts") ||
        !path_put(paths->server, dir, "/server.pem"))
        return error_set(err, ERR_LIMIT, "the data directory's path is too long");
    return ERR_OK;
}

static bool is_there(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* ---- Hosts ----------------------------------------------------------------------------------- */

struct host_list {
    struct buf text; /* the names, each with its NUL */
    const char *names[PKI_HOSTS_MAX + 1];
};

static void host_list_done(struct host_list *list)
{
    buf_done(&list->text);
}
#define AUTO_HOSTS __attribute__((cleanup(host_list_done)))

static enum error_code hosts_write(const char *path, const char *const *hosts, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    for (size_t i = 0; hosts[i] != NULL; i++) {
        buf_puts(&text, hosts[i]);
        buf_putc(&text, '\n');
    }
    enum error_code code = buf_check(&text, err);
    return code == ERR_OK ? pki_file_write(path, text.data, text.len, 0644, err) : code;
}

static enum error_code hosts_read(const char *path, struct host_list *ret, struct error *err)
{
    size_t count = 0;
    enum error_code code = pki_file_read(path, HOSTS_BYTES_MAX, &ret->text, err);
    if (code != ERR_OK)
        return code;
    char *rest = NULL;
    char *text = ret->text.data == NULL ? NULL : strtok_r(ret->text.data, "\n", &rest);
    for (; text != NULL; text = strtok_r(NULL, "\n", &rest)) {
        if (count == PKI_HOSTS_MAX)
            return error_set(err, ERR_LIMIT, "%.100s: more than %d names", path, PKI_HOSTS_MAX);
        ret->names[count++] = text;
    }
    return count > 0 ? ERR_OK : error_set(err, ERR_INVALID, "%.100s: no names in it", path);
}

/* ---- Making ---------------------------------------------------------------------------------- */

static enum error_code ca_make(const struct paths *paths, int64_t now_ms, struct error *err)
{
    const struct pki_validity validity = {now_ms, ca_lifetime_ms};
    AUTO(pki_ca_free) struct pki_ca *ca = NULL;
    if (mkdir(paths->folder, 0700) != 0 && errno != EEXIST)
        return error_errno(err, errno, "making %.150s", paths->folder);
    if (is_there(paths->ca_cert))
        return ERR_OK;
    enum error_code code = pki_ca_new(&validity, &ca, err);
    return code == ERR_OK ? pki_ca_save(ca, paths->ca_key, paths->ca_cert, err) : code;
}

static enum error_code server_sign(const struct paths *paths, const struct pki_ca *ca,
                                   const struct pki_validity *validity, struct error *err)
{
    AUTO_HOSTS struct host_list hosts = {.text = BUF_INIT};
    AUTO(pki_key_free) struct pki_key *key = NULL;
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    enum error_code code = hosts_read(paths->hosts, &hosts, err);
    if (code == ERR_OK)
        code = pki_key_new(&key, err);
    if (code == ERR_OK)
        code = pki_ca_sign_server(ca, key, hosts.names, validity, &certs, err);
    return code == ERR_OK ? pki_pair_save(key, certs, paths->server, err) : code;
}

/* Whether they can be signed for, before they are written down. */
static enum error_code hosts_try(const struct pki_ca *ca, const char *const *hosts,
                                 const struct pki_validity *validity, struct error *err)
{
    AUTO(pki_key_free) struct pki_key *key = NULL;
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    enum error_code code = pki_key_new(&key, err);
    return code == ERR_OK ? pki_ca_sign_server(ca, key, hosts, validity, &certs, err) : code;
}

enum error_code identity_make(const char *dir, const char *const *hosts, int64_t lifetime_ms,
                              int64_t now_ms, struct error *err)
{
    struct paths paths;
    const struct pki_validity validity = {now_ms, lifetime_ms};
    AUTO(pki_ca_free) struct pki_ca *ca = NULL;
    enum error_code code = paths_set(&paths, dir, err);
    if (code == ERR_OK)
        code = ca_make(&paths, now_ms, err);
    if (code == ERR_OK)
        code = pki_ca_load(paths.ca_key, paths.ca_cert, &ca, err);
    if (code == ERR_OK && hosts != NULL)
        code = hosts_try(ca, hosts, &validity, err);
    if (code == ERR_OK && hosts != NULL)
        code = hosts_write(paths.hosts, hosts, err);
    if (code == ERR_OK && (hosts != NULL || !is_there(paths.server)))
        code = server_sign(&paths, ca, &validity, err);
    return code;
}

/* ---- Loading --------------------------------------------------------------------------------- */

void identity_free(struct identity *identity)
{
    if (identity == NULL)
        return;
    pki_ca_free(identity->ca);
    pki_key_free(identity->key);
    pki_certs_free(identity->certs);
    buf_done(&identity->ca_pem);
    mem_free(identity);
}

static enum error_code server_load(struct identity *identity, struct error *err)
{
    AUTO(pki_key_free) struct pki_key *key = NULL;
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    struct pki_facts facts;
    enum error_code code = pki_pair_load(identity->paths.server, &key, &certs, err);
    if (code == ERR_OK)
        code = pki_certs_facts(certs, 0, &facts, err);
    if (code != ERR_OK)
        return code;
    pki_key_free(identity->key);
    pki_certs_free(identity->certs);
    identity->key = TAKE(key);
    identity->certs = TAKE(certs);
    identity->facts = facts;
    identity->tls = (struct net_tls_server){
        .certs = identity->certs, .key = identity->key, .client_ca = pki_ca_certs(identity->ca)};
    return ERR_OK;
}

enum error_code identity_load(const char *dir, struct identity **ret_identity, struct error *err)
{
    AUTO(identity_free) struct identity *identity = MEM_NEW(struct identity);
    if (identity == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    const struct paths *paths = &identity->paths;
    enum error_code code = paths_set(&identity->paths, dir, err);
    if (code != ERR_OK)
        return code;
    if (!is_there(paths->ca_cert) || !is_there(paths->server))
        return error_set(err, ERR_NOT_FOUND,
                         "%.80s has no identity yet: make one with \"kitsune-orchestrator init "
                         "--data-dir %.80s\"",
                         dir, dir);
    code = pki_ca_load(paths->ca_key, paths->ca_cert, &identity->ca, err);
    if (code == ERR_OK)
        code = pki_certs_facts(pki_ca_certs(identity->ca), 0, &identity->ca_facts, err);
    if (code == ERR_OK)
        code = pki_certs_pem(pki_ca_certs(identity->ca), &identity->ca_pem, err);
    if (code == ERR_OK)
        code = server_load(identity, err);
    if (code == ERR_OK)
        *ret_identity = TAKE(identity);
    return code;
}

const struct net_tls_server *identity_tls(const struct identity *identity)
{
    return &identity->tls;
}

int64_t identity_expires_ms(const struct identity *identity)
{
    return identity->facts.not_after_ms;
}

int64_t identity_ca_expires_ms(const struct identity *identity)
{
    return identity->ca_facts.not_after_ms;
}

const char *identity_ca_pem(const struct identity *identity)
{
    return identity->ca_pem.data;
}

const char *identity_ca_fingerprint(const struct identity *identity)
{
    return identity->ca_facts.fingerprint;
}

/* ---- Renewing, and signing for agents -------------------------------------------------------- */

bool identity_is_due(const struct identity *identity, int64_t now_ms)
{
    int64_t begin_ms = identity->facts.not_before_ms + PKI_BACKDATE_MS;
    if (now_ms < identity->facts.not_before_ms)
        return true; /* made while the clock was ahead: nobody believes it now */
    return now_ms - begin_ms >= (identity->facts.not_after_ms - begin_ms) / 3 * 2;
}

enum error_code identity_renew(struct identity *identity, int64_t lifetime_ms, int64_t now_ms,
                               struct error *err)
{
    const struct pki_validity validity = {now_ms, lifetime_ms};
    enum error_code code = server_sign(&identity->paths, identity->ca, &validity, err);
    return code == ERR_OK ? server_load(identity, err) : code;
}

enum error_code identity_sign(const struct identity *identity,
                              const struct identity_request *request, struct pki_certs **ret_certs,
                              struct error *err)
{
    char name[IDENTITY_AGENT_MAX];
    const struct pki_validity validity = {request->now_ms, request->lifetime_ms};
    int len = snprintf(name, sizeof(name), IDENTITY_AGENT_PREFIX "%s", request->server);
    if (len < 0 || (size_t)len >= sizeof(name) || !id_valid(request->server))
        return error_set(err, ERR_INVALID, "\"%.80s\" is no server id", request->server);
    return pki_ca_sign_client(identity->ca, request->csr, name, &validity, ret_certs, err);
}

const char *identity_server(const char *identity)
{
    size_t len = strlen(IDENTITY_AGENT_PREFIX);
    if (strncmp(identity, IDENTITY_AGENT_PREFIX, len) != 0 || !id_valid(identity + len))
        return NULL;
    return identity + len;
}
