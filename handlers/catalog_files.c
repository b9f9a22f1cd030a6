/* catalog_files: the params of the step types that change files. */
#include "handlers/catalog_internal.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/plan/artifact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES_MAX = 255, BASE64_MAX = 1398104 };

/* ---- Rules for strings ------------------------------------------------------------------- */

const char *catalog_check_file_path(const char *s)
{
    const char *last = strrchr(s, '/');
    if (s[0] == '/' && last[1] != '\0' && strcmp(last, "/.") != 0 && strcmp(last, "/..") != 0)
        return NULL;
    return "the absolute path of a file, such as \"/etc/motd\"";
}

const char *catalog_check_folder_path(const char *s)
{
    return catalog_check_file_path(s) == NULL
               ? NULL
               : "the absolute path of a folder, such as \"/srv/app\", without a slash at its end";
}

static const char *check_link_path(const char *s)
{
    return catalog_check_file_path(s) == NULL ? NULL
                                              : "an absolute path, such as \"/opt/app/current\"";
}

static const char *check_file_name(const char *s)
{
    if (!strchr(s, '/') && strcmp(s, ".") != 0 && strcmp(s, "..") != 0)
        return NULL;
    return "the name of a file in the same folder, such as \"motd.bak\", without a \"/\"";
}

const char *catalog_check_mode(const char *s)
{
    size_t len = strlen(s);
    if (strspn(s, "01234567") == len && (len == 3 || len == 4 || (len == 5 && s[0] == '0')))
        return NULL;
    return "an octal mode as text, such as \"0644\" or \"4755\"";
}

/* Names go to getpwnam(3) and the like; what no user database has is refused here. */
const char *catalog_check_owner(const char *s)
{
    const char *rule = "a name or a number from 0 to 4294967294";
    if (s[strspn(s, "0123456789")] == '\0')
        return strlen(s) <= 10 && strtoull(s, NULL, 10) < UINT32_MAX ? NULL : rule;
    if (s[0] == '-')
        return rule;
    for (const char *c = s; *c; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == ':' || *c == '/')
            return rule;
    }
    return NULL;
}

/* ---- Base64 ------------------------------------------------------------------------------ */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* RFC 4648, padded, on one line. False: it is not that. `ret` has room for 3 bytes per 4 digits. */
static bool base64_decode(const char *text, size_t len, char *ret, size_t *ret_len)
{
    size_t padding = 0, done = 0;
    if (len % 4 != 0)
        return false;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    unsigned value = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = i < len - padding ? base64_digit(text[i]) : 0;
        if (digit < 0)
            return false;
        value = value << 6 | (unsigned)digit;
        if (i % 4 != 3)
            continue;
        ret[done++] = (char)(value >> 16 & 0xff);
        ret[done++] = (char)(value >> 8 & 0xff);
        ret[done++] = (char)(value & 0xff);
        value = 0;
    }
    *ret_len = done - padding;
    return true;
}

static void base64_read(const struct json_value *v, const char *path, void *field,
                        struct problems *ps)
{
    struct plan_bytes *bytes = field;
    const char *text = json_string(v);
    if (!text) {
        problems_add(ps, path, "must be a string, not %s", json_kind_name(json_kind(v)));
        return;
    }
    size_t len = strlen(text);
    if (len > BASE64_MAX) {
        problems_add(ps, path, "has %zu characters; at most %d are allowed", len, (int)BASE64_MAX);
        return;
    }
    AUTO_FREE char *data = mem_alloc(len / 4 * 3 + 1);
    if (!data) {
        ps->total++;
        ps->no_memory = true;
        return;
    }
    if (!base64_decode(text, len, data, &bytes->len)) {
        problems_add(ps, path, "must be Base64: A-Z a-z 0-9 + /, padded with \"=\", on one line");
        return;
    }
    bytes->data = TAKE(data);
    bytes->given = true;
}

