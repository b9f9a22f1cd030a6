/* release_prepare: what is there, kept before it is changed; and what would be changed. */
#include "common/base/cleanup.h"
#include "handlers/archive.h"
#include "handlers/release_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What undo needs to know besides has room too. */
enum { KEPT_NAME_MAX = 40, KEPT_TEXT_MAX = 16 * 1024 };

/* ---- What is there ----------------------------------------------------------------------- */

void release_scene_done(struct release_scene *scene)
{
    release_place_close(&scene->place);
    release_marker_done(&scene->now);
    file_node_done(&scene->link);
    release_names_done(&scene->old);
}

/* PATH itself is made where there is none; those above it only when that is asked for. */
static enum error_code folders_find(const struct release_params *params,
                                    const struct release_place *p, struct file_undo *undo,
                                    struct error *err)
{
    AUTO_PLACE struct file_place above = FILE_PLACE_INIT;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    bool missing = false;
    enum error_code code =
        params->create_parents ? ERR_OK : file_place_open(params->path, &above, err);
    return code == ERR_OK ? file_undo_place(p->folder.path, true, undo, &place, &missing, err)
                          : code;
}

enum error_code release_scene_look(const struct release_run *r, struct file_undo *undo,
                                   struct release_scene *scene, struct error *err)
{
    const struct release_place *p = &scene->place;
    enum error_code code = release_place_open(r->params, &scene->place, err);
    if (code == ERR_OK)
        code = folders_find(r->params, p, undo, err);
    if (code == ERR_OK && p->link.dir_fd >= 0)
        code = file_node_look(&p->link, &scene->link, err);
    if (code == ERR_OK)
        code = release_link_check(&scene->link, err);
    if (code == ERR_OK)
        code = release_marker_wanted(r->params, &scene->wanted, err);
    if (code == ERR_OK)
        code = release_look(p, p->folder.name, &scene->presence, &scene->now, err);
    if (code == ERR_OK)
        code = release_usable(p, scene->presence, &scene->now, &scene->wanted, err);
    return code == ERR_OK ? release_old(p, r->params->keep, &scene->old, err) : code;
}

/* ---- prepare: old releases --------------------------------------------------------------- */

/* Bytes that may still be kept; 0: no limit, -1: none. */
static int64_t room_left(const struct handler_run *run, int64_t kept_bytes)
{
    const struct handler_room *room = &run->room;
    int64_t left = room->max_bytes - room->used_bytes - kept_bytes - KEPT_TEXT_MAX;
    if (room->max_bytes == 0)
        return 0;
    return left > 0 ? left : -1;
}

static enum error_code old_pack(const struct release_run *r, const struct release_place *p,
                                const char *name, int fd, int64_t max_bytes, struct error *err)
{
    if (max_bytes < 0)
        return error_set(err, ERR_LIMIT, "there is no room for more (--undo-max-size)");
    enum error_code code = archive_pack(p->folder.dir_fd, name, fd, max_bytes, &r->cancelled, err);
    return code == ERR_LIMIT && max_bytes > 0 ? error_wrap(err, "no room for it") : code;
}

