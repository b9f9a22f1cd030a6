/*
 * support_run: runs one operation of a handler on a loop of its own until everything of it is gone.
 *
 * A bed has a temporary folder that is removed with it. After each run it is asserted that the loop
 * has nothing left, that `done` came once, and that no process of the run lives, not even as a
 * zombie.
 */
#pragma once

#include "common/base/buf.h"
#include "handlers/handler.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bed {
    uv_loop_t loop;
    struct handler_host host;
    char dir[PATH_MAX / 2];
    char undo_dir[PATH_MAX / 2 + 16];
    const char *step;
    int64_t attempt, reboots;
    struct handler_room room; /* for what prepare keeps; no limit unless set */
    bool force;
    const char *depends_name; /* check: of the second step, which would change something */
    const char *cancel_at;    /* cancels when the output holds this; "" at once; NULL never */
    const char *kill_at;      /* kills the run's programs (KILL) when the output holds this */
    const char *call_at;      /* calls `call` when the output holds this */
    void (*call)(void *ctx);
    void *call_ctx;
    uv_async_t poke; /* see bed_cancel */

    /* Of the last run. */
    struct handler_result result;
    char *undo;        /* what the last prepare captured */
    struct buf output; /* its beginning */
    uint64_t output_bytes;
    int64_t duration_ms;
    int done_count;
};

void bed_open(struct bed *bed);
void bed_close(struct bed *bed);
/* Runs an operation with params as JSON text. rollback and execute get what prepare captured; a
 * check gets no folder, and leaves all of the bed's as it was. */
void bed_run(struct bed *bed, const char *type, enum handler_operation operation,
             const char *params_json);
/* From any thread, while bed_run is under way: cancels what runs. */
void bed_cancel(struct bed *bed);
/* The text of a path below the bed's folder; good until the 8th next call. */
const char *bed_path(const struct bed *bed, const char *name);
void bed_write(const char *path, const char *text);
/* The file's text; caller owns (mem_free). NULL when there is none. */
char *bed_read(const char *path);
/* Removes a folder and all in it. */
void bed_remove_tree(const char *path);
