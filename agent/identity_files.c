#include "agent/identity_files.h"

#include "common/base/cleanup.h"
#include "common/base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

DEFINE_CLEANUP(pki_key_free, struct pki_key)
DEFINE_CLEANUP(pki_certs_free, struct pki_certs)

/* ---- Paths ------------------------------------------------------------------------------------
 */

PRINTF_LIKE(2, 3) static bool path_set(char path[IDENTITY_PATH_MAX], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(path, IDENTITY_PATH_MAX, fmt, args);
    va_end(args);
    return len >= 0 && len < IDENTITY_PATH_MAX;
}

enum error_code identity_paths_set(struct identity_paths *paths, const char *data_dir,
                                   const char *server, const char *ticket, struct error *err)
{
    bool fits = path_set(paths->data_dir, "%s", data_dir) &&
                path_set(paths->folder, "%s/identity", data_dir) &&
                path_set(paths->pair, "%s/identity/%s.pem", data_dir, server) &&
                path_set(paths->key, "%s/identity/%s.key", data_dir, server) &&
                path_set(paths->ca, "%s/identity/ca.crt", data_dir) &&
                path_set(paths->ticket, "%s", ticket ? ticket : "");
    return fits ? ERR_OK : error_set(err, ERR_LIMIT, "%.100s...: the path is too long", data_dir);
}

static enum error_code folder_make(const struct identity_paths *paths, struct error *err)
{
    if (mkdir(paths->folder, 0700) != 0)
        return errno == EEXIST ? ERR_OK : error_errno(err, errno, "making %.150s", paths->folder);
    /* A key that a ticket was used for must not be lost with its folder. */
    AUTO_CLOSE int fd = open(paths->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return error_errno(err, errno, "writing %.150s", paths->data_dir);
    return ERR_OK;
}

/* One that is gone already is fine. Durable, where it matters that it does not come back. */
static enum error_code file_remove(const char *path, struct error *err)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return error_errno(err, errno, "removing %.150s", path);
    return ERR_OK;
}

/* ---- Key and certificate ----------------------------------------------------------------------
 */

/* A crash after the pair was saved leaves its key behind. */
static enum error_code key_tidy(const struct identity_paths *paths, const struct pki_certs *certs,
                                struct error *err)
{
    AUTO(pki_key_free) struct pki_key *key = NULL;
    if (access(paths->key, F_OK) != 0 || pki_key_load(paths->key, &key, NULL) != ERR_OK ||
        pki_pair_check(key, certs, paths->key, NULL) != ERR_OK)
        return ERR_OK;
    return file_remove(paths->key, err);
}

enum error_code identity_pair_load(const struct identity_paths *paths, struct pki_key **ret_key,
                                   struct pki_certs **ret_certs, struct error *err)
{
    AUTO(pki_key_free) struct pki_key *key = NULL;
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    enum error_code code = pki_pair_load(paths->pair, &key, &certs, err);
    if (code == ERR_OK)
        code = key_tidy(paths, certs, err);
    if (code != ERR_OK)
        return code;
    *ret_key = TAKE(key);
    *ret_certs = TAKE(certs);
    return ERR_OK;
}

enum error_code identity_key(const struct identity_paths *paths, struct pki_key **ret_key,
                             struct error *err)
{
    AUTO(pki_key_free) struct pki_key *key = NULL;
    enum error_code code = folder_make(paths, err);
    if (code == ERR_OK && access(paths->key, F_OK) == 0)
        code = pki_key_load(paths->key, &key, err);
    if (code == ERR_OK && !key) {
        code = pki_key_new(&key, err);
        if (code == ERR_OK)
            code = pki_key_save(key, paths->key, err);
    }
    FAILPOINT(FAIL_IDENTITY_KEY);
    if (code == ERR_OK)
        *ret_key = TAKE(key);
    return code;
}

enum error_code identity_pair_save(const struct identity_paths *paths, const struct pki_key *key,
                                   const struct pki_certs *certs, struct error *err)
{
    FAILPOINT(FAIL_IDENTITY_ANSWER);
    enum error_code code = folder_make(paths, err);
    if (code == ERR_OK)
        code = pki_pair_save(key, certs, paths->pair, err);
    if (code != ERR_OK)
        return code;
    FAILPOINT(FAIL_IDENTITY_SAVED);
    return file_remove(paths->key, err);
}

/* ---- The ticket -------------------------------------------------------------------------------
 */

enum error_code identity_ticket_read(const struct identity_paths *paths,
                                     struct pki_secret *ret_ticket, struct error *err)
{
    AUTO_SECRET struct pki_secret ticket = {0};
    if (!identity_ticket_there(paths))
        return error_set(err, ERR_NOT_FOUND, "there is no ticket");
    enum error_code code = pki_secret_read(paths->ticket, IDENTITY_TICKET_MAX, &ticket, err);
    if (code != ERR_OK)
        return code;
    size_t len = strcspn(ticket.data, " \t\r\n");
    if (len == 0 || strspn(ticket.data + len, " \t\r\n") != ticket.len - len)
        return error_set(err, ERR_INVALID,
                         "%.150s: it has to hold a ticket, as \"kitsune agent ticket\" prints it, "
                         "and nothing else",
                         paths->ticket);
    ticket.data[len] = '\0';
    *ret_ticket = (struct pki_secret){.data = TAKE(ticket.data), .len = len};
    return ERR_OK;
}

bool identity_ticket_there(const struct identity_paths *paths)
{
    return paths->ticket[0] != '\0' && access(paths->ticket, F_OK) == 0;
}

enum error_code identity_ticket_remove(const struct identity_paths *paths, struct error *err)
{
    return identity_ticket_there(paths) ? file_remove(paths->ticket, err) : ERR_OK;
}
