/*
 * file_write_internal: what the parts of the file_write handler share: file_write.c (prepare,
 * execute, rollback), file_write_check.c (check), file_validate.c (execute with a validation).
 *
 * Threading: the thread pool, but one run is on one thread at a time; file_validate_ functions: the
 * loop's thread. I/O: files.
 */
#pragma once

#include "handlers/file_undo.h"

/* What the file shall hold; borrowed from the params, and the artifact where these name one. */
struct file_source file_write_content(const struct file_write_params *params,
                                      const struct artifact *artifact, const atomic_bool *stop);
/* For a work of file_run. */
struct file_source file_write_run_content(const struct handler_run *run);
/* Whether the file at `fd` holds that already. */
enum error_code file_write_same(const struct file_write_params *params,
                                const struct file_source *content, int fd, bool *ret_same,
                                struct error *err) MUST_CHECK;
/* Its SHA-256. */
enum error_code file_write_digest(const struct file_write_params *params,
                                  const struct file_source *content,
                                  char ret_digest[FILE_DIGEST_TEXT], struct error *err) MUST_CHECK;
/* The place of the step's file, links followed where it says so. See file_undo_place. */
enum error_code file_write_place(const struct handler_run *run, struct file_undo *undo,
                                 struct file_place *ret_place, bool *ret_missing,
                                 struct error *err) MUST_CHECK;
/* What the new file is to have: as the step says, else as the one at `present_fd` (-1: none) has
 * it; and whether that one is so already, its bytes included. */
enum error_code file_write_wanted(const struct handler_run *run, const struct file_source *content,
                                  int present_fd, struct file_meta *ret_meta, bool *ret_same,
                                  struct error *err) MUST_CHECK;

/* The two halves of execute: the new file beside the old one, and in its place. */
struct file_staged {
    struct file_undo undo;
    struct file_place place;
    char temp[NAME_MAX + 1];
    bool same; /* the file is so already: there is nothing to put */
};
#define FILE_STAGED_INIT ((struct file_staged){.place = FILE_PLACE_INIT})
enum error_code file_write_stage(const struct handler_run *run, const struct file_source *content,
                                 struct file_staged *staged, struct error *err) MUST_CHECK;
enum error_code file_write_put(const struct handler_run *run, const struct file_staged *staged,
                               struct error *err) MUST_CHECK;
/* After a validation that failed. */
void file_write_discard(const struct file_staged *staged);
void file_staged_done(struct file_staged *staged);
/* Fills the result of an execute that has come to its end. */
void file_write_tell(const struct handler_run *run, bool changed, size_t len,
                     struct handler_result *result);

/* A text of more is told by size and hash. */
enum { FILE_WRITE_TEXT_MAX = 1024 * 1024 };
void file_check_work(const struct handler_run *run, struct handler_result *result,
                     struct buf *shown);

/* execute where params->validate is given. */
void file_validate_start(struct handler_run *run);
void file_validate_cancel(struct handler_run *run);
