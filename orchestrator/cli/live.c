#include "orchestrator/cli/live.h"

#include "orchestrator/cli/words.h"

#include <string.h>

enum { BAR_CELLS_MAX = 40, BAR_CELLS_MIN = 10 };

/* The sorts of servers that the bar tells apart, in its order. */
enum sort { SORT_SUCCEEDED, SORT_FAILED, SORT_RUNNING, SORT_PENDING, SORT_COUNT };

static const struct {
    const char *ascii, *utf8;
    enum ink ink;
} sorts[SORT_COUNT] = {
    [SORT_SUCCEEDED] = {"#", "\xe2\x96\x88", INK_GOOD},
    [SORT_FAILED] = {"x", "\xe2\x96\x93", INK_BAD},
    [SORT_RUNNING] = {">", "\xe2\x96\x92", INK_WARN},
    [SORT_PENDING] = {".", "\xe2\x96\x91", INK_DIM},
};

static void count_sorts(const struct progress_view *v, int64_t ret[SORT_COUNT])
{
    const struct api_counts *c = &v->counts;
    ret[SORT_SUCCEEDED] = c->succeeded;
    ret[SORT_FAILED] = c->failed + c->unreachable + c->unknown + c->cancelled;
    ret[SORT_RUNNING] = v->running;
    ret[SORT_PENDING] = c->pending + c->skipped;
}

void live_bar(const struct progress_view *view, const struct style *style, size_t cells,
              struct buf *b)
{
    int64_t counts[SORT_COUNT];
    size_t share[SORT_COUNT] = {0};
    int64_t total = 0;
    size_t used = 0;
    count_sorts(view, counts);
    for (size_t i = 0; i < SORT_COUNT; i++)
        total += counts[i] > 0 ? counts[i] : 0;
    for (size_t i = 0; total > 0 && i < SORT_COUNT; i++) {
        if (counts[i] <= 0)
            continue;
        share[i] = (size_t)((double)counts[i] * (double)cells / (double)total);
        share[i] = share[i] == 0 ? 1 : share[i];
        used += share[i];
    }
    /* Rounding is made good by the largest sort. */
    size_t largest = SORT_PENDING;
    for (size_t i = 0; i < SORT_COUNT; i++)
        largest = share[i] > share[largest] ? i : largest;
    if (used < cells)
        share[largest] += cells - used;
    else if (share[largest] > used - cells)
        share[largest] -= used - cells;
    for (size_t i = 0; i < SORT_COUNT; i++) {
        if (share[i] == 0)
            continue;
        render_ink_begin(b, style, sorts[i].ink);
        for (size_t k = 0; k < share[i]; k++)
            buf_puts(b, style->utf8 ? sorts[i].utf8 : sorts[i].ascii);
        render_ink_end(b, style, sorts[i].ink);
    }
}

void live_clear(struct live *live, struct buf *b)
{
    if (live->lines > 0)
        buf_printf(b, "\033[%dA\r\033[J", live->lines);
    live->lines = 0;
}

/* A line of plain text, cut at the terminal's edge. */
static void put_line(struct live *live, const struct style *style, struct buf *b,
                     const struct buf *text)
{
    size_t width = 0;
    size_t room = style->columns > 1 ? (size_t)style->columns - 1 : 1;
    if (text->failed != ERR_OK)
        b->failed = text->failed;
    else if (text->len > 0)
        buf_append(b, text->data, render_fit(text->data, text->len, room, &width));
    buf_puts(b, "\033[K\n");
    live->lines++;
}

static void put_title(const struct progress_view *v, struct buf *b)
{
    render_text(b, v->id);
    if (v->name && *v->name) {
        buf_puts(b, " (");
        render_text(b, v->name);
        buf_putc(b, ')');
    }
    buf_printf(b, ": %s%s", v->check ? "check, " : "", rollout_state_names[v->state]);
    if (v->batch > 0 && v->batches > 1)
        buf_printf(b, ", batch %lld of %lld", (long long)v->batch, (long long)v->batches);
    if (v->batch > 0 && v->batch_servers > 0) {
        buf_puts(b, v->batches > 1 ? " (" : ", ");
        words_servers(b, v->batch_servers);
        buf_puts(b, v->batches > 1 ? ")" : "");
    }
}

static void put_counts(const struct progress_view *v, struct buf *b)
{
    const struct api_counts *c = &v->counts;
    int64_t ended = c->succeeded + c->failed + c->unreachable + c->unknown + c->cancelled;
    struct api_counts shown = *c;
    shown.in_flight = 0;
    shown.pending = 0;
    buf_printf(b, " %lld/%lld", (long long)ended, (long long)v->servers);
    if (v->running > 0)
        buf_printf(b, ", %lld running", (long long)v->running);
    if (ended > 0)
        buf_puts(b, ", ");
    words_counts(b, &shown);
}

static void put_bar(struct live *live, const struct progress_view *v, const struct style *style,
                    struct buf *b)
{
    AUTO_BUF struct buf text = BUF_INIT;
    size_t room = style->columns > 1 ? (size_t)style->columns - 1 : 1;
    put_counts(v, &text);
    size_t width = text.len > 0 ? render_width(text.data, text.len) : 0;
    size_t cells = room > width + 2 ? room - width - 2 : 0;
    cells = cells > BAR_CELLS_MAX ? BAR_CELLS_MAX : cells;
    if (cells < BAR_CELLS_MIN) {
        /* Too narrow for both: the numbers say more. */
        put_line(live, style, b, &text);
        return;
    }
    buf_putc(b, '[');
    live_bar(v, style, cells, b);
    buf_putc(b, ']');
    put_line(live, style, b, &text);
}

void live_draw(struct live *live, const struct progress_view *view, const struct style *style,
               struct buf *b)
{
    AUTO_BUF struct buf title = BUF_INIT;
    /* Over the old lines rather than after wiping them, so that nothing flickers. */
    if (live->lines > 0)
        buf_printf(b, "\033[%dA\r", live->lines);
    live->lines = 0;
    put_title(view, &title);
    put_line(live, style, b, &title);
    put_bar(live, view, style, b);
    if (view->state == ROLLOUT_ROLLING_BACK) {
        AUTO_BUF struct buf undo = BUF_INIT;
        buf_printf(&undo, "undone: %lld",
                   (long long)(view->counts.rolled_back + view->counts.rollback_failed -
                               view->undone_before));
        if (view->undo > 0)
            buf_printf(&undo, " of %lld", (long long)view->undo);
        put_line(live, style, b, &undo);
    }
    buf_puts(b, "\033[J");
}
