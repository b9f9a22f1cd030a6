/* release_rollback: back to where the link led, and to the releases that there were. */
#include "common/base/cleanup.h"
#include "handlers/archive.h"
#include "handlers/release_internal.h"
#include "handlers/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_MAX = 4 * HANDLER_MESSAGE_MAX };

struct rollback {
    struct release_run *r;
    const struct release_undo *undo;
    const struct release_place *p;
    bool over_foreign, changed;
    struct buf notes; /* what is to be told, each behind "; " */
};

/* ---- Whether it may be undone ------------------------------------------------------------ */

static enum error_code link_allowed(struct rollback *b, const struct file_node *now,
                                    struct error *err)
{
    const struct file_node *before = file_undo_main(&b->undo->files);
    char is[FILE_TEXT_MAX], was[FILE_TEXT_MAX];
    if (now->kind == FILE_NOTHING || release_link_leads(b->p, now) ||
        file_node_compare(before, now) != FILE_DIFFERENT)
        return ERR_OK;
    b->over_foreign = true;
    if (b->r->run->force)
        return release_link_check(now, err);
    file_node_text(now, is);
    file_node_text(before, was);
    result_conflict(&b->r->result, b->r->run,
                    "%s was changed by somebody else since: it is %s, expected were a symbolic "
                    "link to %s as this step left it, or %s as it was before",
                    file_path_shown(b->p->link.path), is, b->p->target, was);
    return error_set(err, ERR_CONFLICT, "%s was changed by somebody else", b->p->link.path);
}

/* A link back to a release that is gone would leave the application without any. */
static enum error_code target_allowed(struct rollback *b, struct error *err)
{
    const struct file_node *before = file_undo_main(&b->undo->files);
    struct stat st;
    if (!b->undo->led || before->kind != FILE_LINK || b->r->run->force ||
        fstatat(b->p->link.dir_fd, before->target, &st, 0) == 0)
        return ERR_OK;
    result_conflict(&b->r->result, b->r->run, "%s, to which %s led before, is not there any more",
                    file_path_shown(before->target), file_path_shown(b->p->link.path));
    return error_set(err, ERR_CONFLICT, "%s is gone", before->target);
}

