/*
 * release_internal: what the files release*.c share.
 *
 *     PATH/releases/NAME/                   a release; in it the file .kitsune-release, its marker
 *     PATH/releases/.NAME.kitsune-<hash>/   one that is being unpacked, brought back or removed
 *     PATH/LINK -> releases/NAME
 *
 * A release takes its name whole, with its marker, and loses it whole, each by one rename(2).
 * Everything is reached by the opened folders PATH and PATH/releases, of which the latter is no
 * link.
 *
 * Threading: the works run on the thread pool, and read the run; the rest is for the loop's thread.
 * I/O: files.
 */
#pragma once

#include "common/base/buf.h"
#include "handlers/file_undo.h"

#include <stdatomic.h>

#define RELEASE_MARKER ".kitsune-release"

enum { RELEASE_OLD_MAX = 100 }; /* removed by one step */

/* ---- The run ----------------------------------------------------------------------------- */

struct release_run;

/* On the thread pool. One that finds that it needs the archive sets wants_artifact and returns; it
 * is then run again, from its beginning, with it. */
typedef void (*release_work)(struct release_run *r);

struct release_run {
    struct handler_run *run;
    const struct release_params *params;
    uv_work_t request;
    release_work work;
    struct artifact_request *fetch; /* under way; NULL: none */
    bool wants_artifact;
    struct artifact artifact; /* fd -1: it is not here */
    atomic_bool cancelled;
    struct handler_result result;
    struct buf shown; /* printed when it is over */
};

void release_prepare_work(struct release_run *r);
void release_execute_work(struct release_run *r);
void release_rollback_work(struct release_run *r);
void release_check_work(struct release_run *r);

/* ---- Where it is ------------------------------------------------------------------------- */

struct release_place {
    struct file_place link;             /* PATH/LINK; dir_fd -1: there is no PATH */
    struct file_place folder;           /* PATH/releases/NAME; dir_fd -1: no releases */
    char target[RELEASE_NAME_MAX + 16]; /* "releases/NAME", where the link leads */
};
/* ERR_INVALID: PATH or PATH/releases is no folder. */
enum error_code release_place_open(const struct release_params *params,
                                   struct release_place *ret_place, struct error *err) MUST_CHECK;
void release_place_close(struct release_place *p);
#define AUTO_RELEASE_PLACE __attribute__((cleanup(release_place_close)))

/* The hidden name under which the release `name` is made and removed. */
void release_temp_name(const struct handler_run *run, const char *name,
                       char ret_name[NAME_MAX + 1]);

/* ---- Releases that are there ------------------------------------------------------------- */

struct release_marker {
    char *source; /* the artifact's name */
    int64_t strip_components;
    int64_t uid, gid;     /* FILE_KEEP: the agent's */
    char *rollout, *step; /* which step has made it */
    int64_t time_ms;      /* when */
    int64_t entries, bytes;
    char *sum; /* see release_sum_text: of all but the marker, as it was unpacked */
};
void release_marker_done(struct release_marker *m);
#define AUTO_MARKER __attribute__((cleanup(release_marker_done)))

enum release_presence {
    RELEASE_ABSENT,  /* there is nothing of that name */
    RELEASE_FOREIGN, /* something that no release step has made */
    RELEASE_THERE
};
enum error_code release_look(const struct release_place *p, const char *name,
                             enum release_presence *ret_presence, struct release_marker *ret_marker,
                             struct error *err) MUST_CHECK;
/* Writes it into the folder, which is the release's. */
enum error_code release_marker_write(int folder_fd, const struct release_marker *m,
                                     struct error *err) MUST_CHECK;
/* What shall be there: source, strip_components, uid and gid of it. Borrowed texts. */
enum error_code release_marker_wanted(const struct release_params *params,
                                      struct release_marker *ret_marker,
                                      struct error *err) MUST_CHECK;
