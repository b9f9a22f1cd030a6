#include "orchestrator/init.h"

#include "common/base/clock.h"
#include "common/pki/pki_key.h"
#include "orchestrator/access/audit.h"
#include "orchestrator/identity.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_ROOM = 256, HOSTS_MAX = OPTIONS_MAX_HOSTS + 8 };
static const char first_token[] = "admin";

/* ---- Whose it is ----------------------------------------------------------------------------- */

static enum error_code folder_make(const char *dir, struct stat *ret_info, struct error *err)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return error_errno(err, errno, "making %.150s", dir);
    if (stat(dir, ret_info) != 0)
        return error_errno(err, errno, "%.150s", dir);
    if (!S_ISDIR(ret_info->st_mode))
        return error_set(err, ERR_INVALID, "%.150s is no directory", dir);
    return ERR_OK;
}

static enum error_code owner_become(const char *dir, const struct stat *info, struct error *err)
{
    if (geteuid() != 0 || info->st_uid == 0)
        return ERR_OK;
    if (setgroups(0, NULL) != 0 || setresgid(info->st_gid, info->st_gid, info->st_gid) != 0 ||
        setresuid(info->st_uid, info->st_uid, info->st_uid) != 0)
        return error_errno(err, errno, "becoming the owner of %.150s", dir);
    return ERR_OK;
}

/* ---- The machine's names --------------------------------------------------------------------- */

struct host_names {
    const char *list[HOSTS_MAX + 1]; /* ended by NULL */
    size_t count;
    char short_name[NAME_ROOM], full_name[NAME_ROOM];
};

static void host_add(struct host_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcasecmp(names->list[i], name) == 0)
            return;
    }
    names->list[names->count++] = name;
}

/* What a certificate can be made for: a machine may be called otherwise. */
static bool name_usable(const char *name)
{
    for (const char *c = name; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '.')
            return false;
    }
    return isalnum((unsigned char)name[0]);
}

static void host_add_own(struct host_names *names)
{
    const struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (gethostname(names->short_name, sizeof(names->short_name) - 1) != 0)
        return;
    if (getaddrinfo(names->short_name, NULL, &hints, &found) == 0) {
        if (found->ai_canonname != NULL && strlen(found->ai_canonname) < NAME_ROOM)
            (void)snprintf(names->full_name, NAME_ROOM, "%s", found->ai_canonname);
        freeaddrinfo(found);
    }
    if (name_usable(names->full_name))
        host_add(names, names->full_name);
    if (name_usable(names->short_name))
        host_add(names, names->short_name);
}

static void hosts_find(struct host_names *names, const struct options *o)
{
    for (size_t i = 0; i < o->host_count; i++)
        host_add(names, o->hosts[i]);
    if (o->host_count == 0)
        host_add_own(names);
    host_add(names, "localhost");
    host_add(names, "127.0.0.1");
    host_add(names, "::1");
}

/* ---- The first token ------------------------------------------------------------------------- */

static void wake_nobody(void *ctx)
{
    (void)ctx;
}

struct outcome {
    enum error_code code;
    struct error error;
};

static void change_done(void *ctx, enum error_code result, const struct error *err)
{
    struct outcome *outcome = ctx;
    if (result != ERR_OK && outcome->code == ERR_OK) {
        outcome->code = result;
        outcome->error = *err;
    }
}

static bool is_admin(void *ctx, const struct access_token *token)
{
    bool *found = ctx;
    *found = *found || token->role == ROLE_ADMIN;
    return !*found;
}

/* Neither a second CA nor a second first token. */
static enum error_code refuse_again(struct access *access, struct error *err)
{
    bool found = false;
    access_tokens(access, is_admin, &found);
    if (!found)
        return ERR_OK;
    return error_set(err, ERR_EXISTS,
                     "it is initialised already. For a certificate for other hosts: init --renew "
                     "--host NAME. For another token, as root on this machine, over --socket: "
                     "kitsune token create");
}

static enum error_code token_make(struct access *access, char ret_secret[ACCESS_SECRET_BUFFER],
                                  struct outcome *outcome, struct error *err)
{
    int64_t now_ms = clock_wall_ms();
    const struct access_token token = {
        .name = first_token, .role = ROLE_ADMIN, .created_ms = now_ms, .created_by = "init"};
    const struct audit_entry entry = {.time_ms = now_ms,
                                      .who = "init",
                                      .role = "admin",
                                      .action = "token.create",
                                      .target = first_token,
                                      .result = "ok",
                                      .detail = "admin: the first one"};
    enum error_code code = audit_append(access, &entry, change_done, outcome, err);
    return code == ERR_OK
               ? access_token_create(access, &token, ret_secret, change_done, outcome, err)
               : code;
}

/* ---- What is said ---------------------------------------------------------------------------- */

