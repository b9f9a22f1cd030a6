#include "handlers/rpm_read.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <rpm/rpmdb.h>
#include <rpm/rpmfiles.h>
#include <rpm/rpmfileutil.h>
#include <rpm/rpmlib.h>
#include <rpm/rpmlog.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMPLAINT_MAX = 200, DIGEST_BYTES_MAX = 128 };

/* librpm's log is the process's, and this process does nothing else. */
static char complaint[COMPLAINT_MAX];
static bool is_told; /* complaints are printed too */

static int take_complaint(rpmlogRec record, rpmlogCallbackData data)
{
    const char *text = rpmlogRecMessage(record);
    (void)data;
    if (!text || rpmlogRecPriority(record) > (is_told ? RPMLOG_WARNING : RPMLOG_ERR))
        return 0;
    if (is_told)
        (void)printf("%s%s", text, strchr(text, '\n') ? "" : "\n");
    if (complaint[0] == '\0' && rpmlogRecPriority(record) <= RPMLOG_ERR)
        (void)snprintf(complaint, sizeof(complaint), "%.*s", (int)strcspn(text, "\n"), text);
    return 0;
}

const char *rpm_read_complaint(void)
{
    return complaint;
}

rpmts rpm_read_open(const char *root, bool write, struct error *err)
{
    struct stat st;
    complaint[0] = '\0';
    is_told = write;
    (void)rpmlogSetCallback(take_complaint, NULL);
    /* librpm would make the folders. */
    if (stat(root, &st) != 0) {
        error_ignore(error_errno(err, errno, "the installroot %s", root));
        return NULL;
    }
    if (!S_ISDIR(st.st_mode)) {
        error_ignore(error_set(err, ERR_INVALID, "the installroot %s is not a folder", root));
        return NULL;
    }
    if (rpmReadConfigFiles(NULL, NULL) != 0) {
        error_ignore(error_set(err, ERR_IO, "cannot read rpm's configuration: %s", complaint));
        return NULL;
    }
    rpmts ts = rpmtsCreate();
    if (!ts || rpmtsSetRootDir(ts, root) != 0) {
        error_ignore(error_set(err, ERR_INVALID, "%s cannot be an installroot", root));
        rpmtsFree(ts);
        return NULL;
    }
    if (rpmtsOpenDB(ts, write ? O_RDWR : O_RDONLY) != 0) {
        error_ignore(error_set(err, ERR_IO, "cannot open the package database: %s", complaint));
        rpmtsFree(ts);
        return NULL;
    }
    return ts;
}

struct rpm_package rpm_read_package(Header header)
{
    union { /* the texts are the header's, and nobody writes to them */
        const char *from;
        char *to;
    } texts[4];
    static const rpmTag tags[] = {RPMTAG_NAME, RPMTAG_VERSION, RPMTAG_RELEASE, RPMTAG_ARCH};
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        texts[i].from = headerGetString(header, tags[i]);
        if (!texts[i].from)
            texts[i].from = "";
    }
    return (struct rpm_package){
        .name = texts[0].to,
        .epoch = (int64_t)headerGetNumber(header, RPMTAG_EPOCH),
        .version = texts[1].to,
        .release = texts[2].to,
        .arch = texts[3].to,
    };
}

/* ---- Installed --------------------------------------------------------------------------- */

static bool files_clash(Header a, Header b)
{
    bool clash = false;
    rpmfiles left = rpmfilesNew(NULL, a, RPMTAG_BASENAMES, RPMFI_FLAGS_QUERY);
    rpmfiles right = rpmfilesNew(NULL, b, RPMTAG_BASENAMES, RPMFI_FLAGS_QUERY);
    int count = (int)rpmfilesFC(left);
    for (int i = 0; i < count && !clash; i++) {
        char *path = rpmfilesFN(left, i);
        int other = path ? rpmfilesFindFN(right, path) : -1;
        /* A ghost is not of the package's making. */
        clash = other >= 0 && !(rpmfilesFFlags(left, i) & RPMFILE_GHOST) &&
                !(rpmfilesFFlags(right, other) & RPMFILE_GHOST) &&
                rpmfilesCompare(left, i, right, other) != 0;
        free(path);
    }
    rpmfilesFree(left);
    rpmfilesFree(right);
    return clash;
}

