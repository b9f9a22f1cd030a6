#include "orchestrator/cli/install_board.h"

#include "common/base/cleanup.h"

#include <string.h>

enum { RESULT_WIDTH = 11 };

/* The columns: what a host goes through. */
static const enum job_stage columns[] = {JOB_CONNECT, JOB_UPLOAD, JOB_ENROL, JOB_START, JOB_VERIFY};

void board_clear(struct board *board, struct buf *b)
{
    if (board->lines > 0)
        buf_printf(b, "\033[%dA\r\033[J", board->lines);
    board->lines = 0;
}

static void pad(struct buf *b, size_t from, size_t width)
{
    for (size_t i = b->len - from; i < width; i++)
        buf_putc(b, ' ');
}

static enum ink ink_of(enum job_result result)
{
    switch (result) {
    case JOB_FAILED:
        return INK_BAD;
    case JOB_INSTALLED:
    case JOB_UPGRADED:
    case JOB_UNINSTALLED:
        return INK_GOOD;
    case JOB_UNCHANGED:
    case JOB_PLANNED:
    case JOB_RESULT_COUNT:
        break;
    }
    return INK_NONE;
}

void board_ended(const struct board *board, const struct job *job, const struct style *style,
                 struct buf *b)
{
    size_t from = b->len;
    buf_puts(b, job->target->server);
    pad(b, from, board->width);
    buf_puts(b, "  ");
    render_ink_begin(b, style, ink_of(job->result));
    from = b->len;
    buf_puts(b, job_result_names[job->result]);
    pad(b, from, RESULT_WIDTH);
    render_ink_end(b, style, ink_of(job->result));
    buf_puts(b, "  ");
    if (job->result == JOB_FAILED)
        buf_printf(b, "%s: ", job_stage_names[job->stage]);
    render_text(b, job->text);
    buf_putc(b, '\n');
}

/* A line cut at the terminal's edge. */
static void put_line(struct board *board, const struct style *style, const struct buf *text,
                     struct buf *b)
{
    size_t width = 0;
    size_t room = style->columns > 1 ? (size_t)style->columns - 1 : 1;
    if (text->failed != ERR_OK)
        b->failed = text->failed;
    else if (text->len > 0)
        buf_append(b, text->data, render_fit(text->data, text->len, room, &width));
    buf_puts(b, "\033[K\n");
    board->lines++;
}

static void put_host(struct board *board, const struct pool_view *view, const struct style *style,
                     struct buf *b)
{
    AUTO_BUF struct buf line = BUF_INIT;
    buf_puts(&line, view->job->target->server);
    pad(&line, 0, board->width);
    if (view->stage == JOB_REMOVE) {
        buf_puts(&line, "  remove ...");
    } else {
        for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
            const char *mark = columns[i] < view->stage    ? (style->utf8 ? "\xe2\x9c\x93" : "ok")
                               : columns[i] == view->stage ? (style->utf8 ? "\xe2\x80\xa6" : "..")
                                                           : (style->utf8 ? " " : "  ");
            buf_printf(&line, "  %s %s", job_stage_names[columns[i]], mark);
        }
    }
    put_line(board, style, &line, b);
}

void board_draw(struct board *board, const struct pool_view *views, size_t count, size_t left,
                const struct style *style, struct buf *b)
{
    AUTO_BUF struct buf rest = BUF_INIT;
    size_t shown = count < BOARD_ROWS_MAX ? count : BOARD_ROWS_MAX;
    board_clear(board, b);
    for (size_t i = 0; i < shown; i++)
        put_host(board, &views[i], style, b);
    if (left > shown) {
        buf_printf(&rest, "%zu more to come", left - shown);
        put_line(board, style, &rest, b);
    }
}
