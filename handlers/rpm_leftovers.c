/* rpm_leftovers: the files of a transaction that was cut off, which no package in the database
 * owns. */
#include "common/base/cleanup.h"
#include "handlers/rpm_apply.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <rpm/rpmdb.h>
#include <rpm/rpmfiles.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* rpm writes a file as NAME;XXXXXXXX and renames it when all of its package are there. */
enum { TEMP_DIGITS = 8 };

static const char *below(const char *root)
{
    return strcmp(root, "/") == 0 ? "" : root;
}

static bool is_there(const char *root, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    int len = snprintf(path, sizeof(path), "%s%s", below(root), name);
    return len < 0 || (size_t)len >= sizeof(path) || lstat(path, &st) == 0;
}

/* What stands above comes before it. */
static bool note_path(const struct rpm_paths *paths, char *name)
{
    char *slash = strrchr(name, '/');
    bool written = true;
    if (!slash || strchr(name, '\n') || is_there(paths->root, name))
        return true;
    if (slash != name) {
        *slash = '\0';
        written = note_path(paths, name);
        *slash = '/';
    }
    return written && fprintf(paths->stream, "%s\n", name) > 0;
}

enum error_code rpm_leftovers_note(void *ctx, Header header, struct error *err)
{
    const struct rpm_paths *paths = ctx;
    bool written = true;
    rpmfiles files = rpmfilesNew(NULL, header, RPMTAG_BASENAMES, RPMFI_FLAGS_QUERY);
    int count = (int)rpmfilesFC(files);
    for (int i = 0; i < count && written; i++) {
        char *name = rpmfilesFN(files, i);
        written = name && note_path(paths, name);
        free(name);
    }
    rpmfilesFree(files);
    return written ? ERR_OK : error_errno(err, errno, "what the packages bring");
}

static bool is_owned(rpmts ts, const char *name)
{
    rpmdbMatchIterator it = rpmtsInitIterator(ts, RPMDBI_INSTFILENAMES, name, 0);
    bool owned = it && rpmdbNextIterator(it) != NULL;
    rpmdbFreeIterator(it);
    return owned;
}

static bool is_temporary(const char *name)
{
    const char *mark = strrchr(name, ';');
    return mark && mark != name && strlen(mark + 1) == TEMP_DIGITS &&
           strspn(mark + 1, "0123456789abcdef") == TEMP_DIGITS;
}

/* Of the folder `dir` those that were to become `base`. */
static void temporaries_remove(const char *dir, const char *base)
{
    char path[PATH_MAX];
    DIR *folder = opendir(dir);
    size_t len = strlen(base);
    for (const struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        if (!is_temporary(entry->d_name) || strncmp(entry->d_name, base, len) != 0 ||
            entry->d_name[len] != ';')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (unlink(path) == 0)
            (void)printf("removed %s, left by a transaction that was cut off\n", path);
    }
    if (folder)
        (void)closedir(folder);
}

void rpm_leftovers_of(const char *root, Header header)
{
    char dir[PATH_MAX];
    rpmfiles files = rpmfilesNew(NULL, header, RPMTAG_BASENAMES, RPMFI_FLAGS_QUERY);
    int count = (int)rpmfilesFC(files);
    for (int i = 0; i < count; i++) {
        int len = snprintf(dir, sizeof(dir), "%s%s", below(root),
                           rpmfilesDN(files, rpmfilesDI(files, i)));
        if (len > 0 && (size_t)len < sizeof(dir))
            temporaries_remove(dir, rpmfilesBN(files, i));
    }
    rpmfilesFree(files);
}

static void leftover_remove(rpmts ts, const struct rpm_paths *paths, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    int len = snprintf(path, sizeof(path), "%s%s", below(paths->root), name);
    if (len < 0 || (size_t)len >= sizeof(path))
        return;
    char *slash = strrchr(path, '/');
    *slash = '\0';
    if (!paths->folders_only)
        temporaries_remove(path, slash + 1);
    *slash = '/';
    if (lstat(path, &st) != 0 || (paths->folders_only && !S_ISDIR(st.st_mode)) ||
        is_owned(ts, name))
        return;
    if ((S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path)) == 0 && !paths->folders_only)
        (void)printf("removed %s, left by a transaction that was cut off\n", path);
}

/* A folder comes before what is in it, so the lines are taken from the last to the first. */
static enum error_code lines_remove(rpmts ts, const struct rpm_paths *paths, FILE *stream,
                                    struct error *err)
{
    AUTO_FREE long *offsets = NULL;
    size_t count = 0;
    char line[PATH_MAX + 2];
    for (long at = ftell(stream); fgets(line, sizeof(line), stream); at = ftell(stream)) {
        void *grown = mem_realloc(offsets, (count + 1) * sizeof(*offsets));
        if (!grown)
            return error_set(err, ERR_NO_MEMORY, NULL);
        offsets = grown;
        offsets[count++] = at;
    }
    while (count-- > 0) {
        if (fseek(stream, offsets[count], SEEK_SET) != 0 || !fgets(line, sizeof(line), stream))
            return error_errno(err, errno, "the paths that were noted");
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '/')
            leftover_remove(ts, paths, line);
    }
    return ERR_OK;
}

enum error_code rpm_leftovers_remove(rpmts ts, const struct rpm_paths *paths, const char *file,
                                     struct error *err)
{
    FILE *stream = fopen(file, "re");
    if (!stream)
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s", file);
    enum error_code code = lines_remove(ts, paths, stream, err);
    (void)fclose(stream);
    return code;
}
