#include "handlers/yum_plan.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <string.h>

#define X(value, name) [value] = (name),
const char *const yum_verb_names[YUM_VERB_COUNT] = {YUM_VERBS(X)};
#undef X

void yum_plan_done(struct yum_plan *plan)
{
    for (size_t i = 0; i < plan->specs.count; i++)
        mem_free(*ARRAY_AT(&plan->specs, char *, i));
    mem_free(plan->specs.items);
    *plan = (struct yum_plan){0};
}

static enum error_code plan_add(struct yum_plan *plan, enum yum_verb verb, struct buf *spec,
                                struct error *err)
{
    enum error_code code = buf_check(spec, err);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < plan->specs.count; i++) {
        if (strcmp(*ARRAY_AT(&plan->specs, char *, i), spec->data) == 0)
            return ERR_OK;
    }
    void *items = mem_realloc(plan->specs.items, (plan->specs.count + 1) * sizeof(char *));
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    plan->specs.items = items;
    char *text = buf_take(spec, NULL);
    if (!text)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ARRAY_AT(&plan->specs, char *, plan->specs.count) = text;
    plan->specs.count++;
    /* One transaction for all: only an install goes either way. */
    plan->verb = plan->needed && plan->verb != verb ? YUM_INSTALL : verb;
    plan->needed = true;
    return ERR_OK;
}

static enum error_code plan_add_text(struct yum_plan *plan, enum yum_verb verb, const char *text,
                                     struct error *err)
{
    AUTO_BUF struct buf spec = BUF_INIT;
    buf_puts(&spec, text);
    return plan_add(plan, verb, &spec, err);
}

/* ---- To a version ------------------------------------------------------------------------ */

/* The instance that an upgrade or downgrade replaces: the newest of its architecture. */
static bool is_newest(const struct array *instances, const struct rpm_package *p)
{
    for (size_t i = 0; i < instances->count; i++) {
        const struct rpm_package *other = rpm_package_at(instances, i);
        if (strcmp(other->arch, p->arch) == 0 && rpm_package_compare(other, p) > 0)
            return false;
    }
    return true;
}

static bool has_wanted(const struct array *instances, const struct rpm_version *wanted,
                       const char *arch)
{
    for (size_t i = 0; i < instances->count; i++) {
        const struct rpm_package *p = rpm_package_at(instances, i);
        if (strcmp(p->arch, arch) == 0 && rpm_version_compare(wanted, p) == 0)
            return true;
    }
    return false;
}

static bool several_architectures(const struct array *instances)
{
    for (size_t i = 1; i < instances->count; i++) {
        if (strcmp(rpm_package_at(instances, i)->arch, rpm_package_at(instances, 0)->arch) != 0)
            return true;
    }
    return false;
}

static void wanted_write(const struct rpm_version *wanted, struct buf *b)
{
    if (wanted->has_epoch)
        buf_printf(b, "%" PRId64 ":", wanted->epoch);
    buf_printf(b, "%s-%s", wanted->version, wanted->release ? wanted->release : "*");
}

static enum error_code plan_instances(const struct array *instances,
                                      const struct rpm_version *wanted, bool name_arch,
                                      struct yum_plan *plan, struct error *err)
{
    for (size_t i = 0; i < instances->count; i++) {
        const struct rpm_package *p = rpm_package_at(instances, i);
        AUTO_BUF struct buf spec = BUF_INIT;
        if (has_wanted(instances, wanted, p->arch) || !is_newest(instances, p))
            continue;
        buf_printf(&spec, "%s-", p->name);
        wanted_write(wanted, &spec);
        if (name_arch)
            buf_printf(&spec, ".%s", p->arch);
        enum error_code code = plan_add(
            plan, rpm_version_compare(wanted, p) > 0 ? YUM_UPGRADE : YUM_DOWNGRADE, &spec, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

/* "NAME.ARCH" of a package that is not installed; a dot that no architecture of rpm stands behind
 * is part of the name. */
static size_t name_length(const char *text)
{
    static const char *const archs[] = {"noarch",  "x86_64", "i686",    "i386",   "aarch64",
                                        "ppc64le", "s390x",  "riscv64", "armv7hl"};
    const char *dot = strrchr(text, '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(archs); i++) {
        if (strcmp(dot + 1, archs[i]) == 0)
            return (size_t)(dot - text);
    }
    return strlen(text);
}

static enum error_code plan_absent(const char *text, const struct rpm_version *wanted,
                                   struct yum_plan *plan, struct error *err)
{
    AUTO_BUF struct buf spec = BUF_INIT;
    size_t len = name_length(text);
    buf_printf(&spec, "%.*s-", (int)len, text);
    wanted_write(wanted, &spec);
    buf_puts(&spec, text + len);
    return plan_add(plan, YUM_INSTALL, &spec, err);
}

/* ---- One package ------------------------------------------------------------------------- */

static enum error_code plan_version(enum yum_verb type, const struct yum_params *params,
                                    const char *text, const struct array *instances,
                                    struct yum_plan *plan, struct error *err)
{
    __attribute__((cleanup(rpm_version_done))) struct rpm_version wanted = {0};
    enum error_code code = rpm_version_parse(params->version, &wanted, err);
    if (code != ERR_OK)
        return code;
    if (instances->count == 0)
        return plan_absent(text, &wanted, plan, err);
    /* A package may become noarch or stop being it, so an architecture is named only when it says
     * which one is meant. */
    bool arch_given = strcmp(rpm_package_at(instances, 0)->name, text) != 0;
    code = plan_instances(instances, &wanted, arch_given || several_architectures(instances), plan,
                          err);
    if (code == ERR_OK && type == YUM_INSTALL && plan->needed)
        plan->verb = YUM_INSTALL;
    return code;
}

static enum error_code plan_package(enum yum_verb type, const struct yum_params *params,
                                    const char *text, const struct array *installed,
                                    struct yum_plan *plan, struct error *err)
{
    __attribute__((cleanup(rpm_packages_done))) struct array instances = {0};
    enum error_code code = ERR_OK;
    for (size_t i = 0; i < installed->count && code == ERR_OK; i++) {
        const struct rpm_package *p = rpm_package_at(installed, i);
        if (rpm_package_named(p, text))
            code = rpm_packages_add(&instances, p, err);
    }
    if (code != ERR_OK)
        return code;
    if (type == YUM_UPGRADE && instances.count == 0)
        return error_set(err, ERR_NOT_FOUND,
                         "%s is not installed; yum_upgrade changes installed packages only", text);
    if (params->version)
        return plan_version(type, params, text, &instances, plan, err);
    bool wanted = type != YUM_REMOVE; /* whether it is to be there */
    if (type != YUM_UPGRADE && wanted == (instances.count > 0))
        return ERR_OK;
    return plan_add_text(plan, type, text, err);
}

enum error_code yum_plan_make(enum yum_verb type, const struct yum_params *params,
                              const struct array *installed, struct yum_plan *ret_plan,
                              struct error *err)
{
    AUTO_PLAN struct yum_plan plan = {.verb = type, .needed = params->packages.count == 0};
    for (size_t i = 0; i < params->packages.count; i++) {
        enum error_code code = plan_package(type, params, *ARRAY_AT(&params->packages, char *, i),
                                            installed, &plan, err);
        if (code != ERR_OK)
            return code;
    }
    if (params->security)
        plan.verb = YUM_UPGRADE_MINIMAL;
    *ret_plan = plan;
    plan = (struct yum_plan){0};
    return ERR_OK;
}
