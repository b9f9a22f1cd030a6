/* yum_install, yum_remove, yum_upgrade: packages of rpm. */
#include "handlers/catalog_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    PACKAGE_BYTES_MAX = 255,
    PACKAGES_MAX = 256,
    REPOS_MAX = 64,
    LOCK_TIMEOUT_SECONDS = 300,
    LOCK_TIMEOUT_SECONDS_MAX = 86400
};

/* ---- Rules ------------------------------------------------------------------------------- */

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

/* These go to dnf's command line, where a leading '-' would be an option, '*' a pattern and '/' a
 * file. */
static bool package_text(const char *s)
{
    return s[0] != '-' && s[strspn(s, LETTERS DIGITS "._+:~^-")] == '\0';
}

static const char *check_version(const char *s)
{
    return package_text(s) ? NULL
                           : "a version, such as \"1.20.1\", \"1.20.1-14\" or \"1:1.20.1-14\": "
                             "letters, digits and ._+:~^-, no \"-\" at the start";
}

static const char *check_repo(const char *s)
{
    return s[0] != '-' && s[strspn(s, LETTERS DIGITS "._+:*-")] == '\0'
               ? NULL
               : "a repository's id, in which * stands for anything: letters, digits and ._+:*-, "
                 "no \"-\" at the start";
}

static const char *check_installroot(const char *s)
{
    if (strcmp(s, "/") == 0 || (s[0] == '/' && s[strlen(s) - 1] != '/'))
        return NULL;
    return "the absolute path of a folder, without a slash at its end";
}

/* ---- Packages: a name or a list of them -------------------------------------------------- */

static void packages_release(void *field)
{
    struct array *packages = field;
    for (size_t i = 0; i < packages->count; i++)
        mem_free(*ARRAY_AT(packages, char *, i));
    mem_free(packages->items);
    *packages = (struct array){0};
}

static bool package_good(const char *s)
{
    size_t len = s ? strlen(s) : 0;
    return len > 0 && len <= PACKAGE_BYTES_MAX && package_text(s);
}

static bool is_among(const struct array *packages, const char *name)
{
    for (size_t i = 0; i < packages->count; i++) {
        if (strcmp(*ARRAY_AT(packages, char *, i), name) == 0)
            return true;
    }
    return false;
}

static void packages_fill(const struct json_value *v, size_t count, const char *path,
                          struct array *packages, struct problems *ps)
{
    for (size_t i = 0; i < count; i++, v = json_next(v)) {
        const char *name = json_string(v);
        if (!package_good(name) || is_among(packages, name)) {
            problems_add(ps, path,
                         "must be a package's name, such as \"nginx\" or \"nginx.x86_64\", or a "
                         "list of them, each once: letters, digits and ._+:~^-, no \"-\" at the "
                         "start");
            return;
        }
        *ARRAY_AT(packages, char *, i) = mem_strdup(name);
        packages->count++;
        if (!*ARRAY_AT(packages, char *, i)) {
            ps->total++;
            ps->no_memory = true;
            return;
        }
    }
}

static void packages_decode(const struct json_value *v, const char *path, void *field,
                            struct problems *ps)
{
    struct array *packages = field;
    size_t before = ps->total;
    bool list = json_kind(v) == JSON_IS_ARRAY;
    size_t count = list ? json_count(v) : 1;
    if (count == 0 || count > PACKAGES_MAX) {
        problems_add(ps, path, "must be a package's name, or a list of 1 to %d of them",
                     PACKAGES_MAX);
        return;
    }
    packages->items = mem_array(count, sizeof(char *));
    if (!packages->items) {
        ps->total++;
        ps->no_memory = true;
        return;
    }
    packages_fill(list ? json_first(v) : v, count, path, packages, ps);
    if (ps->total != before)
        packages_release(packages);
}

static void packages_encode(struct buf *b, const void *field)
{
    const struct array *packages = field;
    buf_puts(b, packages->count == 1 ? "" : "[");
    for (size_t i = 0; i < packages->count; i++) {
        const char *name = *ARRAY_AT(packages, char *, i);
        buf_puts(b, i > 0 ? "," : "");
        json_write_string(b, name, strlen(name));
    }
    buf_puts(b, packages->count == 1 ? "" : "]");
}

static bool packages_empty(const void *field)
{
    return ((const struct array *)field)->count == 0;
}

