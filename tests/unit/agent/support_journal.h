/*
 * support_journal: an undo journal in a folder of its own, on a disk that can be made to fail
 * (support_db.h).
 */
#pragma once

#include "agent/undo_journal.h"
#include "unit/agent/support_folder.h"
#include "unit/db/support_db.h"

#include <semaphore.h>

#define NOW_MS INT64_C(1800000000000) /* the time of all that is appended */
enum { JOURNAL_MAX_BYTES = 1000 };

struct rig {
    struct folder folder;
    struct undo_journal *j;
    sem_t woken;
    int done; /* appends that are over */
    enum error_code result;
};

int journal_set_up(void **state);
int journal_tear_down(void **state);
void journal_open(struct rig *r);
void journal_reopen(struct rig *r);
struct undo_journal_config journal_config(struct rig *r, const char *data_dir);

/* Waits until the journal has something to tell, and lets it. */
void journal_wait(struct rig *r);
/* Waits until `count` appends are durable. */
void journal_await(struct rig *r, int count);

struct wire_entry journal_entry(int64_t seq, enum report_type type, int state);
struct undo_append journal_append_of(struct rig *r, const char *rollout);
void journal_append(struct rig *r, const struct undo_append *a);
/* An execution of `count` entries, the last of which ends it. */
void journal_append_ended(struct rig *r, const char *rollout, size_t count);
/* With a file in the step's folder; bytes NULL: without. */
void journal_append_captured(struct rig *r, const char *rollout, int64_t step, const char *undo,
                             const char *bytes);
/* The path of that file; makes the folder. */
void journal_step_file(struct rig *r, const char *rollout, uint32_t step,
                       char ret_path[UNDO_FILES_PATH_MAX]);
size_t journal_entry_count(struct rig *r, const char *rollout);
struct undo_status journal_status(struct rig *r, const char *rollout);
