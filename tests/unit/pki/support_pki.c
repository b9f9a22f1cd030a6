#include "unit/pki/support_pki.h"

#include "common/base/buf.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void folder_make(struct folder *f)
{
    (void)snprintf(f->path, sizeof(f->path), "/tmp/kitsune-pki-XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

void folder_remove(struct folder *f)
{
    DIR *dir = opendir(f->path);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
    }
    (void)closedir(dir);
    assert_int_equal(rmdir(f->path), 0);
}

const char *folder_file(const struct folder *f, const char *name)
{
    static char paths[4][PATH_ROOM];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, PATH_ROOM, "%s/%s", f->path, name);
    return path;
}

void file_put(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

mode_t file_mode(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

struct pki_ca *ca_make(void)
{
    const struct pki_validity year = {.now_ms = NOW_MS, .lifetime_ms = INT64_C(365) * DAY_MS};
    struct pki_ca *ca = NULL;
    struct error err = {0};
    if (pki_ca_new(&year, &ca, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return ca;
}

struct pki_key *key_make(void)
{
    struct pki_key *key = NULL;
    struct error err = {0};
    if (pki_key_new(&key, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return key;
}

struct pki_certs *server_make(const struct pki_ca *ca, const struct pki_key *key, int64_t now_ms,
                              int64_t lifetime_ms)
{
    static const char *const hosts[] = {"orchestrator.example.org", "192.0.2.7", "2001:db8::7",
                                        NULL};
    const struct pki_validity validity = {.now_ms = now_ms, .lifetime_ms = lifetime_ms};
    struct pki_certs *certs = NULL;
    struct error err = {0};
    if (pki_ca_sign_server(ca, key, hosts, &validity, &certs, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return certs;
}

struct pki_certs *agent_make(const struct pki_ca *ca, const struct pki_key *key, int64_t now_ms,
                             int64_t lifetime_ms)
{
    const struct pki_validity validity = {.now_ms = now_ms, .lifetime_ms = lifetime_ms};
    struct pki_certs *certs = NULL;
    struct error err = {0};
    struct buf csr = BUF_INIT;
    if (pki_csr_new(key, &csr, &err) != ERR_OK ||
        pki_ca_sign_client(ca, csr.data, "kitsune:agent:web-1", &validity, &certs, &err) != ERR_OK)
        fail_msg("%s", err.message);
    buf_done(&csr);
    return certs;
}
