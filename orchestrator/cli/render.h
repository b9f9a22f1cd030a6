/*
 * render: text for people. What comes from servers may hold anything; here it is made harmless for
 * a terminal, measured in columns, coloured where that is wanted, and put into tables.
 *
 * Threading: one thread at a time. I/O: none; everything goes into a buf.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/json/json.h"
#include "common/plan/states.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ink { INK_NONE, INK_GOOD, INK_BAD, INK_WARN, INK_DIM, INK_BOLD, INK_COUNT };

struct style {
    bool colour;
    bool utf8;   /* characters beyond ASCII may be drawn */
    int columns; /* the terminal's width; 0: not a terminal, nothing is cut */
};

/* Appends `s` on one line with control characters, newlines and direction marks made visible
 * ("\n", "\x1b"). NULL is nothing. */
void render_text(struct buf *b, const char *s);
/* Appends lines of output: newlines and tabs stay, a carriage return becomes a newline, what else
 * could steer a terminal is made visible. */
void render_lines(struct buf *b, const char *s, size_t len);
/* Appends JSON text; control characters that JSON lets stand in strings are escaped. So are those
 * of a text that is no JSON, whoever sent it, but for newlines and tabs. */
void render_json(struct buf *b, const char *json, size_t len);
/* Columns that harmless text takes on a terminal (wcwidth(3), by the locale). */
size_t render_width(const char *s, size_t len);
/* The longest start of `s`, in bytes, that takes at most `columns`; *ret_width is what it takes. */
size_t render_fit(const char *s, size_t len, size_t columns, size_t *ret_width);

/* Appends harmless text broken at spaces into lines of at most `columns` (a longer word stands
 * alone), each further line after `indent` spaces; no newline at the end. */
void render_wrapped(struct buf *b, const char *s, size_t len, size_t columns, size_t indent);

/* Appends harmless text between the codes of an ink (nothing but the text without colour). */
void render_ink(struct buf *b, const struct style *style, enum ink ink, const char *s);
void render_ink_begin(struct buf *b, const struct style *style, enum ink ink);
void render_ink_end(struct buf *b, const struct style *style, enum ink ink);

enum ink rollout_ink(enum rollout_state state);
enum ink execution_ink(enum execution_state state);
enum ink step_ink(enum step_state state);

/* "2026-11-21 06:25:56" of an RFC 3339 text; "-" for NULL. */
void render_time(struct buf *b, const char *time);
/* Milliseconds since 1970 of an RFC 3339 text in UTC; -1 when it is none. */
int64_t render_time_ms(const char *time);
/* "1.5 GiB", "12 bytes" */
void render_size(struct buf *b, int64_t bytes);

/* ---- Tables ------------------------------------------------------------------------------------
 */

struct column {
    const char *heading;
    bool right; /* numbers */
};

enum {
    TABLE_COLUMNS_MAX = 12,
    RENDER_PAGE = 100 /* columns to wrap at, on a wider terminal or none */
};

/* Cells are added row by row. Widths only grow: a long list can be printed in pieces. The last
 * column is cut at the terminal's edge, or wrapped. */
struct table {
    const struct column *columns;
    size_t column_count;
    size_t widths[TABLE_COLUMNS_MAX];
    struct buf text;  /* of all cells */
    struct buf cells; /* struct table_cell each */
    size_t cell_count;
    bool headed;
    bool wrap; /* the last column; set after table_init */
};

void table_init(struct table *t, const struct column *columns, size_t count);
void table_done(struct table *t);
#define AUTO_TABLE __attribute__((cleanup(table_done)))
/* The next cell, made harmless; NULL or "": "-". */
void table_cell(struct table *t, enum ink ink, const char *text);
void table_cell_int(struct table *t, enum ink ink, int64_t number);
void table_cell_time(struct table *t, const char *time);
/* Appends the rows so far (with the headings, the first time) and forgets them. */
void table_flush(struct table *t, const struct style *style, struct buf *b);