static void base64_write(struct buf *b, const void *field)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const struct plan_bytes *bytes = field;
    buf_putc(b, '"');
    for (size_t i = 0; i < bytes->len; i += 3) {
        size_t count = bytes->len - i < 3 ? bytes->len - i : 3;
        unsigned value = 0;
        for (size_t k = 0; k < 3; k++)
            value = value << 8 | (k < count ? (unsigned char)bytes->data[i + k] : 0U);
        for (size_t k = 0; k < 4; k++) {
            if (k <= count)
                buf_putc(b, digits[value >> (18 - 6 * k) & 63]);
            else
                buf_putc(b, '=');
        }
    }
    buf_putc(b, '"');
}

static bool base64_empty(const void *field)
{
    return !((const struct plan_bytes *)field)->given;
}

static void base64_release(void *field)
{
    struct plan_bytes *bytes = field;
    mem_free(bytes->data);
    *bytes = (struct plan_bytes){0};
}

static const struct json_custom base64_custom = {
    .decode = base64_read,
    .encode = base64_write,
    .empty = base64_empty,
    .release = base64_release,
    .schema = "{\"type\":\"string\",\"contentEncoding\":\"base64\",\"maxLength\":1398104}",
    .size = sizeof(struct plan_bytes),
};

/* ---- Fields of several types ------------------------------------------------------------- */

#define MODE_FIELD(type_, doc_)                                                                    \
    {                                                                                              \
        .name = "mode", .type = JSON_STRING, JSON_AT(type_, mode), .flags = JSON_OMIT_EMPTY,       \
        .check = catalog_check_mode, .doc = (doc_)                                                 \
    }
#define OWNER_FIELD(name_, type_, member_, doc_)                                                   \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(type_, member_), .flags = JSON_OMIT_EMPTY,   \
        .min = 1, .max = OWNER_BYTES_MAX, .check = catalog_check_owner, .doc = (doc_)              \
    }
#define PARENTS_FIELD(type_)                                                                       \
    {                                                                                              \
        .name = "createParents", .type = JSON_BOOL, JSON_AT(type_, create_parents),                \
        .flags = JSON_HAS_DEFAULT,                                                                 \
        .doc = "True: folders on the way to path that do not exist are made, with mode 0755. "     \
               "Undo removes those that were made, as far as they are empty then."                 \
    }

/* ---- file_write -------------------------------------------------------------------------- */

static const struct json_field file_write_fields[] = {
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, path),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .check = catalog_check_file_path,
     .doc =
         "The file to write, as an absolute path. Its folder must exist, unless createParents is "
         "given."},
    {.name = "content",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, content),
     JSON_HAS(struct file_write_params, has_content),
     .flags = JSON_SECRETS,
     .doc = "The whole content of the file, UTF-8 text; may be empty. At most 1 MiB. Of content, "
            "contentBase64 and source one is required."},
    {.name = "contentBase64",
     .type = JSON_CUSTOM,
     JSON_AT(struct file_write_params, content_base64),
     .flags = JSON_OMIT_EMPTY,
     .custom = &base64_custom,
     .doc = "The whole content of the file as Base64: any bytes, at most 1 MiB of them."},
    {.name = "source",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, source),
     .flags = JSON_OMIT_EMPTY,
     .check = artifact_check_name,
     .doc = "The artifact that is the whole content of the file, of any size, by the name that "
            "kitsune artifact put prints: \"sha256:\" and 64 digits. It is fetched before anything "
            "is changed."},
    MODE_FIELD(
        struct file_write_params,
        "The file's mode, octal and as text, such as \"0644\". Left out: the mode of the file "
        "that is there, or 0644 for a new one, 0600 for one with secrets."),
    OWNER_FIELD("owner", struct file_write_params, owner,
                "The file's owner, a user's name or number. Left out: that of the file that is "
                "there, or the agent's for a new one."),
    OWNER_FIELD("group", struct file_write_params, group,
                "The file's group, by name or number. Left out: that of the file that is there, or "
                "the agent's for a new one."),
    {.name = "followSymlinks",
     .type = JSON_BOOL,
     JSON_AT(struct file_write_params, follow_symlinks),
     .flags = JSON_HAS_DEFAULT,
     .doc = "True: when path is a symbolic link the file it leads to is written. False: a symbolic "
            "link at path is an error."},
    PARENTS_FIELD(struct file_write_params),
    {.name = "backup",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, backup),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = NAME_BYTES_MAX,
     .check = check_file_name,
     .doc =
         "A name in the same folder under which a copy of the file that is there is left, with "
         "all that it has, before it is changed. Undo needs none: it takes the copy away again."},
    {.name = "validate",
     .type = JSON_ARRAY,
     JSON_AT(struct file_write_params, validate),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = ARGS_MAX,
     .item = &catalog_arg_item,
     .doc =
         "A program and its arguments, such as [\"visudo\", \"-cf\", \"%s\"], that is run before "
         "the "
         "new file takes the old one's place. %s stands for the new file's path, which comes last "
         "where no argument has it; no shell takes part. Unless it ends with exit status 0 the "
         "file stays as it is and the step fails."},
};
static const struct json_table file_write_table =
    PARAMS_TABLE("file_write", struct file_write_params, file_write_fields,
                 "Which file, and what it shall hold.");

