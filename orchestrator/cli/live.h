/*
 * live: a few lines at the bottom of a terminal that are drawn again in place: the rollout, its
 * batch, and a bar over its servers. Pure: everything goes into a buf.
 */
#pragma once

#include "common/base/buf.h"
#include "orchestrator/cli/progress.h"
#include "orchestrator/cli/render.h"

enum { LIVE_REDRAW_MS = 100 }; /* at most so often */

struct live {
    int lines; /* drawn and still standing */
};

/* Appends what takes the drawn lines away; the cursor is then where they began. */
void live_clear(struct live *live, struct buf *b);
/* Appends the lines anew, in place of those that stand, none wider than style->columns. */
void live_draw(struct live *live, const struct progress_view *view, const struct style *style,
               struct buf *b);
/* Appends the bar alone: `cells` characters, shared out over the servers; every sort of server that
 * there is gets a cell, as long as there are cells. */
void live_bar(const struct progress_view *view, const struct style *style, size_t cells,
              struct buf *b);
