/*
 * install_board: how an installation on many hosts is shown: a line for each that has ended, and,
 * on a terminal, those under way below it, drawn again in place. Pure: everything goes into a buf.
 */
#pragma once

#include "common/base/buf.h"
#include "orchestrator/cli/install/pool.h"
#include "orchestrator/cli/render.h"

#include <stddef.h>

enum { BOARD_ROWS_MAX = 12 }; /* hosts under way that are shown at a time */

struct board {
    int lines;    /* drawn and still standing */
    size_t width; /* of the longest server id */
};

/* Appends what takes the drawn lines away. */
void board_clear(struct board *board, struct buf *b);
/* Appends the line of a host that has ended: "web-1     installed   Debian 12, x86_64". */
void board_ended(const struct board *board, const struct job *job, const struct style *style,
                 struct buf *b);
/* Appends the hosts under way, each with its stages, and how many are left. */
void board_draw(struct board *board, const struct pool_view *views, size_t count, size_t left,
                const struct style *style, struct buf *b);
