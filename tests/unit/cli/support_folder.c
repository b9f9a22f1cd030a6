#include "unit/cli/support_folder.h"

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/pki/pki_ca.h"

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void folder_make(struct folder *f)
{
    (void)snprintf(f->path, sizeof(f->path), "/tmp/kitsune-cli-XXXXXX");
    const char *made = mkdtemp(f->path);
    assert(made);
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
    (void)info;
    (void)flag;
    (void)walk;
    return remove(path);
}

void folder_remove(struct folder *f)
{
    int rc = nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert(rc == 0);
}

const char *folder_path(const struct folder *f, const char *name, char ret_path[FOLDER_PATH])
{
    int n = snprintf(ret_path, FOLDER_PATH, "%s/%s", f->path, name);
    assert(n > 0 && n < FOLDER_PATH);
    return ret_path;
}

const char *folder_put(const struct folder *f, const char *name, const char *text, mode_t mode,
                       char ret_path[FOLDER_PATH])
{
    (void)folder_path(f, name, ret_path);
    for (char *slash = strchr(ret_path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(ret_path, 0700);
        *slash = '/';
    }
    int fd = open(ret_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0);
    ssize_t n = write(fd, text, strlen(text));
    assert(n == (ssize_t)strlen(text));
    int rc = fchmod(fd, mode);
    assert(rc == 0);
    (void)close(fd);
    return ret_path;
}

char *folder_text(const struct folder *f, const char *name)
{
    char path[FOLDER_PATH];
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(folder_path(f, name, path), "re");
    if (!file)
        return NULL;
    if (getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = strdup("");
    }
    (void)fclose(file);
    return text;
}

mode_t folder_mode(const struct folder *f, const char *name)
{
    char path[FOLDER_PATH];
    struct stat info = {0};
    int rc = stat(folder_path(f, name, path), &info);
    assert(rc == 0);
    return info.st_mode & 07777;
}

static void must(enum error_code code, const struct error *err)
{
    if (code != ERR_OK)
        (void)fprintf(stderr, "%s\n", err->message);
    assert(code == ERR_OK);
}

void trust_make(struct trust *t, const struct folder *f, const char *name, const char *host)
{
    enum { HOUR_MS = 3600 * 1000 };
    struct pki_validity validity = {.now_ms = clock_wall_ms(), .lifetime_ms = HOUR_MS};
    const char *const hosts[] = {host, NULL};
    struct pki_ca *ca = NULL;
    struct pki_key *key = NULL;
    struct pki_certs *certs = NULL;
    struct pki_facts facts = {0};
    struct buf pem = BUF_INIT;
    struct error err = {0};
    char file[64];
    must(pki_ca_new(&validity, &ca, &err), &err);
    must(pki_key_new(&key, &err), &err);
    must(pki_ca_sign_server(ca, key, hosts, &validity, &certs, &err), &err);
    must(pki_certs_facts(pki_ca_certs(ca), 0, &facts, &err), &err);
    must(pki_certs_pem(pki_ca_certs(ca), &pem, &err), &err);
    memcpy(t->fingerprint, facts.fingerprint, sizeof(t->fingerprint));
    (void)snprintf(file, sizeof(file), "%s-pair.pem", name);
    must(pki_pair_save(key, certs, folder_path(f, file, t->pair_file), &err), &err);
    (void)snprintf(file, sizeof(file), "%s-ca.pem", name);
    (void)folder_put(f, file, pem.data, 0644, t->ca_file);
    t->ca = strdup(pem.data);
    assert(t->ca);
    buf_done(&pem);
    pki_certs_free(certs);
    pki_key_free(key);
    pki_ca_free(ca);
}

void trust_done(struct trust *t)
{
    free(t->ca);
    t->ca = NULL;
}
