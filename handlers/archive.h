/*
 * archive: tar archives, plain or compressed by gzip, zstd, xz or bzip2, unpacked below a folder;
 * and a folder packed into one, to be brought back exactly. Whoever has made an archive has no say
 * in where anything is written: names that lead out of the folder, and all that is neither a file,
 * a folder nor a link, are refused with the entry's name, and no symbolic link is ever written
 * through, whether it came with the archive or was put there meanwhile.
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: files.
 */
#pragma once

#include "common/base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    ARCHIVE_ENTRIES_MAX = 500000,
    ARCHIVE_DEPTH_MAX = 100, /* folders in each other */
    ARCHIVE_STRIP_MAX = 100
};

struct archive_rules {
    int64_t strip_components; /* of each name; what has no more is left out */
    int64_t max_bytes;        /* of all files together, unpacked; 0: any */
    int64_t max_entries;      /* 0: ARCHIVE_ENTRIES_MAX */
    int64_t uid, gid;         /* whose it becomes; FILE_KEEP: of who unpacks it */
    const char *reserved;     /* a name that nothing at the top may have; NULL: none */
    bool exact; /* as archive_pack has packed it: owners, all bits of modes and extended attributes
                 * too; else the archive says modes (without set-id and sticky bits) and times */
    const atomic_bool *cancelled; /* NULL: never */
};

struct archive_totals {
    int64_t entries; /* that became something: files, folders and links */
    int64_t bytes;   /* of files */
    bool has_root;   /* it says what the folder itself is like; else that stays as it is */
    int64_t dropped; /* entries that had set-id or sticky bits, which they did not keep */
};

/* Unpacks into a folder, which is empty. Nothing of it is durable when this returns; what is there
 * after a failure is part of it, and the caller's to remove. ERR_INVALID: an entry that is refused;
 * ERR_LIMIT: more than the rules allow; ERR_CORRUPT: damaged, cut off or no archive;
 * ERR_UNSUPPORTED: what is in it cannot be had here; ERR_CANCELLED; ERR_NO_SPACE, ERR_IO, ... */
enum error_code archive_unpack(int archive_fd, int folder_fd, const struct archive_rules *rules,
                               struct archive_totals *ret_totals, struct error *err) MUST_CHECK;
/* What unpacking it would come to; writes nothing. Errors as of archive_unpack, but for those that
 * only the disk can tell. */
enum error_code archive_measure(int archive_fd, const struct archive_rules *rules,
                                struct archive_totals *ret_totals, struct error *err) MUST_CHECK;

/* Packs the folder `name` in dir_fd with all that it has, into an empty file (zstd). ERR_LIMIT: it
 * takes more than max_bytes (0: any); ERR_INVALID: it holds what is neither file, folder nor link,
 * or something is mounted in it; ERR_BUSY: it changes meanwhile; ERR_CANCELLED. */
enum error_code archive_pack(int dir_fd, const char *name, int archive_fd, int64_t max_bytes,
                             const atomic_bool *cancelled, struct error *err) MUST_CHECK;