#define PACKAGE_SCHEMA                                                                             \
    "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255,"                                      \
    "\"pattern\":\"^[A-Za-z0-9._+:~^][A-Za-z0-9._+:~^-]*$\"}"
static const struct json_custom packages_custom = {
    .decode = packages_decode,
    .encode = packages_encode,
    .empty = packages_empty,
    .release = packages_release,
    .schema = "{\"anyOf\":[" PACKAGE_SCHEMA
              ",{\"type\":\"array\",\"minItems\":1,\"maxItems\":256,\"uniqueItems\":true,"
              "\"items\":" PACKAGE_SCHEMA "}]}",
    .size = sizeof(struct array),
};

/* ---- Parameters -------------------------------------------------------------------------- */

static const struct json_field repo_item = {.type = JSON_STRING,
                                            .min = 1,
                                            .max = PACKAGE_BYTES_MAX,
                                            .check = check_repo,
                                            .doc = "A repository's id; * stands for anything."};

#define FIELD_PACKAGE(flags_)                                                                      \
    {                                                                                              \
        .name = "package", .type = JSON_CUSTOM, JSON_AT(struct yum_params, packages),              \
        .flags = (flags_), .custom = &packages_custom,                                             \
        .doc = "The package's name, with \".ARCH\" after it where one of several architectures "   \
               "is meant; or a list of them."                                                      \
    }
#define FIELD_VERSION(doc_)                                                                        \
    {                                                                                              \
        .name = "version", .type = JSON_STRING, JSON_AT(struct yum_params, version),               \
        .flags = JSON_OMIT_EMPTY, .min = 1, .max = PACKAGE_BYTES_MAX, .check = check_version,      \
        .doc = (doc_)                                                                              \
    }
#define FIELDS_REPOS                                                                               \
    {.name = "enableRepos",                                                                        \
     .type = JSON_ARRAY,                                                                           \
     JSON_AT(struct yum_params, enable_repos),                                                     \
     .flags = JSON_OMIT_EMPTY,                                                                     \
     .max = REPOS_MAX,                                                                             \
     .item = &repo_item,                                                                           \
     .doc = "Repositories that are enabled for this step."},                                       \
    {                                                                                              \
        .name = "disableRepos", .type = JSON_ARRAY, JSON_AT(struct yum_params, disable_repos),     \
        .flags = JSON_OMIT_EMPTY, .max = REPOS_MAX, .item = &repo_item,                            \
        .doc = "Repositories that are disabled for this step."                                     \
    }
#define FIELD_ALLOW_ERASING(doc_)                                                                  \
    {                                                                                              \
        .name = "allowErasing", .type = JSON_BOOL, JSON_AT(struct yum_params, allow_erasing),      \
        .flags = JSON_HAS_DEFAULT, .doc = (doc_)                                                   \
    }
#define FIELDS_COMMON                                                                              \
    {.name = "requireUndo",                                                                        \
     .type = JSON_BOOL,                                                                            \
     JSON_AT(struct yum_params, require_undo),                                                     \
     .flags = JSON_HAS_DEFAULT,                                                                    \
     .fallback = 1,                                                                                \
     .doc = "True: when a package that undoing would need can no longer be had, the step fails "   \
            "before it changes anything. False: it says so and goes on."},                         \
        {.name = "lockTimeout",                                                                    \
         .type = JSON_SECONDS,                                                                     \
         JSON_AT(struct yum_params, lock_timeout_ms),                                              \
         .flags = JSON_HAS_DEFAULT | JSON_SECONDS_TEXT,                                            \
         .max = LOCK_TIMEOUT_SECONDS_MAX,                                                          \
         .fallback = LOCK_TIMEOUT_SECONDS,                                                         \
         .doc = "How long to wait while others change packages: a number of seconds, or a text "   \
                "such as \"10m\"."},                                                               \
    {                                                                                              \
        .name = "installroot", .type = JSON_STRING, JSON_AT(struct yum_params, installroot),       \
        .flags = JSON_OMIT_EMPTY, .min = 1, .max = PATH_BYTES_MAX, .check = check_installroot,     \
        .doc = "The root of the system whose packages are meant. Left out: the agent's own "       \
               "setting, which is / unless it was started otherwise."                              \
    }

/* Of either type that can name a version. */
static void version_check(const void *params, const char *path, struct problems *ps)
{
    const struct yum_params *yum = params;
    char at[PROBLEM_PATH_MAX];
    (void)snprintf(at, sizeof(at), "%s.version", path);
    if (yum->version && yum->packages.count > 1)
        problems_add(ps, at, "goes with one package");
}

