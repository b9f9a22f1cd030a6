#include "handlers/unit_links.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/catalog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES_MAX = 64, LINE_MAX_BYTES = 4096, FILE_LINES_MAX = 10000 };

static const char *const system_links[] = {"/etc/systemd/system", "/run/systemd/system", NULL};
static const char *const system_files[] = {
    "/etc/systemd/system",     "/run/systemd/system", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system", NULL,
};
const struct unit_folders unit_folders_system = {system_links, system_files};

static const struct json_field link_fields[] = {
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct unit_link, path),
     .flags = JSON_REQUIRED,
     .doc = "Where the link is."},
    {.name = "target",
     .type = JSON_STRING,
     JSON_AT(struct unit_link, target),
     .flags = JSON_REQUIRED,
     .doc = "What it leads to."},
};
const struct json_table unit_link_table =
    JSON_TABLE("link", struct unit_link, link_fields, "A link by which a unit is enabled.");

void unit_links_done(struct array *links)
{
    for (size_t i = 0; i < links->count; i++)
        json_release(&unit_link_table, ARRAY_AT(links, struct unit_link, i));
    mem_free(links->items);
    *links = (struct array){0};
}

/* ---- The family -------------------------------------------------------------------------- */

static bool family_has(const struct array *family, const char *name)
{
    for (size_t i = 0; i < family->count; i++) {
        if (strcmp(*ARRAY_AT(family, char *, i), name) == 0)
            return true;
    }
    return false;
}

/* What does not fit is left out: no unit has so many names. */
static enum error_code family_add(struct array *family, const char *name, struct error *err)
{
    if (name[0] == '\0' || strlen(name) > UNIT_NAME_MAX || strchr(name, '/') ||
        family_has(family, name) || family->count == NAMES_MAX)
        return ERR_OK;
    if (!family->items)
        family->items = mem_array(NAMES_MAX, sizeof(char *));
    char *copy = family->items ? mem_strdup(name) : NULL;
    if (!copy)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ARRAY_AT(family, char *, family->count++) = copy;
    /* An instance is enabled by a link to its template. */
    const char *at = strchr(name, '@');
    const char *dot = strrchr(name, '.');
    char template[2 * UNIT_NAME_MAX + 2];
    if (!at || !dot || dot < at || at + 1 == dot)
        return ERR_OK;
    (void)snprintf(template, sizeof(template), "%.*s%s", (int)(at + 1 - name), name, dot);
    return family_add(family, template, err);
}

static enum error_code line_read_also(char *line, struct array *family, struct error *err)
{
    const char *start = line + strspn(line, " \t");
    if (strncmp(start, "Also", 4) != 0 || start[4 + strspn(start + 4, " \t")] != '=')
        return ERR_OK;
    char *rest = NULL;
    enum error_code code = ERR_OK;
    for (char *word = strtok_r(strchr(line, '=') + 1, " \t\r\n\"'", &rest); word && code == ERR_OK;
         word = strtok_r(NULL, " \t\r\n\"'", &rest))
        code = family_add(family, word, err);
    return code;
}

/* The values of Also= are names with spaces between them. An empty one forgets those before it;
 * then too many are looked at, which does no harm. */
static enum error_code file_read_also(const char *path, struct array *family, struct error *err)
{
    char line[LINE_MAX_BYTES];
    enum error_code code = ERR_OK;
    FILE *file = path[0] != '\0' ? fopen(path, "re") : NULL;
    if (!file)
        return ERR_OK;
    for (int i = 0; i < FILE_LINES_MAX && code == ERR_OK && fgets(line, sizeof(line), file); i++)
        code = line_read_also(line, family, err);
    (void)fclose(file);
    return code;
}

static enum error_code unit_read_also(const struct unit_folders *folders, const char *name,
                                      struct array *family, struct error *err)
{
    char path[PATH_MAX];
    enum error_code code = ERR_OK;
    for (size_t i = 0; folders->files[i] && code == ERR_OK; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folders->files[i], name);
        code = file_read_also(path, family, err);
    }
    return code;
}

