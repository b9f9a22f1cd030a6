/* archive_path: names of entries. */
#include "handlers/archive_internal.h"

#include "common/base/text.h"

#include <limits.h>
#include <string.h>

static enum error_code refuse(const char *name, enum error_code code, const char *why,
                              struct error *err)
{
    return error_set(err, code, "%s: %s", archive_name_shown(name), why);
}

/* One component more, behind those that are there. */
static enum error_code component_add(struct archive_path *path, const char *name, const char *at,
                                     size_t len, struct error *err)
{
    size_t before = strlen(path->text);
    if (len > NAME_MAX || before + len + 2 > sizeof(path->text))
        return refuse(name, ERR_INVALID, "the name is too long", err);
    if (path->depth >= ARCHIVE_DEPTH_MAX)
        return refuse(name, ERR_LIMIT, "too many folders in each other", err);
    if (before > 0)
        path->text[before++] = '/';
    memcpy(path->text + before, at, len);
    path->text[before + len] = '\0';
    path->depth++;
    return ERR_OK;
}

enum error_code archive_path_make(const char *name, int64_t strip_components,
                                  struct archive_path *ret_path, struct error *err)
{
    struct archive_path path = {.text = ""};
    if (!name || !text_utf8_valid(name, strlen(name), NULL))
        return error_set(err, ERR_UNSUPPORTED, "the name of an entry is not UTF-8");
    if (name[0] == '/')
        return refuse(name, ERR_INVALID, "the entry has an absolute path", err);
    for (const char *at = name; *at != '\0';) {
        size_t len = strcspn(at, "/");
        enum error_code code = ERR_OK;
        if (len == 2 && strncmp(at, "..", 2) == 0)
            return refuse(name, ERR_INVALID, "the entry leads out of the archive (\"..\")", err);
        if (len > 0 && !(len == 1 && at[0] == '.') && path.components++ >= strip_components)
            code = component_add(&path, name, at, len, err);
        if (code != ERR_OK)
            return code;
        at += len;
        at += strspn(at, "/");
    }
    *ret_path = path;
    return ERR_OK;
}
