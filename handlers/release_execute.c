/* release_execute: unpacks, switches, and removes what is old. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
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

enum { FOLDER_MODE = 0755, TEXT_MAX = 4 * HANDLER_MESSAGE_MAX };

/* What was done, as it is told. */
struct deed {
    bool unpacked, switched, removed;
    bool touched; /* of a release that was there: something in it has been changed */
    struct archive_totals totals;
    struct buf before; /* where the link led */
    struct buf old;    /* what became of those that were to go */
};

static void deed_done(struct deed *deed)
{
    buf_done(&deed->before);
    buf_done(&deed->old);
}

/* ---- Unpacking --------------------------------------------------------------------------- */

struct archive_rules release_archive_rules(const struct release_run *r,
                                           const struct release_marker *wanted)
{
    const struct release_params *params = r->params;
    return (struct archive_rules){
        .strip_components = params->strip_components,
        .max_bytes = params->max_size_bytes > 0 ? params->max_size_bytes : RELEASE_SIZE_MAX,
        .uid = wanted->uid,
        .gid = wanted->gid,
        .reserved = RELEASE_MARKER,
        .cancelled = &r->cancelled,
    };
}

static enum error_code mark(const struct release_run *r, const struct release_place *p,
                            const char *temp, int fd, const struct archive_totals *totals,
                            struct error *err)
{
    char sum[RELEASE_SUM_TEXT], rollout[HANDLER_MARK_MAX], step[PATH_MAX];
    struct release_marker marker = {0};
    enum error_code code = release_marker_wanted(r->params, &marker, err);
    if (code == ERR_OK)
        code = release_sum(p, temp, false, &r->cancelled, sum, err);
    if (code != ERR_OK)
        return code;
    (void)snprintf(rollout, sizeof(rollout), "%s", r->run->rollout);
    (void)snprintf(step, sizeof(step), "%s", r->run->step);
    marker.rollout = rollout;
    marker.step = step;
    marker.sum = sum;
    marker.time_ms = clock_wall_ms();
    marker.entries = totals->entries;
    marker.bytes = totals->bytes;
    return release_marker_write(fd, &marker, err);
}

static enum error_code folder_fill(const struct release_run *r, const struct release_place *p,
                                   const char *temp, struct archive_totals *ret_totals,
                                   struct error *err)
{
    struct release_marker wanted = {0};
    struct file_meta meta = FILE_META_INIT;
    AUTO_CLOSE int fd =
        openat(p->folder.dir_fd, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "%s", p->folder.path);
    enum error_code code = release_marker_wanted(r->params, &wanted, err);
    if (code != ERR_OK)
        return code;
    const struct archive_rules rules = release_archive_rules(r, &wanted);
    meta.mode = FOLDER_MODE;
    meta.uid = wanted.uid;
    meta.gid = wanted.gid;
    code = archive_unpack(r->artifact.fd, fd, &rules, ret_totals, err);
    if (code == ERR_OK)
        code = mark(r, p, temp, fd, ret_totals, err);
    if (code == ERR_OK && !ret_totals->has_root)
        code = file_meta_write(fd, &meta, err);
    return code;
}

static enum error_code unpack(const struct release_run *r, const struct release_place *p,
                              struct deed *deed, struct error *err)
{
    char temp[NAME_MAX + 1];
    release_temp_name(r->run, p->folder.name, temp);
    if (mkdirat(p->folder.dir_fd, temp, 0700) != 0)
        return error_errno(err, errno, "cannot make a folder beside %s", p->folder.path);
    enum error_code code = folder_fill(r, p, temp, &deed->totals, err);
    if (code == ERR_OK)
        code = release_put(p, temp, p->folder.name, err);
    if (code != ERR_OK) /* what cannot be removed now is so before the next attempt */
        error_ignore(tree_remove(p->folder.dir_fd, temp, NULL, NULL));
    deed->unpacked = code == ERR_OK;
    return code == ERR_OK || code == ERR_CANCELLED ? code
                                                   : error_wrap(err, "the archive cannot be "
                                                                     "unpacked");
}