enum error_code unit_family_find(const struct unit_folders *folders, const struct array *names,
                                 const char *fragment, const struct array *drop_ins,
                                 struct array *ret_family, struct error *err)
{
    struct array family = {0};
    enum error_code code = ERR_OK;
    for (size_t i = 0; i < names->count && code == ERR_OK; i++)
        code = family_add(&family, *ARRAY_AT(names, char *, i), err);
    if (code == ERR_OK)
        code = file_read_also(fragment, &family, err);
    for (size_t i = 0; i < drop_ins->count && code == ERR_OK; i++)
        code = file_read_also(*ARRAY_AT(drop_ins, char *, i), &family, err);
    /* It grows meanwhile: what a unit brings along can bring others. */
    for (size_t i = 0; i < family.count && code == ERR_OK; i++)
        code = unit_read_also(folders, *ARRAY_AT(&family, char *, i), &family, err);
    if (code == ERR_OK)
        *ret_family = family;
    else
        unit_family_done(&family);
    return code;
}

void unit_family_done(struct array *family)
{
    for (size_t i = 0; i < family->count; i++)
        mem_free(*ARRAY_AT(family, char *, i));
    mem_free(family->items);
    *family = (struct array){0};
}

/* ---- Reading ----------------------------------------------------------------------------- */

static enum error_code link_add(struct array *links, const char *path, const char *target,
                                struct error *err)
{
    if (links->count == UNIT_LINKS_MAX)
        return error_set(err, ERR_LIMIT, "more than %d links enable the unit", UNIT_LINKS_MAX);
    if (!links->items) {
        links->items = mem_array(UNIT_LINKS_MAX, sizeof(struct unit_link));
        if (!links->items)
            return error_set(err, ERR_NO_MEMORY, NULL);
    }
    struct unit_link *link = ARRAY_AT(links, struct unit_link, links->count);
    *link = (struct unit_link){.path = mem_strdup(path), .target = mem_strdup(target)};
    links->count++;
    return link->path && link->target ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static enum error_code link_look_at(const char *path, const struct array *family,
                                    struct array *links, struct error *err)
{
    char target[PATH_MAX];
    ssize_t len = readlink(path, target, sizeof(target) - 1);
    if (len < 0) /* no link, or gone since */
        return ERR_OK;
    target[len] = '\0';
    /* A mask is not by enabling. */
    if (strcmp(target, "/dev/null") == 0)
        return ERR_OK;
    if (!family_has(family, base_name(path)) && !family_has(family, base_name(target)))
        return ERR_OK;
    return link_add(links, path, target, err);
}

static bool is_wants_folder(const char *name)
{
    static const char *const endings[] = {".wants", ".requires", ".upholds"};
    size_t len = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        size_t end = strlen(endings[i]);
        if (len > end && strcmp(name + len - end, endings[i]) == 0)
            return true;
    }
    return false;
}

static enum error_code folder_read(const char *folder, bool top, const struct array *family,
                                   struct array *links, struct error *err)
{
    char path[PATH_MAX];
    enum error_code code = ERR_OK;
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT || errno == ENOTDIR ? ERR_OK : error_errno(err, errno, "%s", folder);
    for (const struct dirent *entry; code == ERR_OK && (entry = readdir(dir));) {
        if (snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >= (int)sizeof(path))
            continue;
        if (top && is_wants_folder(entry->d_name))
            code = folder_read(path, false, family, links, err);
        else
            code = link_look_at(path, family, links, err);
    }
    (void)closedir(dir);
    return code;
}