static void file_content_check(const struct file_write_params *file, const char *path,
                               struct problems *ps)
{
    char field[PROBLEM_PATH_MAX];
    bool given = file->content || file->content_base64.given;
    (void)snprintf(field, sizeof(field), "%s.content", path);
    if (!given && !file->source)
        problems_add(ps, field, "is required, or contentBase64 or source in its place");
    if (file->content && file->content_base64.given)
        problems_add(ps, field, "and contentBase64 exclude each other");
    (void)snprintf(field, sizeof(field), "%s.source", path);
    if (given && file->source)
        problems_add(ps, field, "and %s exclude each other",
                     file->content ? "content" : "contentBase64");
}

static void file_write_check(const void *params, const char *path, struct problems *ps)
{
    const struct file_write_params *file = params;
    char field[PROBLEM_PATH_MAX];
    file_content_check(file, path, ps);
    (void)snprintf(field, sizeof(field), "%s.backup", path);
    const char *name = file->path ? strrchr(file->path, '/') : NULL;
    if (file->backup && name && strcmp(name + 1, file->backup) == 0)
        problems_add(ps, field, "is the name of the file itself");
    (void)snprintf(field, sizeof(field), "%s.validate[0]", path);
    if (file->validate.count > 0 && (*ARRAY_AT(&file->validate, char *, 0))[0] == '\0')
        problems_add(ps, field, "must be a program");
}

const struct step_type file_write_type = {
    .name = "file_write",
    .doc =
        "Writes a file in one piece: whoever reads it meanwhile sees either the old content or "
        "the new one, never a part. When the file has that content, mode and owner already, it is "
        "left alone.",
    .undo_doc =
        "Brings back the file's bytes, mode, owner, group and extended attributes as they "
        "were, or removes the file when there was none, with the folders that were made for it. "
        "When someone else has changed the file since, it is left as it is and the rollback "
        "fails and says so.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &file_write_table,
    .check = file_write_check,
};

/* ---- file_remove ------------------------------------------------------------------------- */

static const struct json_field file_remove_fields[] = {
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct file_remove_params, path),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .check = catalog_check_file_path,
     .doc = "The file to remove, as an absolute path. Of a symbolic link it is the link itself."},
};
static const struct json_table file_remove_table = PARAMS_TABLE(
    "file_remove", struct file_remove_params, file_remove_fields, "Which file to remove.");

const struct step_type file_remove_type = {
    .name = "file_remove",
    .doc = "Removes a file or a symbolic link. What is not there is fine; a folder is refused, for "
           "which there is directory.",
    .undo_doc = "Brings the file back with its bytes, mode, owner, group, times and extended "
                "attributes, and a file of several names as one of them. When someone else has put "
                "something there since, that is left as it is and the rollback fails and says so.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &file_remove_table,
};

/* ---- directory --------------------------------------------------------------------------- */

