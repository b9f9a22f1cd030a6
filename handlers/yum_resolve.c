/* yum_resolve: yum_record_resolve(), the reading of what dnf and yum say that they would do. */
#include "common/base/cleanup.h"
#include "handlers/yum_record.h"

#include <stdio.h>
#include <string.h>

/*
 * dnf has no output for programs. When it is verbose it, as yum before it, writes a line for each
 * package of the transaction:
 *
 *     ---> Package NAME.ARCH EPOCH:VERSION-RELEASE will be an upgrade
 *
 * which, unlike the table for people, has no columns to wrap and no abbreviations. What is read
 * from it is compared with what is installed, with the packages that were fetched, and in the end
 * with what the transaction has made, so that a line that was misread is found out before it can
 * harm.
 */
enum part { GOES, COMES, REPLACES_OLDER, STAYS };
static const struct saying {
    const char *end;
    enum part part;
} sayings[] = {
    {"will be installed", COMES},
    {"will be an upgrade", COMES},
    {"will be an update", COMES},
    {"will be obsoleting", COMES},
    {"will be a downgrade", REPLACES_OLDER}, /* what it takes the place of is not always said */
    {"will be upgraded", GOES},
    {"will be updated", GOES},
    {"will be erased", GOES},
    {"will be obsoleted", GOES},
    {"will be downgraded", GOES},
    {"will be reinstalled", STAYS},
};
#define LINE_BEGIN "---> Package "

struct line {
    char name[RPM_TEXT_MAX]; /* NAME.ARCH */
    char evr[RPM_TEXT_MAX];
    enum part part;
};

/* False when it is not such a line. */
static bool line_read(const char *text, size_t len, struct line *ret_line)
{
    char copy[2 * RPM_TEXT_MAX + 64];
    size_t begin = strlen(LINE_BEGIN);
    if (len <= begin || len >= sizeof(copy) || memcmp(text, LINE_BEGIN, begin) != 0)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    char *name = copy + begin;
    char *evr = strchr(name, ' ');
    char *end = evr ? strchr(evr + 1, ' ') : NULL;
    if (!end || evr - name >= RPM_TEXT_MAX || end - evr >= RPM_TEXT_MAX)
        return false;
    *evr++ = '\0';
    *end++ = '\0';
    for (size_t i = 0; i < ARRAY_LEN(sayings); i++) {
        if (strcmp(end, sayings[i].end) != 0)
            continue;
        (void)snprintf(ret_line->name, sizeof(ret_line->name), "%.*s",
                       (int)sizeof(ret_line->name) - 1, name);
        (void)snprintf(ret_line->evr, sizeof(ret_line->evr), "%s", evr);
        ret_line->part = sayings[i].part;
        return true;
    }
    return false;
}

static enum error_code misread(const struct line *line, const char *why, struct error *err)
{
    return error_set(err, ERR_PROTOCOL, "what dnf would do cannot be made out: %s %s %s",
                     line->name, line->evr, why);
}

static enum error_code package_add(struct array *packages, const struct rpm_package *p,
                                   struct error *err)
{
    return rpm_packages_find(packages, p) ? ERR_OK : rpm_packages_add(packages, p, err);
}

/* The newest instance of the name and architecture. */
static const struct rpm_package *newest(const struct array *installed, const struct rpm_package *p)
{
    const struct rpm_package *found = NULL;
    for (size_t i = 0; i < installed->count; i++) {
        const struct rpm_package *now = rpm_package_at(installed, i);
        if (strcmp(now->name, p->name) == 0 && strcmp(now->arch, p->arch) == 0 &&
            (!found || rpm_package_compare(now, found) > 0))
            found = now;
    }
    return found;
}

static enum error_code package_take(const struct line *line, const struct rpm_package *p,
                                    const struct array *installed, struct yum_record *record,
                                    struct error *err)
{
    const struct rpm_package *there = rpm_packages_find(installed, p);
    if (line->part == STAYS)
        return ERR_OK;
    if (line->part == GOES)
        return there ? package_add(&record->before, there, err)
                     : misread(line, "is to go and is not installed", err);
    if (there)
        return misread(line, "is to come and is installed", err);
    const struct rpm_package *old = line->part == REPLACES_OLDER ? newest(installed, p) : NULL;
    if (line->part == REPLACES_OLDER && !old)
        return misread(line, "takes nothing's place", err);
    enum error_code code = old ? package_add(&record->before, old, err) : ERR_OK;
    return code == ERR_OK ? package_add(&record->after, p, err) : code;
}

/* A line's package; the texts are the line's and the version's. */
static enum error_code line_package(struct line *line, struct rpm_version *version,
                                    struct rpm_package *ret_package, struct error *err)
{
    static char none[] = "";
    char *arch = strrchr(line->name, '.');
    if (!arch || arch == line->name)
        return misread(line, "has no architecture", err);
    enum error_code code = rpm_version_parse(line->evr, version, err);
    if (code != ERR_OK)
        return code;
    *arch++ = '\0';
    *ret_package = (struct rpm_package){.name = line->name,
                                        .epoch = version->has_epoch ? version->epoch : 0,
                                        .version = version->version,
                                        .release = version->release ? version->release : none,
                                        .arch = arch};
    return ERR_OK;
}

/* What is done with each package that is told of. */
struct taker {
    enum error_code (*take)(const struct line *line, const struct rpm_package *p,
                            const struct array *installed, struct yum_record *record,
                            struct error *err);
    const struct array *installed;
    struct yum_record *record;
};

static enum error_code lines_take(const char *output, size_t len, const struct taker *taker,
                                  struct error *err)
{
    enum error_code code = ERR_OK;
    const char *end = output + len;
    for (const char *at = output; at < end && code == ERR_OK;) {
        __attribute__((cleanup(rpm_version_done))) struct rpm_version version = {0};
        struct line line;
        struct rpm_package p = {0};
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        bool tells = line_read(at, (size_t)(stop - at), &line);
        at = stop + 1;
        if (!tells)
            continue;
        code = line_package(&line, &version, &p, err);
        if (code == ERR_OK)
            code = taker->take(&line, &p, taker->installed, taker->record, err);
    }
    return code;
}

enum error_code yum_record_resolve(const char *output, size_t len, const struct array *installed,
                                   struct yum_record *record, struct error *err)
{
    const struct taker taker = {package_take, installed, record};
    return lines_take(output, len, &taker, err);
}

static enum error_code offer_take(const struct line *line, const struct rpm_package *p,
                                  const struct array *installed, struct yum_record *record,
                                  struct error *err)
{
    (void)installed;
    for (size_t i = 0; i < record->before.count && line->part == STAYS; i++) {
        struct rpm_package *before = ARRAY_AT(&record->before, struct rpm_package, i);
        if (!rpm_package_same(before, p) || before->file)
            continue;
        before->file = mem_strdup(p->name);
        if (!before->file)
            return error_set(err, ERR_NO_MEMORY, NULL);
    }
    return ERR_OK;
}

enum error_code yum_record_offered(const char *output, size_t len, struct yum_record *record,
                                   struct error *err)
{
    const struct taker taker = {offer_take, NULL, record};
    enum error_code code = lines_take(output, len, &taker, err);
    record->kept = code == ERR_OK && yum_record_lacks(record) == NULL;
    return code;
}
