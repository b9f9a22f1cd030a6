#include "handlers/rpmdb.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rpm/header.h>
#include <rpm/rpmdb.h>
#include <rpm/rpmfiles.h>
#include <rpm/rpmlib.h>
#include <rpm/rpmlog.h>
#include <rpm/rpmts.h>
#include <rpm/rpmver.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INSTANCES_MAX = 1024, LOG_TEXT_MAX = 160 };

/*
 * librpm keeps its configuration and its log's callback for the whole process and may not be
 * entered by two threads, so the lock and what it covers are the process's too.
 */
static struct {
    pthread_mutex_t lock;
    bool configured;
    char complaint[LOG_TEXT_MAX]; /* the first that librpm logged in the query under way */
} librpm = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Keeps librpm from writing to the agent's standard error. */
static int take_complaint(rpmlogRec record, rpmlogCallbackData data)
{
    const char *text = rpmlogRecMessage(record);
    (void)data;
    if (librpm.complaint[0] == '\0' && text && rpmlogRecPriority(record) <= RPMLOG_ERR)
        (void)snprintf(librpm.complaint, sizeof(librpm.complaint), "%.*s", (int)strcspn(text, "\n"),
                       text);
    return 0;
}

static void package_done(struct rpm_package *p)
{
    mem_free(p->name);
    mem_free(p->version);
    mem_free(p->release);
    mem_free(p->arch);
}

void rpm_installed_done(struct rpm_installed *installed)
{
    struct array *packages = &installed->packages;
    for (size_t i = 0; i < packages->count; i++)
        package_done(ARRAY_AT(packages, struct rpm_package, i));
    mem_free(packages->items);
    *installed = (struct rpm_installed){0};
}
#define AUTO_INSTALLED __attribute__((cleanup(rpm_installed_done)))

/* The headers of the instances found so far. */
struct headers {
    Header items[INSTANCES_MAX];
    size_t count;
};

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

static bool headers_clash(const struct headers *headers, Header header, const char *arch)
{
    for (size_t i = 0; i < headers->count; i++) {
        const char *other = headerGetString(headers->items[i], RPMTAG_ARCH);
        if (arch && other && strcmp(arch, other) == 0 && files_clash(headers->items[i], header))
            return true;
    }
    return false;
}

static enum error_code packages_add(struct array *packages, Header header, struct error *err)
{
    struct rpm_package *items =
        mem_realloc(packages->items, (packages->count + 1) * sizeof(struct rpm_package));
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    packages->items = items;
    struct rpm_package *p = &items[packages->count++];
    const char *name = headerGetString(header, RPMTAG_NAME);
    const char *version = headerGetString(header, RPMTAG_VERSION);
    const char *release = headerGetString(header, RPMTAG_RELEASE);
    const char *arch = headerGetString(header, RPMTAG_ARCH);
    *p = (struct rpm_package){
        .name = mem_strdup(name ? name : ""),
        .epoch = (int64_t)headerGetNumber(header, RPMTAG_EPOCH),
        .version = mem_strdup(version ? version : ""),
        .release = mem_strdup(release ? release : ""),
        .arch = mem_strdup(arch ? arch : ""),
    };
    if (!p->name || !p->version || !p->release || !p->arch)
        return error_set(err, ERR_NO_MEMORY, NULL);
    return ERR_OK;
}

static enum error_code instances_read(rpmts ts, const char *name, const char *arch,
                                      struct rpm_installed *installed, struct error *err)
{
    enum error_code code = ERR_OK;
    struct headers headers = {.count = 0};
    rpmdbMatchIterator it = rpmtsInitIterator(ts, RPMDBI_NAME, name, 0);
    for (Header h; code == ERR_OK && (h = rpmdbNextIterator(it)) != NULL;) {
        const char *its_arch = headerGetString(h, RPMTAG_ARCH);
        if (arch && (!its_arch || strcmp(arch, its_arch) != 0))
            continue;
        if (headers.count == INSTANCES_MAX) {
            code = error_set(err, ERR_LIMIT, "more than %d instances of %s", INSTANCES_MAX, name);
            break;
        }
        installed->clash = installed->clash || headers_clash(&headers, h, its_arch);
        headers.items[headers.count++] = headerLink(h);
        code = packages_add(&installed->packages, h, err);
    }
    rpmdbFreeIterator(it);
    for (size_t i = 0; i < headers.count; i++)
        headerFree(headers.items[i]);
    return code;
}

/* A dot may be part of the name ("python3.11"), so the whole is tried first. */
static enum error_code package_read(rpmts ts, const char *package, struct rpm_installed *installed,
                                    struct error *err)
{
    enum error_code code = instances_read(ts, package, NULL, installed, err);
    const char *dot = strrchr(package, '.');
    if (code != ERR_OK || installed->packages.count > 0 || !dot || dot == package || !dot[1])
        return code;
    AUTO_FREE char *name = mem_strndup(package, (size_t)(dot - package));
    if (!name)
        return error_set(err, ERR_NO_MEMORY, NULL);
    installed->arch_given = true;
    return instances_read(ts, name, dot + 1, installed, err);
}