/* ERR_EXISTS: something else has its name, and what to do about it. */
enum error_code release_usable(const struct release_place *p, enum release_presence presence,
                               const struct release_marker *now,
                               const struct release_marker *wanted, struct error *err) MUST_CHECK;

enum { RELEASE_SUM_TEXT = 17 };
/* Of what is in a release now, as its marker has it (`with_marker`: and of that, too). */
enum error_code release_sum(const struct release_place *p, const char *name, bool with_marker,
                            const atomic_bool *cancelled, char ret_sum[RELEASE_SUM_TEXT],
                            struct error *err) MUST_CHECK;

/* Whether a symbolic link in PATH leads to it. */
enum error_code release_is_linked(const struct release_place *p, const char *name, bool *ret_linked,
                                  struct error *err) MUST_CHECK;
/* The names of those that are beyond `keep`, oldest first (char *; release_names_done). */
enum error_code release_old(const struct release_place *p, int64_t keep, struct array *ret_names,
                            struct error *err) MUST_CHECK;
void release_names_done(struct array *names);
#define AUTO_NAMES __attribute__((cleanup(release_names_done)))

/* Of PATH/LINK only a symbolic link is replaced. ERR_INVALID. */
enum error_code release_link_check(const struct file_node *node, struct error *err) MUST_CHECK;
bool release_link_leads(const struct release_place *p, const struct file_node *node);

/* ---- What undo needs --------------------------------------------------------------------- */

/* One that is to be removed, as an archive in the step's folder. */
struct release_kept {
    char *name;
    char *archive; /* NULL: it could not be kept, and stays */
    char *sha256;  /* of the archive */
    char *sum;     /* of the release, with its marker */
    char *why;     /* why not */
};
struct release_undo {
    struct file_undo files; /* the link, and the folders that were not there */
    bool led;               /* the link led to something */
    struct array old;       /* struct release_kept */
};
extern const struct json_table release_undo_table;
enum error_code release_undo_read(const struct handler_run *run, struct release_undo *ret_undo,
                                  struct error *err) MUST_CHECK;
void release_undo_done(struct release_undo *undo);
#define AUTO_RELEASE_UNDO __attribute__((cleanup(release_undo_done)))

/* ---- Doing ------------------------------------------------------------------------------- */

/* What is left under hidden names by an earlier run of this step that was cut off. */
enum error_code release_clean(const struct handler_run *run, const struct release_place *p,
                              const struct release_undo *undo, const atomic_bool *cancelled,
                              struct error *err) MUST_CHECK;
/* Takes the release's name away, and then all of it. *ret_left: what was removed has no name any
 * more, and something of it could not be removed, of which `err` says why. */
enum error_code release_remove(const struct handler_run *run, const struct release_place *p,
                               const char *name, const atomic_bool *cancelled, bool *ret_left,
                               struct error *err) MUST_CHECK;
/* Gives a whole release its name, durably. `temp` is its hidden one. */
enum error_code release_put(const struct release_place *p, const char *temp, const char *name,
                            struct error *err) MUST_CHECK;
/* The end of a work that failed. */
void release_failed(struct release_run *r, const struct error *err);

/* All that prepare and check look at. Zero-initialise but for the place. */
struct release_scene {
    struct release_place place;
    struct release_marker wanted; /* borrowed texts */
    enum release_presence presence;
    struct release_marker now;
    struct file_node link;
    struct array old; /* char *: see release_old */
};
#define RELEASE_SCENE_INIT                                                                         \
    ((struct release_scene){.place = {.link = FILE_PLACE_INIT, .folder = FILE_PLACE_INIT}})
/* Refused is what execute would refuse. Folders that are to be made go to `undo`. */
enum error_code release_scene_look(const struct release_run *r, struct file_undo *undo,
                                   struct release_scene *scene, struct error *err) MUST_CHECK;
void release_scene_done(struct release_scene *scene);
#define AUTO_SCENE __attribute__((cleanup(release_scene_done)))

struct archive_rules;
struct archive_rules release_archive_rules(const struct release_run *r,
                                           const struct release_marker *wanted);
