/* catalog_release: the params of the release step type. */
#include "handlers/catalog_internal.h"

#include "common/plan/artifact.h"
#include "handlers/archive.h"

#include <stdio.h>
#include <string.h>

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+~-"

static bool is_name(const char *s)
{
    return s[0] != '.' && s[0] != '-' && s[strspn(s, NAME_CHARACTERS)] == '\0';
}

static const char *check_name(const char *s)
{
    return is_name(s) ? NULL
                      : "the name of a folder, such as \"1.4.2\": letters, digits and . _ + ~ -, "
                        "neither . nor - in front";
}

static const char *check_link(const char *s)
{
    return is_name(s) && strcmp(s, RELEASE_FOLDER) != 0
               ? NULL
               : "the name of a symbolic link in path, such as \"" RELEASE_LINK
                 "\": letters, digits and . _ + ~ -, neither . nor - in front, and not "
                 "\"" RELEASE_FOLDER "\"";
}

void release_name(const struct release_params *params, char ret_name[RELEASE_NAME_MAX + 1])
{
    if (params->name)
        (void)snprintf(ret_name, RELEASE_NAME_MAX + 1, "%s", params->name);
    else
        (void)snprintf(ret_name, RELEASE_NAME_MAX + 1, "%.*s", RELEASE_NAME_DIGITS,
                       artifact_digest(params->source));
}

static const struct json_field release_fields[] = {
    {.name = "source",
     .type = JSON_STRING,
     JSON_AT(struct release_params, source),
     .flags = JSON_REQUIRED,
     .check = artifact_check_name,
     .doc = "The archive, by its artifact's name, as kitsune artifact put prints it: a tar, plain "
            "or compressed by gzip, zstd, xz or bzip2."},
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct release_params, path),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .check = catalog_check_folder_path,
     .doc = "The application's folder, as an absolute path, in which the folder " RELEASE_FOLDER
            " and the link are. It is made where there is none."},
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct release_params, name),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = RELEASE_NAME_MAX,
     .check = check_name,
     .doc = "What the release is called, and its folder in " RELEASE_FOLDER
            ": a version. Left out: the first 12 digits of source."},
    {.name = "link",
     .type = JSON_STRING,
     JSON_AT(struct release_params, link),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = RELEASE_NAME_MAX,
     .check = check_link,
     .doc = "The name of the symbolic link in path that is made to lead to the release. Left "
            "out: " RELEASE_LINK "."},
    {.name = "keep",
     .type = JSON_INT,
     JSON_AT(struct release_params, keep),
     .flags = JSON_HAS_DEFAULT,
     .min = 0,
     .max = RELEASE_KEEP_MAX,
     .fallback = 5,
     .doc = "How many releases stay, this one among them; the oldest ones beyond it are removed, "
            "but never the one that the link led to. 0: all stay."},
    {.name = "stripComponents",
     .type = JSON_INT,
     JSON_AT(struct release_params, strip_components),
     .flags = JSON_HAS_DEFAULT,
     .max = ARCHIVE_STRIP_MAX,
     .doc = "How many folders in front are taken away from each name in the archive; with 1 "
            "app-1.4.2/bin/app becomes bin/app. What has no more than that is left out."},
    {.name = "owner",
     .type = JSON_STRING,
     JSON_AT(struct release_params, owner),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = OWNER_BYTES_MAX,
     .check = catalog_check_owner,
     .doc = "Whose the release's files and folders become, a user's name or number; what the "
            "archive says of owners is not looked at. Left out: the agent's."},
    {.name = "group",
     .type = JSON_STRING,
     JSON_AT(struct release_params, group),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = OWNER_BYTES_MAX,
     .check = catalog_check_owner,
     .doc = "Their group, by name or number. Left out: the agent's."},
    {.name = "maxSize",
     .type = JSON_CUSTOM,
     JSON_AT(struct release_params, max_size_bytes),
     .flags = JSON_OMIT_EMPTY,
     .custom = &catalog_size_custom,
     .doc = "How much the archive may have unpacked, a number of bytes or a text such as "
            "\"512M\"; one that has more is refused. Left out: 4G."},
    {.name = "createParents",
     .type = JSON_BOOL,
     JSON_AT(struct release_params, create_parents),
     .flags = JSON_HAS_DEFAULT,
     .doc = "True: folders on the way to path that do not exist are made, with mode 0755. Undo "
            "removes those that were made, as far as they are empty then."},
};
static const struct json_table release_table =
    PARAMS_TABLE("release", struct release_params, release_fields,
                 "Which archive becomes which release, and where.");

static void release_check(const void *params, const char *path, struct problems *ps)
{
    const struct release_params *release = params;
    char field[PROBLEM_PATH_MAX];
    (void)snprintf(field, sizeof(field), "%s.path", path);
    /* Room for PATH/releases/.NAME.kitsune-0123456789abcdef. */
    if (release->path && strlen(release->path) > PATH_BYTES_MAX - 2 * RELEASE_NAME_MAX)
        problems_add(ps, field, "is too long for what is to be in it; at most %d bytes are allowed",
                     PATH_BYTES_MAX - 2 * RELEASE_NAME_MAX);
}

const struct step_type release_type = {
    .name = "release",
    .doc = "Unpacks an archive into a folder of its own, PATH/" RELEASE_FOLDER
           "/NAME, and has the symbolic link PATH/LINK lead there, at once: whoever follows it "
           "meanwhile finds either the old release whole or the new one. A release that is there "
           "already, from the same archive, is not unpacked again. Old ones are removed.",
    .undo_doc =
        "Has the link lead where it led, removes the release when this step has made it and "
        "nobody has changed anything in it, and brings back the old ones that were removed, "
        "exactly. When someone else has switched the link since, all is left as it is and the "
        "rollback fails and says so.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &release_table,
    .check = release_check,
};