enum error_code unit_links_read(const struct unit_folders *folders, const struct array *family,
                                struct array *ret_links, struct error *err)
{
    struct array links = {0};
    enum error_code code = ERR_OK;
    for (size_t i = 0; folders->links[i] && code == ERR_OK; i++)
        code = folder_read(folders->links[i], true, family, &links, err);
    if (code == ERR_OK)
        *ret_links = links;
    else
        unit_links_done(&links);
    return code;
}

/* ---- Restoring --------------------------------------------------------------------------- */

static const struct unit_link *link_find(const struct array *links, const char *path)
{
    for (size_t i = 0; i < links->count; i++) {
        const struct unit_link *link = ARRAY_AT(links, struct unit_link, i);
        if (strcmp(link->path, path) == 0)
            return link;
    }
    return NULL;
}

/* The folder that a path is in. */
static void folder_of(const char *path, char ret_folder[PATH_MAX])
{
    (void)snprintf(ret_folder, PATH_MAX, "%.*s", (int)(base_name(path) - path - 1), path);
}

/* ERR_OK too when the folder is gone with what was in it. */
static enum error_code folder_sync(const char *folder, struct error *err)
{
    AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s", folder);
    return fsync(fd) == 0 ? ERR_OK : error_errno(err, errno, "%s", folder);
}

/* A folder of links that is empty then goes too, as systemd does it. */
static enum error_code link_remove(const char *path, struct error *err)
{
    char folder[PATH_MAX], above[PATH_MAX];
    folder_of(path, folder);
    if (unlink(path) != 0 && errno != ENOENT)
        return error_errno(err, errno, "%s cannot be removed", path);
    if (is_wants_folder(folder) && rmdir(folder) == 0) {
        folder_of(folder, above);
        return folder_sync(above, err);
    }
    return folder_sync(folder, err);
}

static enum error_code link_make(const struct unit_link *link, struct error *err)
{
    char folder[PATH_MAX], above[PATH_MAX], temp[PATH_MAX];
    struct stat st;
    if (lstat(link->path, &st) == 0 && !S_ISLNK(st.st_mode))
        return error_set(err, ERR_CONFLICT, "%s is no link any more; it stays as it is",
                         link->path);
    folder_of(link->path, folder);
    if (mkdir(folder, 0755) == 0) {
        folder_of(folder, above);
        enum error_code code = folder_sync(above, err);
        if (code != ERR_OK)
            return code;
    }
    if (snprintf(temp, sizeof(temp), "%s/.#kitsune-link", folder) >= (int)sizeof(temp))
        return error_set(err, ERR_INVALID, "%s: the path is too long", link->path);
    (void)unlink(temp);
    if (symlink(link->target, temp) != 0 || rename(temp, link->path) != 0)
        return error_errno(err, errno, "%s cannot be made again", link->path);
    return folder_sync(folder, err);
}

static enum error_code links_apply(const struct array *present, const struct array *links,
                                   bool *ret_changed, struct error *err)
{
    enum error_code code = ERR_OK;
    for (size_t i = 0; i < present->count && code == ERR_OK; i++) {
        const char *path = ARRAY_AT(present, struct unit_link, i)->path;
        if (link_find(links, path))
            continue;
        *ret_changed = true;
        code = link_remove(path, err);
    }
    for (size_t i = 0; i < links->count && code == ERR_OK; i++) {
        const struct unit_link *link = ARRAY_AT(links, struct unit_link, i);
        const struct unit_link *there = link_find(present, link->path);
        if (there && strcmp(there->target, link->target) == 0)
            continue;
        *ret_changed = true;
        code = link_make(link, err);
    }
    return code;
}

enum error_code unit_links_restore(const struct unit_folders *folders, const struct array *family,
                                   const struct array *links, bool *ret_changed, struct error *err)
{
    struct array present = {0};
    *ret_changed = false;
    enum error_code code = unit_links_read(folders, family, &present, err);
    if (code == ERR_OK)
        code = links_apply(&present, links, ret_changed, err);
    unit_links_done(&present);
    return code;
}