static const char *const directory_states[DIRECTORY_STATE_COUNT] = {
#define X(value, name) [value] = (name),
    DIRECTORY_STATES(X)
#undef X
};
static const struct json_enum directory_state_values = {directory_states, DIRECTORY_STATE_COUNT};

static const struct json_field directory_fields[] = {
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct directory_params, path),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .check = catalog_check_folder_path,
     .doc = "The folder, as an absolute path."},
    {.name = "state",
     .type = JSON_ENUM,
     JSON_AT(struct directory_params, state),
     .flags = JSON_HAS_DEFAULT,
     .values = &directory_state_values,
     .doc = "present: it is made where there is none. absent: it is removed."},
    MODE_FIELD(
        struct directory_params,
        "The folder's mode, octal and as text. Left out: that of the folder that is there, or "
        "0755 for a new one."),
    OWNER_FIELD("owner", struct directory_params, owner,
                "The folder's owner, a user's name or number. Left out: that of the folder that is "
                "there, or the agent's for a new one."),
    OWNER_FIELD(
        "group", struct directory_params, group,
        "The folder's group, by name or number. Left out: that of the folder that is there, "
        "or that of a new one."),
    PARENTS_FIELD(struct directory_params),
    {.name = "recursive",
     .type = JSON_BOOL,
     JSON_AT(struct directory_params, recursive),
     .flags = JSON_HAS_DEFAULT,
     .doc = "With absent, true: with all that is in it, of which there may be no more than can be "
            "kept for undo: 1000 files and folders, and 256 MiB. False: only an empty folder is "
            "removed."},
};
static const struct json_table directory_table =
    PARAMS_TABLE("directory", struct directory_params, directory_fields,
                 "Which folder, and what it shall be like.");

static void directory_check(const void *params, const char *path, struct problems *ps)
{
    const struct directory_params *folder = params;
    char field[PROBLEM_PATH_MAX];
    (void)snprintf(field, sizeof(field), "%s.state", path);
    if (folder->state == DIRECTORY_ABSENT &&
        (folder->mode || folder->owner || folder->group || folder->create_parents))
        problems_add(ps, field, "is absent: mode, owner, group and createParents say nothing then");
    if (folder->state == DIRECTORY_PRESENT && folder->recursive)
        problems_add(ps, field, "is present: recursive says nothing then");
}

const struct step_type directory_type = {
    .name = "directory",
    .doc =
        "Makes a folder, or sets its mode and owner, or removes it. A symbolic link at path is an "
        "error.",
    .undo_doc =
        "Removes a folder that was made, with those that were made for it, and gives one that "
        "was there its mode, owner and group back. One that was removed is brought back with "
        "all that was in it. When someone else has put something there since, that is left "
        "as it is and the rollback fails and says so.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &directory_table,
    .check = directory_check,
};

/* ---- symlink ----------------------------------------------------------------------------- */

static const struct json_field symlink_fields[] = {
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct symlink_params, path),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .check = check_link_path,
     .doc = "The symbolic link, as an absolute path."},
    {.name = "target",
     .type = JSON_STRING,
     JSON_AT(struct symlink_params, target),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .doc = "Where it leads, as it is written into the link: an absolute path, or one from the "
            "link's folder. Nothing needs to be there."},
    {.name = "force",
     .type = JSON_BOOL,
     JSON_AT(struct symlink_params, force),
     .flags = JSON_HAS_DEFAULT,
     .doc =
         "True: a file at path is replaced. False: it is an error. A link that leads elsewhere is "
         "replaced in either case, a folder in neither."},
    PARENTS_FIELD(struct symlink_params),
};
static const struct json_table symlink_table = PARAMS_TABLE(
    "symlink", struct symlink_params, symlink_fields, "Which symbolic link, and where it leads.");

const struct step_type symlink_type = {
    .name = "symlink",
    .doc =
        "Makes a symbolic link, or has one lead elsewhere, at once: whoever follows it meanwhile "
        "finds either the old place or the new one.",
    .undo_doc =
        "Brings back the link or the file that was there, or removes the link where there was "
        "none. When someone else has changed it since, it is left as it is and the rollback "
        "fails and says so.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &symlink_table,
};
