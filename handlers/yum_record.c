#include "handlers/yum_record.h"

#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

enum { RECORD_MAX = 8192 };

static const struct json_field record_fields[] = {
    {.name = "before",
     .type = JSON_ARRAY,
     JSON_AT(struct yum_record, before),
     .flags = JSON_REQUIRED,
     .max = RECORD_MAX,
     .item = &rpm_package_item,
     .doc = "What the transaction takes away."},
    {.name = "after",
     .type = JSON_ARRAY,
     JSON_AT(struct yum_record, after),
     .flags = JSON_REQUIRED,
     .max = RECORD_MAX,
     .item = &rpm_package_item,
     .doc = "What it brings."},
    {.name = "beside",
     .type = JSON_ARRAY,
     JSON_AT(struct yum_record, beside),
     .flags = JSON_OMIT_EMPTY,
     .max = RECORD_MAX,
     .item = &rpm_package_item,
     .doc = "Other instances of those packages."},
    {.name = "kept",
     .type = JSON_BOOL,
     JSON_AT(struct yum_record, kept),
     .doc = "All that the way back needs is kept."},
};
const struct json_table yum_record_table =
    JSON_TABLE("package step's undo", struct yum_record, record_fields, "A transaction.");

void yum_record_done(struct yum_record *record)
{
    json_release(&yum_record_table, record);
}

/* ---- What goes along with it ------------------------------------------------------------- */

static bool names_same(const struct rpm_package *a, const struct rpm_package *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->arch, b->arch) == 0;
}

static bool name_among(const struct array *packages, const char *name)
{
    for (size_t i = 0; i < packages->count; i++) {
        if (strcmp(rpm_package_at(packages, i)->name, name) == 0)
            return true;
    }
    return false;
}

enum error_code yum_record_beside(const struct array *installed, struct yum_record *record,
                                  struct error *err)
{
    enum error_code code = ERR_OK;
    for (size_t i = 0; i < installed->count && code == ERR_OK; i++) {
        const struct rpm_package *p = rpm_package_at(installed, i);
        bool named = name_among(&record->before, p->name) || name_among(&record->after, p->name);
        if (named && !rpm_packages_find(&record->before, p) &&
            !rpm_packages_find(&record->after, p))
            code = rpm_packages_add(&record->beside, p, err);
    }
    return code;
}

enum error_code yum_record_keep(const struct array *files, struct yum_record *record,
                                struct error *err)
{
    for (size_t i = 0; i < record->before.count; i++) {
        struct rpm_package *p = ARRAY_AT(&record->before, struct rpm_package, i);
        const struct rpm_package *file = rpm_packages_find(files, p);
        if (!file || p->file)
            continue;
        p->file = mem_strdup(file->file);
        p->size_bytes = file->size_bytes;
        if (!p->file)
            return error_set(err, ERR_NO_MEMORY, NULL);
    }
    record->kept = yum_record_lacks(record) == NULL;
    return ERR_OK;
}

const struct rpm_package *yum_record_lacks(const struct yum_record *record)
{
    for (size_t i = 0; i < record->before.count; i++) {
        if (!rpm_package_at(&record->before, i)->file)
            return rpm_package_at(&record->before, i);
    }
    return NULL;
}

/* ---- How far it is ----------------------------------------------------------------------- */

static size_t count_in(const struct array *packages, const struct array *installed)
{
    size_t count = 0;
    for (size_t i = 0; i < packages->count; i++)
        count += rpm_packages_find(installed, rpm_package_at(packages, i)) ? 1 : 0;
    return count;
}

static const struct rpm_package *foreign_find(const struct yum_record *record,
                                              const struct array *installed)
{
    for (size_t i = 0; i < installed->count; i++) {
        const struct rpm_package *p = rpm_package_at(installed, i);
        if (!name_among(&record->before, p->name) && !name_among(&record->after, p->name))
            continue;
        if (!rpm_packages_find(&record->before, p) && !rpm_packages_find(&record->after, p) &&
            !rpm_packages_find(&record->beside, p))
            return p;
    }
    return NULL;
}

/* Over another instance, or with files that it had not before. */
static bool is_broken(const struct yum_record *record, const struct array *installed)
{
    for (size_t i = 0; i < installed->count; i++) {
        const struct rpm_package *p = rpm_package_at(installed, i);
        const struct rpm_package *before = rpm_packages_find(&record->before, p);
        if ((before && p->damaged && !before->damaged) ||
            (p->clash && (before || rpm_packages_find(&record->after, p))))
            return true;
    }
    return false;
}