static enum error_code look_again(const struct release_run *r, const struct release_place *p,
                                  const struct release_marker *now, struct deed *deed,
                                  struct error *err)
{
    char sum[RELEASE_SUM_TEXT];
    enum error_code code = release_sum(p, p->folder.name, false, &r->cancelled, sum, err);
    deed->touched = code == ERR_OK && strcmp(sum, now->sum) != 0;
    return code;
}

/* ---- Switching --------------------------------------------------------------------------- */

static enum error_code switch_link(const struct release_run *r, const struct release_place *p,
                                   struct deed *deed, struct error *err)
{
    AUTO_NODE struct file_node now = {0};
    struct release_place copy = *p; /* borrowed */
    bool apart = false;
    char text[FILE_TEXT_MAX];
    enum error_code code = file_node_look(&p->link, &now, err);
    if (code == ERR_OK)
        code = release_link_check(&now, err);
    if (code != ERR_OK)
        return code;
    if (release_link_leads(p, &now)) /* perhaps by an earlier run that was cut off */
        return file_place_sync(&p->link, err);
    file_node_text(&now, text);
    buf_puts(&deed->before, text);
    const struct file_node wanted = {
        .path = copy.link.path, .kind = FILE_LINK, .meta = FILE_META_INIT, .target = copy.target};
    code = file_node_restore(r->run, &wanted, &p->link, &apart, err);
    deed->switched = code == ERR_OK;
    return code;
}

/* ---- Removing what is old ---------------------------------------------------------------- */

/* NULL: it may go. */
static const char *old_stays(const struct release_run *r, const struct release_place *p,
                             const struct release_kept *kept)
{
    char sum[RELEASE_SUM_TEXT];
    bool linked = false;
    if (!kept->archive)
        return kept->why ? kept->why : "it was not kept";
    if (release_is_linked(p, kept->name, &linked, NULL) != ERR_OK || linked)
        return "a link leads to it by now";
    if (release_sum(p, kept->name, true, &r->cancelled, sum, NULL) != ERR_OK || !kept->sum ||
        strcmp(sum, kept->sum) != 0)
        return "it was changed after it was kept";
    return NULL;
}

static enum error_code old_remove(const struct release_run *r, const struct release_place *p,
                                  const struct release_kept *kept, struct deed *deed,
                                  struct error *err)
{
    struct stat st;
    bool left = false;
    const char *comma = deed->old.len > 0 ? ", " : "";
    if (fstatat(p->folder.dir_fd, kept->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        deed->removed = deed->removed || kept->archive; /* by an earlier run */
        return ERR_OK;
    }
    const char *why = old_stays(r, p, kept);
    if (why) {
        buf_printf(&deed->old, "%s%s stays: %s", comma, kept->name, why);
        return ERR_OK;
    }
    enum error_code code = release_remove(r->run, p, kept->name, &r->cancelled, &left, err);
    if (code != ERR_OK && !left)
        return code;
    deed->removed = true;
    buf_printf(&deed->old, "%s%s removed%s%s", comma, kept->name,
               left ? ", but for what could not be: " : "", left ? err->message : "");
    return ERR_OK;
}

static enum error_code old_remove_all(const struct release_run *r, const struct release_place *p,
                                      const struct release_undo *undo, struct deed *deed,
                                      struct error *err)
{
    enum error_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < undo->old.count; i++) {
        if (atomic_load(&r->cancelled))
            return error_set(err, ERR_CANCELLED, NULL);
        code = old_remove(r, p, ARRAY_AT(&undo->old, struct release_kept, i), deed, err);
    }
    return code;
}

/* ---- execute ----------------------------------------------------------------------------- */