Header rpm_read_header(rpmts ts, const char *nevra)
{
    Header found = NULL;
    char text[RPM_TEXT_MAX], name[RPM_TEXT_MAX];
    /* NAME-EPOCH:VERSION-RELEASE.ARCH: the name is what stands before the last dash but one. */
    (void)snprintf(name, sizeof(name), "%s", nevra);
    for (int i = 0; i < 2; i++) {
        char *dash = strrchr(name, '-');
        if (!dash)
            return NULL;
        *dash = '\0';
    }
    rpmdbMatchIterator it = rpmtsInitIterator(ts, RPMDBI_NAME, name, 0);
    for (Header h; !found && (h = rpmdbNextIterator(it)) != NULL;) {
        const struct rpm_package p = rpm_read_package(h);
        rpm_package_nevra(&p, text);
        if (strcmp(text, nevra) == 0)
            found = headerLink(h);
    }
    rpmdbFreeIterator(it);
    return found;
}

/* Two instances of a name and architecture are looked at; there are few. */
static void clashes_find(rpmts ts, struct array *packages)
{
    char text[RPM_TEXT_MAX];
    for (size_t i = 0; i < packages->count; i++) {
        struct rpm_package *a = ARRAY_AT(packages, struct rpm_package, i);
        for (size_t k = i + 1; k < packages->count; k++) {
            struct rpm_package *b = ARRAY_AT(packages, struct rpm_package, k);
            if (strcmp(a->name, b->name) != 0)
                break;
            if (strcmp(a->arch, b->arch) != 0)
                continue;
            rpm_package_nevra(a, text);
            Header left = rpm_read_header(ts, text);
            rpm_package_nevra(b, text);
            Header right = rpm_read_header(ts, text);
            if (left && right && files_clash(left, right))
                a->clash = b->clash = true;
            headerFree(left);
            headerFree(right);
        }
    }
}

static int by_name(const void *a, const void *b)
{
    const struct rpm_package *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order != 0 ? order : rpm_package_compare(left, right);
}

enum error_code rpm_read_installed(rpmts ts, struct rpm_set *ret_set, struct error *err)
{
    enum error_code code = ERR_OK;
    struct rpm_set set = {0};
    /* The headers were checked when they were installed. */
    (void)rpmtsSetVSFlags(ts, rpmtsVSFlags(ts) | RPMVSF_MASK_NODIGESTS | RPMVSF_MASK_NOSIGNATURES);
    rpmdbMatchIterator it = rpmtsInitIterator(ts, RPMDBI_PACKAGES, NULL, 0);
    for (Header h; code == ERR_OK && (h = rpmdbNextIterator(it)) != NULL;) {
        const struct rpm_package p = rpm_read_package(h);
        if (strcmp(p.name, "gpg-pubkey") != 0)
            code = rpm_packages_add(&set.packages, &p, err);
    }
    rpmdbFreeIterator(it);
    /* librpm tells of a database that it could not read by its log alone. */
    if (code == ERR_OK && complaint[0] != '\0')
        code = error_set(err, ERR_IO, "cannot read the package database: %s", complaint);
    if (code != ERR_OK) {
        rpm_set_done(&set);
        return code;
    }
    if (set.packages.count > 0)
        qsort(set.packages.items, set.packages.count, sizeof(struct rpm_package), by_name);
    clashes_find(ts, &set.packages);
    *ret_set = set;
    return ERR_OK;
}

/* ---- Damage ------------------------------------------------------------------------------ */

static bool link_differs(const char *path, const char *target)
{
    char buffer[PATH_MAX];
    ssize_t len = readlink(path, buffer, sizeof(buffer) - 1);
    if (len < 0)
        return true;
    buffer[len] = '\0';
    return !target || strcmp(buffer, target) != 0;
}