static enum error_code token_file_open(const char *path, int *ret_fd, struct error *err)
{
    struct stat info;
    *ret_fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    if (*ret_fd < 0 || fstat(*ret_fd, &info) != 0)
        return error_errno(err, errno, "--token-file %.150s", path);
    /* An empty one was left by an init that came to nothing. */
    if (!S_ISREG(info.st_mode) || info.st_size != 0 || info.st_uid != geteuid())
        return error_set(err, ERR_EXISTS, "--token-file %.150s is there already", path);
    return fchmod(*ret_fd, 0600) == 0 ? ERR_OK
                                      : error_errno(err, errno, "--token-file %.150s", path);
}

static enum error_code token_file_write(int fd, const char *secret, struct error *err)
{
    char line[ACCESS_SECRET_BUFFER + 1];
    int len = snprintf(line, sizeof(line), "%s\n", secret);
    bool whole = write(fd, line, (size_t)len) == len && fsync(fd) == 0;
    explicit_bzero(line, sizeof(line));
    return whole ? ERR_OK : error_errno(err, errno, "writing the --token-file");
}

static void say(const struct options *o, const struct identity *identity, const char *host,
                const char *secret)
{
    const char *fingerprint = identity_ca_fingerprint(identity);
    (void)printf("ca-fingerprint: %s\n", fingerprint);
    if (o->token_file != NULL)
        (void)printf("admin-token-file: %s\n", o->token_file);
    else
        (void)printf("admin-token: %s\n", secret);
    (void)printf("\n"
                 "Keep the token: it is not told again. Start the orchestrator, and log in from "
                 "where you work:\n\n"
                 "  kitsune-orchestrator --data-dir %s --listen 0.0.0.0:%u\n"
                 "  kitsune login https://%s%s%s:%u --ca-fingerprint %s\n",
                 o->data_dir, o->port, strchr(host, ':') != NULL ? "[" : "", host,
                 strchr(host, ':') != NULL ? "]" : "", o->port, fingerprint);
}

/* ---- Doing it -------------------------------------------------------------------------------- */

static enum error_code renew(const struct options *o, const struct host_names *names,
                             struct error *err)
{
    AUTO(identity_free) struct identity *identity = NULL;
    int64_t now_ms = clock_wall_ms();
    enum error_code code = identity_load(o->data_dir, &identity, err);
    if (code == ERR_OK)
        code = o->host_count > 0
                   ? identity_make(o->data_dir, names->list, o->server_certificate_ms, now_ms, err)
                   : identity_renew(identity, o->server_certificate_ms, now_ms, err);
    if (code == ERR_OK)
        (void)puts("The server's certificate was made anew. Restart the orchestrator to use it.");
    return code;
}

static enum error_code make_in(struct access *access, const struct options *o,
                               const struct host_names *names, struct identity **ret_identity,
                               struct error *err)
{
    enum error_code code = refuse_again(access, err);
    if (code == ERR_OK)
        code =
            identity_make(o->data_dir, names->list, o->server_certificate_ms, clock_wall_ms(), err);
    return code == ERR_OK ? identity_load(o->data_dir, ret_identity, err) : code;
}

/* The token comes last: what fails before leaves nothing that stands in the way of trying again.
 */
static enum error_code make(const struct options *o, const struct host_names *names, int token_fd,
                            struct error *err)
{
    char secret[ACCESS_SECRET_BUFFER] = "";
    struct access *access = NULL;
    struct outcome outcome = {0};
    AUTO(identity_free) struct identity *identity = NULL;
    enum error_code code = access_open(o->data_dir, wake_nobody, NULL, &access, err);
    if (code != ERR_OK)
        return code;
    code = make_in(access, o, names, &identity, err);
    if (code == ERR_OK)
        code = token_make(access, secret, &outcome, err);
    access_close(access); /* and what was changed is durable */
    if (code == ERR_OK && outcome.code != ERR_OK)
        code = error_set(err, outcome.code, "%s", outcome.error.message);
    if (code == ERR_OK && token_fd >= 0)
        code = token_file_write(token_fd, secret, err);
    if (code == ERR_OK)
        say(o, identity, names->list[0], secret);
    explicit_bzero(secret, sizeof(secret));
    return code;
}

int init_run(const struct options *options)
{
    struct error err = {0};
    struct stat info = {0};
    struct host_names names = {0};
    AUTO_CLOSE int token_fd = -1;
    (void)pki_keys_protect();
    (void)umask(077);
    enum error_code code = folder_make(options->data_dir, &info, &err);
    /* Whoever calls this says where the token goes, and not the directory's owner. */
    if (code == ERR_OK && options->token_file != NULL && !options->renew)
        code = token_file_open(options->token_file, &token_fd, &err);
    if (code == ERR_OK)
        code = owner_become(options->data_dir, &info, &err);
    hosts_find(&names, options);
    if (code == ERR_OK)
        code =
            options->renew ? renew(options, &names, &err) : make(options, &names, token_fd, &err);
    if (code == ERR_OK && fflush(stdout) == 0)
        return EXIT_SUCCESS;
    (void)fprintf(stderr, "kitsune-orchestrator: %s: %s\n", options->data_dir, err.message);
    return EXIT_FAILURE;
}