static void tell(struct release_run *r, const struct release_place *p, const struct deed *deed)
{
    AUTO_BUF struct buf text = {.max = TEXT_MAX};
    char size[SIZE_TEXT_MAX];
    buf_printf(&text, "%s %sleads to %s", file_path_shown(p->link.path),
               deed->switched ? "" : "already ", p->target);
    result_size_text(deed->totals.bytes, size);
    if (deed->unpacked)
        buf_printf(&text, " (%" PRId64 " files, folders and links, %s)", deed->totals.entries,
                   size);
    else if (deed->switched)
        buf_printf(&text, ", which was there already%s",
                   deed->touched ? ", changed since it was unpacked" : "");
    if (deed->switched)
        buf_printf(&text, "; before there was %s", deed->before.data ? deed->before.data : "?");
    if (deed->totals.dropped > 0)
        buf_printf(&text, "; %" PRId64 " had set-id or sticky bits, which were dropped",
                   deed->totals.dropped);
    if (deed->old.len > 0)
        buf_printf(&text, "; %s", deed->old.data);
    result_succeed(&r->result, deed->unpacked || deed->switched || deed->removed, "%s",
                   text.data ? text.data : "");
}

static enum error_code make(struct release_run *r, const struct release_place *p,
                            const struct release_undo *undo, struct deed *deed, struct error *err)
{
    AUTO_MARKER struct release_marker now = {0};
    struct release_marker wanted = {0};
    enum release_presence presence = RELEASE_ABSENT;
    enum error_code code = release_marker_wanted(r->params, &wanted, err);
    if (code == ERR_OK)
        code = release_look(p, p->folder.name, &presence, &now, err);
    if (code == ERR_OK)
        code = release_usable(p, presence, &now, &wanted, err);
    if (code == ERR_OK)
        code = presence == RELEASE_ABSENT ? unpack(r, p, deed, err)
                                          : look_again(r, p, &now, deed, err);
    if (code == ERR_OK && atomic_load(&r->cancelled))
        code = error_set(err, ERR_CANCELLED, NULL);
    if (code == ERR_OK)
        code = switch_link(r, p, deed, err);
    return code == ERR_OK ? old_remove_all(r, p, undo, deed, err) : code;
}

/* Without the archive: whether it is needed. */
static enum error_code need_find(struct release_run *r, const struct release_place *p,
                                 struct error *err)
{
    AUTO_MARKER struct release_marker now = {0};
    enum release_presence presence = RELEASE_ABSENT;
    enum error_code code = release_look(p, p->folder.name, &presence, &now, err);
    r->wants_artifact = code == ERR_OK && presence == RELEASE_ABSENT && r->artifact.fd < 0;
    return code;
}

static enum error_code execute(struct release_run *r, struct error *err)
{
    AUTO_RELEASE_UNDO struct release_undo undo = {0};
    AUTO_RELEASE_PLACE struct release_place p = {.link = FILE_PLACE_INIT,
                                                 .folder = FILE_PLACE_INIT};
    __attribute__((cleanup(deed_done))) struct deed deed = {.before = {.max = TEXT_MAX},
                                                            .old = {.max = TEXT_MAX}};
    enum error_code code = release_undo_read(r->run, &undo, err);
    if (code == ERR_OK)
        code = release_place_open(r->params, &p, err);
    if (code == ERR_OK)
        code = release_clean(r->run, &p, &undo, &r->cancelled, err);
    if (code == ERR_OK)
        code = need_find(r, &p, err);
    if (code != ERR_OK || r->wants_artifact)
        return code;
    release_place_close(&p);
    code = file_undo_make_folders(&undo.files, err);
    if (code == ERR_OK)
        code = release_place_open(r->params, &p, err);
    if (code == ERR_OK && p.folder.dir_fd < 0)
        code = error_set(err, ERR_NOT_FOUND, "the folder of %s does not exist any more",
                         file_path_shown(p.folder.path));
    if (code == ERR_OK)
        code = make(r, &p, &undo, &deed, err);
    if (code == ERR_OK)
        tell(r, &p, &deed);
    return code;
}

void release_execute_work(struct release_run *r)
{
    struct error err = {0};
    if (execute(r, &err) != ERR_OK)
        release_failed(r, &err);
}