static bool file_differs(const char *root, rpmfiles files, int i)
{
    struct stat st;
    char path[PATH_MAX];
    unsigned char digest[DIGEST_BYTES_MAX] = {0};
    int algorithm = 0;
    size_t len = 0;
    char *name = rpmfilesFN(files, i);
    int written = snprintf(path, sizeof(path), "%s%s", root, name ? name : "");
    free(name);
    if (written < 0 || (size_t)written >= sizeof(path))
        return false;
    rpm_mode_t mode = rpmfilesFMode(files, i);
    if (lstat(path, &st) != 0)
        return true;
    if ((st.st_mode & S_IFMT) != (mode & S_IFMT))
        return !S_ISDIR(mode); /* a folder may have become a link to one */
    if (S_ISLNK(mode))
        return link_differs(path, rpmfilesFLink(files, i));
    const unsigned char *expected = rpmfilesFDigest(files, i, &algorithm, &len);
    if (!S_ISREG(mode) || !expected || len == 0 || len > sizeof(digest))
        return false;
    return rpmDoDigest(algorithm, path, 0, digest) != 0 || memcmp(digest, expected, len) != 0;
}

bool rpm_read_damaged(const char *root, Header header)
{
    bool damaged = false;
    const char *top = strcmp(root, "/") == 0 ? "" : root;
    const rpmfileAttrs meant_to_change = RPMFILE_CONFIG | RPMFILE_GHOST;
    rpmfiles files = rpmfilesNew(NULL, header, RPMTAG_BASENAMES, RPMFI_KEEPHEADER);
    int count = (int)rpmfilesFC(files);
    for (int i = 0; i < count && !damaged; i++) {
        damaged = !(rpmfilesFFlags(files, i) & meant_to_change) &&
                  rpmfilesFState(files, i) == RPMFILE_STATE_NORMAL && file_differs(top, files, i);
    }
    rpmfilesFree(files);
    return damaged;
}

/* ---- Files ------------------------------------------------------------------------------- */

Header rpm_read_file(rpmts ts, const char *path, struct error *err)
{
    Header header = NULL;
    FD_t fd = Fopen(path, "r.ufdio");
    if (!fd || Ferror(fd)) {
        error_ignore(error_set(err, ERR_IO, "%s: %s", path, fd ? Fstrerror(fd) : "out of memory"));
        (void)Fclose(fd);
        return NULL;
    }
    rpmRC rc = rpmReadPackageFile(ts, fd, path, &header);
    (void)Fclose(fd);
    /* Who made it was checked when it was fetched, by the rules of its repository. */
    if (rc == RPMRC_OK || rc == RPMRC_NOTTRUSTED || rc == RPMRC_NOKEY)
        return header;
    headerFree(header);
    error_ignore(error_set(err, ERR_CORRUPT, "%s is no sound package: %s", path, complaint));
    return NULL;
}

static enum error_code file_add(rpmts ts, const char *dir, const char *name,
                                const struct rpm_read_each *each, struct rpm_set *set,
                                struct error *err)
{
    struct stat st;
    char path[PATH_MAX];
    union {
        const char *from;
        char *to;
    } file = {.from = name};
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (stat(path, &st) != 0)
        return error_errno(err, errno, "%s", path);
    Header header = rpm_read_file(ts, path, err);
    if (!header)
        return err->code;
    struct rpm_package p = rpm_read_package(header);
    p.file = file.to;
    p.size_bytes = st.st_size;
    enum error_code code = rpm_packages_add(&set->packages, &p, err);
    if (code == ERR_OK && each && each->each)
        code = each->each(each->ctx, header, err);
    headerFree(header);
    return code;
}

enum error_code rpm_read_files(rpmts ts, const char *dir, const struct rpm_read_each *each,
                               struct rpm_set *ret_set, struct error *err)
{
    enum error_code code = ERR_OK;
    AUTO_SET struct rpm_set set = {0};
    DIR *folder = opendir(dir);
    if (!folder && errno != ENOENT)
        return error_errno(err, errno, "%s", dir);
    while (folder && code == ERR_OK) {
        const struct dirent *entry = readdir(folder);
        if (!entry)
            break;
        size_t len = strlen(entry->d_name);
        if (len > 4 && strcmp(entry->d_name + len - 4, ".rpm") == 0)
            code = file_add(ts, dir, entry->d_name, each, &set, err);
    }
    if (folder)
        (void)closedir(folder);
    if (code != ERR_OK)
        return code;
    *ret_set = set;
    set = (struct rpm_set){0};
    return ERR_OK;
}
