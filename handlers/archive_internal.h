/*
 * archive_internal: what archive_unpack.c and archive_pack.c share of libarchive. For the files
 * archive*.c alone.
 *
 * libarchive takes names from one character set to another by the thread's locale: in the plain "C"
 * it would lose every name that is not ASCII.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/alloc.h"
#include "handlers/archive.h"
#include "handlers/file_meta.h"

#include <archive.h>
#include <archive_entry.h>
#include <limits.h>
#include <locale.h>

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size_bytes) mem_alloc(size_bytes)
#define uthash_free(p, size_bytes) mem_free(p)
#include <uthash.h>

enum { ARCHIVE_BLOCK_BYTES = 64 * 1024, ARCHIVE_NAME_SHOWN = 120 };

/* From here to the end of the scope this thread's names are UTF-8. */
struct archive_locale {
    locale_t utf8, before;
};
struct archive_locale archive_locale_begin(void);
void archive_locale_end(struct archive_locale *l);
#define AUTO_LOCALE __attribute__((cleanup(archive_locale_end), unused))

/* What libarchive has just said: its own code where it is one of ours, else `code`. */
enum error_code archive_say(struct archive *a, enum error_code code, const char *what,
                            struct error *err);
/* The end of a name, for a message. */
const char *archive_name_shown(const char *name);

/* Where an entry goes, below the folder. */
struct archive_path {
    char text[PATH_MAX]; /* "": the folder itself, or all was stripped */
    int64_t components;  /* of the name, before stripping; "." is none */
    int depth;           /* of what is left */
};
/* ERR_INVALID, ERR_LIMIT, ERR_UNSUPPORTED: a name that is refused. */
enum error_code archive_path_make(const char *name, int64_t strip_components,
                                  struct archive_path *ret_path, struct error *err) MUST_CHECK;

/* A folder of the archive, which gets what it has besides once all that is in it is there, since a
 * time changes with it and a mode may forbid it; or a symbolic link, through which nothing goes. */
struct archive_known {
    char *path;
    bool is_link;
    struct file_meta meta; /* of a folder */
    UT_hash_handle hh;
};

/* The folder into which an archive is unpacked. */
struct archive_place {
    int root_fd;      /* borrowed; -1: it is only measured, and nothing is made */
    int64_t uid, gid; /* of the folders that no entry is about */
    int parent_fd;    /* of the last entry; -1: none */
    char parent[PATH_MAX];
    struct archive_known *known;
};
/* Opens the folder of an entry as parent_fd, making those that are not there. *ret_name is in
 * `path`. ERR_INVALID: it would go through a symbolic link, or a file. */
enum error_code archive_place_open(struct archive_place *p, const char *path, const char **ret_name,
                                   struct error *err) MUST_CHECK;
/* Removes what an earlier entry of the same name has made: the later one counts. */
enum error_code archive_place_clear(struct archive_place *p, const char *name, const char *path,
                                    struct error *err) MUST_CHECK;
/* Opens the folder of something that is there; caller owns *ret_fd. */
enum error_code archive_place_find(const struct archive_place *p, const char *path, int *ret_fd,
                                   struct error *err) MUST_CHECK;
/* NULL: nothing is known of it. */
struct archive_known *archive_place_known(const struct archive_place *p, const char *path);
/* Takes `meta` over on success; a later one of a folder stands for the earlier. */
enum error_code archive_place_know(struct archive_place *p, const char *path, bool is_link,
                                   struct file_meta *meta, struct error *err) MUST_CHECK;
/* Gives the folders what they have besides. */
enum error_code archive_place_finish(const struct archive_place *p, struct error *err) MUST_CHECK;
void archive_place_done(struct archive_place *p);

/* ERR_INVALID: "PATH: WHY"; and of an errno. */
enum error_code archive_refuse(const char *path, const char *why, struct error *err);
enum error_code archive_refuse_errno(const char *path, int errnum, struct error *err);
