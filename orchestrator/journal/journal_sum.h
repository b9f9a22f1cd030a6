/*
 * journal_sum: what the rows of the journal sum up to (see common/base/sum.h). A row's key is part
 * of it, so a row that lands under another key is noticed too. For this folder alone.
 *
 * Threading: pure. I/O: none.
 */
#pragma once

#include "orchestrator/journal/journal.h"

#include <stddef.h>
#include <stdint.h>

int64_t sum_plan(int64_t num, const char *text, size_t len);
int64_t sum_event(int64_t key, const char *type, const char *json, size_t len);
int64_t sum_output(int64_t key, int64_t attempt, const char *text, size_t len);
/* Of a rollout: what never changes, and what every append writes anew. `num`, and of the texts only
 * the id, are always there. */
int64_t sum_made(int64_t num, const struct journal_rollout *made);
int64_t sum_summary(int64_t num, const struct journal_summary *summary, int64_t open,
                    uint64_t last_seq);
int64_t sum_touch(int64_t key, const char *server, int64_t undone);
int64_t sum_lock(const struct journal_server_lock *lock);
/* Of the journal's own record; texts. */
int64_t sum_meta(const char *identity, const char *epoch, const char *unsummed);
