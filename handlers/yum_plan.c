#include "handlers/yum_plan.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *yum_verb_name(enum yum_verb verb)
{
    static const char *const names[YUM_VERB_COUNT] = {
        [YUM_UPGRADE] = "upgrade",
        [YUM_DOWNGRADE] = "downgrade",
        [YUM_INSTALL] = "install",
        [YUM_REMOVE] = "remove",
    };
    return names[verb];
}

static const struct rpm_package *package_at(const struct array *packages, size_t i)
{
    return ARRAY_AT(packages, const struct rpm_package, i);
}

void yum_package_text(const struct rpm_package *p, char *ret_text, size_t size)
{
    if (p->epoch != 0)
        (void)snprintf(ret_text, size, "%" PRId64 ":%s-%s", p->epoch, p->version, p->release);
    else
        (void)snprintf(ret_text, size, "%s-%s", p->version, p->release);
}

static enum error_code plan_add(struct yum_plan *plan, enum yum_verb verb, struct buf *spec,
                                struct error *err)
{
    struct array *specs = &plan->specs[verb];
    enum error_code code = buf_check(spec, err);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < specs->count; i++) {
        if (strcmp(*ARRAY_AT(specs, char *, i), spec->data) == 0)
            return ERR_OK;
    }
    void *items = mem_realloc(specs->items, (specs->count + 1) * sizeof(char *));
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    specs->items = items;
    char *text = buf_take(spec, NULL);
    if (!text)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ARRAY_AT(specs, char *, specs->count) = text;
    specs->count++;
    plan->count++;
    return ERR_OK;
}

void yum_plan_done(struct yum_plan *plan)
{
    for (size_t verb = 0; verb < YUM_VERB_COUNT; verb++) {
        for (size_t i = 0; i < plan->specs[verb].count; i++)
            mem_free(*ARRAY_AT(&plan->specs[verb], char *, i));
        mem_free(plan->specs[verb].items);
    }
    *plan = (struct yum_plan){0};
}

/* ---- Forward ----------------------------------------------------------------------------- */

/* The instance that an upgrade or downgrade replaces: the newest of its architecture. */
static bool is_newest(const struct array *installed, const struct rpm_package *p)
{
    for (size_t i = 0; i < installed->count; i++) {
        const struct rpm_package *other = package_at(installed, i);
        if (strcmp(other->arch, p->arch) == 0 && rpm_package_compare(other, p) > 0)
            return false;
    }
    return true;
}

static bool has_wanted(const struct array *installed, const struct rpm_version *wanted,
                       const char *arch)
{
    for (size_t i = 0; i < installed->count; i++) {
        const struct rpm_package *p = package_at(installed, i);
        if (strcmp(p->arch, arch) == 0 && rpm_version_compare(wanted, p) == 0)
            return true;
    }
    return false;
}

static bool several_architectures(const struct array *installed)
{
    for (size_t i = 1; i < installed->count; i++) {
        if (strcmp(package_at(installed, i)->arch, package_at(installed, 0)->arch) != 0)
            return true;
    }
    return false;
}

static void wanted_write(const struct rpm_version *wanted, struct buf *b, bool any_release)
{
    if (wanted->has_epoch)
        buf_printf(b, "%" PRId64 ":", wanted->epoch);
    buf_puts(b, wanted->version);
    if (wanted->release)
        buf_printf(b, "-%s", wanted->release);
    else if (any_release)
        buf_puts(b, "-*");
}

static enum error_code wanted_reason(const struct rpm_version *wanted, const struct rpm_package *p,
                                     struct yum_plan *plan, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    char present[YUM_REASON_MAX];
    wanted_write(wanted, &text, false);
    enum error_code code = buf_check(&text, err);
    if (code != ERR_OK)
        return code;
    yum_package_text(p, present, sizeof(present));
    (void)snprintf(plan->reason, sizeof(plan->reason), "%.60s is at %.40s, not %.40s", p->name,
                   present, text.data);
    (void)snprintf(plan->change, sizeof(plan->change), "%.60s %.40s -> %.40s", p->name, present,
                   text.data);
    return ERR_OK;
}

enum error_code yum_plan_wanted(const struct array *installed, const struct rpm_version *wanted,
                                bool arch_given, struct yum_plan *ret_plan, struct error *err)
{
    __attribute__((cleanup(yum_plan_done))) struct yum_plan plan = {0};
    /* A package may become noarch or stop being it, so an architecture is named only when it says
     * which one is meant. */
    bool name_arch = arch_given || several_architectures(installed);
    for (size_t i = 0; i < installed->count; i++) {
        const struct rpm_package *p = package_at(installed, i);
        AUTO_BUF struct buf spec = BUF_INIT;
        if (has_wanted(installed, wanted, p->arch) || !is_newest(installed, p))
            continue;
        buf_printf(&spec, "%s-", p->name);
        wanted_write(wanted, &spec, true);
        if (name_arch)
            buf_printf(&spec, ".%s", p->arch);
        enum error_code code = plan.count == 0 ? wanted_reason(wanted, p, &plan, err) : ERR_OK;
        if (code == ERR_OK)
            code = plan_add(&plan, rpm_version_compare(wanted, p) > 0 ? YUM_UPGRADE : YUM_DOWNGRADE,
                            &spec, err);
        if (code != ERR_OK)
            return code;
    }
    *ret_plan = plan;
    plan = (struct yum_plan){0};
    return ERR_OK;
}

