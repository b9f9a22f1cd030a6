/*
 * rows: a list that comes in pages, printed as it comes: as a table, or as one JSON document with a
 * row on each line, so that a list of any length takes little memory.
 */
#pragma once

#include "orchestrator/cli/cli.h"

struct rows {
    struct cli *cli;
    const char *name;               /* of the list in the JSON document */
    const struct json_table *table; /* of one row */
    struct buf b;
    bool begun; /* the list is */
    bool has_row;
};

void rows_init(struct rows *rows, struct cli *cli, const char *name,
               const struct json_table *table);
void rows_done(struct rows *rows);
#define AUTO_ROWS __attribute__((cleanup(rows_done)))
/* Begins the JSON document with the members of a struct, before the list. */
void rows_head(struct rows *rows, const struct json_table *table, const void *object);
/* Writes one row of the JSON document. False: it cannot be written. */
bool rows_put(struct rows *rows, const void *row);
/* Ends the JSON document; `next` (may be NULL) is where a further page would begin. */
bool rows_end(struct rows *rows, const char *next);