static bool is_there(const struct rollback *b, const char *name)
{
    struct stat st;
    return fstatat(b->p->folder.dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* *ret_fd -1: it is there, or was never to go. */
static enum error_code archive_open(const struct rollback *b, const struct release_kept *kept,
                                    int *ret_fd, struct error *err)
{
    char path[PATH_MAX], digest[FILE_DIGEST_TEXT];
    *ret_fd = -1;
    if (!kept->archive || is_there(b, kept->name))
        return ERR_OK;
    int len = snprintf(path, sizeof(path), "%s/%s", b->r->run->undo_dir, kept->archive);
    if (strchr(kept->archive, '/') || strchr(kept->name, '/') || !kept->sha256 || len < 0 ||
        (size_t)len >= sizeof(path))
        return error_set(err, ERR_CORRUPT, "what prepare captured names no archive of %s",
                         kept->name);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open what was kept of the release %s", kept->name);
    enum error_code code = file_digest(fd, digest, err);
    if (code == ERR_OK && strcmp(kept->sha256, digest) != 0)
        code =
            error_set(err, ERR_CORRUPT, "what was kept of the release %s is damaged", kept->name);
    if (code == ERR_OK)
        *ret_fd = fd;
    else
        (void)close(fd);
    return code;
}

static enum error_code old_allowed(const struct rollback *b, struct error *err)
{
    enum error_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < b->undo->old.count; i++) {
        AUTO_CLOSE int fd = -1;
        code = archive_open(b, ARRAY_AT(&b->undo->old, struct release_kept, i), &fd, err);
    }
    return code;
}

/* ---- Back -------------------------------------------------------------------------------- */

static enum error_code link_back(struct rollback *b, const struct file_node *now, struct error *err)
{
    const struct file_node *before = file_undo_main(&b->undo->files);
    bool apart = false;
    if (file_node_compare(before, now) == FILE_SAME) /* perhaps by an earlier run */
        return file_place_sync(&b->p->link, err);
    b->changed = true;
    return file_node_restore(b->r->run, before, &b->p->link, &apart, err);
}

/* Why the release stays; NULL: it goes. */
static const char *release_stays(struct rollback *b, const struct release_marker *m,
                                 enum error_code *ret_code, struct error *err)
{
    char sum[RELEASE_SUM_TEXT];
    bool linked = false;
    *ret_code = release_is_linked(b->p, b->p->folder.name, &linked, err);
    if (linked)
        return "a link leads to it";
    if (*ret_code != ERR_OK || b->r->run->force)
        return NULL;
    *ret_code = release_sum(b->p, b->p->folder.name, false, &b->r->cancelled, sum, err);
    return *ret_code == ERR_OK && strcmp(sum, m->sum) != 0
               ? "something in it was changed since it was unpacked"
               : NULL;
}

/* One that another step has made, or that was there before, is not this step's to remove. */
static enum error_code release_back(struct rollback *b, struct error *err)
{
    AUTO_MARKER struct release_marker m = {0};
    const struct handler_run *run = b->r->run;
    const char *name = b->p->folder.name;
    enum release_presence presence = RELEASE_ABSENT;
    bool left = false;
    enum error_code code = release_look(b->p, name, &presence, &m, err);
    if (code != ERR_OK || presence != RELEASE_THERE || strcmp(m.rollout, run->rollout) != 0 ||
        strcmp(m.step, run->step) != 0)
        return code;
    const char *why = release_stays(b, &m, &code, err);
    if (code != ERR_OK)
        return code;
    if (why) {
        buf_printf(&b->notes, "; %s stays: %s", b->p->target, why);
        return ERR_OK;
    }
    b->changed = true;
    return release_remove(run, b->p, name, &b->r->cancelled, &left, err);
}

static enum error_code old_unpack(struct rollback *b, const struct release_kept *kept, int archive,
                                  struct error *err)
{
    char temp[NAME_MAX + 1];
    struct archive_totals totals = {0};
    const struct archive_rules rules = {
        .uid = FILE_KEEP, .gid = FILE_KEEP, .exact = true, .cancelled = &b->r->cancelled};
    release_temp_name(b->r->run, kept->name, temp);
    if (mkdirat(b->p->folder.dir_fd, temp, 0700) != 0)
        return error_errno(err, errno, "cannot make a folder for the release %s", kept->name);
    AUTO_CLOSE int fd =
        openat(b->p->folder.dir_fd, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    enum error_code code = fd >= 0 ? archive_unpack(archive, fd, &rules, &totals, err)
                                   : error_errno(err, errno, "%s", kept->name);
    if (code == ERR_OK)
        code = release_put(b->p, temp, kept->name, err);
    if (code != ERR_OK)
        error_ignore(tree_remove(b->p->folder.dir_fd, temp, NULL, NULL));
    return code == ERR_OK || code == ERR_CANCELLED
               ? code
               : error_wrap(err, "the release %s cannot be brought back", kept->name);
}

static enum error_code old_back(struct rollback *b, struct error *err)
{
    enum error_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < b->undo->old.count; i++) {
        const struct release_kept *kept = ARRAY_AT(&b->undo->old, struct release_kept, i);
        AUTO_CLOSE int archive = -1;
        code = archive_open(b, kept, &archive, err);
        if (code != ERR_OK || archive < 0)
            continue;
        code = old_unpack(b, kept, archive, err);
        b->changed = true;
        buf_printf(&b->notes, "; %s is there again", kept->name);
    }
    return code;
}

static enum error_code folders_back(struct rollback *b, struct error *err)
{
    size_t removed = 0;
    const char *kept = NULL;
    enum error_code code = file_undo_remove_folders(&b->undo->files, &removed, &kept, err);
    b->changed = b->changed || removed > 0;
    if (kept)
        buf_printf(&b->notes, "; the folder %s is not empty and stays", file_path_shown(kept));
    return code;
}

/* ---- rollback ---------------------------------------------------------------------------- */

/* Folders that are gone have nothing in them that could be undone, unless something is to come
 * back into them. */
static enum error_code gone_allowed(const struct rollback *b, struct error *err)
{
    bool owed = file_undo_main(&b->undo->files)->kind != FILE_NOTHING && b->p->link.dir_fd < 0;
    for (size_t i = 0; b->p->folder.dir_fd < 0 && i < b->undo->old.count; i++)
        owed = owed || ARRAY_AT(&b->undo->old, struct release_kept, i)->archive;
    return owed ? error_set(err, ERR_NOT_FOUND, "the folder of %s does not exist any more",
                            file_path_shown(b->p->folder.path))
                : ERR_OK;
}

static enum error_code allowed(struct rollback *b, struct file_node *ret_now, struct error *err)
{
    enum error_code code = gone_allowed(b, err);
    if (code != ERR_OK || b->p->link.dir_fd < 0)
        return code;
    code = file_node_look(&b->p->link, ret_now, err);
    if (code == ERR_OK)
        code = link_allowed(b, ret_now, err);
    if (code == ERR_OK)
        code = target_allowed(b, err);
    return code == ERR_OK && b->p->folder.dir_fd >= 0 ? old_allowed(b, err) : code;
}

static enum error_code bring_back(struct rollback *b, struct error *err)
{
    AUTO_NODE struct file_node now = {0};
    enum error_code code = allowed(b, &now, err);
    if (code == ERR_OK)
        code = release_clean(b->r->run, b->p, b->undo, &b->r->cancelled, err);
    if (code == ERR_OK && b->p->link.dir_fd >= 0)
        code = link_back(b, &now, err);
    if (code == ERR_OK && b->p->folder.dir_fd >= 0)
        code = release_back(b, err);
    if (code == ERR_OK && b->p->folder.dir_fd >= 0)
        code = old_back(b, err);
    return code == ERR_OK ? folders_back(b, err) : code;
}

static void tell(struct rollback *b)
{
    const struct file_node *before = file_undo_main(&b->undo->files);
    char was[FILE_TEXT_MAX];
    file_node_text(before, was);
    result_succeed(&b->r->result, false, "%s is %s%s%s%s", file_path_shown(before->path),
                   b->changed ? "again " : "as it was, ", was,
                   b->over_foreign ? ", over what somebody else had left there" : "",
                   b->notes.data ? b->notes.data : "");
}

static enum error_code rollback(struct release_run *r, struct error *err)
{
    AUTO_RELEASE_UNDO struct release_undo undo = {0};
    AUTO_RELEASE_PLACE struct release_place p = {.link = FILE_PLACE_INIT,
                                                 .folder = FILE_PLACE_INIT};
    struct rollback b = {.r = r, .undo = &undo, .p = &p, .notes = {.max = TEXT_MAX}};
    enum error_code code = release_undo_read(r->run, &undo, err);
    if (code == ERR_OK)
        code = release_place_open(r->params, &p, err);
    if (code == ERR_OK)
        code = bring_back(&b, err);
    if (code == ERR_OK)
        tell(&b);
    buf_done(&b.notes);
    return code;
}

void release_rollback_work(struct release_run *r)
{
    struct error err = {0};
    if (rollback(r, &err) != ERR_OK)
        release_failed(r, &err);
}
