/*
 * stand_in_journal: orchestrator/journal/journal.h in memory, for programs that are linked without
 * the real one: nothing is asynchronous, and what was appended becomes durable in journal_collect.
 *
 * It takes its memory through common/base/alloc.h, and says ERR_NO_MEMORY as the real one does.
 */
#pragma once

#include "orchestrator/journal/journal.h"

/* NULL: out of memory. */
struct journal *stand_journal_new(void);
/* Makes durable what is left, then frees. NULL is fine. */
void stand_journal_free(struct journal *j);
/* True when nothing waits for journal_collect. */
bool stand_journal_idle(const struct journal *j);
/* The ids of the rollouts that are durable, oldest first; NULL behind the last. */
const char *stand_journal_id(const struct journal *j, size_t i);
