#include "unit/agent/support_journal.h"

#include "common/base/alloc.h"
#include "common/base/array.h"

#include <string.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WAIT_SECONDS = 30 };

static void wake(void *ctx)
{
    struct rig *r = ctx;
    (void)sem_post(&r->woken);
}

struct undo_journal_config journal_config(struct rig *r, const char *data_dir)
{
    return (struct undo_journal_config){
        .data_dir = data_dir, .max_bytes = JOURNAL_MAX_BYTES, .wake = wake, .wake_ctx = r};
}

void journal_open(struct rig *r)
{
    struct error err = {0};
    const struct undo_journal_config config = journal_config(r, r->folder.path);
    if (undo_journal_open(&config, &r->j, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

void journal_reopen(struct rig *r)
{
    undo_journal_close(r->j);
    r->j = NULL;
    journal_open(r);
}

int journal_set_up(void **state)
{
    struct rig *r = MEM_NEW(struct rig);
    assert_non_null(r);
    folder_make(&r->folder);
    (void)sem_init(&r->woken, 0, 0);
    disk_install();
    journal_open(r);
    *state = r;
    return 0;
}

int journal_tear_down(void **state)
{
    struct rig *r = *state;
    undo_journal_close(r->j);
    disk_remove();
    (void)sem_destroy(&r->woken);
    folder_remove(&r->folder);
    mem_free(r);
    return 0;
}

static void count_done(void *ctx, enum error_code result)
{
    struct rig *r = ctx;
    r->done++;
    r->result = result;
}

void journal_wait(struct rig *r)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    assert_int_equal(sem_timedwait(&r->woken, &until), 0);
    undo_journal_collect(r->j);
}

void journal_await(struct rig *r, int count)
{
    while (r->done < count)
        journal_wait(r);
    assert_int_equal(r->result, ERR_OK);
}

struct wire_entry journal_entry(int64_t seq, enum report_type type, int state)
{
    return (struct wire_entry){
        .seq = seq, .type = (int)type, .time_ms = 5, .step = -1, .state = state};
}

struct undo_append journal_append_of(struct rig *r, const char *rollout)
{
    return (struct undo_append){
        .server = "s1", .rollout = rollout, .time_ms = NOW_MS, .done = count_done, .ctx = r};
}

void journal_append(struct rig *r, const struct undo_append *a)
{
    struct error err = {0};
    int before = r->done;
    assert_int_equal(undo_journal_append(r->j, a, &err), ERR_OK);
    journal_await(r, before + 1);
}

void journal_append_ended(struct rig *r, const char *rollout, size_t count)
{
    struct wire_entry entries[8];
    assert_true(count <= ARRAY_LEN(entries));
    for (size_t i = 0; i < count; i++)
        entries[i] = journal_entry((int64_t)i + 1, REPORT_STARTED, EXECUTION_RUNNING);
    entries[count - 1] = journal_entry((int64_t)count, REPORT_ENDED, EXECUTION_SUCCEEDED);
    struct undo_append a = journal_append_of(r, rollout);
    a.entries = entries;
    a.entry_count = count;
    a.settled = true;
    journal_append(r, &a);
}

size_t journal_entry_count(struct rig *r, const char *rollout)
{
    struct error err = {0};
    struct undo_image image = {0};
    assert_int_equal(undo_journal_load(r->j, "s1", rollout, &image, &err), ERR_OK);
    size_t count = image.entries.count;
    undo_image_done(&image);
    return count;
}

struct undo_status journal_status(struct rig *r, const char *rollout)
{
    struct error err = {0};
    struct undo_status status = {0};
    assert_int_equal(undo_journal_find(r->j, "s1", rollout, NOW_MS, &status, &err), ERR_OK);
    return status;
}

void journal_step_file(struct rig *r, const char *rollout, uint32_t step,
                       char ret_path[UNDO_FILES_PATH_MAX])
{
    struct error err = {0};
    char folder[UNDO_FILES_PATH_MAX];
    assert_int_equal(undo_journal_folder(r->j, "s1", rollout, step, folder, &err), ERR_OK);
    size_t len = strlen(folder);
    assert_true(len + sizeof("/original") <= UNDO_FILES_PATH_MAX);
    memcpy(ret_path, folder, len);
    memcpy(ret_path + len, "/original", sizeof("/original"));
}

void journal_append_captured(struct rig *r, const char *rollout, int64_t step, const char *undo,
                             const char *bytes)
{
    char file[UNDO_FILES_PATH_MAX];
    struct undo_capture capture = {step, (char *)(uintptr_t)undo};
    struct undo_append a = journal_append_of(r, rollout);
    journal_step_file(r, rollout, (uint32_t)step, file);
    if (bytes)
        file_fill(file, bytes);
    a.captures = &capture;
    a.capture_count = 1;
    journal_append(r, &a);
}