static const char *undo_lacks(const void *params)
{
    const struct yum_params *yum = params;
    return yum->require_undo ? NULL
                             : "requireUndo is false: it goes on where an old package can no "
                               "longer be had";
}

#define UNDO_DOC                                                                                   \
    "Restores exactly the packages that were installed before, those included that were taken "    \
    "along, in one transaction and from the packages that were kept for it, so that no "           \
    "repository "                                                                                  \
    "is needed. When someone else has changed one of them since, nothing is changed, and the "     \
    "rollback fails and says so."

/* ---- yum_install ------------------------------------------------------------------------- */

static const struct json_field install_fields[] = {
    FIELD_PACKAGE(JSON_REQUIRED),
    FIELD_VERSION("The version to install: VERSION, VERSION-RELEASE or EPOCH:VERSION-RELEASE; a "
                  "package that is installed is brought to it. Left out: any will do."),
    FIELDS_REPOS,
    FIELD_ALLOW_ERASING("True: installed packages that stand in the way may be removed."),
    FIELDS_COMMON,
};
static const struct json_table install_table =
    PARAMS_TABLE("yum_install", struct yum_params, install_fields, "Which packages.");

const struct step_type yum_install_type = {
    .name = "yum_install",
    .doc = "Installs packages with dnf, or else yum, from the repositories that the server has. "
           "When they are installed already, nothing is done.",
    .undo_doc = UNDO_DOC,
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &install_table,
    .check = version_check,
    .undo_lacks = undo_lacks,
};

/* ---- yum_remove -------------------------------------------------------------------------- */

static const struct json_field remove_fields[] = {
    FIELD_PACKAGE(JSON_REQUIRED),
    FIELD_ALLOW_ERASING("True: what needs these packages may be removed with them. False: the step "
                        "fails when there is such a package."),
    FIELDS_REPOS,
    FIELDS_COMMON,
};
static const struct json_table remove_table =
    PARAMS_TABLE("yum_remove", struct yum_params, remove_fields, "Which packages.");

const struct step_type yum_remove_type = {
    .name = "yum_remove",
    .doc = "Removes packages with dnf, or else yum. When none is installed, nothing is done. What "
           "they needed stays.",
    .undo_doc = UNDO_DOC,
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &remove_table,
    .undo_lacks = undo_lacks,
};

/* ---- yum_upgrade ------------------------------------------------------------------------- */

static const struct json_field upgrade_fields[] = {
    FIELD_PACKAGE(JSON_OMIT_EMPTY),
    FIELD_VERSION("The version to bring it to: VERSION, VERSION-RELEASE or EPOCH:VERSION-RELEASE. "
                  "Left out: the latest."),
    FIELDS_REPOS,
    {.name = "security",
     .type = JSON_BOOL,
     JSON_AT(struct yum_params, security),
     .flags = JSON_HAS_DEFAULT,
     .doc = "True: only to versions that a security advisory is about. Without a package: of all "
            "that is installed."},
    FIELD_ALLOW_ERASING("True: installed packages that stand in the way may be removed."),
    FIELDS_COMMON,
};
static const struct json_table upgrade_table = PARAMS_TABLE(
    "yum_upgrade", struct yum_params, upgrade_fields, "Which packages, to which version.");

static void upgrade_check(const void *params, const char *path, struct problems *ps)
{
    const struct yum_params *yum = params;
    char at[PROBLEM_PATH_MAX];
    version_check(params, path, ps);
    (void)snprintf(at, sizeof(at), "%s.package", path);
    if (yum->packages.count == 0 && !yum->security)
        problems_add(ps, at, "is required unless \"security\" is true");
    (void)snprintf(at, sizeof(at), "%s.security", path);
    if (yum->security && yum->version)
        problems_add(ps, at, "and \"version\" exclude each other");
}

const struct step_type yum_upgrade_type = {
    .name = "yum_upgrade",
    .doc = "Brings installed packages to a version, or to the latest one, with dnf, or else yum, "
           "from the repositories that the server has; a version older than the installed one is "
           "a downgrade. When they are at it already, nothing is done.",
    .undo_doc = UNDO_DOC,
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &upgrade_table,
    .check = upgrade_check,
    .undo_lacks = undo_lacks,
};
