#include "handlers/rpm_package.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <rpm/rpmver.h>
#include <stdio.h>
#include <string.h>

static const struct json_field package_fields[] = {
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, name),
     .flags = JSON_REQUIRED,
     .min = 1,
     .doc = "Its name."},
    {.name = "epoch",
     .type = JSON_INT,
     JSON_AT(struct rpm_package, epoch),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = UINT32_MAX,
     .doc = "Its epoch; 0 when it has none."},
    {.name = "version",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, version),
     .flags = JSON_REQUIRED,
     .doc = "Its version."},
    {.name = "release",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, release),
     .flags = JSON_REQUIRED,
     .doc = "Its release."},
    {.name = "arch",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, arch),
     .flags = JSON_REQUIRED,
     .doc = "Its architecture."},
    {.name = "clash",
     .type = JSON_BOOL,
     JSON_AT(struct rpm_package, clash),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Installed over another instance."},
    {.name = "damaged",
     .type = JSON_BOOL,
     JSON_AT(struct rpm_package, damaged),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Its files are not as the package has them."},
    {.name = "file",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, file),
     .flags = JSON_OMIT_EMPTY,
     .doc = "The name of the file that it is."},
    {.name = "sizeBytes",
     .type = JSON_INT,
     JSON_AT(struct rpm_package, size_bytes),
     .flags = JSON_OMIT_EMPTY,
     .doc = "The size of that file."},
};
const struct json_table rpm_package_table =
    JSON_TABLE("package", struct rpm_package, package_fields, "A package.");
const struct json_field rpm_package_item = {.type = JSON_OBJECT, .table = &rpm_package_table};

static const struct json_field set_fields[] = {
    {.name = "packages",
     .type = JSON_ARRAY,
     JSON_AT(struct rpm_set, packages),
     .flags = JSON_REQUIRED,
     .max = RPM_PACKAGES_MAX,
     .item = &rpm_package_item,
     .doc = "Each instance."},
    {.name = "begun",
     .type = JSON_BOOL,
     JSON_AT(struct rpm_set, begun),
     .flags = JSON_OMIT_EMPTY,
     .doc = "A transaction was begun and may not have ended."},
    {.name = "unsound",
     .type = JSON_BOOL,
     JSON_AT(struct rpm_set, unsound),
     .flags = JSON_OMIT_EMPTY,
     .doc = "The package database is damaged."},
};
const struct json_table rpm_set_table =
    JSON_TABLE("packages", struct rpm_set, set_fields, "A set of packages.");

void rpm_set_done(struct rpm_set *set)
{
    json_release(&rpm_set_table, set);
}

void rpm_packages_done(struct array *packages)
{
    for (size_t i = 0; i < packages->count; i++)
        json_release(&rpm_package_table, ARRAY_AT(packages, struct rpm_package, i));
    mem_free(packages->items);
    *packages = (struct array){0};
}

enum error_code rpm_packages_add(struct array *packages, const struct rpm_package *p,
                                 struct error *err)
{
    if (packages->count == RPM_PACKAGES_MAX)
        return error_set(err, ERR_LIMIT, "more than %d packages", RPM_PACKAGES_MAX);
    void *items = mem_realloc(packages->items, (packages->count + 1) * sizeof(*p));
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    packages->items = items;
    struct rpm_package *copy = ARRAY_AT(packages, struct rpm_package, packages->count);
    packages->count++;
    *copy = *p;
    copy->name = mem_strdup(p->name);
    copy->version = mem_strdup(p->version);
    copy->release = mem_strdup(p->release);
    copy->arch = mem_strdup(p->arch);
    copy->file = p->file ? mem_strdup(p->file) : NULL;
    if (!copy->name || !copy->version || !copy->release || !copy->arch || (p->file && !copy->file))
        return error_set(err, ERR_NO_MEMORY, NULL);
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

bool rpm_package_same(const struct rpm_package *a, const struct rpm_package *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->arch, b->arch) == 0 &&
           rpm_package_compare(a, b) == 0;
}

const struct rpm_package *rpm_packages_find(const struct array *packages,
                                            const struct rpm_package *p)
{
    for (size_t i = 0; i < packages->count; i++) {
        if (rpm_package_same(rpm_package_at(packages, i), p))
            return rpm_package_at(packages, i);
    }
    return NULL;
}

/* A dot may be part of the name ("python3.11"). */
bool rpm_package_named(const struct rpm_package *p, const char *text)
{
    size_t len = strlen(p->name);
    return strncmp(text, p->name, len) == 0 &&
           (text[len] == '\0' || (text[len] == '.' && strcmp(text + len + 1, p->arch) == 0));
}

/* ---- Texts ------------------------------------------------------------------------------- */

void rpm_package_evr(const struct rpm_package *p, char ret_text[RPM_TEXT_MAX])
{
    if (p->epoch != 0)
        (void)snprintf(ret_text, RPM_TEXT_MAX, "%" PRId64 ":%s-%s", p->epoch, p->version,
                       p->release);
    else
        (void)snprintf(ret_text, RPM_TEXT_MAX, "%s-%s", p->version, p->release);
}

void rpm_package_nevra(const struct rpm_package *p, char ret_text[RPM_TEXT_MAX])
{
    (void)snprintf(ret_text, RPM_TEXT_MAX, "%s-%" PRId64 ":%s-%s.%s", p->name, p->epoch, p->version,
                   p->release, p->arch);
}