static enum error_code query(const char *root, const char *package, struct rpm_installed *installed,
                             struct error *err)
{
    librpm.complaint[0] = '\0';
    (void)rpmlogSetCallback(take_complaint, NULL);
    if (!librpm.configured) {
        if (rpmReadConfigFiles(NULL, NULL) != 0)
            return error_set(err, ERR_IO, "cannot read rpm's configuration: %s", librpm.complaint);
        librpm.configured = true;
    }
    rpmts ts = rpmtsCreate();
    if (!ts)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = ERR_OK;
    if (rpmtsSetRootDir(ts, root) != 0)
        code = error_set(err, ERR_INVALID, "%s cannot be an installroot", root);
    /* The headers were checked when they were installed. */
    (void)rpmtsSetVSFlags(ts, rpmtsVSFlags(ts) | RPMVSF_MASK_NODIGESTS | RPMVSF_MASK_NOSIGNATURES);
    if (code == ERR_OK && rpmtsOpenDB(ts, O_RDONLY) != 0)
        code = error_set(err, ERR_IO, "cannot open the package database: %s", librpm.complaint);
    if (code == ERR_OK)
        code = package_read(ts, package, installed, err);
    /* librpm tells of a database that it could not read by its log alone. */
    if (code == ERR_OK && installed->packages.count == 0 && librpm.complaint[0] != '\0')
        code = error_set(err, ERR_IO, "cannot read the package database: %s", librpm.complaint);
    rpmtsFree(ts);
    return code;
}

enum error_code rpmdb_installed(const char *root, const char *package,
                                struct rpm_installed *ret_installed, struct error *err)
{
    AUTO_INSTALLED struct rpm_installed installed = {0};
    struct stat st;
    const char *top = root ? root : "/";
    /* librpm would make the folders. */
    if (stat(top, &st) != 0)
        return error_errno(err, errno, "the installroot %s", top);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, ERR_INVALID, "the installroot %s is not a folder", top);
    (void)pthread_mutex_lock(&librpm.lock);
    enum error_code code = query(top, package, &installed, err);
    (void)pthread_mutex_unlock(&librpm.lock);
    if (code != ERR_OK)
        return code;
    *ret_installed = installed;
    installed = (struct rpm_installed){0};
    return ERR_OK;
}

/* ---- Versions ---------------------------------------------------------------------------- */

/* librpm takes a colon that no number stands before for a part of the version. */
static bool part_valid(const char *part)
{
    return part[0] != '\0' && !strchr(part, ':');
}

enum error_code rpm_version_parse(const char *text, struct rpm_version *ret_version,
                                  struct error *err)
{
    rpmver parsed = rpmverParse(text);
    if (!parsed || text[0] == ':' || !part_valid(rpmverV(parsed)) ||
        (rpmverR(parsed) && !part_valid(rpmverR(parsed)))) {
        rpmverFree(parsed);
        return error_set(err, ERR_INVALID,
                         "%s is no version: VERSION, VERSION-RELEASE or EPOCH:VERSION-RELEASE",
                         text);
    }
    struct rpm_version version = {
        .has_epoch = rpmverE(parsed) != NULL,
        .epoch = rpmverEVal(parsed),
        .version = mem_strdup(rpmverV(parsed)),
        .release = rpmverR(parsed) ? mem_strdup(rpmverR(parsed)) : NULL,
    };
    bool complete = version.version && (version.release || !rpmverR(parsed));
    rpmverFree(parsed);
    if (!complete) {
        rpm_version_done(&version);
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    *ret_version = version;
    return ERR_OK;
}

void rpm_version_done(struct rpm_version *version)
{
    mem_free(version->version);
    mem_free(version->release);
    *version = (struct rpm_version){0};
}

static int compare_epochs(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

int rpm_version_compare(const struct rpm_version *wanted, const struct rpm_package *package)
{
    int order = wanted->has_epoch ? compare_epochs(wanted->epoch, package->epoch) : 0;
    if (order == 0)
        order = rpmvercmp(wanted->version, package->version);
    if (order == 0 && wanted->release)
        order = rpmvercmp(wanted->release, package->release);
    return order;
}

int rpm_package_compare(const struct rpm_package *a, const struct rpm_package *b)
{
    int order = compare_epochs(a->epoch, b->epoch);
    if (order == 0)
        order = rpmvercmp(a->version, b->version);
    if (order == 0)
        order = rpmvercmp(a->release, b->release);
    return order;
}