/* Into an open file. On success `kept` says all of it but the archive's name. */
static enum error_code old_keep(const struct release_run *r, const struct release_place *p, int fd,
                                int64_t max_bytes, struct release_kept *kept, struct error *err)
{
    char sum[RELEASE_SUM_TEXT], digest[FILE_DIGEST_TEXT];
    enum error_code code = release_sum(p, kept->name, true, &r->cancelled, sum, err);
    if (code == ERR_OK)
        code = old_pack(r, p, kept->name, fd, max_bytes, err);
    if (code == ERR_OK)
        code = file_digest(fd, digest, err);
    if (code != ERR_OK)
        return code;
    kept->sum = mem_strdup(sum);
    kept->sha256 = mem_strdup(digest);
    return kept->sum && kept->sha256 ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

/* A release that cannot be kept stays where it is, and `kept` says why. */
static enum error_code old_take(const struct release_run *r, const struct release_place *p,
                                size_t number, int64_t *kept_bytes, struct release_kept *kept,
                                struct error *err)
{
    char file[KEPT_NAME_MAX], path[PATH_MAX];
    struct stat st;
    struct error why = {0};
    (void)snprintf(file, sizeof(file), "old-%zu.tar.zst", number);
    int len = snprintf(path, sizeof(path), "%s/%s", r->run->undo_dir, file);
    if (len < 0 || (size_t)len >= sizeof(path))
        return error_set(err, ERR_LIMIT, "the path of the undo folder is too long");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "%s", path);
    enum error_code code = old_keep(r, p, fd, room_left(r->run, *kept_bytes), kept, &why);
    if (code == ERR_OK && fstat(fd, &st) == 0) {
        *kept_bytes += st.st_size;
        kept->archive = mem_strdup(file);
        return kept->archive ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
    }
    (void)unlink(path);
    if (code == ERR_CANCELLED || code == ERR_NO_MEMORY)
        return error_set(err, code, NULL);
    kept->why = mem_strdup(why.message);
    return kept->why ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code old_take_all(const struct release_run *r, const struct release_scene *scene,
                                    struct release_undo *undo, struct error *err)
{
    enum error_code code = ERR_OK;
    int64_t kept_bytes = 0;
    if (scene->old.count == 0)
        return ERR_OK;
    undo->old.items = mem_array(scene->old.count, sizeof(struct release_kept));
    if (!undo->old.items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; code == ERR_OK && i < scene->old.count; i++) {
        struct release_kept *kept = ARRAY_AT(&undo->old, struct release_kept, undo->old.count++);
        kept->name = mem_strdup(*ARRAY_AT(&scene->old, char *, i));
        code = kept->name ? old_take(r, &scene->place, i, &kept_bytes, kept, err)
                          : error_set(err, ERR_NO_MEMORY, NULL);
    }
    return code;
}

/* ---- prepare ----------------------------------------------------------------------------- */

static enum error_code link_take(struct release_run *r, const struct release_place *p,
                                 struct release_undo *undo, struct error *err)
{
    struct stat st;
    enum error_code code = p->link.dir_fd < 0
                               ? file_undo_nothing(p->link.path, &undo->files, err)
                               : file_undo_keep(r->run, &p->link, &undo->files, &r->result, err);
    if (code == ERR_OK)
        code = release_link_check(file_undo_main(&undo->files), err);
    undo->led = code == ERR_OK && file_undo_main(&undo->files)->kind == FILE_LINK &&
                fstatat(p->link.dir_fd, p->link.name, &st, 0) == 0;
    return code;
}

static enum error_code prepare(struct release_run *r, struct error *err)
{
    AUTO_SCENE struct release_scene scene = RELEASE_SCENE_INIT;
    AUTO_RELEASE_UNDO struct release_undo undo = {0};
    AUTO_BUF struct buf text = {.max = HANDLER_UNDO_MAX};
    enum error_code code = release_scene_look(r, &undo.files, &scene, err);
    if (code == ERR_OK)
        code = link_take(r, &scene.place, &undo, err);
    if (code == ERR_OK)
        code = old_take_all(r, &scene, &undo, err);
    if (code != ERR_OK)
        return code;
    json_encode(&text, &release_undo_table, &undo);
    code = buf_check(&text, err);
    if (code != ERR_OK)
        return code;
    r->result.undo = buf_take(&text, NULL);
    if (!r->result.undo)
        return error_set(err, ERR_NO_MEMORY, NULL);
    result_succeed(&r->result, false, "captured");
    return ERR_OK;
}

void release_prepare_work(struct release_run *r)
{
    struct error err = {0};
    if (prepare(r, &err) != ERR_OK)
        release_failed(r, &err);
}

/* ---- check ------------------------------------------------------------------------------- */

static void old_tell(const struct array *old, struct buf *text)
{
    for (size_t i = 0; i < old->count; i++)
        buf_printf(text, "%s%s", i == 0 ? "; would remove " : ", ", *ARRAY_AT(old, char *, i));
}

static void link_tell(const struct release_scene *scene, struct buf *text)
{
    const struct release_place *p = &scene->place;
    char now[FILE_TEXT_MAX];
    if (release_link_leads(p, &scene->link)) {
        buf_printf(text, "%s already leads to %s", file_path_shown(p->link.path), p->target);
        return;
    }
    file_node_text(&scene->link, now);
    buf_printf(text, "would have %s lead to %s; there is %s", file_path_shown(p->link.path),
               p->target, now);
}

static enum error_code check(struct release_run *r, struct error *err)
{
    AUTO_SCENE struct release_scene scene = RELEASE_SCENE_INIT;
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_BUF struct buf text = {.max = HANDLER_MESSAGE_MAX};
    struct archive_totals totals = {0};
    char size[SIZE_TEXT_MAX];
    enum error_code code = release_scene_look(r, &undo, &scene, err);
    bool absent = scene.presence == RELEASE_ABSENT;
    if (code != ERR_OK)
        return code;
    if (absent && r->artifact.fd < 0) {
        r->wants_artifact = true;
        return ERR_OK;
    }
    if (absent) {
        const struct archive_rules rules = release_archive_rules(r, &scene.wanted);
        code = archive_measure(r->artifact.fd, &rules, &totals, err);
    }
    if (code != ERR_OK)
        return error_wrap(err, "the archive cannot be unpacked");
    if (absent) {
        result_size_text(totals.bytes, size);
        buf_printf(&text, "would unpack %" PRId64 " files, folders and links (%s); ",
                   totals.entries, size);
    }
    link_tell(&scene, &text);
    old_tell(&scene.old, &text);
    bool changes = absent || !release_link_leads(&scene.place, &scene.link) || scene.old.count > 0;
    result_succeed(&r->result, changes, "%s", text.data ? text.data : "");
    return ERR_OK;
}

void release_check_work(struct release_run *r)
{
    struct error err = {0};
    if (check(r, &err) != ERR_OK)
        release_failed(r, &err);
}
