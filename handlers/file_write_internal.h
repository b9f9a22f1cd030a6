/*
 * file_write_internal: what the parts of the file_write handler share: file_write.c (execute, and
 * the runs on the thread pool), file_write_check.c (check), file_write_undo.c (prepare and
 * rollback).
 *
 * Threading: any thread, but one run is on one at a time. I/O: files.
 */
#pragma once

#include "handlers/builtin.h"
#include "handlers/fileio.h"

/* What prepare captures. */
struct file_undo {
    char *path; /* with links followed where the step says so */
    bool existed;
    struct file_meta meta;
    char *sha256; /* of the copy in the step's folder */
};

/* Reads it back. Released with file_undo_done. */
enum error_code file_undo_read(const struct handler_run *run, struct file_undo *ret_undo,
                               struct error *err) MUST_CHECK;
void file_undo_done(struct file_undo *undo);
#define AUTO_UNDO __attribute__((cleanup(file_undo_done)))

/* The name under which the new bytes are gathered. */
void file_write_temp(const struct handler_run *run, const struct file_place *place,
                     char ret_name[NAME_MAX + 1]);
/* Where the step's file is, links followed where it says so; opens that place and what is there
 * (*ret_fd is -1 when there is nothing). On an error the result may say more of it. */
enum error_code file_write_locate(const struct handler_run *run, struct handler_result *result,
                                  struct file_place *ret_place, int *ret_fd,
                                  struct error *err) MUST_CHECK;
/* What the new file is to have: as the step says, else as the one at `present_fd` (-1: none) has
 * it; and whether that one is so already, its bytes included. */
enum error_code file_write_wanted(const struct file_write_params *params, int present_fd,
                                  struct file_meta *ret_meta, bool *ret_same,
                                  struct error *err) MUST_CHECK;
/* Opens what is at a place. *ret_fd is -1 when there is nothing; ERR_INVALID for what is no regular
 * file, with a message such as "PATH is a folder". */
enum error_code file_write_open(const struct file_place *place, int *ret_fd,
                                struct error *err) MUST_CHECK;

void file_meta_done(struct file_meta *meta);
#define AUTO_META __attribute__((cleanup(file_meta_done)))

/* The operations themselves; they block. */
void file_prepare_work(const struct handler_run *run, struct handler_result *result);
/* `shown`: the diff, for the step's output. */
void file_check_work(const struct handler_run *run, struct handler_result *result,
                     struct buf *shown);
void file_rollback_work(const struct handler_run *run, struct handler_result *result);