enum yum_state yum_record_state(const struct yum_record *record, const struct rpm_set *set,
                                const struct rpm_package **ret_foreign)
{
    const struct array *installed = &set->packages;
    const struct rpm_package *foreign = foreign_find(record, installed);
    size_t before = count_in(&record->before, installed);
    size_t after = count_in(&record->after, installed);
    if (ret_foreign)
        *ret_foreign = foreign;
    if (foreign)
        return YUM_STATE_FOREIGN;
    if (is_broken(record, installed))
        return YUM_STATE_BETWEEN;
    if (before == record->before.count && after == 0)
        return YUM_STATE_BEFORE;
    /* Of a transaction that was cut off when all packages had come and gone scriptlets are left. */
    if (before == 0 && after == record->after.count && !set->begun)
        return YUM_STATE_AFTER;
    return YUM_STATE_BETWEEN;
}

static void unexplained_tell(const struct rpm_package *p, const char *how, struct buf *what)
{
    char evr[RPM_TEXT_MAX];
    rpm_package_evr(p, evr);
    buf_printf(what, "%s%s %s %s", what->len > 0 ? ", " : "", p->name, evr, how);
}

bool yum_record_explains(const struct yum_record *record, const struct array *from,
                         const struct array *to, struct buf *what)
{
    size_t count = 0;
    for (size_t i = 0; i < from->count; i++) {
        const struct rpm_package *p = rpm_package_at(from, i);
        if (rpm_packages_find(to, p) || rpm_packages_find(&record->before, p))
            continue;
        unexplained_tell(p, "is gone", what);
        count++;
    }
    for (size_t i = 0; i < to->count; i++) {
        const struct rpm_package *p = rpm_package_at(to, i);
        if (rpm_packages_find(from, p) || rpm_packages_find(&record->after, p))
            continue;
        unexplained_tell(p, "has come", what);
        count++;
    }
    return count == 0;
}

/* ---- Telling ----------------------------------------------------------------------------- */

static const struct rpm_package *counterpart(const struct array *packages,
                                             const struct rpm_package *p)
{
    const struct rpm_package *found = NULL;
    for (size_t i = 0; i < packages->count && !found; i++) {
        if (names_same(rpm_package_at(packages, i), p))
            found = rpm_package_at(packages, i);
    }
    return found;
}

static void line_tell(const struct yum_record *record, size_t i, struct buf *text)
{
    char evr[RPM_TEXT_MAX], other[RPM_TEXT_MAX];
    bool comes = i < record->after.count;
    const struct rpm_package *p = comes ? rpm_package_at(&record->after, i)
                                        : rpm_package_at(&record->before, i - record->after.count);
    const struct rpm_package *before = comes ? counterpart(&record->before, p) : NULL;
    rpm_package_evr(p, evr);
    if (before) {
        rpm_package_evr(before, other);
        buf_printf(text, "%s %s -> %s", p->name, other, evr);
    } else {
        buf_printf(text, "%s %s (%s)", p->name, evr, comes ? "new" : "removed");
    }
}

/* The packages of `after` first; of `before` those that nothing comes for. */
static bool is_told(const struct yum_record *record, size_t i)
{
    return i < record->after.count ||
           !counterpart(&record->after, rpm_package_at(&record->before, i - record->after.count));
}

void yum_record_tell(const struct yum_record *record, struct buf *lines)
{
    for (size_t i = 0; i < record->after.count + record->before.count; i++) {
        if (!is_told(record, i))
            continue;
        line_tell(record, i, lines);
        buf_putc(lines, '\n');
    }
}

void yum_record_summary(const struct yum_record *record, size_t most, struct buf *text)
{
    size_t told = 0, left = 0;
    for (size_t i = 0; i < record->after.count + record->before.count; i++) {
        if (!is_told(record, i))
            continue;
        if (told == most) {
            left++;
            continue;
        }
        buf_puts(text, told++ > 0 ? ", " : "");
        line_tell(record, i, text);
    }
    if (left > 0)
        buf_printf(text, " and %zu more", left);
}

void yum_record_each_reboot(const struct yum_record *record,
                            void (*each)(void *ctx, const char *name), void *ctx)
{
    /* As needs-restarting of dnf's plugins has them. */
    static const char *const packages[] = {
        "kernel",         "kernel-core", "kernel-rt", "kernel-rt-core", "glibc",
        "linux-firmware", "systemd",     "dbus",      "dbus-broker",    "dbus-daemon",
        "openssl-libs",   "openssl",     "gnutls",    "microcode_ctl"};
    for (size_t i = 0; i < record->after.count; i++) {
        const char *name = rpm_package_at(&record->after, i)->name;
        for (size_t k = 0; k < ARRAY_LEN(packages); k++) {
            if (strcmp(name, packages[k]) == 0)
                each(ctx, name);
        }
    }
}

static void name_put(void *ctx, const char *name)
{
    struct buf *names = ctx;
    buf_printf(names, "%s%s", names->len > 0 ? ", " : "", name);
}

void yum_record_reboot(const struct yum_record *record, struct buf *names)
{
    yum_record_each_reboot(record, name_put, names);
}
