/* journal_world: a journal in a folder in memory, for the programs about it. */
#pragma once

#include "alloc/alloc.h"
#include "unit/journal/support_journal.h"

struct journal_world {
    struct alloc_world base;
    struct rig rig;
    struct journal_append *append;
    struct buf text;
    uint64_t findings, removed;
    bool ended; /* a backup or a removing has */
    enum error_code result;
};

/* For cmocka: makes once what journal_begin_closed lays out, and frees it. */
int journal_live(void **state);
int journal_forget(void **state);

void journal_begin_folder(void *world); /* an empty folder */
/* A journal with a rollout r-done that was lived through, and one that is open, r-open; closed. */
void journal_begin_closed(void *world);
void journal_begin_open(void *world); /* the same, open */
void journal_end(void *world);

void journal_look_text(void *world, struct buf *b);
/* Append a line to the buf that is the ctx. */
bool journal_look_rollout(void *ctx, const struct journal_rollout *r);
bool journal_look_event(void *ctx, uint64_t seq, const char *type, const char *json, size_t len);

struct alloc_op journal_op(const char *name, void (*begin)(void *),
                           enum error_code (*run)(void *, struct error *),
                           void (*look)(void *, struct buf *));
void journal_sweep(const char *name, void (*begin)(void *),
                   enum error_code (*run)(void *, struct error *),
                   void (*look)(void *, struct buf *));
/* Of an operation with thousands of allocations: see alloc_op.stride. */
void journal_sweep_long(const char *name, void (*begin)(void *),
                        enum error_code (*run)(void *, struct error *),
                        void (*look)(void *, struct buf *));
/* One journal for all tries; what is read comes into the world's text. */
void journal_sweep_reading(const char *name, enum error_code (*run)(void *, struct error *));