/* ---- Back -------------------------------------------------------------------------------- */

static bool same_instance(const struct rpm_package *a, const struct rpm_package *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->arch, b->arch) == 0 &&
           rpm_package_compare(a, b) == 0;
}

static bool holds_instance(const struct array *packages, const struct rpm_package *p)
{
    for (size_t i = 0; i < packages->count; i++) {
        if (same_instance(package_at(packages, i), p))
            return true;
    }
    return false;
}

const struct rpm_package *yum_plan_foreign(const struct array *recorded,
                                           const struct array *installed,
                                           const struct rpm_version *wanted)
{
    for (size_t i = 0; i < installed->count; i++) {
        const struct rpm_package *now = package_at(installed, i);
        if (!holds_instance(recorded, now) && rpm_version_compare(wanted, now) != 0)
            return now;
    }
    return NULL;
}

/* What stands now where `p` stood: not recorded itself, of its architecture if there is one. */
static const struct rpm_package *replacement(const struct array *recorded,
                                             const struct array *installed,
                                             const struct rpm_package *p)
{
    const struct rpm_package *found = NULL;
    for (size_t i = 0; i < installed->count; i++) {
        const struct rpm_package *now = package_at(installed, i);
        if (holds_instance(recorded, now))
            continue;
        if (strcmp(now->arch, p->arch) == 0)
            return now;
        found = now;
    }
    return found;
}

static enum error_code plan_instance(struct yum_plan *plan, enum yum_verb verb,
                                     const struct rpm_package *p, struct error *err)
{
    AUTO_BUF struct buf spec = BUF_INIT;
    buf_printf(&spec, "%s-%" PRId64 ":%s-%s.%s", p->name, p->epoch, p->version, p->release,
               p->arch);
    return plan_add(plan, verb, &spec, err);
}

static enum error_code plan_recorded(const struct array *recorded, const struct array *installed,
                                     const struct rpm_package *p, struct yum_plan *plan,
                                     struct error *err)
{
    char before[YUM_REASON_MAX], present[YUM_REASON_MAX];
    enum yum_verb verb = YUM_INSTALL;
    const struct rpm_package *now = replacement(recorded, installed, p);
    yum_package_text(p, before, sizeof(before));
    if (now) {
        yum_package_text(now, present, sizeof(present));
        verb = rpm_package_compare(p, now) >= 0 ? YUM_UPGRADE : YUM_DOWNGRADE;
    }
    if (plan->count == 0 && now)
        (void)snprintf(plan->reason, sizeof(plan->reason), "%.60s is at %.40s, not %.40s", p->name,
                       present, before);
    else if (plan->count == 0)
        (void)snprintf(plan->reason, sizeof(plan->reason), "%.60s-%.40s is not installed", p->name,
                       before);
    return plan_instance(plan, verb, p, err);
}

/* An instance that came beside a recorded one of its architecture, as kernels do. */
static bool came_beside(const struct array *recorded, const struct array *installed,
                        const struct rpm_package *now)
{
    bool beside = false;
    if (holds_instance(recorded, now))
        return false;
    for (size_t i = 0; i < recorded->count; i++) {
        const struct rpm_package *p = package_at(recorded, i);
        if (strcmp(p->arch, now->arch) != 0)
            continue;
        if (!holds_instance(installed, p))
            return false;
        beside = true;
    }
    return beside;
}

enum error_code yum_plan_back(const struct array *recorded, const struct array *installed,
                              struct yum_plan *ret_plan, struct error *err)
{
    __attribute__((cleanup(yum_plan_done))) struct yum_plan plan = {0};
    enum error_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < recorded->count; i++) {
        const struct rpm_package *p = package_at(recorded, i);
        if (!holds_instance(installed, p))
            code = plan_recorded(recorded, installed, p, &plan, err);
    }
    for (size_t i = 0; code == ERR_OK && i < installed->count; i++) {
        const struct rpm_package *now = package_at(installed, i);
        char present[YUM_REASON_MAX];
        if (!came_beside(recorded, installed, now))
            continue;
        yum_package_text(now, present, sizeof(present));
        if (plan.count == 0)
            (void)snprintf(plan.reason, sizeof(plan.reason), "%.60s-%.40s is installed still",
                           now->name, present);
        code = plan_instance(&plan, YUM_REMOVE, now, err);
    }
    if (code != ERR_OK)
        return code;
    *ret_plan = plan;
    plan = (struct yum_plan){0};
    return ERR_OK;
}
