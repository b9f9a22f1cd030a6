/*
 * An agent's own journal whose file was damaged: whatever it says then, it is an error or is taken,
 * and nothing outside of its folder is touched. What it holds has no sums, so it may say other
 * things than were written.
 */
#include "agent/undo_journal_internal.h"
#include "common/base/cleanup.h"
#include "tests/fuzz/damage.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <sys/stat.h>

enum { FOUND_MAX = 8, STEPS = 3 };
#define NOW_MS INT64_C(1795242356123)
#define LONG_AFTER_MS (NOW_MS + 2 * UNDO_RETENTION_DEFAULT_MS)

static const char spec[] =
    "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r1\",\"epoch\":1,\"rollbackOnFailure\":true,"
    "\"steps\":[{\"name\":\"s\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}}]}";

static const char *folder;
static struct image sound;

static void no_wake(void *ctx)
{
    (void)ctx;
}

static enum error_code open_journal(struct undo_journal **ret, struct error *err)
{
    const struct undo_journal_config config = {.data_dir = folder, .wake = no_wake};
    return undo_journal_open(&config, ret, err);
}

static void writes_end(struct undo_journal *j)
{
    writer_wait(j->writer);
    undo_journal_collect(j);
}

/* ---- What was written ------------------------------------------------------------------------ */

static void write_execution(struct undo_journal *j, const char *rollout, bool settled)
{
    char message[] = "why", output[] = "printed\n", undo[] = "{\"existed\":false}";
    struct wire_entry entries[] = {
        {.seq = 1, .type = REPORT_STARTED, .step = -1, .state = EXECUTION_RUNNING},
        {.seq = 2, .type = REPORT_STEP_STARTED, .attempt = 1, .state = STEP_RUNNING},
        {.seq = 3, .type = REPORT_STEP_ENDED, .attempt = 1, .state = STEP_FAILED},
        {.seq = 4, .type = REPORT_ENDED, .step = -1, .state = EXECUTION_FAILED},
    };
    entries[2].message = message;
    entries[2].output = output;
    struct undo_capture capture = {.step = 0, .undo = undo};
    const struct undo_append append = {
        .server = "s1",
        .rollout = rollout,
        .spec = spec,
        .spec_len = sizeof(spec) - 1,
        .entries = entries,
        .entry_count = settled ? 4 : 2,
        .captures = &capture,
        .capture_count = 1,
        .settled = settled,
        .time_ms = NOW_MS,
    };
    struct error err = {0};
    enum error_code code = undo_journal_append(j, &append, &err);
    if (code == ERR_OK && settled)
        code = undo_journal_ack(j, "s1", rollout, 4, &err);
    if (code == ERR_OK)
        code = undo_journal_save_epoch(j, "s1", "orchestrator", 3, &err);
    assert(code == ERR_OK);
}

static void write_once(void)
{
    struct undo_journal *j = NULL;
    struct error err = {0};
    folder = folder_make();
    enum error_code code = open_journal(&j, &err);
    assert(code == ERR_OK);
    write_execution(j, "r-ended", true);
    write_execution(j, "r-open", false);
    writes_end(j);
    undo_journal_close(j);
    sound = file_read(folder_path(folder, "agent.db"));
}

/* ---- Reading it ------------------------------------------------------------------------------ */

struct found {
    char rollouts[FOUND_MAX][ID_BUFFER];
    size_t count;
};

static enum error_code find_each(void *ctx, const char *rollout, const struct undo_status *status,
                                 struct error *err)
{
    struct found *found = ctx;
    (void)status;
    (void)err;
    if (found->count < FOUND_MAX)
        (void)snprintf(found->rollouts[found->count++], ID_BUFFER, "%s", rollout);
    return ERR_OK;
}

static void check_code(enum error_code code, const struct error *err)
{
    assert(code == ERR_OK || err->message[0] != '\0');
}

/* What an agent does with an execution that it finds. */
static void read_execution(struct undo_journal *j, const char *rollout)
{
    struct undo_status status;
    struct undo_image image = {0};
    struct error err = {0};
    char path[UNDO_FILES_PATH_MAX];
    check_code(undo_journal_find(j, "s1", rollout, NOW_MS, &status, &err), &err);
    check_code(undo_journal_load(j, "s1", rollout, &image, &err), &err);
    undo_image_done(&image);
    for (uint32_t step = 0; step < STEPS; step++) {
        char *undo = NULL;
        check_code(undo_journal_capture(j, "s1", rollout, step, &undo, &err), &err);
        mem_free(undo);
    }
    check_code(undo_journal_folder(j, "s1", rollout, 0, path, &err), &err);
}

static void read_all(struct undo_journal *j)
{
    struct found found = {.count = 1, .rollouts = {"r-ended"}};
    struct error err = {0};
    int64_t epoch = 0;
    assert(id_valid(undo_journal_instance(j)));
    check_code(undo_journal_open_executions(j, "s1", find_each, &found, &err), &err);
    for (size_t i = 0; i < found.count; i++)
        read_execution(j, found.rollouts[i]);
    check_code(undo_journal_epoch(j, "s1", "orchestrator", &epoch, &err), &err);
}

/* A folder that is none of the journal's, and where a path out of it would lead. */
static void lay_out(const struct image *image)
{
    folder_clear(folder);
    file_write(folder_path(folder, "agent.db"), image->bytes, image->size);
    int made = mkdir(folder_path(folder, "undo"), 0700);
    assert(made == 0);
    made = mkdir(folder_path(folder, "keep"), 0700);
    assert(made == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct undo_journal *j = NULL;
    struct error err = {0};
    if (sound.size == 0)
        write_once();
    struct image image = {malloc(sound.size), sound.size};
    assert(image.bytes != NULL);
    memcpy(image.bytes, sound.bytes, sound.size);
    bool changed = damage_apply(&image, &in);
    lay_out(&image);
    enum error_code code = open_journal(&j, &err);
    check_code(code, &err);
    assert(changed || code == ERR_OK);
    if (code == ERR_OK) {
        read_all(j);
        check_code(undo_journal_expire(j, LONG_AFTER_MS, NULL, NULL, &err), &err);
        writes_end(j);
        undo_journal_close(j);
    }
    assert(rmdir(folder_path(folder, "keep")) == 0);
    free(image.bytes);
    return 0;
}
